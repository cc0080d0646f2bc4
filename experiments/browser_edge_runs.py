"""One run of `browser_edge`: what crossed, what was spent and when each frame stood in the model.

connected --begins()--> the measured part begins --Counts--> sleep --Counts--> it ends --> Taken
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from experiments.bench import BenchError, Row
from experiments.browser_edge_camera import (
    CLOCK_RATE,
    LEAD_S,
    SETTLE_S,
    Glass,
    Reel,
    begins,
    glasses,
    nearest,
    offset_of,
)
from experiments.browser_edge_chromium import Chromium, process_cpu_s, wall_ahead_s
from experiments.browser_edge_receiver import PAGE
from experiments.latency_receiver import Receiving
from vidtok.canvas import Grid
from vidtok.live.server import unpack_pooled

SPARE_S = LEAD_S + SETTLE_S  # between being ready and the measured part's beginning: a whole lead is in it
GRACE_S = 0.6  # for the last frames
START_TIMEOUT_S = 60.0


@dataclass(frozen=True)
class Video:
    """A video track's setting."""

    mime: str
    fps: float
    kbps: float
    at_once: bool = True  # the receiver hands a frame on at its last packet

    @property
    def system(self) -> str:
        """Its name."""
        return f"webrtc-{self.mime.partition('/')[2].lower()}"

    @property
    def setting(self) -> str:
        """And setting."""
        return f"{self.fps:g} fps, {self.kbps:g} kbps" + ("" if self.at_once else ", as aiortc")


@dataclass(frozen=True)
class Moment:
    """A frame, or its edits, as the server had them."""

    taken_s: float  # by the camera
    token_s: float  # model input: ours stands in the canvas, video's features stand at the tower's cut
    known_s: float | None = None  # its labels are there
    pooled: Any = None  # what the model input tells
    tokens: int = 0


@dataclass(frozen=True)
class Taken:
    """All that a run noted."""

    glasses: Sequence[Glass]
    moments: Sequence[Moment]
    window: tuple[float, float]
    spent: Mapping[str, float]  # between the window's ends: bytes, packets, CPU seconds
    more: Row = field(default_factory=dict)
    beyond_cut_s: float = 0.0  # of the server's CPU, in the tower beyond the cut at which our tokens enter it


Counts = Callable[[], Awaitable[Mapping[str, float]]]


async def counted(browser: Chromium, page: Any, pid: int) -> Mapping[str, float]:
    """What has crossed and been spent so far."""
    crossed = await page.evaluate("browserEdge.crossed()")
    cpu = await browser.cpu_s()
    return {**crossed, **{f"{name}_cpu_s": value for name, value in cpu.items()}, "server_cpu_s": process_cpu_s(pid)}


async def filmed(reel: Reel, page: Any, counts: Counts) -> tuple[tuple[float, float], Mapping[str, float]]:
    """Wait for the measured part, let it pass; its beginning and end, and what was spent in between."""
    seen = await watched(page, reel)
    start = begins(seen, reel, time.monotonic() + SPARE_S)
    await asyncio.sleep(start - time.monotonic())
    began, before = time.monotonic(), await counts()
    await asyncio.sleep(began + reel.seconds - time.monotonic())
    ended, after = time.monotonic(), await counts()
    took = ended - began
    spent = {name: (after[name] - before[name]) * reel.seconds / took for name in after}
    await asyncio.sleep(GRACE_S)
    return (start, start + reel.seconds), spent


async def watched(page: Any, reel: Reel) -> list[Glass]:
    """The camera's frames so far; waits for the first number."""
    deadline = time.monotonic() + 2 * reel.count / reel.fps + 5
    while True:
        noted = await page.evaluate("browserEdge.frames")
        try:
            return glasses(noted, wall_ahead_s(), reel)
        except BenchError:
            if time.monotonic() > deadline:
                raise
        await asyncio.sleep(0.2)


# Video


async def run_video(video: Video, reel: Reel, browser: Chromium, receiving: Receiving) -> Taken:
    """Film the reel through a video track."""
    width, height = reel.size
    asked = {
        "width": width, "height": height, "mime": video.mime, "kbps": video.kbps, "fps": video.fps,
        "query": {"fps": f"{video.fps:g}", "at_once": str(int(video.at_once))},
    }  # fmt: skip
    async with browser.tab() as page:
        await page.goto(f"{receiving.url}/{PAGE}")
        try:
            async with asyncio.timeout(START_TIMEOUT_S):
                await page.evaluate("asked => start(asked)", asked)
        except TimeoutError:
            raise BenchError(receiving.failed(f"did not connect for {video.system} ({video.setting})")) from None
        window, spent = await filmed(reel, page, lambda: counted(browser, page, receiving.pid))
        seen = await watched(page, reel)
        async with aiohttp.ClientSession() as http, http.get(receiving.url + "/rows") as response:
            rows = await response.json()
    moments, foreign = of_video(rows, seen, reel)
    shapes = sorted({"x".join(map(str, row["shape"])) for row in rows})
    beyond_s = sum(row["beyond_cut_ns"] for row in rows if window[0] <= row["ns"] / 1e9 < window[1]) / 1e9
    return Taken(seen, moments, window, spent, {"foreign": foreign, "sent_as": " ".join(shapes)}, beyond_s)


def of_video(rows: Sequence[Row], seen: Sequence[Glass], reel: Reel) -> tuple[list[Moment], int]:
    """When each frame's features stood, and how many rows were of no frame that was filmed."""
    ahead = offset_of(rows, seen, reel)
    moments, foreign, tokens = [], 0, Grid(*reel.size).frame_cells + 1  # every cell of a frame, and the gist
    for row in rows:
        glass = nearest(seen, row["pts"] / CLOCK_RATE - ahead)
        if glass is None:
            foreign += 1
            continue
        pooled = unpack_pooled(row["pooled"])
        moments.append(Moment(glass.time_s, row["ns"] / 1e9, row["known_ns"] / 1e9, pooled, tokens))
    return moments, foreign
