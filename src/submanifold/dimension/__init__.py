"""Intrinsic dimension from data alone: estimators in scikit-learn's conventions, and their consensus."""

from submanifold._lazy import attach

__all__ = [
    "ESTIMATORS",
    "MLE",
    "DimensionEstimate",
    "DimensionEstimator",
    "LocalPCA",
    "MethodEstimate",
    "ScaleCurve",
    "TwoNN",
    "estimate",
    "lPCA",
    "names",
]

__getattr__, __dir__ = attach(
    __name__,
    {
        "ESTIMATORS": "catalogue",
        "names": "catalogue",
        "DimensionEstimator": "base",
        "MLE": "mle",
        "TwoNN": "twonn",
        "LocalPCA": "lpca",
        "lPCA": "lpca",
        "estimate": "consensus",
        "DimensionEstimate": "result",
        "MethodEstimate": "result",
        "ScaleCurve": "scale",
    },
)
