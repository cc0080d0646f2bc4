"""What is said of a clip's frames: by arithmetic, by networks, kept in files, and put into everyday categories."""

from __future__ import annotations

import importlib.util
from dataclasses import fields
from pathlib import Path

import cv2
import numpy as np
import pytest

from experiments.bench import BenchError
from experiments.questions import labels
from experiments.questions.categories import by_category, categories, category_of, table
from experiments.questions.detectors import FAINTEST, GRID, MOST, POINTS, Detectors, coverage
from experiments.questions.labels import SIDE, Labels, arithmetic, done, find_media, load_labels, ninths, run, tiles
from vidtok.model.reader import label_names


class FakeLook:
    """Says the same of every picture."""

    def frame(self, picture: np.ndarray) -> dict[str, object]:
        boxes = np.zeros((MOST, 5), np.float32)
        classes = np.eye(1000, dtype=np.float32)[0]
        points = np.zeros((POINTS, 3), np.float32)
        faces = {"near_faces": boxes, "far_faces": boxes, "hands": boxes, "palms": boxes}
        return faces | {"pose": points, "pose_score": 0.0, "selfie": float(picture.mean()) / 255, "classes": classes}

    def people(self, fine: np.ndarray) -> tuple[float, float]:
        return 0.25, 0.5

    def text(self, fine: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return np.zeros((GRID, GRID)), np.ones((GRID, GRID))


def texture(seed: int = 0, side: int = SIDE) -> np.ndarray:
    """A picture that flow can follow."""
    noise = np.random.default_rng(seed).integers(0, 256, (side // 8, side // 8, 3), np.uint8)
    return cv2.resize(noise, (side, side), interpolation=cv2.INTER_CUBIC)


def test_arithmetic_sees_which_way_things_go_and_that_all_changed() -> None:
    still = texture()
    frames = [still, still, np.roll(still, 6, 1), texture(1)]
    told = {name: np.array(column) for name, column in arithmetic(frames).items()}
    assert np.abs(told["flow"][1]).max() < 1e-3
    assert told["change"][:2].max() == 0
    right, down = np.median(told["flow"][2], (0, 1))
    assert right == pytest.approx(6 / SIDE, rel=0.2)
    assert abs(down) < 1 / SIDE
    assert told["jump"][2] < 0.1
    assert told["change"][3].mean() > 40


def test_ninths_have_their_means_and_deviations() -> None:
    picture = np.zeros((SIDE, SIDE, 3), np.uint8)
    picture[: SIDE // 3, -SIDE // 3 :] = (200, 0, 0)
    told = ninths(picture)
    assert told.shape == (3, 3, 6)
    assert told[0, 2] == pytest.approx([200, 0, 0, 0, 0, 0], abs=8)
    assert told[1, 1].max() == 0


def test_four_tiles_show_the_whole_fine_picture() -> None:
    fine = np.arange(512 * 512).reshape(512, 512, 1)
    assert len(np.unique(np.concatenate([tile.ravel() for tile in tiles(fine)]))) == fine.size


def test_coverage_is_where_the_quadrangle_is() -> None:
    quad = np.array([[0, 0], [127, 0], [127, 63], [0, 63]], np.float32)
    covered = coverage([quad], (256, 256))
    assert covered[:4, :8].min() == 1
    assert covered[5:].max() == covered[:, 9:].max() == 0


def test_a_folder_is_labelled_once_and_again_where_a_file_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clips, out = tmp_path / "clips", tmp_path / "out"
    clips.mkdir()
    cv2.imwrite(str(clips / "photo.png"), texture())
    film = cv2.VideoWriter(str(clips / "film.avi"), cv2.VideoWriter.fourcc(*"MJPG"), 10, (96, 96))
    for seed in range(12):
        film.write(texture(seed, 96))
    film.release()
    made: list[str] = []
    monkeypatch.setattr(labels, "Look", lambda: made.append("look") or FakeLook())
    labels._look.cache_clear()
    for _ in range(2):
        run(["--clips", str(clips), "--out", str(out), "--jobs", "1"])
    assert made == ["look"]
    told, photo = load_labels(out / "film.npz"), load_labels(out / "photo.npz")
    assert (told.count, photo.count) == (12, 1)
    assert told.tile_people.shape == (3, 2)
    assert told.words.shape == (2, GRID, GRID)
    assert told.lines.min() == 1
    assert all(getattr(photo, field.name).dtype == np.float32 for field in fields(Labels))
    (out / "film.npz").unlink()
    with pytest.raises(BenchError, match="no labels of this build"):
        load_labels(out / "film.npz")
    run(["--clips", str(clips), "--out", str(out), "--jobs", "1"])
    assert done(out / "film.npz")


def test_folders_that_cannot_be_labelled_are_named(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match="not a folder"):
        find_media(tmp_path / "nowhere")
    with pytest.raises(BenchError, match="no video"):
        find_media(tmp_path)
    for name in ("a.png", "a.jpg"):
        (tmp_path / name).touch()
    with pytest.raises(BenchError, match="rename one"):
        find_media(tmp_path)
    with pytest.raises(BenchError, match="--seconds"):
        run(["--clips", str(tmp_path), "--out", str(tmp_path), "--seconds", "0"])


def test_categories_share_no_class_and_mean_what_they_say() -> None:
    classes = [number for members in table().values() for number in members]
    assert len(classes) == len(set(classes)) > 700
    known = {"tabby cat": "cat", "pug": "dog", "kingsnake": "reptile", "website": "screen or computer"}
    for label, category in known.items():
        assert category_of(label_names().index(label)) == category
    assert category_of(label_names().index("toilet paper")) is None
    told = by_category(np.eye(1000, dtype=np.float32)[[label_names().index("pug")]])
    assert categories()[int(told[0].argmax())] == "dog"


@pytest.mark.skipif(importlib.util.find_spec("mediapipe") is None, reason="mediapipe has no build for this Python")
def test_the_detectors_see_nobody_in_noise() -> None:
    look = Detectors()
    assert look.faces(texture(), near=True)[0, 4] < 0.5
    assert look.faces(np.zeros((SIDE, SIDE, 3), np.uint8), near=False)[0, 4] < FAINTEST
    hands, palms = look.hands(texture())
    assert hands.shape == palms.shape == (MOST, 5)
    points, score = look.pose(texture())
    assert points.shape == (POINTS, 3)
    assert score < 0.5
    assert 0 <= look.selfie(texture()) <= 1
