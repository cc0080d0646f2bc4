"""The built-in scene: what the demo films and what tests and benchmarks measure against, with ground truth.

    write_script(variant, lap) --> acts, camera --> clean_frame(k) --> exposure, flicker, noise --> frame(k)
                                       |
                                       +--> events, still_spans, camera(k): known before the first frame

Frame k is a pure function of the parameters and k. The camera moves by translation only,
without roll.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator
from typing import Self

import numpy as np
import numpy.typing as npt

from edge_gate.scene_art import WALL, Patch, cap_height, draw, gallery, put_lamp, room
from edge_gate.scene_script import STATIONS, Act, Beat, Box, Key, Point, SceneEvent, Script, Span, Stage
from edge_gate.scene_variants import LAP_S, lamp_side, write_script
from edge_gate.source import Frame, Pixels, Size, SourceError, check_size, load_cv2

__all__ = ["VARIANTS", "Scene", "SceneEvent"]

VARIANTS = tuple(LAP_S)

READ_NOISE = 1.6
SHOT_NOISE = 0.011
DRIFT = 0.04
DRIFT_PERIOD_S = 20.0
FLICKER = 0.015
MAINS_HZ = 100.0
READOUT_S = 0.003


class Scene:
    """A seeded scene of `size` (width, height) at `fps`, of one lap or `duration_s` seconds.

    Variants: tour, still, pan, handheld, events, scroll. Laps go on for ever with `math.inf`, each with other
    things at other places; `events` and `still_spans` then tell of the first, `lap_events` of any.
    """

    live = False

    def __init__(
        self,
        size: Size = (256, 256),
        fps: float = 10.0,
        seed: int = 0,
        variant: str = "tour",
        noise: bool = True,
        duration_s: float | None = None,
    ) -> None:
        if variant not in LAP_S:
            raise SourceError(f"scene:{variant}: there is no such scene; give one of {', '.join(VARIANTS)}")
        if seed < 0:
            raise SourceError(f"--seed {seed}: give a whole number from 0 on")
        self.name = f"scene:{variant}"
        self.size = check_size(size)
        self.fps = fps
        self.seed = seed
        self.variant = variant
        self.noise = noise
        self.duration_s = LAP_S[variant] if duration_s is None else duration_s
        self._wall, self._home = self._build_wall()
        self._laps: dict[int, Script] = {}
        self._closed = False

    # Frames

    def __iter__(self) -> Iterator[Frame]:
        k = 0
        while k / self.fps < self.duration_s and not self._closed:
            yield self.frame(k)
            k += 1

    def frame(self, k: int) -> Frame:
        """Frame `k` as the camera delivers it: (height, width, 3), with nuisances unless `noise` is off."""
        clean = self.clean_frame(k)
        return Frame(self._spoil(clean.pixels, k), clean.time_s, k) if self.noise else clean

    def clean_frame(self, k: int) -> Frame:
        """Frame `k` without sensor noise, flicker and exposure drift; the camera's shake stays."""
        t = k / self.fps
        script = self._script(self._lap_at(t))
        camera = script.camera_at(t, self.seed)
        pixels = self._view(camera)
        for act in script.acts:
            pose = act.pose(t)
            if pose is not None:
                _paint(pixels, act, _seen_from(pose, camera))
        return Frame(pixels, t, k)

    def camera(self, k: int) -> Point:
        """Where the camera is in frame `k`, in pixels; what is seen moves the other way."""
        t = k / self.fps
        return self._script(self._lap_at(t)).camera_at(t, self.seed)

    # Truth

    @functools.cached_property
    def events(self) -> tuple[SceneEvent, ...]:
        """Everything that happens in the scene's duration, in order; of an endless scene, its first lap."""
        found = [event for lap in self._known_laps() for event in self.lap_events(lap)]
        return tuple(event for event in found if event.start_s < self.duration_s)

    @functools.cached_property
    def still_spans(self) -> tuple[Span, ...]:
        """Spans of a second or more, from start to just before end, with a still camera and no event."""
        spans: list[Span] = []
        for start, end in (span for lap in self._known_laps() for span in self._script(lap).still_spans()):
            if spans and spans[-1][1] == start:
                start = spans.pop()[0]
            if start < self.duration_s:
                spans.append((start, min(end, self.duration_s)))
        return tuple(spans)

    def lap_events(self, lap: int) -> tuple[SceneEvent, ...]:
        """What happens in one lap, counted from 0."""
        script = self._script(lap)
        return tuple(self._event(script, beat) for beat in script.beats)

    def _event(self, script: Script, beat: Beat) -> SceneEvent:
        first, last = math.floor(beat.start_s * self.fps), math.floor(beat.end_s * self.fps + 1e-6)
        ticks = [k / self.fps for k in range(first, last + 1)]
        times = sorted({beat.start_s, *(t for t in ticks if beat.start_s <= t <= beat.end_s)})
        act = None if beat.act is None else script.acts[beat.act]
        track = tuple((t, self._box(script, act, t)) for t in times)
        cap = None if act is None or act.art.kind != "page" else cap_height(act.art)
        return SceneEvent(beat.kind, beat.label, beat.start_s, beat.end_s, track, beat.text, beat.held_s, cap)

    def _box(self, script: Script, act: Act | None, t: float) -> Box | None:
        """What an act covers of the frame; the whole frame when it is the camera that moves."""
        if act is None:
            return 0, 0, *self.size
        pose = act.pose(t)
        if pose is None or act.window is not None:
            return act.window if pose is not None else None
        seen = _seen_from(pose, script.camera_at(t, self.seed))
        return _bounds(act, seen, self.size)

    def _known_laps(self) -> range:
        if math.isinf(self.duration_s):
            return range(1)
        return range(math.ceil(self.duration_s / LAP_S[self.variant]))

    def _lap_at(self, t: float) -> int:
        return math.floor(t / LAP_S[self.variant] + 1e-9)

    def _script(self, lap: int) -> Script:
        if lap not in self._laps:
            if len(self._laps) > 8 and lap > max(self._laps):
                self._laps.clear()
            self._laps[lap] = write_script(self.variant, lap, self._stage)
        return self._laps[lap]

    # Pictures

    def _build_wall(self) -> tuple[Pixels, Point]:
        """The background and where on it the home frame begins; sets the stage."""
        width, height = self.size
        if self.variant == "scroll":
            wall: Pixels = np.full((height, width, 3), WALL, np.uint8)
        elif self.variant == "pan":
            wall = gallery(self.size)
        else:
            wall = room(self.size, 0 if self.variant == "tour" else self.seed)  # lamps belong in the garage
        slack_x, slack_y = (wall.shape[1] - width) / 2, (wall.shape[0] - height) / 2
        self._stage = Stage(width, height, slack_x, slack_y, self.fps, self.seed)
        home = (0.0 if self.variant == "pan" else float(round(slack_x))), float(round(slack_y))
        if self.variant == "tour":
            for number in range(len(STATIONS)):
                x, y = self._stage.lamp(number)
                put_lamp(wall, home[0] + x, home[1] + y, lamp_side(self._stage.short))
        if self.variant == "pan":
            wall = np.hstack([wall, wall[:, : width + 64]])
        return wall, home

    def _view(self, camera: Point) -> Pixels:
        """The background (height, width, 3) as seen with the camera there; a new array."""
        width, height = self.size
        x, y = self._home[0] + camera[0], self._home[1] + camera[1]
        if self.variant == "pan":
            x %= self._wall.shape[1] - width - 64
        left = min(max(math.floor(x) - 1, 0), max(0, self._wall.shape[1] - width - 3))
        top = min(max(math.floor(y) - 1, 0), max(0, self._wall.shape[0] - height - 3))
        near = self._wall[top : top + height + 3, left : left + width + 3]
        if (x - left, y - top) == (0.0, 0.0):
            return near[:height, :width].copy()
        cv2 = load_cv2()
        shift = np.array([[1.0, 0.0, x - left], [0.0, 1.0, y - top]])
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        seen = cv2.warpAffine(near, shift, (width, height), flags=flags, borderMode=cv2.BORDER_REFLECT)
        return np.asarray(seen, dtype=np.uint8)

    def _spoil(self, clean: Pixels, k: int) -> Pixels:
        """Exposure drift, mains flicker (rows are read out one after the other) and sensor noise."""
        cv2 = load_cv2()
        t = k / self.fps
        rng = np.random.Generator(np.random.SFC64([self.seed, k, 5]))
        noise = rng.standard_normal(clean.shape, dtype=np.float32)
        noise *= cv2.LUT(clean, _sigma())
        noise += clean * self._gain(t)[:, None, None]
        np.rint(noise, out=noise)
        return np.clip(noise, 0.0, 255.0, out=noise).astype(np.uint8)

    def _gain(self, t: float) -> npt.NDArray[np.float32]:
        """Brightness of every row (height,) at time `t`."""
        drift, flicker, hz = np.random.default_rng([self.seed, 6]).uniform(0.0, 1.0, 3)
        rows_s = t + np.arange(self.size[1]) / self.size[1] * READOUT_S
        slow = 1.0 + DRIFT * math.sin(math.tau * (t / DRIFT_PERIOD_S + float(drift)))
        mains = MAINS_HZ + 0.6 + 1.8 * float(hz)
        return (slow * (1.0 + FLICKER * np.sin(math.tau * (mains * rows_s + float(flicker))))).astype(np.float32)

    # A source like any other

    def close(self) -> None:
        """End any iteration; frames can still be asked for one by one."""
        self._closed = True

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@functools.lru_cache(maxsize=1)
def _sigma() -> npt.NDArray[np.float32]:
    """Standard deviation of the noise at each brightness (256,): 1.6 in the dark, 2 at half, 2.3 in white."""
    return np.asarray(np.sqrt(READ_NOISE**2 + SHOT_NOISE * np.arange(256)), dtype=np.float32)


def _seen_from(pose: Key, camera: Point) -> Key:
    return Key(pose.t_s, pose.x - camera[0], pose.y - camera[1], pose.angle_deg)


def _bounds(act: Act, pose: Key, size: Size) -> Box | None:
    """The upright box around a turned patch, cut to the frame; None where nothing of it is in the frame."""
    turn = math.radians(pose.angle_deg)
    cos, sin = abs(math.cos(turn)), abs(math.sin(turn))
    half_w = (act.art.width * cos + act.art.height * sin) / 2
    half_h = (act.art.width * sin + act.art.height * cos) / 2
    left, top = max(0, math.floor(pose.x - half_w)), max(0, math.floor(pose.y - half_h))
    right, bottom = min(size[0], math.ceil(pose.x + half_w)), min(size[1], math.ceil(pose.y + half_h))
    return (left, top, right - left, bottom - top) if left < right and top < bottom else None


def _paint(pixels: Pixels, act: Act, pose: Key) -> None:
    """Draw an act into the frame (H, W, 3), inside its bounds only."""
    if act.window is not None:
        _scroll(pixels, draw(act.art), act.window, round(pose.y))
        return
    box = _bounds(act, pose, (pixels.shape[1], pixels.shape[0]))
    if box is None:
        return
    x, y, w, h = box
    patch = _turned(draw(act.art), pose, box)
    under = pixels[y : y + h, x : x + w]
    mixed = under * (1.0 - patch[..., 3:]) + patch[..., :3]
    pixels[y : y + h, x : x + w] = np.clip(np.rint(mixed), 0.0, 255.0).astype(np.uint8)


def _turned(patch: Patch, pose: Key, box: Box) -> Patch:
    """The patch as it lies in its box: (h, w, 4). Pixel centres are at halves."""
    cv2 = load_cv2()
    turn = math.radians(pose.angle_deg)
    cos, sin = math.cos(turn), math.sin(turn)
    u, v = (patch.shape[1] - 1) / 2, (patch.shape[0] - 1) / 2
    x, y = pose.x - 0.5 - box[0], pose.y - 0.5 - box[1]
    place = np.array([[cos, -sin, x - cos * u + sin * v], [sin, cos, y - sin * u - cos * v]])
    laid = cv2.warpAffine(patch, place, (box[2], box[3]), flags=cv2.INTER_LINEAR, borderValue=0)
    return np.asarray(laid, dtype=np.float32)


def _scroll(pixels: Pixels, strip: Patch, window: Box, row: int) -> None:
    """Show the strip from `row` on behind the window."""
    x, y, w, h = window
    rows = (row + np.arange(h)) % strip.shape[0]
    pixels[y : y + h, x : x + w] = strip[rows, :, :3].astype(np.uint8)
