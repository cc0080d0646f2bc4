"""Painted worlds: a backdrop, a few painted things that do what painted things do, and questions about them.

    seed, split --> Plan --choose, say--> Questions
                      |
    backdrop(k) --> paint(things, k / fps) --> exposure, noise --> Frame k

A film is a pure function of its seed, its split and the backdrops; its frames are made when they are asked for.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_gate.source import Frame, fit
from experiments.questions import NOTHING, Box, Film, Names, Question
from experiments.questions.choosing import choose
from experiments.questions.forms import FORMS
from experiments.questions.phrasings import PHRASINGS, say
from experiments.questions.plans import SIZE, Plan, draw_plan
from experiments.questions.things import Pixels, Pose, Thing, paint

Backdrop = Callable[[int], Pixels]
"""The picture (H, W, 3) behind the things in frame k; of any size, it is made to cover the frame."""

SPLITS = ("train", "test")
FPS = 10.0
ACTS = ("come", "leave", "flash", "change", "left", "right", "up", "down")
LEAVING = ("leave", "flash", "left", "right", "up", "down")  # acts after which a place is empty
JUST_S = 0.5  # after an act, it has just been done
SEEN = 0.5  # of a thing that fades in, until it is called something
CLEAN_SHARE = 0.15  # of the films, without noise and flicker
BANK_PX = 160  # how much larger than a frame the noise is that frames cut theirs from


@dataclass(frozen=True)
class Camera:
    """What a camera adds to a film: noise, and exposure that drifts and flickers."""

    seed: int
    sigma: float
    drift: float
    flicker: float
    hz: float

    def spoil(self, pixels: Pixels, k: int) -> Pixels:
        """The picture as this camera delivers it in frame `k`; the same picture where it adds nothing."""
        if self.sigma == 0:
            return pixels
        t = k / FPS
        gain = (
            1 + self.drift * math.sin(math.tau * (t / 20 + self.hz)) + self.flicker * math.sin(math.tau * self.hz * t)
        )
        x, y = (int(at) for at in np.random.default_rng([self.seed, k]).integers(0, BANK_PX, 2))
        noise = _noise_bank(round(4 * self.sigma))[y : y + pixels.shape[0], x : x + pixels.shape[1]]
        return np.asarray(cv2.addWeighted(pixels, gain, noise, 1.0, 0.0, dtype=cv2.CV_8U), np.uint8)


@functools.cache
def _noise_bank(quarters: int) -> NDArray[np.int16]:
    """Noise of a standard deviation of so many quarters, to cut frames from: (H, W, 3)."""
    rng = np.random.default_rng([quarters, 17])
    noise = rng.standard_normal((SIZE[1] + BANK_PX, SIZE[0] + BANK_PX, 3), np.float32) * np.float32(quarters / 4)
    return np.asarray(np.rint(noise), np.int16)


def world(seed: int, split: str, backdrops: Sequence[Backdrop], rounds: int = 1) -> Film:
    """The film of that seed, 256x256 at 10 frames a second, before one of the backdrops; 14 to 22 questions a round."""
    if split not in SPLITS:
        raise ValueError(f"split {split!r}: give one of {', '.join(SPLITS)}")
    if not backdrops:
        raise ValueError("no backdrops: give one or more, made_backdrops() needs no data")
    lots = np.random.default_rng([seed, SPLITS.index(split)])
    plan_rng, words_rng, camera_rng = lots.spawn(3)
    plan = draw_plan(plan_rng)
    backdrop = backdrops[int(lots.integers(len(backdrops)))]
    camera = _draw_camera(camera_rng)
    return Film(
        name=f"world:{split}:{seed}",
        size=SIZE,
        fps=FPS,
        count=round(plan.duration_s * FPS),
        frames=functools.partial(render, plan, backdrop, camera),
        questions=_questions(plan, split, words_rng, rounds),
        named=functools.partial(named, plan),
    )


def named(plan: Plan, t: float) -> list[tuple[Box, Names]]:
    """Colour and shape of everything that is seen at a time, what it does, and where; also where it stood before."""
    found: list[tuple[Box, Names]] = []
    stood: list[tuple[Box, Names]] = []
    for thing in plan.everything:
        does = act(thing, t)
        pose = thing.pose(t, SIZE)
        if pose is not None and pose.cover > SEEN:
            found.append((around(pose.x, pose.y, pose.look.side), (pose.look.colour, pose.look.shape, does)))
        if does in LEAVING:
            stood.append((around(thing.x, thing.y, thing.look.side), (NOTHING, NOTHING, does)))
    return found + stood


def around(x: float, y: float, side: float) -> Box:
    """The box with that middle."""
    return x - side / 2, y - side / 2, x + side / 2, y + side / 2


def act(thing: Thing, t: float) -> str:
    """What a thing does or has just done; NOTHING while it stands there."""
    if thing.flash:
        done = [("flash", thing.spans[0])]
    else:
        done = [(word, span) for word, span in (("come", thing.came), ("leave", thing.went)) if span is not None]
        done += [(thing.move.way, (thing.move.start_s, thing.move.end_s))] if thing.move else []
        done += [("change", (thing.change.at_s, thing.change.at_s))] if thing.change else []
    latest = [(start, word) for word, (start, end) in done if start <= t <= end + JUST_S]
    return max(latest)[1] if latest else NOTHING


def _draw_camera(rng: np.random.Generator) -> Camera:
    sigma = 0.0 if rng.random() < CLEAN_SHARE else float(rng.uniform(0.8, 3.0))
    drift, flicker = float(rng.uniform(0, 0.05)), float(rng.uniform(0, 0.015))
    return Camera(int(rng.integers(1 << 31)), sigma, drift, flicker, float(rng.uniform(0.3, 4.7)))


def _questions(plan: Plan, split: str, rng: np.random.Generator, rounds: int) -> tuple[Question, ...]:
    """In order of time, none twice."""
    asked = [
        Question(
            FORMS[form].kind, say(PHRASINGS[form], ask.about, split, rng), ask.answer, ask.at_s, ask.choices, *ask.span
        )
        for _ in range(rounds)
        for form, ask in choose(plan, FPS, rng)
    ]
    return tuple(sorted({(each.text, each.at_s): each for each in asked}.values(), key=lambda each: each.at_s))


def render(plan: Plan, backdrop: Backdrop, camera: Camera) -> Iterator[Frame]:
    """The film's frames, one by one. What neither moves nor changes is painted once."""
    before: tuple[Pixels, list[Pose | None]] | None = None
    painted = backdrop(0)
    for k in range(round(plan.duration_s * FPS)):
        t = k / FPS
        ground = backdrop(k)
        poses = [thing.pose(t, SIZE) for thing in plan.everything]
        if before is None or ground is not before[0] or poses != before[1]:
            painted = paint(_covering(ground), plan.everything, t)
            before = ground, poses
        yield Frame(camera.spoil(painted, k), t, k)


def _covering(ground: Pixels) -> Pixels:
    return ground if ground.shape[:2] == SIZE[::-1] else fit(ground, SIZE)
