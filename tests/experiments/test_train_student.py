"""The student from the command line: a few steps on clips made here, stopped and resumed, exported, run as the edge."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import ModuleType

import av
import numpy as np
import pytest
import torch

from experiments import export_student, student_lessons, train_student
from experiments.student import FRONTS, GistStudent, Student
from experiments.student_lessons import CELLS, HELD_OUT, Lessons
from experiments.train_student import MuonConv, Noise, Pupil, both
from vidtok.model.tower import load_tower
from vidtok.tokenizer.edge import EdgeEncoder
from vidtok.tokenizer.fsq import CHANNELS, GIST, GIST_LEVELS, LEVELS, SEEN_LEVELS


def run(monkeypatch: pytest.MonkeyPatch, module: ModuleType, *args: str | Path | float) -> None:
    """As its command line would."""
    monkeypatch.setattr(sys, "argv", [module.__name__, *map(str, args)])
    module.main()


def film(path: Path, rng: np.random.Generator) -> None:
    """Three frames of coarse noise."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=2)
        stream.width, stream.height, stream.pix_fmt = 320, 288, "yuv420p"
        for _ in range(3):
            pixels = np.kron(rng.integers(0, 256, (9, 10, 3), dtype=np.uint8), np.ones((32, 32, 1), np.uint8))
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, "rgb24")))
        container.mux(stream.encode(None))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # what torch's exporter says of itself is no error of ours
def test_a_student_trains_resumes_and_takes_the_encoders_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = np.random.default_rng(0)
    clips, out, shipped = (tmp_path / name for name in ("clips", "run", "weights"))
    clips.mkdir()
    for number in range(HELD_OUT):
        film(clips / f"{number}.mp4", rng)
    monkeypatch.setattr(student_lessons, "SCENES", ("still",))
    common = ("--clips", clips, "--out", out, "--lessons", 6, "--batch", 2, "--save-every", 1)
    for steps, more in ((1, ()), (2, ("--view",))):
        run(monkeypatch, train_student, *common, "--steps", steps, *more)
        assert int(torch.load(out / "checkpoint.pt", weights_only=True)["step"]) == steps
    assert "1/2" in capsys.readouterr().err  # it went on, it did not begin again
    rows = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    assert [len(rows[-1][name]) for name in ("equal", "gist_equal")] == [LEVELS, GIST_LEVELS]
    assert np.shape(rows[-1]["cosine"]) == np.shape(rows[-1]["encoder_cosine"]) == (2, SEEN_LEVELS + 1)

    learned, held = Lessons.of(out / "lessons"), Lessons.of(out / "held")
    assert (len(learned), len(held)) == (6, 2)  # of one clip in six, a frame a second
    assert not any((held.pictures[0] == picture).all() for picture in learned.pictures)
    teacher = EdgeEncoder()
    taught = teacher(held.pictures[1])[:CELLS, :CELLS].transpose(2, 0, 1)
    np.testing.assert_allclose(held.latents[1], taught, atol=1e-3)
    np.testing.assert_allclose(held.gist[1], teacher.gist(), atol=1e-3)

    monkeypatch.setattr(
        export_student, "load_images", lambda *_: [rng.integers(0, 256, (320, 330, 3), dtype=np.uint8)] * 2
    )
    run(monkeypatch, export_student, "--run", out, "--images", clips, "--out", shipped)
    assert {path.name for path in shipped.iterdir()} == {"encoder.onnx", "gist.onnx"}  # nothing half-made is left
    student = EdgeEncoder(shipped)
    assert student(held.pictures[0]).shape == (CELLS + 1, CELLS + 1, CHANNELS)
    assert student.gist().shape == (GIST,)
    moved = student(np.zeros((208, 368, 3), np.uint8), (5, 21))
    assert moved.shape == (8, 13, CHANNELS)
    assert np.isfinite(student.gist()).all()


@pytest.mark.parametrize("front", FRONTS)
@pytest.mark.parametrize("size", [(64, 64), (96, 160)])
def test_a_student_gives_what_the_encoder_gives(size: tuple[int, int], front: str) -> None:
    rows, cols = size[0] // 32, size[1] // 32
    with torch.inference_mode():
        latents, features = Student(front)(torch.zeros(2, 3, *size))
        gist = GistStudent()(features)
    assert latents.shape == (2, CHANNELS, rows, cols)
    assert features.shape == (2, 112, 2 * rows, 2 * cols)
    assert gist.shape == (2, GIST)
    assert max(float(latents.abs().max()), float(gist.abs().max())) <= 1


def test_the_towers_stages_begin_as_they_are_and_learn_little() -> None:
    pupil, tower = Pupil("tower"), load_tower()
    pupil.begin()
    begun = {parameter for module in pupil.begun() for parameter in module.parameters(recurse=False)}
    for mine, theirs in zip(pupil.student.front.stages.parameters(), tower.front.stages[3:].parameters(), strict=True):
        assert mine in begun
        torch.testing.assert_close(mine.detach(), theirs, atol=1e-3, rtol=1e-3)  # the shipped ones are halves
    shares = [group.get("share", 1.0) for group in both(pupil).param_groups]
    assert shares[-1] == min(shares)


def test_muon_moves_kernels_of_any_shape_and_goes_on_from_its_state() -> None:
    def trained(steps: int, state: dict[str, object] | None, start: torch.Tensor) -> tuple[torch.Tensor, MuonConv]:
        kernel = torch.nn.Parameter(start.clone().contiguous(memory_format=torch.channels_last))
        optimiser = MuonConv([kernel])
        if state is not None:
            optimiser.load_state_dict(state)
        for _ in range(steps):
            optimiser.zero_grad()
            (kernel - 1).square().sum().backward()
            optimiser.step()
        return kernel.detach(), optimiser

    start = torch.randn(8, 4, 3, 3, generator=torch.Generator().manual_seed(0))
    whole, _ = trained(3, None, start)
    half, optimiser = trained(2, None, start)
    resumed, _ = trained(1, optimiser.state_dict(), half)
    assert float((whole - 1).square().sum()) < float((start - 1).square().sum())
    torch.testing.assert_close(resumed, whole)


def test_noise_disturbs_some_pictures_and_leaves_the_rest_alone() -> None:
    clean = torch.zeros(64, 3, 8, 8)
    noisy = Noise(0)(clean, np.random.default_rng(0))
    touched = noisy.flatten(1).any(1)
    assert not clean.any()
    assert 16 < int(touched.sum()) < 48
    assert float(noisy.abs().max()) < 0.3


def test_no_clips_to_hold_out_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SystemExit, match="at least 6 videos"):
        run(monkeypatch, train_student, "--out", tmp_path)
