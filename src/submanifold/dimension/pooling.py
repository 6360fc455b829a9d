r"""One estimate out of several that need not agree.

The logarithms $y_j = \log d_j$ of the estimates, of variances $v_j$, are taken to scatter about a common value with a
variance $\tau^2$ between methods, besides their own errors. With $w_j = 1/v_j$,

$$ \hat\tau^2 = \max\Big(0, \frac{Q - (J - 1)}{\sum w_j - \sum w_j^2 / \sum w_j}\Big),
   \qquad Q = \sum_j w_j (y_j - \bar y_w)^2, $$

and the consensus is the mean with weights $p_j \propto 1/(v_j + \hat\tau^2)$. All methods see the same data, so
that their errors are not independent: they are added as if perfectly dependent, which gives the variance
$(\sum p_j \sqrt{v_j})^2 + \hat\tau^2 \sum p_j^2$. Methods that disagree thus widen the interval.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.stats import chi2

__all__ = ["heterogeneity_p_value", "random_effects"]

Vector = NDArray[np.float64]

_LEAST_VARIANCE = 1e-6  # no estimate is taken to be known to better than 0.1%


def random_effects(values: Sequence[float], variances: Sequence[float]) -> tuple[float, float]:
    """The consensus of positive `values` and the variance of its logarithm.

    References:
        DerSimonian and Laird 1986, Meta-analysis in clinical trials, Controlled Clinical Trials 7, equations 8-9.

    Args:
        values: estimates, all positive.
        variances: variances of their logarithms; below 1e-6 they are raised to it, and values of which the variance
            is infinite count only where all are so.
    """
    y, v = _logarithms(values, variances)
    if not np.isfinite(v).any():  # nothing is known of any error
        return float(np.exp(y.mean())), float("inf")
    known = np.isfinite(v)
    y, v = y[known], v[known]
    w = 1 / v
    Q = _cochran_q(y, w)
    spread = w.sum() - (w**2).sum() / w.sum()
    tau2 = max(0.0, (Q - (len(y) - 1)) / spread) if len(y) > 1 else 0.0
    p = 1 / (v + tau2)
    p /= p.sum()
    variance = float(p @ np.sqrt(v)) ** 2 + tau2 * float(p @ p)
    return float(np.exp(p @ y)), variance


def heterogeneity_p_value(values: Sequence[float], variances: Sequence[float]) -> float:
    """The p-value of Cochran's Q test that independent positive `values` estimate the same quantity."""
    y, v = _logarithms(values, variances)
    y, v = y[np.isfinite(v)], v[np.isfinite(v)]
    return float(chi2.sf(_cochran_q(y, 1 / v), len(y) - 1)) if len(y) > 1 else 1.0


def _logarithms(values: Sequence[float], variances: Sequence[float]) -> tuple[Vector, Vector]:
    return np.log(np.asarray(values, dtype=np.float64)), np.maximum(
        np.asarray(variances, dtype=np.float64), _LEAST_VARIANCE
    )


def _cochran_q(y: Vector, w: Vector) -> float:
    return float(w @ (y - (w @ y) / w.sum()) ** 2)
