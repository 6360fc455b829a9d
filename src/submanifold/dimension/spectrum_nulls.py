r"""Rules that compare the spectrum of a cloud with that of noise made from the cloud itself, and so need its points."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from submanifold.checks import check_choice, check_int, check_real
from submanifold.dimension.rank_rules import bulk_edge, largest_noise, median_noise
from submanifold.dimension.spectrum_rules import Spectra

__all__ = ["DATA_RULES", "NullSettings", "eigenvalues"]

Vector = NDArray[np.float64]
Matrix = NDArray[np.float64]


@dataclass(frozen=True)
class NullSettings:
    """Parameters of these rules; see `submanifold.dimension.pca.lPCA`."""

    n_permutations: int = 100
    quantile: float = 0.95
    null: str = "permute"

    def check(self) -> None:
        """Refuse values that make no sense."""
        check_int(self.n_permutations, name="n_permutations")
        check_real(self.quantile, name="quantile", high=1.0, open_low=True)
        check_choice(self.null, _NULLS, name="null")


def eigenvalues(P: Matrix, degrees: int) -> Vector:
    """Eigenvalues of $P^T P$ / degrees for P (..., n, D), descending, (..., min(n, D))."""
    n, D = P.shape[-2:]
    Pt = np.swapaxes(P, -1, -2)
    gram = Pt @ P if n >= D else P @ Pt
    return np.maximum(np.linalg.eigvalsh(gram)[..., ::-1] / degrees, 0.0)


def parallel(P: Matrix, degrees: int, c: NullSettings, rng: np.random.Generator) -> tuple[int, float | None]:
    """Horn 1965, Buja and Eyuboglu 1992: how many of the first eigenvalues exceed the same eigenvalue of noise.

    Noise is the data with each coordinate permuted by itself, or with the sign of each entry flipped at random; its
    i-th eigenvalue is taken at the `quantile` over `n_permutations` draws.
    """
    seen = eigenvalues(P, degrees)
    null = np.stack([eigenvalues(_NULLS[c.null](P, rng), degrees) for _ in range(c.n_permutations)])  # (draws, r)
    above = seen > np.quantile(null, c.quantile, axis=0)
    return int(np.cumprod(above).sum()), None


def single_cell(P: Matrix, degrees: int, c: NullSettings, rng: np.random.Generator) -> tuple[int, float | None]:
    r"""Aparicio, Bordyuh, Blumberg and Rabadan 2020: eigenvalues of standardised data beyond what noise reaches.

    That is $\hat\sigma^2$ times the edge $(1 + \sqrt\beta)^2$ and one unit of the scale on which the largest eigenvalue
    of noise varies (Tracy and Widom); $\hat\sigma^2$ is fitted to the median of the spectrum, which signals of low rank
    leave in place.
    """
    spread = np.sqrt((P**2).sum(axis=0) / degrees)
    Z = P[:, spread > 0] / spread[spread > 0]
    values = eigenvalues(Z, degrees)
    n, D = Z.shape
    noise = float(median_noise(Spectra(values[None], n, D, centred=degrees < n))[0])
    threshold = noise * (bulk_edge(D, degrees) + largest_noise(D, degrees)[1])
    return int((values > threshold).sum()), threshold


def _permuted(P: Matrix, rng: np.random.Generator) -> Matrix:
    return np.asarray(rng.permuted(P, axis=0))


def _flipped(P: Matrix, rng: np.random.Generator) -> Matrix:
    return np.asarray(P * rng.choice([-1.0, 1.0], size=P.shape))


_NULLS: dict[str, Callable[[Matrix, np.random.Generator], Matrix]] = {"permute": _permuted, "signflip": _flipped}

DataRule = Callable[[Matrix, int, NullSettings, np.random.Generator], tuple[int, float | None]]
DATA_RULES: dict[str, DataRule] = {"parallel": parallel, "scRMT": single_cell}
