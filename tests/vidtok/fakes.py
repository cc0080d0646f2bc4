"""What the tests of this package share: a stand-in encoder, drawn canvases and patches, a live world of two ends."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path

import cv2
import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

from edge_gate.novelty import GateConfig
from edge_gate.source import Frame
from transport import Link, Role, Session, State
from vidtok.canvas import CELL, UNIT, Canvas, Grid, blank
from vidtok.codec import MOVE_REACH, diff
from vidtok.edits import Edit, Gist, Kind, Move, Pan, Patch, Refine, Set, no_edits
from vidtok.entropy import Tables
from vidtok.live.link import codec_hash
from vidtok.live.receiver import Receiver, Update
from vidtok.live.sender import SendConfig, Sender, Step, hello
from vidtok.tokenizer.edge import TokenizerInfo, pad_to_grid
from vidtok.tokenizer.fsq import CHANNELS, EDGES, GIST, GIST_EDGES, GIST_LEVELS, LEVELS, VALUES, known

Pixels = NDArray[np.uint8]
Values = NDArray[np.uint8]

FINEST = 8  # blocks on a side of a cell, at most, that the stand-in encoder tells apart
GIST_BLOCKS = (16, 31)  # across and down, of the whole frame: one for each number of the gist

GOLDEN = Path(__file__).parent.parent / "golden"
VECTORS = Path(__file__).parent.parent / "vectors"

PRICE = 0.001  # so cheap that all that spares the model anything is sent, as soon as the caps allow

# Half a bin of rounding is at most 0.0157 of mean square: below this floor, so a still picture is no news.
GATE = GateConfig(floor=0.022, scale=0.05, news=0.2, calm=0.05, jump=0.0)  # every look is taken as it is
AVERAGING = replace(GATE, jump=0.1, blend=0.35)


@cache
def tables() -> Tables:
    """The prior tables, stored: golden bytes must not hang on anybody's logarithm or training run."""
    return Tables.from_bytes((GOLDEN / "tables.bin").read_bytes(), "tests/golden/tables.bin")


def info() -> TokenizerInfo:
    """A gist is worth nothing here: what the live tests count is the cells'."""
    return TokenizerInfo(
        np.ones(CHANNELS, np.float32), b"fake enc", np.full(GIST, 1e-4, np.float32)
    )  # noise is not worth a packet


class FakeEncoder:
    """Latents from means of ever finer blocks of each cell: deterministic, local, and deaf to a little noise."""

    def __init__(self) -> None:
        self.calls = 0
        self._grey: NDArray[np.float32] | None = None

    def __call__(self, pixels: Pixels, position: tuple[int, int] = (0, 0)) -> NDArray[np.float32]:
        self.calls += 1
        self._grey = pixels.mean(-1, dtype=np.float32)
        height, width = pixels.shape[:2]
        padded = pad_to_grid(pixels, (position[0] % CELL, position[1] % CELL)).astype(np.float32)
        rows, cols = padded.shape[0] // CELL, padded.shape[1] // CELL
        fine = padded.reshape(rows, FINEST, CELL // FINEST, cols, FINEST, CELL // FINEST, 3).mean((2, 5))
        fine = fine.swapaxes(1, 2)  # (rows, cols, FINEST, FINEST, 3)
        grey, colour = fine.mean(-1), (fine[..., 0] - fine[..., 2]) / 2 + 127.5

        def means(of: NDArray[np.float32], down: int, across: int) -> NDArray[np.float32]:
            parts = of.reshape(rows, cols, down, FINEST // down, across, FINEST // across)
            return parts.mean((3, 5)).reshape(rows, cols, down * across)

        levels = [
            np.concatenate([means(grey, 2, 2), means(colour, 1, 2)], -1),
            means(grey, 2, 4),
            means(grey, 4, 4),
            means(grey, 4, 8),
            means(grey, 8, 8),
            means(colour, 8, 8),
        ]
        out = np.zeros((-(-height // CELL) + 1, -(-width // CELL) + 1, CHANNELS), np.float32)
        latents = 0.98 * (np.concatenate(levels, -1) / 127.5 - 1)
        latents[..., 1::2] = 2 * np.abs(latents[..., 1::2]) - 0.98  # even what is grey all over is worth telling
        out[:rows, :cols] = latents
        return out

    def gist(self) -> NDArray[np.float32]:
        """Latents (GIST,) of the picture that was encoded last."""
        if self._grey is None:
            raise ValueError("gist() before the first frame")
        means = cv2.resize(self._grey, GIST_BLOCKS, interpolation=cv2.INTER_AREA)
        return np.asarray(0.98 * (means.ravel() / 127.5 - 1), np.float32)


def random_canvas(grid: Grid, rng: np.random.Generator, version: int = 7, span: int = 1000) -> Canvas:
    """Any canvas: each cell and the gist with any number of levels, at any position."""
    shape = (grid.rows, grid.cols)
    depth = rng.integers(0, LEVELS + 1, shape).astype(np.uint8) * (rng.random(shape) < rng.random())
    values = random_values(shape, rng) * known(depth)
    position = (int(rng.integers(-span, span + 1)), int(rng.integers(-span, span + 1)))
    changed = rng.integers(0, version + 1, shape).astype(np.uint32)
    gist, gist_depth = random_gist(rng), int(rng.integers(GIST_LEVELS + 1))
    gist[GIST_EDGES[gist_depth] :] = 0
    return Canvas(grid, version, position, values, depth, changed, gist, gist_depth)


def random_values(shape: tuple[int, ...], rng: np.random.Generator) -> Values:
    """Anything that could be seen of so many cells."""
    return rng.integers(0, VALUES, (*shape, CHANNELS), dtype=np.uint8)


def random_gist(rng: np.random.Generator) -> Values:
    """Any gist, on all its levels."""
    return rng.integers(0, VALUES, GIST, dtype=np.uint8)


def random_patch(base: Canvas, pan: Pan, rng: np.random.Generator, share: float) -> tuple[Patch, Values]:
    """Any patch that `diff` can give on `base`, and the values that were seen."""
    before = base.panned(pan.dx, pan.dy)
    shape = before.depth.shape
    visible = before.visible()
    set_to = rng.integers(1, LEVELS + 1, shape) * (rng.random(shape) < share) * visible
    refine_to = rng.integers(0, LEVELS + 1, shape) * (rng.random(shape) < share) * visible
    moves = rng.integers(-MOVE_REACH, MOVE_REACH + 1, (*shape, 2))
    rows, cols = np.indices(shape)
    from_row, from_col = rows + moves[..., 1], cols + moves[..., 0]
    inside = (from_row >= 0) & (from_row < shape[0]) & (from_col >= 0) & (from_col < shape[1])
    held = before.depth[np.clip(from_row, 0, shape[0] - 1), np.clip(from_col, 0, shape[1] - 1)] > 0
    moves[~(inside & held & visible & (rng.random(shape) < share / 2))] = 0
    values = random_values(shape, rng)
    kinds = (set_to.astype(np.uint8), refine_to.astype(np.uint8), moves.astype(np.int8))
    turned = rng.random(GIST) < rng.choice([0.0, 0.05, 0.2, 0.4, 1.0])  # of every class of change
    gist = {"gist": np.where(turned, random_gist(rng), base.gist), "gist_to": int(rng.integers(GIST_LEVELS + 1))}
    if rng.random() < 0.5:
        gist = {}
    return diff(values, base, kinds[0], refine_to=kinds[1], pan=pan, moves=kinds[2], **gist), values


def flat(value: int, levels: int, held: int = 0) -> tuple[int, ...]:
    """What tells a cell of one value everywhere on so many levels, those `held` left out."""
    return (value,) * (EDGES[levels] - EDGES[held])


grids = st.one_of(
    st.builds(lambda c, r: Grid(c * UNIT, r * UNIT), st.integers(2, 18), st.integers(2, 18)),
    st.sampled_from([Grid(32, 32), Grid(48, 80), Grid(640, 368), Grid(368, 640), Grid(32, 640), Grid(640, 48)]),
)
generators = st.integers(0, 2**32 - 1).map(np.random.default_rng)
offsets = st.one_of(st.integers(-40, 40), st.integers(-800, 800), st.integers(-(10**9), 10**9))
pans = st.one_of(st.just(Pan(0, 0)), st.builds(Pan, offsets, offsets))
shares = st.sampled_from([0.0, 0.02, 0.2, 0.6, 1.0])


def to_patch(base: Canvas, edits: Iterable[Edit]) -> Patch:
    """Single edits as a patch of `base`: the other way round than `Patch.edits`."""
    edits = list(edits)
    pan = next((edit for edit in edits if isinstance(edit, Pan)), Pan(0, 0))
    held = base.panned(pan.dx, pan.dy).depth
    out = no_edits(base.grid.rows, base.grid.cols, pan)
    for edit in edits:
        match edit:
            case Move(row, col, dx, dy):
                out.kind[row, col], out.move[row, col] = Kind.MOVE, (dx, dy)
            case Set(row, col, values):
                out.kind[row, col], out.depth[row, col] = Kind.SET, EDGES.index(len(values))
                out.values[row, col, : len(values)] = values
            case Refine(row, col, values):
                first = EDGES[held[row, col]]
                out.kind[row, col], out.depth[row, col] = Kind.REFINE, EDGES.index(first + len(values))
                out.values[row, col, first : first + len(values)] = values
            case Gist(values):
                out.gist[: len(values)] = values
                out = replace(out, gist_depth=GIST_EDGES.index(len(values)))
    return out


def blocks(rng: np.random.Generator, grid: Grid, side: int = 16) -> Pixels:
    """A picture of random flat blocks: as wild as pictures get."""
    rows, cols = -(-grid.height // side), -(-grid.width // side)
    small = rng.integers(0, 256, (rows, cols, 3), dtype=np.uint8)
    return small.repeat(side, 0).repeat(side, 1)[: grid.height, : grid.width]


def noisy(picture: Pixels, rng: np.random.Generator, sigma: float) -> Pixels:
    """The picture as a sensor sees it."""
    return np.clip(np.rint(picture + rng.normal(0, sigma, picture.shape)), 0, 255).astype(np.uint8)


def frames(pictures: Iterable[Pixels], fps: float, first: int = 0) -> list[Frame]:
    return [Frame(picture, (first + k) / fps, first + k) for k, picture in enumerate(pictures)]


def calm(**changes: object) -> SendConfig:
    """A config whose thresholds are the tests' own, so that calibrating the gate breaks nothing here."""
    return replace(SendConfig(gate=GATE, price=PRICE, token_price=0.0, learned=False, pan=True), **changes)  # type: ignore[arg-type]


@dataclass
class World:
    """Both live ends over two impaired links in virtual time; everything that the sender made is written down."""

    grid: Grid
    there: Link
    back: Link
    config: SendConfig
    now: float = 0.0
    made: dict[int, Canvas] = field(default_factory=dict)
    steps: list[tuple[float, Step]] = field(default_factory=list)
    updates: list[Update] = field(default_factory=list)

    def __post_init__(self) -> None:
        build = codec_hash(tables(), info().digest)
        meta = dict(hello(self.grid, 10.0, "world"))
        sender = Session(Role.SENDER, codec_hash=build, meta=meta, now=0.0, wall_ms=0, session_id=bytes(16))
        receiver = Session(Role.RECEIVER, codec_hash=build, meta={}, now=0.0, wall_ms=0)
        self.sender = Sender(self.grid, sender, FakeEncoder(), info(), tables(), self.config)
        self.receiver = Receiver(receiver, tables())
        self.made[0] = blank(self.grid)

    def frame(self, picture: Pixels) -> None:
        """The camera delivers a picture now."""
        if self.sender.session.state is not State.OPEN:
            return
        first = self.sender.session.next_version
        self.steps.append((self.now, self.sender.step(picture, self.now, self.now)))
        for version in range(first, self.sender.session.next_version):
            canvas = self.sender.canvas_at(version)
            assert canvas is not None
            assert canvas.version == version
            self.made[version] = canvas

    def run(self, until: float) -> None:
        """Let time pass."""
        while True:
            self._exchange()
            after = self._next()
            if after >= until:
                break
            self.now = max(after, self.now + 1e-6)
        self.now = until

    def _next(self) -> float:
        ends = (self.there.next_time(), self.back.next_time())
        timers = (self.sender.session.next_timeout(), self.receiver.session.next_timeout())
        return min((time for time in (*ends, *timers) if time is not None), default=float("inf"))

    def _exchange(self) -> None:
        now, left, right = self.now, self.sender.session, self.receiver.session
        arrived = [event for data in self.there.pop(now) for event in right.receive_datagram(data, now)]
        for event in arrived + right.handle_timeout(now):
            update = self.receiver.on_event(event, now)
            if update is not None:
                self.updates.append(update)
        answers = [event for data in self.back.pop(now) for event in left.receive_datagram(data, now)]
        for event in answers + left.handle_timeout(now):
            self.sender.on_event(event)
        for _, data in left.datagrams_to_send(now):
            self.there.push(data, now)
        for _, data in right.datagrams_to_send(now):
            self.back.push(data, now)
