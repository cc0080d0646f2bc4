"""The edge in a real browser: what it keeps up with and costs, against a WebRTC video track of the same page's camera.

    python -m experiments.browser_edge --clips DIR --out DIR [--size 256] [--fps 15] [--seconds 6] [--parts ours,video]
                                       [--quick]

    clip --fake camera--> Chromium --page, worker: edge--> data channel --> vidtok serve: canvas, labels, model
                                   --video track---------> aiortc: decoded, resized, whole tower, model
    clip --frame by frame--> the edge in a worker, as fast as it can | the edge in Python: do both agree?

One run after the other on this machine, each of a tab of its own. Every camera frame's moment is Chromium's own stamp
(CLOCK_MONOTONIC). The video's settings are swept: ratios are to the one of fewest bytes whose model knows no less than
ours, both judged by what the whole tower sees in the true frames. `--jobs` is not heeded; nothing else should run.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from edge_gate.source import SourceError, parse_size
from experiments import bench, browser_edge_figures, browser_edge_ours, browser_edge_report, browser_edge_twins
from experiments.bench import BenchError, Row, Rows
from experiments.browser_edge_camera import SETTLE_S, Reel
from experiments.browser_edge_chromium import Chromium, chromium, find_chromium, playwright
from experiments.browser_edge_figures import OURS
from experiments.browser_edge_ours import Serving
from experiments.browser_edge_receiver import MODULE
from experiments.browser_edge_runs import Video, run_video
from experiments.films import Film, check_length
from experiments.latency_receiver import Receiving
from experiments.timing import KEY, QUICK_CLIPS, set_surroundings
from vidtok.canvas import Grid
from vidtok.tokenizer.edge import load_info

SHIPPED, FAST, LOADED = "as the page runs it", "as fast as it can", "loaded"
KINDS = {"ours": "the page and `vidtok serve`", "video": "video tracks", "twins": "the edge frame by frame"}
VP8, H264 = "video/VP8", "video/H264"
TRIES = 2  # at a run: a browser's start can fail by chance


@dataclass(frozen=True)
class Way:
    """One row's making: what it needs is started around it."""

    kind: str
    system: str
    setting: str
    video: Video | None = None


def ways(fps: float, quick: bool, kinds: Sequence[str]) -> list[Way]:
    """All that is measured of a clip."""
    out = []
    if "twins" in kinds:
        out.append(Way("twins", "vidtok-wasm", FAST))
    if "ours" in kinds:
        out += [Way("ours", OURS, SHIPPED), Way("ours", "vidtok-page", LOADED)]
    if "video" in kinds:
        out += [Way("video", video.system, video.setting, video) for video in sweep(fps, quick)]
    return out


def sweep(fps: float, quick: bool) -> list[Video]:
    """Settings of the video track: the camera's rate and less, down to what its encoder can still do."""
    if quick:
        return [Video(VP8, fps, 100), Video(VP8, 1, 30)]
    low = {rate: kbps for rate, kbps in {5.0: (50, 25), 1.0: (30, 15)}.items() if rate < fps}
    return [
        *(Video(VP8, fps, kbps) for kbps in (250, 100, 50, 30)),
        *(Video(VP8, rate, kbps) for rate, each in low.items() for kbps in each),
        Video(VP8, fps, 100, at_once=False),
        *(Video(H264, fps, kbps) for kbps in (100, 75, 50)),
        *(Video(H264, rate, each[-1]) for rate, each in low.items()),
    ]


# One clip


@dataclass
class Bench:
    """What runs while a clip is measured."""

    reel: Reel
    browser: Chromium
    serving: Serving | None
    receiving: Receiving | None
    true: Sequence[Any]

    async def row(self, way: Way) -> Row:
        """The figures of one way."""
        if way.kind == "twins":
            return await self._twins()
        if way.video is not None:
            assert self.receiving is not None
            taken = await run_video(way.video, self.reel, self.browser, self.receiving)
        else:
            assert self.serving is not None
            if way.setting == LOADED:
                return await browser_edge_ours.weigh(self.reel, self.browser, self.serving)
            taken = await browser_edge_ours.run_ours(self.reel, self.browser, self.serving)
        return browser_edge_figures.figures(taken, self.reel, self.true)

    async def _twins(self) -> Row:
        frames, size = list(self.reel.clip()), self.reel.size
        browser = await browser_edge_twins.in_browser(frames, size, self.reel.fps, self.browser)
        python = await asyncio.to_thread(browser_edge_twins.in_python, frames, size)
        again = await asyncio.to_thread(browser_edge_twins.in_python, frames, size, browser)
        return browser_edge_twins.costs(browser) | browser_edge_twins.agreement(browser, python, again, Grid(*size))


def seen_by_tower(reel: Reel) -> list[Any]:
    """What the whole tower sees in every measured picture."""
    from vidtok.model.reader import Reader

    reader = Reader()
    return [reader.judge(frame.pixels).pooled for frame in reel.clip()]


async def measure(args: argparse.Namespace, film: Film, waiting: Sequence[Way], rows: Rows, tell: Any) -> None:
    """The ways that wait of one clip; each row is kept as it comes."""
    try:
        reel = Reel.of(film.load())
    except SourceError as error:
        tqdm.write(f"{error}; left out")
        tell.update(len(waiting))
        return
    kinds = {way.kind for way in waiting}
    with tempfile.TemporaryDirectory() as folder:
        path = await asyncio.to_thread(reel.write, Path(folder) / "camera.y4m")
        true = await asyncio.to_thread(seen_by_tower, reel) if kinds != {"twins"} else []
        async with AsyncExitStack() as stack:
            browser = await stack.enter_async_context(chromium(path))
            serving = await stack.enter_async_context(Serving()) if "ours" in kinds else None
            receiving = await stack.enter_async_context(Receiving(args.size, MODULE)) if "video" in kinds else None
            here = Bench(reel, browser, serving, receiving, true)
            for way in waiting:
                key = {"system": way.system, "setting": way.setting, "clip": film.name}
                rows.add([key | await again(here, way) | {"browser": f"Chromium {browser.version}"}])
                tell.update()


async def again(here: Bench, way: Way) -> Row:
    """A way's row; tried once more where a run fails."""
    for left in reversed(range(TRIES)):
        try:
            return await here.row(way)
        except BenchError as error:
            if not left:
                raise BenchError(f"{here.reel.name}, {way.system} ({way.setting}): {error}") from None
            tqdm.write(f"{here.reel.name}, {way.system} ({way.setting}): {error}; once more")
    raise AssertionError("the last try returns or raises")


# The command


def arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line, checked."""
    parser = bench.parser("browser_edge", __doc__)
    parser.add_argument("--size", default="256", help="a number for a square, or WIDTHxHEIGHT that the page offers")
    parser.add_argument("--fps", type=float, help="of the camera (default 15, from 640x480 on 10)")
    parser.add_argument("--seconds", type=float, help="measured of each clip (default 6, with --quick 3)")
    parser.add_argument(
        "--parts", default=",".join(KINDS), help="of " + "; ".join(f"{k}: {v}" for k, v in KINDS.items())
    )
    args = parser.parse_args(argv)
    args.size = parse_size(args.size)
    args.fps = args.fps or (10.0 if args.size[0] * args.size[1] >= 640 * 480 else 15.0)
    args.seconds = args.seconds or (3.0 if args.quick else 6.0)
    args.parts = [part for part in args.parts.split(",") if part]
    if not 1 <= args.fps <= 30:
        raise BenchError(f"--fps {args.fps:g}: give 1 to 30")
    if wrong := [part for part in args.parts if part not in KINDS]:
        raise BenchError(f"--parts {wrong[0]}: there are {', '.join(KINDS)}")
    check_length(args.size, args.fps, args.seconds)
    return args


def films(args: argparse.Namespace) -> list[Film]:
    """The clips of a run."""
    paths = bench.find_clips(args.clips)
    if args.quick:
        paths = paths[:: max(1, len(paths) // QUICK_CLIPS)][:QUICK_CLIPS]
    seconds = args.seconds + SETTLE_S
    return [Film(str(path), path.relative_to(args.clips).as_posix(), args.size, args.fps, seconds) for path in paths]


def check() -> None:
    """Raise BenchError where something is missing that the run will need."""
    find_chromium()
    playwright()


def run(argv: Sequence[str] | None = None, checked: Callable[[], None] = check) -> None:
    """Command line."""
    args = arguments(argv)
    checked()
    set_surroundings()
    size = "x".join(map(str, args.size))
    rows = Rows(
        args.out, KEY, {"size": size, "fps": args.fps, "seconds": args.seconds, "encoder": load_info().digest.hex()}
    )
    chosen, wanted = films(args), ways(args.fps, args.quick, args.parts)
    waiting = {
        film: [way for way in wanted if not rows.has(system=way.system, setting=way.setting, clip=film.name)]
        for film in chosen
    }
    began = time.monotonic()
    with tqdm(total=sum(map(len, waiting.values())), desc="browser_edge", unit="run") as tell:
        for film, mine in waiting.items():
            if mine:
                asyncio.run(measure(args, film, mine, rows, tell))
    took = time.monotonic() - began
    kept = rows.keep([{"system": w.system, "setting": w.setting, "clip": f.name} for f in chosen for w in wanted])
    if not kept:
        raise BenchError(f"--clips {args.clips}: nothing in it could be measured")
    runs = sum(map(len, waiting.values()))
    browser_edge_report.write(args, kept, f"{runs} runs took {took / 60:.1f} minutes.")
    print(f"{len(kept)} rows on {len({row['clip'] for row in kept})} clips: {args.out / 'report.md'}")


if __name__ == "__main__":
    bench.main(run)
