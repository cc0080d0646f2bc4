"""The exposition is what a scraper of format 0.0.4 reads, whatever the names, and its numbers are the sessions'."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from tests.transport.toy import World, new_session
from transport import Link, Role, Session, State
from transport.metrics import CONTENT_TYPE, exposition

Series = dict[tuple[str, tuple[tuple[str, str], ...]], float]

HELP = re.compile(r"# HELP ([a-zA-Z_:][a-zA-Z0-9_:]*) ([^\\\n]+)")
TYPE = re.compile(r"# TYPE ([a-zA-Z_:][a-zA-Z0-9_:]*) (counter|gauge)")
SAMPLE = re.compile(r"([a-zA-Z_:][a-zA-Z0-9_:]*)\{(.*)\} (\S+)")
LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\["\\n])*)"(?:,|$)')
ESCAPED = {r"\\": "\\", r"\"": '"', r"\n": "\n"}


def labels(text: str) -> tuple[tuple[str, str], ...]:
    found, end = [], 0
    while end < len(text):
        match = LABEL.match(text, end)
        assert match is not None, text
        found.append((match[1], re.sub(r"\\.", lambda pair: ESCAPED[pair[0]], match[2])))
        end = match.end()
    return tuple(found)


def parse(text: str) -> Series:
    """Every sample; each name must come in one piece, with its help and type before it and no sample twice."""
    out: Series = {}
    named: list[str] = []
    assert text == "" or text.endswith("\n")
    for line in text.split("\n")[:-1]:
        if (match := HELP.fullmatch(line)) is not None:
            assert match[1] not in named
            named.append(match[1])
        elif (match := TYPE.fullmatch(line)) is not None:
            assert match[1] == named[-1]
            assert (match[2] == "counter") == match[1].endswith("_total")
        else:
            match = SAMPLE.fullmatch(line)
            assert match is not None, line
            assert match[1] == named[-1]
            key = (match[1], labels(match[2]))
            assert key not in out
            out[key] = float(match[3])
    return out


def value(series: Series, name: str, session: str, **more: str) -> float | None:
    return series.get((f"transport_{name}", (("session", session), *more.items())))


def test_the_numbers_are_the_sessions() -> None:
    world = World(Link(1, loss=0.1, delay_s=0.05), Link(2, delay_s=0.05))
    world.run(5.0, change=0.5)
    world.receiver.session.receive_datagram(b"nonsense", world.now)
    sender, receiver = world.sender.session, world.receiver.session
    series = parse(exposition({"edge": sender, "server": receiver}))
    for name, session in (("edge", sender), ("server", receiver)):
        assert value(series, "packets_sent_total", name) == session.packets_sent > 0
        assert value(series, "packets_received_total", name) == session.packets_received > 0
        assert value(series, "bytes_sent_total", name) == session.bytes_sent > 0
        assert value(series, "bytes_received_total", name) == session.bytes_received > 0
        assert value(series, "bad_packets_total", name) == session.bad_packets
        assert value(series, "queued_bytes", name) == session.queued_bytes
        for reason, count in session.trace.drops().items():
            assert value(series, "drops_total", name, reason=reason) == count
    assert value(series, "bad_packets_total", "server") == 1
    assert value(series, "drops_total", "server", reason="bad-packet") == 1
    assert value(series, "rtt_seconds", "edge") == sender.rtt
    assert value(series, "loss_ratio", "edge") == sender.loss
    assert value(series, "rate_bits_per_second", "edge") == sender.rate
    assert all(value(series, name, "server") is None for name in ("rtt_seconds", "loss_ratio", "rate_bits_per_second"))


def test_exactly_one_state_holds() -> None:
    session = new_session(Role.SENDER)
    for expected in (State.CONNECTING, State.CLOSED):
        series = parse(exposition({"a": session}))
        states = {state: value(series, "state", "a", role="sender", state=state.value) for state in State}
        assert {state for state, held in states.items() if held} == {expected}
        assert set(states.values()) == {0.0, 1.0}
        session.close()


def test_no_round_trip_is_no_sample_and_no_session_is_no_text() -> None:
    assert value(parse(exposition({"a": new_session(Role.SENDER)})), "rtt_seconds", "a") is None
    assert exposition({}) == ""
    assert CONTENT_TYPE.startswith("text/plain; version=0.0.4")


@given(st.lists(st.text(), max_size=4, unique=True))
def test_any_name_comes_back(names: list[str]) -> None:
    sessions: dict[str, Session] = {name: new_session(Role.RECEIVER) for name in names}
    series = parse(exposition(sessions))
    assert all(value(series, "packets_sent_total", name) == 0 for name in names)
    assert {dict(found)["session"] for _, found in series} == set(names)
