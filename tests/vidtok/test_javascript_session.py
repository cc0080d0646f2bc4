"""The session in another language: session.js under Node, asked the same, does the same at the same times.

Scripts are run with Python's session, recorded, and asked of JavaScript's: every datagram, event, time and number that may
be read must be equal, and the traces. Then JavaScript's session talks to Python's receiver.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from tests.transport.test_wire import GOLDEN as PACKETS
from tests.transport.toy import CODEC, SESSION_ID, ToyReceiver, ToySender, World, new_session
from tests.vidtok.sessions import OPTIONS, RECEIVERS, InJavaScript, Recorded, of_a_map
from tests.vidtok.twin import Twin, TwinError, based, damaged, tagged
from transport import (
    ConnectionClosed,
    DeltaReceived,
    Lane,
    Link,
    LocalProtocolError,
    RemoteProtocolError,
    Role,
    SessionConfig,
    State,
    wire,
)
from transport.congestion import Arrival, RateController
from transport.impair import Gilbert
from transport.states import TRANSITIONS

# What fails is named by its call: with fewer calls it would be another.
drawn = partial(settings, phases=(Phase.explicit, Phase.reuse, Phase.generate))

configs = st.builds(
    lambda sizes, **options: SessionConfig(max_in_flight=sizes[0], history=sizes[1], **options),
    sizes=st.sampled_from([(48, 64), (4, 8)]),
    bases=st.sampled_from(["auto", "assumed", "acknowledged"]),
    parity=st.sampled_from(["auto", "always", "never"]),
    max_packet=st.sampled_from([64, 1100]),
    resume_within=st.sampled_from([10.0, 0.0]),
    start_rate=st.sampled_from([500_000.0, 20_000.0]),
    outbox_limit=st.sampled_from([64, 8]),
)
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


@drawn(max_examples=25)
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


# -- the rate alone: what a link would take long to show

arrivals = st.builds(
    Arrival,
    st.none() | st.sampled_from([0.02, 0.05, 0.05, 0.3]) | st.floats(0, 1),
    st.none() | st.sampled_from([5.0, 5.01, 5.3]) | st.floats(0, 10),
)
counts = st.sampled_from([0, 0, 0, 1, 5, 12])
told_of_rates = st.one_of(
    st.tuples(st.just("on_ack"), counts, counts, st.sampled_from([0, 1100, 20_000]), arrivals),
    st.tuples(st.just("on_ack"), st.just(12), st.just(0), st.just(20_000), st.just(Arrival(0.05, 5.0))),
    st.tuples(st.just("on_sent"), st.sampled_from([100, 10_000, 80_000])),
    st.tuples(st.just("on_timeout"), st.booleans()),
    st.tuples(st.just("limit"), st.sampled_from([None, 0.0, 30_000.0])),
)
rate_settings = st.fixed_dictionaries(
    {"start_rate": st.sampled_from([20_000.0, 500_000.0]), "max_packet": st.sampled_from([64, 1100])}
)


@drawn(max_examples=150)
@given(
    rate_settings,
    st.lists(st.tuples(st.sampled_from([0.0, 0.03, 0.06, 0.12, 0.6, 3.0]), told_of_rates), min_size=1, max_size=90),
)
def test_rates_agree(session_twin: Twin, chosen: dict[str, float], script: list[tuple[float, Any]]) -> None:
    now, rate = 2.0, RateController(SessionConfig(**chosen), 2.0)  # type: ignore[arg-type]
    calls, mine = [], []
    for span, (what, *given) in script:
        now += span
        if what == "limit":
            rate.limit = given[0]
        elif what == "on_timeout":
            rate.on_timeout(now, again=given[0])
        else:
            getattr(rate, what)(*given, now)
        calls.append([what, *(vars(each) if isinstance(each, Arrival) else each for each in given), now])
        mine.append([
            rate.rate, rate.why, rate.loss, rate.queue, rate.rtt.smoothed, rate.rtt.minimum, rate.standing(),
            rate.allowance(now, 500), rate.window(), rate.ready_at(now), rate.eager(now), rate.delivered(now),
        ])  # fmt: skip
    assert session_twin.ask("rates", config=chosen, calls=calls) == mine


# -- the sender alone, told anything at any time

near = st.none() | st.integers(0, 30)
acks = st.builds(
    wire.Ack,
    applied=near,
    newest=near,
    received=st.sampled_from([wire.ALL_ARRIVED, 0]) | st.integers(0, wire.ALL_ARRIVED),
    hold_ms=st.sampled_from([0, 0, 7, 300, 65535]),
    missing=st.none() | near,
    clock_ms=st.none() | st.integers(0, 65535),
)
limits = st.sampled_from([0, 0.0, 1, 5e-324, 9_999.5, 1 << 60, 1e308, float("inf"), float("nan"), -1, True, "many", [], None])
feedback = st.builds(
    wire.Feedback,
    st.integers(0, 6),
    st.dictionaries(st.sampled_from(["~rate", "~rate", "detail"]), limits, max_size=2),
)
refreshes = st.builds(wire.RefreshRequest, st.integers(0, 5), st.sampled_from(["", "why not"]))
welcomes = st.builds(
    wire.Welcome,
    session_id=st.sampled_from([SESSION_ID, SESSION_ID, SESSION_ID, bytes(16)]),
    role=st.sampled_from([Role.RECEIVER, Role.RECEIVER, Role.RECEIVER, Role.SENDER]),
    codec_hash=st.sampled_from([CODEC, CODEC, CODEC, b"another"]),
    meta=st.sampled_from([{}, {"name": "receiver", "fps": 10.0}]),
    wall_ms=st.sampled_from([0, 1_700_000_000_123, (1 << 63) + 1]),
    features=st.sampled_from([15, 15, 7, 0, 255]),
    resumed=st.booleans(),
)
others = st.sampled_from([*PACKETS.values(), wire.Close(9, "enough"), wire.Heartbeat(3, 4)])
altered = st.builds(
    lambda packet, seed: damaged(wire.push_packet(packet), np.random.default_rng(seed)),
    acks | feedback | welcomes | others,
    st.integers(0, 1 << 16),
).filter(lambda data: not of_a_map(wrong(data)))
spans = st.sampled_from([0.0, 0.0, 0.001, 0.02, 0.02, 0.1, 0.3, 1.1, -0.5]) | st.floats(0, 3)
steps = st.one_of(
    st.tuples(st.just("send"), st.integers(0, 300), st.sampled_from([None, None, None, 0, 1, 5, 99])),
    st.tuples(st.just("send"), st.sampled_from([0, 1, 1088, 1089, 5000, 40_000]), st.none()),
    st.tuples(st.just("hear"), acks),
    st.tuples(st.just("hear"), acks | feedback | refreshes | welcomes),
    st.tuples(st.just("hear"), others | altered),
    st.tuples(st.just("turn"), st.booleans(), st.booleans()),
    st.tuples(st.just("path"), st.sampled_from(["lost", "found", "behind", "behind"]), st.sampled_from([0, 2000, 9000])),
)
ends = st.tuples(st.integers(-1, 256), st.text(max_size=300))


def wrong(data: bytes) -> str:
    try:
        wire.pull_packet(data)
    except RemoteProtocolError as error:
        return str(error)
    return ""


class Script:
    """Does what is drawn, at the times that are drawn, to a recorded session."""

    def __init__(self, start: float, config: SessionConfig, rng: random.Random) -> None:
        self.now, self.rng, self.session = start, rng, Recorded(start, config)

    def do(self, what: str, *how: Any) -> None:
        getattr(self, what)(*how)

    def turn(self, due: bool, send: bool) -> None:
        """A timer, or somebody who looks in between."""
        at = self.session.next_timeout()
        self.now = max(self.now, at) if due and at is not None else self.now
        self.session.handle_timeout(self.now)
        if send:
            self.session.datagrams_to_send(self.now)

    def hear(self, packet: wire.Packet | bytes) -> None:
        data = packet if isinstance(packet, bytes) else wire.push_packet(packet)
        self.session.receive_datagram(data, self.now)

    def path(self, what: str, buffered: int) -> None:
        if what == "behind":
            self.session.path_is_behind(buffered)
        elif what == "lost":
            self.session.path_lost(self.now, "the cable")
        else:
            self.session.path_found(self.now)

    def send(self, size: int, base: int | None) -> None:
        choose = self.rng.choice
        self.session.allowance(self.now)
        base = self.session.base(self.now) if base is None else base
        options = {"lane": choice} if (choice := choose([Lane.DELTA, Lane.DELTA, Lane.ANCHOR, Lane.CONTROL, None])) else {}
        if choose([True, False, False]):
            options["deadline"] = self.now + choose([-1.0, 0.0, 0.05, 3.0])
        with suppress(LocalProtocolError, ConnectionClosed):  # both twins' own words are compared
            self.session.send_delta(
                base=base, payload=self.rng.randbytes(size), capture_ms=choose([0, int(self.now * 1000), 1 << 40]),
                state_hash=choose([None, 0, 77, 0xFFFFFFFF, 1 << 32, -1]), now=self.now, **options,
            )  # fmt: skip


@drawn(max_examples=100)
@given(
    configs, st.sampled_from([0.0, 1e-3, 4321.0987, 1.7e9]), st.integers(0, 1 << 16), st.booleans(),
    st.lists(st.tuples(spans, steps), max_size=80), ends,
)  # fmt: skip
def test_lock_step_whatever_is_said(
    session_twin: Twin,
    config: SessionConfig,
    start: float,
    seed: int,
    met: bool,
    script: list[tuple[float, Any]],
    end: tuple[int, str],
) -> None:
    doing = Script(start, config, random.Random(seed))
    doing.turn(due=False, send=True)
    if met:
        doing.now += 0.1
        doing.hear(wire.Welcome(SESSION_ID, Role.RECEIVER, CODEC, features=15))
    for span, (what, *how) in script:
        doing.now += span
        doing.do(what, *how)
    try:
        doing.session.close(*end, now=doing.now)
    except LocalProtocolError:
        assert not 0 <= end[0] <= 255
    doing.turn(due=True, send=True)
    doing.session.check(session_twin)


def test_no_answer_for_ten_minutes(session_twin: Twin) -> None:
    patient = Recorded(0.0, SessionConfig(handshake_timeout=700.0))
    now: float | None = 0.0
    while now is not None and now < 600:
        patient.handle_timeout(now)
        patient.datagrams_to_send(now)
        now = patient.next_timeout()
    assert patient.packets_sent > 1100
    patient.check(session_twin)


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


def test_what_is_kept_of_a_sample_is_rounded_alike(session_twin: Twin) -> None:
    assert session_twin.ask("kept", count=500) == [0.99**count for count in range(500)]


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
