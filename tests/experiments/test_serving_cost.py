"""What is measured is what the model keeps, and the memory is full when it is."""

from __future__ import annotations

from experiments.serving_cost import measured
from tests.vidtok.test_answerer import answerer
from vidtok.canvas import Grid
from vidtok.model.brain import HEAD
from vidtok.model.memory import SPARE


def test_a_full_memory_is_measured() -> None:
    model = answerer(history=20)
    row = measured(model, Grid(96, 64), 2, 3)
    size, kept, room = model.brain.size, row["kept_tokens"], row["kept_bytes"]
    a_token = 2 * size.layers * size.heads * HEAD * 4
    assert kept * a_token <= room <= (kept + 2 * SPARE) * a_token  # type: ignore[operator]
    assert 20 < row["kept_tokens"] < 20 + 12 + 10  # type: ignore[operator]
    assert 0 < row["tokens_a_stream"] <= 3  # type: ignore[operator]
