"""What is compared: every system is a function from frames to what its receiver knows at each frame's time.

    frames of a clip, one by one --run(params, clip)--> Known, Known, ...   (one per frame, in order)

A system of your own is one file; see `third_party_example.py` and pass its path to `--systems`. The rules:

- yield exactly one `Known` for each frame that you take from the clip, before taking the next: the harness refuses
  a system that looks ahead;
- `bytes`, `packets` and `tokens` count from the start of the clip, both directions, headers included;
- yield the very same picture object while the receiver holds the same picture: it is not judged twice.
"""

from __future__ import annotations

import importlib.util
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_gate.source import Frame
from experiments.bench import BenchError
from vidtok.canvas import CELL, Canvas

HOSTED_TOKENS = 258  # what hosted realtime models charge for one picture
# Below a system's own bytes, a packet: IPv4 20, UDP 8, and
RTP_BYTES = 50  # RTP 12, SRTP tag 10
CHANNEL_BYTES = 93  # DTLS record and AES-GCM tag 37, SCTP header 12, DATA chunk 16; a SACK costs about the same


@dataclass(frozen=True, eq=False)
class Known:
    """What a receiver knows at the time of one source frame, and what it has cost since the clip began."""

    picture: NDArray[np.uint8] | None = None  # (H, W, 3) RGB: for systems whose model looks at decoded pictures
    canvas: Canvas | None = None  # for systems on our tokens: read through the token head and the viewer
    bytes: int | None = 0  # None where a policy is about tokens alone
    packets: int = 0
    tokens: int = 0
    news: NDArray[np.bool_] | None = None  # (rows, cols) cells sent because they are new; None: it never says
    alarm: bool | None = None  # whether this frame is worth waking a model for; None: any news is


@dataclass(frozen=True)
class Clip:
    """Frames as a live source gives them, one after the other."""

    name: str
    size: tuple[int, int]  # width, height
    fps: float
    count: int
    frames: Callable[[], Iterator[Frame]]

    def __iter__(self) -> Iterator[Frame]:
        return self.frames()

    @property
    def seconds(self) -> float:
        """How long it lasts."""
        return self.count / self.fps

    def kbps(self, count: int | None) -> float | None:
        """What so many bytes are over the whole clip; None stays None."""
        return None if count is None else round(count * 8 / self.seconds / 1000, 6)

    @property
    def cells(self) -> int:
        """Cells of a frame: what decoded video costs a model that looks at all of it."""
        return cells_of(self.size)


def cells_of(size: tuple[int, int]) -> int:
    """Cells that a picture of (width, height) pixels fills: tokens, where a model reads all of it."""
    return -(-size[0] // CELL) * -(-size[1] // CELL)


def clip_of(name: str, fps: float, frames: Sequence[Frame]) -> Clip:
    """A clip from frames in memory."""
    height, width = frames[0].pixels.shape[:2]
    return Clip(name, (width, height), fps, len(frames), lambda: iter(frames))


def every(clip: Clip, seconds: float) -> Iterator[tuple[Frame, bool]]:
    """Frames, and whether each is one of those taken every so many seconds, the first included."""
    due = 0.0
    for frame in clip:
        taken = frame.time_s + 1e-9 >= due
        if taken:
            due += seconds
        yield frame, taken


@dataclass(frozen=True)
class System:
    """One way of telling a model what a camera sees, at several operating points."""

    name: str
    about: str  # versions and settings, for the report
    run: Callable[[Any, Clip], Iterator[Known]]
    settings: Mapping[str, Any]  # label -> what `run` gets; from cheap to dear
    family: str = "other"  # systems of a family share a colour in the plots
    quick: Sequence[str] = ()  # the settings of a --quick run; none: first, middle, last
    packet_bytes: int = RTP_BYTES
    weights: str = ""  # names whatever else its figures depend on: what it was trained to, its defaults

    @property
    def build(self) -> str:
        """What its figures depend on besides a setting's name, code apart: rows of another build are stale."""
        return f"{self.weights}{zlib.crc32(self.about.encode()):08x}"

    def wire_bytes(self, known: Known) -> int | None:
        """All bytes so far, with what lies below each packet."""
        return None if known.bytes is None else known.bytes + known.packets * self.packet_bytes

    def chosen(self, quick: bool) -> dict[str, Any]:
        """The settings of a run."""
        labels = list(self.settings)
        if quick:
            wanted = self.quick or {labels[0], labels[len(labels) // 2], labels[-1]}
            labels = [label for label in labels if label in wanted]
        return {label: self.settings[label] for label in labels}


def follow(system: System, params: Any, clip: Clip) -> Iterator[tuple[Frame, Known]]:
    """Run a system over a clip; each frame with what is known at its time. Raises BenchError where it cheats."""
    taken: list[Frame] = []
    told = 0

    def watched() -> Iterator[Frame]:
        for frame in clip:
            taken.append(frame)
            yield frame

    for known in system.run(params, replace(clip, frames=watched)):
        if len(taken) <= told:
            raise BenchError(f"{system.name}: tells of frame {told} of {clip.name} before looking at it")
        if len(taken) > told + 1:
            raise BenchError(f"{system.name}: looked at frame {told + 1} of {clip.name} before telling of {told}")
        yield taken[told], known
        told += 1
    if told != clip.count:
        raise BenchError(f"{system.name}: told of {told} of the {clip.count} frames of {clip.name}")


def all_systems() -> dict[str, System]:
    """Every system that ships, by name."""
    from experiments.systems import gates, ours, pictures, tokens, video

    modules = (ours, tokens, gates, video, pictures)
    return {system.name: system for module in modules for system in module.systems()}


def pick(names: str | None) -> list[System]:
    """The systems that `--systems` names: names, prefixes with a star, paths of files with `systems()` in them."""
    known = all_systems()
    if not names:
        return list(known.values())
    chosen: dict[str, System] = {}
    for name in names.split(","):
        if name.endswith(".py"):
            found = load(Path(name))
        elif name.endswith("*"):
            found = [system for system in known.values() if system.name.startswith(name[:-1])]
        else:
            found = [known[name]] if name in known else []
        if not found:
            raise BenchError(f"--systems {name}: no such system; there are {', '.join(known)}")
        chosen |= {system.name: system for system in found}
    return list(chosen.values())


def load(path: Path) -> list[System]:
    """The systems of a file: what its function `systems()` returns."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None or not path.exists():
        raise BenchError(f"--systems {path}: no such file")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    found = list(getattr(module, "systems", list)())
    if not found or not all(isinstance(system, System) for system in found):
        raise BenchError(f"--systems {path}: has no function systems() that returns a list of System")
    return found
