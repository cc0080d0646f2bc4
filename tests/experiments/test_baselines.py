"""The baselines: what they deliver and when, on links whose every packet's fate is known."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Collection
from functools import partial
from typing import Any

import pytest
from aiortc import rtcsctptransport
from hypothesis import given, settings
from hypothesis import strategies as st

from experiments import baseline_sctp, baseline_tcp
from experiments.baseline_sctp import BELOW_SCTP
from experiments.baseline_tcp import HEADERS, websocket_header
from experiments.bench import BenchError
from experiments.deliveries import Deliveries, Tape
from transport.impair import Link

LOSSY = partial(baseline_sctp.deliver, ordered=False, max_retransmits=0)
RELIABLE = pytest.mark.parametrize("deliver", [baseline_sctp.deliver, baseline_tcp.deliver], ids=["sctp", "tcp"])
EVERY = pytest.mark.parametrize(
    "deliver", [baseline_sctp.deliver, LOSSY, baseline_tcp.deliver], ids=["sctp", "lossy", "tcp"]
)
Deliver = Callable[..., Deliveries]


class Holed(Link):
    """A link that loses the packets with these numbers and no others."""

    def __init__(self, holes: Collection[int], **settings: Any) -> None:
        super().__init__(0, **settings)
        self._holes = holes

    def push(self, data: bytes, now: float) -> None:
        if self.pushed in self._holes:
            self.pushed += 1
        else:
            super().push(data, now)


def even(count: int, size: int = 250, fps: float = 10.0, packets: int = 1) -> Tape:
    """So many frames, in packets that all look alike."""
    return [(number / fps, number, bytes(size)) for number in range(count) for _ in range(packets)]


def pair(seed: int, **settings: Any) -> tuple[Link, Link]:
    return Link(2 * seed, **settings), Link(2 * seed + 1, **settings)


def all_in_order(told: Deliveries) -> bool:
    times = [time_s for time_s in told.packets if time_s is not None]
    return len(times) == len(told.packets) and times == sorted(times)


# All of them


@EVERY
def test_without_loss_a_packet_takes_one_way_exactly(deliver: Deliver) -> None:
    tape = even(40, packets=3)
    told = deliver(tape, *pair(1, delay_s=0.1), 10.0)
    assert told.packets == [time_s + 0.1 for time_s, _, _ in tape]
    assert told.frames(tape) == {number: number / 10 + 0.1 for number in range(40)}
    assert told.queue_max == 0


@EVERY
def test_the_same_call_gives_the_same_result(deliver: Deliver) -> None:
    def once() -> Deliveries:
        return deliver(even(100), *pair(3, loss=0.1, delay_s=0.05, jitter_s=0.02, rate_bps=1e6), 15.0)

    assert once() == once()


@RELIABLE
def test_with_a_fifth_lost_all_arrive_and_in_order(deliver: Deliver) -> None:
    told = deliver(even(200), *pair(5, loss=0.2, delay_s=0.05), 60.0)
    assert all_in_order(told)


@RELIABLE
def test_packets_that_come_twice_or_late_change_no_order(deliver: Deliver) -> None:
    told = deliver(even(200), *pair(5, loss=0.05, duplicate=0.1, reorder=0.1, jitter_s=0.03, delay_s=0.05), 60.0)
    assert all_in_order(told)


@RELIABLE
def test_an_outage_is_outlived(deliver: Deliver) -> None:
    told = deliver(even(150), *pair(7, delay_s=0.05, outages=[(5.0, 9.0)]), 40.0)
    assert all_in_order(told)
    assert told.packets[49] == pytest.approx(4.95)
    assert 9.0 < (told.packets[50] or 0.0) < 16.0
    assert told.packets[149] == pytest.approx(14.95, abs=1.0)


@EVERY
def test_on_a_link_slower_than_the_tape_the_queue_grows(deliver: Deliver) -> None:
    told = deliver(even(300, size=1000, fps=30), *pair(9, delay_s=0.02, rate_bps=120_000, queue_bytes=16_000), 10.0)
    at = {round(time_s, 2): size for time_s, size in told.queue}
    assert 0 < at[2.5] < at[5.0] < at[7.5] < told.queue_max
    assert told.queue_max == pytest.approx(150_000, rel=0.2)  # 30,000 bytes a second in, less than 15,000 out


def test_what_is_sent_after_the_end_is_not_delivered() -> None:
    told = baseline_tcp.deliver(even(20), *pair(1, delay_s=0.1), 1.05)
    assert [time_s is not None for time_s in told.packets] == [number < 10 for number in range(20)]


@pytest.mark.parametrize(
    "tape", [[(0.0, 0, bytes(3))], [(0.0, 0, bytes(1101))], [(1.0, 0, bytes(9)), (0.5, 1, bytes(9))]]
)
def test_tapes_that_nobody_emits_are_refused(tape: Tape) -> None:
    for deliver in (baseline_sctp.deliver, baseline_tcp.deliver):
        with pytest.raises(BenchError, match="a tape's"):
            deliver(tape, *pair(1), 1.0)


def test_a_frame_is_there_with_its_last_packet() -> None:
    tape = [(0.0, 7, b"    "), (0.0, 7, b"    "), (1.0, 8, b"    "), (1.0, 8, b"    ")]
    assert Deliveries([0.5, 0.25, 1.5, None], [], 0, 0).frames(tape) == {7: 0.5, 8: None}


# SCTP


def test_sctp_counts_every_header() -> None:
    told = baseline_sctp.deliver(even(10, size=250), *pair(1, delay_s=0.01), 5.0)
    assert told.wire_there == 10 * (BELOW_SCTP + 12 + 16 + 252)  # chunks fill up to multiples of four
    assert told.wire_back == 10 * (BELOW_SCTP + 12 + 16)  # aiortc acknowledges each packet


def test_sctp_sends_again_after_three_acknowledgements_from_beyond() -> None:
    told = baseline_sctp.deliver(even(30), Holed({10}, delay_s=0.1), Holed(()), 10.0)
    assert told.packets[10:14] == pytest.approx([1.3 + 0.1 + 0.1] * 4)
    assert told.packets[14] == pytest.approx(1.5)


def test_sctp_waits_a_second_for_the_last_packet_or_three_where_no_round_trip_was_measured() -> None:
    late = baseline_sctp.deliver(even(10), Holed({9}, delay_s=0.1), Holed(()), 10.0)
    assert late.packets[9] == pytest.approx(0.9 + 1.0 + 0.1)
    for rtt_s, wait_s in ((None, 3.0), (0.2, 1.0)):
        only = baseline_sctp.deliver(even(1), Holed({0}, delay_s=0.1), Holed(()), 10.0, rtt_s=rtt_s)
        assert only.packets[0] == pytest.approx(wait_s + 0.1)


def test_the_lossy_channel_loses_what_the_link_loses_and_delays_nothing_else() -> None:
    told = LOSSY(even(60), Holed({10, 30}, delay_s=0.1), Holed((), delay_s=0.1), 10.0)
    missing = [number for number, time_s in enumerate(told.packets) if time_s is None]
    assert missing[0] == 10
    assert len(missing) == 2
    assert all(time_s is None or time_s == number / 10 + 0.1 for number, time_s in enumerate(told.packets))


def test_aiortc_has_its_own_clock_again() -> None:
    baseline_sctp.deliver(even(3), *pair(1), 1.0)
    assert rtcsctptransport.time is time


# TCP


def test_tcp_counts_every_header() -> None:
    told = baseline_tcp.deliver(even(10, size=250), *pair(1, delay_s=0.01), 5.0)
    assert told.wire_there == 10 * (HEADERS + websocket_header(250) + 250)
    assert told.wire_back == 10 * HEADERS  # each 40 ms late, before the next packet
    assert [websocket_header(size) for size in (1, 125, 126, 1100)] == [6, 6, 8, 8]


def test_tcp_fills_a_link() -> None:
    told = baseline_tcp.deliver(even(1500, size=1100, fps=50, packets=4), *pair(1, delay_s=0.05, rate_bps=1e6), 30.0)
    arrived = sum(1100 for time_s in told.packets if time_s is not None and 10 <= time_s < 30)
    assert arrived * 8 / 20 > 0.9e6


def test_tcp_finds_a_hole_with_the_next_packet() -> None:
    told = baseline_tcp.deliver(even(30), Holed({10}, delay_s=0.1), Holed((), delay_s=0.1), 10.0)
    assert told.packets[10] == pytest.approx(1.1 + 0.2 + 0.1)  # the next packet, its round trip, one way
    assert told.packets[11] == told.packets[12] == told.packets[10]
    assert told.packets[13] == pytest.approx(1.4)


@pytest.mark.parametrize("lost", [1, 2, 3])
def test_tcp_recovers_a_lost_tail_with_a_probe(lost: int) -> None:
    tape, rtt_s = even(20, packets=4), 0.1
    there = Holed(range(len(tape) - lost, len(tape)), delay_s=rtt_s / 2)
    told = baseline_tcp.deliver(tape, there, Holed((), delay_s=rtt_s / 2), 10.0)
    last = told.packets[-1]
    assert last is not None
    probe_s = 2 * (rtt_s + 0.04) + (0.2 if lost == 1 else 0.0)
    assert last - 1.9 < 0.04 + probe_s + 2 * rtt_s  # what came before the tail is acknowledged late
    assert there.pushed == len(tape) + lost  # nothing is sent again in vain


def test_tcp_doubles_its_patience_while_nothing_answers() -> None:
    sent: list[float] = []

    class Dead(Link):
        def push(self, data: bytes, now: float) -> None:
            sent.append(now)

    baseline_tcp.deliver(even(1), Dead(0), Link(0), 20.0)
    assert sent == [0, 1, 3, 7, 15]


holes = st.sets(st.integers(0, 60), max_size=4)


@settings(max_examples=30, deadline=None)
@given(holes, holes, st.integers(0, 1000))
def test_tcp_delivers_all_in_order_whatever_is_lost(there: set[int], back: set[int], seed: int) -> None:
    chance = random.Random(seed)
    tape = [(number / 20, number, bytes(chance.randint(4, 1100))) for number in range(40)]
    told = baseline_tcp.deliver(tape, Holed(there, delay_s=0.05, rate_bps=5e5), Holed(back, delay_s=0.05), 300.0)
    assert all_in_order(told)
