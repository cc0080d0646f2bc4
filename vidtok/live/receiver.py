"""The server's end of the stream: transport events in, canvases out. No pixel is ever seen here.

    Connected     -> the grid, from the greeting
    DeltaReceived -> payload + the base canvas held --bitstream--> patch --> canvas, hash checked, acknowledged
    StateCheck    -> is what we show what the sender has?

Whatever the bytes are, the outcome is a canvas that the sender had, or a request to begin again.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass

from edge_gate.wishes import Wishes
from transport.errors import RemoteProtocolError
from transport.events import Connected, DeltaReceived, Event, StateCheck
from transport.session import Session
from vidtok.bitstream import decode_payload
from vidtok.canvas import Canvas, Grid, blank
from vidtok.codec import patch
from vidtok.edits import Patch
from vidtok.entropy import Tables
from vidtok.errors import PayloadError

MAX_FPS = 240
MAX_CANVASES = 80  # a little more than the versions that the session lets a delta refer to


@dataclass(frozen=True, eq=False)
class Update:
    """One patch that arrived and was applied."""

    canvas: Canvas
    edits: Patch
    base: Canvas
    capture_ms: int


def is_frame_rate(value: object) -> bool:
    """Whether a stranger's value can be a frame rate."""
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value <= MAX_FPS


class Receiver:
    """Keeps the canvas in step with the sender's."""

    def __init__(self, session: Session, tables: Tables) -> None:
        self.session = session
        self.rejected = 0
        self.meta: Mapping[str, object] = {}
        self.started_wall_ms = 0
        self._tables = tables
        self._canvases: OrderedDict[int, Canvas] = OrderedDict()
        self._blank: Canvas | None = None

    @property
    def canvas(self) -> Canvas | None:
        """The newest canvas; None before the greeting."""
        return next(reversed(self._canvases.values()), self._blank)

    def on_event(self, event: Event, now: float) -> Update | None:
        """Take in one event; returns the update it brought, if it brought one.

        Raises RemoteProtocolError when the greeting describes no stream that we can hold.
        """
        match event:
            case Connected():
                self._greet(event)
            case DeltaReceived():
                return self._apply(event, now)
            case StateCheck(version, state_hash):
                canvas = self._canvases.get(version)
                if canvas is not None and canvas.state_hash() != state_hash:
                    self.session.request_refresh("state hash differs", now)
            case _:
                pass
        return None

    def wish(self, wishes: Wishes, now: float) -> None:
        """State all that the application wishes of the sender's gate, until it is stated anew."""
        self.session.send_feedback(wishes.to_map(), now)

    def _greet(self, event: Connected) -> None:
        width, height, fps, source = (event.peer.get(name) for name in ("width", "height", "fps", "source"))
        if not isinstance(width, int) or not isinstance(height, int):
            raise RemoteProtocolError("the greeting names no width and height")
        try:
            grid = Grid(width, height)
        except ValueError as error:
            raise RemoteProtocolError(f"the greeting's size is not one we hold: {error}") from None
        if not is_frame_rate(fps) or not isinstance(source, str):
            raise RemoteProtocolError("the greeting names no frame rate or no source")
        name = "".join(letter if letter.isprintable() else "?" for letter in source[:80])
        self.meta = {"width": width, "height": height, "fps": fps, "source": name}
        self.started_wall_ms = event.wall_ms
        if self._blank is None or self._blank.grid != grid:
            self._canvases.clear()
            self._blank = blank(grid)

    def _apply(self, event: DeltaReceived, now: float) -> Update | None:
        base = self._canvases.get(event.base) if event.base else self._blank
        if base is None:
            self.session.rejected(event.version, "base is gone", now)
            return None
        try:
            edits = decode_payload(base, event.payload, self._tables)
            canvas = patch(base, edits, event.version)
        except (PayloadError, ValueError) as error:
            self._reject(event, str(error), now)
            return None
        if event.state_hash is not None and canvas.state_hash() != event.state_hash:
            self._reject(event, "state hash differs", now)
            return None
        self._canvases[event.version] = canvas
        while len(self._canvases) > MAX_CANVASES:
            self._canvases.popitem(last=False)
        self.session.applied(event.version, now)
        return Update(canvas, edits, base, event.capture_ms)

    def _reject(self, event: DeltaReceived, reason: str, now: float) -> None:
        self.rejected += 1
        self.session.rejected(event.version, reason[:100], now)
