"""text_reading as a user runs it, goes on with it, and asks it for what cannot be done."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from experiments import bench, text_reading
from experiments.bench import BenchError
from experiments.readings import Job, true_picture
from experiments.text_reading import run

CONTRACT = {"system", "setting", "clip", "kbps", "cap_height_px", "char_accuracy", "seconds_to_90"}
FROZEN = """
from dataclasses import replace
from experiments.systems import Known, System

def frozen(params, clip):
    known = None
    for frame in clip:
        known = known or Known(picture=frame.pixels, bytes=1000, packets=1)
        yield known

def systems():
    return [System("frozen", "the first frame for ever", frozen, {"only": None, "left out": None}, quick=("only",))]
"""


def test_it_runs_says_all_and_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "frozen.py").write_text(FROZEN)
    out = tmp_path / "out"
    argv = ["--out", str(out), "--systems", str(tmp_path / "frozen.py"), "--size", "256x192", "--jobs", "1"]
    argv += ["--heights", "20", "--hand", ""]
    run(argv)
    rows = json.loads((out / "results.json").read_text())
    true, frozen = rows
    assert set(true) >= CONTRACT
    assert (true["system"], true["kbps"], frozen["system"]) == ("true-picture", None, "frozen")
    assert true["char_accuracy"] >= 0.9
    assert (frozen["char_accuracy"], frozen["seconds_to_90"]) == (0, None)
    assert json.loads((out / "summary.json").read_text())["ceiling_too_low"] == []
    assert "true-picture" in (out / "report.md").read_text()
    for name in ("accuracy.png", "rate.png", "seconds.png", "shown.png"):
        assert 1000 < (out / name).stat().st_size < 400_000

    asked: list[list[Job]] = []
    monkeypatch.setattr(bench, "run_jobs", lambda jobs, *_, **__: float(asked.append(list(jobs)) or 0))
    run(argv)
    (out / "results.json").write_text(json.dumps(rows[:1]))
    run(argv)
    assert [[job.system for job in jobs] for jobs in asked] == [[], ["frozen"]]
    (tmp_path / "frozen.py").write_text(FROZEN.replace("for ever", "again"))
    run(argv)
    assert [[job.system for job in jobs] for jobs in asked] == [[], ["frozen"], ["frozen"]]  # it says it is another
    with pytest.raises(BenchError, match="seed"):
        run([*argv, "--seed", "1"])


def test_the_ceiling_is_always_there_and_settings_are_few() -> None:
    def chosen(*argv: str) -> dict[str, list[str]]:
        args = text_reading.arguments(["--out", "x", *argv])
        systems = text_reading.chosen_systems(args)
        return {name: text_reading.chosen_settings(system, args) for name, system in systems.items()}

    assert next(iter(chosen())) == true_picture().name
    assert set(text_reading.CHOSEN) < set(chosen())
    assert all(len(settings) <= 4 for settings in chosen().values())
    assert chosen("--systems", "jpeg-1fps")["jpeg-1fps"] == ["q30", "q75"]
    assert len(chosen("--systems", "jpeg-1fps", "--all-settings")["jpeg-1fps"]) > 2
    assert len(chosen("--quick")) == 4


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["--heights", "ten"], "--heights ten"),
        (["--heights", ",", "--hand", ","], "no page"),
        (["--heights", "200"], "200"),
        (["--heights", "90", "--size", "128"], "larger --size"),
        (["--fps", "2"], "--fps 2"),
        (["--fps", "nan"], "--fps nan"),
        (["--seed", "-1"], "--seed -1"),
        (["--size", "1920", "--fps", "60"], "memory"),
        (["--systems", "nobody"], "nobody"),
    ],
)
def test_what_cannot_be_run_is_said_in_one_line(argv: list[str], says: str, tmp_path: Path) -> None:
    with pytest.raises(BenchError, match=says) as caught:
        run(["--out", str(tmp_path), *argv])
    assert len(str(caught.value).splitlines()) == 1


def test_a_missing_ocr_is_said_before_any_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rapidocr_onnxruntime", None)
    with pytest.raises(BenchError, match="pip install --no-deps rapidocr-onnxruntime"):
        run(["--out", str(tmp_path / "out"), "--quick"])
    assert not (tmp_path / "out").exists()
