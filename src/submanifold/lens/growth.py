r"""How scores grow on the way from noise to data: without bound in the ambient space, not among latents.

Lengths are in units of the root mean square deviation per coordinate of what is drawn, and the score is that of the
point \alpha x with \alpha = 1 / \sqrt{1 + \sigma^2}, whose variance does not change along the way: so all curves begin
at |s|^2 / D = 1. On a d-dimensional manifold they end as (D - d) / D \sigma^{-2}, with exponent 2; where the data have
a density, as latents have, they stay bounded (Loaiza-Ganem et al. 2024, arXiv 2404.02954, figure 8; Lu et al. 2023,
arXiv 2301.07882).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from submanifold.checks import check_int
from submanifold.errors import InvalidInput
from submanifold.lens.evidence import Z95, Array, draw
from submanifold.lens.finding import Finding, Number
from submanifold.lens.score_samples import known_levels
from submanifold.models.base import Generator, Score
from submanifold.models.diffusion.levels import noise_levels
from submanifold.models.diffusion.samplers import ancestral
from submanifold.plotting import new_figure, series, style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["ScoreNorms", "score_norm_growth", "score_norms"]

_DECADE = 10.0
"""The exponent is that of the last decade of noise levels."""


@dataclass(frozen=True, eq=False)
class ScoreNorms:
    """Squared score norms over dimension along reverse paths.

    Attributes:
        sigmas: noise levels, descending, (steps,).
        squares: |s|^2 / D by level and path, (steps, n_paths).
    """

    sigmas: Array
    squares: Array = field(repr=False)

    @property
    def mean(self) -> Array:
        """Means over paths, (steps,)."""
        return np.asarray(self.squares.mean(axis=1))

    @property
    def half_width(self) -> Array:
        """Half-widths of their 95% intervals, (steps,)."""
        return np.asarray(Z95 * self.squares.std(axis=1, ddof=1) / math.sqrt(self.squares.shape[1]))

    @property
    def growth(self) -> Number:
        """The mean at the least level over that at the largest."""
        last, first = self.squares[-1], self.squares[0]
        ratio = float(last.mean() / first.mean())
        error = float((last / last.mean() - first / first.mean()).std(ddof=1)) / math.sqrt(len(last))
        return Number(ratio, ratio * math.exp(-Z95 * error), ratio * math.exp(Z95 * error))

    @property
    def exponent(self) -> Number:
        """Slope of log mean against log 1 / sigma over the last decade of levels: 2 on a manifold, 0 with a density."""
        rows = self.sigmas <= max(_DECADE * self.sigmas[-1], self.sigmas[-2])
        t = -np.log(self.sigmas[rows])
        weights = (t - t.mean()) / np.square(t - t.mean()).sum()
        means = self.mean[rows]
        each = weights @ (self.squares[rows] / means[:, None] - 1)  # (n_paths,): what each path adds to the slope
        slope, error = float(weights @ np.log(means)), float(each.std(ddof=1)) / math.sqrt(len(each))
        return Number(slope, slope - Z95 * error, slope + Z95 * error)


def score_norms(model: Any, n_paths: int = 100, steps: int = 100, *, seed: int = 0) -> ScoreNorms:
    """|s|^2 / D along paths from noise to data, as the model draws them by ancestral steps.

    Args:
        model: a `Score` and a `Generator`: its samples under the largest noise are where paths begin.
        n_paths: how many.
        steps: noise levels, evenly in their logarithm, down to the model's least.
        seed: of the paths.

    Raises:
        InvalidInput: for a model without scores, or one that cannot sample.
        NonFiniteScore: where the model says something that is not a number.
    """
    if not (isinstance(model, Score) and isinstance(model, Generator)):
        raise InvalidInput(f"model={type(model).__name__} is not accepted: give a model that knows scores and samples")
    check_int(n_paths, name="n_paths", low=10)
    check_int(steps, name="steps", low=5)
    y = draw(model, n_paths, seed=seed)
    unit = math.sqrt(float(y.var(axis=0).mean()))
    low, high = known_levels(model, unit)
    device, dtype = getattr(model, "device", torch.device("cpu")), getattr(model, "dtype", torch.float32)
    generator = torch.Generator(device).manual_seed(seed)
    levels, squares = [], []

    def recorded(x: Tensor, sigma: Tensor) -> Tensor:
        denoised = model.denoise(x, sigma)
        relative = float(sigma) / unit
        score = unit * (denoised - x).double().flatten(1) / float(sigma) ** 2 * math.sqrt(1 + relative**2)
        levels.append(relative)
        squares.append(score.square().mean(dim=1).cpu().numpy())
        return denoised

    start = torch.from_numpy(y).to(device, dtype).reshape(n_paths, *model.data_shape)
    start = start + high * torch.randn(start.shape, generator=generator, device=device, dtype=dtype)
    sigmas = noise_levels(steps, low, high, spacing="log", to_zero=True)
    with torch.no_grad():
        ancestral(recorded, start, sigmas, generator=generator)
    return ScoreNorms(np.array(levels), np.stack(squares))


def score_norm_growth(ambient: Any, two_step: Any, *, n_paths: int = 100, steps: int = 100, seed: int = 0) -> Finding:
    """Whether scores of latents stay bounded where those of data do not.

    Verdicts: "bounded" (the exponent among latents is below 1/2, that of the ambient model above 1), "both grow" (the
    latents lie on a manifold too: there are more of them than dimensions), "neither grows" (the data have a density, or
    the ambient model does not know small enough noise), "latents grow" (only they do).

    Args:
        ambient: a `Score` of data that samples.
        two_step: a two-step model whose `law` is a `Score` of latents that samples.
        n_paths: paths of each.
        steps: levels of each.
        seed: of the paths.

    Raises:
        InvalidInput: for a model without scores, or a two-step model whose law has none.
    """
    law = getattr(two_step, "law", None)
    if not (isinstance(law, Score) and isinstance(law, Generator)):
        raise InvalidInput(
            f"two_step={type(two_step).__name__} has no law that knows scores: give a two-step model with a diffusion "
            "model of its latents"
        )
    outer, inner = (score_norms(model, n_paths, steps, seed=seed) for model in (ambient, law))
    D, d = math.prod(ambient.data_shape), math.prod(law.data_shape)
    numbers = {}
    for name, norms, where in (("ambient", outer, f"in R^{D}"), ("latent", inner, f"of {d} latents")):
        numbers[f"{name}_exponent"] = _named(
            norms.exponent, f"slope of log |s|^2 against log 1/sigma over the last decade of noise, {where}"
        )
        numbers[f"{name}_growth"] = _named(norms.growth, f"|s|^2 at the least noise over that at the largest, {where}")
    grows = numbers["ambient_exponent"].value > 1, numbers["latent_exponent"].value >= 0.5
    verdict = {
        (True, False): "bounded",
        (True, True): "both grow",
        (False, False): "neither grows",
        (False, True): "latents grow",
    }[grows]
    return Finding(
        name="score_norm_growth",
        verdict=verdict,
        standing={"bounded": "good", "neither grows": "neutral"}.get(verdict, "bad"),  # type: ignore[arg-type]
        summary=(
            f"From noise to data |s|^2 / D grows {outer.growth.value:.2g} times in R^{D}, at the end as 1 / sigma "
            f"to the power {outer.exponent.value:.2f}, and {inner.growth.value:.2g} times among {d} latents, to the "
            f"power {inner.exponent.value:.2f}."
        ),
        numbers=numbers,
        advice="Give the autoencoder fewer latents: their scores grow as on a manifold." if grows[1] else "",
        assumptions=("paths are the models' own: a score that is wrong leads them elsewhere",),
        draw=lambda: _draw({f"data, D = {D}": outer, f"latents, d = {d}": inner}),
    )


def _named(number: Number, meaning: str) -> Number:
    return Number(number.value, number.low, number.high, meaning=meaning)


@style()
def _draw(curves: dict[str, ScoreNorms]) -> Figure:
    figure, (axis,) = new_figure(width=5.4, height=3.8)
    for index, (label, norms) in enumerate(curves.items()):
        look = series(index)
        axis.loglog(norms.sigmas, norms.mean, label=label, markevery=8, **look.line_kwargs())
        low = np.maximum(norms.mean - norms.half_width, 0.1 * norms.mean)
        axis.fill_between(norms.sigmas, low, norms.mean + norms.half_width, color=look.color, alpha=0.2, linewidth=0)
    axis.invert_xaxis()
    axis.set(xlabel="noise level / deviation of the data", ylabel="$|s|^2$ / dimension")
    axis.set_title("Scores on the way from noise to data")
    axis.legend(loc="upper left")
    return figure
