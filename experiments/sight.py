"""Is an event seen? What it changes, what has changed at a receiver, and how much the one is the other.

    backdrop --plant--> twin with events --system--> what its receiver holds --+
        |                                                                      +--> difference G, at the event's cells
        +-------------> twin without ---system--> what its receiver holds -----+          |
    truth: features with the event - features without it = D, moment by moment ----------+--> seen?

**Seen**, the same for every system and judged at the receiver only. F are the stride-16 features of EfficientNet-lite0
(112 numbers a cell) over the cells that the event touches. D = F(true frame with the event) - F(without), for each
moment that the event has been on so far; G = F(what the receiver holds) - F(what the same system's receiver holds in
the twin run without the event). The event is seen at the first frame at which, for one of these moments,

    <G, D> / (|G| |D|) >= 0.35        what has changed at the receiver is this event, not something else
    <G, D> / |D|^2     >= 0.1         and not a trace of it

and it may become known until one second after it is over. A moment that is not yet filmed cannot be known; knowledge
that lags is compared with what was filmed before. Systems with pictures are judged by the picture, systems with a
canvas by the token head or by the viewer's picture, whichever sees more. Pictures are cut to the event's surroundings
(three cells on each side), which changes D by less than 1% and costs a third. Where a receiver holds the same codes or
pixels in both runs at all of the event's place, it does not know.

Why so. Comparing with the *true* features without the event counts a codec's own errors as sight: things never planted
came to half of <G, D> / |D|^2 with most systems, and to 1.4 of a faint event. Run against twin run takes them out. A
share of one half, the first definition, was reached on 50 events in ten training clips by 100% at JPEG quality 75, by
46% at quality 10, and by none through all four levels of every cell of the canvas (median 0.30): it asks how faithful
a code is, which `rate_quality` measures. The cosine asks what a reader of that code could tell. It reached 0.35 for
100% at JPEG quality 75, 96% at quality 10, 86% for four levels of the canvas, 60% for one, 36% at JPEG quality 3, and
for 5% where D met the difference of two frames of the clip a third of a second to two seconds apart. In a run that is
rarer, as both twins are filmed at the same times: every run has a phantom, an event that is planned and judged like the
others but never planted, and `chance` is the share of phantoms seen.

`miss_latency_ms`: from an event's first frame until it is seen; one that is missed counts its length and one second.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from edge_gate.source import Frame
from experiments.bench import Row
from experiments.planting import Box, Event, plant, show
from experiments.systems import Clip, Known, System, clip_of, follow
from vidtok.canvas import CELL, UNIT, Canvas
from vidtok.model.reader import frame_places
from vidtok.model.tower import load_tower, to_input
from vidtok.model.viewer import CanvasViewer
from vidtok.tokenizer.edge import WEIGHTS
from vidtok.tokenizer.fsq import SEEN_LEVELS
from vidtok.tokenizer.store import canvas_context, load_head

Pixels = NDArray[np.uint8]
Floats = NDArray[np.float32]

COSINE, SHARE = 0.35, 0.1  # from which on an event is seen
GRACE_S = 1.0  # after its end, in which it may still become known
SOON_S = 0.15  # within which an event is to be told
AROUND = 3  # cells on each side of an event that its features are computed with


# What there is to see


@dataclass(frozen=True, eq=False)
class Moment:
    """An event at one of its frames: the cells that it touches, and what it does to their features."""

    rows: slice
    cols: slice
    change: Floats  # (112, rows, cols)
    power: float  # its length squared


@dataclass(frozen=True, eq=False)
class Truth:
    """All moments of an event."""

    event: Event
    around: Box  # in cells: what its features are computed from
    moments: tuple[Moment, ...]


@dataclass(frozen=True, eq=False)
class Trial:
    """A backdrop with and without events, and what there is to see of each of them."""

    planted: Clip
    bare: Clip
    truths: tuple[Truth, ...]


def make_trial(name: str, frames: Sequence[Pixels], events: Sequence[Event], fps: float, judging: Judge) -> Trial:
    """Plant events in frames and work out what there is to see."""

    def planted() -> Iterator[Frame]:
        return (Frame(plant(pixels, events, k), k / fps, k) for k, pixels in enumerate(frames))

    bare = clip_of(name, fps, [Frame(pixels, k / fps, k) for k, pixels in enumerate(frames)])
    truths = tuple(truth_of(event, frames, judging) for event in events)
    return Trial(Clip(name, bare.size, fps, bare.count, planted), bare, truths)


def truth_of(event: Event, frames: Sequence[Pixels], judging: Judge) -> Truth:
    """What an event changes, from the frames without it."""
    height, width = frames[0].shape[:2]
    box = cells(event.area)
    around = (
        max(box[0] - AROUND, 0), max(box[1] - AROUND, 0),
        min(box[2] + AROUND, width // UNIT), min(box[3] + AROUND, height // UNIT),
    )  # fmt: skip
    moments = []
    bare: tuple[Pixels, Floats] | None = None
    for k in range(event.first, event.end):
        if bare is None or bare[0] is not frames[k]:
            bare = frames[k], judging.features(cut(frames[k], around))
        left, top, right, bottom = cells(event.box(k))
        rows, cols = slice(top - around[1], bottom - around[1]), slice(left - around[0], right - around[0])
        change = (judging.features(cut(show(frames[k], event, k), around)) - bare[1])[:, rows, cols]
        moments.append(Moment(rows, cols, change, max(float((change * change).sum()), 1e-9)))
    return Truth(event, around, tuple(moments))


def cells(box: Box) -> Box:
    """The cells that a box of pixels touches."""
    return box[0] // UNIT, box[1] // UNIT, -(-box[2] // UNIT), -(-box[3] // UNIT)


def cut(pixels: Pixels, box: Box) -> Pixels:
    """A box of cells out of a picture."""
    return pixels[box[1] * UNIT : box[3] * UNIT, box[0] * UNIT : box[2] * UNIT]


# Who judges


class Judge:
    """The pretrained network's first half, the token head and the viewer."""

    def __init__(self) -> None:
        self._front, self._head, self._viewer = load_tower().front, load_head(WEIGHTS), CanvasViewer()
        self._kept: dict[tuple[str, int], tuple[Canvas, NDArray[Any]]] = {}

    @torch.inference_mode()
    def features(self, pixels: Pixels) -> Floats:
        """(H, W, 3) -> (112, H / 16, W / 16)."""
        return np.asarray(self._front(to_input(torch.from_numpy(np.ascontiguousarray(pixels))[None]))[2][0].numpy())

    def differences(self, known: Known, blind: Known, truth: Truth) -> Iterator[Floats]:
        """G around an event, (112, rows, cols), for each way of looking at what two receivers hold.

        Nothing where both hold the same at the event's place.
        """
        if known.canvas is not None and blind.canvas is not None:
            if not _same_codes(known.canvas, blind.canvas, truth.event.area):
                yield self._tokens(known.canvas, truth.around) - self._tokens(blind.canvas, truth.around)
                yield self._pictures(self._shown(known.canvas), self._shown(blind.canvas), truth.around)
        elif known.picture is not None and blind.picture is not None:
            left, top, right, bottom = truth.event.area
            place = slice(top, bottom), slice(left, right)
            if known.picture is not blind.picture and not np.array_equal(known.picture[place], blind.picture[place]):
                yield self._pictures(known.picture, blind.picture, truth.around)

    def _pictures(self, one: Pixels, other: Pixels, around: Box) -> Floats:
        return self.features(cut(one, around)) - self.features(cut(other, around))

    def _tokens(self, canvas: Canvas, around: Box) -> Floats:
        return self._once("tokens", canvas, self._read)[:, around[1] : around[3], around[0] : around[2]]

    @torch.inference_mode()
    def _read(self, canvas: Canvas) -> Floats:
        return np.asarray(self._head(canvas_context(canvas, SEEN_LEVELS)[0])[0].numpy()[:, *frame_places(canvas)])

    def _shown(self, canvas: Canvas) -> Pixels:
        return self._once("viewer", canvas, self._viewer.show)

    def _once(self, what: str, canvas: Canvas, make: Callable[[Canvas], NDArray[Any]]) -> NDArray[Any]:
        """What a canvas looks like, kept while the same canvas is held."""
        kept = self._kept.get((what, id(canvas)))
        if kept is None or kept[0] is not canvas:
            if len(self._kept) >= 8:
                self._kept.clear()
            kept = self._kept[what, id(canvas)] = canvas, make(canvas)
        return kept[1]


def _same_codes(one: Canvas, other: Canvas, area: Box) -> bool:
    if one is other:
        return True
    if one.position != other.position:
        return False
    (x, y), (left, top, right, bottom) = one.offset, area
    place = slice((top + y) // CELL, -(-(bottom + y) // CELL)), slice((left + x) // CELL, -(-(right + x) // CELL))
    pairs = ((one.depth, other.depth), (one.values, other.values))
    return all(np.array_equal(a[place], b[place]) for a, b in pairs)


@dataclass(frozen=True)
class Likeness:
    """How far a difference is an event."""

    cosine: float
    share: float

    @property
    def seen(self) -> bool:
        """Whether that is seeing it."""
        return self.cosine >= COSINE and self.share >= SHARE


def likeness(change: Floats, truth: Truth, filmed: int) -> Likeness:
    """The best over the moments of an event that have been filmed; `change` (112, rows, cols) is G around it."""
    best = Likeness(0.0, 0.0)
    for moment in truth.moments[:filmed]:
        here = change[:, moment.rows, moment.cols]
        common = float((here * moment.change).sum())
        cosine = common / math.sqrt(max(float((here * here).sum()), 1e-9) * moment.power)
        best = max(best, Likeness(cosine, common / moment.power), key=lambda found: (found.seen, found.cosine))
    return best


# What is seen


@dataclass
class Watched:
    """An event as a receiver came to know of it."""

    truth: Truth
    seen: int | None = None  # the frame
    best: Likeness = Likeness(0.0, 0.0)
    sent: bool | None = None  # within SOON_S, any of its cells; None: the system never says
    woke: bool | None = None  # within SOON_S, an alarm that there is not without the event
    _held: tuple[object, object] | None = None  # what both receivers held at the last look
    _changes: Sequence[Floats] = ()

    def look(self, frame: int, known: Known, blind: Known, fps: float, judging: Judge) -> None:
        """Has it become known? What has been looked at already is only compared with what was filmed since."""
        event = self.truth.event
        if event.first <= frame <= event.first + round(SOON_S * fps):
            self._listen(frame, known, blind)
        if self.seen is not None or not event.first <= frame < event.end + round(GRACE_S * fps):
            return
        held = _holding(known), _holding(blind)
        same = self._held is not None and held[0] is self._held[0] and held[1] is self._held[1]
        if same and frame >= event.end:
            return
        tried = []
        for change in self._changes if same else judging.differences(known, blind, self.truth):
            found = likeness(change, self.truth, frame - event.first + 1)
            self.best = max(self.best, found, key=lambda one: (one.seen, one.cosine))
            tried.append(change)
            if found.seen:
                self.seen = frame
                return
        self._held, self._changes = held, tried

    def _listen(self, frame: int, known: Known, blind: Known) -> None:
        """Was it told or called out in time?"""
        if known.news is not None:
            box = self.truth.event.box(min(frame, self.truth.event.end - 1))
            left, top, right, bottom = (side / CELL for side in box)
            place = slice(int(top), math.ceil(bottom)), slice(int(left), math.ceil(right))
            self.sent = bool(self.sent) or bool(known.news[place].any())
        if known.alarm is not None:
            self.woke = bool(self.woke) or (known.alarm and not blind.alarm)


def _holding(known: Known) -> object:
    return known.picture if known.canvas is None else known.canvas


def watch(system: System, params: object, shown: Trial, judging: Judge) -> list[Row]:
    """Run a system over both twins; a row for each event."""
    watched = [Watched(truth) for truth in shown.truths]
    with (
        contextlib.closing(follow(system, params, shown.planted)) as planted,
        contextlib.closing(follow(system, params, shown.bare)) as bare,
    ):
        for (frame, known), (_, blind) in zip(planted, bare, strict=True):
            for one in watched:
                one.look(frame.index, known, blind, shown.bare.fps, judging)
    costs = costs_of(known, shown.bare)
    return [_event_row(number, one, shown.bare.fps) | costs for number, one in enumerate(watched)]


def _event_row(number: int, watched: Watched, fps: float) -> Row:
    event, seen = watched.truth.event, watched.seen is not None
    delay = None if watched.seen is None else round((watched.seen - event.first) / fps * 1000, 3)
    waited = event.ms + GRACE_S * 1000 if delay is None else delay
    real = event.planted
    return {
        "event": number,
        "kind": event.kind,
        "event_ms": event.ms if real else None,
        "size_px": event.size,
        "contrast": event.contrast,
        "event_frames": event.frames,
        "phantom_ms": None if real else event.ms,
        "events": int(real),
        "recall": float(seen) if real else None,
        "chance": None if real else float(seen),
        "delay_ms": delay if real else None,
        "miss_latency_ms": waited if real else None,
        "sent": None if watched.sent is None else float(watched.sent),
        "woke": None if watched.woke is None else float(watched.woke),
        "cosine": round(watched.best.cosine, 4),
        "share": round(watched.best.share, 4),
        "false_alarms_per_h": None,
    }


def costs_of(known: Known, clip: Clip) -> Row:
    """What a run over a clip cost, from what is known at its end."""
    return {
        "kbps": clip.kbps(known.bytes),
        "tokens_per_s": round(known.tokens / clip.seconds, 6),
    }
