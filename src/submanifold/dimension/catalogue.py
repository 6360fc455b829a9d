"""The estimators by name."""

from __future__ import annotations

from submanifold.dimension.abid import ABID
from submanifold.dimension.base import DimensionEstimator
from submanifold.dimension.binary import BID
from submanifold.dimension.calibrated import Calibrated
from submanifold.dimension.corrint import CorrInt
from submanifold.dimension.danco import DANCo
from submanifold.dimension.ess import ESS
from submanifold.dimension.fishers import FisherS
from submanifold.dimension.geomle import GeoMLE
from submanifold.dimension.gride import GRIDE
from submanifold.dimension.knn import KNN
from submanifold.dimension.lpca import LocalPCA
from submanifold.dimension.mada import MADA
from submanifold.dimension.magnitude import MagnitudeDimension
from submanifold.dimension.mind import MiND_ML
from submanifold.dimension.mle import MLE
from submanifold.dimension.mom import MOM
from submanifold.dimension.pca import lPCA
from submanifold.dimension.persistent import PH
from submanifold.dimension.tle import TLE
from submanifold.dimension.twonn import TwoNN
from submanifold.registry import Registry

__all__ = ["ESTIMATORS", "names"]

ESTIMATORS: Registry[type[DimensionEstimator]] = Registry("dimension estimator")
ESTIMATORS.register("abid")(ABID)
ESTIMATORS.register("bid")(BID)
ESTIMATORS.register("calibrated")(Calibrated)
ESTIMATORS.register("corrint")(CorrInt)
ESTIMATORS.register("danco")(DANCo)
ESTIMATORS.register("ess")(ESS)
ESTIMATORS.register("fishers")(FisherS)
ESTIMATORS.register("geomle")(GeoMLE)
ESTIMATORS.register("gride")(GRIDE)
ESTIMATORS.register("knn")(KNN)
ESTIMATORS.register("lpca")(LocalPCA)
ESTIMATORS.register("mada")(MADA)
ESTIMATORS.register("magnitude")(MagnitudeDimension)
ESTIMATORS.register("mind_ml")(MiND_ML)
ESTIMATORS.register("mle")(MLE)
ESTIMATORS.register("mom")(MOM)
ESTIMATORS.register("pca")(lPCA)
ESTIMATORS.register("ph")(PH)
ESTIMATORS.register("tle")(TLE)
ESTIMATORS.register("twonn")(TwoNN)


def names() -> list[str]:
    """The names of all estimators, for `submanifold.dimension.estimate(methods=...)` and the command line."""
    return list(ESTIMATORS)
