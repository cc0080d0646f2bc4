"""Streams as a model's server gets them, made before anything is timed: a clip's canvases, a day of painted films.

    clip  --our sender and receiver--> Updates: each canvas with its second
    films --our sender and receiver, one after the other, each held still at its end--> Lap --turn after turn--> a day

A lap begins in the state in which it ends, so a day may go round it as often as it likes: the same films, later.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from edge_gate.source import Frame
from experiments.questions import Film
from experiments.systems import Clip, System
from experiments.systems.ours import stream
from vidtok.canvas import Canvas
from vidtok.live.sender import SendConfig

HOLD_S = 2.0  # a film's last frame stands so long: it is refined, and then nothing is sent


@dataclass(frozen=True, eq=False)
class Updates:
    """A clip as its receiver came to know it."""

    name: str
    fps: float
    seconds: float
    canvases: tuple[tuple[float, Canvas], ...]  # each new one, with its second


def updates_of(clip: Clip) -> Updates:
    """What comes of a clip that is sent as shipped."""
    knowns = stream(SendConfig(), clip)
    seen = _new((number / clip.fps, known.canvas) for number, known in enumerate(knowns))
    return Updates(clip.name, clip.fps, clip.seconds, tuple(seen))


def _new(canvases: Iterator[tuple[float, Canvas | None]]) -> Iterator[tuple[float, Canvas]]:
    last = None
    for at_s, canvas in canvases:
        if canvas is not None and canvas is not last:
            yield at_s, canvas
            last = canvas


def later(canvas: Canvas, by: int) -> Canvas:
    """The same canvas so many versions later."""
    return replace(canvas, version=canvas.version + by, changed=canvas.changed + by)


@dataclass(frozen=True, eq=False)
class Lap:
    """Films one after the other, as their receiver came to know them."""

    films: tuple[Film, ...]
    canvases: tuple[tuple[tuple[float, Canvas], ...], ...]  # of each film, with the second of the film
    versions: int  # that a lap takes

    def of(self, turn: int, film: int) -> list[tuple[float, Canvas]]:
        """A film's canvases when they are shown for the `turn`th time."""
        return [(at_s, later(canvas, turn * self.versions)) for at_s, canvas in self.canvases[film]]


def lap_of(films: Sequence[Film], system: System, setting: str) -> Lap:
    """Send the films one after the other; the last goes before them too, so that the lap begins as it ends."""
    chain = [len(films) - 1, *range(len(films))]
    places = [(turn, k / films[film].fps) for turn, film in enumerate(chain) for k in range(_count(films[film]))]
    chained = _chained([films[film] for film in chain], len(places))
    found: list[list[tuple[float, Canvas]]] = [[] for _ in chain]
    knowns = system.run(system.settings[setting], chained)
    last = None
    for (turn, at_s), known in zip(places, knowns, strict=True):
        if known.canvas is not None and known.canvas is not last:
            last = known.canvas
            found[turn].append((at_s, last))
    first, end = found[0][-1][1], last
    assert end is not None
    return Lap(tuple(films), tuple(map(tuple, found[1:])), end.version - first.version)


def _count(film: Film) -> int:
    return film.count + round(HOLD_S * film.fps)


def _chained(films: Sequence[Film], count: int) -> Clip:
    fps = films[0].fps

    def frames() -> Iterator[Frame]:
        number = 0
        for film in films:
            pixels = None
            for frame in film:
                pixels = frame.pixels
                yield Frame(pixels, number / fps, number)
                number += 1
            assert pixels is not None
            for _ in range(_count(film) - film.count):
                yield Frame(pixels, number / fps, number)
                number += 1

    return Clip("lap", films[0].size, fps, count, frames)
