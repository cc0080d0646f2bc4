"""Films of the real world with questions about them: windows of clips, cuts between them, photographs held.

    clips, their labels --Stock--> Sightings --seed: Shots--> film --askable--> all that is certain
                             |                                                    |balanced
                           frames ----------------------------render--> Frames    +--> Questions

`split="train"` shows clips in endless variation: crop, flip, zoom, speed, reversed, brightness and colour.
`split="test"` shows windows of them, half of them framed anew, and cuts from one to another. Answers are as evenly
spread as the clips allow, so that who reads the questions only gets no further than guessing.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_gate.source import Frame
from experiments.bench import BenchError
from experiments.pictures import PICTURES
from experiments.questions import Box, Film, Names, Question
from experiments.questions.kinds import PERSON, Told, askable
from experiments.questions.labels import FPS, SIDE, load, load_labels
from experiments.questions.sightings import (
    SURE_FACE,
    SURE_HAND,
    Floats,
    Shot,
    Sightings,
    joined,
    shown,
    sightings,
)
from experiments.questions.wordings import ways

Pixels = NDArray[np.uint8]
Rng = np.random.Generator

SHORTEST, LONGEST = 6 * FPS, 10 * FPS  # frames of a film
PART = FPS + 5  # frames of a shot, at least
FIRST = FPS  # frames that have been seen before anything is asked
EVERY = 5  # frames between moments at which something may be asked
MOST_ASKED, MOST_OF_KIND = {"train": 12, "test": 6}, {"train": 3, "test": 2}  # questions of a film, and of one kind
TIMES = 4  # films that are thought of for one that is kept
SHARE = 0.4  # questions of a kind, for each film
RARE = 8  # an answer that came less often is a rare one
MANY = 5  # answers of a kind that need not come equally often
EVEN = 1.25  # how much more often than the rarest answer but one another may come
STYLES = {
    "train": {"one": 0.35, "cut": 0.35, "photos": 0.2, "mixed": 0.1},
    "test": {"one": 0.4, "cut": 0.35, "photos": 0.1, "mixed": 0.15},
}


@dataclass(eq=False)
class Stock:
    """Clips and photographs with what is certain of them; frames are decoded once, when first shown."""

    paths: dict[str, Path]
    found: dict[str, Sightings]
    _frames: dict[str, list[Pixels]] = field(default_factory=dict)

    def frames(self, name: str) -> list[Pixels]:
        """All frames of a clip that have labels."""
        if name not in self._frames:
            count = self.found[name].count
            self._frames[name] = load(self.paths[name], SIDE, FPS, count / FPS)
        return self._frames[name]

    def names(self, photos: bool) -> list[str]:
        """The clips, or the photographs."""
        return [name for name, path in self.paths.items() if (path.suffix.lower() in PICTURES) == photos]


def open_stock(clips: Sequence[Path], cache: Path) -> Stock:
    """What can be shown of these files: those that have labels below `cache`."""
    labels = {path.stem: path for path in sorted(cache.rglob("*.npz"))}
    paths = {path.stem: path for path in clips if path.stem in labels}
    if not paths:
        raise BenchError(f"{cache}: labels of none of {len(clips)} clips; run python -m experiments.questions.labels")
    return Stock(paths, {name: sightings(load_labels(labels[name])) for name in paths})


def real_films(
    clips: Sequence[Path] | Stock, cache: Path, split: str, seed: int, count: int = 100, kinds: Sequence[str] = ()
) -> list[Film]:
    """Films of a seed, each with questions; every seed gives others. Only of some kinds where these are named."""
    if split not in STYLES:
        raise BenchError(f"split {split!r}: give train or test")
    stock = clips if isinstance(clips, Stock) else open_stock(clips, cache)
    rng = np.random.default_rng([seed, split == "test"])
    plans = [plan(stock, split, rng) for _ in range(TIMES * count)]
    offers = [(number, now, told) for number, shots in enumerate(plans) for now, told in offered(stock, shots)]
    offers = [offers[index] for index in rng.permutation(len(offers)) if not kinds or offers[index][2].kind in kinds]
    if split == "test":
        offers = list({matter(plans[number], now, told): (number, now, told) for number, now, told in offers}.values())
    kept = worthiest(choose(offers, split), count)
    chosen = choose([offer for offer in offers if offer[0] in kept], split)
    return [film_of(stock, plans[n], chosen[n], f"real-{split}-{seed}-{n}", split, rng) for n in sorted(chosen)]


# Plans


def plan(stock: Stock, split: str, rng: Rng) -> list[Shot]:
    """The shots of a film."""
    styles = STYLES[split]
    style = str(rng.choice(list(styles), p=list(styles.values())))
    length = int(rng.integers(SHORTEST, LONGEST + 1))
    photos, clips = stock.names(True), stock.names(False)
    if not photos or not clips:
        style = "photos" if photos else "one" if style == "one" else "cut"
    parts = {"one": 1, "photos": int(rng.integers(2, 5))}.get(style, int(rng.integers(2, 4)))
    names = [str(rng.choice(photos if style == "photos" else clips)) for _ in range(parts)]
    if style == "mixed":
        names[int(rng.integers(parts))] = str(rng.choice(photos))
    shots: list[Shot] = []
    for size, name in zip(shares(length, parts, rng), names, strict=True):
        shots.append(take(stock, name, size, split, rng))
    while sum(len(shot.frames) for shot in shots) < SHORTEST:
        left = SHORTEST - sum(len(shot.frames) for shot in shots)
        shots.append(take(stock, str(rng.choice(clips or photos)), max(left, PART), split, rng))
    return shots


def shares(length: int, parts: int, rng: Rng) -> list[int]:
    """Frames of each shot, none shorter than PART."""
    free = length - parts * PART
    ends = np.sort(rng.integers(0, free + 1, parts - 1))
    return [int(size) + PART for size in np.diff(np.concatenate([[0], ends, [free]]))]


def take(stock: Stock, name: str, size: int, split: str, rng: Rng) -> Shot:
    """A window of a clip, or a photograph held; varied where it is for training."""
    count = stock.found[name].count
    if count == 1:
        shot = Shot(name, (0,) * size)
        return shot if split == "test" else varied(shot, rng, moving=rng.random() < 0.5)
    if split == "test":
        size = min(size, count)
        begin, framed = int(rng.integers(0, count - size + 1)), view(rng, 0.5)
        return Shot(name, tuple(range(begin, begin + size)), framed, framed)
    speed = int(rng.choice([1, 1, 1, 2])) if count > 2 * size else 1
    way = there_and_back(count)[:: speed * int(rng.choice([1, 1, -1]))]
    begin = int(rng.integers(0, len(way)))
    frames = np.resize(np.roll(way, -begin), size)
    return varied(Shot(name, tuple(int(n) for n in frames)), rng, moving=rng.random() < 0.25)


def there_and_back(count: int) -> NDArray[np.int64]:
    """A clip and its way back: it can be gone round for ever without a jump."""
    return np.concatenate([np.arange(count), np.arange(count - 2, 0, -1)])


def varied(shot: Shot, rng: Rng, moving: bool) -> Shot:
    """Another view of it, mirrored half of the time, in another light."""
    begins = ends = view(rng, 0.5)
    if moving:
        begins, ends = view(rng, 0.2, 0.5), view(rng, 0.0, 0.5)
    return replace(
        shot,
        begins=begins,
        ends=ends,
        flip=bool(rng.random() < 0.5),
        gain=float(rng.choice([1.0, rng.uniform(0.45, 1.4)])),
        tint=tuple(rng.normal(0, 8, 3).tolist()) if rng.random() < 0.5 else (0.0, 0.0, 0.0),
    )


def view(rng: Rng, whole: float, least: float = 0.65) -> tuple[float, float, float]:
    """Left, top and side of a square within the frame; all of it with probability `whole`."""
    if rng.random() < whole:
        return 0.0, 0.0, 1.0
    side = float(rng.uniform(least, 0.95))
    left, top = (float(v) for v in rng.uniform(0, 1 - side, 2))
    return left, top, side


def offered(stock: Stock, shots: Sequence[Shot]) -> Iterator[tuple[int, Told]]:
    """All that could be asked of a film."""
    film = joined([shown(stock.found[shot.clip], shot, number) for number, shot in enumerate(shots)])
    return askable(film, range(FIRST, film.count, EVERY))


def matter(shots: Sequence[Shot], now: int, told: Told) -> tuple[str, ...]:
    """What a question comes to: two films that ask the same of the same half second of the same clips ask it twice."""
    ends = np.cumsum([len(shot.frames) for shot in shots])
    last = int(np.searchsorted(ends, now, side="right"))
    first = int(np.searchsorted(ends, told.since, side="right"))
    frames = shots[last].frames
    age = now - int(ends[last]) + len(frames)
    moment = age // FPS if frames[0] == frames[-1] else frames[age] // EVERY  # a photograph is the same for ever
    return told.kind, told.place, told.answer, *(shot.clip for shot in shots[first : last + 1]), str(moment)


# Balance

Offer = tuple[int, int, Told]  # number of the film, frame, answer


def worthiest(chosen: dict[int, list[tuple[int, Told]]], count: int) -> set[int]:
    """The films with most questions, where each counts the more the rarer its answer is."""
    often = Counter((told.kind, told.answer) for asked in chosen.values() for _, told in asked)
    worth = {film: sum(often[told.kind, told.answer] ** -0.5 for _, told in chosen[film]) for film in chosen}
    return set(sorted(worth, key=lambda film: -worth[film])[:count])


def choose(offers: Sequence[Offer], split: str) -> dict[int, list[tuple[int, Told]]]:
    """Some of what could be asked, by film: in rounds, one of every answer of every kind, while all answers last.

    Once a kind's answer has run out, its others come EVEN times as often as that one at most.
    """
    piles: dict[str, dict[str, list[Offer]]] = defaultdict(lambda: defaultdict(list))
    for offer in offers:
        piles[offer[2].kind][offer[2].answer].append(offer)
    chosen: dict[int, list[tuple[int, Told]]] = defaultdict(list)
    taken: Counter[tuple[str, str]] = Counter()
    open_kinds = {kind: answers for kind, answers in sorted(piles.items()) if len(answers) > 1}
    most = max(4, round(SHARE * len({number for number, _, _ in offers})))
    while open_kinds:
        for kind, answers in list(open_kinds.items()):
            if sum(taken[kind, answer] for answer in answers) >= most:
                del open_kinds[kind]
                continue
            got = [_take(chosen, taken, pile, _limit(taken, kind, answers, most), split) for pile in answers.values()]
            if not any(got):
                del open_kinds[kind]
    return {number: asked for number, asked in chosen.items() if asked}


def _limit(taken: Counter[tuple[str, str]], kind: str, answers: dict[str, list[Offer]], most: int) -> float:
    """How often an answer may come now: nearly as seldom as the rarest that has run out.

    An answer that hardly ever is right holds the others back only where no two others are left. Where there are many
    answers none is worth a guess, as long as none has a large share.
    """
    if len(answers) > MANY:
        return max(4.0, most / MANY)
    over = [taken[kind, answer] for answer, pile in answers.items() if not pile]
    common = [number for number in over if number >= RARE]
    if len(answers) - len(over) + len(common) >= 2:
        over = common
    return max(2.0, EVEN * min(over)) if over else np.inf


def _take(
    chosen: dict[int, list[tuple[int, Told]]],
    taken: Counter[tuple[str, str]],
    pile: list[Offer],
    limit: float,
    split: str,
) -> bool:
    """Take the next of a pile that its film has room for."""
    while pile:
        number, now, told = pile[-1]
        if taken[told.kind, told.answer] >= limit:
            return False
        pile.pop()
        if _fits(chosen[number], now, told, split):
            chosen[number].append((now, told))
            taken[told.kind, told.answer] += 1
            return True
    return False


def _fits(asked: Sequence[tuple[int, Told]], now: int, told: Told, split: str) -> bool:
    """Whether a film can take one more: not too many, one kind not too often nor too soon again."""
    same = [then for then, other in asked if other.kind == told.kind]
    room = len(asked) < MOST_ASKED[split] and len(same) < MOST_OF_KIND[split]
    return room and all(abs(now - then) >= 2 * FPS for then in same)


# Films


def film_of(
    stock: Stock, shots: Sequence[Shot], asked: Sequence[tuple[int, Told]], name: str, split: str, rng: Rng
) -> Film:
    """The film of a plan with its questions in order of time."""
    questions = tuple(question(now, told, split, rng) for now, told in sorted(asked, key=lambda one: one[0]))
    count = sum(len(shot.frames) for shot in shots)
    seen = joined([shown(stock.found[shot.clip], shot, number) for number, shot in enumerate(shots)])
    frames, what = partial(render, stock, tuple(shots)), partial(named, seen.faces, seen.hands)
    return Film(name, (SIDE, SIDE), FPS, count, frames, questions, what)


def named(faces: Floats, hands: Floats, time_s: float) -> list[tuple[Box, Names]]:
    """Whose faces and hands are surely seen at a time, and where; nobody knows what they do."""
    frame = min(round(time_s * FPS), len(faces) - 1)
    return [
        ((left * SIDE, top * SIDE, right * SIDE, bottom * SIDE), (word, PERSON, ""))
        for boxes, word, sure in ((faces, "face", SURE_FACE), (hands, "hand", SURE_HAND))
        for left, top, right, bottom, score in boxes[frame].tolist()
        if score >= sure
    ]


def question(now: int, told: Told, split: str, rng: Rng) -> Question:
    """The words for what is to be asked."""
    text = str(rng.choice(ways(told.kind, split))).format(place=told.place)
    return Question(
        told.kind, text, told.answer, now / FPS, told.choices, told.since / FPS, told.until / FPS, real=True
    )


def render(stock: Stock, shots: Sequence[Shot]) -> Iterator[Frame]:
    """The frames of a film."""
    index = 0
    for shot in shots:
        frames = stock.frames(shot.clip)
        for number, seen in zip(shot.frames, shot.views(), strict=True):
            yield Frame(picture(frames[number], seen, shot), index / FPS, index)
            index += 1


def picture(frame: Pixels, seen: NDArray[np.float32], shot: Shot) -> Pixels:
    """A frame through a view, mirrored, in its light."""
    if shot.zooms:
        left, top, side = (float(v) for v in seen)
        # From pixels of the view to those of the frame: both count from the middle of a pixel.
        warp = np.array([[side, 0, left * SIDE + side / 2 - 0.5], [0, side, top * SIDE + side / 2 - 0.5]])
        how = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        frame = np.asarray(cv2.warpAffine(frame, warp, (SIDE, SIDE), flags=how, borderMode=cv2.BORDER_REPLICATE))
    if shot.flip:
        frame = np.ascontiguousarray(frame[:, ::-1])
    if shot.gain != 1 or any(shot.tint):
        frame = np.asarray(cv2.LUT(frame, _light(shot)), np.uint8)
    return frame


def _light(shot: Shot) -> NDArray[np.uint8]:
    """(256, 1, 3): what becomes of each value of each colour."""
    values = np.arange(256)[:, None, None] * shot.gain + np.array(shot.tint)
    return np.clip(values, 0, 255).round().astype(np.uint8)
