r"""The codimension law, in closed form: E_{P*} log p_\sigma = (D - d) log(1/\sigma) + const + O(\sigma^2).

A von Mises density q on the circle, smoothed by N(0, \sigma^2 I_D), has a closed form (a Bessel function), so that the
law behind manifold overfitting (Loaiza-Ganem et al. 2022, arXiv 2204.07172, theorem 1) can be checked without a
network:
the slope is D - d for the right q, and for a wrong one, whose likelihood at a smaller sigma beats the right one's at a
larger sigma.
"""

from __future__ import annotations

import time

import numpy as np

from submanifold.data.manifolds import manifold
from submanifold.reproduce.outcome import Claim, Outcome
from submanifold.transport import circular_wasserstein

__all__ = ["run", "slope"]


def slope(ambient_dim: int, *, mu: float = 0.0, n: int = 4000, seed: int = 0) -> float:
    """Slope of the mean log-likelihood of circle data (mean angle 0) under a smoothed circle (mean angle `mu`)."""
    x = manifold("circle", kappa=1.0, ambient_dim=ambient_dim).sample(n, seed=seed)
    model = manifold("circle", kappa=1.0, mu=mu, ambient_dim=ambient_dim)
    sigmas = np.array([0.005, 0.01, 0.02, 0.05])
    likelihood = [float(np.mean(model.log_prob_smoothed(x, sigma))) for sigma in sigmas]
    return float(np.polyfit(-np.log(sigmas), likelihood, 1)[0])


def run(seeds: int = 3) -> Outcome:
    """Measure the slope in D = 2, 5 and 20 dimensions, for the right density and for one rotated by half a turn."""
    start = time.perf_counter()
    rows = [
        {"ambient_dim": D, "density": name, "seed": seed, "slope": slope(D, mu=mu, seed=seed), "codimension": D - 1}
        for D in (2, 5, 20)
        for name, mu in (("right", 0.0), ("wrong", np.pi))
        for seed in range(seeds)
    ]
    worst = max(abs(float(row["slope"]) / float(row["codimension"]) - 1) for row in rows)
    circle, wrong = manifold("circle", kappa=1.0), manifold("circle", kappa=1.0, mu=np.pi)
    x = circle.sample(4000, seed=0)
    sharp, broad = (float(np.mean(m.log_prob_smoothed(x, s))) for m, s in ((wrong, 0.01), (circle, 0.1)))
    distance = circular_wasserstein(circle.angle(x), wrong.angle(wrong.sample(4000, seed=1)))
    claims = [
        Claim("the slope of the log-likelihood is D - d", f"off by at most {worst:.2%}", "5%", worst < 0.05),
        Claim(
            "a wrong density at sigma 0.01 beats the right one at 0.1",
            f"{sharp:.2f} against {broad:.2f} nats, at a circular W1 of {distance:.2f}",
            "greater",
            sharp > broad,
        ),
    ]
    return Outcome("codimension-slope", claims, rows, time.perf_counter() - start)
