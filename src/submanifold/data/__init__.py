"""What we look at: sources of data, analytic manifolds with ground truth, and invertible preprocessing."""

from submanifold._lazy import attach

__all__ = [
    "BenchmarkManifold",
    "Dataset",
    "ImageManifold",
    "Manifold",
    "Preprocess",
    "benchmark",
    "benchmark_names",
    "image_manifold",
    "image_manifold_names",
    "lattice_spacing",
    "load",
    "manifold",
    "manifold_names",
    "manifolds",
    "source_names",
]

__getattr__, __dir__ = attach(
    __name__,
    {
        "BenchmarkManifold": "benchmarks",
        "Dataset": "dataset",
        "ImageManifold": "rendered",
        "Manifold": "manifolds",
        "Preprocess": "preprocess",
        "benchmark": "benchmarks",
        "benchmark_names": "benchmarks",
        "image_manifold": "rendered",
        "image_manifold_names": "rendered",
        "lattice_spacing": "lattice",
        "load": "sources",
        "manifold": "manifolds",
        "manifold_names": "manifolds",
        "manifolds": "",
        "source_names": "sources",
    },
)
