"""The double cap: bits and model tokens, both hard over any second, spent where they buy most. Sans-IO.

    Ledger: what was sent in the last second, so what may be sent now
    buy():  gain and bits of every edit on offer -> the best edit of each cell, while both caps last
    explain(): why each cell was bought or not
    renew(): gain and bits of every number of the gist -> which to tell anew

The ledger counts what its owner tells it: payloads and packet headers, before what WebRTC adds below them. A single
packet may run over, as the caps allow.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Bytes = NDArray[np.uint8]

LATE_S = 0.1  # how long after it was filmed a frame's packets may leave
WINDOW_S = 1.0 + LATE_S  # the caps hold for any second of leaving, so the ledger looks back further
TICK_S = 1e-3  # times closer than this are the same moment: decisions must not hang on a clock's last digits


@dataclass(frozen=True)
class Caps:
    """Hard limits over any second."""

    kbps: float = 30.0
    tokens_per_s: float = 300.0

    def __post_init__(self) -> None:
        if not (self.kbps > 0 and self.tokens_per_s > 0):
            raise ValueError(f"caps must be above zero, not {self.kbps} kbps and {self.tokens_per_s} tokens/s")


@dataclass(frozen=True)
class Allowance:
    """What may be spent now."""

    bits: float
    tokens: int


class Ledger:
    """Remembers a second of spending and a little more; tells what is left of both caps. Times are those of filming."""

    def __init__(self, caps: Caps) -> None:
        self.caps = caps
        self._asked = caps
        self._spent: deque[tuple[float, int, int]] = deque()

    def honour(self, kbps: float, tokens_per_s: float) -> None:
        """Take the receiver's limits: they lower our caps, never raise them."""
        self.caps = Caps(min(kbps, self._asked.kbps), min(tokens_per_s, self._asked.tokens_per_s))

    def spend(self, now: float, bits: int, tokens: int) -> None:
        """Write down what has left."""
        if bits or tokens:
            self._spent.append((now, bits, tokens))

    def left(self, now: float) -> Allowance:
        """What may still be spent at `now` without any window of one second going over."""
        while self._spent and self._spent[0][0] < now - WINDOW_S - TICK_S:
            self._spent.popleft()
        bits = self.caps.kbps * 1000 - sum(entry[1] for entry in self._spent)
        tokens = self.caps.tokens_per_s - sum(entry[2] for entry in self._spent)
        return Allowance(max(0.0, bits), max(0, int(tokens)))


@dataclass(frozen=True)
class Offer:
    """What one frame could send. A gain is what an edit would spare the model, over as long as it should last."""

    set_gain: Floats  # (rows, cols, levels): of setting a cell afresh to 1, 2, ... levels
    refine_gain: Floats  # (rows, cols, levels): of refining it to as many, with what is held kept
    move_gain: Floats  # (rows, cols): of moving it here from elsewhere; zero where no move is on offer
    set_bits: Floats  # (rows, cols, levels): of each level alone
    depth: Bytes  # (rows, cols): levels held
    edit_bits: float = 8.0  # place and operation of one edit
    move_bits: float = 8.0

    def options(self) -> tuple[Floats, Floats]:
        """(gain, bits) of each cell's options, both (cells, 2 * levels + 1): set to 1.., refine to 1.., move."""
        cells, levels = self.depth.size, self.set_gain.shape[-1]
        to_set = np.cumsum(self.set_bits.reshape(cells, levels), axis=1)
        depth = self.depth.ravel()
        held = np.concatenate([np.zeros((cells, 1), np.float32), to_set], 1)[np.arange(cells), depth]
        deeper = (np.arange(1, levels + 1) > depth[:, None]) & (depth > 0)[:, None]
        refine = np.where(deeper, self.refine_gain.reshape(cells, levels), 0)
        move = self.move_gain.reshape(cells, 1)
        gain = np.concatenate([self.set_gain.reshape(cells, levels), refine, move], 1)
        bits = np.concatenate([to_set, np.maximum(to_set - held[:, None], 0), np.full((cells, 1), self.move_bits)], 1)
        bits[:, :-1] += self.edit_bits
        return gain.astype(np.float32), bits.astype(np.float32)


@dataclass(frozen=True, eq=False)
class Bought:
    """What to send of each cell: at most one of the three."""

    set_to: Bytes  # (rows, cols): levels, 0 for none
    refine_to: Bytes  # (rows, cols): levels, 0 for none
    moved: NDArray[np.bool_]  # (rows, cols)
    gain: Floats  # (rows, cols): the most that any edit would spare
    worth: NDArray[np.bool_]  # (rows, cols): whether that is worth its price, bought or not
    surplus: float  # gain, less its price


@dataclass(frozen=True)
class Price:
    """What spending must spare the model, in the unit of gains."""

    bit: float
    token: float = 0.0


def buy(offer: Offer, allowance: Allowance, price: Price, left: Allowance | None = None) -> Bought:
    """The edits that are worth their price, best gain for its share of what is `left` first, while `allowance` lasts.

    `left` is of both caps; the allowance is that (the default) or less, as the network has it from moment to moment.
    Each cell gets the option with the largest gain after it is paid; where the bits run out, a cheaper one.
    """
    gain, bits = offer.options()
    net = gain - np.float32(price.bit) * bits - np.float32(price.token)
    of = left or allowance
    share = bits / max(of.bits, 1.0) + 1 / max(of.tokens, 1)
    levels = offer.set_gain.shape[-1]
    best = net.argmax(1)
    cells = np.arange(len(best))
    wanted = np.flatnonzero(net[cells, best] > 0)
    order = wanted[np.argsort(-gain[wanted, best[wanted]] / share[wanted, best[wanted]], kind="stable")]
    chosen = np.full(len(best), -1)
    free, tokens, surplus = allowance.bits, allowance.tokens, 0.0
    for cell in order.tolist():
        if tokens <= 0:
            break
        option = int(best[cell])
        if bits[cell, option] > free:
            fitting = np.where(bits[cell] <= free, net[cell], -np.inf)
            option = int(fitting.argmax())
            if not fitting[option] > 0:
                continue
        chosen[cell], free, tokens = option, free - float(bits[cell, option]), tokens - 1
        surplus += float(net[cell, option])
    shape = offer.depth.shape
    sets = np.where((chosen >= 0) & (chosen < levels), chosen + 1, 0)
    refines = np.where((chosen >= levels) & (chosen < 2 * levels), chosen - levels + 1, 0)
    return Bought(
        sets.reshape(shape).astype(np.uint8),
        refines.reshape(shape).astype(np.uint8),
        (chosen == 2 * levels).reshape(shape),
        gain.max(1).reshape(shape),
        (net[cells, best] > 0).reshape(shape),
        surplus,
    )


class Why(IntEnum):
    """Why a cell was or was not told of."""

    OUT_OF_SIGHT = 0
    NOTHING_NEW = 1
    TOO_DEAR = 2  # new, but not worth its price
    NO_ROOM = 3  # worth its price, but the caps or the network left nothing for it
    MOVED = 4
    REFINED = 5
    NEWS = 6
    EVENT = 7  # news, of which most was that something happens


def explain(bought: Bought, alert: Floats, in_sight: NDArray[np.bool_]) -> Bytes:
    """(rows, cols) of `Why`; `alert` (rows, cols) is what of a cell's gain is for the event alone."""
    why = np.full(in_sight.shape, Why.NOTHING_NEW, np.uint8)
    why[bought.gain > 0] = Why.TOO_DEAR
    why[bought.worth] = Why.NO_ROOM
    why[bought.moved] = Why.MOVED
    why[bought.refine_to > 0] = Why.REFINED
    why[bought.set_to > 0] = Why.NEWS
    why[(bought.set_to > 0) & (alert > bought.gain / 2)] = Why.EVENT
    why[~in_sight] = Why.OUT_OF_SIGHT
    return why


@dataclass(frozen=True)
class GistOffer:
    """What a new gist could tell, for each way of coding it: gain (N,), the others (ways, N)."""

    gain: Floats  # of telling a number as it is seen, over as long as that should last
    told_bits: Floats  # what that costs
    kept_bits: Floats  # what repeating the held number costs; out of reach where none is held
    edges: tuple[int, ...]  # level n's numbers are edges[n] to edges[n + 1]


@dataclass(frozen=True, eq=False)
class Renewed:
    """What to send of the gist."""

    levels: int  # 0 for nothing
    told: NDArray[np.bool_]  # (N,): the numbers told as they are seen; the others of these levels are repeated
    bits: float
    surplus: float  # gain, less its price


def renew(offer: GistOffer, bits: float, price: Price, edit_bits: float = 4.0) -> Renewed:
    """The levels, and of them the numbers, that are worth their price and cost no more than `bits`; one token."""
    tell = offer.gain - np.float32(price.bit) * offer.told_bits
    told = tell > -np.float32(price.bit) * offer.kept_bits
    cost = np.where(told, offer.told_bits, offer.kept_bits)
    starts = offer.edges[:-1]
    costs = np.cumsum(np.add.reduceat(cost, starts, axis=1), 1) + edit_bits
    gains = np.cumsum(np.add.reduceat(np.where(told, offer.gain, 0), starts, axis=1), 1)
    net = np.where(costs <= bits, gains - price.bit * costs - price.token, -np.inf)
    way, level = np.unravel_index(int(net.argmax()), net.shape)
    if not net[way, level] > 0:
        return Renewed(0, np.zeros(offer.gain.shape, bool), 0.0, 0.0)
    return Renewed(int(level) + 1, told[way], float(costs[way, level]), float(net[way, level]))
