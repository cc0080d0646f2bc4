"""The receiving process of `latency`: it serves our stream and video tracks, and notes when the model had seen what.

    data channel --Server--> canvas --token head--------------+--> back half --> Log --GET /rows--> whoever asks
    video track --VideoSink--> RGB, its number --front half---+
                                          features_ns: here ^

HTTP listens on 127.0.0.1 only. It says where as its first line and ends when its standard input does; `Receiving` is
that process as the one that started it sees it.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from aiohttp import web
from aiortc import RTCConfiguration, RTCPeerConnection, RTCRtpReceiver, RTCSessionDescription
from aiortc.jitterbuffer import JitterBuffer, JitterFrame
from aiortc.mediastreams import MediaStreamError

from experiments import bench
from experiments.bench import BenchError, Row
from experiments.latency_camera import Pixels, read_stamp
from transport.adapters.webrtc import WebRtcListener

MODULE = "experiments.latency_receiver"
START_TIMEOUT_S = 120.0
SPARE_TIMEOUT_S = 30.0  # beyond what a run films


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


# The same process, from the one that starts it


class Receiving:
    """The other process, from this one: started, asked, and gone however this one ends."""

    def __init__(self, words: Sequence[int], module: str = MODULE) -> None:
        self._command = (sys.executable, "-m", module, *map(str, words))
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed when this is left
        self._child: asyncio.subprocess.Process | None = None
        self.url = ""

    async def __aenter__(self) -> Receiving:
        pipe = asyncio.subprocess.PIPE
        root = Path(__file__).parent.parent
        self._child = await asyncio.create_subprocess_exec(
            *self._command, stdin=pipe, stdout=pipe, stderr=self._errors, cwd=root
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

    @property
    def pid(self) -> int:
        """Of the process."""
        assert self._child is not None
        return self._child.pid

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


def run(argv: Sequence[str] | None = None) -> None:
    """Be that process: width and height of the pictures are the words of its command line."""
    width, height = sys.argv[1:3] if argv is None else argv
    asyncio.run(receiving(int(width), int(height)))


if __name__ == "__main__":
    bench.main(run)
