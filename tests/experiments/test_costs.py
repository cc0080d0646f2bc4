"""What watching costs: rounds, parts and ratios add up; the commands give the contract's columns and can go on."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from edge_gate.scene import Scene
from experiments import bench, edge_cost, latency, server_cost, timing
from experiments.bench import BenchError
from experiments.systems import Clip, clip_of
from experiments.timing import Contender, Meter, Spent
from vidtok.model.tower import POOLED

SMALL = ["--size", "64", "--seconds", "0.5", "--repeats", "1"]
ENDS = ("", "_low", "_high")


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def clip() -> Clip:
    return clip_of("tour", 5.0, list(Scene((64, 64), fps=5.0, duration_s=1.0)))


def rows_of(out: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads((out / "results.json").read_text())
    return rows


# Rounds


def test_systems_run_in_turn_and_the_first_round_is_not_counted() -> None:
    order: list[int] = []

    def system(number: int) -> Callable[[], Spent]:
        def once() -> Spent:
            order.append(number)
            return Spent(float(len(order)))

        return once

    spent = timing.in_turn([system(0), system(1), system(2)], repeats=2)
    assert order == [0, 1, 2, 1, 2, 0, 2, 0, 1]
    assert [[one.cpu_s for one in mine] for mine in spent] == [[6, 8], [4, 9], [5, 7]]


def test_a_system_compared_with_itself_is_one(clip: Clip) -> None:
    spent = [Spent(0.2, macs=50.0, bytes=1000), Spent(0.1), Spent(0.4)]
    row = timing.columns(spent, spent, clip)
    assert [row[f"ratio_to_video{end}"] for end in ENDS] == [1, 1, 1]
    assert [row[f"cpu_ms_per_s{end}"] for end in ENDS] == [200, 100, 400]
    assert [row[f"streams_per_core{end}"] for end in ENDS] == [5, 2.5, 10]
    assert row["macs_per_frame"] == 10
    assert row["kbps"] == 8


def test_ratios_are_between_spendings_of_the_same_round(clip: Clip) -> None:
    row = timing.columns([Spent(1.0), Spent(4.0), Spent(9.0)], [Spent(1.0), Spent(2.0), Spent(3.0)], clip)
    assert [row[f"ratio_to_video{end}"] for end in ENDS] == [2, 1, 3]


def test_everyone_is_compared_with_the_base_before_them() -> None:
    def contender(base: bool) -> Contender:
        return Contender("a", "b", "c", lambda clip: lambda: Spent(0.0), base)

    assert timing.bases_of([contender(base) for base in (True, False, False, True, False)]) == [0, 0, 0, 3, 3]
    for study in (edge_cost.STUDY, server_cost.STUDY):
        assert timing.bases_of(study.contenders())[0] == 0


def test_parts_add_up_and_what_is_inside_counts_once() -> None:
    now = 0.0

    def passes(seconds: float) -> None:
        nonlocal now
        now += seconds

    meter = Meter(lambda: now)
    inner = meter.timed("inner", lambda: passes(2))

    def work() -> None:
        passes(1)
        inner()
        meter.timed("outer", lambda: (passes(4), inner()))()

    assert meter.measure("rest", work) == {"inner": 4, "outer": 4, "rest": 1}


# Both ends by themselves


def test_either_end_does_the_same_again_without_the_other(clip: Clip) -> None:
    taped = timing.tape(clip, edge_cost.encoder())
    timing.replay_sender(timing.new_sender(clip, edge_cost.encoder()), taped)
    looks: list[float] = []
    timing.replay_receiver(timing.new_receiver(), taped, lambda canvas, now: looks.append(now))
    assert 0 < len(looks) <= clip.count
    assert looks == sorted(looks)
    assert taped.bytes > 0
    assert taped.hashes[0] == taped.hashes[1]


def test_an_end_that_goes_another_way_is_found_out(clip: Clip) -> None:
    taped = timing.tape(clip, edge_cost.encoder())
    wrong = timing.Taped(taped.sender, taped.receiver, taped.bytes, (taped.hashes[0] ^ 1, taped.hashes[1]))
    with pytest.raises(BenchError, match="another way"):
        timing.replay_sender(timing.new_sender(clip, edge_cost.encoder()), wrong)


# Multiply-adds


def test_multiply_adds_are_those_of_the_book() -> None:
    wide, deep = torch.nn.Conv2d(3, 8, 3, padding=1), torch.nn.Conv2d(8, 8, 5, padding=2, groups=8)
    assert timing.macs_of(lambda: deep(wide(torch.zeros(1, 3, 10, 12)))) == 120 * (8 * 3 * 9 + 8 * 25)
    assert timing.macs_of(lambda: torch.nn.Linear(5, 7)(torch.zeros(2, 5))) == 2 * 5 * 7


def test_multiply_adds_grow_with_the_cells() -> None:
    labels = POOLED * 1000
    assert edge_cost.encoder_macs(128, 64) == 2 * edge_cost.encoder_macs(64, 64)
    assert server_cost.tower_macs(64, 128) - labels == 2 * (server_cost.tower_macs(64, 64) - labels)
    small, tall = server_cost.half_macs(4, 4), server_cost.half_macs(8, 4)
    assert tall - labels > 1.7 * (small - labels)
    assert edge_cost.glance_macs((32, 16)) == 4 * 32 * 16


def test_our_edge_counts_what_its_encoder_saw(clip: Clip) -> None:
    spent = edge_cost.edge(clip)()
    assert set(spent.parts) == set(edge_cost.PARTS)
    assert spent.macs is not None
    share = spent.more["encoder_share"]
    assert 0 < share <= 1
    whole, padded = edge_cost.encoder_macs(64, 64), edge_cost.encoder_macs(80, 80)
    assert whole * share <= spent.more["encoder_macs_per_frame"] <= padded * share + 1
    others = spent.more["glance_macs_per_frame"] + spent.more["motion_macs_per_frame"]
    assert spent.macs / clip.count == pytest.approx(spent.more["encoder_macs_per_frame"] + others, abs=2)


# The commands


def check(out: Path, study: timing.Study) -> None:
    rows = rows_of(out)
    contenders = study.contenders()
    assert len(rows) == len(contenders) * len(timing.SCENES)
    for row in rows:
        assert set(timing.COLUMNS) | set(timing.KEY) <= set(row)
        for column in ("cpu_ms_per_s", "streams_per_core", "ratio_to_video"):
            assert 0 < row[f"{column}_low"] <= row[column] <= row[f"{column}_high"]
    bases = {(c.name, c.setting) for c in contenders if c.base}
    assert all(row["ratio_to_video"] == 1 for row in rows if (row["system"], row["setting"]) in bases)
    ours = next(row for row in rows if row["system"] == "vidtok")
    assert {f"{part}_ms_per_s" for part in study.parts} <= set(ours)
    assert ours["macs_per_frame"] > 0
    assert set(timing.SCENES) <= set(json.loads((out / "summary.json").read_text()))
    assert (out / f"{study.name}.png").stat().st_size > 1000
    assert study.title in (out / "report.md").read_text()


def test_edge_cost_gives_the_contracts_columns_and_keeps_what_is_finished(tmp_path: Path) -> None:
    edge_cost.run(["--out", str(tmp_path), *SMALL])
    check(tmp_path, edge_cost.STUDY)
    memory = json.loads((tmp_path / "summary.json").read_text())["process"]
    assert memory["peak_rss_mb"] > 10
    assert memory["imports_torch"] is False
    rows = rows_of(tmp_path)
    tour, still = timing.SCENES
    assert [rows[0]["clip"], rows[-1]["clip"]] == [tour, still]
    left = [row | {"kbps": 12345.0} for row in rows[1:]]  # one of the tour's is gone
    (tmp_path / "results.json").write_text(json.dumps(left))
    edge_cost.run(["--out", str(tmp_path), *SMALL])
    again = rows_of(tmp_path)
    assert [(row["system"], row["clip"]) for row in again] == [(row["system"], row["clip"]) for row in rows]
    assert all((row["kbps"] == 12345) == (row["clip"] == still) for row in again)


def test_server_cost_gives_the_contracts_columns(tmp_path: Path) -> None:
    server_cost.run(["--out", str(tmp_path), *SMALL])
    check(tmp_path, server_cost.STUDY)


def test_both_runtimes_see_the_same(clip: Clip) -> None:
    frame = next(iter(clip)).pixels
    torch_view, onnx_view = server_cost.reader(clip.size).judge(frame), server_cost.onnx_reader(clip.size).judge(frame)
    assert torch_view.scores == pytest.approx(onnx_view, abs=1e-3)  # type: ignore[attr-defined]


@pytest.mark.parametrize("experiment", [edge_cost, server_cost, latency], ids=lambda module: module.__name__)
def test_a_folder_that_is_not_there_is_one_line(
    experiment: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    missing = str(tmp_path / "missing")
    monkeypatch.setattr(sys, "argv", ["experiment", "--out", str(tmp_path / "out"), "--clips", missing])
    with pytest.raises(SystemExit) as end:
        bench.main(experiment.run)
    assert end.value.code == 2
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1
    assert missing in said[0]


@pytest.mark.parametrize("wrong", [["--repeats", "0"], ["--seconds", "0"], ["--fps", "1000"], ["--size", "65"]])
def test_wrong_settings_are_refused(wrong: list[str], tmp_path: Path) -> None:
    with pytest.raises(Exception, match=wrong[0]):
        timing.arguments("edge_cost", "doc", ["--out", str(tmp_path), *wrong])
