"""Recordings: what is written is what the live loop shows; what is damaged is refused in one line."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from edge_gate.budget import Caps
from edge_gate.scene import Scene
from edge_gate.source import Frame, SourceError
from tests.vidtok.fakes import FakeEncoder, blocks, calm, frames, tables
from transport import RecordingError
from transport.adapters.file import CONTAINER_VERSION, MAGIC, FileReader, FileWriter
from vidtok.canvas import Grid
from vidtok.entropy import load_tables
from vidtok.live import recording as recording_module
from vidtok.live.link import codec_hash
from vidtok.live.recording import Loop, Replay, encode, frames_of
from vidtok.live.sender import SendConfig, hello
from vidtok.tokenizer.edge import load_info

SIZE = (176, 112)  # neither side is whole cells
GRID = Grid(*SIZE)


@pytest.fixture(scope="module", autouse=True)
def _tables_are_read_once() -> Iterator[None]:
    """They never change, and a recording that is refused early is played in less time than they take."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(recording_module, "load_tables", cache(load_tables))
        yield


def moving_scene() -> Scene:
    return Scene(SIZE, variant="tour", duration_s=1.2)


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dozen frames of the built-in scene, by the shipped encoder."""
    path = tmp_path_factory.mktemp("recording") / "scene.vtk"
    steps = list(encode(moving_scene(), path, SendConfig(caps=Caps(60.0, 600.0))))
    assert len(steps) == 12
    return path


def refused(path: Path) -> str:
    """The one line with which a recording is refused."""
    with pytest.raises(RecordingError) as caught:
        list(Replay(path))
    line = str(caught.value)
    assert "\n" not in line
    assert str(path) in line
    return line


def damaged(recording: Path, tmp_path: Path, data: bytes) -> Path:
    path = tmp_path / f"damaged {recording.name}"
    path.write_bytes(data)
    return path


# Whole ones


def test_a_replay_shows_what_the_live_loop_showed(recording: Path) -> None:
    scene = moving_scene()
    loop = Loop(Grid(*scene.size), SendConfig(caps=Caps(60.0, 600.0)), fps=scene.fps, name=scene.name)
    live = []
    for frame in scene:
        loop.step(frame)
        live.append(loop.receiver.canvas)
    shown = {update.canvas.version: update.canvas for _, update in Replay(recording)}
    assert len(shown) > 5
    for canvas in live:
        assert canvas is not None
        assert canvas.version == 0 or shown[canvas.version] == canvas
    assert live[-1] is not None
    assert max(shown) == live[-1].version


def test_a_recording_of_a_fake_encoders_loop_replays_with_its_tables(tmp_path: Path) -> None:
    path = tmp_path / "fake.vtk"
    build = codec_hash(load_tables(), load_info().digest)
    rng = np.random.default_rng(0)
    live = {}
    with FileWriter(path, dict(hello(GRID, 10.0, "fake")), build) as writer:

        def tap(now: float, lane: object, data: bytes) -> None:
            writer.write(round(now * 1000), lane, data)  # type: ignore[arg-type]

        loop = Loop(GRID, calm(), fps=10.0, name="fake", tap=tap, encoder=FakeEncoder())
        for frame in frames([blocks(rng, GRID) for _ in range(15)], 10.0):
            loop.step(frame)
            canvas = loop.receiver.canvas
            assert canvas is not None
            live[canvas.version] = canvas
        loop.finish(2.0)
    shown = {update.canvas.version: update.canvas for _, update in Replay(path)}
    assert all(shown[version] == canvas for version, canvas in live.items() if version)
    assert shown[max(live)] == live[max(live)]


def test_encoding_twice_gives_the_same_file(recording: Path, tmp_path: Path) -> None:
    list(encode(moving_scene(), tmp_path / "again.vtk", SendConfig(caps=Caps(60.0, 600.0))))
    assert (tmp_path / "again.vtk").read_bytes() == recording.read_bytes()


def test_a_replay_can_be_played_again(recording: Path) -> None:
    replay = Replay(recording)
    first = [(now, update.canvas.state_hash()) for now, update in replay]
    summary = replay.summary
    assert [(now, update.canvas.state_hash()) for now, update in replay] == first
    assert replay.summary == summary


def test_the_summary_adds_up(recording: Path) -> None:
    replay = Replay(recording)
    updates = [update for _, update in replay]
    summary = replay.summary
    assert summary.versions == len(updates)
    assert summary.tokens == sum(update.edits.tokens for update in updates)
    assert summary.edits["gist"] == sum(update.edits.gist_depth > 0 for update in updates) > 0
    assert summary.edits.total() - summary.edits["gist"] == sum(int((u.edits.kind > 0).sum()) for u in updates)
    assert summary.bytes == sum(len(record.data) for record in FileReader(recording))
    assert (summary.meta["width"], summary.meta["height"]) == SIZE
    assert summary.meta["source"] == "scene:tour"
    assert any("176x112" in line for line in summary.lines())


def test_every_tick_has_the_newest_canvas_that_had_arrived(recording: Path) -> None:
    arrived = [(now, update.canvas) for now, update in Replay(recording)]
    ticks = list(frames_of(Replay(recording), 10.0))
    assert np.allclose(np.diff([now for now, _ in ticks]), 0.1)
    for now, canvas in ticks:
        assert canvas == [shown for time, shown in arrived if time <= now + 1e-9][-1]
    assert ticks[-1][1] == arrived[-1][1]


def test_a_source_of_nothing_gives_a_whole_empty_recording(tmp_path: Path) -> None:
    assert list(encode(Scene(SIZE, variant="still", duration_s=0.0), tmp_path / "empty.vtk")) == []
    replay = Replay(tmp_path / "empty.vtk")
    assert list(replay) == []
    assert replay.summary.versions == 0
    assert list(frames_of(replay, 10.0)) == []
    assert replay.summary.lines()


# Damaged ones


def test_truncated_anywhere_is_refused(recording: Path, tmp_path: Path) -> None:
    data = recording.read_bytes()
    for size in [*range(1, len(data), 50), len(data) - 1, len(data) - 5]:
        assert "truncated" in refused(damaged(recording, tmp_path, data[:size])), size


def test_corrupted_anywhere_is_refused(recording: Path, tmp_path: Path) -> None:
    data = recording.read_bytes()
    for place in [*range(0, len(data), 50), len(data) - 1]:
        hurt = bytearray(data)
        hurt[place] ^= 0x10
        refused(damaged(recording, tmp_path, bytes(hurt)))


@pytest.mark.parametrize("data", [b"", b"hello\n", bytes(1000), b"\x00\x00\x00\x18ftypmp42" * 40, b"\xff" * 500])
def test_foreign_files_are_refused(recording: Path, tmp_path: Path, data: bytes) -> None:
    assert "not a vidtok recording" in refused(damaged(recording, tmp_path, data))


def test_a_newer_container_says_to_update(recording: Path, tmp_path: Path) -> None:
    data = bytearray(recording.read_bytes())
    data[len(MAGIC)] = CONTAINER_VERSION + 1
    assert "update vidtok" in refused(damaged(recording, tmp_path, bytes(data)))


def test_bytes_after_the_end_are_refused(recording: Path, tmp_path: Path) -> None:
    refused(damaged(recording, tmp_path, recording.read_bytes() + b"\0"))


@pytest.mark.parametrize("build", [bytes(16), b"", codec_hash(tables(), b"fake enc")])
def test_another_build_is_refused(recording: Path, tmp_path: Path, build: bytes) -> None:
    path = tmp_path / "other.vtk"
    reader = FileReader(recording)
    with FileWriter(path, reader.meta, build) as writer:
        for record in reader:
            writer.write(record.time_ms, record.lane, record.data)
    with pytest.raises(RecordingError, match="another build") as caught:
        Replay(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_whole_containers_with_packets_that_make_no_sense_are_refused(recording: Path, tmp_path: Path) -> None:
    records = list(FileReader(recording))
    longest = max(range(len(records)), key=lambda k: len(records[k].data))
    for number, change in enumerate((b"", b"\xff" * 60, records[longest].data[:-4] + b"\xa5\x5a\xa5\x5a")):
        path = tmp_path / f"{number}.vtk"
        reader = FileReader(recording)
        with FileWriter(path, reader.meta, reader.codec_hash) as writer:
            for k, record in enumerate(records):
                writer.write(record.time_ms, record.lane, change if k == longest else record.data)
        refused(path)


def test_a_greeting_that_names_no_size_is_refused(recording: Path, tmp_path: Path) -> None:
    from transport import Lane, Role, Session

    build, path = FileReader(recording).codec_hash, tmp_path / "sizeless.vtk"
    session = Session(Role.SENDER, codec_hash=build, meta={"who": "me"}, now=0.0, wall_ms=0, session_id=bytes(16))
    with FileWriter(path, {}, build) as writer:
        for _, data in session.datagrams_to_send(0.0):
            writer.write(0, Lane.CONTROL, data)
    refused(path)


def test_the_header_is_checked_before_anything_is_played(recording: Path, tmp_path: Path) -> None:
    data = recording.read_bytes()
    size = struct.unpack_from(">H", data, len(MAGIC) + 1)[0]
    for place in (len(MAGIC) + 1, len(MAGIC) + 3, len(MAGIC) + 2 + size):
        hurt = bytearray(data)
        hurt[place] ^= 0x01
        with pytest.raises(RecordingError):
            Replay(damaged(recording, tmp_path, bytes(hurt)))


# Nothing half-written


class Breaking(Scene):
    """A camera whose cable is pulled after three frames."""

    def __iter__(self) -> Iterator[Frame]:
        for frame in super().__iter__():
            if frame.index == 3:
                raise RuntimeError("unplugged")
            yield frame


def test_an_error_in_the_middle_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="unplugged"):
        list(encode(Breaking(SIZE, variant="still", duration_s=1.0), tmp_path / "out.vtk"))
    assert list(tmp_path.iterdir()) == []


def test_stopping_in_the_middle_leaves_nothing(tmp_path: Path) -> None:
    steps = encode(moving_scene(), tmp_path / "out.vtk")
    next(steps)
    assert [path.name for path in tmp_path.iterdir()] == ["out.vtk.part"]
    steps.close()  # type: ignore[attr-defined]
    assert list(tmp_path.iterdir()) == []


def test_an_error_leaves_the_older_recording_as_it_was(recording: Path, tmp_path: Path) -> None:
    path = tmp_path / "out.vtk"
    path.write_bytes(recording.read_bytes())
    with pytest.raises(RuntimeError, match="unplugged"):
        list(encode(Breaking(SIZE, variant="still", duration_s=1.0), path))
    assert [each.name for each in tmp_path.iterdir()] == ["out.vtk"]
    assert path.read_bytes() == recording.read_bytes()


class Unplugged:
    """A camera that is unplugged after a few frames."""

    name, size, fps, live = "camera 0", (64, 64), 10.0, True

    def __iter__(self):
        scene = Scene(size=self.size, fps=self.fps, variant="still")
        yield from (scene.frame(k) for k in range(4))
        raise SourceError("camera 0: unplugged")

    def close(self) -> None:
        """Nothing to close."""


def test_what_a_camera_saw_before_it_was_unplugged_is_kept(tmp_path: Path) -> None:
    assert len(list(encode(Unplugged(), tmp_path / "a.vtk"))) == 4
    assert list(Replay(tmp_path / "a.vtk"))
