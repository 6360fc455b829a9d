r"""The Wasserstein bound that two-step models minimise, term by term, on held-out data.

With encoder f, decoder g, encoded data Q_Z = f_# P*, latent law P_Z and model P_theta = g_# P_Z, the triangle
inequality gives

    W_1(P*, P_theta) <= E|X - g(f(X))| + W_1(g_# Q_Z, g_# P_Z)                      reconstruction + decoded latents
                     <= E|X - g(f(X))| + E_gamma|g(Z) - g(Z')|             for any coupling gamma of Q_Z, P_Z
                     <= E|X - g(f(X))| + Lip(g) W_1(Q_Z, P_Z)                       if gamma is optimal for |z - z'|.

The first step minimises the first term, the second step the other, and the second does not undo the first (survey
2404.02954, section 5.3.1, whose bound is the constrained one with Q_Z = P_Z; the ingredients of the additive form
are in
Patrini et al. 2018, arXiv 1810.01118). The second line needs no Lipschitz constant. All three lines hold exactly
between the empirical measures of the points at hand, which is what is checked here.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from submanifold.checks import check_int, check_matrix
from submanifold.errors import InvalidInput
from submanifold.geometry import jacobian, singular_values
from submanifold.lens.evidence import Array, Setting, apply_rows, replicated
from submanifold.lens.finding import Finding, Number
from submanifold.models.base import EncoderDecoder, LatentLaw, Model
from submanifold.plotting import DATA, new_figure, series, style
from submanifold.transport import optimal_plan, wasserstein

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["wasserstein_bound"]


def wasserstein_bound(two_step: Model, X: Any, *, n: int = 1000, replicates: int = 5, seed: int = 0) -> Finding:
    """Exact W_1 to held-out data, its two upper bounds, and where they come from.

    Each replicate takes `n` held-out points (at most half of X, so that the other half gives the floor) and `n` fresh
    samples of the latent law. Within each, *exact <= coupling bound <= Lipschitz form* is a theorem; a violation beyond
    rounding raises, since it would be a defect of the computation.

    Verdicts: "informative" (the coupling bound is below the W_1 of a model that draws one point, the mean, so that it
    rules out something), "vacuous" (it is not). The plug-in W_1 is biased upward, by about its floor.

    Args:
        two_step: a trained model with encoder, decoder and latent law.
        X: held-out data, (n, *data_shape): data the model was fitted to would make every term too small.
        n: points and samples per replicate.
        replicates: number of replicates; their spread gives the intervals.
        seed: of points and samples.

    Raises:
        InvalidInput: for a model without a latent law of its own.
    """
    if not (isinstance(two_step, EncoderDecoder) and isinstance(two_step, LatentLaw)):
        raise InvalidInput(
            f"two_step={type(two_step).__name__} has no decoder with a latent law: give a two-step model or a VAE"
        )
    data = X.x if isinstance(X, Setting) else check_matrix(X, name="X", min_rows=20)
    size = min(check_int(n, name="n", low=2), len(data) // 2)
    check_int(replicates, name="replicates", low=2)
    rng = np.random.default_rng(seed)
    rows = [
        _one_replicate(two_step, data[order[:size]], data[order[size : 2 * size]], seed=seed + r)
        for r, order in enumerate(rng.permutation(len(data)) for _ in range(replicates))
    ]
    table = {key: np.array([row[key] for row in rows]) for key in rows[0]}
    constant = float(np.linalg.norm(data - data.mean(axis=0), axis=1).mean())

    sampled, certified = float(table["lipschitz_sampled"].max()), two_step.decoder_lipschitz_bound()
    exact, coupling = table["exact"], table["reconstruction"] + table["latent"]
    lipschitz = table["reconstruction"] + sampled * table["latent_w1"]
    slack = 1e-5 * (coupling + constant)  # decoders compute in float32
    if (exact > coupling + slack).any() or (coupling > lipschitz + slack).any() or sampled > certified * (1 + 1e-5):
        raise ArithmeticError(
            f"the bounds are out of order (exact {exact}, coupling {coupling}, Lipschitz {lipschitz}, slope "
            f"{sampled} of at most {certified}): the triangle inequality forbids it, so the decoder's bound is wrong"
        )
    numbers = {
        "w1_exact": replicated(
            exact,
            meaning=f"W1 between {size} held-out points and as many decoded latents, without decoder noise",
        ),
        "w1_floor": replicated(table["floor"], meaning="the same W1 between two halves of the held-out data"),
        "reconstruction_term": replicated(table["reconstruction"], meaning="mean reconstruction error E|x - g(f(x))|"),
        "latent_term": replicated(table["latent"], meaning="optimal latent coupling pushed through the decoder"),
        "coupling_bound": replicated(
            coupling,
            kind="certified",
            meaning="reconstruction + latent term: bounds w1_exact between these point sets",
        ),
        "latent_w1": replicated(table["latent_w1"], meaning="W1 between encoded data and latent samples"),
        "lipschitz_sampled": Number(
            sampled,
            kind="estimated",
            meaning="largest slope of the decoder seen: a lower bound of Lip(g)",
        ),
        "lipschitz_form": replicated(lipschitz, meaning="reconstruction + sampled slope x latent W1"),
        "constant_model": Number(
            constant, meaning="W1 of a model of one point, the mean: what a bound must beat to say anything"
        ),
    }
    if math.isfinite(certified):
        form = table["reconstruction"] + certified * table["latent_w1"]
        numbers |= {
            "lipschitz_certified": Number(
                certified, kind="certified", meaning="upper bound of Lip(g) from the decoder's weights"
            ),
            "lipschitz_form_certified": replicated(
                form, kind="certified", meaning="reconstruction + certified constant x latent W1"
            ),
        }
    bound, floor = numbers["coupling_bound"].value, numbers["w1_floor"].value
    informative, at_floor = bound < constant, exact.mean() <= 1.1 * floor
    larger = "reconstruction" if numbers["reconstruction_term"].value > numbers["latent_term"].value else "latent law"
    return Finding(
        name="wasserstein_bound",
        verdict="informative" if informative else "vacuous",
        standing="good" if informative and at_floor else "neutral",
        summary=(
            f"W1 of decoded latents to held-out data is {exact.mean():.3g} (floor {floor:.3g}), at most {bound:.3g} by "
            f"the coupling bound ({numbers['reconstruction_term'].value:.3g} reconstruction + "
            f"{numbers['latent_term'].value:.3g} latent) and {lipschitz.mean():.3g} by the Lipschitz form; a model of "
            f"one point would reach {constant:.3g}."
        ),
        numbers=numbers,
        advice="" if at_floor else f"The larger term is that of the {larger}: improve it first.",
        assumptions=(
            "held-out data come from the law of the training data",
            "the inequalities are exact between these point sets; between the laws they hold up to sampling error",
        ),
        draw=lambda: _draw(numbers),
    )


def _one_replicate(model: Any, x: Array, other: Array, *, seed: int) -> dict[str, float]:
    """All terms for one set of held-out points x and as many latent samples."""
    z = apply_rows(model.encode, x, model, model.data_shape)
    drawn = model.sample_latent(len(x), generator=torch.Generator(model.device).manual_seed(seed))
    z_model = drawn.detach().reshape(len(x), -1).double().cpu().numpy()  # (n, latent_dim)
    decoded, samples = (apply_rows(model.decode, latent, model, (model.latent_dim,)) for latent in (z, z_model))
    plan = optimal_plan(z, z_model)
    moved = np.linalg.norm(decoded[plan.rows] - samples[plan.columns], axis=1)
    apart = np.linalg.norm(z[plan.rows] - z_model[plan.columns], axis=1)
    slopes = moved[apart > 0] / apart[apart > 0]
    near = torch.from_numpy(np.concatenate([z[:64], z_model[:64]])).to(model.device, model.dtype)
    steepest = float(singular_values(jacobian(model.decode, near)).max())
    return {
        "exact": wasserstein(x, samples),
        "floor": wasserstein(x, other[: len(x)]),
        "reconstruction": float(np.linalg.norm(x - decoded, axis=1).mean()),
        "latent": float(plan.mass @ moved),
        "latent_w1": plan.value,
        "lipschitz_sampled": max(steepest, float(slopes.max(initial=0.0))),
    }


@style()
def _draw(numbers: dict[str, Number]) -> Figure:
    figure, (axis,) = new_figure(width=6.8, height=3.0)
    exact, floor = numbers["w1_exact"], numbers["w1_floor"]
    recon, latent = numbers["reconstruction_term"].value, numbers["latent_term"].value
    slope_part = numbers["lipschitz_form"].value - recon
    rows = ["Lipschitz form", "coupling bound", "W1, exact"]
    axis.barh(
        [0, 1],
        [recon, recon],
        color=series(0).color,
        hatch="//",
        edgecolor="white",
        label="reconstruction",
    )
    axis.barh(
        [0, 1],
        [slope_part, latent],
        left=[recon, recon],
        color=series(4).color,
        hatch="..",
        edgecolor="white",
        label="latent law",
    )
    axis.barh(
        [2],
        [exact.value],
        color=DATA.color,
        xerr=[max(0.0, (exact.high or math.nan) - exact.value)],
        capsize=3,
    )
    axis.axvline(floor.value, color="black", linestyle=":", label="floor: data against data")
    axis.axvline(numbers["constant_model"].value, color=series(1).color, linestyle="--", label="vacuous beyond")
    axis.set(yticks=range(3), yticklabels=rows, xlabel="W1, in the units of the data")
    axis.set_title("What the bound is made of")
    axis.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure
