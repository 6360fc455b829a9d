"""Nearest neighbours: one graph that serves everything that needs neighbours."""

from __future__ import annotations

from submanifold.neighbors.distinct import distinct_rows
from submanifold.neighbors.graph import NeighborGraph, Neighbors, query
from submanifold.neighbors.points import Points

__all__ = ["NeighborGraph", "Neighbors", "Points", "distinct_rows", "query"]
