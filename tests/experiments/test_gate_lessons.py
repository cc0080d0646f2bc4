"""What the gate learns from is what was planted, and what came next; a tiny run of the training, whole."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest

from edge_gate.memory import inputs
from edge_gate.network import GateNetwork
from edge_gate.scene import Scene
from experiments import train_gate
from experiments.gate_lessons import NONE, UNSURE, WHOLE, Stream, lesson_of, make_stream, plan
from experiments.planting import Event, plant
from vidtok.tokenizer.edge import EdgeEncoder, load_info
from vidtok.tokenizer.fsq import LEVELS


def wall(seed: int = 0) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    small = np.random.default_rng(seed).integers(40, 210, (16, 16, 3), np.uint8)
    return small.repeat(8, 0).repeat(8, 1)


def test_an_event_is_a_lesson_while_it_is_fresh_and_in_its_cells_only() -> None:
    event = Event("appears", 1000, 20, 10, 32, 64, 32, 1.0, 5)
    frames = [plant(wall(), [event], k) for k in range(50)]
    lesson = lesson_of(Stream(frames, 10.0, "disturbed", [event]), EdgeEncoder(), load_info().sensitivity, _rng())
    assert lesson.asked.shape[1:] == (inputs(LEVELS), 4, 4)
    told = [(looks == WHOLE).nonzero() for looks in lesson.event]
    whole = [places for places in told if len(places[0])]
    assert whole
    assert all((rows, cols) == ([2], [1]) for rows, cols in whole)
    assert (lesson.event != UNSURE).mean() > 0.8
    assert lesson.event[0].max() == NONE


def test_what_stays_lasts_longer_than_what_flashes() -> None:
    stays = Event("appears", 9999, 10, 60, 32, 64, 32, 1.0, 5)
    flashes = Event("appears", 100, 10, 1, 32, 64, 32, 1.0, 5)
    seconds = []
    for event in (stays, flashes):
        frames = [plant(wall(), [event], k) for k in range(60)]
        lesson = lesson_of(Stream(frames, 10.0, "disturbed", [event]), EdgeEncoder(), load_info().sensitivity, _rng())
        first = next(k for k, looks in enumerate(lesson.event) if (looks == WHOLE).any())
        seconds.append(float(lesson.lasts[first, 2, 1]))
    assert seconds[0] > 2.5
    assert seconds[1] < 0.5


def test_a_stream_is_drawn_with_its_seed() -> None:
    film = [wall(seed) for seed in range(30)]
    one, again, other = (make_stream(film, 30.0, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert one.events == again.events
    assert all(map(np.array_equal, one.frames, again.frames))
    assert one.kind != other.kind or one.events != other.events or one.fps != other.fps


def test_events_leave_room_between_them() -> None:
    events = plan(np.random.default_rng(3), (256, 256), 30.0, 600)
    assert len(events) > 5
    assert all(after.first - before.end > 10 for before, after in pairwise(events))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_gate_is_trained_from_a_folder_of_videos(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(train_gate, "HELD_OUT", 2)
    monkeypatch.setattr(train_gate, "SIDE", 64)
    clips, out = tmp_path / "clips", tmp_path / "run"
    clips.mkdir()
    for name in ("a", "b"):
        _write(clips / f"{name}.mp4")
    command = ["--clips", str(clips), "--out", str(out), "--streams", "2", "--save-every", "5", "--jobs", "1"]
    train_gate.main([*command, "--steps", "5"])
    train_gate.main([*command, "--steps", "10"])
    assert "waking at" in capsys.readouterr().out
    assert json.loads((out / "gate.json").read_text())["steps"] == 10
    said = GateNetwork(out)(np.zeros((inputs(LEVELS), 2, 2), np.float32))
    assert said.event.shape == (2, 2)
    assert {"curve.png", "waking.png", "examined.json"} <= {path.name for path in out.iterdir()}


def _rng() -> np.random.Generator:
    return np.random.default_rng(0)


def _write(path: Path) -> None:
    scene = Scene(size=(64, 64), variant="events")
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=30)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        for k in range(40):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(scene.frame(k).pixels, format="rgb24")))
        container.mux(stream.encode())
