"""The command line: help for everything, and one line for everything that a person can get wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.vidtok.command import vidtok

COMMANDS = ("demo", "send", "replay", "serve", "encode", "decode", "info", "trace")


def complaint(*args: str | Path) -> str:
    """The one line on stderr with which a command fails."""
    out = vidtok(*args)
    assert out.returncode not in (0, 2), out
    assert "Traceback" not in out.stderr
    lines = out.stderr.splitlines()
    assert len(lines) == 1, out.stderr
    assert lines[0].startswith("vidtok: ")
    assert out.stdout == ""
    return lines[0]


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("cli") / "scene.vtk"
    out = vidtok("encode", "scene:still", path, "--size", "96x64", "--seconds", "0.5")
    assert out.returncode == 0, out.stderr
    assert "96x64" in out.stdout
    assert [each.name for each in path.parent.iterdir()] == ["scene.vtk"]
    return path


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(command: str) -> None:
    out = vidtok(command, "--help")
    assert out.returncode == 0
    assert out.stderr == ""
    assert out.stdout.startswith(f"usage: vidtok {command}")


def test_the_help_names_every_command() -> None:
    out = vidtok("--help")
    assert out.returncode == 0
    assert all(command in out.stdout for command in COMMANDS)


def test_no_command_is_a_usage_error() -> None:
    out = vidtok()
    assert out.returncode == 2
    assert "Traceback" not in out.stderr


@pytest.mark.parametrize("option", [("--kbps", "0"), ("--kbps", "nan"), ("--fps", "-1"), ("--seconds", "soon")])
def test_values_that_make_no_sense_are_usage_errors(tmp_path: Path, option: tuple[str, str]) -> None:
    out = vidtok("encode", "scene", tmp_path / "out.vtk", *option)
    assert out.returncode == 2
    assert "Traceback" not in out.stderr
    assert list(tmp_path.iterdir()) == []


def test_info_tells_what_a_recording_holds(recording: Path) -> None:
    out = vidtok("info", recording)
    assert out.returncode == 0, out.stderr
    for word in ("scene:still", "96x64", "kbps", "tokens/s", "set"):
        assert word in out.stdout


def test_info_on_a_truncated_file_is_one_line(recording: Path, tmp_path: Path) -> None:
    path = tmp_path / "cut.vtk"
    path.write_bytes(recording.read_bytes()[:-20])
    assert "cut.vtk" in complaint("info", path)


def test_info_on_a_corrupted_file_is_one_line(recording: Path, tmp_path: Path) -> None:
    data = bytearray(recording.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path = tmp_path / "bad.vtk"
    path.write_bytes(data)
    assert "bad.vtk" in complaint("info", path)


def test_info_on_a_foreign_file_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "film.mp4"
    path.write_bytes(b"\x00\x00\x00\x18ftypmp42" * 9)
    assert "film.mp4" in complaint("info", path)


def test_info_on_a_missing_file_or_a_folder_is_one_line(tmp_path: Path) -> None:
    assert "nowhere.vtk" in complaint("info", tmp_path / "nowhere.vtk")
    assert str(tmp_path) in complaint("info", tmp_path)


def test_encoding_a_missing_file_is_one_line_and_leaves_nothing(tmp_path: Path) -> None:
    assert "nowhere.mp4" in complaint("encode", tmp_path / "nowhere.mp4", tmp_path / "out.vtk")
    assert list(tmp_path.iterdir()) == []


def test_encoding_a_file_that_is_no_video_is_one_line_and_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "text.mp4").write_text("not a video\n" * 20)
    assert "text.mp4" in complaint("encode", tmp_path / "text.mp4", tmp_path / "out.vtk")
    assert [path.name for path in tmp_path.iterdir()] == ["text.mp4"]


def test_encoding_into_a_folder_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    complaint("encode", "scene", tmp_path / "no" / "out.vtk", "--size", "96x64", "--seconds", "0.3")
    assert list(tmp_path.iterdir()) == []


def test_decoding_a_truncated_file_is_one_line_and_leaves_no_film(recording: Path, tmp_path: Path) -> None:
    (tmp_path / "cut.vtk").write_bytes(recording.read_bytes()[:-20])
    assert "cut.vtk" in complaint("decode", tmp_path / "cut.vtk", tmp_path / "out.mp4")
    assert [path.name for path in tmp_path.iterdir()] == ["cut.vtk"]


def test_an_unknown_scene_is_one_line(tmp_path: Path) -> None:
    assert "scene:nowhere" in complaint("encode", "scene:nowhere", tmp_path / "out.vtk")


EVENTS = """\
{"time": 5.0, "name": "connected", "session_id": "00"}
{"time": 5.1, "name": "sent", "version": 1, "base": 0, "size": 100, "lane": "delta"}
{"time": 5.2, "name": "acked", "version": 1, "rtt_ms": 80.5, "queue_ms": 0.0}
{"time": 6.0, "name": "drop", "reason": "past-deadline", "version": 2}
"""


def test_a_trace_is_told_and_drawn_beside_its_file(tmp_path: Path) -> None:
    path = tmp_path / "stream-1.jsonl"
    path.write_text(EVENTS)
    out = vidtok("trace", path)
    assert out.returncode == 0, out.stderr
    for word in ("1.0 s, 4 events", "past-deadline 1", "median 80.5 ms", "stream-1.png"):
        assert word in out.stdout
    assert (tmp_path / "stream-1.png").read_bytes().startswith(b"\x89PNG")


def test_a_trace_that_is_still_being_written_is_noted_as_cut(tmp_path: Path) -> None:
    path = tmp_path / "stream.jsonl"
    path.write_text(EVENTS + '{"time": 6.1, "na')
    out = vidtok("trace", path, "--out", tmp_path / "picture.png")
    assert out.returncode == 0, out.stderr
    assert "note: line 5 is cut and left out" in out.stdout
    assert (tmp_path / "picture.png").exists()


def test_a_file_that_is_no_trace_is_one_line_and_leaves_no_picture(tmp_path: Path) -> None:
    (tmp_path / "film.mp4").write_bytes(b"\x00\x00\x00\x18ftypmp42\n" * 9)
    assert "film.mp4, line 1" in complaint("trace", tmp_path / "film.mp4")
    (tmp_path / "empty.jsonl").write_text("")
    assert "empty.jsonl" in complaint("trace", tmp_path / "empty.jsonl")
    assert "nowhere.jsonl" in complaint("trace", tmp_path / "nowhere.jsonl")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty.jsonl", "film.mp4"]


def test_a_trace_is_never_drawn_over(tmp_path: Path) -> None:
    path = tmp_path / "trace.png"
    path.write_text(EVENTS)
    assert "--out" in complaint("trace", path)
    assert ".png" in complaint("trace", path, "--out", tmp_path / "picture.jpg")
    assert path.read_text() == EVENTS


@pytest.mark.parametrize(
    "options",
    [("--workers", "4"), ("--workers", "ray:0"), ("--workers", "ray:2", "--model", "none"), ("--max-sessions", "0")],
)
def test_serving_in_a_way_that_makes_no_sense_is_one_line(options: tuple[str, ...]) -> None:
    assert options[0] in complaint("serve", "--port", "0", *options)


def test_serving_with_a_trace_into_no_folder_is_one_line(tmp_path: Path) -> None:
    assert "--trace" in complaint("serve", "--port", "0", "--trace", tmp_path / "no" / "trace.jsonl")
