"""The receiving process of `browser_edge`'s video: a browser's track decoded, resized, seen by the tower, and read.

    track --aiortc--> newest frame --to RGB of the model's size--> whole tower --features, labels--> rows: GET /rows
                                                                      |
                                              a dense frame's tokens <+--once a second--> the model's layers

It serves the page that sends, on 127.0.0.1 only. What the dense tokens hold was made beforehand, as in
`answering_cost`: the tower's time is counted, its features are let go. A frame that comes while another is being looked
at takes the place of the one that waits.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from aiohttp import web
from aiortc import RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from aiortc.mediastreams import MediaStreamError

from experiments import bench
from experiments.answering_cost import dense_tokens
from experiments.bench import Row
from experiments.browser_edge_camera import Pixels, blocks_of, number_of
from experiments.films import Film
from experiments.latency_receiver import hand_on_at_once
from vidtok.live.server import pack_pooled
from vidtok.model.answerer import Answerer
from vidtok.model.reader import Reader
from vidtok.model.stream import Tokens
from vidtok.model.tower import Tower, load_tower

MODULE = "experiments.browser_edge_receiver"
WEB = Path(__file__).parent / "web"
PAGE = "browser_edge_video.html"
READ_S = 1.0  # between two readings of the model's
TOKENS_S = 3.0  # of dense tokens are made, and then told again


class Model:
    """The tower and the model that reads, as one stream's frames meet them; one thread at a time."""

    def __init__(self, size: tuple[int, int], tower: Tower) -> None:
        self._size, self._reader, self._answerer = size, Reader(tower=tower), Answerer.load()
        self._features_ns = self._spent_ns = 0
        tower.back.register_forward_pre_hook(self._mark)
        self._reader.judge(np.zeros((size[1], size[0], 3), np.uint8))  # first runs are slow

    def _mark(self, *_: object) -> None:
        self._features_ns, self._spent_ns = time.monotonic_ns(), time.thread_time_ns()

    def see(self, frame: Any) -> Row:
        """Look at a frame: its number, when its features stood, what was seen."""
        width, height = self._size
        pixels: Pixels = np.asarray(frame.to_ndarray(format="rgb24", width=width, height=height), np.uint8)
        rgb_ns = time.monotonic_ns()
        sight = self._reader.judge(pixels)
        sight.labels()
        moments = {
            "rgb_ns": rgb_ns,
            "ns": self._features_ns,
            "known_ns": time.monotonic_ns(),
            "beyond_cut_ns": time.thread_time_ns() - self._spent_ns,
        }
        more = {
            "number": number_of(blocks_of(pixels)),
            "pooled": pack_pooled(sight.pooled),
            "shape": [frame.width, frame.height],
        }
        return {"pts": frame.pts} | moments | more

    @lru_cache(maxsize=4)  # noqa: B019 - there is one model, as long as the process
    def tokens(self, fps: float) -> tuple[Tokens, list[Tokens]]:
        """The first token of a stream of so many frames a second, and those of a few seconds."""
        return dense_tokens(Film("scene:tour", "tokens", self._size, fps, TOKENS_S).load())

    def reading(self, fps: float) -> Any:
        """What reads a second's tokens when it is called."""
        meta, seconds = self.tokens(fps)
        watch, turn = self._answerer.listen(meta), 0

        def read() -> None:
            nonlocal turn
            self._answerer.think([(watch, seconds[turn % len(seconds)])])
            turn += 1

        return read


class Sink:
    """Answers offers and follows their tracks; keeps the rows of the newest."""

    def __init__(self, model: Model) -> None:
        self._model, self.rows = model, list[Row]()
        self._tasks: set[asyncio.Task[None]] = set()

    async def answer(self, request: web.Request) -> web.Response:
        """POST /video?fps=...&at_once=1: an offer."""
        self.rows = []
        read = await asyncio.to_thread(self._model.reading, float(request.query["fps"]))
        peer = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        peer.on("track", lambda track: self._start(peer, track, read))
        await peer.setRemoteDescription(RTCSessionDescription(await request.text(), "offer"))
        if request.query.get("at_once") == "1":
            for transceiver in peer.getTransceivers():
                hand_on_at_once(transceiver.receiver)
        await peer.setLocalDescription(await peer.createAnswer())
        return web.Response(status=201, text=peer.localDescription.sdp, content_type="application/sdp")

    async def hand_out(self, _: web.Request) -> web.Response:
        """GET /rows: of the newest track, so far."""
        return web.json_response(self.rows)

    def _start(self, peer: RTCPeerConnection, track: Any, read: Any) -> None:
        task = asyncio.create_task(self._follow(peer, track, read))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _follow(self, peer: RTCPeerConnection, track: Any, read: Any) -> None:
        fresh: asyncio.Queue[Any] = asyncio.Queue(1)
        looking = asyncio.create_task(self._look(fresh, read, self.rows))
        try:
            while True:
                frame = await track.recv()
                while not fresh.empty():
                    fresh.get_nowait()
                fresh.put_nowait((frame, time.monotonic_ns()))
        except MediaStreamError:
            pass
        finally:
            looking.cancel()
            await peer.close()

    async def _look(self, fresh: asyncio.Queue[Any], read: Any, rows: list[Row]) -> None:
        due, reading = time.monotonic() + READ_S, None
        while True:
            frame, decoded_ns = await fresh.get()
            rows.append(await asyncio.to_thread(self._model.see, frame) | {"decoded_ns": decoded_ns})
            if time.monotonic() >= due and (reading is None or reading.done()):
                due = time.monotonic() + READ_S
                reading = asyncio.create_task(asyncio.to_thread(read))


async def receiving(width: int, height: int) -> None:
    """Say where it listens, serve one track after the other until standard input ends."""
    bench.one_thread()
    sink = Sink(Model((width, height), load_tower()))
    app = web.Application()
    app.router.add_post("/video", sink.answer)
    app.router.add_get("/rows", sink.hand_out)
    app.router.add_static("/", WEB)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    print(json.dumps({"url": f"http://127.0.0.1:{runner.addresses[0][1]}"}), flush=True)
    try:
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    finally:
        await runner.cleanup()


def run(argv: Sequence[str] | None = None) -> None:
    """Be that process: width and height of the model's pictures are the words of its command line."""
    width, height = sys.argv[1:3] if argv is None else argv
    asyncio.run(receiving(int(width), int(height)))


if __name__ == "__main__":
    bench.main(run)
