"""Outbox, trace and rate: order, bounds, names, and no growth without use."""

from __future__ import annotations

import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from transport import Lane, LocalProtocolError, SessionConfig, Trace
from transport.congestion import Arrival, RateController, RttEstimator
from transport.lanes import Item, Outbox

items = st.builds(Item, st.sampled_from(Lane), st.binary(max_size=5), st.floats(0, 10), st.integers(1, 50))


@given(st.lists(items, max_size=40), st.floats(0, 10), st.integers(1, 8))
def test_outbox_is_bounded_in_order_and_never_late(pushed: list[Item], now: float, limit: int) -> None:
    outbox = Outbox(limit)
    taken = [item for item in pushed if outbox.push(item)]
    assert len(outbox) == len(taken) <= 3 * limit
    assert outbox.queued_bytes() == sum(len(item.data) for item in taken)
    expired = outbox.expire(now)
    assert all(item.deadline <= now for item in expired)
    left = []
    while (item := outbox.pop()) is not None:
        left.append(item)
    assert [item.lane for item in left] == sorted(item.lane for item in left)
    assert all(item.deadline > now for item in left)
    assert len(left) + len(expired) == len(taken)


def test_trace_ring_counts_and_writes_lines() -> None:
    sink = io.StringIO()
    trace = Trace(limit=2, sink=sink)
    for index in range(5):
        trace.drop(index, "stale", version=index, raw=b"x")
    assert [event.data["version"] for event in trace.events("drop")] == [3, 4]
    assert (trace.count("drop"), trace.dropped("stale"), trace.drops()) == (5, 5, {"stale": 5})
    assert json.loads(sink.getvalue().splitlines()[0])["reason"] == "stale"


def test_rtt_follows_and_forgets() -> None:
    rtt = RttEstimator()
    for step in range(100):
        rtt.add(0.1, step * 0.1)
    assert (rtt.smoothed, rtt.minimum) == (pytest.approx(0.1), 0.1)
    for step in range(100, 250):
        rtt.add(0.3, step * 0.1)
    assert (rtt.smoothed, rtt.minimum) == (pytest.approx(0.3, rel=0.01), 0.3)
    assert rtt.timeout(SessionConfig()) == pytest.approx(0.5, abs=0.02)


def drive(
    rate: RateController, seconds: float, used: float, lost: int = 0, rtt: float = 0.1, start: float = 0.0
) -> None:
    """Ten packets each 100 ms that use a share of the rate."""
    for step in range(int(seconds * 10)):
        now = start + step * 0.1
        rate.on_sent(int(rate.rate / 80 * used), now)
        rate.on_ack(10 - lost, lost, int(rate.rate / 80 * used * (1 - lost / 10)), Arrival(rtt), now)


def test_rate_grows_only_with_use() -> None:
    idle, busy = RateController(SessionConfig(), 0.0), RateController(SessionConfig(), 0.0)
    drive(idle, 10, used=0.2)
    drive(busy, 10, used=1.0)
    assert idle.rate == SessionConfig().start_rate
    assert busy.rate > 1.2 * SessionConfig().start_rate


def test_rate_falls_with_loss_and_with_a_queue() -> None:
    start = SessionConfig().start_rate
    lossy, queued = RateController(SessionConfig(), 0.0), RateController(SessionConfig(), 0.0)
    for step in range(50):  # a bottleneck without a buffer: what does not fit is lost
        lost = round(10 * max(0.0, 1 - 200_000 / lossy.rate))
        drive(lossy, 0.1, used=1.0, lost=lost, start=step / 10)
    drive(queued, 2, used=0.5)
    drive(queued, 3, used=0.5, rtt=0.5, start=2.0)
    assert 100_000 < lossy.rate < 400_000
    assert queued.rate < 0.5 * start


def test_loss_that_no_lower_rate_changes_is_let_be() -> None:
    radio = RateController(SessionConfig(), 0.0)
    drive(radio, 10, used=1.0, lost=3)
    assert radio.loss == pytest.approx(0.3, abs=0.05)
    assert radio.rate > SessionConfig().start_rate


def test_a_link_that_grows_narrow_and_wide_again_is_followed() -> None:
    rate, backlog, rates = RateController(SessionConfig(start_rate=4_000_000), 0.0), 0.0, []
    for step in range(200):
        now, capacity = step * 0.05, 100_000 if 60 <= step < 120 else 5_000_000
        size = rate.allowance(now, int(backlog))
        rate.on_sent(size, now)
        backlog += size
        delivered = min(backlog, capacity / 8 * 0.05)
        backlog -= delivered
        rate.on_ack(5, 0, int(delivered), Arrival(0.05 + backlog * 8 / capacity, backlog * 8 / capacity), now)
        rates.append(rate.rate)
    assert min(rates[:60]) > 3_000_000
    assert 30_000 < rates[110] < 110_000
    assert rates[180] > 0.9 * 5_000_000


def test_late_acknowledgements_are_no_queue_and_a_queue_from_the_beginning_is_one() -> None:
    late, queued = RateController(SessionConfig(), 0.0), RateController(SessionConfig(), 0.0)
    for step in range(50):
        now, trip = step * 0.1, 0.4 if step % 10 == 5 else 0.05
        late.on_sent(1000, now)
        late.on_ack(1, 0, 1000, Arrival(trip, 7.0), now)  # the way there takes as long as ever
        queued.on_ack(1, 0, 1000, Arrival(0.05) if step < 5 else Arrival(0.25, 7.2), now)
    assert (late.rate, late.queue) == (SessionConfig().start_rate, 0.0)
    assert queued.queue == pytest.approx(0.2)


@given(st.lists(st.tuples(st.floats(0, 0.5), st.integers(0, 1100)), max_size=60))
def test_the_bucket_holds_at_most_200_ms(steps: list[tuple[float, int]]) -> None:
    config = SessionConfig(start_rate=80_000, max_rate=80_000)
    rate = RateController(config, 0.0)
    now, sent = 0.0, 0
    for gap, size in steps:
        now += gap
        assert rate.allowance(now) <= 2000
        if rate.ready_at(now) <= now:
            rate.on_sent(size, now)
            sent += size
    assert sent <= 2000 + 1100 + now * 10_000


def test_configurations_that_make_no_sense() -> None:
    for options in ({"max_packet": 2000}, {"max_in_flight": 64}, {"min_rate": 0}, {"bucket_depth": 1}):
        with pytest.raises(LocalProtocolError):
            SessionConfig(**options)  # type: ignore[arg-type]
