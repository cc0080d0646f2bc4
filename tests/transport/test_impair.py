"""The bad network is deterministic, bounded and does what its numbers say."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from transport import LocalProtocolError
from transport.impair import Gilbert, Link, read_mahimahi


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
