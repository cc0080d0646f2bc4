"""Finite scalar quantisation: what goes in comes out, to half a bin."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from tests.vidtok.fakes import generators
from vidtok.tokenizer.fsq import CODE_BITS, CODES, DIMS, LEVELS, VALUES, dequantise, pack, quantise, unpack

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


def test_every_code_unpacks_to_itself() -> None:
    codes = np.arange(CODES, dtype=np.uint16)
    values = unpack(codes)
    assert CODES == 1 << CODE_BITS
    assert values.shape == (CODES, DIMS)
    assert values.max() == VALUES - 1
    assert np.array_equal(pack(values), codes)
    assert len(np.unique(values, axis=0)) == CODES


@given(generators, st.integers(1, 4), st.integers(1, 4))
def test_packing_keeps_shape_and_values(rng: np.random.Generator, rows: int, cols: int) -> None:
    values = rng.integers(0, VALUES, (rows, cols, LEVELS, DIMS)).astype(np.uint8)
    codes = pack(values)
    assert codes.shape == (rows, cols, LEVELS)
    assert codes.dtype == np.uint16
    assert np.array_equal(unpack(codes), values)


def test_the_first_dimension_counts_least() -> None:
    assert pack(np.array([1, 0, 0, 0, 0])) == 1
    assert pack(np.array([0, 0, 0, 0, 1])) == VALUES**4
