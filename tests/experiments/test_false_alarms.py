"""A held frame under a disturbance: what is a false alarm, and who has none."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from edge_gate.source import Frame
from experiments import false_alarms
from experiments.false_alarms import held, listen
from experiments.planting import disturb
from experiments.systems import Clip, Known, System, clip_of
from tests.experiments.event_toys import FILM, FPS, Pixels, backdrop, system


def control(kind: str = "noise", seconds: float = 5.0) -> Clip:
    still = backdrop(1)[0]
    frames = [Frame(disturb(kind, still, k, 10.0, 0), k / 10, k) for k in range(round(seconds * 10))]
    return clip_of("toy", 10.0, frames)


def saying(news: Callable[[Frame], bool | None], since: int = 0) -> System:
    def run(_: Any, clip: Clip) -> Iterator[Known]:
        for frame in clip:
            said = news(frame)
            picture = frame.pixels if frame.index >= since else None
            yield Known(picture, bytes=None, news=None if said is None else np.full((4, 4), said))

    return system(run)


def test_a_second_with_any_news_is_a_false_alarm() -> None:
    row = listen(saying(lambda frame: True), None, control())
    assert (row["alarms"], row["control_s"], row["false_alarms_per_h"]) == (3, 3, 3600)
    row = listen(saying(lambda frame: False), None, control())
    assert (row["alarms"], row["control_s"], row["false_alarms_per_h"]) == (0, 3, 0)
    row = listen(saying(lambda frame: frame.index in (3, 33, 34)), None, control())
    assert (row["alarms"], row["control_s"], row["false_alarms_per_h"]) == (1, 3, 1200)


def test_who_never_says_what_is_news_has_no_false_alarms() -> None:
    row = listen(saying(lambda frame: None), None, control())
    assert row["false_alarms_per_h"] is None
    assert row["control_s"] == 0


def test_what_is_still_being_told_for_the_first_time_is_no_alarm() -> None:
    row = listen(saying(lambda frame: frame.index <= 34, since=34), None, control(seconds=6))
    assert (row["alarms"], row["control_s"]) == (0, 2)
    assert listen(saying(lambda frame: True, since=999), None, control())["false_alarms_per_h"] is None


def test_a_control_is_one_frame_under_its_disturbance_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    still = FILM.load(30)[-1]
    frames = list(held(FILM, "noise", 8.0))
    assert [frame.index for frame in frames] == list(range(240))
    assert all(np.array_equal(a.pixels, b.pixels) for a, b in zip(frames, held(FILM, "noise", 8.0), strict=True))
    asked = []

    def quiet(kind: str, pixels: Pixels, frame: int, fps: float, seed: int) -> Pixels:
        asked.append((kind, frame, fps))
        return pixels

    monkeypatch.setattr(false_alarms, "disturb", quiet)
    assert all(np.array_equal(frame.pixels, still) for frame in held(FILM, "rain", 8.0))
    assert asked == [("rain", frame, FPS) for frame in range(240)]
