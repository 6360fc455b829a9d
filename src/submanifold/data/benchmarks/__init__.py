"""The 24 benchmark manifolds of Hein and Audibert 2005 and Campadelli et al. 2015: samples of known dimension."""

from submanifold._lazy import attach

__all__ = ["BENCHMARK", "BenchmarkManifold", "Chart", "benchmark", "benchmark_names"]

__getattr__, __dir__ = attach(
    __name__,
    {
        "BENCHMARK": "catalogue",
        "BenchmarkManifold": "base",
        "Chart": "base",
        "benchmark": "catalogue",
        "benchmark_names": "catalogue",
    },
)
