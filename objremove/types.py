"""The array types that cross walls, named once.

* `Pixels`: (H, W, 3) RGB, `uint8` or, for 16-bit photos, `uint16`; sRGB values as stored in the file.
* `Mask`: (H, W) `bool`; True = object (of an instance) or True = remove (of a hole).
* `Windows` / `WindowHoles`: a batch of equal crops as an inpainter sees them: (B, H, W, 3) float32 in 0..1 and (B, H, W) bool.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Pixels: TypeAlias = NDArray[np.uint8] | NDArray[np.uint16]
Mask: TypeAlias = NDArray[np.bool_]
Windows: TypeAlias = NDArray[np.float32]
WindowHoles: TypeAlias = NDArray[np.bool_]
AnyArray: TypeAlias = NDArray[Any]
