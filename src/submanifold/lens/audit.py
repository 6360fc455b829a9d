r"""What an autoencoder knows of the manifold besides reconstructing it.

Perfect reconstruction on M makes the encoder f an embedding of M, and says nothing else: g may decode latents outside
f(M) to points off M, and points off M may be reconstructed perfectly (survey 2404.02954, section 3.2). Nor can a
continuous f with too few latents reconstruct a closed manifold: on the circle the error of one latent reaches its
radius
(Borsuk-Ulam), and the encoder tears a seam.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from submanifold import neighbors
from submanifold.errors import InvalidInput
from submanifold.lens.evidence import (
    Array,
    apply_rows,
    mean_with_interval,
    proportion,
    setting,
)
from submanifold.lens.finding import Finding, Number
from submanifold.models.base import EncoderDecoder, Model
from submanifold.plotting import DATA, new_figure, series, style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["autoencoder_audit"]


def autoencoder_audit(
    model: Model,
    X: Any,
    *,
    reference: Any = None,
    dim: float | None = None,
    n_latents: int = 4000,
    n_ambient: int = 20_000,
    seed: int = 0,
) -> Finding:
    """How far the autoencoder's picture of the manifold goes beyond the data.

    Measured on held-out data X, with the *tube*, the points near the data manifold (see `evidence.setting`):

    - the largest and the mean reconstruction error on X;
    - the fraction of latents, uniform in the box of the encoded data, that decode off the tube;
    - the fraction of *ghosts*: points, uniform in the box of the data, that are farther than twice the tube from the
      manifold and yet are reconstructed within half of it;
    - the *seam*: the largest jump of the encoder between neighbouring data points, as a fraction of the latents'
    extent.

    Verdicts: "tears" (a seam: the latent space cannot hold the manifold's topology), "open" (most of the latent box
    decodes off the manifold: sample with a law fitted to the latents only), "closed" (it does not).

    Args:
        model: a trained `EncoderDecoder`.
        X: held-out data, (n, *data_shape).
        reference: the training data; without it one half of X serves.
        dim: intrinsic dimension, estimated where not given.
        n_latents: latents drawn from the box.
        n_ambient: ambient points drawn from the box of the data.
        seed: of all draws.

    Raises:
        InvalidInput: for a model without encoder and decoder.
    """
    if not isinstance(model, EncoderDecoder):
        raise InvalidInput(f"model={type(model).__name__} has no encoder and decoder: give an autoencoder")
    data = setting(X, reference, dim=dim, seed=seed)
    x, manifold = data.x, data.manifold
    rng = np.random.default_rng(seed)

    z = _encode(model, x)
    error = np.linalg.norm(x - _decode(model, z), axis=1)
    box = rng.uniform(z.min(axis=0), z.max(axis=0), (n_latents, z.shape[1]))
    decoded = _decode(model, box)
    off = manifold.project(decoded).distance
    kept = np.linalg.norm(decoded - _decode(model, _encode(model, decoded)), axis=1) < 0.5 * manifold.tube
    ambient = rng.uniform(x.min(axis=0), x.max(axis=0), (n_ambient, x.shape[1]))
    residual = np.linalg.norm(ambient - _decode(model, _encode(model, ambient)), axis=1)
    suspect = np.flatnonzero(residual < 0.5 * manifold.tube)
    ghost = np.zeros(n_ambient, dtype=bool)
    if len(suspect):
        ghost[suspect] = manifold.project(ambient[suspect]).distance > 2 * manifold.tube
    jump, stretch = _seam(x, z)

    numbers = {
        "sup_reconstruction_error": Number(
            float(error.max()),
            kind="estimated",
            meaning="largest reconstruction error on held-out data: a lower bound of the supremum",
        ),
        "mean_reconstruction_error": mean_with_interval(error, meaning="mean reconstruction error on held-out data"),
        "latent_box_off_manifold": proportion(
            off > manifold.tube,
            meaning=f"fraction of the latent box that decodes farther than {manifold.tube:.3g} from the manifold",
        ),
        "ghost_fraction": proportion(
            ghost,
            meaning="fraction of the data's bounding box that lies off the manifold and is reconstructed all the same",
        ),
        "decoded_ghosts": proportion(
            kept & (off > 2 * manifold.tube),
            meaning="fraction of the latent box that decodes to ghosts: the way to find them where D is large",
        ),
        "seam": Number(
            jump,
            kind="heuristic",
            meaning="largest encoder jump between neighbouring points, as a fraction of the latents' extent",
        ),
        "tube": Number(
            manifold.tube,
            kind="heuristic",
            meaning="distance within which a point counts as on the manifold",
        ),
    }
    open_fraction, sup = numbers["latent_box_off_manifold"].value, float(error.max())
    tears = jump > 0.25 and stretch > 10 and sup > 2 * manifold.tube
    verdict = "tears" if tears else "open" if open_fraction > 0.5 else "closed"
    summary = {
        "tears": f"The encoder tears the manifold: neighbours jump {jump:.0%} of the latent extent, and "
        f"the reconstruction is off by up to {sup:.3g}.",
        "open": f"Reconstruction is within {sup:.3g}, and yet {open_fraction:.0%} of the latent box decodes off "
        "the manifold.",
        "closed": f"Reconstruction is within {sup:.3g}, and {1 - open_fraction:.0%} of the latent box decodes "
        "onto the manifold.",
    }[verdict]
    advice = {
        "tears": "Give the autoencoder more latents: an embedding may need up to 2d + 1.",
        "open": "Do not sample latents from a box or a broad prior: fit their law (repair, or a two-step model).",
        "closed": "",
    }[verdict]
    if numbers["ghost_fraction"].value > 0:
        share = numbers["ghost_fraction"].value
        summary += f" Of the points around the data, {share:.2%} are off the manifold and reconstructed all the same."
    return Finding(
        name="autoencoder_audit",
        verdict=verdict,
        standing="bad" if tears else "unsure" if verdict == "open" else "good",
        summary=summary,
        numbers=numbers,
        advice=advice,
        assumptions=("the data manifold is known well enough from the reference to measure distances to it",),
        draw=lambda: _draw(z, box, off, error, manifold.tube),
    )


def _encode(model: Any, x: Array) -> Array:
    return apply_rows(model.encode, x, model, model.data_shape)


def _decode(model: Any, z: Array) -> Array:
    return apply_rows(model.decode, z, model, (model.latent_dim,))


def _seam(x: Array, z: Array) -> tuple[float, float]:
    """The largest jump of the latents between neighbours, over their extent, and its stretch over the usual one.

    The stretch |z - z'| / |x - x'| of a smooth encoder varies little, however far apart neighbours are.
    """
    graph = neighbors.NeighborGraph(x, min(3, len(x) - 1))
    jump = np.linalg.norm(z[:, None] - z[graph.indices], axis=2).ravel()  # (3 n,)
    stretch = jump / np.maximum(graph.distances.ravel(), np.finfo(float).tiny)
    worst, tiny = int(jump.argmax()), np.finfo(float).tiny
    extent = float(np.linalg.norm(np.ptp(z, axis=0)))
    return float(jump[worst]) / max(extent, tiny), float(stretch[worst]) / max(float(np.median(stretch)), tiny)


@style()
def _draw(z: Array, box: Array, off: Array, error: Array, tube: float) -> Figure:
    figure, (latent, histogram) = new_figure(2)
    if z.shape[1] == 1:
        latent.set_ylim(-0.1 * tube, max(2 * tube, 1.05 * float(off.max())))
        latent.scatter(box[:, 0], off, s=4, **series(1).point_kwargs(), label="decoded from the box")
        latent.plot(z[:, 0], np.zeros(len(z)), "|", color=DATA.color, markersize=12, label="encoded data")
        latent.set(xlabel="latent", ylabel="distance from the manifold")
        latent.legend(loc="upper right")
    else:
        mark = latent.scatter(box[:, 0], box[:, 1], c=off, s=5, vmin=0, vmax=max(float(np.quantile(off, 0.98)), tube))
        latent.plot(
            z[:, 0],
            z[:, 1],
            ".",
            color="white",
            markeredgecolor="black",
            markeredgewidth=0.3,
            markersize=4,
        )
        figure.colorbar(mark, ax=latent, label="distance from the manifold")
        latent.set(xlabel="latent 1", ylabel="latent 2")
    latent.set_title("Where the latent box decodes to")
    top = max(float(np.quantile(off, 0.99)), float(error.max()), 2 * tube)
    bins = np.linspace(0, top, 40).tolist()
    histogram.hist(
        error,
        bins=bins,
        density=True,
        color=DATA.color,
        alpha=0.7,
        label="reconstruction error of data",
    )
    histogram.hist(
        off,
        bins=bins,
        density=True,
        histtype="step",
        linewidth=1.8,
        color=series(1).color,
        label="latent box, from the manifold",
    )
    histogram.axvline(tube, color="black", linestyle=":", label="tube")
    histogram.set(xlabel="distance", ylabel="density", yscale="log")
    histogram.set_title("On the data and off it")
    histogram.legend(loc="upper right")
    return figure
