"""pytorch-metric-learning's calculator, to compare with, without what its import does to FAISS.

It imports ``faiss.contrib.torch_utils``, which replaces the methods of every FAISS index in the process, and with them
the search by parameters that our own index needs. An empty module in its place is imported instead.
"""

import sys
import types

sys.modules.setdefault("faiss.contrib.torch_utils", types.ModuleType("faiss.contrib.torch_utils"))

from pytorch_metric_learning.distances import LpDistance  # type: ignore[import-untyped]  # noqa: E402
from pytorch_metric_learning.utils.accuracy_calculator import (  # type: ignore[import-untyped]  # noqa: E402
    AccuracyCalculator,
)
from pytorch_metric_learning.utils.inference import CustomKNN  # type: ignore[import-untyped]  # noqa: E402

__all__ = ["AccuracyCalculator", "CustomKNN", "LpDistance"]
