"""Whatever Hypothesis thinks of happens to two sessions; nothing false is ever shown, and they are in step afterwards.

rules:  time, changes of the truth, weather, fates of single packets, paths lost and found, clocks that jump,
        a receiver that begins anew, an application that lags, sets limits, asks for everything
after every rule:  what is shown was sent as that very version, all that is kept is bounded, nobody spins
mend:   clean links and some seconds: equal
"""

from __future__ import annotations

import zlib
from collections import deque
from dataclasses import dataclass, field
from random import Random

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tests.transport.toy import ToyReceiver, ToySender, diff, new_session, patch
from transport import (
    MAX_PACKET,
    CloseCode,
    DeltaReceived,
    Event,
    Lane,
    Link,
    RemoteProtocolError,
    Role,
    Session,
    SessionConfig,
    State,
)
from transport.impair import Gilbert
from transport.wire import pull_packet

WIDE = bytes(240)  # the blank state; a patch of all of it takes eleven packets of the smallest size
FRAME = 0.05
PATIENCE = 30.0  # seconds after which clean links must have brought both ends in step
CALM = 5  # so many quarters of a second in step, for what was still under way
SPINS = 4  # turns at one time; events that a turn makes ask for one more

configs = st.builds(
    lambda sizes, **options: SessionConfig(max_in_flight=sizes[0], history=sizes[1], **options),
    sizes=st.sampled_from([(48, 64), (4, 8)]),
    bases=st.sampled_from(["auto", "assumed", "acknowledged"]),
    parity=st.sampled_from(["auto", "always", "never"]),
    max_packet=st.sampled_from([64, MAX_PACKET]),
    resume_within=st.sampled_from([10.0, 0.0]),
    start_rate=st.sampled_from([500_000.0, 20_000.0]),
)
weathers = st.fixed_dictionaries(
    {
        "seed": st.integers(0, 1 << 16),
        "loss": st.sampled_from([0.0, 0.05, 0.4, 1.0]),
        "duplicate": st.sampled_from([0.0, 0.3]),
        "reorder": st.sampled_from([0.0, 0.3]),
        "delay_s": st.sampled_from([0.01, 0.2]),
        "jitter_s": st.sampled_from([0.0, 0.05]),
        "rate_bps": st.sampled_from([None, 30_000.0]),
        "gilbert": st.sampled_from([None, Gilbert(0.05, 0.3)]),
    }
)
altered = st.tuples(st.integers(0, 40), st.integers(1, 255))  # which byte, and what is flipped in it
fates = st.lists(st.sampled_from(["pass", "lose", "twice", "late"]) | altered, min_size=1, max_size=12)
ways = st.sampled_from(["there", "back"])
frames = st.integers(0, 20)
roles = st.sampled_from(Role)
some = st.sampled_from([[Role.SENDER], [Role.RECEIVER], list(Role)])


class Path:
    """One direction: a packet meets the fate that was decided for it, else what the weather does."""

    def __init__(self) -> None:
        self.fates: deque[str | tuple[int, int]] = deque()
        self.altered = 0
        self.lies = 0  # of those, the ones that can be taken for packets
        self._links = [Link(0, delay_s=0.01)]
        self._late = Link(0, delay_s=0.5)

    def turn(self, weather: Link) -> None:
        """What is under way arrives as it would have."""
        self._links = [link for link in self._links if link.next_time() is not None] + [weather]

    def cut(self) -> None:
        """Nothing of what is under way arrives."""
        self._links, self._late = [Link(0, delay_s=0.01)], Link(0, delay_s=0.5)

    def push(self, data: bytes, now: float) -> None:
        fate = self.fates.popleft() if self.fates else "pass"
        if isinstance(fate, tuple):
            data = self._alter(data, *fate)
        if fate == "late":
            self._late.push(data, now)
        elif fate != "lose":
            for _ in range(1 + (fate == "twice")):
                self._links[-1].push(data, now)

    def _alter(self, data: bytes, place: int, flipped: int) -> bytes:
        out = bytearray(data)
        out[place % len(out)] ^= flipped
        self.altered += 1
        try:
            pull_packet(bytes(out))
        except RemoteProtocolError:
            pass
        else:
            self.lies += 1
        return bytes(out)

    def pop(self, now: float) -> list[bytes]:
        return [data for link in (*self._links, self._late) for data in link.pop(now)]

    def next_time(self) -> float | None:
        times = [time for link in (*self._links, self._late) if (time := link.next_time()) is not None]
        return min(times, default=None)


@dataclass
class Source(ToySender):
    """Sends no more than there is room for: a part of the truth is a state too. Keeps all that it ever sent."""

    told: dict[int, bytes] = field(default_factory=lambda: {0: WIDE})
    latest: float = 0.0  # a deadline that a clock's step back has put into the past would never be met

    def frame(self, now: float) -> int | None:
        session = self.session
        room = session.allowance(now)
        if self.greedy and session.state is State.OPEN and len(session.needed()) < session.config.max_in_flight:
            room = 2 * len(WIDE)
        if not room:
            return None
        self.dirty = False
        base = session.base(now)
        payload = diff(self.states[base], self.truth)[: max(2, min(room, session.max_update) // 2 * 2)]
        if not payload:
            return None
        state = patch(self.states[base], payload)
        late = None if self.deadline is None else self.latest + self.deadline
        version = session.send_delta(
            base=base, payload=payload, capture_ms=int(now * 1000), state_hash=zlib.crc32(state), now=now,
            lane=self.lane, deadline=late,
        )  # fmt: skip
        self.told[version] = self.states[version] = state
        needed = session.needed()
        self.states = {v: s for v, s in self.states.items() if v == 0 or v in needed}
        return version


@dataclass
class Screen(ToyReceiver):
    """Shows only what `told` says, unless bytes were altered on the way; may be slow to look at its events."""

    told: dict[int, bytes] = field(default_factory=dict)
    sure: bool = True
    slow: bool = False
    unread: list[Event] = field(default_factory=list)

    def take(self, events: list[Event], now: float) -> None:
        self.unread += events
        if not self.slow:
            unread, self.unread = self.unread, []
            super().take(unread, now)

    def _on_delta(self, event: DeltaReceived, now: float) -> None:
        try:
            patch(self.states[event.base], event.payload)
        except (IndexError, KeyError, ValueError):  # altered, or built on what was rejected while it waited in `unread`
            assert not self.sure
            self.session.rejected(event.version, "no patch", now)
            return
        super()._on_delta(event, now)
        assert not self.sure or self.told[self.version] == self.shown


class Machine(RuleBasedStateMachine):
    """Two ends, each with its own clock, and a path each way."""

    @initialize(config=configs, seed=st.integers(0, 1 << 16), late=st.sampled_from([0.0, 0.0, 4.0, 20.0]))
    def begin(self, config: SessionConfig, seed: int, late: float) -> None:
        """The receiver may start late: until then nobody hears the greeting."""
        self.config, self.random = config, Random(seed)
        self.now, self.look_at = 0.0, 0.0
        self.skew = dict.fromkeys(Role, 0.0)
        self.there, self.back = Path(), Path()
        self.anew()
        self.deaf_until = late

    def anew(self) -> None:
        """Both ends and the path between them, as if nothing had been."""
        self.latest = dict.fromkeys(Role, 0.0)
        self.said_goodbye = False
        self.behind = 0
        self.deaf_until = self.now
        self.new_path()
        self.source = Source(self.session(Role.SENDER), truth=WIDE, states={0: WIDE})
        self.replace_receiver()

    def session(self, role: Role) -> Session:
        self.latest[role] = self.clock(role)
        return new_session(role, self.clock(role), config=self.config)

    def replace_receiver(self) -> None:
        session = self.session(Role.RECEIVER)
        self.screen = Screen(session, WIDE, states={0: WIDE}, told=self.source.told)

    def new_path(self) -> None:
        for path in (self.there, self.back):
            path.cut()
            path.fates.clear()
            path.lies = path.altered = 0

    def clock(self, role: Role) -> float:
        return self.now + self.skew[role]

    # -- time passes

    def step(self) -> None:
        """Everything that is due at this very time."""
        for data in self.there.pop(self.now):
            if self.now >= self.deaf_until:
                now = self.tick(Role.RECEIVER)
                self.screen.sure = self.screen.sure and not self.there.lies
                self.screen.take(self.screen.session.receive_datagram(data, now), now)
        for data in self.back.pop(self.now):
            self.source.take(self.source.session.receive_datagram(data, self.tick(Role.SENDER)))
        self.turns(Role.SENDER)
        if self.now >= self.deaf_until:
            self.turns(Role.RECEIVER)

    def tick(self, role: Role) -> float:
        self.latest[role] = max(self.latest[role], self.clock(role))
        return self.clock(role)

    def turns(self, role: Role) -> None:
        """Let one end do what is due; then it must be content for now."""
        session = self.session_of(role)
        for _ in range(SPINS):
            self.turn(role, self.tick(role))
            due = session.next_timeout()
            if due is None or due > self.latest[role]:
                return
        raise AssertionError(f"the {role.value} wants to be called again and again at one time")

    def turn(self, role: Role, now: float) -> None:
        if role is Role.SENDER:
            session, path = self.source.session, self.there
            self.source.take(session.handle_timeout(now))
            if self.now >= self.look_at or (self.source.dirty and not self.source.greedy):
                self.look_at, self.source.latest = self.now + FRAME, self.latest[role]
                self.source.frame(now)
            session.path_is_behind(self.behind)
        else:
            session, path = self.screen.session, self.back
            self.screen.take(session.handle_timeout(now), now)
        for _, data in session.datagrams_to_send(now):
            path.push(data, self.now)

    def session_of(self, role: Role) -> Session:
        return self.source.session if role is Role.SENDER else self.screen.session

    def pass_time(self, seconds: float) -> None:
        until = self.now + seconds
        while self.now < until:
            self.step()
            self.now = min(until, max(self.now + 0.001, min(self.dues())))
        self.step()

    def dues(self) -> list[float]:
        sessions = [(role, self.session_of(role).next_timeout()) for role in Role]
        arrivals = [path.next_time() for path in (self.there, self.back)]
        dues = [due - self.skew[role] for role, due in sessions if due is not None]
        return [self.look_at, *dues, *(due for due in arrivals if due is not None)]

    # -- what may happen

    @rule(seconds=st.sampled_from([0.02, 0.3, 1.0, 2.5]))
    def wait(self, seconds: float) -> None:
        self.pass_time(seconds)

    @rule(count=frames, slots=st.sampled_from([1, 4, 40]))
    def film(self, count: int, slots: int = 4) -> None:
        """The truth changes, frame after frame."""
        if any(self.session_of(role).closed for role in Role):
            self.reconnect()
        for _ in range(count):
            self.change(slots)
            self.pass_time(FRAME)

    @rule(slots=st.sampled_from([1, 3, 80, 240]))
    def change(self, slots: int) -> None:
        truth = bytearray(self.source.truth)
        for place in self.random.sample(range(len(truth)), slots):
            truth[place] = self.random.randrange(256)
        self.source.truth = bytes(truth)

    @rule(way=ways, weather=weathers, count=frames)
    def weather_turns(self, way: str, weather: dict[str, object], count: int) -> None:
        self.path(way).turn(Link(**weather))  # type: ignore[arg-type]
        self.film(count)

    @rule(way=ways, decided=fates, count=frames)
    def decide(self, way: str, decided: list[str | tuple[int, int]], count: int) -> None:
        """What happens to the next packets."""
        self.path(way).fates.extend(decided)
        self.film(count)

    def path(self, way: str) -> Path:
        return self.there if way == "there" else self.back

    @precondition(lambda self: self.connected())
    @rule(who=some, count=frames)
    def path_is_lost(self, who: list[Role], count: int) -> None:
        """One end may notice long before the other."""
        self.lose_path(who)
        self.film(count)

    def connected(self) -> bool:
        return all(self.session_of(role).state in (State.OPEN, State.SUSPENDED) for role in Role)

    def lose_path(self, who: list[Role]) -> None:
        for path in (self.there, self.back):
            path.cut()
        for role in who:
            self.lose(role)

    def lose(self, role: Role) -> None:
        now = self.tick(role)
        events = self.session_of(role).path_lost(now)
        if role is Role.SENDER:
            self.source.take(events)
        else:
            self.screen.take(events, now)

    @precondition(connected)
    @rule(count=frames)
    def path_is_found(self, count: int) -> None:
        self.find_path()
        self.film(count)

    def find_path(self) -> None:
        """Both ends are attached to a new path; who has not noticed the old one's end does now."""
        self.lose_path(list(Role))
        for role in Role:
            self.session_of(role).path_found(self.tick(role))

    @precondition(connected)
    @rule(count=frames)
    def receiver_begins_anew(self, count: int) -> None:
        """It forgot everything, and with it the path."""
        self.lose_path([Role.SENDER])
        self.replace_receiver()
        self.source.session.path_found(self.tick(Role.SENDER))
        self.film(count)

    @rule(who=some, seconds=st.sampled_from([0.4, 5.0, 14.0, 40.0]))
    def clock_jumps(self, who: list[Role], seconds: float) -> None:
        for role in who:
            self.skew[role] += seconds

    @rule(role=roles, seconds=st.sampled_from([0.001, 0.1, 0.7]), count=frames)
    def clock_steps_back(self, role: Role, seconds: float, count: int) -> None:
        self.skew[role] -= seconds
        self.film(count)

    @rule(slow=st.booleans(), count=frames)
    def application_lags(self, slow: bool, count: int) -> None:
        self.screen.slow = slow
        self.screen.take([], self.tick(Role.RECEIVER))
        self.film(count)

    @rule(greedy=st.booleans(), lane=st.sampled_from([Lane.DELTA, Lane.ANCHOR]), deadline=st.sampled_from([None, 0.02]))
    def sending_application_is(self, greedy: bool, lane: Lane, deadline: float | None) -> None:
        self.source.greedy, self.source.lane, self.source.deadline = greedy, lane, deadline

    @rule(buffered=st.sampled_from([0, 5_000, 100_000]), count=frames)
    def path_is_behind(self, buffered: int, count: int) -> None:
        self.behind = buffered
        self.film(count)

    @precondition(lambda self: self.screen.session.state is not State.LISTENING)
    @rule(rate=st.sampled_from([None, 0.0, 2_000.0, 50_000.0]), count=frames)
    def limit(self, rate: float | None, count: int) -> None:
        self.screen.session.limit(rate)
        self.film(count)

    @precondition(lambda self: self.screen.session.state is not State.LISTENING)
    @rule(count=frames)
    def refresh(self, count: int) -> None:
        self.screen.session.request_refresh("asked for", self.tick(Role.RECEIVER))
        self.film(count)

    @precondition(lambda self: self.screen.session.state is not State.LISTENING)
    @rule(count=st.integers(1, 3))
    def feedback(self, count: int) -> None:
        for number in range(count):
            self.screen.session.send_feedback({"n": number}, self.tick(Role.RECEIVER))

    @precondition(connected)
    @rule(role=roles)
    def goodbye(self, role: Role) -> None:
        self.said_goodbye = True
        self.session_of(role).close(CloseCode.NORMAL, "enough", self.tick(role))

    # -- what must hold

    @invariant()
    def all_is_bounded(self) -> None:
        for session in (self.source.session, self.screen.session):
            assert session.queued_bytes <= len(Lane) * self.config.outbox_limit * MAX_PACKET
        assert len(self.source.session.needed()) <= self.config.max_in_flight + 1
        assert len(self.source.states) <= self.config.max_in_flight + 2
        assert len(self.screen.session._receiver._pieces._puzzles) <= 8, "nothing public tells what is incomplete"

    @invariant()
    def nobody_ends_without_a_reason(self) -> None:
        allowed = {CloseCode.DEAD_PEER, CloseCode.HANDSHAKE_TIMEOUT, CloseCode.LINK_LOST}
        if self.said_goodbye:
            allowed.add(CloseCode.NORMAL)
        for session in (self.source.session, self.screen.session):
            if session.closed is not None and not (self.there.altered or self.back.altered):
                assert session.closed.code in allowed

    @rule()
    def mend(self) -> None:
        """All that was bad ends; applications that were left alone begin anew, and soon all is equal."""
        self.screen.slow = False
        self.screen.take([], self.tick(Role.RECEIVER))
        self.source.greedy, self.source.lane, self.source.deadline = False, Lane.DELTA, None
        self.behind, self.deaf_until = 0, self.now
        for path in (self.there, self.back):
            path.fates.clear()
            path.turn(Link(0, delay_s=0.02))
        if self.there.lies or self.back.lies:
            self.anew()  # who takes altered bytes for packets was promised nothing
        if self.screen.session.state is not State.LISTENING:
            self.screen.session.limit(None)
        calm, patience, reconnected = 0, PATIENCE, 0
        while calm < CALM:
            self.pass_time(0.25)
            calm, patience = calm + 1 if self.in_step() else 0, patience - 0.25
            if self.reconnect():
                calm, patience, reconnected = 0, PATIENCE, reconnected + 1
            assert patience > 0
            assert reconnected <= 3

    def reconnect(self) -> bool:
        """What an application does about a path that is gone, and about a session that is over."""
        states = {self.session_of(role).state for role in Role}
        if State.CLOSED in states:
            truth = self.source.truth
            self.anew()
            self.source.truth = truth
        elif State.SUSPENDED in states:
            self.find_path()
        return bool(states & {State.CLOSED, State.SUSPENDED})

    def in_step(self) -> bool:
        return self.source.truth == self.screen.shown

    def teardown(self) -> None:
        if hasattr(self, "screen"):
            self.mend()


Machine.TestCase.settings = settings(max_examples=120, stateful_step_count=40)
TestMachine = pytest.mark.slow(Machine.TestCase)
