"""Visual tokens: what is told when one canvas takes another's place."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.vidtok.fakes import generators
from vidtok.canvas import Canvas, Grid, blank
from vidtok.codec import diff, patch
from vidtok.edits import Pan
from vidtok.model.stream import GLOBAL, SEEN, SPAN, Mark, Tokens, begin, eye, tell
from vidtok.tokenizer.fsq import CHANNELS, EDGES, GIST, LEVELS, SEEN_LEVELS

GRID = Grid(96, 64)
SHAPE = GRID.rows, GRID.cols


def drawn(
    rng: np.random.Generator, canvas: Canvas, share: float = 0.3, *, pan: Pan | None = None, gist: int = 0
) -> Canvas:
    """The canvas after some cells were set, and the gist perhaps told."""
    shape = canvas.depth.shape
    values = rng.integers(0, 8, (*shape, CHANNELS)).astype(np.uint8)
    depth = (rng.random(shape) < share) * rng.integers(1, LEVELS + 1, shape)
    told = rng.integers(0, 8, GIST).astype(np.uint8)
    edits = diff(values, canvas, depth.astype(np.uint8), pan=pan or Pan(0, 0), gist=told, gist_to=gist)
    return patch(canvas, edits, canvas.version + 1)


def equal(a: Tokens, b: Tokens) -> bool:
    """Whether all arrays are."""
    return all(np.array_equal(getattr(a, f.name), getattr(b, f.name)) for f in fields(Tokens))


def test_a_stream_begins_with_its_size_and_rate() -> None:
    told, meta = begin(blank(GRID), fps=10.0)
    assert list(meta.mark) == [Mark.META]
    assert meta.shift[0].tolist() == pytest.approx([96 / 256, 64 / 256])
    assert meta.age_s[0] == pytest.approx(0.1)
    assert not len(tell(told, blank(GRID), 1.0)[1])


@given(generators)
@settings(deadline=None, max_examples=25)
def test_every_cell_that_changed_is_told_once_with_what_it_holds_and_held(rng: np.random.Generator) -> None:
    before = drawn(rng, blank(GRID), 0.6)
    now = drawn(rng, before, 0.4)
    told, _ = tell(begin(blank(GRID), 10.0)[0], before, 1.0)
    _, tokens = tell(told, now, 3.0, late_s=0.2)
    at = tokens.row, tokens.col
    changed = (now.changed == now.version) & now.visible()
    assert sorted(zip(*at, strict=True)) == sorted(map(tuple, np.argwhere(changed)))
    assert (tokens.values == now.values[at][:, :SEEN]).all()
    assert (tokens.depth == np.minimum(now.depth[at], SEEN_LEVELS)).all()
    assert (tokens.old_values == before.values[at][:, :SEEN]).all()
    assert (tokens.age_s == np.where(before.depth[at] > 0, 2.0, 3.0)).all()
    assert (tokens.late_s == np.float32(0.2)).all()


def test_more_levels_of_the_same_are_a_refinement_and_levels_for_pictures_are_nothing() -> None:
    rng = np.random.default_rng(1)
    values = rng.integers(0, 8, (*SHAPE, CHANNELS)).astype(np.uint8)
    one, two, whole, more = (np.zeros(SHAPE, np.uint8) for _ in range(4))
    one[0, :2], two[0, 0], whole[0, 1], more[0, 1] = 1, 2, SEEN_LEVELS, LEVELS
    told, _ = begin(blank(GRID), 10.0)
    canvas = patch(blank(GRID), diff(values, blank(GRID), one), 1)
    marks = []
    for wanted in (two, whole, more):
        told, _ = tell(told, canvas, 1.0)
        canvas = patch(canvas, diff(values, canvas, np.zeros_like(one), refine_to=wanted), canvas.version + 1)
        marks.append(tell(told, canvas, 2.0)[1].mark.tolist())
    assert marks == [[Mark.REFINE], [Mark.REFINE], []]


def test_what_was_told_again_unchanged_is_a_token() -> None:
    values = np.full((*SHAPE, CHANNELS), 3, np.uint8)
    wanted = np.zeros(SHAPE, np.uint8)
    wanted[1, 1] = 3
    canvas = patch(blank(GRID), diff(values, blank(GRID), wanted), 1)
    told, _ = tell(begin(blank(GRID), 10.0)[0], canvas, 1.0)
    again = patch(canvas, diff(values, canvas, wanted), 2)
    assert tell(told, again, 2.0)[1].mark.tolist() == [Mark.SET]


def test_what_a_lost_packet_undid_is_told_as_being_back() -> None:
    """The next canvas builds on an older one: what was told in between is no longer so."""
    rng = np.random.default_rng(3)
    base = drawn(rng, blank(GRID), 1.0)
    lost = drawn(rng, base, 0.5)
    newest = replace(drawn(rng, base, 0.0, gist=2), version=lost.version + 1)
    told, _ = tell(begin(blank(GRID), 10.0)[0], base, 1.0)
    told, _ = tell(told, lost, 2.0)
    _, tokens = tell(told, newest, 3.0)
    undone = (lost.changed == lost.version) & lost.visible()
    assert tokens.mark.tolist() == [Mark.GIST] + [Mark.BACK] * int(undone.sum())
    assert (tokens.values[1:] == base.values[undone][:, :SEEN]).all()


@given(generators, st.integers(-70, 70), st.integers(-70, 70))
@settings(deadline=None, max_examples=25)
def test_after_a_pan_places_stay_those_of_the_scene(rng: np.random.Generator, dx: int, dy: int) -> None:
    before = drawn(rng, blank(GRID), 1.0)
    told, first = tell(begin(blank(GRID), 10.0)[0], before, 1.0)
    now = drawn(rng, before, 0.0, pan=Pan(dx, dy))
    _, tokens = tell(told, now, 2.0)
    assert tokens.mark.tolist() == ([Mark.PAN] if (dx, dy) != (0, 0) else [])
    again = drawn(rng, now, 1.0, pan=Pan(-dx, -dy))
    _, tokens = tell(tell(told, now, 2.0)[0], again, 3.0)
    cells = tokens.mark == Mark.SET
    assert (tokens.row[cells] == first.row).all()
    assert (tokens.place[cells] == first.place).all()
    assert eye(again) == (0.0, 0.0)


def test_places_are_counted_from_the_middle_of_the_frame() -> None:
    rng = np.random.default_rng(5)
    _, tokens = tell(begin(blank(GRID), 10.0)[0], drawn(rng, blank(GRID), 1.0), 1.0)
    assert tokens.place[0].tolist() == pytest.approx([-SPAN / 3, -SPAN / 4])
    assert np.abs(tokens.place.mean(0)).max() < 1e-6


def test_a_gist_is_told_when_it_is_another() -> None:
    rng = np.random.default_rng(6)
    canvas = drawn(rng, blank(GRID), 0.0, gist=3)
    told, tokens = tell(begin(blank(GRID), 10.0)[0], canvas, 1.0)
    assert (tokens.mark.tolist(), tokens.row.tolist(), tokens.depth.tolist()) == ([Mark.GIST], [GLOBAL], [3])
    assert (tokens.gist[0] == canvas.gist).all()
    assert not len(tell(told, replace(canvas, version=9), 2.0)[1])


def test_tokens_can_be_joined_and_chosen() -> None:
    rng = np.random.default_rng(7)
    told, meta = begin(blank(GRID), 10.0)
    canvas, parts = blank(GRID), [meta]
    for k in range(4):
        canvas = drawn(rng, canvas, 0.3, gist=k)
        told, tokens = tell(told, canvas, float(k))
        parts.append(tokens)
    whole = Tokens.joined(parts)
    assert len(whole.gist) == 3
    for k, part in enumerate(parts[1:]):
        assert equal(whole.chosen(whole.time_s == k) if k else whole.chosen(np.arange(1, 1 + len(part))), part)


def test_levels_made_for_the_model() -> None:
    assert EDGES[SEEN_LEVELS] == SEEN < CHANNELS
