"""Glass to token over real WebRTC between two processes: our stream against a video track that the tower looks at.

    python -m experiments.latency --out DIR [--clips DIR] [--size 256] [--fps 10] [--seconds 6] [--repeats 3] [--quick]

    this process                                     the receiving process
    Camera --Edge--> data channel ----------------> Server: canvas, token head | back half
           --VideoTrack--> VP8 or H.264, RTP ------> aiortc's decoder, RGB, front half | back half
                                                                  tokens ^    answer ^

Both systems film the same frames at the same pace, in turn, between the same two processes. Every frame carries its
number in its picture (big black and white blocks, Gray code), so that it is known again behind any codec. Times are
CLOCK_MONOTONIC, which all processes of one machine share. HTTP listens on 127.0.0.1 only; media flow between this
machine's own addresses. `--jobs` is not heeded.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np
from aiohttp import web
from aiortc import (
    MediaStreamTrack,
    RTCConfiguration,
    RTCPeerConnection,
    RTCRtpReceiver,
    RTCRtpSender,
    RTCSessionDescription,
)
from aiortc.jitterbuffer import JitterBuffer, JitterFrame
from aiortc.mediastreams import MediaStreamError
from av import VideoFrame
from numpy.typing import NDArray
from tqdm import tqdm

from edge_gate.source import Frame, SourceError
from experiments import bench, timing
from experiments.bench import BenchError, Row, Rows
from experiments.systems import Clip
from experiments.timing import KEY, SCENES, label, spread
from transport.adapters.endpoint import Endpoint
from transport.adapters.webrtc import WebRtcListener, connect
from transport.errors import ConnectionClosed, PeerError
from transport.lanes import Lane
from vidtok.live.edge import Edge
from vidtok.live.sender import SendConfig, Step

BLOCK = 16  # pixels on a side of a block of the frame's number
BITS = 12
RECEIVE = "receive"  # as the only word: be the receiving process
LEAD_S = 1.0  # of every run are not measured: first pictures, first runs of networks
TAIL = 3  # frames at the end are not measured: the last ones may wait for the next
GRACE_S = 0.5  # for the last packets
START_TIMEOUT_S = 120.0
SPARE_TIMEOUT_S = 30.0  # beyond what a run films
UDP_BYTES = 28  # IPv4 20, UDP 8, a packet
CLOCK_RATE = 90_000
QUANTILES = (50, 95, 99)
WHAT = {"token": "", "features": "features_", "answer": "answer_"}  # moment -> prefix of its columns

Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class System:
    """A way from the camera to the model."""

    name: str
    setting: str
    about: str
    mime: str | None = None  # of a video track; None: our stream
    marker: bool = False  # the receiver hands a frame on at its last packet


def systems(quick: bool = False) -> list[System]:
    """What is compared; the first of the video tracks is what ratios are to."""
    caps = SendConfig().caps
    hold = "aiortc's receiver as it is: it hands a frame on when the next one begins, so one frame later"
    now = "each frame handed on at its last packet, as browsers do, by another jitter buffer in aiortc's receiver"
    vp8 = "VP8 as aiortc sets it (libvpx realtime, 250 to 1500 kbps)"
    ours = f"{caps.kbps:g} kbps, {caps.tokens_per_s:g} tokens/s"
    found = [
        System("webrtc-vp8", "at once", f"{vp8}; {now}; ratios are to this one", "video/VP8", True),
        System("webrtc-h264", "at once", f"H.264 as aiortc sets it (libx264 zerolatency); {now}", "video/H264", True),
        System("webrtc-vp8", "as aiortc", f"{vp8}; {hold}", "video/VP8"),
        System("vidtok", ours, "our stream over the data channel, as shipped"),
    ]
    return [found[0], found[3]] if quick else found


# The picture's number


def gray(number: int) -> int:
    """Gray code: neighbours differ in one bit, so a frame's number is next to no news."""
    return number ^ (number >> 1)


def ungray(code: int) -> int:
    """The number of a Gray code."""
    number = 0
    while code:
        number ^= code
        code >>= 1
    return number


def _blocks(width: int) -> Iterator[tuple[int, slice, slice]]:
    across = width // BLOCK
    for bit in range(BITS):
        row, col = divmod(bit, across)
        yield bit, slice(row * BLOCK, (row + 1) * BLOCK), slice(col * BLOCK, (col + 1) * BLOCK)


def stamp(pixels: Pixels, number: int) -> Pixels:
    """The picture (H, W, 3) with its number in blocks at the top left, a bit each, lowest first."""
    out = pixels.copy()
    for bit, rows, cols in _blocks(pixels.shape[1]):
        out[rows, cols] = 255 if gray(number) >> bit & 1 else 0
    return out


def read_stamp(pixels: Pixels) -> int:
    """The number that a picture carries."""
    code = sum(int(pixels[rows, cols].mean() > 127) << bit for bit, rows, cols in _blocks(pixels.shape[1]))
    return ungray(code)


# The camera


class Camera:
    """Frames in memory, seen in real time: asked too late, it shows the newest, as a camera does. A live `Source`."""

    live = True

    def __init__(self, clip: Clip) -> None:
        self.name, self.size, self.fps = clip.name, clip.size, clip.fps
        self.glass_ns: dict[int, int] = {}  # when each frame that was taken came into being
        self._frames = list(clip)

    def __iter__(self) -> Iterator[Frame]:
        began = time.monotonic_ns()
        step = 1e9 / self.fps
        number = 0
        while number < len(self._frames):
            due = began + round(number * step)
            time.sleep(max(0, due - time.monotonic_ns()) / 1e9)
            newest = min(int((time.monotonic_ns() - began) / step), len(self._frames) - 1)
            number = max(number, newest)
            self.glass_ns[number] = began + round(number * step)
            yield self._frames[number]
            number += 1

    def close(self) -> None:
        """Nothing is held."""

    def __enter__(self) -> Camera:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def filmed(clip: Clip) -> Clip:
    """The clip with numbers in its pictures, longer by what is not measured: it begins again until it is full."""
    frames = list(clip)
    count = round(LEAD_S * clip.fps) + len(frames) + TAIL
    if count >= 1 << BITS:
        raise BenchError(f"{count} frames have no number each: give fewer --seconds")
    numbered = [
        Frame(stamp(frames[number % len(frames)].pixels, number), number / clip.fps, number) for number in range(count)
    ]
    return Clip(clip.name, clip.size, clip.fps, count, lambda: iter(numbered))


def measured(clip: Clip) -> range:
    """The numbers of a filmed clip's frames that count."""
    return range(round(LEAD_S * clip.fps), clip.count - TAIL)


# What is sent, and what became of it


@dataclass
class Wire:
    """What has crossed a transport in both directions, as aiortc counts it below SRTP or SCTP and DTLS."""

    transport: Any
    bytes: int = 0
    packets: int = 0

    def __post_init__(self) -> None:
        self._start = self._now()

    def stop(self) -> None:
        """Count from the beginning up to now."""
        (sent, packets), (sent_before, packets_before) = self._now(), self._start
        self.bytes, self.packets = sent - sent_before, packets - packets_before

    def _now(self) -> tuple[int, int]:
        # Public getStats() leaves a connection without media out; the transport's own report is the same.
        (stats,) = self.transport._get_stats().values()
        return stats.bytesSent + stats.bytesReceived, stats.packetsSent + stats.packetsReceived


@dataclass
class Sent:
    """One run as the sending side saw it."""

    glass_ns: Mapping[int, int]
    capture_ms: Mapping[int, int] = field(default_factory=dict)  # ours: frame -> what its packets say
    bytes: int = 0
    wire_bytes: int = 0
    wire_packets: int = 0


class Watched:
    """An endpoint whose wire is counted until it closes."""

    def __init__(self, endpoint: Any) -> None:
        self._endpoint: Endpoint = endpoint
        self.wire = Wire(endpoint.peer_connection.sctp.transport)

    def send(self, lane: Lane, data: bytes) -> None:
        """Send."""
        self._endpoint.send(lane, data)

    async def receive(self) -> bytes:
        """The next packet from the other end."""
        return await self._endpoint.receive()

    @property
    def buffered_amount(self) -> int:
        """Bytes that wait in the endpoint."""
        return self._endpoint.buffered_amount

    async def close(self) -> None:
        """Let the last packets through, count, close."""
        await asyncio.sleep(GRACE_S)
        self.wire.stop()
        await self._endpoint.close()


async def send_ours(url: str, clip: Clip) -> Sent:
    """Film a clip through our edge."""
    camera = Camera(clip)
    edge = Edge(camera)
    capture_ms: dict[int, int] = {}

    def on_step(frame: Frame, time_s: float, step: Step) -> None:
        capture_ms[frame.index] = round(time_s * 1000)

    watched = Watched(await connect(url + "/offer"))
    await edge.run(watched, on_step)
    return Sent(camera.glass_ns, capture_ms, edge.tally.bytes, watched.wire.bytes, watched.wire.packets)


class VideoTrack(MediaStreamTrack):
    """The camera as a track; frames are taken in a thread, exactly as `vidtok.live.edge` takes them."""

    kind = "video"

    def __init__(self, camera: Camera) -> None:
        super().__init__()
        self.over = asyncio.Event()
        self._frames, self._fps = iter(camera), camera.fps

    async def recv(self) -> VideoFrame:
        """The next frame, at its time."""
        frame = await asyncio.to_thread(next, self._frames, None)
        if frame is None:
            self.over.set()
            await asyncio.Event().wait()  # the connection is closed from outside once all has arrived
            raise MediaStreamError
        picture = VideoFrame.from_ndarray(frame.pixels, format="rgb24")
        picture.pts, picture.time_base = round(frame.index * CLOCK_RATE / self._fps), Fraction(1, CLOCK_RATE)
        return picture


async def send_video(url: str, clip: Clip, system: System) -> Sent:
    """Film a clip through a video track."""
    camera = Camera(clip)
    peer = RTCPeerConnection(RTCConfiguration(iceServers=[]))
    connected = _connected(peer)
    try:
        track = VideoTrack(camera)
        sender = peer.addTrack(track)
        codecs = [c for c in RTCRtpSender.getCapabilities("video").codecs if c.mimeType in (system.mime, "video/rtx")]
        peer.getTransceivers()[0].setCodecPreferences(codecs)
        await peer.setLocalDescription(await peer.createOffer())
        answer = await _ask(url + "/video", peer.localDescription.sdp, marker=str(int(system.marker)))
        await peer.setRemoteDescription(RTCSessionDescription(answer, "answer"))
        await connected.wait()
        wire = Wire(sender.transport)
        await track.over.wait()
        await asyncio.sleep(GRACE_S)
        wire.stop()
        payload = next(s for s in (await sender.getStats()).values() if s.type == "outbound-rtp")
        return Sent(camera.glass_ns, bytes=payload.bytesSent, wire_bytes=wire.bytes, wire_packets=wire.packets)
    finally:
        await peer.close()


def _connected(peer: RTCPeerConnection) -> asyncio.Event:
    connected = asyncio.Event()

    def on_state() -> None:
        if peer.connectionState == "connected":
            connected.set()

    peer.on("connectionstatechange", on_state)
    return connected


async def _ask(url: str, body: str | None = None, **query: str) -> str:
    async with aiohttp.ClientSession() as http:
        call = http.get(url) if body is None else http.post(url, data=body, params=query)
        async with call as response:
            text = await response.text()
            if response.status >= 400:
                raise PeerError(f"{url} answered {response.status}: {text[:200]}")
            return text


# The receiving process


@dataclass
class Log:
    """What the receiving process saw of one run, with the clock's time."""

    rows: list[Row] = field(default_factory=list)
    features_ns: int = 0  # when the newest features stood at the tower's cut
    over: asyncio.Event = field(default_factory=asyncio.Event)

    def mark(self, *_: object) -> None:
        """The tower's back half is about to run."""
        self.features_ns = time.monotonic_ns()

    def told(self, row: Mapping[str, object]) -> None:
        """Take in a row of the server's."""
        now = time.monotonic_ns()
        seen = {name: row.get(name) for name in ("event", "version", "capture_ms")}
        if row["event"] == "update":
            self.rows.append(seen | {"ns": now})
        elif row["event"] == "sight":
            self.rows.append(seen | {"ns": now, "features_ns": self.features_ns})

    async def hand_out(self, request: web.Request) -> web.Response:
        """GET /rows: those of the run that has just ended."""
        async with asyncio.timeout(SPARE_TIMEOUT_S):
            await self.over.wait()
        rows, self.rows = self.rows, []
        self.over.clear()
        return web.json_response(rows)


class AtOnce(JitterBuffer):
    """Hands a frame on with its last packet (the RTP marker); aiortc's own waits for the first packet of the next."""

    def _remove_frame(self, sequence_number: int) -> JitterFrame | None:
        data = b""
        for count in range(self._capacity):
            packet = self._packets[(self._origin + count) % self._capacity]
            if packet is None:
                return None
            data += packet._data
            if packet.marker:
                self.remove(count + 1)
                return JitterFrame(data, packet.timestamp)
        return None


class VideoSink:
    """Answers video tracks: decodes them, and lets the tower look at the newest frame."""

    def __init__(self, reader: Any, log: Log) -> None:
        self._reader, self._log = reader, log
        self._tasks: set[asyncio.Task[None]] = set()

    async def answer(self, request: web.Request) -> web.Response:
        """POST /video: an offer, answered as `WebRtcListener` answers those of data channels."""
        peer = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        peer.on("track", lambda track: self._start(peer, track))
        await peer.setRemoteDescription(RTCSessionDescription(await request.text(), "offer"))
        if request.query.get("marker") == "1":
            for transceiver in peer.getTransceivers():
                hand_on_at_once(transceiver.receiver)
        await peer.setLocalDescription(await peer.createAnswer())
        return web.Response(status=201, text=peer.localDescription.sdp, content_type="application/sdp")

    def _start(self, peer: RTCPeerConnection, track: Any) -> None:
        task = asyncio.create_task(self._follow(peer, track))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _follow(self, peer: RTCPeerConnection, track: Any) -> None:
        fresh: asyncio.Queue[Any] = asyncio.Queue(1)
        looking = asyncio.create_task(self._look(fresh))
        try:
            while True:
                frame = await track.recv()
                while not fresh.empty():
                    fresh.get_nowait()
                fresh.put_nowait(frame)
        except MediaStreamError:
            await fresh.put(None)
            await looking
        finally:
            looking.cancel()
            await peer.close()
            self._log.over.set()

    async def _look(self, fresh: asyncio.Queue[Any]) -> None:
        while (frame := await fresh.get()) is not None:
            pixels = await asyncio.to_thread(self._see, frame)
            now, features = time.monotonic_ns(), self._log.features_ns
            self._log.rows.append({"event": "sight", "number": read_stamp(pixels), "ns": now, "features_ns": features})

    def _see(self, frame: Any) -> Pixels:
        pixels: Pixels = frame.to_ndarray(format="rgb24")
        self._reader.judge(pixels).labels()
        return pixels


def hand_on_at_once(receiver: RTCRtpReceiver) -> None:
    """Give a receiver that has not begun the jitter buffer of this module."""
    name = "_RTCRtpReceiver__jitter_buffer"
    if not isinstance(getattr(receiver, name, None), JitterBuffer):
        raise BenchError("aiortc keeps its jitter buffer elsewhere: this experiment needs aiortc 1.16")
    setattr(receiver, name, AtOnce(capacity=512, is_video=True))


async def receiving(width: int, height: int) -> None:
    """The other process: says where it listens, serves one run after the other until its standard input ends."""
    from vidtok.canvas import Grid, blank
    from vidtok.live.server import Server
    from vidtok.model.reader import Reader
    from vidtok.model.tower import load_tower

    bench.one_thread()
    tower, log = load_tower(), Log()
    reader = Reader(tower=tower)
    reader.read(blank(Grid(width, height)))  # first runs are slow
    reader.judge(np.zeros((height, width, 3), np.uint8))
    tower.back.register_forward_pre_hook(log.mark)
    server, video = Server(reader, log.told), VideoSink(reader, log)

    async def ours(endpoint: Any) -> None:
        try:
            await server.stream(endpoint)
        finally:
            log.over.set()

    listener = WebRtcListener(port=0, token=None, on_endpoint=ours)
    listener.app.router.add_post("/video", video.answer)
    listener.app.router.add_get("/rows", log.hand_out)
    await listener.start()
    print(json.dumps({"url": f"http://127.0.0.1:{listener.port}"}), flush=True)
    try:
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    finally:
        await listener.close()


class Receiving:
    """The other process, from this one: started, asked, and gone however this one ends."""

    def __init__(self, size: tuple[int, int]) -> None:
        self._size = size
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed when this is left
        self._child: asyncio.subprocess.Process | None = None
        self.url = ""

    async def __aenter__(self) -> Receiving:
        pipe = asyncio.subprocess.PIPE
        command = (sys.executable, "-m", "experiments.latency", RECEIVE, *map(str, self._size))
        root = Path(__file__).parent.parent
        self._child = await asyncio.create_subprocess_exec(
            *command, stdin=pipe, stdout=pipe, stderr=self._errors, cwd=root
        )
        assert self._child.stdout is not None
        line = b""
        try:
            with contextlib.suppress(TimeoutError):
                line = await asyncio.wait_for(self._child.stdout.readline(), START_TIMEOUT_S)
            if not line:
                raise BenchError(self.failed("did not start"))
        except BaseException:
            await self.__aexit__()
            raise
        self.url = json.loads(line)["url"]
        return self

    async def __aexit__(self, *_: object) -> None:
        child = self._child
        assert child is not None
        assert child.stdin is not None
        child.stdin.close()  # its sign to end
        try:
            await asyncio.wait_for(child.wait(), 5.0)
        except BaseException:
            if child.returncode is None:
                child.kill()
            await child.wait()
        finally:
            self._errors.close()

    def failed(self, how: str) -> str:
        """One line about what went wrong there."""
        self._errors.seek(0)
        said = self._errors.read().decode("utf-8", "replace").strip().splitlines()
        return f"the receiving process {how}" + (f": {said[-1][:200]}" if said else "")


# Runs


async def one_run(receiving: Receiving, system: System, clip: Clip) -> Run:
    """Film a clip through a system, and put both processes' notes together."""
    try:
        async with asyncio.timeout(clip.seconds + SPARE_TIMEOUT_S):
            sent = await (send_video(receiving.url, clip, system) if system.mime else send_ours(receiving.url, clip))
            rows = json.loads(await _ask(receiving.url + "/rows"))
    except TimeoutError:
        raise BenchError(receiving.failed(f"did not finish {system.name} on {clip.name} in time")) from None
    except (PeerError, ConnectionClosed, aiohttp.ClientError, OSError) as error:
        raise BenchError(receiving.failed(f"ended {system.name} on {clip.name} ({error})")) from None
    moments = of_video(rows) if system.mime else of_ours(rows, sent)
    return Run.of(clip, sent, moments)


Moments = dict[int, dict[str, int]]  # frame -> moment -> its time in ns


def of_ours(rows: Sequence[Row], sent: Sent) -> Moments:
    """When each frame's edits stood in the canvas (all of its packets), and when they were read."""
    numbers = {capture: number for number, capture in sent.capture_ms.items()}
    last: dict[int, Row] = {}
    for row in rows:
        if row["event"] == "update" and row["capture_ms"] in numbers:
            last[numbers[row["capture_ms"]]] = row
    read = {row["version"]: row for row in rows if row["event"] == "sight"}
    out: Moments = {}
    for number, row in last.items():
        out[number] = {"token": row["ns"]}
        if row["version"] in read:
            sight = read[row["version"]]
            out[number] |= {"features": sight["features_ns"], "answer": sight["ns"]}
    return out


def of_video(rows: Sequence[Row]) -> Moments:
    """When each frame's features stood at the tower's cut: there a video's tokens begin to exist."""
    return {
        row["number"]: {"token": row["features_ns"], "features": row["features_ns"], "answer": row["ns"]}
        for row in reversed(rows)  # of a frame that came twice, the first counts
    }


@dataclass(frozen=True)
class Run:
    """One run's figures."""

    delays_ms: Mapping[str, Sequence[float]]  # moment -> of each frame that got there
    frames: int
    late: int  # never taken from the camera
    foreign: int  # numbers read that were never filmed
    wire_kbps: float
    wire_packets_per_s: float
    kbps: float

    @classmethod
    def of(cls, clip: Clip, sent: Sent, moments: Moments) -> Run:
        """From what was filmed and what arrived."""
        window = measured(clip)
        known = {number: at for number, at in moments.items() if number in sent.glass_ns}
        delays = {
            name: [
                (at[name] - sent.glass_ns[number]) / 1e6
                for number, at in sorted(known.items())
                if number in window and name in at
            ]
            for name in WHAT
        }
        if not delays["token"] or not delays["answer"]:
            raise BenchError(f"nothing of {clip.name} arrived: run it again with more --seconds")
        wire = sent.wire_bytes + UDP_BYTES * sent.wire_packets
        kbps = 8 / clip.seconds / 1000
        late = sum(number not in sent.glass_ns for number in window)
        foreign = len(moments) - len(known)
        packets = sent.wire_packets / clip.seconds
        return cls(delays, len(window), late, foreign, wire * kbps, packets, sent.bytes * kbps)

    def quantile(self, what: str, percent: int) -> float:
        """Of one moment's delays."""
        return float(np.percentile(self.delays_ms[what], percent))


def row_of(runs: Sequence[Run], base: Sequence[Run]) -> Row:
    """The figures of a row: medians over repeats, the lowest and highest beside them."""
    out: Row = {}
    for what, prefix in WHAT.items():
        for percent in QUANTILES:
            out |= spread(f"{prefix}p{percent}_ms", [run.quantile(what, percent) for run in runs])
        ratios = [r.quantile(what, 50) / b.quantile(what, 50) for r, b in zip(runs, base, strict=True)]
        out |= spread(f"{prefix}ratio_to_video", ratios)
    measured = sum(len(run.delays_ms["token"]) for run in runs)
    frames = sum(run.frames for run in runs)
    return out | {
        "frames": frames,
        "frames_measured": measured,
        "frames_skipped": frames - measured,
        "frames_late": sum(run.late for run in runs),
        "frames_answered": sum(len(run.delays_ms["answer"]) for run in runs),
        "frames_misread": sum(run.foreign for run in runs),
        **spread("kbps", [run.kbps for run in runs]),
        **spread("wire_kbps", [run.wire_kbps for run in runs]),
        "wire_packets_per_s": round(float(np.median([run.wire_packets_per_s for run in runs])), 2),
    }


async def compare(receiving: Receiving, chosen: Sequence[System], clip: Clip, repeats: int, tell: Any) -> list[Row]:
    """Every system in turn, so many times; the first is what ratios are to."""
    long = filmed(clip)
    runs: list[list[Run]] = [[] for _ in chosen]
    for number in range(repeats):
        for place in range(len(chosen)):
            index = (place + number) % len(chosen)
            runs[index].append(await one_run(receiving, chosen[index], long))
            tell.update()
    return [
        {"system": system.name, "setting": system.setting, "clip": clip.name} | row_of(mine, runs[0])
        for system, mine in zip(chosen, runs, strict=True)
    ]


async def measure(args: argparse.Namespace, films: Sequence[timing.Film], rows: Rows) -> None:
    """All clips that wait, one after the other."""
    chosen = systems(args.quick)
    run = timing.run_of(args)
    with tqdm(total=len(films) * len(chosen) * args.repeats, desc="latency", unit="run") as tell:
        async with Receiving(args.size) as receiving:
            for film in films:
                try:
                    clip = film.load()
                except SourceError as error:
                    tqdm.write(f"{error}; left out")
                    continue
                rows.add([row | run for row in await compare(receiving, chosen, clip, args.repeats, tell)])


# The command


def run(argv: Sequence[str] | None = None) -> None:
    """Command line."""
    argv = sys.argv[1:] if argv is None else list(argv)
    if argv[:1] == [RECEIVE]:
        asyncio.run(receiving(*map(int, argv[1:3])))
        return
    args = timing.arguments("latency", __doc__ or "", argv, repeats=3)
    timing.set_surroundings()
    films, chosen = timing.films(args), systems(args.quick)
    rows = Rows(args.out, KEY, timing.run_of(args))
    keys = {f.name: [{"system": s.name, "setting": s.setting, "clip": f.name} for s in chosen] for f in films}
    waiting = [film for film in films if not all(rows.has(**key) for key in keys[film.name])]
    began = time.monotonic()
    if waiting:
        asyncio.run(measure(args, waiting, rows))
    took = f"{len(waiting)} of {len(films)} clips measured in {(time.monotonic() - began) / 60:.1f} minutes."
    kept = rows.keep([key for film in films for key in keys[film.name]])
    if not kept:
        raise BenchError(f"--clips {args.clips}: nothing in it could be measured")
    summary = timing.summarise(kept) | {"machine": bench.machine()}
    bench.write_json(args.out / "summary.json", summary)
    draw(args.out / "latency.png", summary)
    report(args, summary, took)
    print(f"{len(kept)} rows on {len({row['clip'] for row in kept})} clips: {args.out / 'report.md'}")


def draw(path: Path, summary: Row) -> None:
    """Median delays with lowest and highest, a group a panel, a bar for each moment."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    groups = [name for name in (*SCENES, "clips") if name in summary]
    bars = max(len(summary[name]) for name in groups)
    figure, axes = plt.subplots(
        1, len(groups), figsize=(5.2 * len(groups) + 2, 0.95 * bars + 1.6), layout="constrained", sharey=True,
        squeeze=False,
    )  # fmt: skip
    for axis, group in zip(axes[0], groups, strict=True):
        rows = list(summary[group].values())
        for number, (what, prefix) in enumerate(WHAT.items()):
            name = f"{prefix}p50_ms"
            values = [row[name] for row in rows]
            whiskers = (
                [row[name] - row[f"{name}_low"] for row in rows],
                [row[f"{name}_high"] - row[name] for row in rows],
            )
            places = [place + (number - 1) * 0.27 for place in range(len(rows))]
            axis.barh(
                places, values, xerr=whiskers, height=0.25, capsize=3, label=f"glass to {what}", color=f"C{number}"
            )
            for place, row in zip(places, rows, strict=True):
                axis.text(row[f"{name}_high"], place, f" {row[name]:.1f}", va="center", fontsize=8)
        axis.set(title=group, xlabel="ms, median", yticks=range(len(rows)), yticklabels=[label(row) for row in rows])
        axis.margins(x=0.15)
    axes[0][0].invert_yaxis()
    figure.legend(*axes[0][0].get_legend_handles_labels(), loc="outside lower center", ncols=len(WHAT), frameon=False)
    figure.savefig(path, dpi=90)
    plt.close(figure)


REPORT = (
    "Glass is the moment at which a frame comes into being in the camera (a sender that is late sees the newest one, "
    "and its waiting counts). **Token**, ours: all of the frame's edits are in the receiving process's canvas; video: "
    "the decoded frame's features stand where the tower is cut. **Features** is that cut for both, ours after the "
    "token head. **Answer** is the tower's ImageNet label. Each process is one thread a library. The first second and "
    f"the last {TAIL} frames of a run are not measured. `ratio_to_video` is between medians of the same repeat. All "
    "times are CLOCK_MONOTONIC, which both processes read.",
    "",
    "aiortc's receiver hands a video frame on only when the next one begins. That is its own doing, not WebRTC's, so "
    "the ratios are to a receiver mended in that point; the receiver as it is stands beside it. aiortc asks VP8 and "
    "H.264 for at least 250 kbps, so nothing here says anything about rates.",
    "",
    "`kbps` are session bytes of both directions for ours and RTP payload for video. `wire_kbps` is what crossed in "
    "both directions from the opened connection to its end, as aiortc counts it below SRTP or DTLS, and "
    f"{UDP_BYTES} bytes of UDP and IPv4 a packet; connectivity checks are not in it. `frames_skipped` are those "
    "without a token: `frames_late` of them the sender was too busy to take from the camera; in the others ours had "
    "nothing to say or its caps forbade it, or the video encoder dropped them.",
)
_TABLE = (
    "system", "setting", "p50_ms", "p95_ms", "p99_ms", "ratio_to_video", "features_p50_ms", "features_ratio_to_video",
    "answer_p50_ms", "answer_p95_ms", "answer_ratio_to_video",
)  # fmt: skip
_COUNTS = (
    "system", "setting", "frames", "frames_measured", "frames_skipped", "frames_late", "frames_answered",
    "frames_misread", "kbps", "wire_kbps", "wire_packets_per_s",
)  # fmt: skip


def report(args: argparse.Namespace, summary: Row, took: str) -> None:
    """report.md."""
    width, height = args.size
    head = f"{width}x{height}, {args.fps:g} fps, {args.seconds:g} s measured of each, {args.repeats} repeats. {took}"
    lines = [head, "", *REPORT, "", "![delays](latency.png)", ""]
    for group in (name for name in (*SCENES, "clips") if name in summary):
        rows = list(summary[group].values())
        lines += [f"## {group}", "", *bench.table(rows, _TABLE), "", *bench.table(rows, _COUNTS), ""]
    lines += ["## Systems", "", *(f"- **{s.name} ({s.setting})**: {s.about}" for s in systems(args.quick))]
    bench.write_report(args.out, "Glass to token", lines)


if __name__ == "__main__":
    bench.main(run)
