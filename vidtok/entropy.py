"""Entropy coding: a carrying range coder over static integer tables, 12-bit frequencies, 32-bit state.

All of it is integer arithmetic below 2**45, so a browser's numbers compute it exactly. The tables are stored with the
weights (`tables.bin`, little-endian uint16 in the order of SHAPES) and never recomputed; `Tables.digest` goes into the
handshake so that two builds cannot be mixed up.

What each table is conditioned on stands in SHAPES; `vidtok/bitstream.py` says when each is read.
"""

from __future__ import annotations

import hashlib
import math
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate, pairwise
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt
from numpy.typing import NDArray

from vidtok.errors import PayloadError, WeightsError
from vidtok.tokenizer.fsq import CHANNELS, GIST, GIST_EDGES, GIST_LEVELS, LEVELS, VALUES

T = TypeVar("T", bound=np.generic)

PROB_BITS = 12
TOTAL = 1 << PROB_BITS
_TOP, _BOTTOM = 1 << 32, 1 << 24

DENSITIES = 8
PAN_ESCAPE = 48  # pan symbols 0..47 are zigzag offsets, 48 announces a raw number
MOVE_SPAN = 17  # -8 .. 8 cells
OPERATIONS = 2 * LEVELS + 1
NO_VALUE = VALUES  # the context of a value that was not there
TURNS = 4  # classes of how much of the gist changes
NEIGHBOURS = 2 * VALUES  # 0..14 from the cells left and above, 15 for none

# name -> (contexts..., symbols)
SHAPES: dict[str, tuple[int, ...]] = {
    "density": (DENSITIES,),
    "edited": (DENSITIES, 16, 2, 2),  # density class; left, up-left, up, up-right edited; cell unknown
    # levels held; operation before, or none; move, set to 1.., refine to 1..
    "operation": (LEVELS + 1, OPERATIONS + 1, OPERATIONS),
    "pan": (PAN_ESCAPE + 1,),
    "gist": (GIST_LEVELS + 1, GIST_LEVELS + 1),  # levels held; levels told
    "turn": (TURNS,),
    "gist_value": (GIST, TURNS, VALUES + 1, VALUES),  # which of the gist's numbers, how much changes, value held
    "move_x": (MOVE_SPAN + 1, MOVE_SPAN),  # the move before, or none
    "move_y": (MOVE_SPAN + 1, MOVE_SPAN),
    "value": (CHANNELS, VALUES + 1, NEIGHBOURS, VALUES),  # which of the cell's numbers, value held, neighbours
}
_SIZES = [math.prod(shape) for shape in SHAPES.values()]
_FIRST = dict(zip(SHAPES, accumulate([0, *_SIZES[:-1]]), strict=True))

# Symbols to code, one number each: its place in all tables, laid flat one behind the other.
Symbols = NDArray[np.int64]


def symbols(name: str, context: npt.ArrayLike, symbol: npt.ArrayLike) -> Symbols:
    """Symbols of a table, each with its flattened context."""
    context, symbol = np.atleast_1d(np.asarray(context, np.int64)), np.asarray(symbol, np.int64)
    return _FIRST[name] + context * SHAPES[name][-1] + symbol


def spelled(coded: Symbols) -> list[tuple[str, int, int]]:
    """Table, flattened context and symbol of each."""
    firsts, names = np.array(list(_FIRST.values())), list(SHAPES)
    tables = np.searchsorted(firsts, coded, "right") - 1
    pairs = zip(tables.tolist(), (coded - firsts[tables]).tolist(), strict=True)
    return [(names[t], *divmod(place, SHAPES[names[t]][-1])) for t, place in pairs]


class RangeEncoder:
    """Symbols in, bytes out. Trailing zero bytes are left off; the decoder reads zeros past the end."""

    def __init__(self) -> None:
        self._low, self._range, self._out = 0, _TOP - 1, bytearray()

    def encode(self, intervals: Iterable[Sequence[int]]) -> None:
        """One symbol after the other, each of which owns [start, start + size) of TOTAL."""
        low, span, out = self._low, self._range, self._out
        for start, size in intervals:
            unit = span >> PROB_BITS
            low += unit * start
            span = unit * size
            if low >= _TOP:
                low -= _TOP
                _carry(out)
            while span < _BOTTOM:
                out.append(low >> 24)
                low = (low << 8) & (_TOP - 1)
                span <<= 8
        self._low, self._range = low, span

    def bits(self, value: int, count: int) -> None:
        """`count` raw bits, most significant first."""
        while count > 0:
            chunk = min(count, 8)
            count -= chunk
            part = (value >> count) & ((1 << chunk) - 1)
            self.encode([(part << (PROB_BITS - chunk), TOTAL >> chunk)])

    def finish(self) -> bytes:
        """The shortest bytes that decode to what was encoded."""
        for zeros in (32, 24):  # the range is never below 1 << 24, so one of them fits
            step = 1 << zeros
            value = -(-self._low // step) * step
            if value < self._low + self._range:
                break
        if value >= _TOP:
            value -= _TOP
            _carry(self._out)
        return bytes(self._out + value.to_bytes(4, "big")).rstrip(b"\0")


def _carry(out: bytearray) -> None:
    """Add one to the number that the bytes spell."""
    place = len(out) - 1
    while out[place] == 255:
        out[place] = 0
        place -= 1
    out[place] += 1


class RangeDecoder:
    """The encoder's mirror. Any bytes decode to some symbols; bounds are the caller's to check."""

    def __init__(self, data: bytes) -> None:
        self._data, self._read = data, 4
        self._code = int.from_bytes(data[:4].ljust(4, b"\0"), "big")
        self._range = _TOP - 1

    def decode(self, cumulative: Sequence[int]) -> int:
        """The next symbol, given its table's cumulative frequencies (0 first, TOTAL last)."""
        return self.run((cumulative,))[0]

    def run(self, tables: Iterable[Sequence[int]]) -> list[int]:
        """The next symbols, one of each table."""
        code, span, data, read, out = self._code, self._range, self._data, self._read, []
        for cumulative in tables:
            unit = span >> PROB_BITS
            target = code // unit
            if target >= TOTAL:
                raise PayloadError("payload holds a symbol outside its table")
            symbol = bisect_right(cumulative, target) - 1
            start = cumulative[symbol]
            code -= unit * start
            span = unit * (cumulative[symbol + 1] - start)
            while span < _BOTTOM:
                code = (code << 8) | (data[read] if read < len(data) else 0)
                span <<= 8
                read += 1
            out.append(symbol)
        self._code, self._range, self._read = code, span, read
        return out

    def bits(self, count: int) -> int:
        """`count` raw bits, most significant first."""
        value = 0
        while count > 0:
            chunk = min(count, 8)
            count -= chunk
            value = (value << chunk) | self.decode(_EVEN[chunk])
        return value

    def finish(self) -> None:
        """Everything must have been read: bytes left over mean that this is not what was written."""
        if self._read < len(self._data):
            raise PayloadError(f"payload has {len(self._data) - self._read} bytes too many")


_EVEN = {bits: list(range(0, TOTAL + 1, TOTAL >> bits)) for bits in range(1, 9)}


@dataclass(frozen=True, eq=False)
class Tables:
    """The static tables: for each name in SHAPES, frequencies that sum to TOTAL along the last axis, none zero."""

    frequencies: dict[str, NDArray[np.uint16]]

    @cached_property
    def cumulative(self) -> dict[str, NDArray[np.int64]]:
        """The same tables summed up, one entry longer."""
        return {
            name: np.pad(f.astype(np.int64).cumsum(-1), [(0, 0)] * (f.ndim - 1) + [(1, 0)])
            for name, f in self.frequencies.items()
        }

    @cached_property
    def lists(self) -> dict[str, list[list[int]]]:
        """Cumulative tables as plain lists, contexts flattened in C order: what the decoder's inner loop reads."""
        return {name: c.reshape(-1, c.shape[-1]).tolist() for name, c in self.cumulative.items()}

    def ready(self) -> Tables:
        """These, with what a decoder reads made now: a live stream's first payload must not wait for it."""
        _ = self.lists
        return self

    @cached_property
    def intervals(self) -> NDArray[np.int32]:
        """(all symbols, 2): where each starts in its table, and how much of TOTAL it owns."""
        starts = [self.cumulative[name][..., :-1].ravel() for name in SHAPES]
        sizes = [self.frequencies[name].ravel() for name in SHAPES]
        return np.stack([np.concatenate(starts), np.concatenate(sizes)], 1).astype(np.int32)

    @cached_property
    def costs(self) -> dict[str, NDArray[np.float32]]:
        """Bits each symbol costs: for planning only, never part of the contract."""
        # in double precision first: float32 logarithms differ from one machine to the next
        wide = {name: np.log2(f.astype(np.float64)) for name, f in self.frequencies.items()}
        return {name: (PROB_BITS - bits).astype(np.float32) for name, bits in wide.items()}

    @cached_property
    def whole_costs(self) -> dict[str, NDArray[np.int64]]:
        """The same in units of 2**-16 bits: what an encoder chooses by, so that sums are equal in any language."""
        names = ("density", "edited")
        bits = {name: PROB_BITS - np.log2(self.frequencies[name].astype(np.float64)) for name in names}
        return {name: np.rint(cost * (1 << 16)).astype(np.int64) for name, cost in bits.items()}

    @cached_property
    def digest(self) -> bytes:
        """Eight bytes that name this build of the tables."""
        return hashlib.sha256(self.to_bytes()).digest()[:8]

    def to_bytes(self) -> bytes:
        """The stored form."""
        return b"".join(self.frequencies[name].astype("<u2").tobytes() for name in SHAPES)

    @classmethod
    def from_bytes(cls, data: bytes, name: str = "tables") -> Tables:
        """Read the stored form; WeightsError when it is not one."""
        size = 2 * sum(_SIZES)
        if len(data) != size:
            raise WeightsError(f"{name}: {len(data)} bytes, expected {size}: not the tables of this version")
        tables = by_table(np.frombuffer(data, "<u2").astype(np.uint16))
        if any((t == 0).any() or (t.sum(-1) != TOTAL).any() for t in tables.values()):
            raise WeightsError(f"{name}: frequencies do not add up: damaged tables")
        return cls(tables)


def by_table(flat: NDArray[T]) -> dict[str, NDArray[T]]:
    """One number for every symbol of every table, as they are stored -> the tables by their names."""
    parts = np.split(flat, np.cumsum(_SIZES)[:-1])
    return {name: part.reshape(shape) for (name, shape), part in zip(SHAPES.items(), parts, strict=True)}


def load_tables(path: Path | None = None) -> Tables:
    """The tables that ship with the package, or those of a file."""
    path = path or Path(__file__).parent / "weights" / "tables.bin"
    if not path.exists():
        raise WeightsError(f"{path}: no such file; the package's weights are incomplete, reinstall it")
    return Tables.from_bytes(path.read_bytes(), str(path))


def to_frequencies(weights: NDArray[np.floating]) -> NDArray[np.uint16]:
    """Positive weights along the last axis -> integer frequencies that sum to TOTAL, each at least one."""
    symbols = weights.shape[-1]
    share = weights / weights.sum(-1, keepdims=True)
    counts = 1 + np.floor(share * (TOTAL - symbols)).astype(np.int64)
    short = TOTAL - counts.sum(-1)
    np.put_along_axis(
        counts,
        share.argmax(-1)[..., None],
        np.take_along_axis(counts, share.argmax(-1)[..., None], -1) + short[..., None],
        -1,
    )
    return counts.astype(np.uint16)


def prior_weights() -> dict[str, NDArray[np.float64]]:
    """What the tables are before any statistics: the shape of a guess, and the smoothing of a count."""
    near = np.exp2(-np.abs(np.arange(VALUES)[:, None] - np.arange(VALUES)))
    value = np.ones(SHAPES["value"])
    value[:, :VALUES] *= near[:, None, :]
    value[:, :, : NEIGHBOURS - 1] *= np.exp2(-np.abs(np.arange(NEIGHBOURS - 1)[:, None] / 2 - np.arange(VALUES)) / 2)
    share = np.array([0.004, 0.015, 0.04, 0.1, 0.2, 0.4, 0.7, 0.995])  # of cells edited, a class each
    neighbours = np.array([bin(n).count("1") for n in range(16)]) / 4
    odds = (share / (1 - share))[:, None] * np.exp2(3 * neighbours - 1)
    edited = np.repeat(np.stack([1 / (1 + odds), odds / (1 + odds)], -1)[:, :, None], 2, axis=2)
    move = np.ones((MOVE_SPAN + 1, MOVE_SPAN)) + np.eye(MOVE_SPAN + 1, MOVE_SPAN) * 200
    pan = 1.0 / (1 + np.arange(PAN_ESCAPE + 1)) ** 1.3
    names = ("density", "operation", "gist", "turn")
    flat = {name: np.ones(SHAPES[name]) for name in names}
    gist = np.ones(SHAPES["gist_value"])
    for turn in range(TURNS):
        gist[:, turn, :VALUES] *= near ** (TURNS - turn)
    made = {"edited": edited, "pan": pan, "move_x": move, "move_y": move, "gist_value": gist, "value": value}
    return {name: {**flat, **made}[name] for name in SHAPES}


def fit_tables(counts: dict[str, NDArray[np.floating]], strength: float = 6.0) -> Tables:
    """Tables from counted symbols, smoothed by the prior; values also back off from all contexts to some of them."""
    tables = {}
    for name, prior in prior_weights().items():
        guess = prior / prior.sum(-1, keepdims=True)
        seen = np.asarray(counts.get(name, np.zeros(SHAPES[name])), np.float64)
        if name == "value":
            guess = _back_off(seen, guess, strength)
        if name == "gist_value":
            guess = _back_off_gist(seen, guess, strength)
        tables[name] = to_frequencies(seen + strength * guess)
    return Tables(tables)


def _back_off_gist(seen: NDArray[np.float64], guess: NDArray[np.float64], strength: float) -> NDArray[np.float64]:
    """What a whole level does in each context, by how one number differs from the rest of its level."""
    out = np.empty_like(guess)
    for first, end in pairwise(GIST_EDGES):
        level, likely = seen[first:end], guess[first:end]
        context = level.sum(0) + strength * likely[0]
        total = level.sum((0, 1, 2)) + strength
        alone = level.sum((1, 2)) + strength * total / total.sum()
        joint = context / context.sum(-1, keepdims=True) * np.sqrt(alone / total)[:, None, None]
        out[first:end] = joint / joint.sum(-1, keepdims=True)
    return out


def _back_off(seen: NDArray[np.float64], guess: NDArray[np.float64], strength: float) -> NDArray[np.float64]:
    """A guess for every pair of contexts: the product of what each says alone, by how much each narrows the rest."""

    def normal(counts: NDArray[np.float64], base: NDArray[np.float64]) -> NDArray[np.float64]:
        total = counts + strength * base
        return total / total.sum(-1, keepdims=True)

    alone = normal(seen.sum((1, 2), keepdims=True), guess.mean((1, 2), keepdims=True))
    by_held = normal(seen.sum(2, keepdims=True), alone)
    by_neighbours = normal(seen.sum(1, keepdims=True), alone)
    joint = by_held * by_neighbours / alone
    return joint / joint.sum(-1, keepdims=True)
