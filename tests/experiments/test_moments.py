"""The best moments, against every choice that there is."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from numpy.typing import NDArray

from edge_gate.novelty import losses
from experiments.moments import Spans, Told, first, mean, moments
from vidtok.tokenizer.fsq import dequantise, quantise

WEIGHTS = np.array([0.5, 1.0, 2.0], np.float32)


def drift(frames: int = 6, cells: int = 3) -> NDArray[np.float32]:
    """Latents (T, N, 3) that wander."""
    steps = np.random.default_rng(0).normal(0, 0.5, (frames, cells, 3))
    return np.asarray(np.clip(np.cumsum(steps, 0), -1, 1), np.float32)


def cost(spans: Spans, cell: int, starts: list[int], price: float) -> float:
    """Of telling a cell at these frames."""
    frames = len(spans.held)
    ends = [*starts[1:], frames]
    missed = sum(spans.held[start, end, cell] for start, end in zip(starts, ends, strict=bool(starts)) if starts)
    return float(spans.blank[starts[0] if starts else frames, cell] + missed + price * len(starts))


@pytest.mark.parametrize("told", [first, mean])
@pytest.mark.parametrize("price", [0.0, 0.05, 0.3, 1.0, 100.0])
def test_no_other_moments_are_better(told: Told, price: float) -> None:
    spans = Spans.of(drift(), WEIGHTS, told)
    until = moments(spans, price)
    every = [[t for t, on in enumerate(choice) if on] for choice in product((False, True), repeat=6)]
    for cell in range(3):
        starts = np.flatnonzero(until[:, cell]).tolist()
        assert until[starts, cell].tolist() == [*starts[1:], *[6] * bool(starts)]
        assert cost(spans, cell, starts, price) == pytest.approx(min(cost(spans, cell, s, price) for s in every))
    assert until.any() == (price < 100)


def test_a_scene_that_stands_is_told_once_and_a_blank_one_never() -> None:
    latents = np.zeros((5, 2, 3), np.float32)
    latents[:, 0] = 0.9
    assert moments(Spans.of(latents, WEIGHTS, first), 0.1).tolist() == [[5, 0], *[[0, 0]] * 4]


def test_what_is_missed_is_what_the_gate_misses() -> None:
    seen = drift()
    spans = Spans.of(seen, WEIGHTS, first)
    told = dequantise(quantise(seen[1]))
    edges, there = (0, 1, 3), np.ones((1, 3, 3), bool)
    by_gate = [
        losses(seen[t][None], told[None], told[None], there, WEIGHTS, edges, 0.03).now.sum(-1)[0] for t in (1, 2, 3)
    ]
    np.testing.assert_allclose(spans.held[1, 4], np.sum(by_gate, 0), rtol=1e-5)
    blank = losses(seen[0][None], told[None], told[None], ~there, WEIGHTS, edges, 0.03).now.sum(-1)[0]
    np.testing.assert_allclose(spans.blank[1], blank, rtol=1e-5)
