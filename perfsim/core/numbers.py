"""The number types every record and formula is written in: a scalar, or an array that broadcasts with the others."""

from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

Ints: TypeAlias = int | npt.NDArray[np.int64]
Floats: TypeAlias = float | npt.NDArray[np.floating[Any]]
Bools: TypeAlias = bool | npt.NDArray[np.bool_]
