"""What the gate's network learns from: streams in which it is known what came next, and what was planted.

    clip, or a frame of it held under a disturbance --plant--> frames --Sender at some price--> asked, at every look
                                         |                         \\--encoder--> latents to come --> lasts
                                         +--> boxes of events -------------------------------------> event

- **lasts**: had the cell been told at this look, and nothing after: what that would have spared the receiver over the
  seconds to come, for each unit that it spares now. Rain that has fallen lasts for a frame, a parked car for all of
  them.
- **event**: the first moments of what was planted, against every cell of a disturbed frame where nothing was. In a
  clip that moves by itself, cells without a planted event are most likely going on as usual, which counts for little;
  an event's later moments say nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge_gate.budget import Caps
from edge_gate.network import Verdict
from edge_gate.novelty import GateConfig, missed
from edge_gate.source import Frame
from experiments.planting import CONTRASTS, DISTURBANCES, EVENT_MS, KINDS, SIZES, SPEED, Event, disturb, plant
from vidtok.canvas import CELL, Canvas, Grid
from vidtok.live.recording import Loop
from vidtok.live.sender import SendConfig, Sender, View
from vidtok.tokenizer.edge import EdgeEncoder
from vidtok.tokenizer.fsq import LEVELS, dequantise, known

Floats = NDArray[np.float32]
Pixels = NDArray[np.uint8]

AHEAD_S = np.array([0, 0.1, 0.2, 0.4, 0.7, 1.1, 1.6, 2.3, 3.2, 4.5, 6.0, 8.0])  # when a look's worth is looked back on
FADE_S = 5.0  # what is further ahead counts less: by then it will have been told anew
ENOUGH_S = 2.5  # what lasts is no lesson where less than this is known of what came next
QUIET = 2 * LEVELS  # where `asked` says for how long a cell has been quiet
FRESH_S, AFTER_S = 0.35, 1.0  # an event is news for so long, and its end is no lesson for so long
SETTLE_S = 1.0
COVERED = 0.25  # of a cell, or half the event: less is no lesson
WHOLE, NONE, UNSURE, USUAL = 1, 0, -1, -2  # of the lesson `event`
KINDS_OF_STREAM = ("moving", "disturbed", "control")
_SHARES = (0.35, 0.35, 0.3)
FPS = (10.0, 15.0, 30.0)
_FPS_SHARES = (0.5, 0.25, 0.25)
_LENGTH_S = {10.0: 11.0, 15.0: 8.0, 30.0: 5.0}


@dataclass(frozen=True, eq=False)
class Stream:
    """One made-up recording."""

    frames: list[Pixels]
    fps: float
    kind: str
    events: list[Event]


@dataclass(frozen=True, eq=False)
class Lesson:
    """Every look of one stream, its visible cells only: all (looks, ..., rows, cols)."""

    asked: NDArray[np.float16]  # (looks, N, rows, cols)
    gain: Floats  # what telling the cell would spare now
    lasts: Floats  # seconds
    event: NDArray[np.int8]  # WHOLE, NONE, UNSURE or USUAL


def make_stream(film: Sequence[Pixels], film_fps: float, rng: np.random.Generator) -> Stream:
    """A stream from a clip's frames at its highest rate."""
    kind = str(rng.choice(KINDS_OF_STREAM, p=_SHARES))
    fps = float(rng.choice(FPS, p=_FPS_SHARES))
    height, width = film[0].shape[:2]
    start, count = int(rng.integers(len(film))), round(fps * _LENGTH_S[fps])
    lap = [*film, *film[-2:0:-1]]
    if kind == "moving":
        frames = [lap[(start + round(k * film_fps / fps)) % len(lap)] for k in range(count)]
    else:
        name, seed = str(rng.choice([*DISTURBANCES, "nothing"])), int(rng.integers(1 << 31))
        still = film[start]
        frames = [still if name == "nothing" else disturb(name, still, k, fps, seed) for k in range(count)]
    events = [] if kind == "control" else plan(rng, (width, height), fps, count)
    return Stream([plant(frame, events, k) for k, frame in enumerate(frames)], fps, kind, events)


def plan(rng: np.random.Generator, size: tuple[int, int], fps: float, frames: int) -> list[Event]:
    """Events one after the other, with room between them."""
    events: list[Event] = []
    start_s = SETTLE_S + float(rng.uniform(0, 1))
    while True:
        ms, kind, contrast = int(rng.choice(EVENT_MS)), str(rng.choice(KINDS)), float(rng.choice(CONTRASTS))
        first = int(np.ceil(start_s * fps))
        count = max(1, int(np.ceil((start_s + ms / 1000) * fps)) - first)
        if first + count >= frames:
            return events
        side = max(8, round(float(rng.choice(SIZES)) * min(size) / 256))
        x, y = (int(rng.integers(length - side + 1)) for length in size)
        dx = dy = 0
        if kind == "crosses":
            angle, way = float(rng.uniform(0, 2 * np.pi)), SPEED * min(size) * ms / 1000
            dx = int(np.clip(x + way * np.cos(angle), 0, size[0] - side)) - x
            dy = int(np.clip(y + way * np.sin(angle), 0, size[1] - side)) - y
        seed = int(rng.integers(1 << 31))
        events.append(Event(kind, ms, first, count, x, y, side, contrast, seed, dx, dy))
        start_s += ms / 1000 + float(rng.uniform(0.6, 1.6))


@dataclass(frozen=True, eq=False)
class _Look:
    frame: int
    asked: Floats
    view: View
    held: Canvas


class _Pupil:
    """In the network's place: notes what it is asked, and says what the gate says without it."""

    def __init__(self) -> None:
        self.looks: list[_Look] = []
        self.frame = 0
        self.sender: Sender | None = None

    def __call__(self, asked: Floats) -> Verdict:
        assert self.sender is not None
        assert self.sender.view is not None
        if not self.looks or self.looks[-1].view is not self.sender.view:
            self.looks.append(_Look(self.frame, asked, self.sender.view, self.sender.canvas))
        quiet = np.expm1(asked[QUIET])
        lasts = np.clip(SendConfig.first_s + quiet, SendConfig.first_s, SendConfig.last_s)
        return Verdict(lasts, np.zeros_like(lasts))


def lesson_of(stream: Stream, encoder: EdgeEncoder, weights: Floats, rng: np.random.Generator) -> Lesson:
    """Send a stream at some price, and look back on every look."""
    height, width = stream.frames[0].shape[:2]
    price, token = (float(np.exp(rng.uniform(np.log(low), np.log(high)))) for low, high in ((1, 60), (0.3, 20)))
    config = SendConfig(Caps(60, 1000), price=price, token_price=token, gist_s=0.0)
    pupil = _Pupil()
    loop = Loop(Grid(width, height), config, fps=stream.fps, name="lesson", encoder=encoder, network=pupil)
    pupil.sender = loop.sender
    seen: list[Floats] = []  # latents at every frame
    for k, pixels in enumerate(stream.frames):
        pupil.frame = k
        step = loop.step(Frame(pixels, k / stream.fps, k))
        assert loop.sender.seen is not None
        seen.append(loop.sender.seen if step.looked else seen[-1])
    looks = pupil.looks
    rows, cols = height // CELL, width // CELL
    place = np.s_[:rows, :cols]
    pairs = [_worth(look, seen, stream.fps, weights) for look in looks]
    return Lesson(
        np.stack([look.asked[:, *place] for look in looks]).astype(np.float16),
        np.stack([gain[place] for gain, _ in pairs]),
        np.stack([lasts[place] for _, lasts in pairs]),
        np.stack([_label(stream, look.frame, rows, cols) for look in looks]),
    )


def _worth(look: _Look, seen: Sequence[Floats], fps: float, weights: Floats) -> tuple[Floats, Floats]:
    """(rows, cols) each: what telling a cell at this look spares at once, and for how many seconds as much.

    The seconds are NaN where too little is known of what came next.
    """
    held, there = dequantise(look.held.values), known(look.held.depth)
    told, noise = dequantise(look.view.values), GateConfig.noise

    def spared(latents: Floats) -> Floats:
        now, then = missed(latents, held, there, noise), missed(latents, told, np.True_, noise)
        return np.asarray(((now - then) * weights).sum(-1), np.float32)

    edges_s = np.concatenate([[0.0], (AHEAD_S[1:] + AHEAD_S[:-1]) / 2, [AHEAD_S[-1]]])
    shares = FADE_S * -np.diff(np.exp(-edges_s / FADE_S))
    last = len(seen) - 1
    total = sum(
        share * spared(seen[min(look.frame + round(ahead * fps), last)])
        for ahead, share in zip(AHEAD_S, shares, strict=True)
    )
    gain = spared(look.view.latents)
    lasts = np.clip(total / np.maximum(gain, 1e-3), 0, FADE_S).astype(np.float32)
    if (last - look.frame) / fps < ENOUGH_S:
        lasts[:] = np.nan
    return np.maximum(gain, 0), lasts


def _label(stream: Stream, frame: int, rows: int, cols: int) -> NDArray[np.int8]:
    """What of each cell is an event at this frame."""
    label = np.full((rows, cols), USUAL if stream.kind == "moving" else NONE, np.int8)
    for event in stream.events:
        age, since = (frame - event.first) / stream.fps, (frame - event.end) / stream.fps
        if age < 0 or since >= AFTER_S:
            continue
        left, top, right, bottom = event.area
        label[top // CELL : -(-bottom // CELL), left // CELL : -(-right // CELL)] = UNSURE
        if since < 0 and age < FRESH_S:
            left, top, right, bottom = event.box(frame)
            down = _overlap(rows, top, bottom)
            across = _overlap(cols, left, right)
            covered = np.outer(down, across)
            label[covered >= min(COVERED * CELL * CELL, event.size**2 / 2)] = WHOLE
    return label


def _overlap(cells: int, start: int, end: int) -> NDArray[np.int64]:
    edges = np.arange(cells) * CELL
    return np.maximum(np.minimum(edges + CELL, end) - np.maximum(edges, start), 0)
