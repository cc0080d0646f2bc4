"""The edge over a real link: films a source at its own pace and sends it to a server.

source --(thread)--> newest frame --> Sender --> Uplink --> WebRTC
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass

import numpy as np

from edge_gate.budget import LATE_S
from edge_gate.source import Frame, Source
from transport.adapters.endpoint import Endpoint
from transport.adapters.registry import connect
from transport.errors import ConnectionClosed, PeerError
from transport.session import Session
from transport.states import Role
from transport.trace import Trace
from vidtok.canvas import Grid
from vidtok.entropy import load_tables
from vidtok.live.link import LIVE, codec_hash
from vidtok.live.sender import SendConfig, Sender, Step, hello
from vidtok.live.uplink import Again, Uplink
from vidtok.tokenizer.edge import EdgeEncoder, load_info

# Told of every frame that was sent: the frame, when it was filmed (seconds of the session), what became of it.
OnStep = Callable[[Frame, float, Step], None]


@dataclass
class Tally:
    """Running figures of one stream, over all of it and over the last second."""

    cells: int
    frames: int = 0
    looked: int = 0
    edits: int = 0
    tokens: int = 0
    late: int = 0
    started_s: float | None = None
    now_s: float = 0.0
    bytes: int = 0
    cpu_s: float = 0.0

    def __post_init__(self) -> None:
        self._recent: deque[tuple[float, int, int]] = deque()

    def add(self, time_s: float, step: Step, bytes_total: int, cpu_s: float) -> None:
        """Count one frame; `bytes_total` is all that has crossed the link in both directions."""
        self.started_s = time_s if self.started_s is None else self.started_s
        self.now_s, self.frames, self.looked = time_s, self.frames + 1, self.looked + step.looked
        self.edits += int((step.kind > 0).sum())
        self.tokens += step.tokens
        self._recent.append((time_s, bytes_total - self.bytes, step.tokens))
        self.bytes, self.cpu_s = bytes_total, self.cpu_s + cpu_s
        while self._recent[0][0] <= time_s - 1:
            self._recent.popleft()

    def add_again(self, step: Step) -> None:
        """Count what was told once more between two frames."""
        self.edits += int((step.kind > 0).sum())
        self.tokens += step.tokens

    @property
    def seconds(self) -> float:
        """How long the stream has run, the last frame's own time included."""
        if self.started_s is None or self.frames < 2:
            return 1.0
        return (self.now_s - self.started_s) * self.frames / (self.frames - 1)

    @property
    def kbps(self) -> float:
        """All bytes of both directions, over the whole stream."""
        return self.bytes * 8 / self.seconds / 1000

    @property
    def tokens_per_s(self) -> float:
        """Model tokens, over the whole stream."""
        return self.tokens / self.seconds

    @property
    def share(self) -> float:
        """Cells sent, of all cells of all frames."""
        return self.edits / max(1, self.frames * self.cells)

    @property
    def kbps_now(self) -> float:
        """All bytes of the last second."""
        return sum(size for _, size, _ in self._recent) * 8 / 1000

    @property
    def tokens_now(self) -> int:
        """Model tokens of the last second."""
        return sum(tokens for _, _, tokens in self._recent)


class Edge:
    """One camera's stream to one server."""

    def __init__(self, source: Source, config: SendConfig | None = None, trace: Trace | None = None) -> None:
        self.source, self.grid = source, Grid(*source.size)
        self.tally = Tally(self.grid.frame_cells)
        self.sender: Sender | None = None  # while it runs: its `interest` is the application's to set
        self._config, self._trace = config, trace
        self._tables, self._info = load_tables(), load_info()
        self._encoder = EdgeEncoder()
        self._encoder(np.zeros((self.grid.height, self.grid.width, 3), np.uint8))  # the first run is slow: not live

    async def run(self, endpoint: Endpoint, on_step: OnStep | None = None, again: Again | None = None) -> None:
        """Send the whole source; PeerError when the other end refuses or goes away.

        With `again`, which connects anew, the stream goes on where its path was lost.
        """
        clock = asyncio.get_running_loop().time
        session = Session(
            Role.SENDER,
            codec_hash=codec_hash(self._tables, self._info.digest),
            meta=dict(hello(self.grid, self.source.fps, self.source.name)),
            config=LIVE if again is not None else None,
            now=clock(),
            wall_ms=round(time.time() * 1000),
            trace=self._trace,
        )
        began = clock()
        sender = self.sender = Sender(self.grid, session, self._encoder, self._info, self._tables, self._config)

        def tell_again(now: float) -> None:
            self.tally.add_again(sender.again(now))

        async with Uplink(session, endpoint, on_event=sender.on_event, tell_again=tell_again, again=again) as uplink:
            async for frame, filmed in self._paced(clock):
                uplink.check_open()
                busy = time.process_time()
                sender.look(frame.pixels, filmed - began)
                step = sender.tell(filmed - began, clock())
                uplink.connection.flush()
                total = session.bytes_sent + session.bytes_received
                self.tally.add(filmed - began, step, total, time.process_time() - busy)
                if on_step is not None:
                    on_step(frame, filmed - began, step)

    async def _paced(self, clock: Callable[[], float]) -> AsyncIterator[tuple[Frame, float]]:
        """Frames with the clock's time at which they were filmed; files play at their own speed.

        Nothing queues: where this machine cannot keep up, a file plays slower and the tally counts it.
        """
        frames = iter(self.source)
        began: float | None = None
        while (frame := await asyncio.to_thread(next, frames, None)) is not None:
            if self.source.live:
                yield frame, clock()
                continue
            began = clock() - frame.time_s if began is None else began
            due = began + frame.time_s
            if clock() > due + LATE_S / 2:
                self.tally.late += 1
                due = clock()
                began = due - frame.time_s
            await asyncio.sleep(max(0.0, due - clock()))
            yield frame, due


def status_line(tally: Tally, step: Step) -> str:
    """One line about the stream right now."""
    seconds = tally.now_s - (tally.started_s or 0)
    cpu_ms = tally.cpu_s / max(1, tally.frames) * 1000
    return (
        f"{seconds:6.1f} s  novelty {step.score.max():.2f}  event {step.alarm:.2f} {tally.tokens_now:4d} tokens/s  "
        f"{tally.kbps_now:6.2f} kbps  "
        f"{tally.share:6.1%} of cells  {cpu_ms:5.1f} ms CPU a frame"
    )


async def send(
    source: Source,
    url: str,
    *,
    token: str | None,
    config: SendConfig,
    tell: Callable[[Tally, Step], None],
    trace: Trace | None = None,
    ice_servers: Sequence[str] = (),
) -> Tally:
    """Connect to a server and send it a source; tells of every frame, returns the stream's figures."""
    edge = Edge(source, config, trace)

    async def again() -> Endpoint:
        return await connect(url.rstrip("/"), token=token, ice_servers=ice_servers)

    try:
        await edge.run(await again(), lambda _frame, _time_s, step: tell(edge.tally, step), again)
    except ConnectionClosed as error:
        raise PeerError(f"{url}: {error}") from None
    return edge.tally
