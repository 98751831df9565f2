"""Arrays by what they hold. Their names carry their axes: ``vectors_ND``, ``label_N``."""

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.floating]  # of any precision
Float32Array = npt.NDArray[np.float32]
Float64Array = npt.NDArray[np.float64]
Int32Array = npt.NDArray[np.int32]
Int64Array = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]
