"""Planted events stay in their box and time, schedules keep them apart, disturbances are pure functions."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from experiments.planting import (
    CONTRASTS,
    DISTURBANCES,
    EVENT_MS,
    GAP_S,
    KINDS,
    SETTLE_S,
    Event,
    disturb,
    plant,
    schedule,
    show,
    window,
)

Pixels = NDArray[np.uint8]


def picture(seed: int = 0, width: int = 96, height: int = 64) -> Pixels:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def inside(event: Event, frame: int, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    out = np.zeros(shape[:2], bool)
    left, top, right, bottom = event.box(frame)
    out[top:bottom, left:right] = True
    return out


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 10_000), fps=st.sampled_from((10.0, 29.97, 30.0, 60.0)))
def test_a_schedule_has_every_length_once_apart_and_in_the_frame(seed: int, fps: float) -> None:
    size = (96, 64)
    events, count = schedule((seed, 7), size, fps)
    assert events == schedule((seed, 7), size, fps)[0]
    assert sorted(event.ms for event in events if event.planted) == list(EVENT_MS)
    assert sum(not event.planted for event in events) == 1
    assert events[0].first >= SETTLE_S * fps
    for event in events:
        assert abs(event.frames - event.ms / 1000 * fps) <= 1
        assert event.frames >= 1
        left, top, right, bottom = event.area
        assert 0 <= left < right <= size[0]
        assert 0 <= top < bottom <= size[1]
    for event, later in zip(events, [*events[1:], None], strict=True):
        starts = count if later is None else later.first
        assert starts - event.end >= (GAP_S[0] * fps) - 1


def test_schedules_differ_by_seed_and_deal_kinds_and_contrasts_evenly() -> None:
    assert schedule((0, 1), (64, 64), 30.0) != schedule((1, 1), (64, 64), 30.0)
    for seed in range(10):
        events, _ = schedule((seed,), (256, 256), 30.0)
        assert {event.kind for event in events} == set(KINDS)
        assert {event.contrast for event in events} == set(CONTRASTS)


def test_an_event_is_never_shorter_than_a_frame_however_slow_the_camera() -> None:
    events, _ = schedule((3,), (64, 64), 5.0)
    assert all(event.frames >= 1 for event in events)


@pytest.mark.parametrize("kind", KINDS)
def test_planted_pixels_lie_in_the_box_and_in_the_time(kind: str) -> None:
    event = Event(kind, 100, first=3, frames=4, x=10, y=20, size=30, contrast=1.0, seed=5, dx=20 * (kind == "crosses"))
    for frame in range(10):
        before = picture(frame)
        kept = before.copy()
        after = plant(before, [event], frame)
        assert np.array_equal(before, kept)
        if not 3 <= frame < 7:
            assert after is before
            continue
        changed = (after != before).any(-1)
        assert changed.any()
        assert not (changed & ~inside(event, frame, before.shape)).any()
        assert np.array_equal(after, plant(before, [event], frame))


def test_what_crosses_goes_all_its_way() -> None:
    event = Event("crosses", 100, first=3, frames=4, x=10, y=20, size=30, contrast=1.0, seed=5, dx=21, dy=-6)
    assert event.box(3) == (10, 20, 40, 50)
    assert event.box(6) == (31, 14, 61, 44)
    assert event.area == (10, 14, 61, 50)


def test_twins_are_equal_wherever_nothing_is_planted() -> None:
    events, count = schedule((4,), (96, 64), 10.0)
    frames = [picture(frame) for frame in range(count)]
    for frame, before in enumerate(frames):
        after = plant(before, events, frame)
        on = [event for event in events if event.planted and event.first <= frame < event.end]
        assert (after is before) == (not on)
        for event in on:
            assert np.array_equal(after[~inside(event, frame, after.shape)], before[~inside(event, frame, after.shape)])


def test_a_phantom_can_be_shown_but_is_never_planted() -> None:
    phantom = Event("appears", 100, first=0, frames=3, x=0, y=0, size=40, contrast=1.0, seed=1, planted=False)
    assert plant(picture(), [phantom], 1) is not None
    assert np.array_equal(plant(picture(), [phantom], 1), picture())
    assert not np.array_equal(show(picture(), phantom, 1), picture())


@pytest.mark.parametrize("kind", KINDS)
def test_more_contrast_changes_more(kind: str) -> None:
    base = Event(kind, 100, first=0, frames=3, x=10, y=10, size=40, contrast=0.3, seed=2)
    faint, strong = (
        np.abs(show(picture(), event, 0).astype(int) - picture()).sum()
        for event in (base, Event(**{**base.__dict__, "contrast": 1.0}))
    )
    assert 0 < faint < strong


@pytest.mark.parametrize("kind", DISTURBANCES)
def test_a_disturbance_is_a_pure_function_of_frame_and_seed(kind: str) -> None:
    still = picture(1)
    kept = still.copy()
    there = [disturb(kind, still, frame, 30.0, 3) for frame in range(20)]
    back = [disturb(kind, still, frame, 30.0, 3) for frame in reversed(range(20))][::-1]
    assert np.array_equal(still, kept)
    assert all(np.array_equal(a, b) for a, b in zip(there, back, strict=True))
    assert all(frame.shape == still.shape and frame.dtype == np.uint8 for frame in there)
    assert any(not np.array_equal(there[0], frame) for frame in there)  # something goes on
    assert not np.array_equal(there[5], disturb(kind, still, 5, 30.0, 4))


@pytest.mark.parametrize("kind", ["rain", "leaves"])
def test_weather_stays_in_its_window(kind: str) -> None:
    still = picture(1)
    left, top, right, bottom = window(still, 3)
    for frame in (0, 9):
        changed = (disturb(kind, still, frame, 30.0, 3) != still).any(-1)
        assert changed.any()
        changed[top:bottom, left:right] = False
        assert not changed.any()


def test_exposure_flicker_and_noise_leave_the_scene_where_it_is() -> None:
    still = np.full((64, 96, 3), 120, np.uint8)
    for kind, most in (("noise", 40), ("flicker", 6), ("drift", 19), ("steps", 16)):
        for frame in (0, 40, 100):
            off = disturb(kind, still, frame, 30.0, 0).astype(int) - still
            assert np.abs(off).max() <= most, kind


def test_a_shake_is_two_pixels_at_most() -> None:
    still = np.zeros((64, 96, 3), np.uint8)
    still[28:36, 44:52] = 255
    down, across = np.mgrid[:64, :96]
    places = []
    for frame in range(60):
        light = disturb("shake", still, frame, 30.0, 1)[..., 0].astype(float)
        places.append(((light * across).sum() / light.sum(), (light * down).sum() / light.sum()))
    offs = np.array(places) - np.array([47.5, 31.5])
    assert np.abs(offs).max() <= 2.2
    assert np.ptp(offs, axis=0).min() > 1
