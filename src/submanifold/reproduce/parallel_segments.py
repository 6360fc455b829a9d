r"""Two parallel segments: divergences of densities see no distance between laws on manifolds, weak metrics do.

P is uniform on {0} x [0, 1] and Q_t on {t} x [0, 1], the example of Arjovsky et al. 2017 (arXiv 1701.07875, example 1;
survey 2404.02954, section 3). For every t > 0 the segments are disjoint, so that KL(P || Q_t) = \infty and
JS(P, Q_t) = \log 2 whatever t is, while W_1(P, Q_t) = t and, for the Gaussian kernel of bandwidth h,

\mathrm{MMD}^2(P, Q_t) = 2 (1 - e^{-t^2 / 2 h^2}) \int_0^1 2 (1 - u) e^{-u^2 / 2 h^2} du.

From samples: the estimate of KL by nearest neighbours (Wang, Kulkarni, Verdu 2009) has no limit but grows like
2 \log n; a classifier that tells P from Q_t with cross-entropy c on new points shows that JS \ge \log 2 - c; and W_1
between n points of each is between t and t + the W_1 of their heights.
"""

from __future__ import annotations

import math
import time
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from submanifold import neighbors
from submanifold.reproduce.outcome import Claim, Outcome
from submanifold.transport import mmd, wasserstein

__all__ = ["jensen_shannon_bound", "kl_estimate", "mmd_closed_form", "run", "sample"]

Array = NDArray[np.float64]

BANDWIDTH = 0.5
"""Of the Gaussian kernel."""

DISTANCES = (1.0, 0.1, 0.01, 0.001)
"""Values of t."""

N = 800
"""Points of each law for all estimates but that of KL."""

SIZES = (200, 800, 3200)
"""Points of each law for the estimates of KL."""

STRENGTHS = (1e-4, 1e-2, 1.0, 100.0)
"""How far the classifier may go: inverse penalties."""


def sample(t: float, n: int, rng: np.random.Generator) -> Array:
    """`n` points (n, 2) of Q_t; P is Q_0."""
    return np.stack([np.full(n, t), rng.random(n)], axis=1)


def mmd_closed_form(t: float, h: float = BANDWIDTH) -> float:
    r"""MMD(P, Q_t): the integral is h \sqrt{2\pi} erf(1 / h\sqrt 2) - 2 h^2 (1 - e^{-1 / 2 h^2})."""
    along = h * math.sqrt(2 * math.pi) * math.erf(1 / (h * math.sqrt(2))) + 2 * h**2 * math.expm1(-0.5 / h**2)
    return math.sqrt(-2 * math.expm1(-0.5 * (t / h) ** 2) * along)


def kl_estimate(x: Array, y: Array) -> float:
    r"""KL of the law of x (n, D) from that of y (m, D) in nats, D/n \sum_i \log \nu_i / \rho_i + \log m / (n - 1).

    \rho_i is the distance from x_i to the nearest other point of x, \nu_i that to the nearest of y.
    """
    own = neighbors.NeighborGraph(x, 1).distances[:, 0]
    other = neighbors.query(y, x, 1).distances[:, 0]
    return float(x.shape[1] * np.log(other / own).mean() + math.log(len(y) / (len(x) - 1)))


def jensen_shannon_bound(x: Array, y: Array, *, strength: float, seed: int) -> float:
    """A lower bound of JS in nats, from x and y (n, 2): log 2 minus a classifier's cross-entropy on new points.

    The classifier is a logistic regression of standardised coordinates on half of the points, measured on the rest;
    `strength` is the inverse of its penalty: what lets it go on towards certainty.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import log_loss
    from sklearn.model_selection import train_test_split
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    points, of_y = np.concatenate([x, y]), np.repeat([0, 1], [len(x), len(y)])
    train, test, known, asked = train_test_split(points, of_y, test_size=0.5, random_state=seed, stratify=of_y)
    classifier = make_pipeline(StandardScaler(), LogisticRegression(C=strength, max_iter=1000)).fit(train, known)
    return math.log(2) - float(log_loss(asked, classifier.predict_proba(test)))


def _row(t: float, seed: int) -> dict[str, Any]:
    rng = np.random.default_rng([seed, round(1e6 * t)])
    x, y = sample(0.0, N, rng), sample(t, N, rng)
    row: dict[str, Any] = {
        "t": t,
        "seed": seed,
        "W1": wasserstein(x, y),
        "W1 of heights": wasserstein(x[:, 1], y[:, 1]),
        "MMD2": mmd(x, y, bandwidth=BANDWIDTH, n_permutations=1, seed=seed).statistic,
        "MMD2 closed form": mmd_closed_form(t) ** 2,
    }
    row |= {f"JS bound {s:g}": jensen_shannon_bound(x, y, strength=s, seed=seed) for s in STRENGTHS}
    return row | {f"KL estimate {n}": kl_estimate(sample(0.0, n, rng), sample(t, n, rng)) for n in SIZES}


def run(seeds: int = 5) -> Outcome:
    """Estimate the four from samples at four distances, for each seed, and hold them against the closed forms."""
    start = time.perf_counter()
    rows = [_row(t, seed) for t in DISTANCES for seed in range(seeds)]
    columns = {name: np.array([row[name] for row in rows]).reshape(len(DISTANCES), seeds) for name in rows[0]}
    claims = [_kl(columns), *_js(columns), *_w1(columns), *_mmd(columns)]
    return Outcome("parallel-segments", claims, rows, time.perf_counter() - start)


def _kl(columns: dict[str, Array]) -> Claim:
    """Where points lie closer than the segments; at smaller distances the growth has yet to begin."""
    near = [i for i, t in enumerate(DISTANCES) if t * SIZES[0] >= 10]
    means = np.array([columns[f"KL estimate {n}"][near].mean(axis=1) for n in SIZES])  # (sizes, distances)
    slopes = np.polyfit(np.log(SIZES), means, 1)[0]
    off = float(np.abs(slopes / 2 - 1).max())
    measured = f"grows by {slopes.min():.3f} to {slopes.max():.3f} log n, to {means[-1].max():.1f} nats"
    return Claim("KL is infinite: its estimate grows like 2 log n", measured, "2, within 10%", off < 0.1)


def _js(columns: dict[str, Array]) -> list[Claim]:
    bounds = np.array([columns[f"JS bound {s:g}"] for s in STRENGTHS])  # (strengths, distances, seeds)
    least = float(bounds[-1].min())
    rises = bool((np.diff(bounds, axis=0) > 0).all())
    spread = float(np.ptp(bounds[-1].mean(axis=1)))
    return [
        Claim(
            "JS is log 2 at every distance: a classifier's lower bound comes up to it",
            f"to {least / math.log(2):.2%} of log 2 at least, {'rising' if rises else 'not rising'} with its certainty",
            "99%, rising in every run",
            rises and least > 0.99 * math.log(2),
        ),
        Claim("so that JS does not see t", f"means over t differ by {spread:.1e}", "less than 0.001", spread < 1e-3),
    ]


def _w1(columns: dict[str, Array]) -> list[Claim]:
    above = columns["W1"] - columns["t"]
    floor = columns["W1 of heights"]
    inside = bool(((above >= -1e-9) & (above <= floor + 1e-9)).all())
    worst = float((above / floor).max())
    far = float(np.abs(columns["W1"][0] - 1).max())
    return [
        Claim(
            "W1 is t: its estimate is between t and t + the W1 of the heights",
            f"above t by 0 to {worst:.2f} of that",
            "0 to 1 in every run",
            inside,
        ),
        Claim("at t = 1 the estimate is t", f"off by at most {far:.1e}", "0.01", far < 0.01),
    ]


def _mmd(columns: dict[str, Array]) -> list[Claim]:
    error = float(np.abs(columns["MMD2"] - columns["MMD2 closed form"]).max())
    closed = [mmd_closed_form(t) for t in DISTANCES]
    ratios = [a / b for a, b in pairwise(closed[1:])]
    return [
        Claim("MMD2 has its closed form, 1.3 at t = 1", f"off by at most {error:.4f}", "0.02", error < 0.02),
        Claim(
            "MMD falls to 0 like t",
            " ".join(f"{value:.4f}" for value in closed) + " at t = " + " ".join(f"{t:g}" for t in DISTANCES),
            "a tenth at a tenth of t, within 2%, below 0.1",
            all(abs(ratio / 10 - 1) < 0.02 for ratio in ratios),
        ),
    ]
