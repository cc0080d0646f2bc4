"""The figures are what a scraper of format 0.0.4 reads, and their numbers are the rows' and the tally's."""

from __future__ import annotations

import re
from itertools import pairwise

import numpy as np
import pytest

from tests.transport.test_metrics import labels
from tests.vidtok.test_answerer import answerer, film
from vidtok.live.figures import FIRST_WORD_S, Figures, Tally
from vidtok.live.mind import Mind

Series = dict[tuple[str, tuple[tuple[str, str], ...]], float]
SAMPLE = re.compile(r"([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.+)\})? (\S+)")


def parse(text: str) -> Series:
    """Every sample; each family comes in one piece, with its help and type before it, and no sample twice."""
    out: Series = {}
    kinds: dict[str, str] = {}
    lines = text.split("\n")
    assert lines.pop() == ""
    for before, line in pairwise(["", *lines]):
        if line.startswith("# HELP "):
            assert re.fullmatch(r"# HELP vidtok_model_[a-z_]+ [^\\]+", line)
        elif line.startswith("# TYPE "):
            _, _, name, kind = line.split(" ")
            assert before.startswith(f"# HELP {name} ")
            assert name not in kinds
            assert (kind == "counter") == name.endswith("_total")
            kinds[name] = kind
        else:
            match = SAMPLE.fullmatch(line)
            assert match is not None, line
            name, kind = list(kinds.items())[-1]
            ends = ("_bucket", "_sum", "_count") if kind == "histogram" else ("",)
            assert match[1] in {name + end for end in ends}
            key = (match[1], labels(match[2] or ""))
            assert key not in out
            out[key] = float(match[3])
    return out


def told(figures: Figures, name: str, **more: str) -> float:
    return parse(figures.exposition(0, Tally()))[f"vidtok_model_{name}", tuple(more.items())]


def test_before_anything_has_happened_every_counter_is_zero() -> None:
    series = parse(Figures().exposition(0, Tally()))
    assert set(series.values()) == {0.0}
    names = {name for name, _ in series}
    for name in ("streams", "tokens_total", "passes_total", "pass_seconds_total", "wakes_told_total", "words_total"):
        assert f"vidtok_model_{name}" in names


def test_questions_are_counted_by_how_they_end() -> None:
    figures = Figures()
    for event, count in (("asked", 6), ("answered", 3), ("interrupted", 2), ("refused", 1), ("noticed", 4)):
        for number in range(count):
            row = {"event": event, "stream": "stream 1"}
            figures.heed(row if event == "noticed" else {**row, "question": number})
    figures.heed({"event": "refused", "stream": "stream 1", "reason": "a stream that we do not hold"})
    assert told(figures, "questions_asked_total") == 6
    for outcome, count in (("answered", 3), ("interrupted", 2), ("refused", 1)):
        assert told(figures, "questions_ended_total", outcome=outcome) == count
    assert told(figures, "wakes_told_total") == 4


def test_the_histogram_counts_up_to_each_bound() -> None:
    figures = Figures()
    seconds = (0.01, 0.05, 0.3, 0.3, 7.0, 100.0)
    for each in seconds:
        figures.heed({"event": "answered", "stream": "s", "question": 1, "first_word_s": each})
    for bound in FIRST_WORD_S:
        assert told(figures, "first_word_seconds_bucket", le=repr(bound)) == sum(each <= bound for each in seconds)
    assert told(figures, "first_word_seconds_bucket", le="+Inf") == len(seconds)
    assert told(figures, "first_word_seconds_count") == len(seconds)
    assert told(figures, "first_word_seconds_sum") == pytest.approx(sum(seconds))


def test_the_model_s_own_numbers_are_told_by_stream_whatever_its_name() -> None:
    mind = Mind(answerer())
    canvases = list(film(np.random.default_rng(0), 3))
    mind.join('a "b"\\\n', canvases[0], 10.0)
    for k, canvas in enumerate(canvases):
        mind.show('a "b"\\\n', canvas, k / 4)
    figures, tally = Figures(), mind.tally()
    series = parse(figures.exposition(1, tally))
    assert series["vidtok_model_waiting_canvases", (("stream", 'a "b"\\\n'),)] == 3
    assert series["vidtok_model_kept_bytes", (("stream", 'a "b"\\\n'),)] == mind.watch('a "b"\\\n').kept.bytes > 0
    assert series["vidtok_model_streams", ()] == 1


def test_tallies_add_up() -> None:
    both = Tally(1, 0.5, 10, 2, {"a": 5}, {"a": 1}) + Tally(2, 0.25, 1, 3, {"b": 6}, {"b": 0})
    assert both == Tally(3, 0.75, 11, 5, {"a": 5, "b": 6}, {"a": 1, "b": 0})
    assert both.done() == Tally(3, 0.75, 11, 5)
