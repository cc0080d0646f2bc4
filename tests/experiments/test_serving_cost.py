"""What is measured is what the model keeps, and the memory is full when it is."""

from __future__ import annotations

from experiments.serving_cost import measured
from tests.vidtok.test_answerer import answerer
from vidtok.canvas import Grid
from vidtok.model.brain import HEAD


def test_a_full_memory_is_measured() -> None:
    model = answerer(history=20)
    row = measured(model, Grid(96, 64), 2, 3)
    size = model.brain.size
    assert row["kept_bytes"] == row["kept_tokens"] * 2 * size.layers * size.heads * HEAD * 4  # type: ignore[operator]
    assert 20 < row["kept_tokens"] < 20 + 12 + 10  # type: ignore[operator]
    assert 0 < row["tokens_a_stream"] <= 3  # type: ignore[operator]
