"""How a model is fitted: one loop for all of them, with checkpoints, resume and a history.

    import submanifold as sm

    history = sm.fit(model, X, steps=2000, run="run/circle")

A model says by `stages()` what is optimised; `fit` knows nothing else about it.
"""

from submanifold._lazy import attach

__all__ = ["Alteration", "Callback", "Event", "History", "Tracker", "fit"]

__getattr__, __dir__ = attach(
    __name__,
    {
        "Alteration": "events",
        "Callback": "events",
        "Event": "events",
        "History": "history",
        "Tracker": "tracking",
        "fit": "trainer",
    },
)
