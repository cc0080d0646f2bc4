"""The session in another language, alone: told anything at any time, both twins do the same."""

from __future__ import annotations

import random
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.transport.test_wire import GOLDEN as PACKETS
from tests.transport.toy import CODEC, SESSION_ID
from tests.vidtok.sessions import Recorded, configs, drawn, of_a_map, wrong
from tests.vidtok.twin import Twin, damaged
from transport import ConnectionClosed, Lane, LocalProtocolError, Role, SessionConfig, wire

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
limits = st.sampled_from(
    [0, 0.0, 1, 5e-324, 9_999.5, 1 << 60, 1e308, float("inf"), float("nan"), -1, True, "many", [], None]
)
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
    st.tuples(
        st.just("path"), st.sampled_from(["lost", "found", "behind", "behind"]), st.sampled_from([0, 2000, 9000])
    ),
)
ends = st.tuples(st.integers(-1, 256), st.text(max_size=300))


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
        options = (
            {"lane": choice} if (choice := choose([Lane.DELTA, Lane.DELTA, Lane.ANCHOR, Lane.CONTROL, None])) else {}
        )
        if choose([True, False, False]):
            options["deadline"] = self.now + choose([-1.0, 0.0, 0.05, 3.0])
        with suppress(LocalProtocolError, ConnectionClosed):  # both twins' own words are compared
            self.session.send_delta(
                base=base, payload=self.rng.randbytes(size), capture_ms=choose([0, int(self.now * 1000), 1 << 40]),
                state_hash=choose([None, 0, 77, 0xFFFFFFFF, 1 << 32, -1]), now=self.now, **options,
            )  # fmt: skip


@drawn(max_examples=80)
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


# -- what chance would seldom bring about


class Tale(Script):
    """A script that is written, not drawn."""

    def __init__(self, **config: Any) -> None:
        super().__init__(0.0, SessionConfig(**config), random.Random(1))
        self.turn(due=False, send=True)

    def meet(self, after: float = 0.1) -> None:
        self.now += after
        self.hear(wire.Welcome(SESSION_ID, Role.RECEIVER, CODEC, features=15))

    def tell(self, size: int = 9, **options: Any) -> int:
        """Send one version and see what leaves."""
        base = options.pop("base", None)
        version: int = self.session.send_delta(
            base=self.session.base(self.now) if base is None else base,
            payload=self.rng.randbytes(size), capture_ms=3, state_hash=5, now=self.now, **options,
        )  # fmt: skip
        self.session.datagrams_to_send(self.now)
        self.session.base(self.now)
        return version

    def look(self, after: float) -> None:
        """Time passes, and whatever is due is done."""
        end = self.now + after
        while (at := self.session.next_timeout()) is not None and at <= end:
            self.now = max(self.now + 1e-6, at)
            self.turn(due=False, send=True)
        self.now = end


def half_a_bitmap(tale: Tale) -> None:
    tale.meet()
    for _ in range(40):
        tale.tell()
    tale.hear(wire.Ack(applied=33, newest=33, received=1 << 31))
    tale.look(0.1)
    tale.hear(wire.Ack(applied=33, newest=40, received=3))


def three_lost_at_once(tale: Tale) -> None:
    tale.meet(after=0.4)
    for lost in (3, 0, 2, 1, 5, 0):
        first = tale.tell()
        newest = [tale.tell() for _ in range(9)][-1]
        tale.now += 0.4
        tale.hear(wire.Ack(applied=first + lost, newest=newest, received=(1 << (9 - lost)) - 1))
        tale.tell()
        tale.look(0.3)


def slowly_bold_again(tale: Tale) -> None:
    tale.meet()
    newest = [tale.tell() for _ in range(20)][-1]
    tale.hear(wire.Ack(applied=None, newest=newest, received=0x1FF))
    for _ in range(230):
        tale.now += 0.05
        version = tale.tell()
        tale.hear(wire.Ack(applied=version, newest=version, received=wire.ALL_ARRIVED))


def spare_but_late(tale: Tale) -> None:
    tale.meet()
    tale.tell(500)
    tale.look(0.5)
    tale.tell(100, deadline=tale.now + 5)
    tale.look(6.0)


def built_on_what_expired(tale: Tale) -> None:
    tale.meet()
    tale.tell(500)
    for deadline in (9.0, 0.3, 9.0, 9.0):
        tale.tell(20, deadline=tale.now + deadline)
    tale.look(0.31)
    tale.tell(20, lane=Lane.ANCHOR, base=0)
    tale.look(3.0)


def a_receiver_that_began_anew(tale: Tale) -> None:
    tale.meet()
    tale.hear(wire.Feedback(7, {"~rate": 0, "detail": [1]}))
    tale.hear(wire.RefreshRequest(7, "old"))
    tale.tell()
    for resumed in (True, False):
        tale.session.path_lost(tale.now, "the cable")
        tale.look(0.5)
        tale.session.path_found(tale.now)
        tale.look(0.5)
        tale.hear(wire.Welcome(SESSION_ID, Role.RECEIVER, CODEC, features=15, resumed=resumed))
        for packet in (wire.Feedback(0, {"detail": [2]}), wire.RefreshRequest(1, "new")):
            tale.hear(packet)
        tale.session.allowance(tale.now)
        tale.tell()


def pieces_of_every_size(tale: Tale) -> None:
    tale.meet()
    for size in (0, 1, 46, 47, 48, 52, 53, 94, 95, 400, tale.session.max_update, tale.session.max_update + 1):
        with suppress(LocalProtocolError):
            tale.tell(size)
        tale.look(3.0)
        newest = tale.session.next_version - 1
        tale.hear(wire.Ack(applied=newest, newest=newest, received=wire.ALL_ARRIVED))


def silence(tale: Tale) -> None:
    tale.meet()
    tale.tell()
    tale.look(40.0)


def silence_and_too_late(tale: Tale) -> None:
    silence(tale)
    tale.session.path_found(tale.now)
    tale.look(40.0)
    tale.meet()


def under_way_at_time_zero(tale: Tale) -> None:
    tale.meet(after=0.0)
    tale.tell()
    tale.tell()
    tale.now = 0.02
    tale.hear(wire.Ack(applied=1, newest=1))
    tale.now = 0.9
    tale.session.base(tale.now)
    tale.look(20.0)


def bad_packets(tale: Tale) -> None:
    tale.meet()
    for number in range(60):
        tale.hear(b"" if number % 2 else b"\x13\x40")
        tale.hear(b"\x1f" + bytes(number))


@pytest.mark.parametrize(
    ("tale", "config"),
    [
        (half_a_bitmap, {}),
        (three_lost_at_once, {}),
        (slowly_bold_again, {}),
        (spare_but_late, {"start_rate": 2000.0, "parity": "always"}),
        (built_on_what_expired, {"start_rate": 2000.0}),
        (a_receiver_that_began_anew, {"resume_within": 10.0}),
        (pieces_of_every_size, {"max_packet": 64}),
        (pieces_of_every_size, {"max_packet": 64, "parity": "always"}),
        (silence, {}),
        (silence, {"resume_within": 10.0}),
        (silence_and_too_late, {"resume_within": 50.0}),
        (under_way_at_time_zero, {}),
        (bad_packets, {}),
    ],
)
def test_lock_step_in_what_is_rare(session_twin: Twin, tale: Callable[[Tale], None], config: dict[str, Any]) -> None:
    told = Tale(**config)
    tale(told)
    told.session.check(session_twin)


def test_no_answer_for_ten_minutes(session_twin: Twin) -> None:
    patient = Recorded(0.0, SessionConfig(handshake_timeout=700.0))
    now: float | None = 0.0
    while now is not None and now < 600:
        patient.handle_timeout(now)
        patient.datagrams_to_send(now)
        now = patient.next_timeout()
    assert patient.packets_sent > 1100
    patient.check(session_twin)
