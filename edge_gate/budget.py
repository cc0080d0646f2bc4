"""The double cap: bits and model tokens, both hard over any second, spent where they buy most. Sans-IO.

    Ledger: what was sent in the last second, so what may be sent now
    buy():  novelty and costs per cell -> levels to set; what is left over -> levels to refine

The ledger counts what its owner tells it: payloads and packet headers, before what WebRTC adds below them. A single
packet may run over, as the caps allow.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, replace

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

    def honour(self, feedback: Mapping[str, object]) -> None:
        """Take the receiver's limits: `kbps` and `tokens_per_s` lower our caps, never raise them."""
        limits = {}
        for name in ("kbps", "tokens_per_s"):
            value = feedback.get(name)
            if isinstance(value, int | float) and not isinstance(value, bool) and value > 0:
                limits[name] = min(float(value), getattr(self._asked, name))
        self.caps = replace(self._asked, **limits)

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
    """What one frame could send. All arrays are (rows, cols) or (rows, cols, levels)."""

    gain: Floats  # (rows, cols): what knowing the cell afresh is worth; zero is not for sale
    set_bits: Floats  # (rows, cols, levels): bits of each level, were it set afresh
    quiet: Floats  # (rows, cols): seconds since the cell was last news; negative is not for refinement
    depth: Bytes  # (rows, cols): levels held
    moving: NDArray[np.bool_]  # (rows, cols): a move tells it all
    edit_bits: float = 8.0  # place and operation of one edit
    move_bits: float = 8.0


def buy(offer: Offer, allowance: Allowance, *, news_levels: int, quiet_s: float) -> tuple[Bytes, Bytes]:
    """Spend an allowance: (levels to set a cell to, levels to refine it to), zero for none. Moves count as set to 1.

    News first, by gain per bit: as many levels as `news_levels` when all of the news fits, fewer when not. Then what
    has been quiet for `quiet_s` is refined as deep as the bits go, the shallowest and longest quiet first.
    """
    bits, tokens = allowance.bits, allowance.tokens
    set_to, bits, tokens = _buy_news(offer, bits, tokens, news_levels)
    still = (offer.quiet >= quiet_s - TICK_S) & (set_to == 0) & ~offer.moving & (offer.depth > 0)
    return set_to, _buy_refinement(offer, still, bits, tokens)


def _buy_news(offer: Offer, bits: float, tokens: int, news_levels: int) -> tuple[Bytes, float, int]:
    for_sale = np.flatnonzero(offer.gain.ravel() > 0)
    set_to = np.zeros(offer.gain.size, np.uint8)
    for levels in range(news_levels, 0, -1):
        cost = offer.set_bits[..., :levels].sum(-1) + offer.edit_bits
        cost = np.where(offer.moving, offer.move_bits, cost).ravel()[for_sale]
        if levels == 1 or (cost.sum() <= bits and len(for_sale) <= tokens):
            order = np.argsort(-offer.gain.ravel()[for_sale] / cost, kind="stable")
            fits = (np.cumsum(cost[order]) <= bits) & (np.arange(len(order)) < tokens)
            set_to[for_sale[order[fits]]] = levels
            bits -= float(cost[order[fits]].sum())
            tokens -= int(fits.sum())
            break
    return set_to.reshape(offer.gain.shape), bits, tokens


def _buy_refinement(offer: Offer, still: NDArray[np.bool_], bits: float, tokens: int) -> Bytes:
    levels = offer.set_bits.shape[-1]
    depth = offer.depth.ravel()
    refine_to = np.zeros(depth.size, np.uint8)
    open_cells = np.flatnonzero(still.ravel() & (depth < levels))
    open_cells = open_cells[np.lexsort((-offer.quiet.ravel()[open_cells], depth[open_cells]))]
    cost_to = np.cumsum(offer.set_bits.reshape(-1, levels), axis=1)
    for cell in open_cells:  # all that is missing at once: it is one token to the model either way
        if bits <= offer.edit_bits or tokens <= 0:
            break
        below = cost_to[cell, depth[cell] - 1]
        for target in range(levels, depth[cell], -1):
            cost = float(cost_to[cell, target - 1] - below) + offer.edit_bits
            if cost <= bits:
                refine_to[cell], bits, tokens = target, bits - cost, tokens - 1
                break
    return refine_to.reshape(offer.depth.shape)
