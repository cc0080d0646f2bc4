"""What is wished of the gate: every map can be read, what is stated is read back, and gains follow."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_gate.wishes import DETAIL, LEAST, MOST, MOST_PLACE, Attention, Wishes, attended, boxed, counts, read

CELL = 32
places = st.integers(-MOST_PLACE, MOST_PLACE)
sides = st.integers(1, MOST_PLACE)
limits = st.one_of(st.just(math.inf), st.floats(0, exclude_min=True, allow_infinity=False))
attentions = st.builds(
    lambda at, cols, rows, seed: Attention(at, cols, np.random.default_rng(seed).bytes(rows * cols)),
    st.tuples(places, places), st.integers(1, 40), st.integers(1, 25), st.integers(0, 99),
)  # fmt: skip
stated = st.builds(
    Wishes,
    limits,
    limits,
    st.floats(1 / 16, 16),
    st.none() | attentions,
    st.lists(st.tuples(places, places, sides, sides), max_size=8).map(tuple),
)

atoms: st.SearchStrategy[Any] = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5), st.binary(max_size=40),
    st.sampled_from([10**400, -(10**400), 2**63, math.nan, math.inf]),
)  # fmt: skip
anything = st.recursive(
    atoms,
    lambda inner: st.lists(inner, max_size=10) | st.dictionaries(st.sampled_from(["at", "cols", "weights"]), inner),
    max_leaves=20,
)
nearly = st.fixed_dictionaries(
    {},
    optional={
        "kbps": anything,
        "tokens_per_s": anything,
        "interest": anything,
        "attention": anything
        | st.fixed_dictionaries({"at": st.lists(atoms, max_size=3), "cols": atoms, "weights": atoms}),
        "detail": anything | st.lists(st.lists(atoms, min_size=3, max_size=5), max_size=20),
    },
)
in_sight = np.ones((5, 7), bool)
in_sight[-1] = in_sight[:, -1] = False


@given(nearly, places, places)
def test_any_map_is_read_and_counts_within_bounds(feedback: dict[str, Any], x: int, y: int) -> None:
    wishes = read(feedback)
    assert wishes.kbps > 0
    assert wishes.tokens_per_s > 0
    assert 1 / 16 <= wishes.interest <= 16
    assert len(wishes.detail) <= 8
    factor = counts(wishes, (x, y), in_sight, CELL) / wishes.interest
    assert factor.shape == in_sight.shape
    assert factor.min() >= LEAST * 0.999
    assert factor.max() <= DETAIL * 1.001


@given(stated)
def test_what_is_stated_is_read_back(wishes: Wishes) -> None:
    assert read(wishes.to_map()) == wishes


def test_without_wishes_nothing_is_said_and_everything_counts_as_it_is() -> None:
    assert Wishes().to_map() == {}
    assert read({}) == read({"interest": "much", "detail": 7, "attention": [1]}) == Wishes()
    assert (counts(Wishes(), (5, 5), in_sight, CELL) == 1).all()


@pytest.mark.parametrize(("said", "heard"), [(1e9, 16.0), (0.001, 1 / 16), (-3, 1 / 16), (True, 1.0), (math.nan, 1.0)])
def test_interest_is_bounded(said: float, heard: float) -> None:
    assert read({"interest": said}).interest == heard


def test_a_malformed_box_spoils_no_other() -> None:
    boxes = [[0, 0, 5, 5], [0, 0, 0, 5], "box", [1, 2, 3], [0.5, 0, 1, 1], [True, 0, 1, 1], [-9, 3, 1, 1]]
    assert read({"detail": boxes}).detail == ((0, 0, 5, 5), (-9, 3, 1, 1))
    assert len(read({"detail": [[0, 0, 1, 1]] * 30}).detail) == 8


@pytest.mark.parametrize(
    "change",
    [{"kbps": 0.0}, {"tokens_per_s": -1.0}, {"interest": 17.0}, {"interest": math.nan}, {"detail": ((0, 0, 0, 1),)}],
)
def test_what_could_not_be_read_back_cannot_be_wished(change: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"above zero|interest|boxes"):
        Wishes(**change)


@pytest.mark.parametrize(("cols", "weights"), [(0, b"ab"), (3, b"abcd"), (2, b""), (-1, b"ab")])
def test_attention_is_whole_rows(cols: int, weights: bytes) -> None:
    with pytest.raises(ValueError, match="rows"):
        Attention((0, 0), cols, weights)


@given(attentions.map(lambda a: Attention((0, 0), a.cols, a.weights)))
def test_attention_counts_about_one_on_average(attention: Attention) -> None:
    factor = attended(attention, (0, 0), in_sight, CELL)
    assert LEAST <= factor.min() <= factor.max() <= MOST
    assert LEAST < factor[in_sight].mean() < 1.6


def test_attention_to_one_half_moves_gains_there() -> None:
    weights = np.zeros(in_sight.shape, np.float32)
    weights[:, :3] = 0.01
    factor = attended(Attention.of(weights, (0, 0)), (0, 0), in_sight, CELL)
    assert (factor[:, :3] > 1.5).all()
    assert (factor[:, 3:] < 0.3).all()
    assert factor[in_sight].mean() == pytest.approx(1, abs=0.1)


@given(st.integers(-300, 300), st.integers(-300, 300))
def test_attention_stays_with_the_scene(x: int, y: int) -> None:
    """A cell of the scene counts as much wherever the frame has gone, as long as all that is said stays in sight."""
    weights = np.zeros(in_sight.shape, np.float32)
    weights[2, 3] = weights[1, 4] = 1
    factor = attended(Attention.of(weights, (0, 0)), (x, y), in_sight, CELL)
    for row, col in ((2, 3), (1, 4)):
        there = row - y // CELL, col - x // CELL
        if all(0 <= place < side for place, side in zip(there, (4, 6), strict=True)):
            assert factor[there] > 1
    unsaid = [
        (row, col)
        for row, col in np.ndindex(in_sight.shape)
        if not (0 <= row + y // CELL < 5 and 0 <= col + x // CELL < 7)
    ]
    assert all(factor[place] == 1 for place in unsaid)


def test_detail_touches_whole_cells() -> None:
    mask = boxed(((33, 40, 31, 1), (-100, 95, 110, 2)), (0, 0), (5, 7), CELL)
    assert np.argwhere(mask).tolist() == [[1, 1], [2, 0], [3, 0]]
    moved = boxed(((33, 40, 31, 1),), (-32, 31), (5, 7), CELL)
    assert np.argwhere(moved).tolist() == [[1, 2]]
    assert not boxed(((-50, -50, 40, 40), (500, 0, 9, 9)), (0, 0), (5, 7), CELL).any()
    factor = counts(Wishes(interest=2.0, detail=((33, 40, 31, 1),)), (0, 0), in_sight, CELL)
    assert factor[1, 1] == 2 * DETAIL
    assert np.count_nonzero(factor == 2) == factor.size - 1
