"""The same clip through the browser's edge and through Python's: what a frame costs there, and whether both agree.

    frame/K --Chromium: a worker, one thread of WASM--> latents of every cell, payloads, ms by part --+--> shares
    frame/K --here: encoder, vidtok.live.sender--------> latents of every cell, payloads -------------+
    the browser's latents --here: vidtok.live.sender---> payloads ------------------------------------+

Both send into a session whose other end has everything at once, at the film's own times: no clock and no network is in
what they make. Python's own times are not taken.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from aiohttp import web
from numpy.typing import NDArray

from edge_gate.source import Frame
from experiments.bench import BenchError, Row
from experiments.browser_edge_chromium import Chromium
from experiments.browser_edge_receiver import WEB
from transport.config import SessionConfig
from vidtok.canvas import Grid
from vidtok.entropy import load_tables
from vidtok.live.sender import Sender
from vidtok.tokenizer.edge import WEIGHTS, EdgeEncoder, load_info
from vidtok.tokenizer.fsq import CHANNELS, EDGES, GIST, quantise

EDGE = Path(__file__).parents[1] / "edge_gate"
TIMEOUT_S = 600.0
PARTS = {
    "read": "a bitmap's pixels, as the page's worker takes them",
    "encode": "the encoder's network",
    "gist": "the second network, of the whole frame",
    "gate": "the gate's network",
    "see": "thumbnail, glance, what is remembered of the look",
    "tell": "novelty, costs, choosing, payload, canvas, its hash",
}
SCRIPT = """asked => new Promise((resolve, reject) => {
  const worker = new Worker("browser_edge_twin.js", { type: "module" });
  worker.onmessage = ({ data }) => data.wrong ? reject(new Error(data.wrong)) : resolve(data.frames);
  worker.onerror = (event) => reject(new Error(event.message || "the worker's modules do not load"));
  worker.postMessage(asked);
})"""


@dataclass(frozen=True, eq=False)
class Made:
    """What one edge made of a frame."""

    latents: NDArray[np.float32] | None  # (rows, cols, CHANNELS) as they came; None where it was not looked at
    gist: NDArray[np.float32] | None  # the newest of the whole frame's
    payloads: Sequence[str]  # in hexadecimal
    tokens: int
    ms: Mapping[str, float] = field(default_factory=dict)

    @property
    def codes(self) -> NDArray[np.uint8] | None:
        """The latents as values."""
        return None if self.latents is None else quantise(self.latents)


# Python


@dataclass
class AtOnce:
    """A session whose other end has everything at once."""

    max_payload: int
    next_version: int = 1
    payloads: list[str] = field(default_factory=list)

    def base(self, _: float) -> int:
        """The newest."""
        return self.next_version - 1

    def allowance(self, _: float) -> int:
        """As much as one likes."""
        return 10**6

    def needed(self) -> frozenset[int]:
        """The newest."""
        return frozenset((self.next_version - 1,))

    def send_delta(self, *, payload: bytes, **_: Any) -> int:
        """Take it."""
        self.payloads.append(payload.hex())
        self.next_version += 1
        return self.next_version - 1


class Again:
    """An encoder that sees what another edge saw."""

    def __init__(self, seen: Sequence[Made]) -> None:
        self.now = 0
        self._seen = seen

    def __call__(self, _: Any, __: Any = (0, 0)) -> NDArray[np.float32]:
        """What it saw in the frame of now; nothing where it did not look."""
        latents = self._seen[self.now].latents
        some = next(one.latents for one in self._seen if one.latents is not None)
        return np.zeros_like(some) if latents is None else latents

    def gist(self) -> NDArray[np.float32]:
        """And of the whole."""
        gist = self._seen[self.now].gist
        return np.zeros(GIST, np.float32) if gist is None else gist


def in_python(frames: Sequence[Frame], size: tuple[int, int], seen: Sequence[Made] | None = None) -> list[Made]:
    """A clip through Python's edge; with `seen`, as another edge's encoder saw it."""
    session, again = AtOnce(SessionConfig().max_payload), Again(seen or ())
    encoder: Any = EdgeEncoder() if seen is None else again
    sender = Sender(Grid(*size), session, encoder, load_info(), load_tables())  # type: ignore[arg-type]
    out = []
    for again.now, frame in enumerate(frames):
        session.payloads = []
        step = sender.step(frame.pixels, frame.time_s, frame.time_s)
        out.append(Made(sender.seen if step.looked else None, None, session.payloads, step.tokens))
    return out


# The browser


async def in_browser(frames: Sequence[Frame], size: tuple[int, int], fps: float, browser: Chromium) -> list[Made]:
    """The same through the browser's."""
    grid, seen = Grid(*size), dict[int, bytes]()

    async def frame(request: web.Request) -> web.Response:
        return web.Response(body=np.ascontiguousarray(frames[int(request.match_info["k"])].pixels).tobytes())

    async def codes(request: web.Request) -> web.Response:
        seen[int(request.match_info["k"])] = await request.read()
        return web.Response()

    async def weights(request: web.Request) -> web.FileResponse:
        name = request.match_info["name"]
        return web.FileResponse((EDGE / "weights" if name.startswith("gate.") else WEIGHTS) / name)

    app = web.Application(client_max_size=1 << 24)
    app.router.add_get("/frame/{k:\\d+}", frame)
    app.router.add_post("/seen/{k:\\d+}", codes)
    app.router.add_get("/weights/{name}", weights)
    app.router.add_static("/edge", EDGE / "web")
    app.router.add_static("/", WEB)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        asked = {"width": size[0], "height": size[1], "fps": fps, "count": len(frames)}
        asked["maxPayload"] = SessionConfig().max_payload
        async with browser.tab() as page:
            await page.goto(f"http://127.0.0.1:{runner.addresses[0][1]}/browser_edge_twin.html")
            found = await _asked(page, asked)
    finally:
        await runner.cleanup()
    return [Made(*_parted(seen.get(k), grid), one["payloads"], one["tokens"], one["ms"]) for k, one in enumerate(found)]


def _parted(data: bytes | None, grid: Grid) -> tuple[NDArray[np.float32] | None, NDArray[np.float32] | None]:
    """Latents of every cell, and what follows them: the gist."""
    if data is None:
        return None, None
    numbers = np.frombuffer(data, np.float32)
    latents, gist = np.split(numbers, [grid.rows * grid.cols * CHANNELS])
    return latents.reshape(grid.rows, grid.cols, CHANNELS), gist


async def _asked(page: Any, asked: Mapping[str, Any]) -> list[Any]:
    try:
        async with asyncio.timeout(TIMEOUT_S):
            found: list[Any] = await page.evaluate(SCRIPT, asked)
            return found
    except TimeoutError:
        raise BenchError(f"the browser's edge took more than {TIMEOUT_S:g} s: give fewer --seconds") from None
    except Exception as error:  # Playwright's, around the worker's own
        raise BenchError(f"the browser's edge: {str(error).splitlines()[0]} {page.wrong[-1:]}") from None


# Both


def agreement(browser: Sequence[Made], python: Sequence[Made], again: Sequence[Made], grid: Grid) -> Row:
    """Shares of values, of cells and of frames that are the same for both.

    `again` is what Python makes of the browser's latents.
    """
    inner = (slice(0, grid.rows - 1), slice(0, grid.cols - 1))  # the spare row and column are out of sight
    same_looks = sum((a.latents is None) == (b.latents is None) for a, b in zip(browser, python, strict=True))
    codes = [(a.codes, b.codes) for a, b in zip(browser, python, strict=True)]
    apart = [np.abs(a[inner].astype(np.int16) - b[inner]) for a, b in codes if a is not None and b is not None]
    if not apart:
        raise BenchError("no frame was looked at by both edges: nothing can be compared")
    whole = np.stack(apart)  # (frames, rows, cols, CHANNELS)
    return {
        "codes_agree": round(float((whole == 0).mean()), 6),
        "codes_near": round(float((whole <= 1).mean()), 6),
        "first_levels_agree": round(float((whole[..., : EDGES[1]] == 0).all(-1).mean()), 6),
        "cells_agree": round(float((whole == 0).all(-1).mean()), 6),
        "looks_agree": round(same_looks / len(python), 4),
        "payloads_agree": _same_payloads(browser, python),
        "payloads_agree_on_its_codes": _same_payloads(browser, again),
    }


def _same_payloads(one: Sequence[Made], other: Sequence[Made]) -> float:
    same = sum(list(a.payloads) == list(b.payloads) for a, b in zip(one, other, strict=True))
    return round(same / len(other), 4)


def costs(browser: Sequence[Made]) -> Row:
    """What a frame costs on one thread of WASM: by part and whole, and the frames a second that leaves room for."""
    whole = [sum(one.ms.values()) for one in browser]
    looked = [sum(one.ms.values()) for one in browser if one.latents is not None]
    return {
        "keeps_up_fps": round(1000 / float(np.mean(whole)), 2),
        "frame_ms": round(float(np.mean(whole)), 3),
        "look_p50_ms": round(float(np.median(looked)), 3) if looked else None,
        "look_p95_ms": round(float(np.percentile(looked, 95)), 3) if looked else None,
        "look_share": round(len(looked) / len(whole), 4),
        **{f"{part}_ms": round(float(np.mean([one.ms[part] for one in browser])), 3) for part in PARTS},
    }
