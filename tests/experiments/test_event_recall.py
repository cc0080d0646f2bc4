"""A policy that sends everything sees every event, one that sends nothing sees none; false alarms; rows and runs."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from edge_gate.source import Frame
from experiments import event_recall
from experiments.bench import BenchError
from experiments.event_recall import (
    DEFAULTS,
    EVENTS,
    Film,
    Job,
    Judge,
    Likeness,
    Moment,
    Trial,
    Truth,
    find_films,
    held,
    likeness,
    listen,
    make_trial,
    settings_of,
    spread,
    summarise,
    watch,
    wilson,
)
from experiments.planting import DISTURBANCES, EVENT_MS, Event, disturb, schedule
from experiments.systems import Clip, Known, System, all_systems, clip_of
from vidtok.canvas import Grid, blank

FPS = 30.0
SIZE = (64, 64)
FILM = Film("scene:still", "scene:still", SIZE, FPS, 0)
CONTRACT = {
    "system", "setting", "clip", "event_ms", "kbps", "tokens_per_s", "recall", "false_alarms_per_h", "miss_latency_ms",
}  # fmt: skip

Pixels = NDArray[np.uint8]


def system(run: Callable[[Any, Clip], Iterator[Known]]) -> System:
    return System("toy", "", run, {"only": None})


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


def backdrop(count: int) -> list[Pixels]:
    """Smooth, and moving all the time."""
    wide = np.random.default_rng(0).integers(40, 216, (6, 12, 3), dtype=np.uint8)
    wide = cv2.resize(wide, (160, 64), interpolation=cv2.INTER_CUBIC)
    return [np.ascontiguousarray(wide[:, n // 8 % 90 : n // 8 % 90 + 64]) for n in range(count)]


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """As in a worker: more threads than free cores would take many times as long for pictures this small."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def judge(one_thread: None) -> Judge:
    return Judge()


@pytest.fixture(scope="module")
def trial(judge: Judge) -> Trial:
    events, count = schedule((0,), SIZE, FPS)
    return make_trial("toy", backdrop(count), events, FPS, judge)


@pytest.fixture(scope="module")
def one(judge: Judge) -> Trial:
    """A single strong event of five frames."""
    event = Event("appears", 170, first=3, frames=5, x=16, y=16, size=32, contrast=1.0, seed=3)
    return make_trial("toy", backdrop(20), [event], FPS, judge)


def real(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [row for row in rows if row["recall"] is not None]


# Seeing


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
    codes, depth = empty.codes.copy(), empty.depth.copy()
    codes[1, 1], depth[1, 1] = 700, 4
    other = replace(empty, codes=codes, depth=depth)
    found = list(judge.differences(Known(canvas=other), Known(canvas=empty), truth))
    assert len(found) == 2
    left, top, right, bottom = truth.around
    assert all(change.shape == (112, bottom - top, right - left) for change in found)
    assert all(np.abs(change).max() > 0 for change in found)
    assert not list(judge.differences(Known(canvas=other), Known(canvas=other), truth))
    codes, depth = empty.codes.copy(), empty.depth.copy()
    codes[3, 3], depth[3, 3] = 700, 4  # not a cell of the event
    elsewhere = replace(empty, codes=codes, depth=depth)
    assert not list(judge.differences(Known(canvas=elsewhere), Known(canvas=empty), truth))
    moved = empty.panned(16, 0)
    assert list(judge.differences(Known(canvas=moved), Known(canvas=empty), truth))


# False alarms


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
    frames = list(held(FILM, "noise"))
    assert [frame.index for frame in frames] == list(range(240))
    assert all(np.array_equal(a.pixels, b.pixels) for a, b in zip(frames, held(FILM, "noise"), strict=True))
    asked = []

    def quiet(kind: str, pixels: Pixels, frame: int, fps: float, seed: int) -> Pixels:
        asked.append((kind, frame, fps))
        return pixels

    monkeypatch.setattr(event_recall, "disturb", quiet)
    assert all(np.array_equal(frame.pixels, still) for frame in held(FILM, "rain"))
    assert asked == [("rain", frame, FPS) for frame in range(240)]


# Backdrops, plans, rows


def test_a_short_clip_goes_back_and_forth(tmp_path: Path) -> None:
    for number in range(4):
        cv2.imwrite(str(tmp_path / f"{number}.png"), np.full((64, 64, 3), number * 50, np.uint8))
    film = Film(str(tmp_path), "folder", SIZE, 10.0, 0)
    assert [int(frame[0, 0, 0]) // 50 for frame in film.load(9)] == [0, 1, 2, 3, 2, 1, 0, 1, 2]
    (tmp_path / "1.png").unlink()
    (tmp_path / "2.png").unlink()
    (tmp_path / "3.png").unlink()
    assert [int(frame[0, 0, 0]) for frame in film.load(3)] == [0, 0, 0]


def test_clips_are_spread_over_the_folder_and_unreadable_ones_left_out(tmp_path: Path) -> None:
    paths = [tmp_path / f"{n}.mp4" for n in range(6)]
    assert spread(paths, 2) == [paths[0], paths[3], paths[1], paths[2], paths[4], paths[5]]
    assert spread(paths[:1], 3) == paths[:1]
    paths[0].write_bytes(b"no video")
    args = SimpleNamespace(size="64", fps=10.0, seed=0, clips=tmp_path, backdrops=4)
    films, left_out = find_films(args)
    assert [film.name for film in films] == ["scene:still", "scene:tour"]
    assert len(left_out) == 1


def test_default_settings_exist() -> None:
    known = all_systems()
    for name, labels in DEFAULTS.items():
        assert set(labels) <= set(known[name].settings), name
        assert set(settings_of(known[name], True, True)) <= set(labels)
    assert settings_of(known["vidtok"], False, False) == list(known["vidtok"].settings)


@pytest.mark.parametrize("flags", [["--backdrops", "0"], ["--seed", "-1"], ["--fps", "0"], ["--size", "1920"]])
def test_what_cannot_be_run_is_one_line(tmp_path: Path, flags: list[str]) -> None:
    with pytest.raises(BenchError, match=flags[0]):
        event_recall.run(["--out", str(tmp_path), *flags])


def test_a_size_has_one_name() -> None:
    assert replace(FILM, size=(256, 256)).shape == "256"
    assert replace(FILM, size=(320, 240)).shape == "320x240"


def test_a_system_that_fails_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: Any, clip: Clip) -> Iterator[Known]:
        raise ValueError("no luck")
        yield

    monkeypatch.setattr(event_recall, "_systems", {"toy": system(broken)})
    with pytest.raises(BenchError, match=r"^toy, only, scene:still, noise: ValueError.* in test_event_recall"):
        event_recall.work(Job("toy", "only", FILM, "noise"))


def test_intervals() -> None:
    assert wilson(0, 0) == (None, None)
    low, high = wilson(8, 10)
    assert (low, high) == (0.4902, 0.9433)
    assert wilson(0, 10)[0] == 0
    assert wilson(10, 10)[1] == 1


TOY = """
from experiments.systems import Known, System


def everything(_, clip):
    for number, frame in enumerate(clip, 1):
        yield Known(frame.pixels.copy(), bytes=number, tokens=number)


def now_and_then(every, clip):
    import numpy as np

    known = Known()
    for frame in clip:
        if frame.index % every == 0:
            known = Known(frame.pixels, bytes=None, tokens=known.tokens + 1, news=np.ones((4, 4), bool))
            yield known
        else:
            yield Known(known.picture, bytes=None, tokens=known.tokens, news=np.zeros((4, 4), bool))


def systems():
    return [
        System("everything", "all of it", everything, {"all": None}, "vidtok"),
        System("now", "and then", now_and_then, {"20": 20, "5": 5}),
    ]
"""


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """A run in a folder, and its flags."""
    folder = tmp_path_factory.mktemp("event_recall")
    (folder / "toy.py").write_text(TOY)
    flags = ["--out", str(folder / "out"), "--systems", str(folder / "toy.py"), "--size", "64", "--fps", "10"]
    flags += ["--backdrops", "1", "--jobs", "1"]
    event_recall.run(flags)
    return folder / "out", flags


def test_a_run_leaves_rows_summary_figures_and_report(finished: tuple[Path, list[str]]) -> None:
    out, _ = finished
    rows = json.loads((out / "results.json").read_text())
    assert all(set(row) >= CONTRACT for row in rows)
    assert len(rows) == 3 * (len(EVENT_MS) + 1 + len(DISTURBANCES))
    summary = json.loads((out / "summary.json").read_text())
    by_name = {(entry["system"], entry["setting"]): entry for entry in summary["systems"]}
    whole = by_name["everything", "all"]
    assert (whole["recall"], whole["chance"], whole["false_alarms_per_h"]) == (1, 0, None)
    assert all(at["recall"] == 1 for at in whole["recall_by"]["event_ms"].values())
    assert by_name["now", "5"]["false_alarms_per_h"] == 3600
    assert by_name["now", "20"]["recall"] < by_name["now", "5"]["recall"] <= 1
    assert by_name["now", "20"]["kbps"] is None
    for name in ("recall.png", "false_alarms.png", "examples.png"):
        assert (out / name).stat().st_size > 5000
    report = (out / "report.md").read_text()
    assert "| everything | all |" in report
    assert summarise(rows)["systems"] == summary["systems"]


def test_a_run_that_was_stopped_goes_on_and_order_does_not_matter(
    finished: tuple[Path, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    out, flags = finished
    whole = (out / "results.json").read_text()
    rows = json.loads(whole)
    left = [row for row in rows if row["setting"] != "5" and row["part"] != "noise"]
    random.Random(0).shuffle(left)
    (out / "results.json").write_text(json.dumps(left))
    called: list[Job] = []

    def here(jobs: list[Job], work: Any, rows: Any, *, start: Any, start_args: Any, **_: Any) -> float:
        start(*start_args)
        called.extend(jobs)
        for job in reversed(jobs):
            rows.add(work(job))
        return 0.0

    monkeypatch.setattr(event_recall.bench, "run_jobs", here)
    event_recall.run(flags)
    assert (out / "results.json").read_text() == whole
    assert {(job.setting, job.part) for job in called} == {
        *(("5", part) for part in (EVENTS, *DISTURBANCES)), ("all", "noise"), ("20", "noise"),
    }  # fmt: skip
    called.clear()
    event_recall.run(flags)
    assert not called
    with pytest.raises(BenchError, match="seed"):
        event_recall.run([*flags, "--seed", "1"])
