"""The session in another language: session.js under Node, asked the same, does the same at the same times.

Both ends run in virtual time; what Python's sender was asked, and what it said, is then asked of JavaScript's: every
datagram, event, time and number that may be read must be equal, and the traces. Then JavaScript's sender itself talks
to Python's receiver.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.transport.test_wire import GOLDEN as PACKETS
from tests.transport.toy import ToyReceiver, ToySender, World, new_session
from tests.vidtok.sessions import OPTIONS, RECEIVERS, InJavaScript, Recorded, configs, drawn, of_a_map, wrong
from tests.vidtok.twin import Twin, TwinError, based, damaged, tagged
from transport import DeltaReceived, Link, LocalProtocolError, Role, SessionConfig, State, wire
from transport.impair import Gilbert
from transport.states import TRANSITIONS

links = st.fixed_dictionaries(
    {
        "seed": st.integers(0, 1 << 16),
        "loss": st.sampled_from([0.0, 0.05, 0.3]),
        "duplicate": st.sampled_from([0.0, 0.2]),
        "reorder": st.sampled_from([0.0, 0.3]),
        "delay_s": st.sampled_from([0.0, 0.03, 0.3]),
        "jitter_s": st.sampled_from([0.0, 0.02]),
        "rate_bps": st.sampled_from([None, 40_000.0, 1_000_000.0]),
        "gilbert": st.sampled_from([None, Gilbert(0.05, 0.3)]),
    }
)

# -- both on a link, with a receiver that answers


class Hose(ToySender):
    """Sends as much as there is room for, of no meaning."""

    def frame(self, now: float) -> int | None:
        self.dirty = False
        room = min(self.session.allowance(now), self.session.max_update)
        if not room:
            return None
        payload, base = bytes([len(self.seen) & 255]) * room, self.session.base(now)
        return self.session.send_delta(base=base, payload=payload, capture_ms=int(now * 1000), state_hash=room, now=now)


class Drain(ToyReceiver):
    """Applies whatever comes."""

    def _on_delta(self, event: DeltaReceived, now: float) -> None:
        self.session.applied(event.version, now)


def world(there: dict[str, Any], back: dict[str, Any], config: SessionConfig, seed: int, *, hose: bool) -> World:
    """Two ends, of which the sender's is recorded."""
    live = World(Link(**there), Link(**back), config, seed)
    session: Any = Recorded(0.0, config)
    live.sender = Hose(session) if hose else ToySender(session)
    if hose:
        live.receiver = Drain(live.receiver.session)
    return live


def asked_for(live: World, what: int) -> None:
    """Something that the receiving application, or the path, does now and then."""
    session, now = live.receiver.session, live.now
    if session.state is not State.OPEN:
        return
    acts: list[Callable[[], object]] = [
        lambda: session.send_feedback({"detail": [1, 2.0, None], "interest": now}, now),
        lambda: session.limit(live.random.choice([0, 10, 40_000.5, 1 << 60, None])),
        lambda: session.request_refresh("if you please", now),
        lambda: live.sender.session.path_is_behind(live.random.choice([0, 0, 900, 5000])),
        lambda: cut(live),
    ]
    if what < len(acts):
        acts[what]()


def cut(live: World) -> None:
    """The path goes with all that is on it; half a second later there is a new one."""
    live.sender.take(live.sender.session.path_lost(live.now))
    live.receiver.take(live.receiver.session.path_lost(live.now), live.now)
    live.there, live.back = Link(live.random.getrandbits(16), delay_s=0.02), Link(1, delay_s=0.02)
    live.run(live.now + 0.5, frame=None)
    live.sender.session.path_found(live.now)
    live.receiver.session.path_found(live.now)


@drawn(max_examples=15)
@given(links, links, configs, st.integers(0, 1 << 16), st.booleans(), st.lists(st.integers(0, 9), max_size=8))
def test_lock_step_on_any_link(
    session_twin: Twin,
    there: dict[str, Any],
    back: dict[str, Any],
    config: SessionConfig,
    seed: int,
    hose: bool,
    asked: list[int],
) -> None:
    live = world(there, back, config, seed, hose=hose)
    live.run(1.5, change=0.7)
    for what in asked:
        asked_for(live, what)
        if live.sender.session.state in (State.OPEN, State.SUSPENDED):
            live.run(live.now + 0.4, change=0.7)
    live.sender.session.close(64, "it was enough", live.now)
    live.run(live.now + 0.1, frame=None)
    live.sender.session.check(session_twin)  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("link", "config"),
    [
        ({"rate_bps": 60_000.0, "queue_bytes": 3_000, "delay_s": 0.05}, {"max_packet": 300}),
        ({"gilbert": Gilbert(0.02, 0.1), "rate_bps": 200_000.0, "delay_s": 0.1}, {"parity": "always"}),
        ({"outages": [(1.0, 3.0)], "rate_bps": 100_000.0}, {"max_timeout": 0.3, "patient_retries": 2}),
    ],
)
def test_lock_step_at_full_rate(session_twin: Twin, link: dict[str, Any], config: dict[str, Any]) -> None:
    limited = SessionConfig(start_rate=100_000.0, max_rate=400_000.0, **config)
    live = world({"seed": 5, **link}, {"seed": 6, "delay_s": 0.03}, limited, 7, hose=True)
    live.run(5.0, frame=0.05, change=1.0)
    assert live.sender.session.trace.count("rate") > 3
    live.sender.session.check(session_twin)  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("options", "config"),
    [
        ({"session_id": bytes(15)}, {}),
        ({"codec_hash": bytes(65)}, {}),
        ({"meta": {"x": "y" * 1100}}, {}),
        ({"meta": {"x": 1 << 70}}, {}),
        ({"wall_ms": -1}, {}),
        ({}, {"max_packet": 63}),
        ({}, {"max_packet": 1101}),
        ({}, {"max_in_flight": 64}),
        ({}, {"max_in_flight": 0}),
        ({}, {"history": 4097}),
        ({}, {"min_rate": 0}),
        ({}, {"min_rate": 600_000.0}),
        ({}, {"max_rate": 400_000.0}),
        ({}, {"bucket_depth": 0.0}),
        ({}, {"bucket_depth": 0.3}),
    ],
)
def test_what_no_session_is_made_of(session_twin: Twin, options: dict[str, Any], config: dict[str, Any]) -> None:
    with pytest.raises(LocalProtocolError):
        new_session(Role.SENDER, 0.0, SessionConfig(**config), **options)
    words = {key: tagged(value) for key, value in (OPTIONS | options).items()}
    with pytest.raises(TwinError, match="LocalProtocolError"):
        session_twin.ask("open", options={**words, "now": 0.0}, config=config)


def test_a_misspelt_number_is_refused(session_twin: Twin) -> None:
    with pytest.raises(TwinError, match="LocalProtocolError: no number of a session is called heartbeet"):
        session_twin.ask("open", options={}, config={"heartbeet": 1.0})


def test_the_table_of_transitions_is_the_senders(session_twin: Twin) -> None:
    mine = {state.value: row for (role, state), row in TRANSITIONS.items() if role is Role.SENDER}
    assert session_twin.ask("transitions") == {
        state: {what.value: after.value for what, after in row.items()} for state, row in mine.items()
    }


def test_the_numbers_of_a_session_are_the_same(session_twin: Twin) -> None:
    mine = {key.replace("_", ""): each for key, each in vars(SessionConfig()).items() if key not in RECEIVERS}
    assert {key.lower(): each for key, each in session_twin.ask("defaults")} == mine


@pytest.mark.parametrize("name", sorted(PACKETS))
def test_wrong_packets_are_named_in_the_same_words(session_twin: Twin, name: str) -> None:
    data, rng = wire.push_packet(PACKETS[name]), np.random.default_rng(len(name))
    for each in [*(data[:cut] for cut in range(len(data))), *(damaged(data, rng) for _ in range(60))]:
        error = wrong(each)
        if not of_a_map(error):
            assert session_twin.ask("wrong", bytes=based(each)) == error, each.hex()


# -- JavaScript sends, Python receives


@pytest.mark.parametrize("seed", range(4))
def test_javascript_keeps_a_python_receiver_in_step(session_twin: Twin, seed: int) -> None:
    there = Link(seed, loss=0.15, reorder=0.2, duplicate=0.1, delay_s=0.04, jitter_s=0.03, rate_bps=150_000.0)
    back = Link(seed + 9, loss=0.1, reorder=0.1, delay_s=0.04, jitter_s=0.02)
    config = SessionConfig(resume_within=10.0, max_packet=(64, 1100)[seed % 2])
    live = World(there, back, config, seed)
    session: Any = InJavaScript(session_twin, 0.0, config)
    live.sender = ToySender(session)
    live.run(2.0, change=0.8)
    if seed < 2:
        cut(live)
    live.run(4.0, change=0.8)
    live.mutate()
    live.run(8.0)
    assert live.in_step()
    assert live.receiver.version == session.next_version - 1 > 30
    assert set(live.receiver.history) <= live.sender.ever
    assert live.there.drops["loss"] or seed < 2
    assert live.receiver.checked > 0
    session.close(code=0, reason="done", now=live.now)
    live.run(9.0, frame=None)
    assert live.receiver.session.state is session.state is State.CLOSED
