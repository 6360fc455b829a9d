"""Findings become a page: one HTML file that opens without a network, its numbers as JSON, its figures as PNGs."""

from submanifold._lazy import attach

__all__ = ["render", "to_json", "write"]

__getattr__, __dir__ = attach(__name__, {"render": "page", "to_json": "document", "write": "folder"})
