"""Both ends of a stream, each by itself: recorded once together, replayed alone as often as it takes to time them.

    clip --Sender + Session <--Joined--> Session + Receiver--> all that was asked of either end, in order: Taped
    Taped.sender   --replay_sender-->   a fresh Sender
    Taped.receiver --replay_receiver--> a fresh Receiver --look--> its canvas after each frame that changed it

A replayed end must come to the state that the taped one came to; where it does not, nothing is measured.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from experiments.bench import BenchError
from experiments.systems import Clip
from transport.events import Event
from transport.session import Session
from transport.states import Role
from vidtok.canvas import Canvas, Grid
from vidtok.entropy import Tables, load_tables
from vidtok.live.link import Joined, codec_hash
from vidtok.live.receiver import Receiver
from vidtok.live.sender import Sender, hello
from vidtok.tokenizer.edge import EdgeEncoder, load_info

Call = tuple[str, tuple[Any, ...]]
_BRING_EVENTS = ("receive_datagram", "handle_timeout")
_CALLS = (*_BRING_EVENTS, "datagrams_to_send", "next_timeout")


@dataclass(frozen=True, eq=False)
class Taped:
    """A clip streamed once from end to end, with all that was asked of either end, in order.

    Replayed on a fresh sender (or receiver), the calls do exactly the same work again without the other end.
    """

    sender: Sequence[Call]
    receiver: Sequence[Call]  # "look" marks the end of a frame's time
    bytes: int
    hashes: tuple[int, int]  # of the last canvas at the sender and at the receiver


def new_sender(clip: Clip, encoder: Any) -> Sender:
    """The sending end, as `vidtok.live.recording.Loop` makes it."""
    grid, tables, info = Grid(*clip.size), load_tables(), load_info()
    build, meta = codec_hash(tables, info.digest), dict(hello(grid, clip.fps, clip.name))
    session = Session(Role.SENDER, codec_hash=build, meta=meta, now=0.0, wall_ms=0, session_id=bytes(16))
    return Sender(grid, session, encoder, info, tables)


def new_receiver() -> Receiver:
    """The receiving end, likewise."""
    tables = _tables()
    build = codec_hash(tables, load_info().digest)
    return Receiver(Session(Role.RECEIVER, codec_hash=build, meta={}, now=0.0, wall_ms=0), tables)


@cache
def _tables() -> Tables:
    """Ready to decode with, as a server has them before anybody calls."""
    return load_tables().ready()


def tape(clip: Clip, encoder: EdgeEncoder) -> Taped:
    """Stream a clip without loss or delay and write everything down."""
    sender, receiver = new_sender(clip, encoder), new_receiver()
    calls: tuple[list[Call], list[Call]] = ([], [])
    for noted, session in zip(calls, (sender.session, receiver.session), strict=True):
        for name in _CALLS:
            _note(session, name, noted)
    _note(sender, "step", calls[0])
    joined = Joined(sender.session, receiver.session)

    def advance(now: float) -> None:
        for session, when, event in joined.advance(now):
            if session is sender.session:
                sender.on_event(event)
            else:
                receiver.on_event(event, when)

    advance(0.0)
    for frame in clip:
        advance(frame.time_s)
        sender.step(frame.pixels, frame.time_s, frame.time_s)
        advance(frame.time_s)
        calls[1].append(("look", ()))
    assert receiver.canvas is not None
    crossed = sender.session.bytes_sent + receiver.session.bytes_sent
    return Taped(*calls, crossed, (sender.canvas.state_hash(), receiver.canvas.state_hash()))


def replay_sender(sender: Sender, taped: Taped) -> None:
    """Ask a fresh sender what the taped one was asked; it must end in the same state."""
    for name, args in taped.sender:
        if name == "step":
            sender.step(*args)
        else:
            for event in _asked(sender.session, name, args):
                sender.on_event(event)
    _check(sender.canvas, taped.hashes[0])


def replay_receiver(receiver: Receiver, taped: Taped, look: Callable[[Canvas, float], object]) -> None:
    """Likewise for a receiver; `look` is given the newest canvas after each frame that changed it, and the time."""
    last, now = receiver.canvas, 0.0
    for name, args in taped.receiver:
        if name == "look":
            if receiver.canvas is not None and receiver.canvas is not last:
                last = receiver.canvas
                look(last, now)
            continue
        now = args[-1] if args else now
        for event in _asked(receiver.session, name, args):
            receiver.on_event(event, now)
    _check(receiver.canvas, taped.hashes[1])


def _asked(session: Session, name: str, args: tuple[Any, ...]) -> Sequence[Event]:
    answer = getattr(session, name)(*args)
    return answer if name in _BRING_EVENTS else ()


def _check(canvas: Canvas | None, wanted: int) -> None:
    if canvas is None or canvas.state_hash() != wanted:
        raise BenchError(
            "a replayed end went another way than the taped one: its decisions hang on more than its input"
        )


def _note(thing: Any, name: str, calls: list[Call]) -> None:
    function = getattr(thing, name)

    def noted(*args: Any) -> Any:
        calls.append((name, args))
        return function(*args)

    setattr(thing, name, noted)
