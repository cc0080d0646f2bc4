"""What is certain of a clip, from what the networks say of it; and of a film that is cut from clips.

    Labels --thresholds, agreement, steadiness--> Sightings of a clip --Shot: frames, view, flip, gain--> of a film

Three answers: YES, NO, and UNSURE wherever networks disagree or hesitate. Nothing is asked where it is UNSURE.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_closing, binary_opening, maximum_filter1d, minimum_filter1d

from experiments.questions.categories import by_category, categories
from experiments.questions.detectors import GRID, MOST
from experiments.questions.labels import FPS, TEXT_STEP, TILE_STEP, Labels

Floats = NDArray[np.float32]
Ints = NDArray[np.int8]

YES, NO, UNSURE = 1, 0, -1
SURE_FACE, SURE_POSE, SURE_HAND = 0.75, 0.8, 0.9
SMALLEST_FACE, SMALLEST_HAND = 0.07, 0.08  # of the frame's width; nobody need answer for smaller ones
AROUND = 10  # frames before and after in which nothing may hint at what is not there
STEADY = 4  # frames for which something must last
SURE_CATEGORY, NO_CATEGORY = 0.6, 0.05
FADED = 22.0  # grey levels by which the ninths may change within a second of one scene
ALONE = {  # what photographs are of that nobody holds or wears
    "bird", "sea animal", "reptile", "insect", "other animal", "food", "fruit or vegetable", "building", "landscape",
    "flower or mushroom", "screen or computer",
}  # fmt: skip
FINGERS = 0.09  # how far a hand reaches from its wrist, in frame widths
NOSE, SHOULDERS, WRISTS = 0, (11, 12), (15, 16)


@dataclass(frozen=True, eq=False)
class Sightings:
    """T frames, each by itself or with those around it."""

    faces: Floats  # (T, MOST, 5) boxes of both networks, the surest first
    hands: Floats  # (T, MOST, 5)
    reach: Floats  # (T, 2 * MOST + 2, 5) wherever a hand could be: hands, palms, around wrists; score 1
    whose: Ints  # (T,) YES where a whole body is sure, so that its hands are nowhere else
    nose: Floats  # (T, 3) of the surest pose: x, y, 1 where it is in sight
    person: Ints  # (T,) YES, NO, UNSURE
    hand: Ints  # (T,)
    category: NDArray[np.int16]  # (T,) of categories(), or UNSURE
    screen: Ints  # (T,) is it what a screen shows
    words: Ints  # (T, GRID, GRID) YES where words were read, NO where nothing looks like writing
    flow: Floats  # (T, GRID, GRID, 2) in frame widths a frame
    change: Floats  # (T, GRID, GRID)
    jump: Ints  # (T,) did all change at once
    colour: Floats  # (T, 3, 3, 6)
    filmed: Ints  # (T,) YES: motion means something; NO for photographs
    whole: Ints  # (T,) YES: no zoom, the ninths are where they were
    shot: NDArray[np.int16]  # (T,) number of the shot in the film

    @property
    def count(self) -> int:
        """Frames."""
        return len(self.person)


# Of a clip


def sightings(labels: Labels) -> Sightings:
    """What is certain of a clip, or of a photograph."""
    count = labels.count
    category = by_category(labels.classes)
    best = category.argmax(1)
    sure = lasting(category.max(1) >= SURE_CATEGORY) & lasting_same(best)
    faces = merge_faces(labels)
    person = person_of(labels, faces)
    if count == 1 and not (sure[0] and categories()[best[0]] in ALONE):
        person = np.where(person == NO, UNSURE, person).astype(np.int8)  # one look at helmets or backs is too few
    hand = hand_of(labels, person)
    return Sightings(
        faces=faces,
        hands=labels.hands,
        reach=reach_of(labels),
        whose=np.where((person == YES) & (labels.pose_score >= SURE_POSE), YES, UNSURE).astype(np.int8),
        nose=np.concatenate([labels.pose[:, NOSE, :2], _nose_seen(labels)[:, None]], 1).astype(np.float32),
        person=person,
        hand=hand,
        category=np.where(sure & (person != YES) & (hand != YES), best, UNSURE).astype(np.int16),
        screen=screen_of(labels, category, person),
        words=words_of(labels),
        flow=labels.flow,
        change=labels.change,
        jump=jump_of(labels),
        colour=labels.ninths,
        filmed=np.full(count, YES if count > 1 else NO, np.int8),
        whole=np.full(count, YES, np.int8),
        shot=np.zeros(count, np.int16),
    )


def merge_faces(labels: Labels) -> Floats:
    """The faces of both networks (T, MOST, 5): one box of two that overlap, the surer."""
    both = np.concatenate([labels.near_faces, labels.far_faces], 1)
    both = np.take_along_axis(both, np.argsort(-both[..., 4:], 1, kind="stable"), 1)
    kept = both[..., 4] > 0
    for later in range(1, both.shape[1]):
        for earlier in range(later):
            same = overlap(both[:, earlier], both[:, later]) > 0.25
            kept[:, later] &= ~(kept[:, earlier] & same)
    both = both * kept[..., None]
    return np.take_along_axis(both, np.argsort(-both[..., 4:], 1, kind="stable"), 1)[:, :MOST]


def overlap(a: Floats, b: Floats) -> Floats:
    """Common area of boxes (..., 5) over the smaller one's."""
    sides = np.minimum(a[..., 2:4], b[..., 2:4]) - np.maximum(a[..., :2], b[..., :2])
    areas = [np.prod(np.maximum(box[..., 2:4] - box[..., :2], 0), -1) for box in (a, b)]
    return np.asarray(np.prod(np.maximum(sides, 0), -1) / np.maximum(np.minimum(*areas), 1e-9), np.float32)


def person_of(labels: Labels, faces: Floats) -> Ints:
    """YES where a face and a body agree or one is sure beyond doubt, NO where nobody hints at a person for seconds."""
    face, pose, seen = faces[:, 0, 4], labels.pose_score, _nose_seen(labels) > 0
    large = faces[:, 0, 2] - faces[:, 0, 0] >= SMALLEST_FACE
    yes = (face >= SURE_FACE) & large & (pose >= 0.5) | (pose >= SURE_POSE) & seen & (labels.selfie >= 0.03)
    hint = np.maximum.reduce([face, pose, labels.palms[:, 0, 4], labels.hands[:, 0, 4]])
    hint = np.maximum(hint, spread(labels.tile_people, TILE_STEP, labels.count).max(1))
    no = maximum_filter1d(hint, 2 * AROUND + 1) < 0.5
    return three(lasting(yes), no & (maximum_filter1d(labels.selfie, 2 * AROUND + 1) < 0.15))


def _nose_seen(labels: Labels) -> Floats:
    """1 where the pose's nose and both shoulders are in sight."""
    points = labels.pose[:, (NOSE, *SHOULDERS)]
    inside = ((points[..., :2] > 0) & (points[..., :2] < 1)).all((1, 2))
    return (inside & (points[..., 2].min(1) > 0.7)).astype(np.float32)


def hand_of(labels: Labels, person: Ints) -> Ints:
    """YES where a hand's points fit surely; NO where nobody is, or somebody whose wrists are surely out of sight."""
    box = labels.hands[:, 0]
    large = np.minimum(box[:, 2] - box[:, 0], box[:, 3] - box[:, 1]) >= SMALLEST_HAND
    yes = binary_closing((box[:, 4] >= SURE_HAND) & large & (labels.palms[:, 0, 4] >= 0.6), np.ones(3, bool))
    wrists = labels.pose[:, WRISTS, :2]
    near = ((wrists > -0.05) & (wrists < 1.05)).all(2).any(1)
    nowhere = (person == NO) | (person == YES) & (labels.pose_score >= SURE_POSE) & ~near
    hint = (labels.palms[:, 0, 4] > 0) | (box[:, 4] > 0) | ~nowhere
    return three(lasting(yes), ~maximum_filter1d(hint, 2 * STEADY + 1))


def reach_of(labels: Labels) -> Floats:
    """Boxes of all that is a hand or could be one; a wrist's is as large as a hand that reaches from it."""
    wrists = labels.pose[:, WRISTS, :2]
    around = np.concatenate([wrists - FINGERS, wrists + FINGERS, np.ones((*wrists.shape[:2], 1), np.float32)], 2)
    both = np.concatenate([labels.hands, labels.palms], 1)
    return np.concatenate([both, around], 1).astype(np.float32)


def screen_of(labels: Labels, category: Floats, person: Ints) -> Ints:
    """YES for pictures full of writing that the classifier calls a screen; NO without either."""
    screen = category[:, categories().index("screen or computer")]
    lines = spread(labels.lines, TEXT_STEP, labels.count).mean((1, 2))
    return three(lasting((screen > 0.6) & (lines > 0.03)) & (person != YES), (screen < NO_CATEGORY) & (lines < 0.01))


def words_of(labels: Labels) -> Ints:
    """By place: YES for words that were read in both looks around a frame, NO where neither look saw a line."""
    looks = [spread(both, TEXT_STEP, labels.count) for both in (labels.words, labels.lines)]
    nexts = [spread(np.concatenate([x[1:], x[-1:]]), TEXT_STEP, labels.count) for x in (labels.words, labels.lines)]
    read, seen = np.minimum(looks[0], nexts[0]), np.maximum(looks[1], nexts[1])
    return three(read > 0.3, seen + looks[0] == 0)


def jump_of(labels: Labels) -> Ints:
    """YES where nearly every colour and place is another at once; UNSURE where much is, or was within a second."""
    change = labels.change.mean((1, 2))
    yes = (labels.jump > 0.5) & (change > 25)
    means = labels.ninths[..., :3]
    earlier = np.concatenate([means[:1].repeat(min(FPS, len(means)), 0), means])[: len(means)]
    faded = (np.abs(means - earlier).mean((1, 2, 3)) > FADED) & ~maximum_filter1d(yes, 2 * FPS + 1)
    return three(yes, ((labels.jump < 0.25) | (change < 12)) & ~faded)


def three(yes: NDArray[np.bool_], no: NDArray[np.bool_]) -> Ints:
    """YES, NO, or UNSURE where it is neither or both."""
    return np.where(yes & ~no, YES, np.where(no & ~yes, NO, UNSURE)).astype(np.int8)


def spread(values: Floats, step: int, count: int) -> Floats:
    """What was looked at every `step` frames, for every frame."""
    return np.repeat(values, step, 0)[:count]


def lasting(values: NDArray[np.bool_], frames: int = STEADY) -> NDArray[np.bool_]:
    """Where something is so for at least `frames` on end."""
    if len(values) < frames:
        return np.full(len(values), bool(values.all()))
    return np.asarray(binary_opening(values, np.ones(frames, bool)))


def lasting_same(values: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Where a number is what it was in the frames before and will be in those after."""
    return minimum_filter1d(values, STEADY) == maximum_filter1d(values, STEADY)


# Of a film


@dataclass(frozen=True)
class Shot:
    """A run of frames of one clip, or a photograph held, and how it is shown."""

    clip: str
    frames: tuple[int, ...]
    begins: tuple[float, float, float] = (0.0, 0.0, 1.0)  # left, top and side of the view at the shot's begin
    ends: tuple[float, float, float] = (0.0, 0.0, 1.0)
    flip: bool = False
    gain: float = 1.0
    tint: tuple[float, float, float] = (0.0, 0.0, 0.0)  # added to red, green, blue

    def views(self) -> Floats:
        """(T, 3): the view of each frame."""
        way = np.linspace(0, 1, len(self.frames), dtype=np.float32)[:, None]
        return (1 - way) * np.array(self.begins, np.float32) + way * np.array(self.ends, np.float32)

    @property
    def zooms(self) -> bool:
        """Whether it shows less than the whole."""
        return min(self.begins[2], self.ends[2]) < 1


def shown(clip: Sightings, shot: Shot, number: int) -> Sightings:
    """What is certain of a shot, with everything where the shot's view puts it."""
    at = np.array(shot.frames)
    step = np.diff(at, prepend=at[0]).astype(np.float32)
    views = shot.views()
    part = replace(clip, **{field.name: getattr(clip, field.name)[at] for field in fields(Sightings)})
    between = np.clip(at + (step < 0), 0, clip.count - 1)  # what lies between two frames is told of the later one
    faces, hands = (seen_boxes(boxes, views, shot.flip) for boxes in (part.faces, part.hands))
    nose = seen_points(part.nose[:, None, :2], views, shot.flip)[:, 0]
    nose_in = part.nose[:, 2] * ((nose > 0.1) & (nose < 0.9)).all(1)
    rows, cols = grid_places(views, shot.flip)
    frames = np.arange(len(at))[:, None, None]
    hidden = lasting((part.whose == YES) & out_of_view(part.reach, views, shot.flip))
    still = YES if shot.begins == shot.ends else NO
    change = clip.change[between[:, None, None], rows, cols] * (step != 0)[:, None, None]
    flow = clip.flow[between[:, None, None], rows, cols] * (step / views[:, 2])[:, None, None, None]
    tint = np.concatenate([np.array(shot.tint, np.float32), np.zeros(3, np.float32)])
    return replace(
        part,
        faces=faces,
        hands=hands,
        nose=np.concatenate([nose, nose_in[:, None]], 1),
        person=still_there(part.person, (faces[:, 0, 4] >= SURE_FACE) | (nose_in > 0)),
        hand=np.where(hidden, NO, still_there(part.hand, hands[:, 0, 4] >= SURE_HAND)).astype(np.int8),
        words=part.words[frames, rows, cols],
        flow=flow * np.array([-1.0 if shot.flip else 1.0, 1.0], np.float32),
        change=change if still == YES else np.full_like(change, 255),
        filmed=np.minimum(part.filmed, still),  # nobody knows what moves where the view itself does
        jump=clip.jump[between],
        colour=np.clip((part.colour[:, :, ::-1] if shot.flip else part.colour) * shot.gain + tint, 0, 255),
        whole=np.full(len(at), NO if shot.zooms else YES, np.int8),
        shot=np.full(len(at), number, np.int16),
    )


def still_there(state: Ints, inside: NDArray[np.bool_]) -> Ints:
    """What is certainly there may have left the view: then it is UNSURE; what is nowhere is not in the view."""
    return np.where((state == YES) & ~inside, UNSURE, state).astype(np.int8)


def seen_points(points: Floats, views: Floats, flip: bool) -> Floats:
    """(T, N, 2) of the clip -> of the view."""
    out = (points - views[:, None, :2]) / views[:, None, 2:]
    return np.asarray(np.stack([1 - out[..., 0], out[..., 1]], -1) if flip else out, np.float32)


def seen_boxes(boxes: Floats, views: Floats, flip: bool) -> Floats:
    """(T, N, 5) of the clip -> of the view; boxes whose middle is outside have score 0, the surest come first."""
    corners = np.stack([seen_points(boxes[..., i : i + 2], views, flip) for i in (0, 2)])
    low, high = corners.min(0), corners.max(0)
    middle = (low + high) / 2
    score = boxes[..., 4] * ((middle > 0.02) & (middle < 0.98)).all(-1)
    out = np.concatenate([low, high, score[..., None]], -1) * (score > 0)[..., None]
    return np.asarray(np.take_along_axis(out, np.argsort(-out[..., 4:], 1, kind="stable"), 1), np.float32)


def out_of_view(boxes: Floats, views: Floats, flip: bool) -> NDArray[np.bool_]:
    """(T,): whether no part of any box (T, N, 5) is in the view."""
    corners = np.stack([seen_points(boxes[..., i : i + 2], views, flip) for i in (0, 2)])
    outside = ((corners.max(0) < 0) | (corners.min(0) > 1)).any(-1) | (boxes[..., 4] <= 0)
    return np.asarray(outside.all(1))


def grid_places(views: Floats, flip: bool) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows (T, GRID, 1) and columns (T, 1, GRID) of the clip's grid that the places of the view show."""
    centres = (np.arange(GRID) + 0.5) / GRID
    x = views[:, :1] + views[:, 2:] * (centres[::-1] if flip else centres)
    y = views[:, 1:2] + views[:, 2:] * centres
    cols, rows = (np.clip((v * GRID).astype(np.int64), 0, GRID - 1) for v in (x, y))
    return rows[:, :, None], cols[:, None, :]


def joined(shots: Sequence[Sightings]) -> Sightings:
    """A film of shots, one after the other; nothing is known of the motion between them."""
    parts = [first_still(part) for part in shots]
    whole = {field.name: np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(Sightings)}
    whole["jump"][np.flatnonzero(np.diff(whole["shot"])) + 1] = YES
    return Sightings(**whole)


def first_still(part: Sightings) -> Sightings:
    """The first frame of a shot has none before it."""
    flow, change, jump = part.flow.copy(), part.change.copy(), part.jump.copy()
    flow[0], jump[0] = 0, NO
    change[0] = change[min(1, part.count - 1)]
    return replace(part, flow=flow, change=change, jump=jump)
