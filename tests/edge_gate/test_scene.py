"""The built-in scene: the same bytes every time, and truth that agrees with the pixels."""

from __future__ import annotations

import functools
import itertools
import json
import math

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_gate.scene import VARIANTS, Scene, SceneEvent
from edge_gate.scene_script import Box, Stage
from edge_gate.scene_variants import EVENT_S, write_script
from edge_gate.source import Pixels, SourceError

SMALL = (128, 96)


@functools.lru_cache(maxsize=32)
def scene(variant: str, size: tuple[int, int] = (256, 256), seed: int = 0) -> Scene:
    return Scene(size, seed=seed, variant=variant)


def tripod(scene: Scene, k: int) -> bool:
    """Whether the camera stands as it stood one frame before."""
    return scene.camera(k) == scene.camera(k - 1)


def changed(a: Pixels, b: Pixels) -> Pixels:
    """Where two pictures differ (H, W)."""
    return np.asarray((a != b).any(axis=2), dtype=np.uint8)


def boxes(scene: Scene, *frames: int) -> list[Box]:
    found = [event.box_at(k / scene.fps) for k in frames for event in scene.events]
    return [box for box in found if box is not None]


def events_of(scene: Scene, *kinds: str) -> list[SceneEvent]:
    return [event for event in scene.events if event.kind in kinds]


# The same bytes


@pytest.mark.parametrize("variant", VARIANTS)
def test_iteration_equals_random_access_in_any_order(variant: str) -> None:
    first = list(Scene(SMALL, variant=variant, duration_s=2.0))
    again = Scene(SMALL, variant=variant, duration_s=2.0)
    for k in (19, 0, 7, 7, 12):
        frame = again.frame(k)
        assert np.array_equal(frame.pixels, first[k].pixels)
        assert (frame.index, frame.time_s) == (k, k / 10.0)
    assert len(first) == 20
    assert first[0].pixels.shape == (96, 128, 3)
    assert first[0].pixels.dtype == np.uint8


@settings(deadline=None, max_examples=20)
@given(st.sampled_from(VARIANTS), st.integers(0, 1500), st.integers(0, 3))
def test_a_frame_depends_on_nothing_but_its_number(variant: str, k: int, seed: int) -> None:
    used = scene(variant, SMALL, seed)
    assert np.array_equal(used.frame(k).pixels, used.frame(k).pixels)
    assert np.array_equal(used.frame(k).pixels, Scene(SMALL, seed=seed, variant=variant).frame(k).pixels)


def test_seeds_and_laps_differ() -> None:
    tour = scene("tour")
    assert not np.array_equal(tour.frame(30).pixels, scene("tour", seed=1).frame(30).pixels)
    assert tour.lap_events(0) != tour.lap_events(1)
    assert tour.lap_events(1) == Scene(duration_s=48.0).events[len(tour.events) :]


def test_every_seed_has_events_inside_the_frame() -> None:
    for seed in range(12):  # among them large pictures that go far
        assert all(event.track[0][1] is not None for event in scene("events", seed=seed).events)


def test_noise_can_be_left_out() -> None:
    silent = Scene(SMALL, noise=False)
    assert np.array_equal(silent.frame(4).pixels, silent.clean_frame(4).pixels)
    assert np.array_equal(silent.frame(4).pixels, Scene(SMALL).clean_frame(4).pixels)


# Truth against pixels


@pytest.mark.parametrize("variant", ["tour", "still", "events", "scroll"])
def test_on_a_tripod_only_event_boxes_change(variant: str) -> None:
    used = scene(variant)
    frames = range(1, min(260, int(used.duration_s * used.fps)))
    for k in frames:
        if not tripod(used, k):
            continue
        difference = changed(used.clean_frame(k - 1).pixels, used.clean_frame(k).pixels)
        for x, y, w, h in boxes(used, k - 1, k):
            difference[y : y + h, x : x + w] = 0
        assert not difference.any(), f"frame {k}"


@pytest.mark.parametrize("variant", ["tour", "events", "scroll"])
def test_every_event_changes_its_box(variant: str) -> None:
    used = scene(variant)
    for event in used.events:
        before = used.clean_frame(math.ceil(event.start_s * used.fps - 1e-6) - 1) if event.start_s else None
        during = used.clean_frame(math.ceil((event.start_s + event.end_s) / 2 * used.fps - 0.5))
        other = before or used.clean_frame(3)
        box = event.box_at(during.time_s)
        assert box is not None, event.kind
        x, y, w, h = box
        difference = changed(other.pixels, during.pixels)[y : y + h, x : x + w]
        assert difference.mean() > 0.2, (event.kind, event.label, event.start_s)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("size", [(256, 256), (192, 320)])
def test_boxes_lie_in_the_frame(variant: str, size: tuple[int, int]) -> None:
    for event in scene(variant, size).events:
        assert any(box is not None for _, box in event.track)
        for t, box in event.track:
            assert event.start_s <= t <= event.end_s
            if box is not None:
                x, y, w, h = box
                assert min(x, y) >= 0
                assert min(w, h) >= 1
                assert x + w <= size[0]
                assert y + h <= size[1]
        assert event.box_at(event.start_s - 0.01) is None
        assert event.box_at(event.end_s + 0.01) is None


@pytest.mark.parametrize("variant", ["tour", "still", "events", "scroll"])
def test_still_spans_are_still(variant: str) -> None:
    used = scene(variant, SMALL)
    assert used.still_spans
    for start, end in used.still_spans[:8]:
        inside = [k for k in range(int(end * used.fps) + 1) if start <= k / used.fps < end]
        first = used.clean_frame(inside[0]).pixels
        for k in inside[1::3] + inside[-1:]:
            assert np.array_equal(used.clean_frame(k).pixels, first), f"frame {k}"


@pytest.mark.parametrize("seed", [0, 1, 2, 3])
def test_shots_follow_the_camera_without_a_jump(seed: int) -> None:
    used = Scene(SMALL, seed=seed, duration_s=96.0)
    places = [used.camera(k) for k in range(960)]
    longest = max(math.hypot(b[0] - a[0], b[1] - a[1]) for a, b in itertools.pairwise(places))
    assert 4.0 < longest < 0.2 * SMALL[0]
    lap_ends = [used.clean_frame(240 * lap + step).pixels for lap in (1, 2, 3) for step in (-1, 0)]
    assert all(np.array_equal(lap_ends[n], lap_ends[n + 1]) for n in (0, 2, 4))


@pytest.mark.parametrize(
    ("variant", "frames"),
    [("pan", range(1, 240, 19)), ("handheld", range(1, 100, 9)), ("tour", range(51, 70, 2))],
)
def test_the_camera_path_agrees_with_phase_correlation(variant: str, frames: range) -> None:
    used = scene(variant)
    window = cv2.createHanningWindow((256, 256), cv2.CV_32F)
    errors = []
    for k in frames:
        pair = [cv2.cvtColor(used.clean_frame(n).pixels, cv2.COLOR_RGB2GRAY) for n in (k - 1, k)]
        seen, _ = cv2.phaseCorrelate(pair[0].astype(np.float32), pair[1].astype(np.float32), window)
        errors.append(np.subtract(used.camera(k), used.camera(k - 1)) + seen)
    assert np.abs(errors).max() < 0.5  # the estimator's own error: a third of a pixel
    assert np.abs(np.mean(errors, axis=0)).max() < 0.12


def test_the_pan_goes_on_past_the_end_of_the_wall() -> None:
    used = scene("pan", SMALL)
    wall = int(used._wall.shape[1])
    around = [used.clean_frame(k).pixels for k in range(wall // 3 - 60, wall // 3 + 3)]
    assert all(np.abs(a.astype(int) - b).mean() < 40 for a, b in itertools.pairwise(around))
    mean = (used.camera(900)[0] - used.camera(0)[0]) / 900
    assert mean == pytest.approx(3.0, abs=0.02)


# What the variants promise


def test_the_tour_has_one_of_everything() -> None:
    used = scene("tour")
    assert [e.kind for e in used.events] == [
        "pan", "pan", "enter", "move", "turn", "blink", "blink", "blink", "leave", "page",
    ]  # fmt: skip
    assert used.still_spans == ((2.0, 5.0), (14.5, 18.6), (19.2, 24.0))
    page = events_of(used, "page")[0]
    assert page.held_s == (14.5, 18.6)
    assert page.text.count("\n") == 3
    assert page.cap_height_px is not None
    assert 8.0 < page.cap_height_px < 30.0


def test_nothing_happens_on_a_tripod_or_in_the_hand() -> None:
    assert scene("still").events == scene("handheld").events == ()
    assert scene("still").still_spans == ((0.0, 24.0),)
    assert Scene(variant="still", duration_s=60.0).still_spans == ((0.0, 60.0),)
    assert scene("handheld").still_spans == ()
    steps = [math.dist(scene("handheld").camera(k), scene("handheld").camera(k + 1)) for k in range(200)]
    assert 0.3 < float(np.mean(steps)) < 2.5


def test_planted_events_are_of_every_length_and_each_is_in_a_frame() -> None:
    used = Scene(variant="events", duration_s=240.0)
    assert {round(e.end_s - e.start_s, 6) for e in used.events} == set(EVENT_S)
    assert {e.kind for e in used.events} == {"enter", "move", "blink"}
    assert all(any(e.start_s <= k / 10.0 < e.end_s for k in range(int(e.end_s * 10) + 1)) for e in used.events)
    assert all(a.end_s + 0.9 < b.start_s for a, b in itertools.pairwise(used.events))
    sides = [box[2] for e in used.events if (box := e.box_at(e.start_s)) is not None]
    assert min(sides) < 20 < 80 < max(sides)


@pytest.mark.parametrize("size", [(256, 256), (320, 192), (192, 320)])
def test_scrolling_moves_whole_cells(size: tuple[int, int]) -> None:
    used = scene("scroll", size)
    x, y, w, h = events_of(used, "move")[0].track[0][1] or (0, 0, 0, 0)
    assert {v % 16 for v in (x, y, w, h)} == {0}
    for k in (1, 30, 59, 60):
        a, b = (used.clean_frame(n).pixels[y : y + h, x : x + w] for n in (k - 1, k))
        assert np.array_equal(a[16:], b[:-16])
    slide = events_of(used, "move")[1]
    a, b = (used.clean_frame(round(slide.start_s * 10) + n) for n in (0, 1))
    (left, top, side, _), to = slide.box_at(a.time_s) or (0, 0, 0, 0), slide.box_at(b.time_s) or (0, 0, 0, 0)
    assert (to[0] - left) % 16 == left % 16 == top % 16 == 0
    assert to[0] > left
    assert np.array_equal(
        a.pixels[top : top + side, left : left + side], b.pixels[top : top + side, to[0] : to[0] + side]
    )


def test_nuisances_have_the_promised_strength() -> None:
    used = scene("still")
    clean = used.clean_frame(0).pixels.astype(np.float64)
    inner = (clean > 20) & (clean < 200)
    gains, sigmas = [], []
    for k in range(0, 240, 7):
        spoiled = used.frame(k).pixels.astype(np.float64)
        gain = float(spoiled[inner].mean() / clean[inner].mean())
        gains.append(gain)
        sigmas.append(float((spoiled - clean * gain)[inner].std()))
    assert 0.92 < min(gains) < 0.98
    assert 1.02 < max(gains) < 1.08
    assert 1.5 < float(np.mean(sigmas)) < 2.8


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("size", [(64, 64), (640, 480), (480, 640), (1280, 720)])
def test_every_size_is_drawn(variant: str, size: tuple[int, int]) -> None:
    used = Scene(size, variant=variant)
    for k in (0, 18, 93):
        assert used.frame(k).pixels.shape == (size[1], size[0], 3)


@pytest.mark.parametrize("fps", [1.0, 7.0, 29.97, 60.0])
def test_any_rate_tells_the_same_story(fps: float) -> None:
    used = Scene(SMALL, fps=fps)
    assert [(e.kind, e.start_s) for e in used.events] == [(e.kind, e.start_s) for e in scene("tour").events]
    assert used.frame(round(16 * fps)).time_s == pytest.approx(16.0, abs=1.0 / fps)


def test_an_endless_scene_tells_of_its_first_lap() -> None:
    endless = Scene(SMALL, duration_s=math.inf)
    assert len(endless.events) == len(scene("tour").events)
    assert sum(1 for _ in itertools.islice(endless, 250)) == 250
    with endless:
        pass
    assert list(endless) == []


def test_a_short_scene_tells_of_nothing_later() -> None:
    short = Scene(SMALL, duration_s=8.5)
    assert [e.kind for e in short.events] == ["pan", "pan", "enter", "move"]
    assert short.still_spans == ((2.0, 5.0),)


def test_events_become_json() -> None:
    for event in scene("tour").events:
        plain = json.loads(json.dumps(event.to_dict()))
        assert plain["kind"] == event.kind
        assert plain["track"][0][0] == event.track[0][0]
        assert "_times" not in plain


def test_scripts_are_pure() -> None:
    stage = Stage(256, 256, 100.0, 60.0, 10.0, 5)
    for variant in VARIANTS:
        assert write_script(variant, 3, stage) == write_script(variant, 3, stage)
        assert write_script(variant, 3, stage).home == pytest.approx(
            write_script(variant, 2, stage).camera_at(write_script(variant, 2, stage).end_s, 5)
        )


@pytest.mark.parametrize("bad", [{"variant": "x"}, {"size": (250, 256)}, {"size": (16, 16)}, {"seed": -1}])
def test_what_makes_no_scene(bad: dict[str, object]) -> None:
    with pytest.raises(SourceError):
        Scene(**bad)  # type: ignore[arg-type]
