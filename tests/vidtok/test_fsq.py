"""Finite scalar quantisation: what goes in comes out, to half a bin; every number belongs to one level."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from tests.vidtok.fakes import generators
from vidtok.tokenizer.fsq import (
    CHANNELS,
    EDGES,
    GIST,
    GIST_EDGES,
    GIST_LEVEL_OF,
    GIST_LEVELS,
    GIST_SIZES,
    LEVEL_OF,
    LEVEL_SIZES,
    LEVELS,
    SEEN_LEVELS,
    VALUES,
    dequantise,
    known,
    quantise,
)

numbers = st.floats(-1.0, 1.0, width=32)
Floats = NDArray[np.float32]


def array(values: list[float]) -> Floats:
    return np.array(values, np.float32)


@given(st.lists(numbers, max_size=30).map(array))
def test_rounding_costs_at_most_half_a_bin(latents: Floats) -> None:
    values = quantise(latents)
    assert values.dtype == np.uint8
    assert ((values >= 0) & (values < VALUES)).all()
    assert np.abs(dequantise(values) - latents).max(initial=0.0) <= 1 / VALUES + 1e-6


@given(st.lists(st.floats(-(2.0**100), 2.0**100, width=32), max_size=30).map(array))
def test_anything_finite_lands_in_range(latents: Floats) -> None:
    values = quantise(latents)
    assert ((values >= 0) & (values < VALUES)).all()
    assert (np.diff(values[np.argsort(latents, kind="stable")].astype(int)) >= 0).all()


def test_every_value_is_its_own_bins_middle() -> None:
    values = np.arange(VALUES, dtype=np.uint8)
    assert np.array_equal(quantise(dequantise(values)), values)
    assert np.allclose(dequantise(values), -dequantise(values[::-1]))


@given(generators, st.integers(1, 4), st.integers(1, 4))
def test_rounding_keeps_shape_and_values(rng: np.random.Generator, rows: int, cols: int) -> None:
    values = rng.integers(0, VALUES, (rows, cols, CHANNELS), dtype=np.uint8)
    latents = dequantise(values)
    assert (latents.shape, latents.dtype) == (values.shape, np.float32)
    assert np.array_equal(quantise(latents), values)


def test_levels_lie_one_after_the_other_and_never_shrink() -> None:
    assert (LEVELS, CHANNELS, EDGES[0]) == (len(LEVEL_SIZES), sum(LEVEL_SIZES), 0)
    assert tuple(np.diff(EDGES)) == LEVEL_SIZES == tuple(sorted(LEVEL_SIZES))
    assert EDGES[-1] == CHANNELS
    assert 0 < SEEN_LEVELS <= LEVELS
    for level in range(LEVELS):
        assert np.flatnonzero(level == LEVEL_OF).tolist() == list(range(EDGES[level], EDGES[level + 1]))


def test_the_gists_levels_lie_one_after_the_other_too() -> None:
    assert (GIST_LEVELS, GIST, GIST_EDGES[0]) == (len(GIST_SIZES), sum(GIST_SIZES), 0)
    assert tuple(np.diff(GIST_EDGES)) == GIST_SIZES == tuple(sorted(GIST_SIZES))
    assert GIST_EDGES[-1] == GIST
    for level in range(GIST_LEVELS):
        numbers = list(range(GIST_EDGES[level], GIST_EDGES[level + 1]))
        assert np.flatnonzero(level == GIST_LEVEL_OF).tolist() == numbers


@given(generators, st.integers(1, 4), st.integers(1, 4))
def test_so_many_levels_make_the_first_numbers_known(rng: np.random.Generator, rows: int, cols: int) -> None:
    depth = rng.integers(0, LEVELS + 1, (rows, cols)).astype(np.uint8)
    told = known(depth)
    assert (told.shape, told.dtype) == ((rows, cols, CHANNELS), np.bool_)
    assert np.array_equal(told.sum(-1), np.array(EDGES)[depth])
    assert (told[..., :-1] >= told[..., 1:]).all()
