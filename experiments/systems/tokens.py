"""Other people's policies on our tokens: raw ids at a fixed rate, and two that drop tokens which seem redundant.

The last two are about tokens alone (they were made for a server that has the video already), so they have no bytes.
Only the policy differs: tokenizer, heads and judge are the same as ours, and the gist comes with every frame that is
sent, as one more token.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge_gate.source import Frame
from experiments.systems import Clip, Known, System, every
from experiments.systems.ours import encoder
from vidtok.canvas import CELL, Canvas, Grid, blank
from vidtok.codec import diff, patch
from vidtok.tokenizer.edge import load_info, pad_to_grid
from vidtok.tokenizer.fsq import EDGES, GIST, GIST_LEVELS, LEVELS, VALUE_BITS, dequantise, quantise

MTU = 1188  # bytes of ids in an RTP packet
DEVIATION = np.float32(255 * 0.226)  # of ImageNet's pixels, the mean of three channels: RLT's thresholds are in these

Mask = NDArray[np.bool_]


def systems() -> list[System]:
    """Raw ids, Run-Length Tokenization, differential token dropping."""
    weights = load_info().digest.hex()
    raw = {
        f"{fps} fps, {n} level{'s' * (n > 1)}": (fps, n)
        for fps, n in ((1, 1), (1, 2), (1, 4), (5, 2), (10, 1), (10, 4))
    }
    by_pixels = {f"{t:g}": Policy("pixels", t) for t in (0.6, 0.4, 0.2, 0.1, 0.05, 0.025)}
    by_tokens = {f"{t:g}": Policy("tokens", t) for t in (0.3, 0.5, 0.7, 0.85, 0.95, 0.99)}
    about_raw = "raw ids of every cell, three bits a value, at a fixed rate, as 5G-MAG's tokenId codec sends them"
    about_rlt = (
        "Run-Length Tokenization: a token is dropped whose pixels are within a threshold of the frame before "
        "(mean absolute difference in ImageNet deviations; 0.1 in the paper), on all our levels"
    )
    about_dtd = (
        "TimeChat-Online's differential token dropping: a token is dropped whose cosine with the same place in the "
        "frame before reaches a threshold, on all our levels"
    )
    return [
        System("raw-ids", about_raw, raw_ids, raw, "tokens", weights=weights),
        System("rlt", about_rlt, keep_some, by_pixels, "tokens", weights=weights),
        System("dtd", about_dtd, keep_some, by_tokens, "tokens", weights=weights),
    ]


def raw_ids(params: tuple[int, int], clip: Clip) -> Iterator[Known]:
    """All cells, `fps` times a second, three bits a value."""
    fps, levels = params
    canvas, known = blank(Grid(*clip.size)), Known()
    wanted = canvas.visible()
    for frame, taken in every(clip, 1 / fps):
        if taken:
            values = quantise(encoder()(frame.pixels))
            canvas = put(canvas, values, wanted, levels, quantise(encoder().gist()))
            size = -(-VALUE_BITS * (EDGES[levels] * clip.cells + GIST) // 8)
            known = Known(
                canvas=canvas,
                bytes=(known.bytes or 0) + size,
                packets=known.packets + -(-size // MTU),
                tokens=known.tokens + clip.cells + 1,
            )
        yield known


@dataclass(frozen=True)
class Policy:
    """What neighbouring frames are compared by, and from which likeness on a token is dropped."""

    by: str
    threshold: float

    def keeps(self, before: Seen, now: Seen) -> Mask:
        """(rows, cols): the tokens that stay."""
        if self.by == "pixels":
            return np.asarray(np.abs(now.pixels - before.pixels).mean(-1) / DEVIATION > self.threshold)
        both = (now.tokens * before.tokens).sum(-1)
        lengths = np.linalg.norm(now.tokens, axis=-1) * np.linalg.norm(before.tokens, axis=-1)
        return np.asarray(both < self.threshold * lengths)


@dataclass(frozen=True, eq=False)
class Seen:
    """A frame, cell by cell."""

    values: NDArray[np.uint8]  # (rows, cols, CHANNELS)
    gist: NDArray[np.uint8]  # (GIST,)
    tokens: NDArray[np.float32]  # (rows, cols, CHANNELS)
    pixels: NDArray[np.float32]  # (rows, cols, CELL * CELL * 3)

    @classmethod
    def of(cls, frame: Frame) -> Seen:
        """Look at a frame."""
        values = quantise(encoder()(frame.pixels))[:-1, :-1]
        rows, cols = values.shape[:2]
        blocks = pad_to_grid(frame.pixels, (0, 0)).reshape(rows, CELL, cols, CELL, 3)
        cells = blocks.swapaxes(1, 2).reshape(rows, cols, -1)
        return cls(values, quantise(encoder().gist()), dequantise(values), cells.astype(np.float32))


def keep_some(policy: Policy, clip: Clip) -> Iterator[Known]:
    """The first frame whole, of every further one the tokens that differ from the frame before."""
    canvas, before, tokens = blank(Grid(*clip.size)), None, 0
    for frame in clip:
        now = Seen.of(frame)
        kept = np.ones(now.values.shape[:2], bool) if before is None else policy.keeps(before, now)
        before = now
        tokens += int(kept.sum()) + bool(kept.any())
        if kept.any():
            cells = np.pad(kept, ((0, 1), (0, 1)))
            canvas = put(canvas, np.pad(now.values, ((0, 1), (0, 1), (0, 0))), cells, LEVELS, now.gist)
        yield Known(canvas=canvas, bytes=None, tokens=tokens, news=kept)


def put(canvas: Canvas, values: NDArray[np.uint8], cells: Mask, levels: int, gist: NDArray[np.uint8]) -> Canvas:
    """The canvas with these cells and the gist replaced."""
    edits = diff(values, canvas, (cells * levels).astype(np.uint8), gist=gist, gist_to=GIST_LEVELS)
    return patch(canvas, edits, canvas.version + 1)
