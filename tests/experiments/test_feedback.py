"""The measures of what is wished of the gate: every part gives its rows, and the figures say what they are named."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from experiments import feedback
from experiments.backdrops import Film
from experiments.feedback import KEY, PARTS, Moment, costs, run, since, summarise, work

FILM = Film("scene:still", "scene:still", (64, 64), 10.0, 0)


def moments(bits: list[int], tokens: list[int]) -> list[Moment]:
    steps = [SimpleNamespace(tokens=n) for n in tokens]
    return [Moment(k / 10, None, step, None, n) for k, (n, step) in enumerate(zip(bits, steps, strict=True))]  # type: ignore[arg-type]


def test_costs_count_from_a_time_on() -> None:
    film = moments([1000, 1500, 1500, 2500], [4, 2, 0, 3])
    assert costs(film) == {"kbps": 6.25, "tokens_per_s": 22.5}
    assert costs(film, 0.1) == {"kbps": 5.0, "tokens_per_s": 16.67}
    assert [moment.time_s for moment in since(film, 0.2)] == [0.2, 0.3]


@pytest.mark.parametrize("part", ["detail", "limit", "refresh"])
def test_a_part_gives_rows_of_the_contract(part: str) -> None:
    rows = work((part, FILM, 1))
    assert all({*KEY, "size", "fps"} <= row.keys() for row in rows)
    assert len({tuple(row[name] for name in KEY) for row in rows}) == len(rows)
    if part == "detail":
        plain, asked = rows
        assert asked["seconds"] <= 1.0
        assert asked["levels"] > plain["levels"]
    if part == "refresh":
        assert rows[0]["whole_s"] <= 1.0


def test_means_percentiles_and_what_never_came() -> None:
    head = {"system": "vidtok", "setting": "a", "size": "64", "fps": 10.0, "trial": None}
    rows = [
        {**head, "part": part, "clip": str(n), "delay_s": delay, "kbps": n}
        for part in PARTS
        for n, delay in enumerate((1.0, 3.0, None))
    ]
    (row,) = summarise(rows)["fairness"]
    assert (row["runs"], row["kbps"], row["delay_s p50"], row["delay_s never"]) == (3, 1.0, 2.0, 1)


@pytest.mark.slow
def test_the_quick_run_writes_everything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feedback, "PARTS", {name: PARTS[name] for name in ("limit", "refresh")})
    run(["--out", str(tmp_path), "--quick", "--jobs", "1"])
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert set(summary["parts"]) == {"limit", "refresh"}
    assert "## limit" in (tmp_path / "report.md").read_text()
