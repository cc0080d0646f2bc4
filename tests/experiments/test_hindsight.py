"""The oracles on the built-in scene: they look ahead, and it helps; the command from end to end."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edge_gate.source import open_source
from experiments import hindsight
from experiments.moments import first
from tests.experiments.toys import clip, write_video
from vidtok.tokenizer.fsq import GIST_LEVELS, SEEN_LEVELS, quantise


def test_free_tokens_tell_every_change_and_dear_ones_nothing() -> None:
    film = clip(8)
    free, dear = ([*hindsight.tell(hindsight.Oracle(first, price), film)] for price in (0.0, 1e9))
    assert [known.tokens for known in dear] == [0] * 8
    assert free[0].tokens == film.cells + 1
    assert free[0].canvas is not None
    assert free[0].canvas.gist_depth == GIST_LEVELS
    assert free[0].canvas.depth[free[0].canvas.visible()].tolist() == [SEEN_LEVELS] * film.cells
    seen = hindsight.encoder()(next(iter(film)).pixels)
    assert np.array_equal(free[0].canvas.values[:2, :2, 0], quantise(seen)[:2, :2, 0])


def test_a_gist_that_counts_more_is_told_more_often() -> None:
    film = clip(8)
    few, many = ([*hindsight.tell(hindsight.Oracle(first, 5.0, counts), film)][-1] for counts in (0.1, 100.0))
    assert few.tokens < many.tokens


@pytest.mark.slow
def test_the_command_ends_with_what_is_saved(tmp_path: Path) -> None:
    (tmp_path / "clips").mkdir()
    with open_source("scene", size="64", fps=10, duration_s=1.2) as scene:
        write_video(tmp_path / "clips" / "scene.mkv", [frame.pixels for frame in scene])
    out = tmp_path / "out"
    command = ["--clips", str(tmp_path / "clips"), "--out", str(out), "--size", "64", "--jobs", "1", "--quick"]
    hindsight.run(command)
    summary = json.loads((out / "summary.json").read_text())
    assert {row["system"] for row in summary["means"]} == set(hindsight.systems())
    dense = next(row for row in summary["means"] if row["system"] == hindsight.DENSE)
    assert dense["tokens_per_s"] == 50
    assert all(row["tokens_per_s"] <= 50 for row in summary["means"])
    assert len(summary["saved"]) == 2 * 4 * (len(hindsight.systems()) - 1)
    for name in ("report.md", "feature_cosine.png", "feature_cosine_places.png"):
        assert (out / name).stat().st_size > 100
    before = (out / "results.json").read_bytes()
    hindsight.run(command)
    assert (out / "results.json").read_bytes() == before


def test_what_is_saved_is_of_the_dense_tokens_and_of_the_best_oracle_s() -> None:
    def row(system: str, tokens: float, cosine: float) -> dict[str, object]:
        return {
            "system": system, "setting": f"{tokens}", "clip": "a", "tokens_per_s": tokens, "feature_cosine": cosine,
            "feature_cosine_places": cosine, "top1_agreement": 1.0,
        }  # fmt: skip

    rows = [row(hindsight.DENSE, 100, 1.0)]
    for system, tokens in (("hindsight", 10), (hindsight.OURS, 28)):
        rows += [row(system, tokens, 0.92), row(system, 2 * tokens, 0.99)]
    at = {(r["system"], r["at"]): r for r in hindsight.savings(rows) if r["quality"] == "feature_cosine"}
    assert at["hindsight", 0.92]["saved"] == pytest.approx(0.9)
    assert at["hindsight", 0.92]["of_best"] == pytest.approx(1)
    assert at[hindsight.OURS, 0.92]["of_best"] == pytest.approx(0.8)
    assert at[hindsight.OURS, 0.9]["of_best"] is None


def test_ours_is_held_to_tokens_alone() -> None:
    for config in hindsight.systems()[hindsight.OURS].settings.values():
        assert replace(config, token_price=hindsight.FREE.token_price) == hindsight.FREE
