"""Exact search on a graphics card, or on any device that torch has."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from submanifold.errors import InvalidInput
from submanifold.neighbors.exact import Plan, rounding_error, smallest
from submanifold.neighbors.frame import RELATIVE_ERROR, Framed
from submanifold.neighbors.progress import Report

if TYPE_CHECKING:
    import torch

__all__ = ["check_device", "search_on"]

Matrix = NDArray[np.float64]
Index = NDArray[np.int64]

_QUERIES = 4096
_POINTS = 65536
_GATHERED = 2**28  # bytes of points in float64 at a time


def check_device(device: str | None, of_data: str | None) -> str | None:
    """The device to search on: None for the processor, without torch."""
    if device is None:
        return of_data if of_data is not None and of_data.startswith("cuda") else None
    import torch

    try:
        chosen = torch.device(device)
    except RuntimeError:
        raise InvalidInput(f"device={device!r} is unknown: give cpu or cuda") from None
    if chosen.type == "cuda" and not torch.cuda.is_available():
        raise InvalidInput(f"device={device!r} is not there: this machine has no usable graphics card, give cpu")
    return str(chosen)


def search_on(
    device: str, ref: Framed, queries: Framed, k: int, own: Index | None, *, n_jobs: int, report: Report
) -> tuple[Matrix, Index]:
    """Distances and indices (m, k) as `submanifold.neighbors.exact.search` has them, by products on `device`."""
    import torch

    size = min(len(ref) - (own is not None), k + max(4, k // 8))
    last = np.empty(len(queries))
    distances, indices = np.empty((len(queries), k)), np.empty((len(queries), k), dtype=np.int64)
    with _full_precision():
        for start in range(0, len(queries), _QUERIES):
            rows = slice(start, min(start + _QUERIES, len(queries)))
            x = torch.as_tensor(queries.block(rows), device=device)  # (b, D) float64
            mine = None if own is None else torch.as_tensor(own[rows], device=device)
            found, last[rows] = _candidates(x, ref, mine, size, device, report)
            exact = _distances(queries, rows, ref, found, device)
            distances[rows], indices[rows] = smallest(exact, found.cpu().numpy(), k)
    if size < len(ref) - (own is not None):
        error = rounding_error(ref.shape[1], distances[:, -1], queries.norms)
        reach = (distances[:, -1] * (1 + RELATIVE_ERROR)) ** 2
        missed = np.flatnonzero(~((last - error >= reach) | (distances[:, -1] == 0)))
        distances /= ref.scale
        if len(missed):
            rest = Plan(ref, None, 0.0)
            some = Framed(queries.points.take(missed), like=ref)
            mine_too = None if own is None else own[missed]
            distances[missed], indices[missed] = rest.of_queries(some, k, mine_too, n_jobs=n_jobs, report=report)
        return distances, indices
    return distances / ref.scale, indices


def _candidates(
    x: torch.Tensor, ref: Framed, own: torch.Tensor | None, size: int, device: str, report: Report
) -> tuple[torch.Tensor, Matrix]:
    """The `size` points (b, size) of least squared distance in float32 to each of `x` (b, D), and the largest (b,)."""
    import torch

    single = x.float()
    half = (x * x).sum(1).float()  # (b,)
    least = torch.full((len(x), 0), torch.inf, device=device)
    found = torch.zeros((len(x), 0), dtype=torch.int64, device=device)
    for start in range(0, len(ref), _POINTS):
        block = slice(start, min(start + _POINTS, len(ref)))
        y = torch.as_tensor(ref.block(block), device=device)  # (t, D)
        squared = half[:, None] + (y * y).sum(1).float() - 2 * single @ y.float().T  # (b, t)
        if own is not None:
            inside = torch.nonzero((own >= block.start) & (own < block.stop))[:, 0]
            squared[inside, own[inside] - start] = torch.inf
        near, at = squared.topk(min(size, squared.shape[1]), dim=1, largest=False)
        least = torch.cat([least, near], 1)
        found = torch.cat([found, at + start], 1)
        least, order = least.topk(min(size, least.shape[1]), dim=1, largest=False)
        found = found.gather(1, order)
        report(squared.numel())
    return found, least[:, -1].double().cpu().numpy()


def _distances(queries: Framed, rows: slice, ref: Framed, found: torch.Tensor, device: str) -> Matrix:
    """Distances in the frame (b, s) from the queries of a slice (b) to the points `found` (b, s), in float64.

    Differences are of points where they are: to centre them first would round away what nearly equal points differ by.
    """
    import torch

    exact = torch.empty(found.shape, dtype=torch.float64, device=device)
    step = max(1, _GATHERED // (8 * found.shape[1] * ref.shape[1]))
    for start in range(0, len(found), step):
        some = slice(start, min(start + step, len(found)))
        x = torch.as_tensor(queries.scaled(np.arange(rows.start + some.start, rows.start + some.stop)), device=device)
        y = torch.as_tensor(ref.scaled(found[some].cpu().numpy()), device=device)  # (b, s, D)
        exact[some] = torch.linalg.vector_norm(y - x[:, None, :], dim=2)
    return np.asarray(exact.cpu().numpy())


@contextmanager
def _full_precision() -> Iterator[None]:
    """Float32 products with all of float32's digits, whatever the user chose for training."""
    import torch

    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)
