"""Motion: where the camera stands in the scene, and which cells came from elsewhere. Integers out, numpy only.

    luma, shrunk --phase correlation against a key picture--> shift --checked by absolute difference--> position
    latents seen --compared with the canvas's cells around--> (dx, dy) a cell, where that explains it

The position is what a `Pan` edit tells; the cell shifts become `Move` edits.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

LONGEST = 256  # pixels on the longer side of the picture that is correlated
KEY_REACH = 0.25  # share of the picture that a shift may cross before a new key is taken
GAIN = 0.85  # a pan must leave at most this share of the difference that standing still would leave
LEFT = 20.0  # brightness levels of difference that a pan may leave at most: more, and something else moved
SLACK = 0.65  # pixels that the true position may leave the whole one before it is moved


@dataclass(frozen=True)
class PanState:
    """What the tracker remembers between frames of one camera."""

    key: Floats  # (h, w) shrunk luma of the key picture
    key_position: tuple[float, float]
    position: tuple[int, int]  # (x, y), whole pixels


def luma(pixels: NDArray[np.uint8]) -> Floats:
    """(H, W, 3) RGB -> (H, W) brightness, 0 to 255."""
    weights = np.array([0.299, 0.587, 0.114], np.float32)
    return pixels @ weights


def shrink(picture: Floats, factor: int) -> Floats:
    """Mean over factor x factor blocks; what does not fill a block is cut off."""
    rows, cols = picture.shape[0] // factor, picture.shape[1] // factor
    cut = picture[: rows * factor, : cols * factor]
    return cut.reshape(rows, factor, cols, factor).mean((1, 3), dtype=np.float32)


def track_pan(state: PanState | None, picture: Floats) -> PanState:
    """The next frame's state: its `position` is where the camera now stands. `picture` is full-size luma."""
    factor = -(-max(picture.shape) // LONGEST)
    small = shrink(picture, factor)
    if state is None or state.key.shape != small.shape:
        start = (0, 0) if state is None else state.position
        return PanState(small, (float(start[0]), float(start[1])), start)
    dx, dy = phase_shift(state.key, small)
    here = (state.key_position[0] - dx * factor, state.key_position[1] - dy * factor)
    stay = _difference(state, small, factor, state.position)
    target = _settle(state.position, here)
    if target != state.position and _difference(state, small, factor, target) > min(GAIN * stay, LEFT):
        here, target = (float(state.position[0]), float(state.position[1])), state.position
    far = (
        max(abs(here[0] - state.key_position[0]), abs(here[1] - state.key_position[1]))
        > KEY_REACH * max(small.shape) * factor
    )
    lost = stay > 20 and target == state.position  # brightness levels: another scene
    if far or lost:
        return PanState(small, here, target)
    return PanState(state.key, state.key_position, target)


def phase_shift(key: Floats, picture: Floats) -> tuple[float, float]:
    """How far `picture`'s content lies right of and below `key`'s, to a fraction of a pixel."""
    window = np.outer(np.hanning(key.shape[0]), np.hanning(key.shape[1])).astype(np.float32)
    a, b = (np.fft.rfft2((p - p.mean()) * window) for p in (key, picture))
    cross = b * a.conj()
    surface = np.fft.irfft2(cross / np.maximum(np.abs(cross), 1e-6), key.shape)
    row, col = np.unravel_index(int(surface.argmax()), surface.shape)
    dy = _peak(surface[:, col], int(row))
    dx = _peak(surface[row], int(col))
    return dx, dy


def _peak(line: NDArray[np.floating], at: int) -> float:
    """The peak's place along a circular line, refined from its neighbours and taken as a signed shift."""
    before, top, after = (max(float(line[(at + step) % len(line)]), 0.0) for step in (-1, 0, 1))
    fraction = (after - before) / max(before + top + after, 1e-9)
    signed = at - len(line) if at > len(line) // 2 else at
    return signed + fraction


def _settle(position: tuple[int, int], here: tuple[float, float]) -> tuple[int, int]:
    x, y = (old if abs(new - old) <= SLACK else round(new) for old, new in zip(position, here, strict=True))
    return x, y


def _difference(state: PanState, small: Floats, factor: int, position: tuple[int, int]) -> float:
    """Mean absolute difference between key and picture where they overlap, were the camera at `position`."""
    right = round((position[0] - state.key_position[0]) / factor)
    down = round((position[1] - state.key_position[1]) / factor)
    rows, cols = small.shape
    if abs(right) >= cols // 2 or abs(down) >= rows // 2:
        return float("inf")
    key = state.key[max(0, down) : rows + min(0, down), max(0, right) : cols + min(0, right)]
    now = small[max(0, -down) : rows + min(0, -down), max(0, -right) : cols + min(0, -right)]
    return float(np.abs(key - key.mean() - now + now.mean()).mean())


def cell_moves(
    latents: Floats,
    held: Floats,
    known: NDArray[np.bool_],
    news: NDArray[np.bool_],
    *,
    reach: int,
    tolerance: float,
) -> NDArray[np.int8]:
    """(rows, cols, 2): for each cell of news, the shift (dx, dy in cells) whose held content explains it best.

    latents and held are (rows, cols, C); a source counts with what of it is `known` (rows, cols, C). Zero where
    nothing within `reach` cells comes closer than `tolerance` (mean squared difference) and than the cell itself.
    """
    rows, cols = news.shape
    moves = np.zeros((rows, cols, 2), np.int8)
    if not news.any():
        return moves
    own = (np.square(latents - held) * known).sum(-1) / np.maximum(known.sum(-1), 1)
    best = np.where(known.any(-1), np.minimum(own, tolerance), tolerance).astype(np.float32)
    targets = np.argwhere(news)
    for dy in range(-reach, reach + 1):
        for dx in range(-reach, reach + 1):
            down, right = targets[:, 0] + dy, targets[:, 1] + dx
            inside = (down >= 0) & (down < rows) & (right >= 0) & (right < cols)
            if (dx == 0 and dy == 0) or not inside.any():
                continue
            to, source = tuple(targets[inside].T), (down[inside], right[inside])
            shares = known[source]
            count = shares.sum(-1)
            error = (np.square(latents[to] - held[source]) * shares).sum(-1) / np.maximum(count, 1)
            error = np.where(count > 0, error, np.inf)
            closer = error < best[to]
            winners = tuple(axis[closer] for axis in to)
            best[winners] = error[closer]
            moves[winners] = dx, dy
    return moves
