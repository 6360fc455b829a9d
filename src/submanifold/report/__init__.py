"""Findings become a page: one HTML file that opens without a network, its numbers as JSON, its figures as PNGs."""

from submanifold._lazy import attach

__all__ = ["render", "render_dimension", "to_json", "write", "write_dimension"]

__getattr__, __dir__ = attach(
    __name__,
    {
        "render": "page",
        "render_dimension": "dimension_page",
        "to_json": "document",
        "write": "folder",
        "write_dimension": "dimension_page",
    },
)
