"""What is said of shares of few tries."""

from __future__ import annotations

from experiments.event_figures import wilson


def test_intervals() -> None:
    assert wilson(0, 0) == (None, None)
    low, high = wilson(8, 10)
    assert (low, high) == (0.4902, 0.9433)
    assert wilson(0, 10)[0] == 0
    assert wilson(10, 10)[1] == 1
