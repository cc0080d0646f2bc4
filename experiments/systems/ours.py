"""Our systems: the stream as shipped at several prices, by levels, with parts switched off, and every cell sent.

frame --Loop: sender, session, session, receiver--> canvas, all bytes of both directions
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_gate.budget import Caps
from edge_gate.network import WEIGHTS as GATE_WEIGHTS
from edge_gate.network import GateNetwork
from edge_gate.novelty import GateConfig
from experiments.systems import CHANNEL_BYTES, Clip, Known, System
from vidtok.bitstream import encode_payload
from vidtok.canvas import CELL, Grid, blank
from vidtok.codec import diff, patch, split
from vidtok.edits import Kind
from vidtok.entropy import load_tables
from vidtok.live.link import codec_hash
from vidtok.live.recording import Loop
from vidtok.live.sender import SendConfig
from vidtok.tokenizer.edge import EdgeEncoder, load_info
from vidtok.tokenizer.fsq import GIST_LEVELS, LEVELS, quantise

CAPS = Caps(64, 640)
PRICES = (500.0, 250.0, 120.0, 75.0, 45.0, 25.0, 12.0, 5.0, 2.0)
TOKEN_PRICES = (30.0, 20.0, 14.0, 10.0, 7.0, 5.0, 2.0)
FEW_PRICES = (250.0, 75.0, 25.0)  # of ablations
Floats = NDArray[np.float32]
PACKET, HEADER = 1100, 16  # bytes, of `vidtok-dense`, which runs without a session
PARTS: dict[str, tuple[str, dict[str, Any]]] = {
    "vidtok-no-gist": ("cells alone, no gist", {"gist_s": 0.0}),
    "vidtok-pan": ("with pan edits", {"pan": True}),
    "vidtok-no-move": ("no move edits", {"move_reach": 0}),
    "vidtok-no-steady": ("latents as they come, not averaged over looks", {"gate": GateConfig(blend=1.0)}),
    "vidtok-no-noise": ("what noise explains counts too", {"gate": GateConfig(noise=0.0)}),
    "vidtok-unlearned": ("what has stood is expected to stay, no event is told for itself", {"learned": False}),
    "vidtok-no-alert": ("no event is told for itself", {"alert": 0.0}),
}


def choices_of(config: SendConfig) -> str:
    """What names the settings and the gate's network, beside the tokenizer's weights."""
    return f"{zlib.crc32(repr(config).encode() + (GATE_WEIGHTS / 'gate.onnx').read_bytes()):08x}"


def systems() -> list[System]:
    """All of ours."""
    weights = codec_hash(load_tables(), load_info().digest).hex()

    def ours(name: str, about: str, config: SendConfig, prices: tuple[float, ...] = PRICES) -> System:
        settings = {f"price {price:g}": replace(config, caps=CAPS, price=price) for price in prices}
        return System(
            name, f"{about}; within {CAPS.kbps:g} kbps and {CAPS.tokens_per_s:g} tokens/s", stream, settings,
            packet_bytes=CHANNEL_BYTES,
            weights=weights + choices_of(config),
            family="vidtok" if name == "vidtok" else "ablations",
            quick=() if name == "vidtok" else list(settings)[-1:],
        )  # fmt: skip

    shipped = SendConfig()
    return [
        ours("vidtok", "as shipped", shipped),
        *(
            ours(f"vidtok-{n}-level{'s' * (n > 1)}", f"at most {n} of {LEVELS} levels",
                 replace(shipped, levels=n), FEW_PRICES)
            for n in range(1, LEVELS)
        ),
        *(ours(name, about, replace(shipped, **change), FEW_PRICES) for name, (about, change) in PARTS.items()),
        System(
            "vidtok-by-tokens", "as shipped, price 1, but dearer tokens", stream,
            {f"token price {t:g}": replace(shipped, caps=CAPS, price=1.0, token_price=t) for t in TOKEN_PRICES},
            "ablations", packet_bytes=CHANNEL_BYTES, weights=weights + choices_of(shipped),
        ),
        System(
            "vidtok-dense", f"every cell and gist of every frame, no gate; {HEADER} bytes of header a packet", dense,
            {f"{n} level{'s' * (n > 1)}": n for n in range(1, LEVELS + 1)},
            "vidtok", packet_bytes=CHANNEL_BYTES, weights=weights,
        ),
    ]  # fmt: skip


class Remembering(EdgeEncoder):
    """An encoder that looks once at what many settings show it: a run has dozens of them for every frame."""

    MOST = 1024  # looks

    def __init__(self) -> None:
        super().__init__()
        self._seen: dict[tuple[int, tuple[int, int]], tuple[Floats, Floats]] = {}
        self._last: Floats | None = None

    def __call__(self, pixels: NDArray[np.uint8], position: tuple[int, int] = (0, 0)) -> Floats:
        key = hash((pixels.shape, pixels.tobytes())), (position[0] % CELL, position[1] % CELL)
        if key not in self._seen:
            while len(self._seen) >= self.MOST:
                self._seen.pop(next(iter(self._seen)))
            self._seen[key] = super().__call__(pixels, position), super().gist()
        cells, self._last = self._seen[key]
        return cells.copy()

    def gist(self) -> Floats:
        """As of the look before."""
        assert self._last is not None
        return self._last.copy()


@cache
def encoder() -> EdgeEncoder:
    """One for the process."""
    return Remembering()


def stream(config: SendConfig, clip: Clip) -> Iterator[Known]:
    """The real sender and receiver, in the clip's own time."""
    loop = Loop(Grid(*clip.size), config, fps=clip.fps, name=clip.name, encoder=encoder())
    tokens, wake = 0, GateNetwork().wake
    for frame in clip:
        step = loop.step(frame)
        tokens += step.tokens
        news = (step.kind == Kind.SET) | (step.kind == Kind.MOVE)
        yield Known(None, loop.receiver.canvas, loop.bytes_total, loop.packets_total, tokens, news, step.alarm >= wake)


def dense(levels: int, clip: Clip) -> Iterator[Known]:
    """Every visible cell on so many levels, entropy coded against what is held."""
    canvas, tables = blank(Grid(*clip.size)), load_tables()
    known = Known()
    wanted = (canvas.visible() * levels).astype(np.uint8)
    for frame in clip:
        values = quantise(encoder()(frame.pixels))
        edits = diff(values, canvas, wanted, gist=quantise(encoder().gist()), gist_to=GIST_LEVELS)
        parts = 1
        while True:
            payloads, after = [], canvas
            for part in split(edits, parts):
                payloads.append(encode_payload(after, part, tables))
                after = patch(after, part, canvas.version + 1)
            if max(map(len, payloads)) <= PACKET - HEADER:
                break
            parts += 1
        canvas = after
        known = Known(
            canvas=canvas,
            bytes=(known.bytes or 0) + sum(len(payload) + HEADER for payload in payloads),
            packets=known.packets + parts,
            tokens=known.tokens + edits.tokens,
        )
        yield known
