"""Aligning from the command line, on pictures made here: towers, baselines, stopping, going on."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from experiments import align
from experiments.align_baselines import columns, design, predict, ridge
from experiments.align_lessons import Lessons, held, sources
from experiments.bench import BenchError
from experiments.teachers import CELLS, EfficientNet, open_teacher, resampled
from tests.experiments.toys import pictures, write_video
from vidtok.model.projector import Projector, ProjectorConfig, load_projector
from vidtok.tokenizer.fsq import EDGES, GIST, GIST_LEVELS, SEEN_LEVELS
from vidtok.tokenizer.networks import GIST_CONTEXT, SEEN, SEEN_CONTEXT


def lessons(count: int, linear: bool, dim: int = 6) -> Lessons:
    """Random latents; the target hangs on the first level of the cell and of its right neighbour, or on nothing."""
    rng = np.random.default_rng(0)
    cells = rng.uniform(-1, 1, (count, SEEN, CELLS, CELLS))
    gist = rng.uniform(-1, 1, (count, GIST))
    target = rng.normal(size=(count, 1, dim, CELLS, CELLS))
    if linear:
        right = np.roll(cells, -1, 3)
        right[..., -1] = 0
        target[:, 0] = cells[:, :dim] + 0.5 * right[:, :dim] + 2
    return Lessons(*(part.astype(np.float16) for part in (cells, gist, target)))


def test_ridge_finds_what_is_linear_and_only_with_what_is_held() -> None:
    taught = lessons(30, linear=True)
    solved = ridge(taught)
    cells, gist, target = taught.batch(slice(0, 8))
    errors = [
        float((predict(solved.solve(*levels), cells, gist, 1) - target).square().mean())
        for levels in ((1, 0), (0, GIST_LEVELS))
    ]
    assert errors[0] < 0.02 < errors[1]


def test_a_projector_begins_as_the_best_that_is_linear_in_a_cell() -> None:
    taught = lessons(30, linear=True)
    projector = Projector(ProjectorConfig(6, width=8, blocks=1))
    align.begin(projector, taught)
    projector.narrow.weight.data.zero_()
    cells, gist, target = taught.batch(slice(0, 8))
    all_of_it = held(cells, gist, torch.full((8, CELLS, CELLS), SEEN_LEVELS), torch.full((8,), GIST_LEVELS))
    right = 0.5**2 / 3  # what hangs on the neighbour is not told
    error = (projector(*all_of_it).detach() - target).square().mean()
    assert float(error) == pytest.approx(right, rel=0.35)


def test_a_design_has_a_column_for_all_that_may_be_known() -> None:
    cells, gist, _ = lessons(2, linear=False).batch(slice(0, 2))
    rows = design(cells, gist)
    assert rows.shape == (2 * CELLS * CELLS, 9 * (SEEN + 1) + GIST + 1)
    assert int(columns(SEEN_LEVELS, GIST_LEVELS, GIST).sum()) == rows.shape[1]
    assert int(columns(1, 0, GIST).sum()) == 9 * (EDGES[1] + 1) + 1
    assert int(columns(0, 0, GIST).sum()) == 10


def test_a_projector_gives_one_vector_a_cell_and_output() -> None:
    projector = Projector(ProjectorConfig(7, outs=2, width=8, blocks=1))
    out = projector(torch.zeros(3, SEEN_CONTEXT, 2, 5), torch.zeros(3, GIST_CONTEXT))
    assert out.shape == (3, 2, 7, 2, 5)
    cells, gist, _ = lessons(3, linear=False).batch(slice(0, 3))
    known = held(cells, gist, torch.zeros(3, CELLS, CELLS, dtype=torch.int64), torch.zeros(3, dtype=torch.int64))
    assert not any(part.any() for part in known)


def test_comparisons_know_the_ends() -> None:
    true = torch.randn(4, 5, CELLS, CELLS, generator=torch.Generator().manual_seed(0))
    mean = torch.zeros(5, CELLS, CELLS)
    best, blind = align.compare(true, true, mean), align.compare(mean[None].expand_as(true) + 1e-9, true, mean)
    assert best == pytest.approx({"cosine_places": 1, "cosine_pooled": 1, "explained": 1})
    assert blind["explained"] == pytest.approx(0, abs=1e-6)


def test_intervals_are_over_clips() -> None:
    rows = [
        {"system": "a", "setting": "s", "clip": str(n), **dict.fromkeys(align.COLUMNS, float(n % 2))} for n in range(40)
    ]
    (row,) = align.summarise(rows)
    assert (row["clips"], row["explained"]) == (40, 0.5)
    assert 0.3 < row["explained_low"] < 0.45 < 0.55 < row["explained_high"] < 0.7
    assert align.summarise(rows[:1])[0]["explained_low"] is None


def test_systems_are_compared_clip_by_clip() -> None:
    rows = [
        {"system": system, "setting": "s", "clip": str(n), **dict.fromkeys(align.COLUMNS, n + more)}
        for n in range(9)
        for system, more in (("vidtok-projector", 0.25), ("ridge", 0.0))
    ]
    (row,) = align.compared(rows)
    assert (row["system"], row["explained"], row["explained_low"], row["explained_high"]) == ("ridge", *[0.25] * 3)


def test_maps_of_any_size_come_to_our_cells() -> None:
    for side in (4, 8, 16, 9):
        assert resampled(torch.ones(2, 3, 5, side, side)).shape == (2, 3, 5, CELLS, CELLS)


# The command


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two clips to hold out, one with a clip and pictures to learn from, one with a picture."""
    out = tmp_path_factory.mktemp("films")
    for folder in ("test", "train", "pictures"):
        (out / folder).mkdir()
    for number in range(2):
        write_video(out / "test" / f"{number}.avi", pictures(12, seed=number, size=(128, 96)))
    write_video(out / "train" / "learn.avi", pictures(12, seed=7, size=(128, 96)))
    for number in range(3):
        (picture,) = pictures(1, seed=20 + number, size=(160, 120))
        cv2.imwrite(str(out / ("train" if number else "pictures") / f"{number}.png"), picture)
    return out


def command(monkeypatch: pytest.MonkeyPatch, films: Path, out: Path, *more: str) -> None:
    """A run of a few steps, on the setting that has the smallest regression."""
    monkeypatch.setattr(align, "QUICK", ("1 level",))
    align.run(
        ["--clips", str(films / "test"), "--learn", str(films / "train"), "--out", str(out), "--quick",
         "--lessons", "12", "--batch", "2", "--width", "16", "--save-every", "2", "--steps", "3", *more]
    )  # fmt: skip


def test_a_run_reports_writes_and_goes_on_where_it_stopped(
    films: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    command(monkeypatch, films, tmp_path, "--images", str(films / "pictures"))
    rows = json.loads((tmp_path / "results.json").read_text())
    assert {row["system"] for row in rows} == set(align.SYSTEMS)
    assert {row["clip"]: row["kind"] for row in rows} == {"0.avi": "clip", "1.avi": "clip", "0.png": "picture"}
    assert len(rows) == 3 * len(align.SYSTEMS)
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert {row["clips"] for row in summary["clip"]} == {2}
    assert all(abs(row["explained"]) < 1e-5 for row in rows if row["system"] == "mean")
    projector = load_projector(tmp_path / "projector.safetensors")
    assert (projector.config.dim, projector.config.tower) == (1280, "efficientnet-lite0")
    assert (tmp_path / "align.png").stat().st_size > 1000
    assert "## clips" in (tmp_path / "report.md").read_text()
    (tmp_path / "results.json").write_text(json.dumps([row for row in rows if row["clip"] != "1.avi"]))
    capsys.readouterr()
    command(monkeypatch, films, tmp_path, "--images", str(films / "pictures"))
    again = json.loads((tmp_path / "results.json").read_text())
    assert again == rows
    said = capsys.readouterr().err
    assert "held out: 100%" in said
    assert "1/1" in said  # only what was missing
    assert "lessons: " not in said
    with pytest.raises(BenchError, match="this run has 12 crops, 4 steps"):
        command(monkeypatch, films, tmp_path, "--images", str(films / "pictures"), "--steps", "4")


def test_without_learn_the_clips_are_split(films: Path, tmp_path: Path) -> None:
    args = align.arguments(["--clips", str(films / "test"), "--out", str(tmp_path)])
    learned, reported = align.split(args)
    assert [path.name for path in learned] == ["1.avi"]
    assert [path.name for path in reported] == ["0.avi"]
    photographs, frames = sources(learned)
    assert not photographs
    assert len(frames) == 1


def test_what_is_missing_is_said(films: Path, tmp_path: Path) -> None:
    with pytest.raises(BenchError, match="one clip cannot be learned from and held out"):
        align.split(align.arguments(["--clips", str(films / "train"), "--out", str(tmp_path)]))
    with pytest.raises(BenchError, match=r"--learn .*nowhere: no such folder"):
        sources([tmp_path / "nowhere"])
    with pytest.raises(BenchError, match="no picture and no video in it"):
        sources([tmp_path])
    pytest.importorskip("transformers", reason="pip install 'vidtok[open]'")
    with pytest.raises(BenchError, match=r"--vision-tower .*nor a vision model to load"):
        open_teacher(str(tmp_path))


def test_other_towers_are_read_at_our_cells(films: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    transformers = pytest.importorskip("transformers", reason="pip install 'vidtok[open]'")
    from tests.vidtok.tiny_vlm import WIDTH, save

    pixels = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (2, 256, 256, 3), np.uint8))
    assert EfficientNet()(pixels).shape == (2, 1, 1280, CELLS, CELLS)
    plain = transformers.CLIPVisionConfig(
        hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=2, image_size=48, patch_size=8
    )
    transformers.CLIPVisionModel(plain).save_pretrained(tmp_path / "clip")
    assert open_teacher(str(tmp_path / "clip"))(pixels).shape == (2, 1, 32, CELLS, CELLS)
    for kind, outs in (("qwen2_5_vl", 1), ("qwen3_vl", 2), ("llava", 1)):
        teacher = open_teacher(str(save(kind, tmp_path / kind)))
        assert teacher(pixels).shape == (2, outs, WIDTH, CELLS, CELLS)
    command(monkeypatch, films, tmp_path / "out", "--vision-tower", str(tmp_path / "qwen3_vl"))
    made = load_projector(tmp_path / "out" / "projector.safetensors")
    assert (made.config.outs, made.config.dim) == (2, WIDTH)
