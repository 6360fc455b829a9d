r"""Images of known dimension: pictures of simple shapes, smooth in the parameters that they are drawn from.

The image plane is the unit square, u to the right and v downwards; pixel (i, j) has its centre at u_j = (j + 1/2) / H,
v_i = (i + 1/2) / H. An image shows a scene f: R^2 -> [0, 1] through a lens with a Gaussian blur of b pixels,

    x_ij = (f * N(0, (b/H)^2 I_2))(u_j, v_i).

A scene with sharp edges seen without blur is no smooth manifold. If a pixel is the colour at its centre, the images
change by jumps, and there are finitely many of them: dimension 0. In continuous resolution the curve of images is
nowhere differentiable (Donoho, Grimes 2005; Wakin et al. 2005), for ||x(t) - x(t')|| grows like |t - t'|^{1/2}.
Averaging over a pixel's area leaves kinks where an edge enters a pixel. Blurred by a Gaussian, pixels are
real-analytic in the parameters: the images are a d-dimensional manifold, the more curved the smaller b is.

References:
    Donoho, Grimes 2005, "Image manifolds which are isometric to Euclidean space".
    Wakin, Donoho, Choi, Baraniuk 2005, "The multiscale structure of non-differentiable image manifolds".
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtr

from submanifold.checks import check_int, check_matrix, check_real
from submanifold.data.arguments import call
from submanifold.data.noise import add_noise, noise_sigma
from submanifold.errors import InvalidInput
from submanifold.registry import Registry

__all__ = ["IMAGE_MANIFOLDS", "ImageManifold", "image_manifold", "image_manifold_names"]

Array = NDArray[np.float64]


@dataclass(frozen=True)
class ImageManifold:
    """The images of a family of scenes with d parameters, each parameter uniform on an interval.

    Attributes:
        name: the word for it in code, command line and reports.
        parameter_names: what the d parameters are; lengths in units of the image's side, angles in radians.
        low: lower ends of the intervals, (d,).
        high: upper ends.
        size: height and width H of the images in pixels.
        draw: maps parameters (n, d) to images (n, H, W).
    """

    name: str
    parameter_names: tuple[str, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    size: int
    draw: Callable[[Array], Array] = field(repr=False)

    @property
    def dim(self) -> int:
        """Intrinsic dimension d: the number of parameters."""
        return len(self.parameter_names)

    @property
    def data_shape(self) -> tuple[int, int, int]:
        """Shape of one image: (1, H, W)."""
        return (1, self.size, self.size)

    @property
    def ambient_dim(self) -> int:
        """Number of pixels D."""
        return math.prod(self.data_shape)

    def parameters(self, n: int, seed: int = 0) -> Array:
        """The parameters (n, d) of the images that `sample` draws with this seed."""
        rng = np.random.default_rng(check_int(seed, name="seed", low=0))
        return rng.uniform(self.low, self.high, (check_int(n, name="n"), self.dim))

    def render(self, parameters: ArrayLike) -> Array:
        """The images (n, 1, H, W) of parameters (n, d), with values in [0, 1].

        Raises:
            InvalidInput: for parameters of the wrong number, or outside their intervals.
        """
        p = check_matrix(parameters, name="parameters", min_rows=1)
        if p.shape[1] != self.dim:
            raise InvalidInput(
                f"parameters has {p.shape[1]} columns: give {self.dim}, {', '.join(self.parameter_names)}"
            )
        outside = ((p < self.low) | (p > self.high)).any(axis=0)
        if outside.any():
            k = int(outside.argmax())
            raise InvalidInput(
                f"parameters leave the range of {self.parameter_names[k]}: "
                f"give values in [{self.low[k]}, {self.high[k]}]"
            )
        return self.draw(p)[:, None]  # (n, 1, H, W)

    def sample(self, n: int, seed: int = 0, noise: float = 0.0) -> Array:
        """`n` independent images, (n, 1, H, W), with values in [0, 1] where there is no noise.

        Args:
            n: number of images.
            seed: the same seed gives the same images, and the same images under any noise.
            noise: root mean square length of the isotropic Gaussian noise added to the pixels, as a fraction of the
                root mean square distance of the noise-free images from their mean. Nothing is clipped, since clipped
                noise is no longer Gaussian.

        Raises:
            InvalidInput: for n < 1, a negative seed, or a negative noise.
        """
        x = self.render(self.parameters(n, seed))
        return add_noise(x, noise_sigma(noise, x[0].size, self.sample), seed)


IMAGE_MANIFOLDS: Registry[Callable[..., ImageManifold]] = Registry("image manifold")

_MARGIN = 0.1  # between the shapes and the border, so that no parameter is lost from view
_SIDE = (0.2, 0.4)
# An L, as two rectangles (left, right, top, bottom) about its centre of rotation: no rotation maps it to itself.
_BAR, _FOOT = (-0.10, 0.02, -0.22, 0.22), (0.02, 0.20, 0.10, 0.22)


@IMAGE_MANIFOLDS.register("squares")
def squares(size: int = 16, side: float | None = None, blur: float = 1.0) -> ImageManifold:
    """A white square on black: its centre (u, v) and, unless it is given, its side; d = 3, or 2.

    Args:
        size: height and width of the images in pixels, at least 8.
        side: side of all squares as a fraction of the image's; None for a side that varies.
        blur: standard deviation of the blur in pixels, at least 0.5.
    """
    b = _blur(size, blur)
    largest = _SIDE[1] if side is None else check_real(side, name="side", high=1 - 3 * _MARGIN, open_low=True)
    low, high = _MARGIN + largest / 2, 1 - _MARGIN - largest / 2

    def draw(p: Array) -> Array:
        half = p[:, 2] / 2 if side is None else np.full(len(p), side / 2)
        grid = _centres(size)
        across = _interval(grid - p[:, :1], -half[:, None], half[:, None], b)  # (n, W)
        down = _interval(grid - p[:, 1:2], -half[:, None], half[:, None], b)  # (n, H)
        return down[:, :, None] * across[:, None, :]  # (n, H, W)

    if side is not None:
        return ImageManifold("squares", ("u", "v"), (low,) * 2, (high,) * 2, size, draw)
    return ImageManifold("squares", ("u", "v", "side"), (low, low, _SIDE[0]), (high, high, _SIDE[1]), size, draw)


@IMAGE_MANIFOLDS.register("blobs")
def blobs(k: int = 2, size: int = 16, intensities: bool = False) -> ImageManifold:
    r"""Overlapping Gaussian blobs of unlike place, width and, if wanted, brightness; 3 or 4 dimensions for each.

    x = 1 - \prod_j (1 - a_j g_j) for k blobs g_j of centre (u_j, v_j), width w_j and intensity a_j.

    The blobs are interchangeable, and d is the dimension wherever no two of them coincide. Gaussians need no blur.

    Args:
        k: number of blobs.
        size: height and width of the images in pixels, at least 8.
        intensities: whether the intensities vary in [0.5, 1], which makes d = 4k; otherwise they are 1.
    """
    check_int(k, name="k")
    check_int(size, name="size", low=8)
    each = ("u", "v", "width", "intensity")[: 4 if intensities else 3]
    low, high = (0.2, 0.2, 0.06, 0.5)[: len(each)], (0.8, 0.8, 0.12, 1.0)[: len(each)]

    def draw(p: Array) -> Array:
        grid, dark = _centres(size), np.ones((len(p), size, size))
        for blob in p.reshape(len(p), k, len(each)).transpose(1, 2, 0)[..., None]:  # (3 or 4, n, 1)
            u, v, width = blob[:3]
            across = np.exp(-0.5 * np.square((grid - u) / width))  # (n, W)
            down = np.exp(-0.5 * np.square((grid - v) / width))  # (n, H)
            if intensities:
                down = blob[3] * down
            dark *= 1 - down[:, :, None] * across[:, None, :]  # (n, H, W)
        return 1 - dark

    names = tuple(f"{name}{j}" for j in range(1, k + 1) for name in each)
    return ImageManifold("blobs", names, low * k, high * k, size, draw)


@IMAGE_MANIFOLDS.register("rotated-shapes")
def rotated_shapes(size: int = 16, translate: bool = False, scale: bool = False, blur: float = 1.0) -> ImageManifold:
    """A white L on black, turned by an angle: d = 1, a closed curve; 2 more if it is translated, 1 more if scaled.

    Args:
        size: height and width of the images in pixels, at least 8.
        translate: whether its centre (u, v) varies.
        scale: whether its size varies.
        blur: standard deviation of the blur in pixels, at least 0.5.
    """
    b = _blur(size, blur)
    free = {"angle": (0.0, 2 * math.pi)}
    free |= {"u": (0.4, 0.6), "v": (0.4, 0.6)} if translate else {}
    free |= {"scale": (0.6, 1.0)} if scale else {}

    def draw(p: Array) -> Array:
        of = {name: p[:, j, None, None] for j, name in enumerate(free)}  # (n, 1, 1) each
        grid, angle, zoom = _centres(size), of["angle"], of.get("scale", 1.0)
        right, down = grid[None, None, :] - of.get("u", 0.5), grid[None, :, None] - of.get("v", 0.5)
        # The blur is isotropic, hence a product of blurs along the axes of the turned rectangles.
        a = np.cos(angle) * right + np.sin(angle) * down  # (n, H, W)
        c = np.cos(angle) * down - np.sin(angle) * right
        image = np.zeros_like(a)
        for rectangle in (_BAR, _FOOT):
            left, end, top, bottom = (zoom * edge for edge in rectangle)
            image += _interval(a, left, end, b) * _interval(c, top, bottom, b)
        return image

    low, high = zip(*free.values(), strict=True)
    return ImageManifold("rotated-shapes", tuple(free), low, high, size, draw)


def image_manifold(name: str, **arguments: Any) -> ImageManifold:
    """The image manifold called `name`, with its own arguments.

    >>> image_manifold("squares", size=32).sample(5).shape
    (5, 1, 32, 32)

    Raises:
        InvalidInput: for an unknown name, with the nearest match, or an unknown argument.
    """
    return call(IMAGE_MANIFOLDS[name], arguments, name=f"image manifold {name!r}")


def image_manifold_names() -> list[str]:
    """Names that `image_manifold` and `load` know."""
    return list(IMAGE_MANIFOLDS)


def _blur(size: int, blur: float) -> float:
    """The blur in units of the image's side."""
    return check_real(blur, name="blur", low=0.5) / check_int(size, name="size", low=8)


def _centres(size: int) -> Array:
    """The centres of the pixels along a side, (size,)."""
    return (np.arange(size) + 0.5) / size


def _interval(x: Array, low: Array | float, high: Array | float, blur: float) -> Array:
    """The indicator of [low, high], blurred, at x."""
    return np.asarray(ndtr((x - low) / blur) - ndtr((x - high) / blur))
