"""Means, curves and their intervals: closed forms, the reference library, and any order of rows."""

from __future__ import annotations

import json
import math
from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.interpolate import PchipInterpolator

from experiments.bench import Row
from experiments.statistics import (
    COLUMNS,
    LEAST_OVERLAP,
    QUALITIES,
    Curves,
    Estimate,
    _fit,
    _fronts,
    _log_distance,
    _reference_bd_rate,
    cheapest,
    means,
    pareto,
    summarise,
    versus,
)

CLIPS = tuple(f"clip{number}" for number in range(6))
SOME = {"bits_ratio", "low", "high", "tokens_ratio", "tokens_low", "tokens_high"}


def system(
    name: str, curve: list[tuple[float, float]], *, clips: tuple[str, ...] = CLIPS, spread: float = 0.0, **more: Any
) -> list[Row]:
    """Rows of a system whose mean curve is (kbps, cosine); clips differ around it by `spread`."""
    rows = []
    for (number, (kbps, cosine)), (index, clip) in product(enumerate(curve), enumerate(clips)):
        turn = spread * math.sin(2.1 * index + 0.7)
        costs = {"kbps": kbps * (1 + 3 * turn), "tokens_per_s": 20 * kbps * (1 + turn)}
        rows.append(
            {"system": name, "setting": f"s{number}", "clip": clip, **costs, "feature_cosine": cosine + turn} | more
        )
    return rows


OURS = [(2.0, 0.70), (5.0, 0.78), (12.0, 0.84), (30.0, 0.90)]
THEIRS = [(8.0, 0.72), (20.0, 0.80), (50.0, 0.86), (120.0, 0.91)]


# Means


def test_means_are_over_all_clips_in_order_of_first_appearance() -> None:
    rows = [
        {"system": "b", "setting": "2", "clip": "x", "kbps": 1.0, "ssim": 0.5, "note": "text"},
        {"system": "a", "setting": "1", "clip": "x", "kbps": None, "ssim": 0.1},
        {"system": "b", "setting": "2", "clip": "y", "kbps": 3.0, "ssim": None},
    ]
    assert means(rows, ("kbps", "ssim", "note", "psnr_db")) == [
        {"system": "b", "setting": "2", "clips": 2, "kbps": 2.0, "ssim": None, "note": None, "psnr_db": None},
        {"system": "a", "setting": "1", "clips": 1, "kbps": None, "ssim": 0.1, "note": None, "psnr_db": None},
    ]
    assert means([], COLUMNS) == []


@given(st.lists(st.floats(1e-3, 1e6), min_size=1, max_size=20), st.randoms())
@settings(deadline=None)
def test_a_mean_does_not_depend_on_the_order_of_clips(values: list[float], random: Any) -> None:
    rows = [{"system": "a", "setting": "1", "clip": str(n), "kbps": value} for n, value in enumerate(values)]
    mixed = random.sample(rows, len(rows))
    assert means(rows, ("kbps",)) == means(mixed, ("kbps",))
    assert min(values) * (1 - 1e-12) <= means(rows, ("kbps",))[0]["kbps"] <= max(values) * (1 + 1e-12)


# Fronts and interpolation

GRID = st.tuples(st.integers(1, 12), st.integers(1, 12))


@given(st.lists(st.lists(GRID, min_size=5, max_size=5), min_size=1, max_size=4))
@settings(deadline=None)
def test_the_front_is_what_no_point_beats(rows: list[list[tuple[int, int]]]) -> None:
    table = np.array(rows, float)
    cost, quality, count = _fronts(table[:, :, 0], table[:, :, 1])
    for points, costs, qualities, number in zip(rows, cost, quality, count, strict=True):
        best = {p for p in points if not any(o != p and o[0] <= p[0] and o[1] >= p[1] for o in points)}
        assert list(zip(costs[:number], qualities[:number], strict=True)) == sorted(best)
        assert pareto(points) == sorted(best)


def test_points_that_cost_nothing_have_no_logarithm() -> None:
    _, quality, count = _fronts(np.array([[0.0, 2.0], [0.0, 0.0]]), np.array([[0.9, 0.5], [0.1, 0.2]]))
    assert count.tolist() == [1, 0]
    assert quality[0, 0] == 0.5
    fit = _fit(np.zeros((2, 3)), np.ones((2, 3)))
    assert np.isnan(fit.at(1.0)).all()
    assert fit.points(0) == []


steps = st.lists(st.floats(0.001, 3), min_size=1, max_size=6)


@given(steps, st.data())
@settings(deadline=None)
def test_between_points_it_is_scipys_pchip(rises: list[float], data: st.DataObject) -> None:
    widths = data.draw(st.lists(st.floats(0.001, 0.2), min_size=len(rises), max_size=len(rises)))
    x, y = np.cumsum([0.3, *widths]), np.cumsum([0.0, *rises])
    fit = _fit(np.exp(y)[None].repeat(2, 0), x[None].repeat(2, 0))
    theirs = PchipInterpolator(np.round(x, 9), y)
    for place in np.linspace(fit.knots[0, 0], fit.knots[0, -1], 17):
        assert fit.at(place) == pytest.approx(np.full(2, theirs(place)), rel=1e-6, abs=1e-6)
    low, high = x[0] + 0.3 * (x[-1] - x[0]), x[0] + 0.8 * (x[-1] - x[0])
    ours = fit.integral(np.full(2, low), np.full(2, high))
    assert ours == pytest.approx(np.full(2, theirs.integrate(low, high)), rel=1e-6, abs=1e-6)


@given(st.lists(st.tuples(st.floats(0.5, 500), st.floats(0, 1)), min_size=1, max_size=8), st.floats(0, 1))
@settings(deadline=None)
def test_nothing_is_extrapolated(curve: list[tuple[float, float]], quality: float) -> None:
    curves = Curves(system("a", curve, clips=("x",)), draws=2)
    front = curves.front("a")
    assert front == sorted(front)
    cost, bound = curves.at("a", quality), curves.below("a", quality)
    if cost is None:
        assert (bound is not None) == (quality < front[0][1])
        assert bound is not None or quality > front[-1][1]
    else:
        assert bound is None
        assert front[0][0] * 0.999 <= cost <= front[-1][0] * 1.001
    assert bound is None or bound == front[0][0]


def test_a_curve_goes_through_its_points_and_two_make_a_line() -> None:
    curves = Curves(system("a", OURS) + system("b", [(1.0, 0.7), (100.0, 0.9)]) + system("c", [(7.0, 0.75)]))
    assert [curves.at("a", quality) for _, quality in OURS] == pytest.approx([kbps for kbps, _ in OURS])
    assert curves.at("b", 0.8) == pytest.approx(10.0)
    assert curves.at("c", 0.75) == pytest.approx(7.0)  # one setting is a curve of one point
    assert curves.at("c", 0.74) is None
    assert curves.below("c", 0.74) == pytest.approx(7.0)
    assert curves.at("nobody", 0.8) is None
    assert curves.below("nobody", 0.8) is None
    assert curves.front("nobody") == []


def test_settings_that_others_beat_do_not_bend_the_curve() -> None:
    rows = system("a", [*OURS, (40.0, 0.60)])
    assert np.array(Curves(rows).front("a")) == pytest.approx(np.array(OURS))


# Clips


def test_only_clips_that_all_share_count() -> None:
    rows = system("a", OURS) + system("b", THEIRS, clips=CLIPS[:4])
    rows += system("tokens only", THEIRS, clips=CLIPS[:1], kbps=None)
    odd = [row | {"kbps": 1e6, "feature_cosine": 0.1} for row in rows if row["clip"] not in CLIPS[:4]]
    curves = Curves([row for row in rows if row["clip"] in CLIPS[:4]] + odd)
    assert curves.clips == CLIPS[:4]
    assert curves.systems == ("a", "b")
    assert np.array(curves.front("a")) == pytest.approx(np.array(OURS))
    assert Curves(rows, "tokens_per_s").clips == CLIPS[:1]


def test_nothing_shared_and_nothing_there_are_no_curves() -> None:
    rows = system("a", OURS, clips=("x",)) + system("b", OURS, clips=("y",))
    curves = Curves(rows)
    assert curves.clips == ()
    assert curves.at("a", 0.8) is None
    assert curves.bd_rate("a", "b") == Estimate()
    for none in (rows, [], system("a", OURS, feature_cosine=None), system("a", OURS, kbps=math.nan)):
        summary = summarise(none)
        json.dumps(summary, allow_nan=False)
        assert all(entry["kbps"] is None for of in summary["bits_at"].values() for entry in of.values())


def test_a_row_twice_is_refused() -> None:
    rows = system("a", OURS)
    with pytest.raises(ValueError, match="two rows for a, s0, clip0"):
        Curves([*rows, rows[0]])


# Intervals


def test_intervals_hold_the_value_and_widen_with_the_spread() -> None:
    narrow, wide = (Curves(system("a", OURS, spread=spread)).cost("a", 0.80) for spread in (0.005, 0.02))
    for found in (narrow, wide):
        assert found.low is not None
        assert found.value is not None
        assert found.high is not None
        assert found.low <= found.value <= found.high
        assert found.reached == 1
    assert wide.high - wide.low > narrow.high - narrow.low > 0


def test_clips_that_agree_leave_no_doubt() -> None:
    found = Curves(system("a", OURS)).cost("a", 0.80)
    assert found.low == pytest.approx(found.value)
    assert found.high == pytest.approx(found.value)


def test_a_quality_that_few_draws_reach_has_no_interval() -> None:
    curves = Curves(system("a", OURS, spread=0.05))
    found = curves.cost("a", 0.895)  # just below the mean of the best setting
    assert found.value is not None
    assert 0.2 < found.reached < 0.9
    assert found.low is None
    assert found.high is None
    assert curves.cost("a", 0.99) == Estimate(reached=0.0)


def test_one_clip_says_nothing_of_others() -> None:
    found = Curves(system("a", OURS, clips=("x",))).cost("a", 0.80)
    assert found.value is not None
    assert (found.low, found.high) == (None, None)


def test_ratios_compare_clip_by_clip() -> None:
    """Two systems that vary alike: each is uncertain, how they compare is not."""
    twice = [(2 * kbps, cosine) for kbps, cosine in OURS]
    curves = Curves(system("a", OURS, spread=0.03) + system("b", twice, spread=0.03))
    alone, ratio = curves.cost("a", 0.80), curves.ratio("a", "b", 0.80)
    assert alone.high / alone.low > 1.3
    assert (ratio.value, ratio.low, ratio.high) == pytest.approx((0.5, 0.5, 0.5))


# BD-rate


def test_half_the_bits_everywhere_is_minus_50_percent() -> None:
    half = [(kbps / 2, cosine) for kbps, cosine in THEIRS]
    curves = Curves(system("half", half, spread=0.01) + system("whole", THEIRS, spread=0.01))
    found = curves.bd_rate("half", "whole")
    assert (found.value, found.low, found.high) == pytest.approx((-50, -50, -50))
    assert curves.bd_rate("whole", "half").value == pytest.approx(100)
    assert curves.overlap("half", "whole") == pytest.approx((0.72, 0.91), abs=0.02)


def test_over_no_common_quality_there_is_none() -> None:
    curves = Curves(system("a", [(1.0, 0.5), (2.0, 0.6)]) + system("b", [(1.0, 0.605), (2.0, 0.7)]))
    assert curves.overlap("a", "b") is None
    assert curves.bd_rate("a", "b") == Estimate()


curve = st.lists(st.tuples(st.floats(0.5, 500), st.floats(0.3, 0.95)), min_size=2, max_size=7)


@given(curve, curve)
@settings(deadline=None)
def test_ours_and_the_reference_agree(test: list[tuple[float, float]], anchor: list[tuple[float, float]]) -> None:
    a, b = (_fit(table[None, :, 0], table[None, :, 1]) for table in (np.array(test), np.array(anchor)))
    distance = _log_distance(a, b)[0]
    assume(np.isfinite(distance))
    theirs = _reference_bd_rate(a.points(0), b.points(0))
    assert math.log1p(theirs / 100) == pytest.approx(distance, rel=1e-5, abs=1e-5)


@given(curve, curve, st.integers(0, 2))
@settings(max_examples=25, deadline=None)
def test_figures_are_finite_whatever_the_curves(
    one: list[tuple[float, float]], two: list[tuple[float, float]], zeros: int
) -> None:
    rows = system("a", one, spread=0.02) + system("b", [(0.0, 0.9)] * zeros + two, spread=0.02)
    summary = summarise(rows)
    json.dumps(summary, allow_nan=False)
    pair = versus(summary, "a", "b")
    if pair["overlap"] is not None:
        assert pair["overlap"][1] - pair["overlap"][0] >= LEAST_OVERLAP - 1e-3
        assert pair["bd_rate_pct"] > -100


# Summary


def all_rows() -> list[Row]:
    rows = system("vidtok", OURS, spread=0.02) + system("x264", THEIRS, spread=0.03)
    rows += system("av1", [(10.0, 0.86), (20.0, 0.9)], spread=0.01)
    rows += system("rlt", [(12.0, 0.76), (18.0, 0.82), (25.0, 0.88)], spread=0.02, kbps=None)
    return rows + system("photo", [(14.0, 0.6)])


def test_a_summary_holds_what_it_says() -> None:
    summary = json.loads(json.dumps(summarise(all_rows()), allow_nan=False))
    labels = [f"{quality:.2f}" for quality in QUALITIES]
    assert summary["clips"] == {"kbps": 6, "tokens_per_s": 6}
    assert list(summary["bits_at"]) == ["vidtok", "x264", "av1", "photo"]
    assert list(summary["tokens_at"]) == ["vidtok", "x264", "av1", "rlt", "photo"]
    assert all(list(of) == labels for name in ("bits_at", "tokens_at") for of in summary[name].values())
    entry = summary["bits_at"]["vidtok"]["0.80"]
    assert set(entry) == {"kbps", "low", "high", "reached", "at_most"}
    assert 5 < entry["low"] < entry["kbps"] < entry["high"] < 12
    assert summary["bits_at"]["av1"]["0.80"]["at_most"] == pytest.approx(10, rel=0.05)
    assert summary["bits_at"]["photo"]["0.80"]["kbps"] is None
    assert [(pair["a"], pair["b"]) for pair in summary["pairs"]][:2] == [("av1", "photo"), ("av1", "rlt")]
    assert len(summary["pairs"]) == 10
    assert {name for pair in summary["pairs"] for one in pair["quality"].values() for name in one} == SOME
    assert versus(summary, "rlt", "vidtok")["quality"]["0.80"]["bits_ratio"] is None
    assert versus(summary, "rlt", "vidtok")["quality"]["0.80"]["tokens_ratio"] > 0
    assert versus(summary, "photo", "vidtok")["quality"] == {}
    assert len(summary["means"]) == 4 + 4 + 2 + 3 + 1
    assert summary["means"][0].keys() == {"system", "setting", "clips", *COLUMNS}


@given(st.randoms())
@settings(max_examples=8, deadline=None)
def test_rows_in_any_order_give_the_same_figures(random: Any) -> None:
    rows = all_rows()
    summary, other = summarise(rows), summarise(random.sample(rows, len(rows)))

    def of(row: Row) -> tuple[str, str]:
        return row["system"], row["setting"]

    assert sorted(summary.pop("means"), key=of) == sorted(other.pop("means"), key=of)
    assert summary == other


def test_a_system_that_is_better_everywhere_is_so_in_every_figure() -> None:
    better = [(kbps * 0.6, cosine + 0.01) for kbps, cosine in THEIRS]
    summary = summarise(system("better", better, spread=0.02) + system("worse", THEIRS, spread=0.02))
    pair = versus(summary, "better", "worse")
    assert pair["bd_high"] < -40
    assert set(pair["quality"]) == {"0.75", "0.80", "0.84", "0.87"}
    for ratios in pair["quality"].values():
        assert ratios["bits_ratio"] < 0.6
        assert ratios["tokens_ratio"] < 0.6
        assert ratios["high"] is None or ratios["high"] < 0.65


def test_a_pair_reads_both_ways() -> None:
    summary = summarise(all_rows())
    there, back = versus(summary, "vidtok", "x264"), versus(summary, "x264", "vidtok")
    assert (there["a"], there["b"]) == ("vidtok", "x264")
    assert (back["a"], back["b"]) == ("x264", "vidtok")
    for label, ratios in there["quality"].items():
        turned = back["quality"][label]
        assert ratios["bits_ratio"] * turned["bits_ratio"] == pytest.approx(1, rel=1e-3)
        assert ratios["low"] * turned["high"] == pytest.approx(1, rel=1e-3)
        assert ratios["tokens_low"] * turned["tokens_high"] == pytest.approx(1, rel=1e-3)
    assert (1 + there["bd_rate_pct"] / 100) * (1 + back["bd_rate_pct"] / 100) == pytest.approx(1, rel=1e-3)
    assert back["bd_low"] < back["bd_rate_pct"] < back["bd_high"]
    with pytest.raises(KeyError):
        versus(summary, "vidtok", "nobody")


def test_the_cheapest_of_some() -> None:
    summary = summarise(all_rows())
    assert cheapest(summary, 0.80, ("x264", "vidtok")) == "vidtok"
    assert cheapest(summary, 0.80, ("x264", "av1")) == "av1"  # its worst setting is better and needs less
    assert cheapest(summary, 0.80, ("photo", "nobody")) is None
    assert cheapest(summary, 0.80, ("x264", "rlt"), "tokens_per_s") == "rlt"


def test_a_single_system_with_a_single_setting_on_a_single_clip() -> None:
    summary = summarise(system("only", [(3.0, 0.8)], clips=("x",)))
    assert summary["pairs"] == []
    entries = summary["bits_at"]["only"]
    assert entries["0.80"] == {"kbps": 3.0, "low": None, "high": None, "reached": 1.0, "at_most": None}
    assert entries["0.75"] == {"kbps": None, "low": None, "high": None, "reached": 0.0, "at_most": 3.0}
