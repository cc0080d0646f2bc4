"""What timings share: rounds, parts and ratios add up, and a command line that cannot be run is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from experiments import timing
from experiments.timing import Meter, Spent
from tests.experiments.toys import grey

CLIP = grey(5, fps=5.0)
ENDS = ("", "_low", "_high")

# Rounds


def test_systems_run_in_turn_and_the_first_round_is_not_counted() -> None:
    order: list[int] = []

    def system(number: int) -> Callable[[], Spent]:
        def once() -> Spent:
            order.append(number)
            return Spent(float(len(order)))

        return once

    spent = timing.in_turn([system(0), system(1), system(2)], repeats=2)
    assert order == [0, 1, 2, 1, 2, 0, 2, 0, 1]
    assert [[one.cpu_s for one in mine] for mine in spent] == [[6, 8], [4, 9], [5, 7]]


def test_a_system_compared_with_itself_is_one() -> None:
    spent = [Spent(0.2, macs=50.0, bytes=1000), Spent(0.1), Spent(0.4)]
    row = timing.columns(spent, spent, CLIP)
    assert [row[f"ratio_to_video{end}"] for end in ENDS] == [1, 1, 1]
    assert [row[f"cpu_ms_per_s{end}"] for end in ENDS] == [200, 100, 400]
    assert [row[f"streams_per_core{end}"] for end in ENDS] == [5, 2.5, 10]
    assert row["macs_per_frame"] == 10
    assert row["kbps"] == 8


def test_ratios_are_between_spendings_of_the_same_round() -> None:
    row = timing.columns([Spent(1.0), Spent(4.0), Spent(9.0)], [Spent(1.0), Spent(2.0), Spent(3.0)], CLIP)
    assert [row[f"ratio_to_video{end}"] for end in ENDS] == [2, 1, 3]


# Parts


def test_parts_add_up_and_what_is_inside_counts_once() -> None:
    now = 0.0

    def passes(seconds: float) -> None:
        nonlocal now
        now += seconds

    meter = Meter(lambda: now)
    inner = meter.timed("inner", lambda: passes(2))

    def work() -> None:
        passes(1)
        inner()
        meter.timed("outer", lambda: (passes(4), inner()))()

    assert meter.measure("rest", work) == {"inner": 4, "outer": 4, "rest": 1}


def test_multiply_adds_are_those_of_the_book() -> None:
    wide, deep = torch.nn.Conv2d(3, 8, 3, padding=1), torch.nn.Conv2d(8, 8, 5, padding=2, groups=8)
    assert timing.macs_of(lambda: deep(wide(torch.zeros(1, 3, 10, 12)))) == 120 * (8 * 3 * 9 + 8 * 25)
    assert timing.macs_of(lambda: torch.nn.Linear(5, 7)(torch.zeros(2, 5))) == 2 * 5 * 7


# The command line


@pytest.mark.parametrize("wrong", [["--repeats", "0"], ["--seconds", "0"], ["--fps", "1000"], ["--size", "65"]])
def test_wrong_settings_are_refused(wrong: list[str], tmp_path: Path) -> None:
    with pytest.raises(Exception, match=wrong[0]):
        timing.arguments("edge_cost", "doc", ["--out", str(tmp_path), *wrong])
