"""Films of real clips: what is certain of them, what is asked, how it is spread, and that pictures and labels agree."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest

from experiments.bench import BenchError
from experiments.questions import real
from experiments.questions.detectors import GRID, MOST, POINTS
from experiments.questions.kinds import EVENTS, KINDS, STATES, Told, askable, colour_names, run_begins, thirds
from experiments.questions.labels import SIDE, Labels, save
from experiments.questions.real import Stock, choose, open_stock, picture, real_films, there_and_back
from experiments.questions.sightings import UNSURE, Shot, Sightings, joined, lasting, shown, sightings
from experiments.questions.wordings import TEST, TRAIN

COUNT = 40


def labels_of(count: int = COUNT, face: tuple[float, ...] | None = None, hand: bool = False, **told: object) -> Labels:
    """Of a clip in which nothing moves; a face and a hand if wanted."""
    boxes = {name: np.zeros((count, MOST, 5), np.float32) for name in ("near_faces", "far_faces", "hands", "palms")}
    pose, score = np.zeros((count, POINTS, 3), np.float32), np.zeros(count, np.float32)
    if face is not None:
        boxes["far_faces"][:, 0] = (*face, 0.95)
        pose[:, (0, 11, 12)] = ((face[0] + face[2]) / 2, 0.5, 1.0)
        score[:] = 0.9
    if hand:
        boxes["hands"][:, 0] = boxes["palms"][:, 0] = (0.1, 0.6, 0.3, 0.8, 0.99)
    columns: dict[str, object] = boxes | {
        "pose": pose,
        "pose_score": score,
        "selfie": np.full(count, 0.3 if face else 0.0, np.float32),
        "classes": np.zeros((count, 1000), np.float32),
        "flow": np.zeros((count, GRID, GRID, 2), np.float32),
        "change": np.zeros((count, GRID, GRID), np.float32),
        "jump": np.zeros(count, np.float32),
        "ninths": np.full((count, 3, 3, 6), 20, np.float32),
        "tile_people": np.zeros((-(-count // 5), 2), np.float32),
        "words": np.zeros((-(-count // 10), GRID, GRID), np.float32),
        "lines": np.zeros((-(-count // 10), GRID, GRID), np.float32),
    }
    return Labels(**(columns | told))


def told_of(film: Sightings, now: int = COUNT - 5) -> dict[str, str]:
    """What is certain at a moment, without colours."""
    return {told.kind: told.answer for _, told in askable(film, [now]) if told.kind != "colour"}


def whole(name: str = "a", count: int = COUNT) -> Shot:
    return Shot(name, tuple(range(count)))


LEFT_FACE = (0.1, 0.2, 0.3, 0.4)


def test_an_empty_room_and_somebody_on_the_left() -> None:
    empty, somebody = sightings(labels_of()), sightings(labels_of(face=LEFT_FACE, hand=True))
    told = told_of(joined([shown(empty, whole(), 0)]))
    assert told == {
        "person": "no", "faces": "none", "hand": "no", "moves": "no", "screen": "no", "text": "no", "bright": "dark",
        "cut": "no", "came": "no", "went": "no",
    }  # fmt: skip
    told = told_of(joined([shown(somebody, whole(), 0)]))
    assert (told["person"], told["faces"], told["face_where"]) == ("yes", "one", "left")
    assert (told["hand"], told["hand_where"], told["face_moved"], told["raised"]) == ("yes", "left", "no", "neither")


def test_what_networks_disagree_on_is_not_asked() -> None:
    faint = labels_of(far_faces=np.tile(np.float32([*LEFT_FACE, 0.6]), (COUNT, MOST, 1)))
    told = told_of(joined([shown(sightings(faint), whole(), 0)]))
    assert not {"person", "faces", "face_where", "hand"} & set(told)
    tiny = labels_of(tile_people=np.full((COUNT // 5, 2), 0.8, np.float32))
    assert "person" not in told_of(joined([shown(sightings(tiny), whole(), 0)]))


def test_a_view_moves_boxes_mirrors_them_and_loses_what_is_outside() -> None:
    clip = sightings(labels_of(face=LEFT_FACE))
    mirrored = told_of(joined([shown(clip, Shot("a", tuple(range(COUNT)), flip=True), 0)]))
    assert mirrored["face_where"] == "right"
    far_right = (0.5, 0.0, 0.5)
    told = told_of(joined([shown(clip, Shot("a", tuple(range(COUNT)), far_right, far_right), 0)]))
    assert not {"person", "faces", "face_where"} & set(told)
    left = (0.0, 0.1, 0.4)
    told = told_of(joined([shown(clip, Shot("a", tuple(range(COUNT)), left, left), 0)]))
    assert told["face_where"] == "middle"
    assert "moves" not in told_of(joined([shown(clip, Shot("a", tuple(range(COUNT)), left, far_right), 0)]))


def test_motion_is_where_it_is_and_turns_with_the_view() -> None:
    flow, change = np.zeros((COUNT, GRID, GRID, 2), np.float32), np.zeros((COUNT, GRID, GRID), np.float32)
    flow[:, 10:14, :4, 0], change[:, 10:14, :4] = 0.02, 30
    clip = sightings(labels_of(flow=flow, change=change))
    told = told_of(joined([shown(clip, whole(), 0)]))
    assert (told["moves"], told["motion_where"], told["motion_height"], told["way"]) == (
        "yes",
        "left",
        "bottom",
        "right",
    )
    told = told_of(joined([shown(clip, Shot("a", tuple(range(COUNT)), flip=True), 0)]))
    assert (told["motion_where"], told["way"]) == ("right", "left")
    told = told_of(joined([shown(clip, Shot("a", tuple(range(COUNT))[::-1]), 0)]))
    assert told["way"] == "left"


def test_a_cut_is_known_with_what_was_before_and_who_came() -> None:
    classes = np.eye(1000, dtype=np.float32)[np.full(COUNT, 1)]
    fish, somebody = sightings(labels_of(classes=classes)), sightings(labels_of(face=LEFT_FACE))
    film = joined([shown(fish, whole("a"), 0), shown(somebody, whole("b"), 1)])
    now = COUNT + 20
    told = {told.kind: told for _, told in askable(film, [now])}
    assert told["cut"] == Told("cut", "a few seconds ago", ("no", "just now", "a few seconds ago"), COUNT - 1, COUNT)
    assert (told["before"].answer, told["before"].since, told["before"].until) == ("sea animal", 0, COUNT - 1)
    assert (told["came"].answer, told["went"].answer) == ("yes", "no")
    assert told_of(film, COUNT + 8)["cut"] == "just now"
    back = told_of(joined([shown(somebody, whole("b"), 0), shown(fish, whole("a"), 1)]), now)
    assert "came" not in told_of(joined([shown(somebody, whole("a"), 0), shown(somebody, whole("b"), 1)]), now)
    assert (back["before"], back["went"], back["what"]) == ("person", "yes", "sea animal")


def test_parts_of_answers() -> None:
    assert thirds(np.float32([0.1, 0.4, 0.5, 0.9])).tolist() == [0, UNSURE, 1, 2]
    assert run_begins(np.array([1, 1, 0, 0, 0])).tolist() == [0, 0, 2, 2, 2]
    steady = lasting(np.array([1, 1, 1, 0, 1, 1, 1, 1, 0], bool))
    assert steady.tolist() == [False] * 4 + [True] * 4 + [False]
    ninth = np.float32([[220, 20, 20, 5, 5, 5], [20, 30, 200, 5, 5, 5], [220, 20, 20, 90, 5, 5]])
    assert colour_names(ninth).tolist() == [0, 3, UNSURE]
    assert there_and_back(4).tolist() == [0, 1, 2, 3, 2, 1]
    assert there_and_back(1).tolist() == [0]


def test_choices_are_balanced_and_films_are_not_overfull() -> None:
    offers = [(n, 20, Told("person", "yes" if n % 5 else "no", ("yes", "no"), 0, 20)) for n in range(100)]
    offers += [(n, 20, Told("text", "no", ("yes", "no"), 0, 20)) for n in range(100)]
    chosen = choose(offers, "test")
    often = Counter((told.kind, told.answer) for asked in chosen.values() for _, told in asked)
    assert set(often) == {("person", "yes"), ("person", "no")}  # of text, only one answer ever comes
    assert max(often.values()) <= real.EVEN * min(often.values()) + 1
    many = [(0, now, Told("person", "yes" if now % 2 else "no", ("yes", "no"), 0, now)) for now in range(10, 90)]
    assert len(choose(many, "test")[0]) == real.MOST_OF_KIND["test"]


def test_every_kind_has_words_that_do_not_recur_in_tests() -> None:
    assert set(TRAIN) == set(TEST) == set(KINDS) == {*STATES, *EVENTS, "colour"}
    for kind in KINDS:
        assert len(set(TRAIN[kind])) >= 6
        assert len(set(TEST[kind])) == 2
        assert not set(TRAIN[kind]) & set(TEST[kind])


# Whole films


@pytest.fixture
def stock(tmp_path: Path) -> Stock:
    """Three clips and a photograph that hold a mark whose place the labels know."""
    media, cache = tmp_path / "media", tmp_path / "labels"
    media.mkdir(), cache.mkdir()
    told = {
        "left": labels_of(80, (0.1, 0.2, 0.3, 0.4)),
        "right": labels_of(80, (0.7, 0.2, 0.9, 0.4)),
        "nobody": labels_of(80),
        "photo": labels_of(1, classes=np.eye(1000, dtype=np.float32)[[1]]),
    }
    for number, (name, one) in enumerate(told.items()):
        save(cache / f"{name}.npz", one)
        frame = np.full((SIDE, SIDE, 3), 60 + 30 * number, np.uint8)
        x, y = (round(float(v) * SIDE) for v in one.far_faces[0, 0, :2])
        cv2.rectangle(frame, (x, y), (x + 51, y + 51), (0, 0, 255), -1)  # red, in OpenCV's order
        if name == "photo":
            cv2.imwrite(str(media / "photo.png"), frame)
            continue
        film = cv2.VideoWriter(str(media / f"{name}.avi"), cv2.VideoWriter.fourcc(*"MJPG"), 10, (SIDE, SIDE))
        for _ in range(80):
            film.write(frame)
        film.release()
    return open_stock(sorted(media.iterdir()), cache)


@pytest.mark.parametrize("split", ["train", "test"])
def test_films_are_functions_of_the_seed_and_their_questions_fit_the_pictures(stock: Stock, split: str) -> None:
    films = real_films(stock, Path(), split, 3, 6)
    again = real_films(stock, Path(), split, 3, 6)
    assert [film.questions for film in films] == [film.questions for film in again]
    assert [film.name for film in real_films(stock, Path(), split, 4, 6)] != [film.name for film in films]
    questions = [one for film in films for one in film.questions]
    assert {"person", "faces", "cut"} <= {one.kind for one in questions}
    assert all(
        one.real and one.text in (TRAIN if split == "train" else TEST)[one.kind]
        for one in questions
        if one.kind != "colour"
    )
    for film in films[:2]:
        frames = list(film)
        assert len(frames) == film.count >= real.SHORTEST
        assert all(frame.pixels.shape == (SIDE, SIDE, 3) and frame.index == n for n, frame in enumerate(frames))
        for one in film.questions:
            if one.kind == "face_where":
                check_place(frames[round(one.at_s * film.fps)].pixels, one.answer)


def check_place(pixels: np.ndarray, answer: str) -> None:
    """The mark that stands for a face is where the answer says."""
    red = pixels[..., 0].astype(int) - pixels[..., 1] > 60
    x = np.flatnonzero(red.any(0)).mean() / SIDE
    assert answer == ("left" if x < 0.37 else "right" if x > 0.63 else "middle")


def test_a_picture_is_seen_as_its_shot_says() -> None:
    frame = np.zeros((SIDE, SIDE, 3), np.uint8)
    frame[:, : SIDE // 2] = 100
    plain = Shot("a", (0,))
    assert picture(frame, plain.views()[0], plain) is frame
    left = Shot("a", (0,), (0.0, 0.0, 0.5), (0.0, 0.0, 0.5), gain=2.0, tint=(10.0, 0.0, 0.0))
    assert np.unique(picture(frame, left.views()[0], left)[:, : SIDE - 4, 0]).tolist() == [210]
    assert picture(frame, plain.views()[0], Shot("a", (0,), flip=True))[:, -1].min() == 100


def test_what_cannot_be_made_is_said(tmp_path: Path, stock: Stock) -> None:
    with pytest.raises(BenchError, match="labels of none"):
        open_stock([tmp_path / "a.mp4"], tmp_path / "none")
    with pytest.raises(BenchError, match="train or test"):
        real_films(stock, Path(), "other", 0)
    only = real_films(stock, Path(), "train", 0, 4, kinds=("person",))
    assert {one.kind for film in only for one in film.questions} == {"person"}
