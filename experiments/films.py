"""A clip, or a built-in scene, and how an experiment looks at it: what a worker loads its frames from."""

from __future__ import annotations

from dataclasses import dataclass

from edge_gate.source import Size, SourceError, open_source
from experiments.bench import BenchError
from experiments.systems import Clip, clip_of

SHORTEST_S = 1.0
LARGEST = 2 << 30  # bytes of one clip's frames in a worker's memory


@dataclass(frozen=True)
class Film:
    """What to open, what to call it, and how much of it to see."""

    spec: str
    name: str
    size: Size
    fps: float
    seconds: float

    @property
    def shape(self) -> str:
        """Its size in the words of --size."""
        return "x".join(map(str, dict.fromkeys(self.size)))

    def load(self) -> Clip:
        """Its frames, in memory. Raises SourceError where there are none, or too few for a rate."""
        size = "x".join(map(str, self.size))
        with open_source(self.spec, size=size, fps=self.fps, duration_s=self.seconds) as source:
            frames = list(source)
        if len(frames) < SHORTEST_S * self.fps:
            seconds = len(frames) / self.fps
            raise SourceError(f"{self.spec}: lasts {seconds:g} s, a rate needs at least {SHORTEST_S:g} s")
        return clip_of(self.name, self.fps, frames)


def check_length(size: Size, fps: float, seconds: float) -> None:
    """Refuse what makes no rate, or does not fit a worker's memory."""
    if not seconds >= SHORTEST_S:
        raise BenchError(f"--seconds {seconds:g}: give at least {SHORTEST_S:g}")
    if size[0] * size[1] * 3 * fps * seconds > LARGEST:
        width, height = size
        raise BenchError(
            f"--seconds {seconds:g}: frames of {width}x{height} at {fps:g} fps need too much memory, "
            "give fewer seconds or a smaller --size"
        )
