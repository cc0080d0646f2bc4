"""Which painted things live in a film and what each does when: drawn so that no answer is likelier than another.

rng --> Theme: so many red things, so many stars, so many at all at the end: none to five, each as often
    --> coins: nothing happens at all? does something come to stay? does something flash up?
    --> parts: who stands there, comes, moves, changes colour, leaves
    --> times (acts follow each other, with pauses) --> places (no thing ever hides another) --> Plan
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from experiments.questions.things import COLOURS, HALO_PX, SHAPES, SIDES, Box, Change, Look, Move, Span, Thing, shade

SIZE = (256, 256)
NINTH = SIZE[0] / 3
PLACES = ("top left", "top", "top right", "left", "middle", "right", "bottom left", "bottom", "bottom right")
CLEAR_PX = 13  # how far the middle of a thing stays from the borders between ninths

STILL_SHARE = 0.2  # of all films
MANY_SHARE = 0.815  # of the films have two things or more at the end; others are never still
SOME_SHARE = 17 / 18  # have any
COMES_SHARE = 0.5 / (SOME_SHARE - STILL_SHARE)  # of those that can, so that half of all films have one
FLASH_SHARE = 0.5 / (1 - STILL_SHARE)
PAUSE_S = 0.7
FLASH_S = (0.11, 0.7)


@dataclass(frozen=True)
class Theme:
    """What is counted, and how many there are at the end: a colour's things, a shape's, or all (`value` is empty)."""

    kind: str
    value: str
    count: int


@dataclass(frozen=True)
class Plan:
    """A film before it is painted and asked about."""

    duration_s: float
    theme: Theme
    things: tuple[Thing, ...]  # flashes not among them
    flashes: tuple[Thing, ...]

    @property
    def everything(self) -> tuple[Thing, ...]:
        """All that is ever painted."""
        return self.things + self.flashes

    @functools.cached_property
    def spans(self) -> list[Span]:
        """When something happens."""
        return sorted(span for thing in self.everything for span in thing.spans)

    def quiet(self, t: float) -> bool:
        """Whether nothing is happening then, nor has just ended or is about to begin."""
        return all(t < start - 0.15 or t > end + 0.25 for start, end in self.spans)


@dataclass
class Part:
    """What a thing is to do, before anybody knows when and where."""

    shape: str
    colour: str
    turns: str = ""  # the colour that it changes to
    comes: bool = False
    moves: bool = False
    leaves: bool = False
    times: dict[str, Span] = field(default_factory=dict)

    @property
    def acts(self) -> list[str]:
        """What it does, in order."""
        wishes = (("come", self.comes), ("move", self.moves), ("turn", bool(self.turns)), ("leave", self.leaves))
        return [name for name, wanted in wishes if wanted]


def draw_plan(rng: np.random.Generator) -> Plan:
    """A film of 6 to 10 seconds. Where there is no room for what was drawn, places and times are drawn anew."""
    theme, present = _theme(rng)
    parts, flashes = _parts(rng, theme, present)
    while True:
        duration_s = round(float(rng.uniform(6.0, 10.0)), 1)
        if not _schedule(rng, parts, duration_s):
            _drop(rng, parts)
            continue
        placed = _place_all(rng, parts, _flash_spans(rng, duration_s, len(flashes)), flashes)
        if placed is not None:
            things = placed[: len(parts)]
            return Plan(duration_s, theme, tuple(things), tuple(placed[len(parts) :]))


# Who does what


def _theme(rng: np.random.Generator) -> tuple[Theme, int]:
    """What is counted, and how many things there are at the end altogether."""
    kind = str(rng.choice(("colour", "shape", "all")))
    count = int(rng.integers(6))
    if kind == "all":
        return Theme(kind, "", count), count
    value = str(rng.choice(tuple(COLOURS) if kind == "colour" else SHAPES))
    least = max(1, count)
    return Theme(kind, value, count), min(5, least + int(rng.integers(0, 3)))


def _parts(rng: np.random.Generator, theme: Theme, present: int) -> tuple[list[Part], list[Part]]:
    """The parts of those that are there at the end, then of those that leave before; and the flashes."""
    looks = _Looks(rng, theme)
    stay = [Part(*looks.draw(within=n < theme.count)) for n in range(present)]
    if present >= 2 and rng.random() < STILL_SHARE / MANY_SHARE:
        return stay, []
    gone = [Part(*looks.draw()) for _ in range(max(int(rng.choice(3, p=(0.35, 0.45, 0.2))), present == 0))]
    for part in gone:
        part.leaves = True
    if stay and rng.random() < COMES_SHARE:
        for n in rng.permutation(len(stay))[: int(rng.choice((1, 2, 3), p=(0.35, 0.45, 0.2)))]:
            stay[n].comes = True
    for part in [*stay, *gone]:
        _liven(rng, part, looks)
    flashes = []
    if rng.random() < FLASH_SHARE:
        flashes = [Part(*looks.draw()) for _ in range(int(rng.choice((1, 2), p=(0.75, 0.25))))]
    if not flashes and not any(part.acts for part in stay + gone):
        stay[0].moves = True
    return [*stay, *gone], flashes


def _liven(rng: np.random.Generator, part: Part, looks: _Looks) -> None:
    """Let it move or change its colour, or neither."""
    lot = rng.random()
    if lot < 0.42:
        part.moves = True
    elif lot < 0.76 and not part.leaves:
        before = looks.other_colour(part.shape)
        if before is not None:
            part.colour, part.turns = before, part.colour


class _Looks:
    """Deals pairs of shape and colour; none comes twice in a film."""

    def __init__(self, rng: np.random.Generator, theme: Theme) -> None:
        self._rng = rng
        self._theme = theme
        self._used: set[tuple[str, str]] = set()

    def draw(self, within: bool = False) -> tuple[str, str]:
        """A shape and a colour; `within` ones are what the theme counts, the others are not."""
        while True:
            shape, colour = str(self._rng.choice(SHAPES)), str(self._rng.choice(tuple(COLOURS)))
            if within and self._theme.kind == "colour":
                colour = self._theme.value
            elif within and self._theme.kind == "shape":
                shape = self._theme.value
            elif not within and self._theme.value in (shape, colour):
                continue
            if (shape, colour) not in self._used:
                self._used.add((shape, colour))
                return shape, colour

    def other_colour(self, shape: str) -> str | None:
        """Another colour for this shape; None where all are used."""
        free = [name for name in COLOURS if (shape, name) not in self._used]
        if not free:
            return None
        found = str(self._rng.choice(free))
        self._used.add((shape, found))
        return found


# When


def _schedule(rng: np.random.Generator, parts: Sequence[Part], duration_s: float) -> bool:
    """Give every act of every part its time, one after the other with pauses; False where they are too many."""
    queue = _order(rng, parts)
    lengths = [_length(rng, name) for _, name in queue]
    slack = duration_s - 1.4 - sum(lengths) - PAUSE_S * len(queue)
    if slack < 0:
        return False
    gaps = rng.dirichlet(np.ones(len(queue) + 1)) * slack
    t = 0.8
    for (part, name), length, gap in zip(queue, lengths, gaps, strict=False):
        t += float(gap)
        part.times[name] = (round(t, 2), round(t + length, 2))
        t += length + PAUSE_S
    return True


def _order(rng: np.random.Generator, parts: Sequence[Part]) -> list[tuple[Part, str]]:
    """All acts in a random order that keeps each part's own."""
    tickets = [n for n, part in enumerate(parts) for _ in part.acts]
    queues = [list(part.acts) for part in parts]
    return [(parts[n], queues[n].pop(0)) for n in rng.permutation(tickets)] if tickets else []


def _length(rng: np.random.Generator, name: str) -> float:
    """How long an act takes; coming and leaving at once as often as not."""
    if name == "move":
        return float(rng.uniform(0.5, 1.8) if rng.random() < 0.7 else rng.uniform(1.8, 3.0))
    if name == "turn" or rng.random() < 0.4:
        return 0.0
    return float(rng.uniform(0.4, 1.2))


def _drop(rng: np.random.Generator, parts: Sequence[Part]) -> None:
    """Let one that moves stand still instead: there is no time for everything."""
    movers = [part for part in parts if part.moves]
    if movers and rng.random() < 0.5:
        movers[int(rng.integers(len(movers)))].moves = False


def _flash_spans(rng: np.random.Generator, duration_s: float, count: int) -> list[Span]:
    """When something flashes up: anywhere in the film, short ones more often than long ones."""
    while True:
        lengths = [FLASH_S[0] * (FLASH_S[1] / FLASH_S[0]) ** float(u) for u in rng.random(count)]
        starts = sorted(float(t) for t in rng.uniform(0.4, duration_s - 1.4, count))
        spans = [(round(t, 2), round(t + length, 2)) for t, length in zip(starts, lengths, strict=True)]
        if all(b[0] - a[1] > PAUSE_S for a, b in itertools.pairwise(spans)):
            return spans


# Where


def _place_all(
    rng: np.random.Generator, parts: Sequence[Part], spans: Sequence[Span], flashes: Sequence[Part]
) -> list[Thing] | None:
    """All things at places where none ever hides another; None where there is no room."""
    count = len(parts) + len(flashes)
    largest = 110 if count <= 3 else 88 if count <= 5 else 66
    placed: list[Thing] = []
    taken: list[Box] = []
    for number, part in enumerate([*parts, *flashes]):
        span = spans[number - len(parts)] if number >= len(parts) else None
        for attempt in range(60):
            side = int(rng.integers(28, max(32, round(largest * (1 - attempt / 80)))))
            thing = _cast(rng, part, side, span)
            box = None if thing is None else thing.swept(SIZE)
            if thing is not None and box is not None and not any(_overlap(box, other) for other in taken):
                placed.append(thing)
                taken.append(box)
                break
        else:
            return None
    return placed


def _cast(rng: np.random.Generator, part: Part, side: int, flash: Span | None) -> Thing | None:
    """A thing that plays this part, somewhere; None where it would have to leave the frame to move."""
    look = Look(
        part.shape,
        part.colour,
        side,
        shade(part.colour, rng),
        float(rng.uniform(-8, 8)),
        int(rng.integers(1, 1 << 30)) if rng.random() < 0.6 else 0,
    )
    x, y = _spot(rng, side)
    if flash:
        return Thing(look, x, y, (flash[0], flash[0]), "pop", (flash[1], flash[1]), flash=True)
    thing = Thing(look, x, y, part.times.get("come"), _entry(rng, part), part.times.get("leave"), _exit(rng, part))
    if part.turns:
        thing = replace(
            thing, change=Change(part.times["turn"][0], replace(look, colour=part.turns, rgb=shade(part.turns, rng)))
        )
    if not part.moves:
        return thing
    dx, dy = tuple(SIDES.values())[int(rng.integers(4))]
    far = round(float(rng.uniform(40, 160)))
    start, room = (x - dx * far, y - dy * far), side / 2 + HALO_PX  # (x, y) is where it ends: each ninth as often
    if not all(room <= at <= length - room for at, length in zip(start, SIZE, strict=True)):
        return None
    return replace(thing, x=start[0], y=start[1], move=Move(*part.times["move"], dx * far, dy * far))


def _entry(rng: np.random.Generator, part: Part) -> str:
    """How it comes: what takes time fades in or slides in."""
    if not part.comes or part.times["come"][0] == part.times["come"][1]:
        return "pop"
    return "fade" if rng.random() < 0.35 else str(rng.choice(tuple(SIDES)))


def _exit(rng: np.random.Generator, part: Part) -> str:
    if not part.leaves or part.times["leave"][0] == part.times["leave"][1]:
        return "pop"
    return str(rng.choice(tuple(SIDES)))


def _spot(rng: np.random.Generator, side: int) -> tuple[float, float]:
    """A place well inside one of the ninths, each as often, with all of the thing in the frame."""
    column, row = int(rng.integers(3)), int(rng.integers(3))
    return _along(rng, column, side), _along(rng, row, side)


def _along(rng: np.random.Generator, third: int, side: int) -> float:
    least, most = third * NINTH + CLEAR_PX, (third + 1) * NINTH - CLEAR_PX
    room = side / 2 + HALO_PX - 2
    return float(round(rng.uniform(max(least, room), min(most, SIZE[0] - room))))


def ninth(x: float, y: float) -> str | None:
    """The name of the ninth that a place is in; None near a border between two."""
    if min(abs(x - NINTH), abs(x - 2 * NINTH), abs(y - NINTH), abs(y - 2 * NINTH)) < CLEAR_PX - 3:
        return None
    return PLACES[3 * int(y // NINTH) + int(x // NINTH)]


def _overlap(a: Box, b: Box) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]
