"""The maps of the benchmark: parameters (n, d) to points (n, D), smooth and injective up to a null set."""

from __future__ import annotations

import numpy as np

from submanifold.data.benchmarks.base import Array

__all__ = [
    "affine_3to5",
    "coil",
    "concentrated",
    "folded",
    "helicoid",
    "identity",
    "moebius",
    "paraboloid",
    "roll",
    "s_curve",
    "spiral",
    "tangents",
    "waves",
]

_AFFINE = np.array(
    [
        [1.2, -0.5, 0.0],
        [0.5, 0.9, 0.0],
        [-0.5, -0.2, 1.0],
        [0.4, -0.9, -0.1],
        [1.1, -0.3, 0.0],
    ]
)
_OFFSET = np.array([3.0, -1.0, 0.0, 0.0, 8.0])


def identity(p: Array) -> Array:
    """x = p."""
    return p


def affine_3to5(p: Array) -> Array:
    """x = A p + b with a matrix A (5, 3) of rank 3."""
    return np.asarray(p @ _AFFINE.T + _OFFSET)


def concentrated(p: Array) -> Array:
    """Six quadratic and trigonometric functions of four parameters; most points lie near a figure of dimension 3."""
    a, b, c, d = p.T
    return np.stack(
        [
            b**2 * np.cos(2 * np.pi * a),
            c**2 * np.sin(2 * np.pi * a),
            b + c + (b - d) ** 2,
            b - 2 * c + (a - d) ** 2,
            -b - 2 * c + (c - d) ** 2,
            a**2 - b**2 + c**2 - d**2,
        ],
        axis=1,
    )


def folded(p: Array, copies: int = 1) -> Array:
    r"""x_{2i-1} = p_{i+1} \cos 2\pi p_i and x_{2i} = p_{i+1} \sin 2\pi p_i with p_{d+1} = p_1, repeated `copies`
    times."""
    radius, angle = np.roll(p, -1, axis=1), 2 * np.pi * p
    pairs = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=2)  # (n, d, 2)
    return np.tile(pairs.reshape(len(p), -1), (1, copies))  # (n, 2 d copies)


def coil(p: Array) -> Array:
    """A closed curve that winds eight times around a circle of radius 2, at distance 1."""
    (t,) = p.T
    around = 2 + np.cos(8 * t)
    return np.stack([around * np.cos(t), around * np.sin(t), np.sin(8 * t)], axis=1)


def helicoid(p: Array) -> Array:
    r"""(r \cos \phi, r \sin \phi, \phi / 2)."""
    r, phi = p.T
    return np.stack([r * np.cos(phi), r * np.sin(phi), phi / 2], axis=1)


def roll(p: Array) -> Array:
    r"""(t \cos t, h, t \sin t)."""
    t, h = p.T
    return np.stack([t * np.cos(t), h, t * np.sin(t)], axis=1)


def moebius(p: Array) -> Array:
    r"""A band of half-width 1/2 about the unit circle whose normal turns by 5 \phi: ten half-twists."""
    phi, s = p.T
    around = 1 + s / 2 * np.cos(5 * phi)
    return np.stack([around * np.cos(phi), around * np.sin(phi), s / 2 * np.sin(5 * phi)], axis=1)


def s_curve(p: Array) -> Array:
    r"""(\sin t, h, sgn(t) (\cos t - 1))."""
    t, h = p.T
    return np.stack([np.sin(t), h, np.sign(t) * (np.cos(t) - 1)], axis=1)


def spiral(p: Array, zeros: int = 10) -> Array:
    r"""(100 \cos t, 100 \sin t, t, 0, ..., 0)."""
    (t,) = p.T
    curve = np.stack([100 * np.cos(t), 100 * np.sin(t), t], axis=1)
    return np.pad(curve, ((0, 0), (0, zeros)))  # (n, 3 + zeros)


def waves(p: Array, copies: int = 2) -> Array:
    r"""p_i \sin \cos 2\pi p_i for all i, then p_i \cos \sin 2\pi p_i, repeated `copies` times."""
    angle = 2 * np.pi * p
    once = [p * np.sin(np.cos(angle)), p * np.cos(np.sin(angle))]
    return np.concatenate(once * copies, axis=1)  # (n, 2 d copies)


def tangents(p: Array, copies: int = 2) -> Array:
    r"""\tan(p_i \cos q_i) for all i, then \arctan(q_i \sin p_i), with q_i = p_{d+1-i}, repeated `copies` times."""
    q = p[:, ::-1]
    once = [np.tan(p * np.cos(q)), np.arctan(q * np.sin(p))]
    return np.concatenate(once * copies, axis=1)  # (n, 2 d copies)


def paraboloid(p: Array) -> Array:
    r"""y = (p, |p|^2), then \sin y and y^2."""
    y = np.concatenate([p, np.square(p).sum(axis=1, keepdims=True)], axis=1)  # (n, d + 1)
    return np.concatenate([y, np.sin(y), np.square(y)], axis=1)  # (n, 3 (d + 1))
