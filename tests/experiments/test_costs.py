"""What watching costs at either end: multiply-adds grow as they should; the commands give all columns and can go on."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from edge_gate.scene import Scene
from experiments import bench, costs, edge_cost, latency, server_cost, timing
from experiments.costs import Contender, Study
from experiments.systems import Clip, clip_of
from experiments.timing import Spent
from vidtok.model.tower import POOLED

SMALL = ["--size", "64", "--seconds", "1", "--repeats", "1"]
CONTRACT = ("cpu_ms_per_s", "macs_per_frame", "streams_per_core", "ratio_to_video")


@pytest.fixture(scope="module")
def clip() -> Clip:
    return clip_of("tour", 5.0, list(Scene((64, 64), fps=5.0, duration_s=1.0)))


def rows_of(out: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads((out / "results.json").read_text())
    return rows


def test_everyone_is_compared_with_the_base_before_them() -> None:
    def contender(base: bool) -> Contender:
        return Contender("a", "b", "c", lambda clip: lambda: Spent(0.0), base)

    assert costs.bases_of([contender(base) for base in (True, False, False, True, False)]) == [0, 0, 0, 3, 3]
    for study in (edge_cost.STUDY, server_cost.STUDY):
        assert costs.bases_of(study.contenders())[0] == 0


# Multiply-adds


def test_multiply_adds_grow_with_the_cells() -> None:
    labels = POOLED * 1000
    assert edge_cost.encoder_macs(128, 64) == 2 * edge_cost.encoder_macs(64, 64)
    assert server_cost.tower_macs(64, 128) - labels == 2 * (server_cost.tower_macs(64, 64) - labels)
    small, tall = server_cost.half_macs(128, 128), server_cost.half_macs(128, 256)
    assert tall - labels > 1.7 * (small - labels)
    assert edge_cost.gist_macs(128, 64) > 1.5 * edge_cost.gist_macs(64, 64)
    assert edge_cost.glance_macs((32, 16)) == 3 * 32 * 16


def test_our_edge_counts_what_its_encoder_saw(clip: Clip) -> None:
    spent = edge_cost.edge(clip)()
    assert set(spent.parts) == set(edge_cost.PARTS)
    assert spent.macs is not None
    share = spent.more["encoder_share"]
    assert 0 < share <= 1
    whole, padded = edge_cost.encoder_macs(64, 64), edge_cost.encoder_macs(96, 96)
    assert whole * share <= spent.more["encoder_macs_per_frame"] <= padded * share + 1
    assert 0 < spent.more["gist_share"] <= share
    others = sum(spent.more[f"{part}_macs_per_frame"] for part in ("gist", "glance", "motion"))
    assert spent.macs / clip.count == pytest.approx(spent.more["encoder_macs_per_frame"] + others, abs=2)


# The commands


def check(out: Path, study: Study) -> None:
    rows = rows_of(out)
    contenders = study.contenders()
    assert len(rows) == len(contenders) * len(timing.SCENES)
    for row in rows:
        assert set(CONTRACT) | set(timing.KEY) <= set(row)
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
