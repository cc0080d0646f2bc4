"""The bad network is deterministic, bounded and does what its numbers say."""

from __future__ import annotations

import doctest
from collections.abc import Sequence
from fractions import Fraction
from itertools import accumulate, pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from transport import LocalProtocolError, impair
from transport.impair import PROFILES, Gilbert, Link, Route, profile, read_mahimahi


def run(link: Link, count: int = 400, size: int = 100, gap: float = 0.01) -> list[tuple[float, int]]:
    for index in range(count):
        link.push(index.to_bytes(4, "big") + bytes(size - 4), index * gap)
    out = []
    while (now := link.next_time()) is not None:
        out += [(now, int.from_bytes(data[:4], "big")) for data in link.pop(now)]
    return out


@given(st.integers(0, 1000))
def test_the_same_seed_gives_the_same_fate(seed: int) -> None:
    def make() -> Link:
        return Link(seed, loss=0.2, duplicate=0.1, reorder=0.1, delay_s=0.02, jitter_s=0.01)

    assert run(make(), 50) == run(make(), 50)


def test_a_clean_link_only_delays() -> None:
    assert run(Link(1, delay_s=0.5), 5) == [(pytest.approx(0.5 + i * 0.01), i) for i in range(5)]


def test_loss_duplication_and_bursts_come_as_asked() -> None:
    lossy = Link(1, loss=0.3)
    run(lossy, 4000)
    assert lossy.drops["loss"] == pytest.approx(1200, rel=0.1)
    assert len(run(Link(1, duplicate=0.25), 4000)) == pytest.approx(5000, rel=0.05)
    bursty = Link(1, gilbert=Gilbert(to_bad=0.05, to_good=0.2))
    arrived = [index for _, index in run(bursty, 4000)]
    assert bursty.drops["loss"] == pytest.approx(800, rel=0.25)
    assert max(b - a for a, b in pairwise(arrived)) > 8


def test_jitter_alone_keeps_the_order_and_reorder_does_not() -> None:
    jittery = [index for _, index in run(Link(1, jitter_s=0.1))]
    assert jittery == sorted(jittery)
    shuffled = [index for _, index in run(Link(1, reorder=0.1, delay_s=0.1))]
    assert shuffled != sorted(shuffled)
    assert sorted(shuffled) == jittery


def test_rate_and_queue_are_finite_and_drops_are_counted() -> None:
    link = Link(1, rate_bps=8000, queue_bytes=1000)  # ten packets a second, ten in the queue
    arrived = run(link, 400, gap=0.01)
    assert link.drops["queue-full"] == 400 - len(arrived)
    assert len(arrived) == pytest.approx(50, abs=2)
    assert max(now - index * 0.01 for now, index in arrived) <= 1.01


def test_outages_swallow_all() -> None:
    link = Link(1, outages=[(1.0, 2.0)])
    assert {index for _, index in run(link, 300)} == set(range(100)) | set(range(200, 300))
    assert link.drops["outage"] == 100


def test_a_mahimahi_trace_paces_and_repeats(tmp_path: Path) -> None:
    path = tmp_path / "trace"
    path.write_text("# two chances each 100 ms\n50\n100\n")
    link = Link(1, trace_ms=read_mahimahi(path))
    times = [now for now, _ in run(link, 6, size=1500, gap=0.0)]
    assert times == pytest.approx([0.05, 0.1, 0.15, 0.2, 0.25, 0.3])


def test_small_packets_share_a_chance() -> None:
    times = [now for now, _ in run(Link(1, trace_ms=[50, 100]), 6, size=500, gap=0.0)]
    assert times == pytest.approx([0.05, 0.05, 0.05, 0.1, 0.1, 0.1])


@pytest.mark.parametrize("text", ["", "abc", "5\n3\n", "-1", "0\n"])
def test_bad_traces_are_named(tmp_path: Path, text: str) -> None:
    path = tmp_path / "trace"
    path.write_text(text)
    with pytest.raises(LocalProtocolError, match="trace"):
        read_mahimahi(path)


def test_bad_numbers() -> None:
    for options in ({"rate_bps": 0}, {"trace_ms": []}, {"trace_ms": [3, 1]}):
        with pytest.raises(LocalProtocolError):
            Link(1, **options)  # type: ignore[arg-type]


def test_the_example_of_the_module_runs() -> None:
    results = doctest.testmod(impair)
    assert results.attempted > 5
    assert results.failed == 0


# Rates, losses, delays and jitters over time

SECONDS = st.integers(1, 12).map(lambda quarters: quarters / 4)
RATES = st.lists(st.tuples(SECONDS, st.integers(0, 4000)), min_size=1, max_size=6)
PUSHES = st.lists(st.tuples(st.integers(0, 20).map(lambda quarters: quarters / 4), st.integers(0, 1500)), max_size=20)


def rising(rows: Sequence[tuple[float, int]]) -> list[tuple[float, float]]:
    """Rows whose times are the sums of the gaps before them."""
    times = [0.0, *accumulate(gap for gap, _ in rows[1:])]
    return [(time, float(rate)) for time, (_, rate) in zip(times, rows, strict=True)]


def by_walking(rates: Sequence[tuple[float, float]], pushes: Sequence[tuple[float, int]]) -> list[float]:
    """When packets leave a queue, one step at a time and in exact numbers."""
    times = [Fraction(time) for time, _ in rates]
    period = times[-1] + (times[-1] - times[-2] if len(times) > 1 else 1)
    left, out = Fraction(0), []
    for now, size in pushes:
        left, bits = max(left, Fraction(now)), Fraction(size * 8)
        while bits:
            rest = left % period
            place = sum(time <= rest for time in times) - 1
            rate = Fraction(rates[place][1])
            stretch = ([*times, period][place + 1]) - rest
            passing = min(bits, rate * stretch)
            left += passing / rate if passing == bits else stretch
            bits -= passing
        out.append(float(left))
    return out


@given(RATES.filter(lambda rows: any(rate for _, rate in rows)), PUSHES)
def test_rates_over_time_pass_every_bit_at_its_rate(
    rows: list[tuple[float, int]], gaps: list[tuple[float, int]]
) -> None:
    rates, times = rising(rows), list(accumulate(gap for gap, _ in gaps))
    pushes = [(time, size) for time, (_, size) in zip(times, gaps, strict=True)]
    link = Link(1, rates=rates, queue_bytes=10**9)
    for time, size in pushes:
        link.push(bytes(size), time)
    got = []
    while (due := link.next_time()) is not None:
        got += [due] * len(link.pop(due))
    assert got == pytest.approx(by_walking(rates, pushes), abs=1e-9)


def test_rates_repeat_after_the_last_rows_own_stretch() -> None:
    link = Link(1, rates=[(0.0, 8000.0), (1.0, 0.0), (2.0, 16000.0)])  # 3,000 bytes in 3 s
    times = [now for now, _ in run(link, 8, size=1000, gap=0.0)]
    assert times == [1.0, 2.5, 3.0, 4.0, 5.5, 6.0, 7.0, 8.5]


def test_ends_of_steps_are_hit_exactly_whatever_the_sum_of_many_packets() -> None:
    link = Link(1, rates=[(0.0, 8000.0), (1.0, 0.0), (10.0, 8000.0), (11.0, 0.0)])
    times = [now for now, _ in run(link, 10, size=100, gap=0.0)]
    assert times[-1] == 1.0


def test_one_row_holds_for_ever_and_the_first_from_the_start() -> None:
    assert [now for now, _ in run(Link(1, rates=[(5.0, 8000.0)]), 3, size=1000, gap=0.0)] == [1.0, 2.0, 3.0]
    late = Link(1, rates=[(1.0, 8000.0), (2.0, 16000.0)])
    assert [now for now, _ in run(late, 5, size=1000, gap=0.0)] == [1.0, 2.0, 2.5, 3.0, 4.0]


def test_at_a_rate_of_nothing_the_queue_fills_and_nothing_arrives() -> None:
    link = Link(1, rates=[(0.0, 0.0), (1.0, 0.0)], queue_bytes=1000)
    assert run(link, 400) == []
    assert link.queued_bytes(1e9) == 1000
    assert dict(link.drops) == {"queue-full": 390}


def test_a_long_outage_of_rate_costs_no_time_to_compute() -> None:
    link = Link(1, rates=[(0.0, 1e-6), (1e-3, 0.0)])
    link.push(bytes(1000), 0.0)
    assert link.next_time() == pytest.approx(8000 / 1e-9 * 2e-3, rel=1e-6)


def test_losses_over_time_come_on_top() -> None:
    link = Link(1, losses=[(0.0, 0.0), (1.0, 1.0)])
    assert {index for _, index in run(link, 400)} == set(range(100)) | set(range(200, 300))
    assert link.drops["loss"] == 200
    both = Link(1, loss=0.5, losses=[(0.0, 0.5)])
    run(both, 4000)
    assert both.drops["loss"] == pytest.approx(3000, rel=0.05)


def test_delays_and_jitters_over_time_come_on_top() -> None:
    moved = Link(1, delay_s=0.1, delays=[(0.0, 0.0), (1.0, 0.5)])
    assert [now - index * 0.01 for now, index in run(moved, 200)] == pytest.approx([0.1] * 100 + [0.6] * 100)
    shaken = [now - index * 0.1 for now, index in run(Link(1, jitters=[(0.0, 0.0), (10.0, 0.09)]), 200, gap=0.1)]
    assert shaken[:100] == pytest.approx([0.0] * 100)
    assert 0.08 < max(shaken) < 0.09


def test_what_holds_over_time_does_not_change_other_fates() -> None:
    def lost(**options: object) -> set[int]:
        link = Link(7, loss=0.2, duplicate=0.1, reorder=0.1, jitter_s=0.01, **options)  # type: ignore[arg-type]
        return set(range(400)) - {index for _, index in run(link)}

    assert lost() == lost(rates=[(0.0, 1e6)]) == lost(delays=[(0.0, 0.1)], jitters=[(0.0, 0.1)], losses=[(0.0, 0.0)])


NAN, INFINITY = float("nan"), float("inf")
BAD_TIMES = ([], [(1.0, 1.0), (1.0, 2.0)], [(2.0, 1.0), (1.0, 1.0)], [(-1.0, 1.0)], [(NAN, 1.0)], [(INFINITY, 1.0)])
BAD_VALUES = ([(0.0, -1.0)], [(0.0, NAN)], [(0.0, INFINITY)])


@pytest.mark.parametrize("rows", [*BAD_TIMES, *BAD_VALUES])
@pytest.mark.parametrize("name", ["rates", "losses", "delays", "jitters"])
def test_rows_that_make_no_sense(name: str, rows: list[tuple[float, float]]) -> None:
    with pytest.raises(LocalProtocolError, match=name):
        Link(1, **{name: rows})  # type: ignore[arg-type]


def test_chances_above_one_and_two_bottlenecks_are_refused() -> None:
    with pytest.raises(LocalProtocolError, match=r"losses: .* at most 1"):
        Link(1, losses=[(0.0, 1.5)])
    for other in ({"rate_bps": 1e6}, {"trace_ms": [1]}):
        with pytest.raises(LocalProtocolError, match="one bottleneck"):
            Link(1, rates=[(0.0, 1e6)], **other)


# Links one behind the other


def radio_and_backbone(seed: int) -> Route:
    radio = Link(seed, loss=0.1, duplicate=0.1, jitter_s=0.02, rates=[(0.0, 4e5), (0.5, 0.0), (0.7, 2e5)])
    return Route([radio, Link(seed + 1, delay_s=0.03, reorder=0.1, rate_bps=1.5e5, queue_bytes=5000)])


def all_of(route: Route | Link, pushes: Sequence[tuple[float, bytes]], polls: Sequence[float]) -> list[bytes]:
    """What arrives when it is asked for at `polls`, too."""
    out, asked = [], sorted(polls)
    for now, data in pushes:
        while asked and asked[0] < now:
            out += route.pop(asked.pop(0))
        route.push(data, now)
    while (due := route.next_time()) is not None:
        out += route.pop(due)
    return out


@given(st.integers(0, 1000), st.lists(st.floats(0, 2), max_size=30))
def test_how_often_a_route_is_asked_changes_nothing(seed: int, polls: list[float]) -> None:
    pushes = [(index * 0.01, bytes([index]) * 300) for index in range(150)]
    seldom, often = radio_and_backbone(seed), radio_and_backbone(seed)
    arrived = all_of(seldom, pushes, [])
    assert all_of(often, pushes, polls) == arrived
    assert seldom.drops == often.drops
    assert seldom.drops["loss"] > 0
    assert seldom.drops["queue-full"] > 0
    assert (seldom.pushed, seldom.delivered, seldom.queued_bytes(1e6)) == (150, len(arrived), 0)


def test_a_route_is_its_links_by_hand() -> None:
    first, second = Link(3, loss=0.2, delay_s=0.1, jitter_s=0.05), Link(4, loss=0.1, rate_bps=1e5)
    route = Route([Link(3, loss=0.2, delay_s=0.1, jitter_s=0.05), Link(4, loss=0.1, rate_bps=1e5)])
    pushes = [(index * 0.01, bytes([index]) * 100) for index in range(200)]
    for now, data in pushes:
        first.push(data, now)
    while (due := first.next_time()) is not None:
        for data in first.pop(due):
            second.push(data, due)
    assert all_of(route, pushes, []) == all_of(second, [], [])
    assert route.drops == first.drops + second.drops


def test_delays_add_up_and_routes_stand_in_routes() -> None:
    inner = Route([Link(1, delay_s=0.1), Link(2, delay_s=0.2)])
    route = Route([Link(3, rate_bps=8000), inner])
    route.push(bytes(1000), 0.0)
    route.push(bytes(1000), 0.0)
    assert (route.queued_bytes(0.5), route.queued_bytes(1.5)) == (2000, 1000)
    assert route.pop(1.29) == []
    assert route.next_time() == pytest.approx(1.3)
    assert len(route.pop(1.3001)) == 1


def test_a_slow_link_behind_holds_what_a_fast_one_lets_through() -> None:
    route = Route([Link(1, rate_bps=1e9), Link(2, rate_bps=8000, queue_bytes=2000)])
    for _ in range(5):
        route.push(bytes(1000), 0.0)
    assert route.queued_bytes(0.001) == 2000
    assert dict(route.drops) == {"queue-full": 3}


def test_routes_that_make_no_sense() -> None:
    link = Link(1)
    for links in ([], [link, link]):
        with pytest.raises(LocalProtocolError, match="at least one link, and each of them once"):
            Route(links)


# Profiles


@pytest.mark.parametrize("name", PROFILES)
def test_a_profile_has_the_round_trip_loss_and_rates_of_its_row(name: str) -> None:
    up, down = profile(name, seed=4)
    up.push(bytes(1), 0.0)
    down.push(bytes(1), 0.0)
    there, back = up.next_time(), down.next_time()
    assert there is not None
    assert back is not None
    assert there + back == pytest.approx(PROFILES[name].rtt_s, abs=1e-3)
    for link, bps in zip(profile(name, seed=4), (PROFILES[name].up_bps, PROFILES[name].down_bps), strict=True):
        times = [now for now, _ in run(link, 4000, size=1000, gap=8000 / bps)]
        assert 4000 - len(times) == pytest.approx(4000 * PROFILES[name].loss, rel=0.25)
        assert times[-1] - times[0] == pytest.approx(4000 * 8000 / bps, rel=0.01)


def test_a_profiles_seed_decides_the_fates_and_both_directions_have_their_own() -> None:
    def lost(seed: int) -> tuple[int, ...]:
        links = profile("congested", seed)
        return tuple(hash(tuple(index for _, index in run(link, 2000))) for link in links)

    assert lost(1) == lost(1)
    assert len({*lost(1), *lost(2)}) == 4


def test_an_unknown_profile_is_answered_with_those_there_are() -> None:
    with pytest.raises(LocalProtocolError, match="moon: choose one of cell-edge, congested, geo"):
        profile("moon", 1)
