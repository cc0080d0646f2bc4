"""Finite scalar quantisation: a level of a cell is five numbers of eight values each, packed into one code.

    latents (..., LEVELS * DIMS) in (-1, 1) --quantise--> values 0..7 --pack--> codes (..., LEVELS), 15 bits each
                                           <-dequantise--            <-unpack-

Only numpy: the edge and the wire need nothing more.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

LEVELS = 4
DIMS = 5
VALUES = 8
CHANNELS = LEVELS * DIMS
CODE_BITS = 15
CODES = VALUES**DIMS

_PLACES = VALUES ** np.arange(DIMS)


def quantise(latents: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Latents in [-1, 1], any shape -> values 0..7 of the same shape."""
    bins = np.floor((latents + np.float32(1.0)) * np.float32(VALUES / 2))
    return np.clip(bins, 0, VALUES - 1).astype(np.uint8)


def dequantise(values: NDArray[np.integer]) -> NDArray[np.float32]:
    """Values 0..7 -> the middle of their bin in [-1, 1]."""
    return (values.astype(np.float32) + np.float32(0.5)) * np.float32(2 / VALUES) - np.float32(1.0)


def pack(values: NDArray[np.integer]) -> NDArray[np.uint16]:
    """Values (..., LEVELS, DIMS) -> codes (..., LEVELS)."""
    return (values.astype(np.uint32) * _PLACES).sum(-1).astype(np.uint16)


def unpack(codes: NDArray[np.integer]) -> NDArray[np.uint8]:
    """Codes (..., LEVELS) -> values (..., LEVELS, DIMS)."""
    return ((codes.astype(np.int64)[..., None] // _PLACES) % VALUES).astype(np.uint8)
