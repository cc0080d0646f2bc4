"""Serving our own model: streams of every kind are read to their end, and what is said of them adds up."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_gate.scene import Scene
from edge_gate.source import Frame
from experiments import answering, answering_live, answering_report
from experiments.answering import Job
from experiments.answering_cost import OURS, PARTS, cost_rows, dense_tokens
from experiments.answering_day import ABOUT, AGO_S, DAY_S, Day, about, at_end, eviction_rows
from experiments.answering_live import RUDE, Delays, fairness, jain, percentile, pooled, together
from experiments.answering_streams import Lap, Updates, lap_of, later
from experiments.question_answering import NO_END
from experiments.questions import Film, Question
from experiments.systems import Clip, Known, System, clip_of
from experiments.train_model import write
from tests.experiments.toys import write_video
from tests.vidtok.test_answerer import WORDS, answerer
from tests.vidtok.test_answerer import film as drawn_film
from tests.vidtok.test_stream import GRID
from vidtok.canvas import blank
from vidtok.model.answerer import Answerer
from vidtok.model.stream import Mark, begin, tell

FPS, FRAMES = 10.0, 6
SIZE = GRID.width, GRID.height


def question(kind: str, at_s: float, answer: str = "red") -> Question:
    return Question(kind, "What is it?", answer, at_s, ("red", "ball"), 0.0, at_s)


def toy_film(seed: int) -> Film:
    """Without anything to see: the toy system below looks at the time alone."""
    nothing = np.zeros((SIZE[1], SIZE[0], 3), np.uint8)

    def frames() -> Iterator[Frame]:
        return (Frame(nothing + np.uint8(seed), k / FPS, k) for k in range(FRAMES))

    questions = (question("colour", 0.3), question("brief", 0.5), question("brief", FRAMES / FPS))
    return Film(f"toy {seed}", SIZE, FPS, FRAMES, frames, questions)


def toy_run(count: int, clip: Clip) -> Iterator[Known]:
    """A new canvas every frame at first and after every cut, nothing in between."""
    canvases = drawn_film(np.random.default_rng(count), 1000)
    canvas, before = next(canvases), None
    for frame in clip:
        if before is None or frame.pixels[0, 0, 0] != before or frame.index % 3 == 0:
            canvas = next(canvases)
        before = frame.pixels[0, 0, 0]
        yield Known(canvas=canvas, tokens=1, bytes=frame.index)


TOY = System("toy", "of no use", toy_run, {"all": 1})


@pytest.fixture(name="model", scope="module")
def _model() -> Answerer:
    return answerer()


@pytest.fixture(name="lap", scope="module")
def _lap() -> Lap:
    return lap_of([toy_film(1), toy_film(2)], TOY, "all")


def updates(count: int = 5, every_s: float = 0.02) -> Updates:
    canvases = drawn_film(np.random.default_rng(3), count, share=0.5)
    return Updates("toy", FPS, count * every_s, tuple((k * every_s, canvas) for k, canvas in enumerate(canvases)))


# Streams


def test_a_lap_goes_on_where_the_one_before_ended(lap: Lap) -> None:
    versions = [canvas.version for turn in range(3) for film in (0, 1) for _, canvas in lap.of(turn, film)]
    assert versions == sorted(set(versions))
    last, again = lap.of(0, 1)[-1][1], lap.of(1, 0)[0][1]
    assert again.version == last.version + 1


def test_every_turn_of_a_lap_tells_the_same(lap: Lap) -> None:
    told, _ = begin(blank(lap.canvases[0][0][1].grid), FPS)
    turns = []
    for turn in range(3):
        turns.append(0)
        for film in (0, 1):
            for at_s, canvas in lap.of(turn, film):
                told, tokens = tell(told, canvas, at_s)
                turns[-1] += len(tokens)
    assert turns[1] == turns[2] > 0


def test_a_later_canvas_holds_the_same() -> None:
    (_, canvas), *_ = updates().canvases
    moved = later(canvas, 7)
    assert moved.version == canvas.version + 7
    assert (moved.values == canvas.values).all()
    assert (moved.changed - canvas.changed == 7).all()


# At real pace


def test_fairness_is_one_where_all_are_alike() -> None:
    assert jain([3.0, 3.0, 3.0]) == pytest.approx(1)
    assert jain([1.0, 0.0, 0.0, 0.0]) == pytest.approx(0.25)
    same = fairness([Delays([4.0, 6.0], shown=2), Delays([6.0, 4.0], shown=2)])
    assert same == {"jain_delay": 1, "jain_read": 1, "worst_to_best_p95": 1}
    assert fairness([Delays()])["jain_delay"] is None
    assert percentile([], 50) is None
    assert fairness([Delays([1.0], shown=4, crowded=2), Delays([1.0], shown=4)])["jain_read"] == 0.9


@pytest.mark.parametrize("name", ["", *RUDE])
def test_whatever_the_tenth_does_every_canvas_is_read(
    name: str, model: Answerer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answering_live, "ASK_S", 0.02)
    monkeypatch.setattr(answering_live, "STAGGER_S", 0.01)
    found = together(model, [updates(25), updates(25)], RUDE.get(name))
    assert [one.shown for one in found] == [25, 25]
    assert all(len(one.read_ms) == one.shown - one.crowded for one in found)
    row = pooled(found).row()
    assert row["questions"] > 0
    assert 0 < row["first_word_p50_ms"] <= row["answer_p95_ms"]


# Costs


def test_costs_compare_with_ours_in_the_same_round(model: Answerer) -> None:
    clip = clip_of("tour", 5.0, list(Scene((64, 64), fps=5.0, duration_s=2.0)))
    rows = cost_rows(model, clip, 2)
    assert [row["system"] for row in rows[:2]] == ["vidtok", "vidtok"]
    assert (rows[0]["system"], rows[0]["setting"]) == OURS
    assert rows[0]["times_ours"] == rows[1]["times_ours_once"] == 1
    for row in rows:
        assert row["times_ours_low"] <= row["times_ours"] <= row["times_ours_high"]
        assert {f"{part}_ms_per_s" for part in PARTS} <= set(row)
        assert (row["tower_ms_per_s"] > 0) == (row["system"] != "vidtok")
        assert row["read_ms_per_s"] > 0
    assert rows[1]["tokens_per_s"] <= rows[0]["tokens_per_s"]
    assert [row["tokens_per_s"] for row in rows[2:]] == [25, 5]


def test_dense_tokens_are_every_cell_and_the_gist_of_every_frame() -> None:
    clip = clip_of("tour", 4.0, list(Scene((64, 64), fps=4.0, duration_s=1.5)))
    meta, seconds = dense_tokens(clip)
    assert list(meta.mark) == [Mark.META]
    assert [len(tokens) for tokens in seconds] == [20, 10]
    assert all((tokens.mark == Mark.GIST).sum() * 5 == len(tokens) for tokens in seconds)


# A day


def test_a_day_asks_every_turn_the_same_and_its_memory_stays_bounded(lap: Lap) -> None:
    rows = Day(answerer(history=8), lap, 4, "day 1").run()
    asked = [row for row in rows if "about" in row]
    for what in ABOUT:
        mine = [row for row in asked if row["about"] == what]
        counts = [sum(row["asked"] for row in mine if row["turn"] == turn) for turn in range(4)]
        assert counts[1] == counts[2] == counts[3] > 0
    memory = [row for row in rows if "kept" in row]
    assert [row["at_h"] for row in memory] == sorted(row["at_h"] for row in memory)
    assert memory[-1]["at_h"] < DAY_S / 3600
    assert memory[-1]["tokens"] > 2 * memory[1]["tokens"]
    grid = lap.canvases[0][0][1].depth.size
    assert max(row["kept"] for row in memory) <= 8 + 3 + 3 + grid
    assert len({(row["setting"], row["clip"]) for row in rows}) == len(rows)


def test_what_is_asked_later_is_about_the_past_and_the_end() -> None:
    film = toy_film(1)
    assert [about(one) for one in film.questions] == ["now", "past", "past"]
    assert at_end(film) == [film.questions[1], film.questions[2]]
    assert DAY_S / (answering.FULL.films * answering.FULL.turns) > AGO_S


def test_a_memory_without_end_keeps_all(model: Answerer) -> None:
    rows = eviction_rows(model, toy_film(1), TOY, "all", (0, 8, NO_END))
    most = {row["history"]: row["kept_most"] for row in rows}
    assert most["0"] < most["8"] <= most["0"] + 8
    assert most["no end"] == rows[0]["tokens"] + 3
    assert [row["asked"] for row in rows] == [1, 2] * 3


# What is said


def test_a_change_is_of_the_same_films() -> None:
    first = [{"clip": name, "right": 1, "asked": 4} for name in "abc"]
    last = [{"clip": name, "right": 3, "asked": 4} for name in "abcd"]
    found = answering_report.change(first, last)
    assert found == {"change": 0.5, "change_low": 0.5, "change_high": 0.5, "films": 3}


def test_times_of_several_clips_have_an_interval_over_clips() -> None:
    rows = [{"times_ours": value, "times_ours_low": 1.0, "times_ours_high": 99.0} for value in (2.0, 8.0)]
    found = answering_report.times_ours(rows)
    assert found["times_ours"] == 4
    assert 2 <= found["times_ours_low"] <= 4 <= found["times_ours_high"] <= 8
    assert answering_report.times_ours(rows[:1])["times_ours_high"] == 99


def test_the_report_has_a_section_and_a_picture_a_part(lap: Lap, model: Answerer, tmp_path: Path) -> None:
    found = {
        "delay": [{"setting": "1 stream", "clip": "a", **pooled([Delays([1.0, 2.0], [3.0], [4.0], 2)]).row()}],
        "day": Day(model, lap, 2, "day 1").run(),
        "eviction": eviction_rows(model, toy_film(1), TOY, "all", (0, NO_END)),
    }
    rows = [{"part": part, "system": "vidtok", **row} for part, some in found.items() for row in some]
    answering_report.write(tmp_path, rows, "A run.")
    text = (tmp_path / "report.md").read_text()
    assert set(json.loads((tmp_path / "summary.json").read_text())) == {*found, "machine"}
    for section in answering_report.SECTIONS:
        assert (f"## {section.title}\n" in text) == (section.part in found)
        assert (tmp_path / f"{section.part}.png").exists() == (section.part in found)


def test_the_command_keeps_what_is_finished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(answerer().brain, WORDS, tmp_path, 0)
    (tmp_path / "clips").mkdir()
    noise = np.random.default_rng(0).integers(0, 255, (12, 64, 64, 3), dtype=np.uint8)
    write_video(tmp_path / "clips" / "a.mkv", list(noise))
    monkeypatch.setattr(answering, "jobs_of", lambda films, extent: [Job("delay", films[-1], 1)])
    argv = ["--clips", str(tmp_path / "clips"), "--out", str(tmp_path / "out"), "--model", str(tmp_path), "--quick"]
    answering.run(argv)
    rows: list[dict[str, Any]] = json.loads((tmp_path / "out" / "results.json").read_text())
    assert [(row["part"], row["system"], row["setting"], row["clip"]) for row in rows] == [
        ("delay", "vidtok", "1 stream", "a.mkv")
    ]
    monkeypatch.setattr(answering, "work", None)
    answering.run(argv)
    assert "0 of 1 jobs" in (tmp_path / "out" / "report.md").read_text()
