"""Clips go back and forth, are spread over their folder and left out where they cannot be read."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np

from experiments.backdrops import Film, find_films, spread
from tests.experiments.event_toys import FILM, SIZE


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


def test_a_size_has_one_name() -> None:
    assert replace(FILM, size=(256, 256)).shape == "256"
    assert replace(FILM, size=(320, 240)).shape == "320x240"
