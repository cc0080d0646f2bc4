"""Plans and rows; runs that end with every figure, and that go on where they were stopped."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from experiments import event_recall
from experiments.backdrops import EVENTS
from experiments.bench import BenchError
from experiments.event_figures import summarise
from experiments.event_recall import DEFAULTS, Job, settings_of
from experiments.planting import DISTURBANCES, EVENT_MS
from experiments.systems import Clip, Known, all_systems
from tests.experiments.event_toys import FILM, system

CONTRACT = {
    "system", "setting", "clip", "event_ms", "kbps", "tokens_per_s", "recall", "false_alarms_per_h", "miss_latency_ms",
}  # fmt: skip


def test_default_settings_exist() -> None:
    known = all_systems()
    for name, labels in DEFAULTS.items():
        assert set(labels) <= set(known[name].settings), name
        assert set(settings_of(known[name], True)) <= set(labels)
    assert settings_of(known["vidtok-pan"], False) == list(known["vidtok-pan"].settings)


@pytest.mark.parametrize(
    "flags", [["--backdrops", "0"], ["--control-s", "2"], ["--seed", "-1"], ["--fps", "0"], ["--size", "1920"]]
)
def test_what_cannot_be_run_is_one_line(tmp_path: Path, flags: list[str]) -> None:
    with pytest.raises(BenchError, match=flags[0]):
        event_recall.run(["--out", str(tmp_path), *flags])


def test_a_system_that_fails_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: Any, clip: Clip) -> Iterator[Known]:
        raise ValueError("no luck")
        yield

    monkeypatch.setattr(event_recall, "_systems", {"toy": system(broken)})
    with pytest.raises(BenchError, match=r"^toy, only, scene:still, noise: ValueError.* in test_event_recall"):
        event_recall.work(Job("toy", "only", FILM, "noise", 8.0))


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
