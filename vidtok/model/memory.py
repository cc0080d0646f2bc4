"""What a model keeps of a stream: keys and values of every layer, bounded however long the stream goes on.

    tokens as they come --read--> Kept + new keys and values --forget--> Kept: the newest token of every place,
                                       ^                                   and the last few of those superseded
    question ---------------read-------+ (on a copy that is thrown away: a question leaves no trace)

Keys are kept as they were before they are turned by their position, because positions are counted from now: a stream
of a day is as sharp as one of a second. `Kept` is never written to; reading gives a new one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from vidtok.model.brain import AXES, FAR_S, HEAD, Brain, as_tensors, turned
from vidtok.model.stream import GLOBAL, Tokens

HISTORY = 512  # superseded tokens that are kept
Sight = tuple[tuple[int, int], tuple[int, int]]  # rows and columns in the scene: from, and before
WORD = (1 << 31) - 1  # the row of what has no place but an order


@dataclass(frozen=True, eq=False)
class Kept:
    """The memory of one stream after so many tokens; n of them are still kept."""

    keys: Tensor  # (layers, heads, n, HEAD), not turned
    values: Tensor  # (layers, heads, n, HEAD)
    time_s: NDArray[np.float64]  # (n,)
    place: NDArray[np.float32]  # (n, 2), in the scene
    order: NDArray[np.float32]  # (n,), of words
    cell: NDArray[np.int32]  # (n, 2), row and column in the scene: whose place it tells of
    eye: tuple[float, float]  # where the middle of the frame stood last

    def __len__(self) -> int:
        return len(self.time_s)

    @classmethod
    def nothing(cls, brain: Brain) -> Kept:
        """Before the first token."""
        empty = torch.zeros(brain.size.layers, brain.size.heads, 0, HEAD)
        none = np.zeros((0, 2), np.float32)
        return cls(empty, empty, np.zeros(0), none, none[:, 0], none.astype(np.int32), (0.0, 0.0))

    @property
    def bytes(self) -> int:
        """What the keys and values take."""
        return 2 * self.keys.numel() * self.keys.element_size()


@dataclass(frozen=True, eq=False)
class Read:
    """What came of reading: what is kept now, what the last layer made of each new token, where the last one looked."""

    kept: Kept
    made: Tensor  # (n, dim)
    looked: Tensor | None  # (kept + n,), how much the last new token looked at each, over heads and layers


@dataclass(frozen=True, eq=False)
class New:
    """What is to be read next of one stream."""

    x: Tensor  # (n, dim)
    time_s: NDArray[np.float64]
    place: NDArray[np.float32]
    order: NDArray[np.float32]
    cell: NDArray[np.int32]
    eye: tuple[float, float]
    causal: bool  # whether each sees only those before it, not all that are new


def seen(brain: Brain, tokens: Tokens) -> New:
    """Visual tokens that came together: each sees all that is kept, and each other. At least one."""
    cell, order = np.stack([tokens.row, tokens.col], 1), np.zeros(len(tokens), np.float32)
    eye = float(tokens.eye[-1, 0]), float(tokens.eye[-1, 1])
    with torch.inference_mode():
        x = brain.edits(as_tensors(tokens))
    return New(x, tokens.time_s, tokens.place, order, cell, eye, causal=False)


def said(brain: Brain, kept: Kept, words: Sequence[int], first: int, now_s: float) -> New:
    """Words, `first` of their text on, said at a moment: each sees all that is kept, and the words before it."""
    n = len(words)
    place, order = np.tile(np.array(kept.eye, np.float32), (n, 1)), np.arange(first, first + n, dtype=np.float32)
    cell = np.stack([np.full(n, WORD), order.astype(np.int32)], 1).astype(np.int32)
    with torch.inference_mode():
        x = brain.words(torch.tensor(words))
    return New(x, np.full(n, now_s), place, order, cell, kept.eye, causal=True)


@torch.inference_mode()
def read(brain: Brain, kepts: Sequence[Kept], news: Sequence[New], looking: int = 0) -> list[Read]:
    """Read what is new of several streams at once: one pass through the weights, each stream with its own memory.

    Of the last `looking` streams it is told where their last token looked.
    """
    sizes = [len(new.time_s) for new in news]
    x = torch.cat([new.x for new in news])[None]
    pairs = list(zip(kepts, news, strict=True))
    streams = [_Stream(brain, kept, new, k >= len(pairs) - looking) for k, (kept, new) in enumerate(pairs)]
    for number, layer in enumerate(brain.each()):
        q, k, v = (torch.split(part, sizes, 2) for part in layer.keys(x))
        found = [stream.attend(number, q[i], k[i], v[i]) for i, stream in enumerate(streams)]
        x = layer.use(x, torch.cat(found, 2))
    made = torch.split(brain.last(x[0]), sizes)
    return [stream.read(each) for stream, each in zip(streams, made, strict=True)]


class _Stream:
    """One stream while it is read."""

    def __init__(self, brain: Brain, kept: Kept, new: New, look: bool) -> None:
        self._kept, self._new = kept, new
        self._time_s = np.concatenate([kept.time_s, new.time_s])
        self._place = np.concatenate([kept.place, new.place])
        self._order = np.concatenate([kept.order, new.order])
        self._turn = brain.turn(self._positions()[None])
        n, every = len(new.time_s), len(self._time_s)
        self._sees = torch.ones(n, every, dtype=torch.bool).tril(len(kept)) if new.causal and n > 1 else None
        self._keys: list[Tensor] = []
        self._values: list[Tensor] = []
        self._looked = torch.zeros(every) if look else None

    def _positions(self) -> Tensor:
        """(n, AXES) from the last moment and the place of the eye then; nothing counts as older than FAR_S."""
        out = np.empty((len(self._time_s), AXES), np.float32)
        out[:, 0] = np.maximum(self._time_s - self._new.time_s[-1], -FAR_S)
        out[:, 1:3] = self._place - np.array(self._new.eye, np.float32)
        out[:, 3] = self._order
        return torch.from_numpy(out)

    def attend(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """What the new tokens find in the layer: (1, heads, n, HEAD)."""
        k = torch.cat([self._kept.keys[layer][None], k], 2)
        v = torch.cat([self._kept.values[layer][None], v], 2)
        self._keys.append(k[0])
        self._values.append(v[0])
        cos, sin = self._turn
        n = q.shape[2]
        q, k = turned(q, (cos[:, :, -n:], sin[:, :, -n:])), turned(k, self._turn)
        if self._looked is not None:
            self._looked += (q[0, :, -1:] @ k[0].mT / HEAD**0.5).softmax(-1).mean((0, 1))
        return F.scaled_dot_product_attention(q, k, v, attn_mask=self._sees)

    def read(self, made: Tensor) -> Read:
        """The end of it."""
        cell = np.concatenate([self._kept.cell, self._new.cell])
        keys, values = torch.stack(self._keys), torch.stack(self._values)
        kept = Kept(keys, values, self._time_s, self._place, self._order, cell, self._new.eye)
        return Read(kept, made, None if self._looked is None else self._looked / len(keys))


def forget(kept: Kept, history: int = HISTORY, sight: Sight | None = None) -> Kept:
    """Without the oldest of the superseded tokens, so that no more than `history` of these stay.

    A token is superseded when a newer one tells of its place, or when its place has gone out of sight. The newest of
    each place in sight always stays.
    """
    stays = np.zeros(len(kept), bool)
    _, newest = np.unique(kept.cell[::-1], axis=0, return_index=True)
    stays[len(kept) - 1 - newest] = True
    if sight is not None:
        (top, left), (bottom, right) = sight
        row, col = kept.cell[:, 0], kept.cell[:, 1]
        stays &= (row == WORD) | (row == GLOBAL) | ((row >= top) & (row < bottom) & (col >= left) & (col < right))
    old = np.flatnonzero(~stays)
    if len(old) <= history:
        return kept
    stays[old[len(old) - history :]] = True
    at = torch.from_numpy(np.flatnonzero(stays))
    return Kept(
        kept.keys[:, :, at],
        kept.values[:, :, at],
        kept.time_s[stays],
        kept.place[stays],
        kept.order[stays],
        kept.cell[stays],
        kept.eye,
    )
