"""The token head run again only where the canvas changed: it gives what a run on everything gives, and runs on less."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from functools import cache, partial

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from tests.vidtok.fakes import generators, grids, random_canvas, random_patch, random_values, shares
from vidtok.canvas import Canvas, Grid, blank
from vidtok.codec import diff, patch
from vidtok.edits import Pan
from vidtok.model.head import IncrementalHead
from vidtok.model.reader import Reader
from vidtok.model.tower import load_tower
from vidtok.tokenizer.fsq import LEVELS, SEEN_LEVELS, known
from vidtok.tokenizer.networks import SEEN_CONTEXT, TokenHead
from vidtok.tokenizer.store import canvas_context

BLOCKS = 4
REACH = 1 + BLOCKS  # cells: of the first convolution and of the blocks

# How far from a changed cell each part of the network is run. A block's first step mixes places and needs a rim.
MARGINS = {"linear": REACH, "detail.0": 2, f"detail.{REACH}": REACH}
for k in range(1, REACH):
    MARGINS |= {f"detail.{k}.mix": k + 2, f"detail.{k}.wide": k + 1, f"detail.{k}.narrow": k + 1}

some = settings(max_examples=25)
small_pans = st.one_of(st.just(Pan(0, 0)), st.builds(Pan, st.integers(-40, 40), st.integers(-40, 40)))
shapes = st.sampled_from([(24, 28), (8, 8), (28, 5), (3, 30), (1, 30), (30, 1), (1, 1), (2, 1)])
sides = st.integers(1, 4)


class CountingHead(TokenHead):
    """Counts the cells that its parts are run on. In doubles, so that the faintest trace of a cell left out shows."""

    def __init__(self) -> None:
        super().__init__(width=16, blocks=BLOCKS)
        self.double().eval().requires_grad_(False)
        self.ran: Counter[str] = Counter()
        for name, part in self.named_modules():
            if isinstance(part, nn.Conv2d | nn.ConvTranspose2d):
                part.register_forward_pre_hook(partial(self._count, name))

    def _count(self, name: str, part: nn.Module, given: tuple[Tensor]) -> None:
        self.ran[name] += given[0][0, 0].numel()

    def ran_for(self, head: IncrementalHead, cells: Tensor) -> dict[str, int]:
        """How many cells each part is run on to read these."""
        self.ran.clear()
        head.read(cells)
        return dict(self.ran)


@cache
def network() -> CountingHead:
    torch.manual_seed(0)
    return CountingHead()


def whole(cells: Tensor) -> Tensor:
    """What the network gives when it is run on everything."""
    with torch.inference_mode():
        features: Tensor = network()(cells)
    return features


def same(ours: Tensor, theirs: Tensor) -> bool:
    return ours.shape == theirs.shape and torch.allclose(ours, theirs, rtol=0, atol=1e-12)


def seen(canvas: Canvas) -> Tensor:
    """What the network reads of a canvas."""
    return canvas_context(canvas, SEEN_LEVELS)[0].double()


def anything(rows: int, cols: int, rng: np.random.Generator) -> Tensor:
    """What the network could read of so many cells."""
    return torch.from_numpy(rng.normal(size=(1, SEEN_CONTEXT, rows, cols)))


def edited(cells: Tensor, row: int, col: int, down: int = 1, across: int = 1) -> Tensor:
    """The same with something else in a box of cells."""
    other = cells.clone()
    other[:, :, row : row + down, col : col + across] += 1
    return other


def filled(grid: Grid, rng: np.random.Generator) -> Canvas:
    """A canvas that holds all levels of all that it shows."""
    return with_cells(blank(grid), slice(grid.rows - 1), slice(grid.cols - 1), rng)


def with_cells(canvas: Canvas, rows: slice, cols: slice, rng: np.random.Generator) -> Canvas:
    """The canvas with other values, on all levels, in a box of cells."""
    to = np.zeros_like(canvas.depth)
    to[rows, cols] = LEVELS
    return patch(canvas, diff(random_values(to.shape, rng), canvas, to), canvas.version + 1)


def near(at: int, side: int, margin: int) -> int:
    """How many of so many cells in a row are no further than the margin from one of them."""
    return min(side, at + margin + 1) - max(0, at - margin)


def neighbourhood(row: int, col: int, rows: int, cols: int) -> dict[str, int]:
    """How many cells each part of the network has to be run on when one cell changed."""
    return {name: near(row, rows, margin) * near(col, cols, margin) for name, margin in MARGINS.items()}


def test_the_margins_are_as_far_as_a_change_shows() -> None:
    cells = torch.zeros(1, SEEN_CONTEXT, 15, 15, dtype=torch.double)
    shows = (whole(edited(cells, 7, 7)) != whole(cells)).any(1)[0].nonzero() // 2
    assert (int(shows.min()), int(shows.max())) == (7 - REACH, 7 + REACH)


# Equal to a run on everything


@some
@given(grids, generators, st.lists(st.tuples(small_pans, shares), max_size=4))
def test_a_chain_of_edits_and_pans_gives_what_runs_on_everything_give(
    grid: Grid, rng: np.random.Generator, chain: list[tuple[Pan, float]]
) -> None:
    head, canvas = IncrementalHead(network()), random_canvas(grid, rng)
    assert same(head.read(seen(canvas)), whole(seen(canvas)))
    for pan, share in chain:
        canvas = patch(canvas, random_patch(canvas, pan, rng, share)[0], canvas.version + 1)
        assert same(head.read(seen(canvas)), whole(seen(canvas)))


@settings(max_examples=60)
@given(shapes, generators, st.lists(st.tuples(sides, sides), min_size=1, max_size=4))
def test_a_chain_of_boxes_anywhere_gives_what_runs_on_everything_give(
    shape: tuple[int, int], rng: np.random.Generator, boxes: list[tuple[int, int]]
) -> None:
    head, cells = IncrementalHead(network()), anything(*shape, rng)
    head.read(cells)
    for down, across in boxes:
        cells = edited(cells, int(rng.integers(shape[0])), int(rng.integers(shape[1])), down, across)
        assert same(head.read(cells), whole(cells))


@some
@given(st.lists(shapes, min_size=2, max_size=3), generators, st.lists(st.integers(0, 2), max_size=6))
@example([(1, 30), (30, 1)], np.random.default_rng(0), [0, 1, 0])  # as many cells, in another shape
def test_streams_in_turn_do_not_mix(of: list[tuple[int, int]], rng: np.random.Generator, turns: list[int]) -> None:
    head, streams = IncrementalHead(network()), [anything(*shape, rng) for shape in of]
    for turn in turns:
        at = turn % len(streams)
        streams[at] = edited(streams[at], int(rng.integers(of[at][0])), int(rng.integers(of[at][1])))
        assert same(head.read(streams[at]), whole(streams[at]))


@some
@given(shapes, generators, st.lists(st.tuples(sides, sides), min_size=1, max_size=4))
def test_what_was_read_and_given_before_stays_as_it_was(
    shape: tuple[int, int], rng: np.random.Generator, boxes: list[tuple[int, int]]
) -> None:
    head, cells = IncrementalHead(network()), anything(*shape, rng)
    kept = []
    for down, across in [(0, 0), *boxes]:
        cells = edited(cells, int(rng.integers(shape[0])), int(rng.integers(shape[1])), down, across)
        features = head.read(cells)
        kept += [(cells, cells.clone()), (features, features.clone())]
    assert all(torch.equal(now, then) for now, then in kept)


def test_a_reader_that_has_read_others_sees_what_a_new_one_sees() -> None:
    rng, tower, other = np.random.default_rng(0), load_tower(), random_canvas(Grid(96, 64), np.random.default_rng(1))
    reader, canvas = Reader(tower=tower), filled(Grid(640, 480), rng)
    one = with_cells(canvas, slice(2, 3), slice(3, 4), rng)
    two = with_cells(one, slice(14, 15), slice(19, 20), rng)
    for step in (canvas, one, two, two.panned(5, 3), other, canvas):
        ours, theirs = reader.read(step), Reader(tower=tower).read(step)
        assert np.allclose(ours.maps, theirs.maps, rtol=0, atol=1e-4)
        assert np.allclose(ours.scores, theirs.scores, rtol=0, atol=1e-4)


# Run on less


@some
@given(st.lists(st.tuples(st.integers(0, 23), st.integers(0, 27)), min_size=1, max_size=3), generators)
@example([(0, 0), (23, 27), (12, 14)], np.random.default_rng(0))
def test_one_cell_after_another_takes_of_each_layer_what_the_change_can_reach(
    changed: list[tuple[int, int]], rng: np.random.Generator
) -> None:
    head, cells = IncrementalHead(network()), anything(24, 28, rng)
    assert network().ran_for(head, cells) == dict.fromkeys(MARGINS, 24 * 28)
    for row, col in changed:
        cells = edited(cells, row, col)
        assert network().ran_for(head, cells) == neighbourhood(row, col, 24, 28)


@pytest.mark.parametrize(("rows", "cols"), [(1, 30), (30, 1), (8, 8), (15, 20)])
def test_one_cell_in_a_corner_takes_its_neighbourhood_on_other_grids_too(rows: int, cols: int) -> None:
    head, cells = IncrementalHead(network()), anything(rows, cols, np.random.default_rng(0))
    head.read(cells)
    for row, col in ((0, 0), (rows - 1, cols - 1)):
        cells = edited(cells, row, col)
        assert network().ran_for(head, cells) == neighbourhood(row, col, rows, cols)


@some
@given(shapes, generators, sides, sides)
def test_nothing_takes_more_than_everything(
    shape: tuple[int, int], rng: np.random.Generator, down: int, across: int
) -> None:
    head, cells = IncrementalHead(network()), anything(*shape, rng)
    everything = network().ran_for(head, cells)
    ran = network().ran_for(head, edited(cells, int(rng.integers(shape[0])), int(rng.integers(shape[1])), down, across))
    assert ran.keys() == everything.keys()
    assert all(ran[part] <= everything[part] for part in ran)


def test_edits_far_apart_take_everything_and_leave_no_trace() -> None:
    head, cells = IncrementalHead(network()), anything(24, 28, np.random.default_rng(0))
    head.read(cells)
    cells = edited(edited(cells, 0, 0), 20, 24)  # the first layers could do without the last rows and columns
    assert network().ran_for(head, cells) == dict.fromkeys(MARGINS, 24 * 28)
    assert torch.equal(head.read(cells), whole(cells))


def test_nothing_new_for_the_model_takes_nothing() -> None:
    head, canvas = IncrementalHead(network()), filled(Grid(640, 480), np.random.default_rng(0))
    features = head.read(seen(canvas))
    depth = np.minimum(canvas.depth, SEEN_LEVELS)
    without_level_for_people = replace(canvas, values=canvas.values * known(depth), depth=depth)
    assert without_level_for_people != canvas
    for unchanged in (canvas, replace(canvas, version=9), without_level_for_people):
        assert network().ran_for(head, seen(unchanged)) == {}
        assert head.read(seen(unchanged)) is features
