"""The rate in another language: congestion.js under Node computes what Python's computes, to the last bit."""

from __future__ import annotations

from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from tests.vidtok.sessions import drawn
from tests.vidtok.twin import Twin
from transport import SessionConfig
from transport.congestion import Arrival, RateController

arrivals = st.builds(
    Arrival,
    st.none() | st.sampled_from([0.02, 0.05, 0.05, 0.3]) | st.floats(0, 1),
    st.none() | st.sampled_from([5.0, 5.0, 5.01, 5.3, 6.0]) | st.floats(0, 10),
)
counts = st.sampled_from([0, 0, 0, 1, 5, 12])
told_of_rates = st.one_of(
    st.tuples(st.just("on_ack"), counts, counts, st.sampled_from([0, 1100, 20_000]), arrivals),
    st.tuples(st.just("on_ack"), st.just(12), st.just(0), st.just(20_000), st.just(Arrival(0.05, 5.0))),
    st.tuples(st.just("on_ack"), st.just(10), st.sampled_from([1, 3, 5]), st.just(9_000), st.just(Arrival(0.05))),
    st.tuples(st.just("on_sent"), st.sampled_from([100, 10_000, 80_000])),
    st.tuples(st.just("on_timeout"), st.booleans()),
    st.tuples(st.just("limit"), st.sampled_from([None, 0.0, 30_000.0])),
)
rate_settings = st.fixed_dictionaries(
    {"start_rate": st.sampled_from([20_000.0, 500_000.0]), "max_packet": st.sampled_from([64, 1100])}
)


FELL_SILENT = [(0.12, [("on_sent", 5000), ("on_ack", 12, 0, 8000, Arrival(0.05, 5.0))], 12),
               (3.2, [("on_ack", 1, 0, 100, Arrival())], 1), (0.12, [("on_timeout", False)], 1)]  # fmt: skip
LOST_LESS = [
    (0.12, [("on_ack", 6, 6, 40_000, Arrival(0.05))], 1),
    (0.12, [("on_ack", 10, 3, 40_000, Arrival(0.05))], 6),
]
QUEUED = [
    (0.12, [("on_ack", 12, 0, 2000, Arrival(None, 5.0))], 2),
    (0.12, [("on_ack", 12, 0, 2000, Arrival(None, 5.2))], 4),
]

CLEARED = [(0.12, [("on_sent", 5000), ("on_ack", 12 - lost, lost, 40_000, Arrival(0.05))], times)
           for lost, times in ((6, 6), (0, 14), (4, 6))]  # fmt: skip


@drawn(max_examples=60)
@example({}, CLEARED)
@example({}, FELL_SILENT)
@example({}, LOST_LESS)
@example({}, QUEUED)
@given(
    rate_settings,
    st.lists(
        st.tuples(
            st.sampled_from([0.0, 0.03, 0.06, 0.12, 0.12, 0.6, 3.5]),
            st.lists(told_of_rates, min_size=1, max_size=3),
            st.sampled_from([1, 1, 4, 12]),
        ),
        min_size=1,
        max_size=14,
    ),
)
def test_rates_agree(session_twin: Twin, chosen: dict[str, float], script: list[tuple[float, Any, int]]) -> None:
    now, rate = 2.0, RateController(SessionConfig(**chosen), 2.0)  # type: ignore[arg-type]
    calls, mine = [], []
    for span, (what, *told) in ((span, each) for span, acts, times in script for each in acts * times):
        now += span
        if what == "limit":
            rate.limit = told[0]
        elif what == "on_timeout":
            rate.on_timeout(now, again=told[0])
        else:
            getattr(rate, what)(*told, now)
        calls.append([what, *(vars(each) if isinstance(each, Arrival) else each for each in told), now])
        mine.append([
            rate.rate, rate.why, rate.loss, rate.queue, rate.rtt.smoothed, rate.rtt.minimum, rate.standing(),
            rate.allowance(now, 500), rate.window(), rate.ready_at(now), rate.eager(now), rate.delivered(now),
        ])  # fmt: skip
    assert session_twin.ask("rates", config=chosen, calls=calls) == mine


def test_what_is_kept_of_a_sample_is_rounded_alike(session_twin: Twin) -> None:
    assert session_twin.ask("kept", count=500) == [0.99**count for count in range(500)]
