"""`.vtk` files: encode a source into one, replay one into canvases, say what is inside.

source --Sender--> session ==joined, virtual time==> session --Receiver--> canvases
                      |tap
                      v
                   FileWriter                FileReader --session--> Receiver --> canvases, pictures
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from edge_gate.network import Network
from edge_gate.source import Frame, Source, SourceError
from transport.adapters.file import FileReader, FileWriter
from transport.errors import RecordingError, RemoteProtocolError
from transport.events import Closed
from transport.session import Session
from transport.states import Role
from vidtok.canvas import Canvas, Grid
from vidtok.edits import Kind
from vidtok.entropy import Tables, load_tables
from vidtok.live.link import Joined, Tap, codec_hash
from vidtok.live.receiver import Receiver, Update, is_frame_rate
from vidtok.live.sender import SendConfig, Sender, Step, hello
from vidtok.tokenizer.edge import EdgeEncoder, load_info

logger = logging.getLogger(__name__)

MAX_GAP_S = 600.0  # a live stream says something every second


class Loop:
    """A sender and a receiver in one process and in the source's own time: what `encode` and experiments run."""

    def __init__(
        self,
        grid: Grid,
        config: SendConfig | None = None,
        *,
        fps: float,
        name: str,
        tap: Tap | None = None,
        encoder: EdgeEncoder | None = None,
        network: Network | None = None,
    ) -> None:
        tables, info = load_tables(), load_info()
        build = codec_hash(tables, info.digest)
        meta = dict(hello(grid, fps, name))
        sender = Session(Role.SENDER, codec_hash=build, meta=meta, now=0.0, wall_ms=0, session_id=bytes(16))
        receiver = Session(Role.RECEIVER, codec_hash=build, meta={}, now=0.0, wall_ms=0)
        self._joined = Joined(sender, receiver, tap)
        self.sender = Sender(grid, sender, encoder or EdgeEncoder(), info, tables, config, network)
        self.receiver = Receiver(receiver, tables)
        self.updates: list[Update] = []
        self._advance(0.0)

    def step(self, frame: Frame) -> Step:
        """One frame through everything; `receiver.canvas` is what the other end then knows."""
        self.updates = []
        self._advance(frame.time_s)
        step = self.sender.step(frame.pixels, frame.time_s, frame.time_s)
        self._advance(frame.time_s)
        return step

    def finish(self, now: float) -> None:
        """Let the last acknowledgements through and say goodbye."""
        self._advance(now)
        self._joined.sender.close(now=now)
        self._advance(now)

    @property
    def bytes_total(self) -> int:
        """All bytes in both directions so far, the greeting included."""
        return self._joined.sender.bytes_sent + self._joined.receiver.bytes_sent

    @property
    def packets_total(self) -> int:
        """All packets in both directions so far."""
        return self._joined.packets

    def _advance(self, now: float) -> None:
        for session, when, event in self._joined.advance(now):
            if session is self._joined.sender:
                self.sender.on_event(event)
            elif (update := self.receiver.on_event(event, when)) is not None:
                self.updates.append(update)


def encode(source: Source, path: Path, config: SendConfig | None = None) -> Iterator[Step]:
    """Write what sending `source` would put on the wire into `path`; yields a step a frame.

    The file gets its name only when the source has ended well; on any error nothing is left behind.
    """
    grid = Grid(*source.size)
    tables, info = load_tables(), load_info()
    meta = dict(hello(grid, source.fps, source.name))
    with FileWriter(path, meta, codec_hash(tables, info.digest)) as writer:
        loop = Loop(
            grid,
            config,
            fps=source.fps,
            name=source.name,
            tap=lambda now, lane, data: writer.write(round(now * 1000), lane, data),
        )
        last = 0.0
        try:
            for frame in source:
                yield loop.step(frame)
                last = frame.time_s
        except (KeyboardInterrupt, SourceError) as end:  # how a camera ends; a file that breaks leaves nothing behind
            if not source.live:
                raise
            logger.warning("%s ended, the recording is whole up to here: %s", source.name, end or "interrupted")
        loop.finish(last + 1 / source.fps)


@dataclass
class Summary:
    """What a recording holds."""

    meta: dict[str, object]
    duration_s: float = 0.0
    packets: int = 0
    bytes: int = 0
    tokens: int = 0
    edits: Counter[str] = field(default_factory=Counter)
    pans: int = 0
    versions: int = 0

    def lines(self) -> list[str]:
        """The summary for people."""
        meta, seconds = self.meta, max(self.duration_s, 1e-3)
        kbps = self.bytes * 8 / seconds / 1000
        edits = ", ".join(f"{count} {name}" for name, count in sorted(self.edits.items())) or "none"
        return [
            f"source    {meta.get('source')}, {meta.get('width')}x{meta.get('height')} at {meta.get('fps'):g} fps",
            f"duration  {self.duration_s:.1f} s, {self.versions} versions in {self.packets} packets",
            f"rate      {kbps:.2f} kbps ({self.bytes} bytes), {self.tokens / seconds:.1f} tokens/s",
            f"edits     {edits}, {self.pans} pan",
        ]


class Replay:
    """A recording, played into a receiver. Iterating yields (seconds, update) for every patch."""

    def __init__(self, path: Path, tables: Tables | None = None) -> None:
        self._tables = tables or load_tables()
        self.reader = FileReader(path)
        expected = codec_hash(self._tables, load_info().digest)
        if self.reader.codec_hash != expected:
            raise RecordingError(
                f"{path}: recorded with another build of the codec ({self.reader.codec_hash.hex()}, "
                f"this one is {expected.hex()}): use the vidtok that made it"
            )
        _check_fps(self.reader)
        self.summary = Summary(self.reader.meta)

    def __iter__(self) -> Iterator[tuple[float, Update]]:
        session = Session(Role.RECEIVER, codec_hash=self.reader.codec_hash, meta={}, now=0.0, wall_ms=0)
        receiver, summary = Receiver(session, self._tables), Summary(self.reader.meta)
        self.summary = summary
        for record in self.reader:
            now = record.time_ms / 1000
            if now - summary.duration_s > MAX_GAP_S:
                raise RecordingError(f"{self.reader.path}: corrupted: nothing for {now - summary.duration_s:.0f} s")
            summary.packets += 1
            summary.bytes += len(record.data)
            summary.duration_s = now
            for event in session.receive_datagram(record.data, now):
                if isinstance(event, Closed) and event.code:
                    raise RecordingError(f"{self.reader.path}: the recorded session ends with an error: {event.reason}")
                try:
                    update = receiver.on_event(event, now)
                except RemoteProtocolError as error:
                    raise RecordingError(f"{self.reader.path}: {error}; record it again") from None
                if update is not None:
                    _count(summary, update)
                    yield now, update
            list(session.datagrams_to_send(now))
            if session.bad_packets or receiver.rejected:
                raise RecordingError(
                    f"{self.reader.path}: a packet at {now:.2f} s does not decode; copy it again from its source"
                )


def _check_fps(reader: FileReader) -> None:
    fps = reader.meta.get("fps")
    if not is_frame_rate(fps):
        raise RecordingError(f"{reader.path}: corrupted: its frame rate is {fps!r}; record it again")


def _count(summary: Summary, update: Update) -> None:
    summary.versions += 1
    summary.tokens += update.edits.tokens
    summary.pans += update.canvas.position != update.base.position
    if update.edits.gist_depth:
        summary.edits["gist"] += 1
    for kind in (Kind.MOVE, Kind.SET, Kind.REFINE):
        count = int((update.edits.kind == kind).sum())
        if count:
            summary.edits[kind.name.lower()] += count


def frames_of(replay: Replay, fps: float) -> Iterator[tuple[float, Canvas]]:
    """The canvas at every tick of `fps`: the newest one that had arrived."""
    canvas: Canvas | None = None
    tick = 0
    for now, update in replay:
        while canvas is not None and tick / fps < now:
            yield tick / fps, canvas
            tick += 1
        canvas = update.canvas
    while canvas is not None and tick / fps <= replay.summary.duration_s:
        yield tick / fps, canvas
        tick += 1
