"""Sessions as Prometheus reads them: text exposition, format 0.0.4.

    # HELP transport_bytes_sent_total Bytes of all packets that were sent.
    # TYPE transport_bytes_sent_total counter
    transport_bytes_sent_total{session="stream 1"} 5123

Counters are of sessions that still exist: a session's series end with it. What only a sender knows (round trip, loss,
rate) is left out for receivers, and a round trip until it has been measured.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from transport.session import Session
from transport.states import Role, State

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

# The labels that a session's sample has beside the session's name, and its value.
Sample = tuple[Mapping[str, str], float]


@dataclass(frozen=True)
class _Family:
    """Samples of one name."""

    name: str
    kind: str
    text: str
    samples: Callable[[Session], Iterable[Sample]]


def _plain(value: Callable[[Session], float]) -> Callable[[Session], Iterable[Sample]]:
    return lambda session: [({}, value(session))]


def _of_sender(value: Callable[[Session], float | None]) -> Callable[[Session], Iterable[Sample]]:
    def samples(session: Session) -> Iterable[Sample]:
        number = value(session) if session.role is Role.SENDER else None
        return [] if number is None else [({}, number)]

    return samples


def _drops(session: Session) -> Iterable[Sample]:
    return [({"reason": reason}, count) for reason, count in sorted(session.trace.drops().items())]


def _states(session: Session) -> Iterable[Sample]:
    role = session.role.value
    return [({"role": role, "state": state.value}, int(session.state is state)) for state in State]


_FAMILIES = (
    _Family("packets_sent_total", "counter", "Packets that were sent.", _plain(lambda s: s.packets_sent)),
    _Family("packets_received_total", "counter", "Packets that came in.", _plain(lambda s: s.packets_received)),
    _Family("bytes_sent_total", "counter", "Bytes of all packets that were sent.", _plain(lambda s: s.bytes_sent)),
    _Family("bytes_received_total", "counter", "Bytes of all that came in.", _plain(lambda s: s.bytes_received)),
    _Family("bad_packets_total", "counter", "Packets that made no sense.", _plain(lambda s: s.bad_packets)),
    _Family("drops_total", "counter", "What was dropped, either way, by reason.", _drops),
    _Family("rtt_seconds", "gauge", "Smoothed round trip.", _of_sender(lambda s: s.rtt)),
    _Family("loss_ratio", "gauge", "Smoothed share of packets lost, 0 to 1.", _of_sender(lambda s: s.loss)),
    _Family("rate_bits_per_second", "gauge", "What the sender may send now.", _of_sender(lambda s: s.rate)),
    _Family("queued_bytes", "gauge", "Bytes that wait in the outbox.", _plain(lambda s: s.queued_bytes)),
    _Family("state", "gauge", "1 for the state that the session is in, 0 for the others.", _states),
)


def exposition(sessions: Mapping[str, Session]) -> str:
    """The text for some sessions by name; empty when there are none."""
    lines: list[str] = []
    for family in _FAMILIES:
        samples = [
            (series(f"transport_{family.name}", {"session": name, **more}), value)
            for name, session in sessions.items()
            for more, value in family.samples(session)
        ]
        if samples:
            lines += [f"# HELP transport_{family.name} {family.text}", f"# TYPE transport_{family.name} {family.kind}"]
            lines += [f"{name} {value!r}" for name, value in samples]
    return "".join(f"{line}\n" for line in lines)


def series(name: str, labels: Mapping[str, str]) -> str:
    """A sample's name with its labels."""
    inside = ",".join(f'{label}="{_escaped(value)}"' for label, value in labels.items())
    return f"{name}{{{inside}}}" if inside else name


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
