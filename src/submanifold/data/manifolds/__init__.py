"""Analytic manifolds: laws of which dimension, density, distance and nearest point are known in closed form."""

from submanifold._lazy import attach

__all__ = [
    "MANIFOLDS",
    "Ball",
    "Circle",
    "Linear",
    "Manifold",
    "Sphere",
    "SwissRoll",
    "Torus",
    "Union",
    "lollipop",
    "manifold",
    "manifold_names",
]

__getattr__, __dir__ = attach(
    __name__,
    {
        "MANIFOLDS": "catalogue",
        "Ball": "ball",
        "Circle": "circle",
        "Linear": "linear",
        "Manifold": "base",
        "Sphere": "sphere",
        "SwissRoll": "swiss_roll",
        "Torus": "torus",
        "Union": "union",
        "lollipop": "union",
        "manifold": "catalogue",
        "manifold_names": "catalogue",
    },
)
