"""The camera of glass to token: frames are known again behind any codec, and it never waits for who looks."""

from __future__ import annotations

import time
from itertools import pairwise

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_gate.source import Source
from experiments import latency_camera
from experiments.bench import BenchError
from experiments.latency_camera import Camera
from tests.experiments.toys import grey

numbers = st.integers(0, (1 << latency_camera.BITS) - 1)


# The picture's number


@given(numbers, st.sampled_from([(64, 64), (256, 256), (640, 368)]))
def test_a_number_survives_the_worst_of_codecs(number: int, size: tuple[int, int]) -> None:
    rng = np.random.default_rng(number)
    picture = latency_camera.stamp(rng.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8), number)
    coded = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 5])[1]
    assert latency_camera.read_stamp(np.asarray(cv2.imdecode(coded, cv2.IMREAD_COLOR), np.uint8)) == number


@given(st.integers(0, (1 << latency_camera.BITS) - 2))
def test_the_next_number_is_one_block_of_news(number: int) -> None:
    assert (latency_camera.gray(number) ^ latency_camera.gray(number + 1)).bit_count() == 1


def test_a_filmed_clip_has_a_lead_a_tail_and_no_number_twice() -> None:
    clip = latency_camera.filmed(grey(20))
    seen = [latency_camera.read_stamp(frame.pixels) for frame in clip]
    assert seen == list(range(clip.count))
    assert len(latency_camera.measured(clip)) == 20
    with pytest.raises(BenchError, match="seconds"):
        latency_camera.filmed(grey(1 << latency_camera.BITS))


# The camera


def test_a_camera_keeps_the_time_of_its_frames() -> None:
    camera = Camera(grey(5))
    assert isinstance(camera, Source)
    shown = [frame.index for frame in camera]
    assert (shown[0], shown[-1]) == (0, 4)
    first = camera.glass_ns[0]
    assert camera.glass_ns == {number: first + number * 20_000_000 for number in shown}
    assert camera.glass_ns[4] <= time.monotonic_ns()


def test_a_camera_shows_the_newest_to_who_asks_late() -> None:
    camera, seen = Camera(grey(20)), []
    for frame in camera:
        seen.append(frame.index)
        time.sleep(0.07)
    assert seen == sorted(set(seen))
    assert seen[-1] == 19
    assert all(after - before >= 3 for before, after in pairwise(seen[:-1]))
    assert set(camera.glass_ns) == set(seen)
