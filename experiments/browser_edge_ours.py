"""Ours in `browser_edge`: the page as `vidtok serve` serves it, its camera a film; its updates as the server says.

Chromium: page, Start --> worker: edge --> RTCDataChannel --> Serving
Serving: `vidtok serve --json` --rows--> when each update stood in the canvas
page, Save --recording--> the same canvases, afterwards --> what they tell
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from experiments.bench import BenchError, Row
from experiments.browser_edge_camera import Glass, Reel
from experiments.browser_edge_chromium import Chromium, wall_ahead_s
from experiments.browser_edge_runs import Moment, Taken, counted, filmed, watched
from vidtok.canvas import Canvas
from vidtok.live.recording import Replay

START_TIMEOUT_S = 120.0
EARLY_S = 0.005  # a frame's stamp may be so much older than Chromium's own

Told = tuple[float, Row]  # when this process read it (CLOCK_MONOTONIC), and what the server said


class Serving:
    """A `vidtok serve` of one's own, and all that it says."""

    def __init__(self) -> None:
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed when this is left
        self._child: asyncio.subprocess.Process | None = None
        self._reading: asyncio.Task[None] | None = None
        self.told: list[Told] = []
        self.url = ""

    @property
    def pid(self) -> int:
        """Of the process."""
        assert self._child is not None
        return self._child.pid

    async def __aenter__(self) -> Serving:
        command = (sys.executable, "-m", "vidtok.cli", "serve", "--json", "--port", "0")
        pipe, limit = asyncio.subprocess.PIPE, 1 << 20
        self._child = await asyncio.create_subprocess_exec(
            *command, stdout=pipe, stderr=self._errors, limit=limit, cwd=Path(__file__).parents[1]
        )
        self._reading = asyncio.create_task(self._read())
        try:
            self.url = (await self.row("listening", 0))[1]["url"]
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._child is not None
        assert self._reading is not None
        with contextlib.suppress(ProcessLookupError):
            self._child.terminate()
        try:
            await asyncio.wait_for(self._child.wait(), 10.0)
        except BaseException:
            if self._child.returncode is None:
                self._child.kill()
            await self._child.wait()
        finally:
            self._reading.cancel()
            self._errors.close()

    async def _read(self) -> None:
        assert self._child is not None
        assert self._child.stdout is not None
        while line := await self._child.stdout.readline():
            self.told.append((time.monotonic(), json.loads(line)))

    async def row(self, event: str, first: int, stream: str | None = None, why: Callable[[], str] = str) -> Told:
        """The first row of an event from place `first` on; `why` adds a word where it does not come."""
        deadline = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline:
            for at, row in self.told[first:]:
                if row["event"] == event and stream in (None, row.get("stream")):
                    return at, row
            if self._reading is not None and self._reading.done():
                break
            await asyncio.sleep(0.02)
        raise BenchError(f"`vidtok serve` says nothing of {event!r}: {self._last_error()} {why()}".rstrip())

    def _last_error(self) -> str:
        self._errors.seek(0)
        said = self._errors.read().decode("utf-8", "replace").strip().splitlines()
        return said[-1][:200] if said else "no error either"


async def run_ours(reel: Reel, browser: Chromium, serving: Serving) -> Taken:
    """Film the reel through the page; nobody looks at the viewer's picture."""
    async with browser.tab() as page:
        first = len(serving.told)
        stream, _ = await started(page, serving, reel)
        window, spent = await filmed(reel, page, lambda: counted(browser, page, serving.pid))
        seen = await watched(page, reel)
        steps = await page.evaluate("browserEdge.steps")
        canvases = await recording(page)
    mine = [one for one in serving.told[first:] if one[1].get("stream") == stream]
    moments, more = of_ours(mine, seen, views(canvases))
    return Taken(seen, moments, window, spent, more | pace(steps, window))


async def recording(page: Any) -> list[Canvas]:
    """What the page's user saves: every canvas that was told of."""
    async with page.expect_download() as saving:
        await page.click("#record")
    path = Path(await (await saving.value).path())
    return [update.canvas for _, update in Replay(path)]


def views(canvases: Sequence[Canvas]) -> dict[int, Any]:
    """What the model makes of each, by version."""
    from vidtok.model.reader import Reader

    reader = Reader()
    return {canvas.version: reader.read(canvas).pooled for canvas in canvases}


def pace(steps: Sequence[Row], window: tuple[float, float]) -> Row:
    """Frames a second that the page's worker took up while it was measured, how long it worked on one."""
    start, end = (1000 * (time_s + wall_ahead_s()) for time_s in window)
    mine = [step for step in steps if start <= step["at"] < end]
    work = sorted(step["work_ms"] for step in mine)
    return {
        "worked_fps": round(1000 * len(mine) / (end - start), 2),
        "worked_p50_ms": round(work[len(work) // 2], 2) if work else None,
        "worked_looks": round(sum(step["looked"] for step in mine) / len(mine), 4) if mine else None,
    }


async def started(page: Any, serving: Serving, reel: Reel) -> tuple[str, float]:
    """Open the page, start its camera, wait for the first update: the stream's name, and how long that took."""
    first, began = len(serving.told), time.monotonic()
    await page.goto(serving.url)
    try:
        await page.select_option("#kind", "camera")
        await page.select_option("#size", "x".join(map(str, reel.size)))
        await page.select_option("#fps", f"{reel.fps:g}")
        await page.click("#start")
    except Exception as error:  # Playwright's own error says much more than one line
        raise BenchError(f"the page cannot be started: {str(error).splitlines()[0]} {page.wrong[-1:]}") from None

    def why() -> str:
        return f"the page: {page.wrong[-1:]}"

    _, connected = await serving.row("connected", first, why=why)
    came, _ = await serving.row("update", first, connected["stream"], why)
    return connected["stream"], came - began


def of_ours(told: Sequence[Told], seen: Sequence[Glass], pooled: Mapping[int, Any]) -> tuple[list[Moment], Row]:
    """When each frame's edits stood in the canvas, what that tells (`pooled`, by version), when labels were read."""
    updates = [(at, row) for at, row in told if row["event"] == "update"]
    if not updates:
        raise BenchError("the server had no update of the page's")
    ahead = wall_ahead_s()
    # The session's beginning on the time of day: what the server says of a delay is counted from there.
    begun = min(at + ahead - (row["capture_ms"] + row["latency_ms"]) / 1000 for at, row in updates)
    sights = {row["version"]: row for _, row in told if row["event"] == "sight"}
    last: dict[float, Row] = {}
    tokens: dict[float, int] = {}
    lags = []
    for _, row in updates:
        stamp = begun - ahead + row["capture_ms"] / 1000
        glass = newest(seen, stamp)
        if glass is not None:
            last[glass.time_s] = row
            tokens[glass.time_s] = tokens.get(glass.time_s, 0) + row["tokens"]
            lags.append(stamp - glass.time_s)
    moments = []
    for taken, row in last.items():
        stood = begun - ahead + (row["capture_ms"] + row["latency_ms"]) / 1000
        sight = sights.get(row["version"])
        known = None if sight is None else begun - ahead + sight["known_ms"] / 1000
        moments.append(Moment(taken, stood, known, pooled.get(row["version"]), tokens[taken]))
    lag = round(1000 * sorted(lags)[len(lags) // 2], 2) if lags else None
    return moments, {"stamp_lag_ms": lag}


def newest(seen: Sequence[Glass], stamp_s: float) -> Glass | None:
    """The newest frame that had been taken at this moment."""
    taken = [glass for glass in seen if glass.time_s <= stamp_s + EARLY_S]
    return max(taken, key=lambda glass: glass.time_s, default=None)


# The page's weight


async def weigh(reel: Reel, browser: Chromium, serving: Serving) -> Row:
    """What the page transfers until the first update, at the first visit and at the next; how long the next takes."""
    async with browser.tab() as page:
        cold, _ = await _visited(page, serving, reel)
        warm, first_token_s = await _visited(page, serving, reel)
    return {
        "page_cold_bytes": sum(cold.values()),
        "page_runtime_bytes": below("/kernels/", cold),
        "page_weights_bytes": below("/weights/", cold),
        "page_warm_bytes": sum(warm.values()),
        "first_token_warm_s": round(first_token_s, 3),
    }


def below(folder: str, found: Mapping[str, int]) -> int:
    """Bytes of the addresses in a folder."""
    return sum(size for address, size in found.items() if folder in address)


async def _visited(page: Any, serving: Serving, reel: Reel) -> tuple[Mapping[str, int], float]:
    async with _weighed(page) as found:
        _, took_s = await started(page, serving, reel)
        await asyncio.sleep(1.0)  # what is still being loaded belongs to it
    return found, took_s


@asynccontextmanager
async def _weighed(page: Any) -> AsyncIterator[Mapping[str, int]]:
    """Bytes that each address gave, headers included; filled when this is left."""
    requests, found = list[Any](), dict[str, int]()

    def finished(request: Any) -> None:  # Playwright marks what it calls: a method of a list bears no mark
        requests.append(request)

    page.context.on("requestfinished", finished)
    yield found
    page.context.remove_listener("requestfinished", finished)
    for request in requests:
        if not request.url.startswith(("blob:", "data:")):
            sizes = await request.sizes()
            found[request.url] = found.get(request.url, 0) + sizes["responseBodySize"] + sizes["responseHeadersSize"]
