"""Two sessions joined by hand: what leaves one is carried to the other, or lost, packet by packet."""

from __future__ import annotations

from tests.transport.toy import new_session
from transport import (
    Role,
    Session,
    SessionConfig,
)


def pair(config: SessionConfig | None = None) -> tuple[Session, Session]:
    sender, receiver = new_session(Role.SENDER, config=config), new_session(Role.RECEIVER, config=config)
    roundtrip(sender, receiver, 0.0)
    return sender, receiver


def transfer(source: Session, target: Session, now: float) -> list[object]:
    return [event for _, data in source.datagrams_to_send(now) for event in target.receive_datagram(data, now)]


def roundtrip(sender: Session, receiver: Session, now: float) -> tuple[list[object], list[object]]:
    at_receiver = transfer(sender, receiver, now)
    return transfer(receiver, sender, now), at_receiver


def send(sender: Session, now: float, base: int | None = None, **more: object) -> int:
    options = {"payload": b"x", "capture_ms": int(now * 1000), "state_hash": 1, "now": now} | more
    return sender.send_delta(base=sender.base(now) if base is None else base, **options)  # type: ignore[arg-type]


def freed(sender: Session, receiver: Session, now: float) -> float:
    """When a sender that nothing may leave has its timers let it send again, five seconds at most."""
    while sender.allowance(now) == 0 and now < 5:
        now = max(now + 0.001, sender.next_timeout() or 5.0)
        sender.handle_timeout(now)
        roundtrip(sender, receiver, now)
    return now
