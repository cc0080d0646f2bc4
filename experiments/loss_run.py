"""One clip over one bad network, in virtual time: our stream, or what others would send.

    frames --Sender--> Session ==> link there ==> Session --Receiver--> canvas     Watched: when each frame was shown
                               <== link back  <==
    the same frames over a perfect link --> tape --a reliable channel, TCP, a lossy channel--> Watched

Every canvas that the receiver shows is held against the one the sender had at that version: `wrong` counts others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_gate.source import Frame
from experiments.deliveries import Carrier, Deliveries, Tape
from experiments.staleness import first_shown
from experiments.systems import Clip
from transport.config import SessionConfig
from transport.events import BaseLost, Event
from transport.lanes import Lane
from transport.session import Session
from transport.states import Role
from transport.wire import Delta, pull_packet
from vidtok.canvas import Grid
from vidtok.entropy import load_tables
from vidtok.live.link import codec_hash
from vidtok.live.receiver import Receiver
from vidtok.live.recording import Loop
from vidtok.live.sender import SendConfig, Sender, hello
from vidtok.tokenizer.edge import EdgeEncoder, load_info

SETTLE_S = 3.0  # the clip's last frame stays in view so long
LAST_S = 20.0  # and then until both ends are equal, at most
OPEN_S = 3.0  # the greeting's time: the clip begins then
KEYFRAME_S = 2.0  # what a lossy channel without feedback begins anew after
SESSION_KBPS = 1000.0


class Remembered:
    """An edge encoder that looks at each frame once, however often the same clip is sent."""

    def __init__(self, encoder: EdgeEncoder) -> None:
        self._encoder = encoder
        self._seen: dict[tuple[int, tuple[int, int]], tuple[NDArray[np.float32], NDArray[np.float32]]] = {}
        self._last: tuple[int, tuple[int, int]] = (0, (0, 0))

    def __call__(self, pixels: NDArray[np.uint8], position: tuple[int, int]) -> NDArray[np.float32]:
        """The latents of a frame that stays where it is in memory."""
        self._last = (id(pixels), position)
        if self._last not in self._seen:
            self._seen[self._last] = self._encoder(pixels, position), self._encoder.gist()
        return self._seen[self._last][0]

    def gist(self) -> NDArray[np.float32]:
        """That of the frame looked at last."""
        return self._seen[self._last][1]


@dataclass
class Watched:
    """What one run showed; times in seconds, frame k captured at `captured[k]`."""

    captured: list[float]
    shown: list[float | None]
    equal: bool = True  # whether both ends ended in the same state
    wrong: int = 0  # canvases shown that the sender never had at that version
    queue_max: int = 0  # bytes that waited at the sender
    waited_max_s: float = 0.0  # of a packet in our own outbox
    wire_bytes: int = 0  # both ways, as the session counts them (no SCTP, DTLS, UDP, IP)
    payload_bytes: int = 0
    tokens: int = 0
    rates: list[tuple[float, float]] = field(default_factory=list)  # (time, allowed bits a second)


def ours(
    clip: Clip, encoder: Remembered, config: SendConfig, session: SessionConfig, links: tuple[Carrier, Carrier]
) -> Watched:
    """Our stream, deciding live what to send from what comes back."""
    return _Live(clip, encoder, config, session, links).run()


class _Live:
    def __init__(
        self,
        clip: Clip,
        encoder: Remembered,
        config: SendConfig,
        session: SessionConfig,
        links: tuple[Carrier, Carrier],
    ) -> None:
        tables, info, grid = load_tables(), load_info(), Grid(*clip.size)
        build, meta = codec_hash(tables, info.digest), dict(hello(grid, clip.fps, clip.name))
        options: dict[str, Any] = {"codec_hash": build, "config": session, "now": 0.0, "wall_ms": 0}
        one = Session(Role.SENDER, meta=meta, session_id=bytes(16), **options)
        other = Session(Role.RECEIVER, meta={}, **options)
        self.sender = Sender(grid, one, encoder, info, tables, config)  # type: ignore[arg-type]
        self.receiver = Receiver(other, tables)
        self.clip, (self.there, self.back) = clip, links
        self.hashes = {0: self.sender.canvas.state_hash()}
        self.arrived: list[tuple[float, int]] = []
        self.out = Watched([], [])
        self._queued: dict[bytes, float] = {}

    def run(self) -> Watched:
        """The whole clip, and its last frame for a while."""
        self._until(OPEN_S)
        versions: list[int | None] = []
        for frame in _still(self.clip):
            now = OPEN_S + frame.time_s
            self._until(now)
            starved = self.sender.session.allowance(now) == 0
            self.sender.look(frame.pixels, now)
            step = self.sender.tell(now, now)
            self._note(now)
            self.out.captured.append(now)
            versions.append(None if starved and not step.payload_bytes else self.sender.canvas.version)
            self.out.tokens += step.tokens
            self.out.payload_bytes += step.payload_bytes
        self._settle(frame)
        self.out.shown = first_shown(
            [_when(version, at, self.arrived) for version, at in zip(versions, self.out.captured, strict=True)]
        )
        assert self.receiver.canvas is not None
        self.out.equal = self.sender.canvas.state_hash() == self.receiver.canvas.state_hash()
        self.out.wire_bytes = self.sender.session.bytes_sent + self.receiver.session.bytes_sent
        return self.out

    def _settle(self, last: Frame) -> None:
        """The last frame goes on until both ends are equal, for a bounded while: the link may be down now."""
        for more in range(1, int(LAST_S * self.clip.fps)):
            now = OPEN_S + last.time_s + more / self.clip.fps
            self._until(now)
            assert self.receiver.canvas is not None
            if self.sender.canvas.state_hash() == self.receiver.canvas.state_hash():
                return
            self.sender.look(last.pixels, now)
            self.sender.tell(now, now)
            self._note(now)

    def _note(self, now: float) -> None:
        session = self.sender.session
        self.hashes[self.sender.canvas.version] = self.sender.canvas.state_hash()
        self.out.queue_max = max(self.out.queue_max, session.queued_bytes)
        self.out.rates.append((now, session.rate))

    def _until(self, end: float) -> None:
        while (now := self._next()) <= end:
            self._step(now)
        self._step(end)

    def _next(self) -> float:
        times = (
            self.there.next_time(), self.back.next_time(),
            self.sender.session.next_timeout(), self.receiver.session.next_timeout(),
        )  # fmt: skip
        return max(self._now + 1e-6, min((time for time in times if time is not None), default=float("inf")))

    _now = 0.0

    def _step(self, now: float) -> None:
        self._now = now
        sender, receiver = self.sender.session, self.receiver.session
        for data in self.there.pop(now):
            self._show(receiver.receive_datagram(data, now), now)
        self._show(receiver.handle_timeout(now), now)
        for data in self.back.pop(now):
            self._heed(sender.receive_datagram(data, now), now)
        self._heed(sender.handle_timeout(now), now)
        for lane, data in sender.datagrams_to_send(now):
            self._left(lane, data, now)
            self.there.push(data, now)
        for _, data in receiver.datagrams_to_send(now):
            self.back.push(data, now)

    def _left(self, lane: Lane, data: bytes, now: float) -> None:
        if lane is Lane.DELTA and isinstance(packet := pull_packet(data), Delta):
            late = (round(now * 1000) - packet.capture_ms) & 0xFFFF
            self.out.waited_max_s = max(self.out.waited_max_s, late / 1000)

    def _heed(self, events: Sequence[Event], now: float) -> None:
        for event in events:
            self.sender.on_event(event)
            if isinstance(event, BaseLost) and self.out.captured:
                step = self.sender.again(now)
                self.out.tokens += step.tokens
                self.out.payload_bytes += step.payload_bytes
                self._note(now)

    def _show(self, events: Sequence[Event], now: float) -> None:
        for event in events:
            update = self.receiver.on_event(event, now)
            if update is not None:
                version = update.canvas.version
                self.arrived.append((now, version))
                self.out.wrong += self._had(version) not in (None, update.canvas.state_hash())

    def _had(self, version: int) -> int | None:
        return self.hashes.get(version)


def _when(version: int | None, at: float, arrived: Sequence[tuple[float, int]]) -> float | None:
    """When the receiver first showed that version or a newer one; at once where it had it before."""
    if version is None:
        return None
    first = next((time for time, shown in arrived if shown >= version), None)
    return at if version == 0 else None if first is None else max(at, first)


def _still(clip: Clip) -> Iterator[Frame]:
    """The clip's frames, then its last one over and over."""
    frames = list(clip)
    yield from frames
    last = frames[-1]
    for more in range(1, int(SETTLE_S * clip.fps) + 1):
        yield Frame(last.pixels, last.time_s + more / clip.fps, last.index + more)


# What others would send: the same edits, over a link that loses nothing


@dataclass(frozen=True)
class Taped:
    """What a perfect link carried: packets with their frames, which of them need nothing before them, frame times."""

    tape: Tape
    keys: frozenset[int]  # frames that start from blank
    captured: Sequence[float]
    tokens: int
    payload_bytes: int


def tape(clip: Clip, encoder: Remembered, config: SendConfig, keyframe_s: float | None = None) -> Taped:
    """Stream a clip without loss or delay; with `keyframe_s` it begins from blank that often."""
    packets: list[tuple[float, int, bytes]] = []
    number = 0

    def tap(now: float, _lane: Lane, data: bytes) -> None:
        if isinstance(pull_packet(data), Delta):
            packets.append((OPEN_S + now, number, data))

    loop = Loop(Grid(*clip.size), config, fps=clip.fps, name=clip.name, tap=tap, encoder=encoder)  # type: ignore[arg-type]
    captured, tokens, size, again = [], 0, 0, keyframe_s
    for frame in _still(clip):
        number = frame.index
        if again is not None and keyframe_s is not None and frame.time_s >= again:
            loop.receiver.session.request_refresh("keyframe", frame.time_s)
            again += keyframe_s
        step = loop.step(frame)
        captured.append(OPEN_S + frame.time_s)
        tokens, size = tokens + step.tokens, size + step.payload_bytes
    keys = frozenset(frame for _, frame, data in packets if getattr(pull_packet(data), "distance", 1) == 0)
    return Taped(packets, keys, captured, tokens, size)


def reliable(taped: Taped, deliver: Callable[..., Deliveries], links: tuple[Carrier, Carrier], rtt_s: float) -> Watched:
    """The tape over something that delivers everything, in order."""
    end = taped.captured[-1] + 60.0
    given = deliver(taped.tape, *links, end, rtt_s=rtt_s)
    came = given.frames(taped.tape)
    return _of(taped, given, _chained(taped, came))


def lossy(taped: Taped, deliver: Callable[..., Deliveries], links: tuple[Carrier, Carrier], rtt_s: float) -> Watched:
    """The tape over a channel that loses and tells nobody: what builds on what was lost waits for the next keyframe."""
    end = taped.captured[-1] + 5.0
    given = deliver(taped.tape, *links, end, rtt_s=rtt_s, ordered=False, max_retransmits=0)
    came = given.frames(taped.tape)
    return _of(taped, given, _chained(taped, came))


def _chained(taped: Taped, came: dict[int, float | None]) -> list[float | None]:
    """When each frame stood, given when its packets came: a frame builds on all since the last keyframe."""
    out: list[float | None] = []
    stands: float | None = 0.0
    for number, at in enumerate(taped.captured):
        if number in came:
            time_s = came[number]
            before = 0.0 if number in taped.keys else stands
            stands = None if before is None or time_s is None else max(before, time_s)
        out.append(None if stands is None else max(at, stands))
    return out


def _of(taped: Taped, given: Deliveries, stood: list[float | None]) -> Watched:
    return Watched(
        list(taped.captured), first_shown(stood), equal=stood[-1] is not None, queue_max=given.queue_max,
        wire_bytes=given.wire_there + given.wire_back, payload_bytes=taped.payload_bytes, tokens=taped.tokens,
    )  # fmt: skip


@lru_cache(maxsize=1)
def encoder() -> EdgeEncoder:
    """The edge network, loaded once."""
    return EdgeEncoder()
