"""Finite scalar quantisation: a cell holds numbers of eight values each, on levels that grow from coarse to fine.

    latents (..., CHANNELS) in [-1, 1] --quantise--> values 0..7
                                       <-dequantise--

    level      1    2    3    4    5    6
    numbers    6    8   16   32   64   64       for a cell of 32x32 pixels

The first five levels are for the model's eye, the last for people's. The gist is one more set of such numbers, of the
whole frame and on five levels of 16, 32, 64, 128 and 256. Only numpy: edge and wire need nothing more.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

LEVEL_SIZES = (6, 8, 16, 32, 64, 64)
LEVELS = len(LEVEL_SIZES)
EDGES = tuple(sum(LEVEL_SIZES[:n]) for n in range(LEVELS + 1))  # level n's numbers are EDGES[n] .. EDGES[n + 1]
CHANNELS = EDGES[-1]
SEEN_LEVELS = 5  # levels made for the model; those after them are for pictures
GIST_SIZES = (16, 32, 64, 128, 256)
GIST_LEVELS = len(GIST_SIZES)
GIST_EDGES = tuple(sum(GIST_SIZES[:n]) for n in range(GIST_LEVELS + 1))
GIST = GIST_EDGES[-1]  # numbers of the whole frame
VALUE_BITS = 3  # of a value as it is
VALUES = 1 << VALUE_BITS

LEVEL_OF = np.repeat(np.arange(LEVELS), LEVEL_SIZES)  # (CHANNELS,): the level of each number, from 0
GIST_LEVEL_OF = np.repeat(np.arange(GIST_LEVELS), GIST_SIZES)  # (GIST,)


def quantise(latents: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Latents in [-1, 1], any shape -> values 0..7 of the same shape."""
    bins = np.floor((latents + np.float32(1.0)) * np.float32(VALUES / 2))
    return np.clip(bins, 0, VALUES - 1).astype(np.uint8)


def dequantise(values: NDArray[np.integer]) -> NDArray[np.float32]:
    """Values 0..7 -> the middle of their bin in [-1, 1]."""
    return (values.astype(np.float32) + np.float32(0.5)) * np.float32(2 / VALUES) - np.float32(1.0)


def known(depth: NDArray[np.integer]) -> NDArray[np.bool_]:
    """Levels held, any shape -> (..., CHANNELS): which numbers that makes."""
    return np.asarray(depth[..., None] > LEVEL_OF)
