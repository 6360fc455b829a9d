"""KANs as pictures: the network, with what each edge says on it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from submanifold.checks import check_tensor
from submanifold.errors import InvalidInput
from submanifold.nn.kan.network import KAN
from submanifold.nn.kan.reading import attribution
from submanifold.plotting import DATA, new_figure, series, style

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["draw"]

_MOST_EDGES = 100
"""In one picture."""
_POINTS = 200
_PANEL = 0.62
"""Width of a panel, in inches."""
_LEVEL = 1.75
"""Height of a layer, in inches."""


@style()
def draw(kan: KAN, x: Tensor, *, names: Sequence[str] | None = None) -> Figure:
    """The network from inputs, below, to outputs, above, each edge with its function on the range that it sees.

    The darker and the thicker an edge, the more outputs depend on it (`attribution`); pruned edges are not there.
    Functions are drawn each on a scale of its own.

    Args:
        kan: the network.
        x: data, (n, in_features), at least two points.
        names: of inputs; x1, x2, ... by default.

    Raises:
        InvalidInput: for data of another shape or not finite, another number of names than inputs, or a network with
            more edges than a picture can show.
    """
    widths = [kan.layers[0].in_features, *(layer.out_features for layer in kan.layers)]
    names = [f"x{i + 1}" for i in range(widths[0])] if names is None else list(names)
    if len(names) != widths[0]:
        raise InvalidInput(f"names holds {len(names)} names: give {widths[0]}")
    edges = [[(int(o), int(i)) for i, o in layer.mask.mT.nonzero().tolist()] for layer in kan.layers]
    if sum(map(len, edges)) > _MOST_EDGES:
        raise InvalidInput(f"kan has {sum(map(len, edges))} edges: prune it to at most {_MOST_EDGES}")
    x = check_tensor(x, (widths[0],)).to(kan.layers[0].coefficients)
    scores = attribution(kan, x).edges
    with torch.no_grad():
        seen = kan.activations(x)
    panels = max(*map(len, edges), *widths, 6)
    figure, (axis,) = new_figure(width=_PANEL * panels * 1.15 + 0.4, height=_LEVEL * len(edges) + 0.6)
    axis.set(xlim=(0, 1), ylim=(-0.18, len(edges) + 0.18))
    axis.axis("off")
    places = [(np.arange(width) + 0.5) / width for width in widths]
    for level, (layer, pairs) in enumerate(zip(kan.layers, edges, strict=True)):
        z = seen[level]
        grid = z.amin(dim=0) + (z.amax(dim=0) - z.amin(dim=0)) * torch.linspace(0, 1, _POINTS)[:, None].to(z)
        with torch.no_grad():
            said = layer.edges(grid).double().cpu().numpy()
        heard = grid.double().cpu().numpy()
        strongest = max((float(scores[level][edge]) for edge in pairs), default=0.0) or 1.0
        for number, (o, i) in enumerate(pairs):
            strength = float(scores[level][o, i]) / strongest
            look: dict[str, Any] = {
                "color": str(round(0.78 * (1 - strength), 3)),
                "linewidth": 0.6 + 1.6 * strength,
                "zorder": 1,
            }
            middle = (number + 0.5) / len(pairs)
            axis.plot([places[level][i], middle], [level, level + 0.31], **look)
            axis.plot([middle, places[level + 1][o]], [level + 0.69, level + 1], **look)
            _panel(axis, (middle, level + 0.5), 0.82 / max(panels, len(pairs)), heard[:, i], said[:, o, i], strength)
    for level, width in enumerate(widths):
        axis.plot(places[level], [level] * width, "o", color=DATA.color, markersize=7, zorder=3, clip_on=False)
    for place, name in zip(places[0], names, strict=True):
        axis.annotate(name, (place, 0), xytext=(0, -9), textcoords="offset points", ha="center", va="top")
    for o, place in enumerate(places[-1]):
        label = "y" if widths[-1] == 1 else f"y{o + 1}"
        axis.annotate(label, (place, len(edges)), xytext=(0, 8), textcoords="offset points", ha="center", va="bottom")
    return figure


def _panel(axis: Axes, middle: tuple[float, float], width: float, x: Any, y: Any, strength: float) -> None:
    """One function in a box."""
    box = axis.inset_axes((middle[0] - width / 2, middle[1] - 0.19, width, 0.38), transform=axis.transData, zorder=2)
    look = series(0)
    box.plot(x, y, color=look.color, linewidth=1.6, alpha=0.35 + 0.65 * strength)
    box.margins(0.08, 0.12)
    box.set(xticks=[], yticks=[])
    box.grid(False)
    for spine in box.spines.values():
        spine.set(visible=True, color=str(round(0.78 * (1 - strength), 3)), linewidth=0.8)
