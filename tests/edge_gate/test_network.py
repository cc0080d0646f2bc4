"""The gate's network as it ships, and what is said when it is not there; surprise wears off."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_gate.memory import inputs, surprise
from edge_gate.network import GateError, GateNetwork

LEVELS = 6


@pytest.mark.parametrize("shape", [(8, 8), (3, 5), (1, 1)])
def test_a_verdict_is_in_its_range_for_any_grid(shape: tuple[int, int]) -> None:
    network = GateNetwork()
    said = network(np.random.default_rng(0).normal(0, 3, (inputs(LEVELS), *shape)).astype(np.float32))
    assert said.lasts_s.shape == said.event.shape == shape
    assert (said.lasts_s >= 0).all()
    assert ((said.event >= 0) & (said.event <= 1)).all()
    assert 0.5 < network.wake < 1


def test_a_cell_where_nothing_was_ever_different_is_no_event() -> None:
    said = GateNetwork()(np.zeros((inputs(LEVELS), 4, 4), np.float32))
    assert (said.event < 0.01).all()


def test_missing_weights_are_named(tmp_path: Path) -> None:
    with pytest.raises(GateError, match=r"gate\.onnx.*reinstall"):
        GateNetwork(tmp_path)


@given(st.floats(0.6, 1.0), st.sampled_from([0.03, 0.1, 0.2]))
def test_surprise_is_whole_at_first_and_wears_off(chance: float, step_s: float) -> None:
    event, beside = (np.zeros((3, 4), np.float32) for _ in range(2))
    event[1, 1] = beside[1, 2] = chance
    new, busy = surprise(event, None, step_s)
    assert np.allclose(new, event)
    for _ in range(int(3 / step_s)):
        new, busy = surprise(event, busy, step_s)
    assert not new.any()
    assert surprise(beside, busy, step_s)[0][1, 2] == pytest.approx(chance), "next to it nothing has been going on"
    for _ in range(int(30 / step_s)):
        _, busy = surprise(np.zeros_like(event), busy, step_s)
    assert np.allclose(surprise(event, busy, step_s)[0], event)
