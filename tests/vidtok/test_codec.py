"""Law 1: the patch, through bytes, gives the sender's canvas bit for bit. Law 6: any bytes give a patch or an error."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.vidtok.fakes import (
    flat,
    generators,
    grids,
    pans,
    random_canvas,
    random_gist,
    random_patch,
    random_values,
    shares,
    tables,
    to_patch,
)
from vidtok import bitstream
from vidtok.bitstream import decode_payload, encode_payload, gist_costs, patch_symbols, value_costs
from vidtok.canvas import MAX_POSITION, Canvas, Grid, blank
from vidtok.codec import MOVE_REACH, diff, patch, split
from vidtok.edits import Gist, Kind, Move, Pan, Refine, Set, no_edits
from vidtok.entropy import SHAPES, TURNS, spelled
from vidtok.errors import PayloadError
from vidtok.tokenizer.fsq import CHANNELS, EDGES, GIST, GIST_EDGES, GIST_LEVELS, LEVELS, VALUES, known

some = settings(max_examples=80, deadline=None)


# Law 1


@some
@given(grids, generators, pans, shares)
def test_law_1_the_receiver_has_the_senders_canvas(
    grid: Grid, rng: np.random.Generator, pan: Pan, share: float
) -> None:
    base = random_canvas(grid, rng)
    edits, _ = random_patch(base, pan, rng, share)
    payload = encode_payload(base, edits, tables())
    again = decode_payload(base, payload, tables())
    assert again == edits
    ours, theirs = patch(base, edits, 8), patch(base, again, 8)
    assert ours == theirs
    assert ours.state_hash() == theirs.state_hash()


@some
@given(grids, generators, pans, shares, st.integers(1, 9))
def test_law_1_holds_in_parts_too(grid: Grid, rng: np.random.Generator, pan: Pan, share: float, parts: int) -> None:
    base = random_canvas(grid, rng)
    edits, _ = random_patch(base, pan, rng, share)
    whole, canvas, tokens = patch(base, edits, 8), base, 0
    for number, part in enumerate(split(edits, parts)):
        assert part.gist_depth == (edits.gist_depth if number == 0 else 0)
        payload = encode_payload(canvas, part, tables())
        canvas = patch(canvas, decode_payload(canvas, payload, tables()), 8)
        tokens += part.tokens
    assert canvas == whole
    assert tokens == edits.tokens


@some
@given(grids, generators, pans, shares)
def test_a_payload_depends_on_base_and_edits_and_nothing_else(
    grid: Grid, rng: np.random.Generator, pan: Pan, share: float
) -> None:
    base = random_canvas(grid, rng)
    edits, _ = random_patch(base, pan, rng, share)
    payload = encode_payload(base, edits, tables())
    other = random_canvas(grid, rng)
    encode_payload(other, random_patch(other, Pan(0, 0), rng, 0.5)[0], tables())
    aged = replace(base, version=base.version + 5, changed=base.changed + np.uint32(9))
    assert encode_payload(base, edits, tables()) == payload
    assert encode_payload(aged, edits, tables()) == payload
    assert decode_payload(aged, payload, tables()) == edits


@some
@given(grids, generators, pans, shares)
def test_single_edits_say_the_whole_patch(grid: Grid, rng: np.random.Generator, pan: Pan, share: float) -> None:
    base = random_canvas(grid, rng)
    edits, _ = random_patch(base, pan, rng, share)
    single = list(edits.edits(base.panned(pan.dx, pan.dy).depth))
    assert len(single) == edits.tokens
    assert to_patch(base, single) == edits


@some
@given(grids, generators, pans, shares)
def test_patch_does_what_each_edit_says(grid: Grid, rng: np.random.Generator, pan: Pan, share: float) -> None:
    base = random_canvas(grid, rng)
    edits, seen = random_patch(base, pan, rng, share)
    before, after = base.panned(pan.dx, pan.dy), patch(base, edits, 8)
    assert (after.version, after.position) == (8, before.position)
    edited = {(edit.row, edit.col) for edit in edits.edits(before.depth) if not isinstance(edit, Pan | Gist)}
    told = 0
    for edit in edits.edits(before.depth):
        match edit:
            case Gist(values):
                told = len(values)
                assert after.gist[:told].tolist() == list(values)
            case Set(row, col, values):
                assert EDGES[after.depth[row, col]] == len(values)
                assert after.values[row, col, : len(values)].tolist() == list(values)
                assert np.array_equal(seen[row, col, : len(values)], values)
            case Refine(row, col, values):
                held = EDGES[before.depth[row, col]]
                assert 0 < held < held + len(values) == EDGES[after.depth[row, col]]
                assert np.array_equal(after.values[row, col, :held], before.values[row, col, :held])
                assert after.values[row, col, held : held + len(values)].tolist() == list(values)
                assert np.array_equal(seen[row, col, held : held + len(values)], values)
            case Move(row, col, dx, dy):
                assert after.depth[row, col] == before.depth[row + dy, col + dx]
                assert np.array_equal(after.values[row, col], before.values[row + dy, col + dx])
            case _:
                pass
    kept = np.ones(before.depth.shape, bool)
    for row, col in edited:
        kept[row, col] = False
    assert np.array_equal(after.values[kept], before.values[kept])
    assert np.array_equal(after.depth[kept], before.depth[kept])
    assert np.array_equal(after.changed[kept], before.changed[kept])
    assert (after.changed[~kept] == 8).all()
    assert np.array_equal(after.gist[told:], before.gist[told:])
    assert GIST_EDGES[after.gist_depth] == max(told, GIST_EDGES[before.gist_depth])


@some
@given(grids, generators, pans, shares)
def test_levels_that_are_not_held_are_zero(grid: Grid, rng: np.random.Generator, pan: Pan, share: float) -> None:
    canvas = random_canvas(grid, rng)
    for version in (8, 9):
        canvas = patch(canvas, random_patch(canvas, pan if version == 8 else Pan(0, 0), rng, share)[0], version)
        check_held(canvas)


@settings(max_examples=20, deadline=None)
@given(generators, st.lists(pans, max_size=6))
def test_a_chain_of_patches_from_blank_stays_in_step(rng: np.random.Generator, chain: list[Pan]) -> None:
    ours = theirs = blank(Grid(144, 80))
    for version, pan in enumerate(chain, 1):
        here = Pan(pan.dx % 600 - 300, pan.dy % 600 - 300)
        edits, _ = random_patch(ours, here, rng, 0.4)
        payload = encode_payload(ours, edits, tables())
        ours = patch(ours, edits, version)
        theirs = patch(theirs, decode_payload(theirs, payload, tables()), version)
        assert ours == theirs


@pytest.mark.parametrize("x", [MAX_POSITION, -MAX_POSITION])
@pytest.mark.parametrize("y", [MAX_POSITION, -MAX_POSITION])
def test_a_pan_may_cross_the_whole_scene(x: int, y: int) -> None:
    corner = blank(Grid(64, 64)).panned(x, y)
    edits = no_edits(3, 3, Pan(-2 * x, -2 * y))
    payload = encode_payload(corner, edits, tables())
    assert decode_payload(corner, payload, tables()).pan == Pan(-2 * x, -2 * y)


@pytest.mark.parametrize("grid", [Grid(32, 32), Grid(48, 80), Grid(640, 368), Grid(368, 640), Grid(1280, 720)])
def test_no_edits_cost_a_few_bytes(grid: Grid) -> None:
    rng = np.random.default_rng(0)
    canvas = replace(random_canvas(grid, rng), depth=np.ones((grid.rows, grid.cols), np.uint8))
    assert len(encode_payload(canvas, no_edits(grid.rows, grid.cols), tables())) <= 4


@pytest.mark.parametrize(("grid", "row", "col"), [(Grid(64, 64), 2, 0), (Grid(48, 80), 3, 0), (Grid(48, 80), 0, 2)])
def test_an_edit_out_of_sight_is_refused(grid: Grid, row: int, col: int) -> None:
    edits = to_patch(blank(grid), [Set(row, col, flat(5, 1))])
    with pytest.raises(ValueError, match="does not show"):
        encode_payload(blank(grid), edits, tables())
    shown = blank(grid).panned(31, 31)
    payload = encode_payload(shown, edits, tables())
    assert decode_payload(shown, payload, tables()) == edits


# Law 1: what diff takes


@given(generators, st.integers(0, GIST_LEVELS), st.integers(0, GIST_LEVELS))
def test_the_first_levels_of_a_gist_are_told_and_deeper_ones_stay(
    rng: np.random.Generator, held: int, told: int
) -> None:
    one, two = random_gist(rng), random_gist(rng)
    nothing = np.zeros((3, 3), np.uint8)
    base = blank(Grid(64, 64))
    base = patch(base, diff(base.values, base, nothing, gist=one, gist_to=held), 1)
    edits = diff(base.values, base, nothing, gist=two, gist_to=told)
    assert edits.tokens == (told > 0)
    assert list(edits.edits(base.depth)) == [Gist(tuple(two[: GIST_EDGES[told]].tolist()))] * (told > 0)
    after = patch(base, edits, 2)
    assert after.gist_depth == max(held, told)
    expected = np.where(np.arange(GIST) < GIST_EDGES[told], two, one)
    expected[GIST_EDGES[after.gist_depth] :] = 0
    assert np.array_equal(after.gist, expected)
    assert not after.changed.any()


def test_moves_win_over_sets_and_sets_over_refinements() -> None:
    base = patch(blank(Grid(96, 32)), to_patch(blank(Grid(96, 32)), [Set(0, c, flat(7, 1)) for c in range(3)]), 1)
    values = np.full((2, 4, CHANNELS), 5, np.uint8)
    set_to, refine_to = np.zeros((2, 2, 4), np.uint8)
    set_to[0, :2], refine_to[0, :3] = 2, 3
    moves = np.zeros((2, 4, 2), np.int8)
    moves[0, 0] = 1, 0
    edits = diff(values, base, set_to, refine_to=refine_to, moves=moves)
    assert edits.kind[0].tolist() == [Kind.MOVE, Kind.SET, Kind.REFINE, Kind.KEEP]
    assert list(edits.edits(base.depth)) == [Move(0, 0, 1, 0), Set(0, 1, flat(5, 2)), Refine(0, 2, flat(5, 3, 1))]
    assert edits.tokens == 3


@given(generators)
def test_a_refinement_to_what_is_held_is_no_edit(rng: np.random.Generator) -> None:
    base = random_canvas(Grid(112, 96), rng)
    shape = base.depth.shape
    edits = diff(base.values, base, np.zeros(shape, np.uint8), refine_to=base.depth)
    assert edits == no_edits(*shape)
    assert patch(base, edits, base.version) == base


def test_the_arguments_stay_as_they_were() -> None:
    rng = np.random.default_rng(0)
    base = random_canvas(Grid(112, 96), rng)
    kept = replace(base, **{name: getattr(base, name).copy() for name in ("values", "depth", "changed", "gist")})
    edits, values = random_patch(base, Pan(40, -7), rng, 0.6)
    edits = replace(edits, gist=random_gist(rng), gist_depth=GIST_LEVELS)
    seen = values.copy()
    patch(base, decode_payload(base, encode_payload(base, edits, tables()), tables()), 9)
    list(split(edits, 3))
    assert base == kept
    assert np.array_equal(values, seen)


def test_patches_that_do_not_fit_are_refused() -> None:
    grid = Grid(64, 64)
    base = patch(blank(grid), to_patch(blank(grid), [Set(0, 0, flat(7, 2))]), 1)
    misfits = {
        "names levels": to_patch(base, [Set(0, 0, ())]),
        "never set": to_patch(base, [Refine(0, 1, flat(5, 1))]),
        "holds nothing": to_patch(base, [Move(0, 0, 1, 0)]),
    }
    outside = to_patch(base, [Move(0, 0, -1, 0)])
    for message, edits in [*misfits.items(), ("holds nothing", outside)]:
        with pytest.raises(ValueError, match=message):
            patch(base, edits, 2)
    wide = patch(blank(Grid(640, 32)), to_patch(blank(Grid(640, 32)), [Set(0, c, flat(7, 1)) for c in range(20)]), 1)
    for far in (MOVE_REACH + 1, -MOVE_REACH - 1):
        with pytest.raises(ValueError, match="further than"):
            encode_payload(wide, to_patch(wide, [Move(0, 10, far, 0)]), tables())
    for depth in (2, LEVELS + 1):
        edits = to_patch(base, [Refine(0, 0, flat(5, 3, 2))])
        edits.depth[0, 0] = depth
        with pytest.raises(ValueError, match="names levels"):
            patch(base, edits, 2)
    deep = replace(no_edits(3, 3), gist_depth=GIST_LEVELS + 1)
    for refuse in (lambda: patch(base, deep, 2), lambda: encode_payload(base, deep, tables())):
        with pytest.raises(ValueError, match="names levels"):
            refuse()


# Planning


@settings(max_examples=30, deadline=None)
@given(generators, st.integers(1, LEVELS))
def test_planned_bits_are_about_what_the_payload_takes(rng: np.random.Generator, levels: int) -> None:
    base = random_canvas(Grid(320, 256), rng)
    shape = base.depth.shape
    values = random_values(shape, rng)
    visible = base.visible()
    set_to = (visible * levels).astype(np.uint8)
    planned = value_costs(base, values, tables())
    assert planned.shape == (*shape, LEVELS)
    assert (planned > 0).all()
    edits = diff(values, base, set_to)
    symbols = spelled(patch_symbols(base, edits, tables()))
    costs = {name: tables().costs[name].reshape(-1, SHAPES[name][-1]) for name in SHAPES}
    told = sum(float(costs[name][context, symbol]) for name, context, symbol in symbols if name == "value")
    assert told == pytest.approx(float(planned[..., :levels][visible].sum()), rel=0.05)
    everything = sum(float(costs[name][context, symbol]) for name, context, symbol in symbols)
    assert len(encode_payload(base, edits, tables())) * 8 <= everything * 1.005 + 48


@some
@given(generators, pans)
def test_planned_bits_are_what_a_gist_takes(rng: np.random.Generator, pan: Pan) -> None:
    base = random_canvas(Grid(64, 64), rng)
    edits, _ = random_patch(base, pan, rng, 0.0)
    symbols = [each for each in spelled(patch_symbols(base, edits, tables())) if each[0] in ("turn", "gist_value")]
    told, kept = gist_costs(base, edits.gist, tables())
    assert told.shape == kept.shape == (TURNS, GIST)
    held, count = np.arange(GIST) < GIST_EDGES[base.gist_depth], GIST_EDGES[edits.gist_depth]
    assert np.array_equal(told[:, held & (edits.gist == base.gist)], kept[:, held & (edits.gist == base.gist)])
    assert (kept[:, ~held] > told.max() * GIST).all()
    if edits.gist_depth:
        (_, _, turn), *values = symbols
        costs = tables().costs["gist_value"].reshape(-1, VALUES)
        assert [float(costs[context, value]) for _, context, value in values] == told[turn, :count].tolist()
    else:
        assert not symbols


@pytest.mark.parametrize("shares", [(0, 0, 0), (0, 0, 101), (0, 101, 101), (101, 101, 101)])
def test_any_class_of_change_tells_the_same_gist(shares: tuple[int, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(6)
    for _ in range(40):
        base = random_canvas(Grid(64, 64), rng)
        edits, _ = random_patch(base, Pan(0, 0), rng, 0.2)
        with monkeypatch.context() as patched:
            patched.setattr(bitstream, "TURN_SHARES", shares)
            payload = encode_payload(base, edits, tables())
        assert decode_payload(base, payload, tables()) == edits


@pytest.mark.parametrize("depth", range(1, GIST_LEVELS + 1))
def test_a_gist_that_hardly_changes_costs_less(depth: int) -> None:
    first, nothing = random_gist(np.random.default_rng(depth)), np.zeros((3, 3), np.uint8)
    canvas = blank(Grid(64, 64))
    sizes = []
    for step in (1, 2, 8, GIST):  # all of it new, then every second number, every eighth, the very first
        gist = np.where(np.arange(GIST) % step == 0, first ^ 1, first)
        edits = diff(canvas.values, canvas, nothing, gist=gist, gist_to=depth)
        sizes.append(len(encode_payload(canvas, edits, tables())))
        canvas = patch(blank(Grid(64, 64)), diff(canvas.values, canvas, nothing, gist=first, gist_to=depth), 1)
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[-1] < sizes[0] / 2


# Law 6


@settings(max_examples=150, deadline=3000)
@given(grids, generators, st.one_of(st.binary(max_size=40), st.binary(max_size=1100)))
def test_law_6_any_bytes_give_a_patch_or_an_error(grid: Grid, rng: np.random.Generator, payload: bytes) -> None:
    check_any(random_canvas(grid, rng), payload)


@settings(max_examples=100, deadline=3000)
@given(grids, generators, shares, st.data())
def test_law_6_damaged_payloads_give_a_patch_or_an_error(
    grid: Grid, rng: np.random.Generator, share: float, data: st.DataObject
) -> None:
    base = random_canvas(grid, rng)
    payload = bytearray(encode_payload(base, random_patch(base, Pan(3, -2), rng, share)[0], tables()))
    for _ in range(data.draw(st.integers(1, 3))):
        match data.draw(st.sampled_from(["flip", "cut", "add", "put"])) if payload else "add":
            case "flip":
                payload[int(rng.integers(len(payload)))] ^= 1 << int(rng.integers(8))
            case "cut":
                del payload[int(rng.integers(len(payload))) :]
            case "add":
                payload += rng.bytes(int(rng.integers(1, 9)))
            case _:
                payload.insert(int(rng.integers(len(payload))), int(rng.integers(256)))
    check_any(base, bytes(payload))


@settings(max_examples=60, deadline=3000)
@given(grids, generators, shares)
def test_law_6_a_payload_for_another_base_gives_a_patch_or_an_error(
    grid: Grid, rng: np.random.Generator, share: float
) -> None:
    base, other = random_canvas(grid, rng), random_canvas(grid, rng)
    check_any(other, encode_payload(base, random_patch(base, Pan(0, 5), rng, share)[0], tables()))


@pytest.mark.parametrize("byte", [0, 1, 127, 128, 254, 255])
@pytest.mark.parametrize("count", [0, 1, 4, 5, 1100])
def test_law_6_one_byte_over_and_over(byte: int, count: int) -> None:
    for grid in (Grid(32, 32), Grid(48, 80), Grid(640, 368)):
        check_any(blank(grid), bytes([byte]) * count)
        check_any(random_canvas(grid, np.random.default_rng(1)), bytes([byte]) * count)


def check_any(base: Canvas, payload: bytes) -> None:
    """Nothing but a patch that fits or a PayloadError; a patch that comes out can be told again."""
    try:
        edits = decode_payload(base, payload, tables())
    except PayloadError:
        return
    check_held(patch(base, edits, base.version + 1))
    assert not edits.gist[GIST_EDGES[edits.gist_depth] :].any()
    again = encode_payload(base, edits, tables())
    assert decode_payload(base, again, tables()) == edits


def check_held(canvas: Canvas) -> None:
    """Levels and values in range; what is not held is zero."""
    assert canvas.depth.max() <= LEVELS
    assert canvas.values.max() < VALUES
    assert not canvas.values[~known(canvas.depth)].any()
    assert 0 <= canvas.gist_depth <= GIST_LEVELS
    assert canvas.gist.max() < VALUES
    assert not canvas.gist[GIST_EDGES[canvas.gist_depth] :].any()
