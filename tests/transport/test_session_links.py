"""Two sessions over bad links in virtual time: laws 2 and 5, idling, the dead."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.transport.healing import HealingLink
from tests.transport.toy import BLANK, World
from transport import (
    MAX_PACKET,
    CloseCode,
    Closed,
    Lane,
    Link,
    Refresh,
    SessionConfig,
    State,
)
from transport.impair import Gilbert
from transport.wire import (
    Delta,
    pull_packet,
)

HEALED = 10.0


links = st.fixed_dictionaries(
    {
        "seed": st.integers(0, 1 << 16),
        "loss": st.sampled_from([0.0, 0.05, 0.3, 0.6]),
        "duplicate": st.sampled_from([0.0, 0.2]),
        "reorder": st.sampled_from([0.0, 0.1, 0.4]),
        "delay_s": st.sampled_from([0.0, 0.03, 0.3]),
        "jitter_s": st.sampled_from([0.0, 0.02]),
        "rate_bps": st.sampled_from([None, 40_000.0, 1_000_000.0]),
        "outages": st.lists(st.tuples(st.floats(0, 5), st.floats(5, HEALED)), max_size=1),
        "gilbert": st.sampled_from([None, Gilbert(0.05, 0.3)]),
    }
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(links, links, st.integers(0, 1 << 16), st.sampled_from([0.02, 0.1]))
def test_law_2_always_a_state_that_was_sent_and_equal_soon_after_healing(
    there: dict[str, object], back: dict[str, object], seed: int, frame: float
) -> None:
    world = World(HealingLink(HEALED, **there), HealingLink(HEALED, **back), seed=seed)
    world.run(HEALED - 1.0, frame=frame, change=0.7)
    world.mutate()
    world.sender.dirty = True  # one look at the last truth; from here on only events make it look again
    world.run(HEALED + 5.0, frame=None)
    assert world.in_step()
    assert set(world.receiver.history) <= world.sender.ever
    checked = world.receiver.checked
    world.run(HEALED + 8.0, frame=None)
    assert world.receiver.checked > checked, "a hash on the wire proves it"
    assert not [event for event in world.sender.seen if isinstance(event, Closed | Refresh)]


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    links,
    st.integers(0, 1 << 16),
    st.sampled_from([0.05, 0.3]),
    st.sampled_from([Lane.DELTA, Lane.ANCHOR]),
    st.booleans(),
)
def test_law_5_nothing_leaves_past_its_deadline_and_buffers_are_bounded(
    there: dict[str, object], seed: int, deadline: float, lane: Lane, greedy: bool
) -> None:
    config = SessionConfig(min_rate=8_000, start_rate=8_000, max_rate=8_000)
    world = World(Link(**there), Link(seed=seed), config=config, seed=seed)  # type: ignore[arg-type]
    world.sender.deadline, world.sender.lane, world.sender.greedy = deadline, lane, greedy
    longest = 0
    for step in range(1, 200):
        world.run(step * 0.02, frame=0.004, change=1.0)
        longest = max(longest, world.sender.session.queued_bytes)
        assert len(world.sender.states) <= config.max_in_flight + 2
    bucket = 2 * config.max_rate / 8 * config.bucket_depth + MAX_PACKET
    assert longest <= (config.outbox_limit * MAX_PACKET if greedy else bucket)
    captured = {}
    for now, _, data in world.sent_log:
        packet = pull_packet(data)
        if isinstance(packet, Delta):
            captured[packet.version] = now - packet.capture_ms / 1000
    assert all(age <= deadline + 0.001 for age in captured.values())


def test_law_5_is_put_to_the_test_by_who_ignores_the_allowance() -> None:
    config = SessionConfig(min_rate=8_000, start_rate=8_000, max_rate=8_000)
    world = World(Link(0), Link(0), config=config)
    world.sender.greedy, world.sender.deadline = True, 0.05
    world.run(4.0, frame=0.004, change=1.0)
    assert world.sender.session.trace.dropped("past-deadline") > 20


def test_a_wrong_picture_is_found_by_heartbeat_and_healed() -> None:
    world = World(Link(1, delay_s=0.02), Link(2, delay_s=0.02))
    world.run(1.0, change=1.0)
    world.receiver.shown = b"\x07" * len(BLANK)  # a bug on the receiver
    world.run(4.0)
    assert world.in_step()
    assert any(isinstance(event, Refresh) for event in world.sender.seen)


def test_a_still_state_costs_almost_nothing() -> None:
    world = World(Link(1, delay_s=0.05), Link(2, delay_s=0.05))
    world.run(5.0, change=0.5)
    sender, receiver = world.sender.session, world.receiver.session
    before = sender.bytes_sent + receiver.bytes_sent
    world.run(65.0)
    kbps = (sender.bytes_sent + receiver.bytes_sent - before) * 8 / 60 / 1000
    assert kbps < 0.3
    assert not sender.closed
    assert not receiver.closed


def test_a_dead_peer_is_noticed_on_both_sides() -> None:
    world = World(Link(1, outages=[(2.0, 100.0)]), Link(2, outages=[(2.0, 100.0)]))
    world.run(30.0, change=0.5)
    for seen in (world.sender.seen, world.receiver.seen):
        assert isinstance(seen[-1], Closed)
        assert seen[-1].code == CloseCode.DEAD_PEER


def test_capture_times_survive_a_long_stillness() -> None:
    world = World(Link(1), Link(2))
    world.run(1.0, change=1.0)
    world.run(200.0)
    world.mutate()
    world.run(201.0)
    last = [event for event in world.receiver.seen if hasattr(event, "capture_ms")][-1]
    assert 199_900 <= last.capture_ms <= 200_100  # type: ignore[union-attr]


@pytest.mark.parametrize("rate", [0, 10])
def test_who_takes_nothing_is_not_dead(rate: float) -> None:
    world = World(Link(1, delay_s=0.02), Link(2, delay_s=0.02))
    world.run(2.0, change=1.0)
    world.receiver.session.limit(rate)
    world.run(60.0, change=1.0)
    assert world.sender.session.state is world.receiver.session.state is State.OPEN
    world.receiver.session.limit(None)
    world.run(62.0)
    assert world.in_step()
