"""A policy that sends everything sees every event, one that sends nothing sees none; what is sight and what is not."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from experiments.planting import EVENT_MS, Event, schedule
from experiments.sight import Judge, Likeness, Moment, Trial, Truth, likeness, make_trial, watch
from experiments.systems import Clip, Known
from tests.experiments.event_toys import FPS, SIZE, Pixels, backdrop, system
from vidtok.canvas import Grid, blank
from vidtok.tokenizer.fsq import LEVELS


def everything(_: Any, clip: Clip) -> Iterator[Known]:
    return (Known(frame.pixels.copy(), bytes=100 * n, tokens=n) for n, frame in enumerate(clip, 1))


def nothing(_: Any, clip: Clip) -> Iterator[Known]:
    known: Known | None = None
    for frame in clip:
        known = known or Known(frame.pixels)
        yield known


def late(frames: int) -> Callable[[Any, Clip], Iterator[Known]]:
    def run(_: Any, clip: Clip) -> Iterator[Known]:
        filmed: list[Pixels] = []
        for frame in clip:
            filmed.append(frame.pixels)
            yield Known(filmed[max(0, len(filmed) - 1 - frames)])

    return run


@pytest.fixture(scope="module")
def judge() -> Judge:
    return Judge()


@pytest.fixture(scope="module")
def trial(judge: Judge) -> Trial:
    events, count = schedule((0,), SIZE, FPS)
    return make_trial("toy", backdrop(count), events, FPS, judge)


@pytest.fixture(scope="module")
def one(judge: Judge) -> Trial:
    """A single strong event of five frames, in one cell of four."""
    event = Event("appears", 170, first=3, frames=5, x=32, y=32, size=32, contrast=1.0, seed=3)
    return make_trial("toy", backdrop(20), [event], FPS, judge)


def real(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [row for row in rows if row["recall"] is not None]


def test_who_sends_everything_sees_every_event_at_once(trial: Trial, judge: Judge) -> None:
    rows = watch(system(everything), None, trial, judge)
    assert sorted(row["event_ms"] for row in real(rows)) == list(EVENT_MS)
    assert all(row["recall"] == 1 and row["delay_ms"] == 0 and row["miss_latency_ms"] == 0 for row in real(rows))
    assert all(row["cosine"] == 1 and row["share"] == pytest.approx(1, abs=1e-3) for row in real(rows))
    assert [row["chance"] for row in rows if row["recall"] is None] == [0]
    assert rows[0]["kbps"] == pytest.approx(100 * 8 * FPS / 1000)
    assert rows[0]["tokens_per_s"] == pytest.approx(FPS)
    assert watch(system(everything), None, trial, judge) == rows


def test_who_sends_nothing_sees_none(trial: Trial, judge: Judge) -> None:
    rows = watch(system(nothing), None, trial, judge)
    assert all(row["recall"] == 0 and row["delay_ms"] is None for row in real(rows))
    assert all(row["miss_latency_ms"] == row["event_ms"] + 1000 for row in real(rows))


def test_an_event_may_become_known_after_it_is_over_but_not_for_ever(one: Trial, judge: Judge) -> None:
    seen = watch(system(late(7)), None, one, judge)[0]
    assert seen["recall"] == 1
    assert seen["delay_ms"] == pytest.approx(7 / FPS * 1000, abs=0.01)
    events = [replace(one.truths[0].event)]
    long = make_trial("toy", backdrop(60), events, FPS, judge)
    assert watch(system(late(29)), None, long, judge)[0]["recall"] == 1
    assert watch(system(late(36)), None, long, judge)[0]["recall"] == 0


def test_a_picture_that_is_held_counts_from_when_it_came(one: Trial, judge: Judge) -> None:
    def hold(_: Any, clip: Clip) -> Iterator[Known]:
        known = Known()
        for frame in clip:
            known = Known(frame.pixels) if frame.index in (0, 6) else known
            yield known

    seen = watch(system(hold), None, one, judge)[0]
    assert (seen["recall"], seen["delay_ms"]) == (1, pytest.approx(100, abs=0.01))


def test_what_differs_for_another_reason_is_no_sight(trial: Trial, judge: Judge) -> None:
    rng = np.random.default_rng(1)  # shared by both twins, so that they differ everywhere

    def noise(_: Any, clip: Clip) -> Iterator[Known]:
        return (Known(rng.integers(0, 256, frame.pixels.shape, dtype=np.uint8)) for frame in clip)

    few = Trial(trial.planted, trial.bare, trial.truths[:2])
    rows = watch(system(noise), None, few, judge)
    assert all((row["chance"] if row["recall"] is None else row["recall"]) == 0 for row in rows)


def test_only_the_same_event_in_earnest_and_only_once_it_was_filmed() -> None:
    rng = np.random.default_rng(0)
    changes = rng.standard_normal((3, 112, 2, 2)).astype(np.float32)
    event = Event("appears", 100, 0, 3, 0, 0, 32, 1.0, 0)
    whole = slice(0, 2)
    moments = tuple(Moment(whole, whole, change, float((change**2).sum())) for change in changes)
    truth = Truth(event, (0, 0, 2, 2), moments)
    assert likeness(changes[0], truth, 1) == Likeness(pytest.approx(1), pytest.approx(1))
    assert likeness(changes[0], truth, 1).seen
    assert likeness(changes[0] * 0.3, truth, 1).seen
    assert not likeness(changes[0] * 0.05, truth, 1).seen  # a trace of it
    assert not likeness(-changes[0], truth, 3).seen
    assert not likeness(changes[2], truth, 2).seen
    assert likeness(changes[2], truth, 3).seen
    assert not likeness(changes[0] * 0, truth, 3).seen


def test_canvases_are_looked_at_in_two_ways_and_only_where_they_differ(one: Trial, judge: Judge) -> None:
    truth = one.truths[0]
    empty = blank(Grid(*SIZE))
    values, depth = empty.values.copy(), empty.depth.copy()
    values[1, 1], depth[1, 1] = 6, LEVELS
    other = replace(empty, values=values, depth=depth)
    found = list(judge.differences(Known(canvas=other), Known(canvas=empty), truth))
    assert len(found) == 2
    left, top, right, bottom = truth.around
    assert all(change.shape == (112, bottom - top, right - left) for change in found)
    assert all(np.abs(change).max() > 0 for change in found)
    assert not list(judge.differences(Known(canvas=other), Known(canvas=other), truth))
    values, depth = empty.values.copy(), empty.depth.copy()
    values[0, 0], depth[0, 0] = 6, LEVELS  # not a cell of the event
    elsewhere = replace(empty, values=values, depth=depth)
    assert not list(judge.differences(Known(canvas=elsewhere), Known(canvas=empty), truth))
    moved = empty.panned(16, 0)
    assert list(judge.differences(Known(canvas=moved), Known(canvas=empty), truth))
