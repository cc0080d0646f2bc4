"""The gate's memory: what is usual is learned, at any rate of looking, and moves with the scene."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from edge_gate.memory import COARSE, Memory, asked, inputs, remember

EDGES = (0, 6, 14, 20)
LEVELS, CHANNELS = len(EDGES) - 1, EDGES[-1]
CHANGED, UNUSUAL = 0, LEVELS  # where a glimpse says how unlike before, and how unlike what is usual
SPREAD, AGE = 2 * LEVELS, 3 * LEVELS + 2


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def looks(rng: np.random.Generator, count: int, rows: int = 3, cols: int = 4) -> NDArray[np.float32]:
    return rng.uniform(-1, 1, (count, rows, cols, CHANNELS)).astype(np.float32)


def test_the_first_look_is_like_before_and_usual(rng: np.random.Generator) -> None:
    (first,) = looks(rng, 1)
    glimpse, memory = remember(None, first, 5.0, EDGES)
    assert not glimpse[..., :AGE].any()
    assert np.array_equal(glimpse[..., -COARSE:], first[..., :COARSE])
    again, _ = remember(memory, first, 5.1, EDGES)
    assert not again[..., :AGE].any()
    assert np.allclose(again[..., AGE], np.log1p(0.1), atol=1e-4)


def test_what_comes_and_goes_is_usual_in_the_end_and_what_is_new_is_not(rng: np.random.Generator) -> None:
    still, swaying, other = looks(rng, 3)
    memory: Memory | None = None
    for k in range(100):
        shown = still.copy()
        shown[0, 0] = (still, swaying)[k % 2][0, 0]
        glimpse, memory = remember(memory, shown, k / 10, EDGES)
    shown[2, 2] = other[2, 2]
    glimpse, _ = remember(memory, shown, 10.0, EDGES)
    assert (glimpse[2, 2, UNUSUAL:SPREAD] > 2 * glimpse[2, 2, SPREAD : SPREAD + LEVELS] + 0.1).all()
    assert (glimpse[0, 0, UNUSUAL:SPREAD] < 2 * glimpse[0, 0, SPREAD : SPREAD + LEVELS]).all()
    assert not glimpse[1, 1, :SPREAD].any()


@pytest.mark.parametrize("fps", [5, 30])
def test_averages_are_over_time_and_not_over_looks(fps: int, rng: np.random.Generator) -> None:
    before, after = looks(rng, 2)
    memory: Memory | None = None
    for k in range(2 * fps + 1):
        _, memory = remember(memory, before if k == 0 else after, k / fps, EDGES)
    assert memory is not None
    share = (memory.usual - before) / (after - before)
    assert np.allclose(share, 1 - np.exp(-2 / 3), atol=1e-3)


def test_memory_moves_with_the_scene(rng: np.random.Generator) -> None:
    scene = looks(rng, 1, 5, 6)[0]
    _, memory = remember(None, scene[:4, :4], 0.0, EDGES)
    _, memory = remember(memory, scene[:4, :4], 1.0, EDGES)
    glimpse, _ = remember(memory.shifted(1, 2), scene[1:5, 2:6], 2.0, EDGES)
    assert not glimpse[..., :SPREAD].any()
    age = np.expm1(glimpse[..., AGE])
    assert np.allclose(age[:3, :2], 2.0, atol=1e-4)
    assert not age[3].any()
    assert not age[:, 2:].any()


@given(st.integers(0, 2**32 - 1), st.integers(0, LEVELS))
def test_what_is_asked_is_finite_and_of_the_promised_size(seed: int, depth: int) -> None:
    rng = np.random.default_rng(seed)
    seen, held, later = looks(rng, 3)
    _, memory = remember(None, seen, 0.0, EDGES)
    glimpse, _ = remember(memory, later, 0.1, EDGES)
    known = np.broadcast_to(np.arange(CHANNELS) < EDGES[depth], held.shape)
    quiet, shown = np.full((3, 4), 2.0, np.float32), np.ones((3, 4), np.float32)
    question = asked(glimpse, later, held, known, quiet, shown, EDGES)
    assert question.shape == (inputs(LEVELS), 3, 4)
    assert question.dtype == np.float32
    assert np.isfinite(question).all()
    assert (question[LEVELS : 2 * LEVELS, 0, 0] == (np.arange(LEVELS) < depth)).all()
