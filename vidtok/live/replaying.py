"""A recording, sent to a server as a live sender would send it: at its times, so that a model can be asked about it.

    .vtk --Replay--> canvases, edits --newest--> Teller --> session --Uplink--> server
                                                   ^           |
                                                   +--- base <-+-- acknowledged versions, feedback

Recorded packets name versions that the recorded session's other end held; this one's may lack them. So each canvas is
told from what the server holds now: by the recorded edits where that is what they were made for, else by those that
lead there.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Sequence

import numpy as np

from edge_gate import wishes
from edge_gate.budget import Caps, Ledger
from transport.adapters.endpoint import Endpoint
from transport.adapters.registry import connect
from transport.errors import ConnectionClosed, PeerError, RecordingError
from transport.events import Acknowledged, BaseLost, Event, FeedbackReceived, Refresh
from transport.session import Session
from transport.states import Role, State
from transport.trace import Trace
from vidtok.canvas import Canvas, Grid, blank
from vidtok.codec import diff
from vidtok.edits import Pan, Patch
from vidtok.entropy import Tables, load_tables
from vidtok.live.link import LIVE
from vidtok.live.receiver import MAX_FPS, Update
from vidtok.live.recording import Replay
from vidtok.live.sender import Part, hello, in_packets, wire_bits
from vidtok.live.uplink import Uplink
from vidtok.tokenizer.fsq import GIST_EDGES, known

WIDEST = Caps(10_000.0, 100_000.0)  # a recording kept to its own: the receiver's are honoured within these
LOOK_S = 0.05  # between two looks at whether what waits finds room
SETTLE_S = 5.0  # for the last canvas to arrive


def between(base: Canvas, wanted: Canvas) -> Patch:
    """The edits that lead from one canvas to another, as far as there are any: what is known is never unknown again."""
    pan = Pan(*(new - old for new, old in zip(wanted.position, base.position, strict=True)))
    before = base.panned(pan.dx, pan.dy)
    both = known(np.minimum(before.depth, wanted.depth))
    alike = ((before.values == wanted.values) | ~both).all(-1)
    told = wanted.visible() & (wanted.depth > 0) & ~(alike & (before.depth == wanted.depth))
    refined = told & alike & (before.depth > 0) & (wanted.depth > before.depth)
    numbers = GIST_EDGES[wanted.gist_depth]
    gist = wanted.gist_depth > before.gist_depth or (wanted.gist[:numbers] != before.gist[:numbers]).any()
    return diff(
        wanted.values,
        base,
        np.where(told & ~refined, wanted.depth, 0).astype(np.uint8),
        refine_to=np.where(refined, wanted.depth, 0).astype(np.uint8),
        pan=pan,
        gist=wanted.gist,
        gist_to=wanted.gist_depth if gist else 0,
    )


class Teller:
    """Tells the other end of a session the canvas that is shown, as network and receiver let it. Sans-IO."""

    def __init__(self, grid: Grid, session: Session, tables: Tables) -> None:
        self.session, self.tokens, self.versions = session, 0, 0
        self.waits = False  # not all of what is shown has been told
        self._tables, self._ledger = tables, Ledger(WIDEST)
        self._canvases = {0: blank(grid)}
        self._last = self._acked = 0  # versions
        self._shown: Update | None = None
        self._new = False  # nothing of what is shown has been told

    @property
    def settled(self) -> bool:
        """Whether the other end holds what is shown."""
        return not self.waits and self._acked == self._last

    def on_event(self, event: Event) -> None:
        """React to what the transport hands up."""
        match event:
            case FeedbackReceived(feedback):
                wished = wishes.read(feedback)
                self._ledger.honour(wished.kbps, wished.tokens_per_s)
            case Acknowledged(version):
                self._acked = version
            case BaseLost() | Refresh():
                self.waits = self._shown is not None
            case _:
                pass

    def show(self, update: Update, time_s: float, now: float) -> None:
        """Another canvas takes the place of the one shown; what of that was not told need not be."""
        self._shown, self._new, self.waits = update, True, True
        self.tell(time_s, now)

    def tell(self, time_s: float, now: float) -> None:
        """Send what is lacking and finds room, `time_s` after the session began; `now` is the session's clock."""
        if self._shown is None or self.session.state is not State.OPEN:
            return
        self._forget()
        base = self._canvases[self.session.base(now)]
        edits = self._shown.edits if self._made_for(base) else between(base, self._shown.canvas)
        self.waits = edits.tokens > 0
        if self.waits and self.session.allowance(now) > 0 and self._ledger.left(time_s).tokens > 0:
            self._send(base, self._parts(base, edits, time_s), time_s, now)

    def _made_for(self, base: Canvas) -> bool:
        """Whether the recorded edits lead from here: they also tell anew what has not changed."""
        assert self._shown is not None
        return self._new and base.state_hash() == self._shown.base.state_hash()

    def _parts(self, base: Canvas, edits: Patch, time_s: float) -> list[Part]:
        """The edits in packets of which the first may leave now."""
        left = self._ledger.left(time_s)
        parts = in_packets(base, edits, self.session, self._tables, math.ceil(edits.tokens / left.tokens))
        while wire_bits(parts[:1]) > left.bits and len(parts) < edits.tokens:
            parts = in_packets(base, edits, self.session, self._tables, min(2 * len(parts), edits.tokens))
        return parts

    def _send(self, base: Canvas, parts: list[Part], time_s: float, now: float) -> None:
        canvas = base
        for part in parts:
            left, bits = self._ledger.left(time_s), wire_bits([part])
            if part.tokens > left.tokens or bits > left.bits or self.session.allowance(now) <= 0:
                return
            self._last = self.session.send_delta(
                base=canvas.version,
                payload=part.payload,
                capture_ms=round(time_s * 1000),
                state_hash=part.after.state_hash(),
                now=now,
            )
            self._canvases[self._last] = canvas = part.after
            self._ledger.spend(time_s, bits, part.tokens)
            self.tokens, self.versions, self._new = self.tokens + part.tokens, self.versions + 1, False
        self.waits = False

    def _forget(self) -> None:
        needed = self.session.needed() | {0}
        self._canvases = {version: canvas for version, canvas in self._canvases.items() if version in needed}


async def resend(
    replay: Replay,
    url: str,
    *,
    token: str | None,
    speed: float = 1.0,
    stay: bool = False,
    trace: Trace | None = None,
    ice_servers: Sequence[str] = (),
    over: Callable[[Teller], None] = lambda _: None,
) -> None:
    """Send a recording to a server, `speed` times as fast; PeerError when the server refuses or goes away.

    `over` is called when all of it has been told; with `stay` the stream then stays open, until this is cancelled.
    """
    grid = _grid(replay)
    clock = asyncio.get_running_loop().time
    told = replay.reader.meta
    fps, name = min(MAX_FPS, told["fps"] * speed), str(told.get("source", replay.reader.path.name))
    session = Session(
        Role.SENDER,
        codec_hash=replay.reader.codec_hash,
        meta=dict(hello(grid, fps, name)),
        config=LIVE,
        now=clock(),
        wall_ms=round(time.time() * 1000),
        trace=trace,
    )
    began = clock()
    teller = Teller(grid, session, load_tables())

    async def again() -> Endpoint:
        return await connect(url.rstrip("/"), token=token, ice_servers=ice_servers)

    def tell_again(now: float) -> None:
        teller.tell(now - began, now)

    uplink = Uplink(session, await again(), on_event=teller.on_event, tell_again=tell_again, again=again)
    try:
        async with uplink:
            await _play(replay, uplink, teller, began, speed)
            over(teller)
            while stay:
                await _look(uplink, teller, began)
    except ConnectionClosed as error:
        raise PeerError(f"{url}: {error}") from None


def _grid(replay: Replay) -> Grid:
    """The size of a recording that is whole and holds something: nothing is sent of another."""
    grid = None
    for _, update in replay:
        grid = update.canvas.grid
    if grid is None:
        raise RecordingError(f"{replay.reader.path}: holds no picture; was its cap too small?")
    return grid


async def _play(replay: Replay, uplink: Uplink, teller: Teller, began: float, speed: float) -> None:
    clock, updates = uplink.connection.clock, iter(replay)
    started = clock()
    while (played := await asyncio.to_thread(next, updates, None)) is not None:
        due = started + played[0] / speed
        while (wait_s := due - clock()) > 0:
            await _look(uplink, teller, began, wait_s)
        teller.show(played[1], max(due, clock()) - began, clock())
        uplink.connection.flush()
    last = clock() + SETTLE_S
    while not teller.settled and clock() < last:
        await _look(uplink, teller, began)


async def _look(uplink: Uplink, teller: Teller, began: float, wait_s: float = LOOK_S) -> None:
    """Wait a little; then what has waited may find room."""
    await asyncio.sleep(min(wait_s, LOOK_S))
    uplink.check_open()
    if teller.waits:
        now = uplink.connection.clock()
        teller.tell(now - began, now)
        uplink.connection.flush()
