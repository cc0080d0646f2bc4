"""The whole path on one machine, in two processes: the edge here, the server in a child that never sees a pixel.

scene --Edge--> WebRTC data channel --> child: vidtok serve --json --> rows on its standard output --+
  |                    \\-- demo.vtk                                                                  |
  +--> judge: the whole tower on the true frame ------------- agreement <-----------------------------+
demo.vtk --Replay--> viewer --> demo.mp4, demo.png, index.html

Afterwards `show_page` serves the page, on which a browser is the edge; a camera goes on being filmed for it to watch.
"""

from __future__ import annotations

import asyncio
import html
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import cycle
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge_gate.source import Frame, Source, SourceError
from transport.adapters.endpoint import Endpoint
from transport.adapters.file import FileWriter
from transport.adapters.webrtc import connect
from transport.errors import PeerError
from transport.lanes import Lane
from vidtok.canvas import CELL, Grid, blank
from vidtok.entropy import load_tables
from vidtok.errors import ModelError
from vidtok.live.ask import ask_server
from vidtok.live.edge import Edge, Tally, send
from vidtok.live.ending import told_to_end
from vidtok.live.link import codec_hash
from vidtok.live.pictures import FilmWriter, heat, outlined, panels, save_png
from vidtok.live.recording import Replay
from vidtok.live.sender import SendConfig, Step, hello
from vidtok.live.server import serve, unpack_pooled
from vidtok.model.reader import Reader, agreement
from vidtok.model.viewer import CanvasViewer
from vidtok.tokenizer.edge import load_info

START_TIMEOUT_S = 90.0
ON_THE_PAGE = (
    "\nin a browser      vidtok serve, then open http://127.0.0.1:8080/ and allow the camera: its pixels stay there"
)
Say = Callable[[str], None]
Pooled = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Filmed:
    """One frame as it was filmed and what the gate made of it."""

    pixels: NDArray[np.uint8]
    time_s: float
    score: NDArray[np.float32]
    why: NDArray[np.uint8] | None  # cell by cell, where they were weighed
    offset: tuple[int, int]
    version: int  # newest that had been sent
    tokens: int
    kbps: float


ASK_EVERY_S = 3.0
QUESTIONS = {  # of the built-in scene, and of anything else
    True: ("what came in?", "did a lamp light up?", "is the camera moving?", "is somebody holding up a page?"),
    False: ("is anyone there?", "what is in the picture?", "does anything move?", "is there any text?"),
}


@dataclass
class Story:
    """What the demo gathers while it runs."""

    filmed: list[Filmed] = field(default_factory=list)
    sights: list[tuple[float, Pooled, list[list[object]]]] = field(
        default_factory=list
    )  # known since (s), view, labels
    latencies_ms: list[float] = field(default_factory=list)
    read_ms: list[float] = field(default_factory=list)
    answers: list[tuple[float, str, str]] = field(default_factory=list)  # asked at (s), question, answer

    def told(self, row: Mapping[str, object]) -> None:
        """Take in a row of the server's."""
        if row["event"] == "update":
            self.latencies_ms.append(float(str(row["latency_ms"])))
        elif row["event"] == "sight":
            labels = row["labels"]
            assert isinstance(labels, list)
            self.sights.append((float(str(row["known_ms"])) / 1000, unpack_pooled(str(row["pooled"])), labels))
            self.read_ms.append(float(str(row["read_ms"])))


class Recorder:
    """An endpoint that also writes what it sends into a recording."""

    def __init__(self, endpoint: Endpoint, writer: FileWriter) -> None:
        self._endpoint, self._writer = endpoint, writer
        self._clock = asyncio.get_running_loop().time
        self._began = self._clock()

    def send(self, lane: Lane, data: bytes) -> None:
        """Send and write down."""
        self._writer.write(round((self._clock() - self._began) * 1000), lane, data)
        self._endpoint.send(lane, data)

    async def receive(self) -> bytes:
        """The next packet from the other end."""
        return await self._endpoint.receive()

    @property
    def buffered_amount(self) -> int:
        """Bytes that wait in the endpoint."""
        return self._endpoint.buffered_amount

    async def close(self) -> None:
        """Close the endpoint; the writer is its owner's to close."""
        await self._endpoint.close()


async def demo(source: Source, out: Path, config: SendConfig, say: Say) -> dict[str, float]:
    """Film, send, read, judge, draw; returns the figures."""
    out.mkdir(parents=True, exist_ok=True)
    story, judge = Story(), Reader()
    edge = Edge(source, config)
    say("starting the server in a process of its own ...")
    child, url = await _start_server()
    listening = asyncio.create_task(_listen(child, story))
    say(f"server at {url}; filming {source.name} at {edge.grid.width}x{edge.grid.height}, {source.fps:g} fps\n")
    try:
        tables, info = load_tables(), load_info()
        meta = dict(hello(edge.grid, source.fps, source.name))
        with FileWriter(out / "demo.vtk", meta, codec_hash(tables, info.digest)) as writer:
            endpoint = Recorder(await connect(url + "/offer"), writer)
            asking = asyncio.create_task(_ask(url, QUESTIONS[source.name.startswith("scene")], story, say))
            try:
                await edge.run(endpoint, _Teller(story, edge, judge, say))
            finally:
                asking.cancel()
        await asyncio.wait_for(listening, START_TIMEOUT_S)
        await asyncio.wait_for(child.wait(), START_TIMEOUT_S)
    finally:
        listening.cancel()
        if child.returncode is None:
            child.terminate()
        await child.wait()
    figures = _figures(story, edge.tally, judge)
    say("\ndrawing what the canvas held ...")
    _draw(out, story, figures)
    return figures


async def _ask(url: str, questions: Sequence[str], story: Story, say: Say) -> None:
    """Ask the server one question after the other, as somebody would who sees the answers only."""
    for question in cycle(questions):
        await asyncio.sleep(ASK_EVERY_S)
        if not story.filmed:
            continue
        asked_s, began_s = story.filmed[-1].time_s, story.filmed[0].time_s
        try:
            answer = "".join([word async for word in ask_server(url, question)])
        except ModelError as error:
            say(f"         {error}")
            return
        story.answers.append((asked_s - began_s, question, answer))
        say(f"{asked_s - began_s:5.1f} s  asked: {question}  the model: {answer}")


async def _start_server() -> tuple[asyncio.subprocess.Process, str]:
    command = (sys.executable, "-m", "vidtok.cli", "serve", "--port", "0", "--json", "--once", "--labels-s", "0")
    child = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE, limit=1 << 20)
    try:
        async with asyncio.timeout(START_TIMEOUT_S):
            line = await _line(child)
    except TimeoutError:
        line = b""
    if not line:
        raise PeerError(
            f"the server process did not start (exit code {child.returncode}): try `vidtok serve` by itself"
        )
    return child, str(json.loads(line)["url"])


async def _line(child: asyncio.subprocess.Process) -> bytes:
    assert child.stdout is not None
    return await child.stdout.readline()


async def _listen(child: asyncio.subprocess.Process, story: Story) -> None:
    while line := await _line(child):
        story.told(json.loads(line))


class _Teller:
    """Keeps what was filmed, and says once a second how things stand."""

    def __init__(self, story: Story, edge: Edge, judge: Reader, say: Say) -> None:
        self._story, self._edge, self._tally, self._judge, self._say = story, edge, edge.tally, judge, say
        self._next_s = 1.0

    def __call__(self, frame: Frame, time_s: float, step: Step) -> None:
        kbps = self._tally.kbps_now
        why = self._edge.sender.explain() if self._edge.sender is not None and step.looked else None
        self._story.filmed.append(
            Filmed(frame.pixels, time_s, step.score, why, step.offset, step.version, self._tally.tokens_now, kbps)
        )
        if frame.time_s >= self._next_s:
            self._next_s = frame.time_s + 1.0
            self._say(self._line(frame.time_s))

    def _line(self, time_s: float) -> str:
        tally, story = self._tally, self._story
        text = (
            f"{time_s:5.1f} s  {tally.kbps_now:6.2f} kbps  {tally.tokens_now:4d} tokens/s  {tally.share:5.1%} of cells"
        )
        if story.sights:
            _, pooled, labels = story.sights[-1]
            true = self._judge.judge(story.filmed[-1].pixels)
            text += f"  agreement {agreement(pooled, true.pooled):.2f}"
            text += f"  sees: {labels[0][0]} | true frame: {true.labels(1)[0][0]}"
        return text


def _held(story: Story) -> list[tuple[Filmed, Pooled | None, str]]:
    """Every frame with what the server knew when it was filmed: the newest view that was ready by then."""
    out, place = [], -1
    for filmed in story.filmed:
        while place + 1 < len(story.sights) and story.sights[place + 1][0] <= filmed.time_s:
            place += 1
        _, pooled, labels = story.sights[place] if place >= 0 else (0.0, None, [["nothing yet", 0.0]])
        out.append((filmed, pooled, str(labels[0][0])))
    return out


def _figures(story: Story, tally: Tally, judge: Reader) -> dict[str, float]:
    views, top1 = [], []
    for filmed, pooled, label in _held(story)[::2]:
        true = judge.judge(filmed.pixels)
        views.append(agreement(pooled, true.pooled) if pooled is not None else 0.0)
        top1.append(label == true.labels(1)[0][0])
    p50, p95 = np.percentile(story.latencies_ms or [float("nan")], [50, 95])
    return {
        "seconds": tally.seconds, "frames": tally.frames, "kbps": tally.kbps, "tokens_per_s": tally.tokens_per_s,
        "dense_tokens_per_s": tally.cells * tally.frames / tally.seconds, "cells_sent": tally.share,
        "frames_looked_at": tally.looked / max(1, tally.frames), "frames_late": tally.late,
        "glass_to_token_p50_ms": float(p50), "glass_to_token_p95_ms": float(p95),
        "model_read_ms": float(np.median(story.read_ms or [float("nan")])),
        "edge_cpu_ms_per_frame": tally.cpu_s / max(1, tally.frames) * 1000,
        "feature_cosine": float(np.mean(views)), "top1_agreement": float(np.mean(top1)),
    }  # fmt: skip


def _draw(out: Path, story: Story, figures: Mapping[str, float]) -> None:
    """The film, the sheet and the page."""
    viewer, replay = CanvasViewer(), Replay(out / "demo.vtk")
    fps = max(1.0, figures["frames"] / max(figures["seconds"], 1e-6))
    times = [filmed.time_s for filmed in story.filmed]
    canvases = {update.canvas.version: update.canvas for _, update in replay}
    canvases[0] = blank(Grid(*story.filmed[0].pixels.shape[1::-1]))
    held, sheet_rows = _held(story), []
    shown_at = {len(held) * part // 6 for part in range(1, 6)}
    with FilmWriter(out / "demo.mp4", fps) as film:
        for number, (filmed, _, label) in enumerate(held):
            news = heat(filmed.pixels, filmed.score, filmed.offset, CELL)
            pictures = (
                filmed.pixels,
                news if filmed.why is None else outlined(news, filmed.why, filmed.offset, CELL),
                viewer.show(canvases[max(v for v in canvases if v <= filmed.version)]),
            )
            rates = f"{filmed.kbps:6.2f} kbps   {filmed.tokens:4d} tokens/s"
            asked = [f"{question} {answer}" for at, question, answer in story.answers if at <= filmed.time_s - times[0]]
            said = asked[-1] if asked else label
            foot = f"{times[number] - times[0]:5.1f} s   {rates}   the model: {said}"
            page = panels(pictures, ("camera", "novelty; cells told", "canvas (viewer)"), foot)
            film.write(page)
            if number in shown_at:
                sheet_rows.append(page)
    save_png(out / "demo.png", np.concatenate(sheet_rows))
    (out / "figures.json").write_text(json.dumps(figures, indent=1) + "\n")
    (out / "index.html").write_text(_page(figures, story.answers))


def _page(figures: Mapping[str, float], answers: Sequence[tuple[float, str, str]]) -> str:
    rows = "".join(
        f"<tr><th>{html.escape(name.replace('_', ' '))}</th><td>{value:.3g}</td></tr>"
        for name, value in figures.items()
    )
    talk = "".join(
        f"<tr><th>{time_s:.1f} s: {html.escape(question)}</th><td>{html.escape(answer)}</td></tr>"
        for time_s, question, answer in answers
    )
    return f"""<!doctype html><html lang="en"><meta charset="utf-8"><title>vidtok demo</title>
<style>:root{{color-scheme:light dark}}
body{{font:16px/1.5 system-ui,sans-serif;max-width:75rem;margin:2rem auto;padding:0 1rem}}
video,img{{max-width:100%}}th{{text-align:left;padding-right:2rem;font-weight:400}}td{{text-align:right}}</style>
<h1>vidtok: what crossed the data channel</h1>
<p>Left the camera, in the middle what is new to the receiver (red to yellow) and what the gate made of it: cells told
as news (yellow outline), as an event (white), refined (blue), worth telling but beyond the caps (grey). Right the
canvas that the server holds, as the viewer shows it to people. The server itself saw codes only.</p>
<video src="demo.mp4" controls autoplay muted loop></video>
<h2>What the model was asked while it watched, and what it answered</h2>
<table>{talk}</table>
<h2>Figures</h2>
<table>{rows}</table>
<p><img src="demo.png" alt="five moments of the demo"></p>
"""


async def show_page(port: int, source: Source | None, config: SendConfig, say: Say) -> None:
    """Serve the page on this machine until told to end; with a source, send that too, for the page to watch."""
    filming: list[asyncio.Task[None]] = []

    def report(row: Mapping[str, object]) -> None:
        if row["event"] == "page":
            say(f"\nopen {row['url']} in a browser of this machine; Ctrl-C ends it")
        elif row["event"] == "listening" and source is not None:
            filming.append(asyncio.create_task(_film_on(source, str(row["url"]), config, say)))
        elif row["event"] in ("connected", "closed"):
            say(f"{row['stream']}  {row['event']}  {row.get('source', '')}")

    with told_to_end() as told:
        try:
            await serve("127.0.0.1", port, token=None, report=report, caps=None, once=False, told_to_end=told)
        finally:
            for task in filming:
                task.cancel()


async def _film_on(source: Source, url: str, config: SendConfig, say: Say) -> None:
    try:
        await send(source, url, token=None, config=config, tell=lambda _tally, _step: None)
    except (PeerError, SourceError) as error:
        say(f"{source.name}: {error}")


def report_lines(figures: Mapping[str, float], out: Path) -> list[str]:
    """The end of the demo, for the terminal."""
    f = figures
    p50, p95 = f["glass_to_token_p50_ms"], f["glass_to_token_p95_ms"]
    return [
        f"rate              {f['kbps']:.2f} kbps, all bytes of both directions",
        f"tokens            {f['tokens_per_s']:.1f} a second (all cells of all frames: {f['dense_tokens_per_s']:.0f})",
        f"cells sent        {f['cells_sent']:.1%} of all cells of all frames",
        f"glass to token    p50 {p50:.1f} ms, p95 {p95:.1f} ms over the data channel",
        f"agreement         {f['feature_cosine']:.3f} cosine with the true frame's features",
        f"top label         the same as the true frame's in {f['top1_agreement']:.0%} of frames",
        f"edge              {f['edge_cpu_ms_per_frame']:.1f} ms CPU a frame",
        f"tokenizer         ran on {f['frames_looked_at']:.0%} of frames",
        f"page              {out / 'index.html'}",
        f"pictures          {out / 'demo.mp4'}  {out / 'demo.png'}",
        f"recording         {out / 'demo.vtk'}",
    ]
