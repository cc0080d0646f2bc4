"""What a model keeps of a stream: keys and values of every layer, bounded however long the stream goes on.

    tokens as they come --read--> Kept + new keys and values --forget--> Kept: the newest token of every place,
                                       ^                                   and the last few of those superseded
    question ---------------read-------+ (on a copy that is thrown away: a question leaves no trace)

Keys are kept as they were turned by their time and place, counted in double precision from the stream's beginning: only
differences count, so a stream of a day is as sharp as one of a second. `Kept` never changes: reading gives a new one,
which shares what was there before.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from vidtok.model.brain import AXES, FAR_S, HEAD, Brain, Layer, Turn, as_tensors, turned
from vidtok.model.stream import GLOBAL, Tokens

HISTORY = 512  # superseded tokens that are kept,
WINDOW_S = 30.0  # none of them older than this: no film that taught the model was longer
SPARE = 512  # places for tokens that a memory is given when it grows
LATE_S = 5.0  # how much older than FAR_S a token may count while a stream goes on
Sight = tuple[tuple[int, int], tuple[int, int]]  # rows and columns in the scene: from, and before
WORD = (1 << 31) - 1  # the row of what has no place but an order


class Store:
    """Room for so many tokens, filled from the front; what is filled stays, but for the clock of what is far."""

    def __init__(self, layers: int, heads: int, room: int) -> None:
        self.used = 0
        self.keys = torch.empty(layers, heads, room, HEAD)
        self.values = torch.empty(layers, heads, room, HEAD)
        self.time_s = np.empty(room)
        self.clock_s = np.empty(room)  # the time that the key is turned by: that of the token, or less long ago
        self.place = np.empty((room, 2), np.float32)
        self.order = np.empty(room, np.float32)
        self.cell = np.empty((room, 2), np.int32)

    def holding(self, which: slice | NDArray[np.intp], count: int, spare: int) -> Store:
        """Another with some of what this one holds, and room for more."""
        layers, heads = self.keys.shape[:2]
        out = Store(layers, heads, count + spare)
        out.used, some = count, which if isinstance(which, slice) else torch.from_numpy(which)
        out.keys[:, :, :count], out.values[:, :, :count] = self.keys[:, :, some], self.values[:, :, some]
        for name in ("time_s", "clock_s", "place", "order", "cell"):
            getattr(out, name)[:count] = getattr(self, name)[which]
        return out


@dataclass(frozen=True, eq=False)
class Kept:
    """The memory of one stream after so many tokens; n of them are still kept."""

    store: Store
    count: int  # of the store's tokens
    sifted: int  # how many they were when it was last looked for what is superseded,
    sifted_s: float  # and the newest one's time then
    eye: tuple[float, float]  # where the middle of the frame stood last

    def __len__(self) -> int:
        return self.count

    @classmethod
    def nothing(cls, brain: Brain) -> Self:
        """Before the first token."""
        return cls(Store(brain.size.layers, brain.size.heads, SPARE), 0, 0, -math.inf, (0.0, 0.0))

    @property
    def keys(self) -> Tensor:
        """(layers, heads, n, HEAD), turned by their clock."""
        return self.store.keys[:, :, : self.count]

    @property
    def values(self) -> Tensor:
        """(layers, heads, n, HEAD)."""
        return self.store.values[:, :, : self.count]

    @property
    def time_s(self) -> NDArray[np.float64]:
        """(n,)."""
        return self.store.time_s[: self.count]

    @property
    def order(self) -> NDArray[np.float32]:
        """(n,), of words."""
        return self.store.order[: self.count]

    @property
    def cell(self) -> NDArray[np.int32]:
        """(n, 2), row and column in the scene: whose place it tells of."""
        return self.store.cell[: self.count]

    @property
    def bytes(self) -> int:
        """What the keys and values take."""
        return 2 * self.store.keys.numel() * self.store.keys.element_size()

    def apart(self, room: int) -> Kept:
        """The same with so much room of its own: what is read into it leaves this one's room alone."""
        return replace(self, store=self.store.holding(slice(self.count), self.count, room))


@dataclass(frozen=True, eq=False)
class Read:
    """What came of reading: what is kept now, what the last layer made of new words, where the last one looked."""

    kept: Kept
    made: Tensor  # (words, dim); of visual tokens nobody wants to know
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
    step: NDArray[np.int64]  # (n,), each sees all that is kept and, of what is new, all but later steps
    words: bool  # whether these are words


def seen(brain: Brain, tokens: Tokens) -> New:
    """Visual tokens, at least one: each sees all that is kept, those of its own time, and those before."""
    cell, order = np.stack([tokens.row, tokens.col], 1), np.zeros(len(tokens), np.float32)
    eye = float(tokens.eye[-1, 0]), float(tokens.eye[-1, 1])
    with torch.inference_mode():
        x = brain.edits(as_tensors(tokens))
    step = np.cumsum(np.diff(tokens.time_s, prepend=tokens.time_s[0]) != 0)
    return New(x, tokens.time_s, tokens.place, order, cell, eye, step, words=False)


def said(brain: Brain, kept: Kept, words: Sequence[int], first: int, now_s: float) -> New:
    """Words, `first` of their text on, said at a moment: each sees all that is kept, and the words before it."""
    n = len(words)
    place, order = np.tile(np.array(kept.eye, np.float32), (n, 1)), np.arange(first, first + n, dtype=np.float32)
    cell = np.stack([np.full(n, WORD), order.astype(np.int32)], 1).astype(np.int32)
    with torch.inference_mode():
        x = brain.words(torch.tensor(words))
    return New(x, np.full(n, now_s), place, order, cell, kept.eye, np.arange(n), words=True)


@torch.inference_mode()
def read(brain: Brain, kepts: Sequence[Kept], news: Sequence[New], looking: int = 0) -> list[Read]:
    """Read what is new of several streams at once: one pass through the weights, each stream with its own memory.

    Of the last `looking` streams it is told where their last token looked.
    """
    sizes = [len(new.time_s) for new in news]
    pairs = list(zip(kepts, news, strict=True))
    streams = [_Stream(kept, new, k >= len(pairs) - looking, brain) for k, (kept, new) in enumerate(pairs)]
    turn = brain.turn(torch.from_numpy(np.concatenate([_positions(new) for new in news]))[None])
    x, layers = torch.cat([new.x for new in news])[None], brain.each()
    for number, layer in enumerate(layers[:-1]):
        found = _attended(streams, layer, number, x, turn, sizes, range(len(streams)))
        x = layer.use(x, torch.cat(found, 2))
    # What the last layer makes of a visual token nobody asks for: only words go through the whole of it.
    words = [k for k, new in enumerate(news) if new.words]
    found = _attended(streams, layers[-1], len(layers) - 1, x, turn, sizes, words)
    made = [x[0, :0]] * len(news)
    if words:
        parts = torch.split(x, sizes, 1)
        x = torch.cat([parts[k] for k in words], 1)
        x = brain.last(layers[-1].use(x, torch.cat(found, 2)))
        for k, each in zip(words, torch.split(x[0], [sizes[k] for k in words]), strict=True):
            made[k] = each
    return [stream.read(each) for stream, each in zip(streams, made, strict=True)]


def _attended(
    streams: Sequence[_Stream],
    layer: Layer,
    number: int,
    x: Tensor,
    turn: Turn,
    sizes: list[int],
    which: Sequence[int],
) -> list[Tensor]:
    """Keep the layer's keys and values of what is new; what those streams find there."""
    q, k, v = (torch.split(part, sizes, 2) for part in layer.asked(x, turn))
    for stream, key, value in zip(streams, k, v, strict=True):
        stream.keep(number, key, value)
    return [streams[i].attend(number, q[i]) for i in which]


def _positions(new: New) -> NDArray[np.float64]:
    """(n, AXES), from the stream's beginning."""
    out = np.empty((len(new.time_s), AXES))
    out[:, 0], out[:, 1:3], out[:, 3] = new.time_s, new.place, new.order
    return out


class _Stream:
    """One stream while it is read: where its new tokens go."""

    def __init__(self, kept: Kept, new: New, look: bool, brain: Brain) -> None:
        n = len(new.time_s)
        store, first = kept.store, kept.count
        if store.used != first or len(store.time_s) < first + n:  # full, or somebody else has gone on from here
            store = store.holding(slice(first), first, n + SPARE)
        store.used = first + n
        rows = slice(first, first + n)
        store.time_s[rows] = store.clock_s[rows] = new.time_s
        store.place[rows], store.order[rows], store.cell[rows] = new.place, new.order, new.cell
        set_clock(brain, store, first, float(new.time_s[-1]))
        self._kept = replace(kept, store=store, count=first + n, eye=new.eye)
        self._rows = rows
        self._sees: Tensor | None = None
        if new.step[-1] != new.step[0]:
            self._sees = torch.ones(n, first + n, dtype=torch.bool)
            self._sees[:, first:] = torch.from_numpy(new.step[:, None] >= new.step)
        self._looked = torch.zeros(first + n) if look else None

    def keep(self, layer: int, k: Tensor, v: Tensor) -> None:
        """Keys and values of the new tokens (1, heads, n, HEAD)."""
        store = self._kept.store
        store.keys[layer, :, self._rows], store.values[layer, :, self._rows] = k[0], v[0]

    def attend(self, layer: int, q: Tensor) -> Tensor:
        """What the new tokens find in the layer: (1, heads, n, HEAD)."""
        store, count = self._kept.store, self._kept.count
        k, v = store.keys[layer, None, :, :count], store.values[layer, None, :, :count]
        if self._looked is not None:
            self._looked += (q[0, :, -1:] @ k[0].mT / HEAD**0.5).softmax(-1).mean((0, 1))
        return F.scaled_dot_product_attention(q, k, v, attn_mask=self._sees)

    def read(self, made: Tensor) -> Read:
        """The end of it."""
        looked = None if self._looked is None else self._looked / len(self._kept.store.keys)
        return Read(self._kept, made, looked)


def set_clock(brain: Brain, store: Store, count: int, now_s: float, late_s: float = LATE_S) -> None:
    """Nothing counts as older than FAR_S: turn the keys of what is older by more than `late_s`."""
    behind = np.maximum(store.time_s[:count], now_s - FAR_S) - store.clock_s[:count]
    if count == 0 or behind.max() <= late_s:
        return
    at = np.flatnonzero(behind > 0)
    by = np.zeros((len(at), AXES))
    by[:, 0] = behind[at]
    which = torch.from_numpy(at)
    store.keys[:, :, which] = turned(store.keys[:, :, which], brain.turn(torch.from_numpy(by)[None]))
    store.clock_s[at] += behind[at]


def forget(kept: Kept, history: int = HISTORY, sight: Sight | None = None) -> Kept:
    """Without the oldest of the superseded tokens, so that no more than `history` of these stay, none beyond WINDOW_S.

    A token is superseded when a newer one tells of its place, or when its place has gone out of sight. The newest of
    each place in sight always stays. Looked for only after half as many new tokens, or a quarter of the window: so much
    more may stay.
    """
    now_s = float(kept.time_s[-1]) if len(kept) else -math.inf
    few, soon = len(kept) < kept.sifted + max(1, history // 2), now_s < kept.sifted_s + WINDOW_S / 4
    if not len(kept) or (few and soon):
        return kept
    stays, cell = np.zeros(len(kept), bool), kept.cell
    _, newest = np.unique(cell[::-1].astype(np.int64) @ np.array([1 << 32, 1]), return_index=True)
    stays[len(kept) - 1 - newest] = True
    if sight is not None:
        (top, left), (bottom, right) = sight
        row, col = cell[:, 0], cell[:, 1]
        stays &= (row == WORD) | (row == GLOBAL) | ((row >= top) & (row < bottom) & (col >= left) & (col < right))
    old = np.flatnonzero(~stays)
    recent = old[max(0, len(old) - history) :]
    stays[recent[kept.time_s[recent] >= now_s - WINDOW_S]] = True
    if stays.all():
        return replace(kept, sifted=len(kept), sifted_s=now_s)
    at = np.flatnonzero(stays)
    return Kept(kept.store.holding(at, len(at), SPARE), len(at), len(at), now_s, kept.eye)
