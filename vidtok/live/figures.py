"""Figures of the model that watches, as Prometheus reads them: text exposition, format 0.0.4.

rows that the server reports --Figures.heed--> questions, seconds to the first word, wakes --+
Model.tally() --> passes, tokens, what is kept and what waits of each stream ----------------+--> exposition

# HELP vidtok_model_tokens_total Visual tokens that were read.
# TYPE vidtok_model_tokens_total counter
vidtok_model_tokens_total 51234
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any

from transport.metrics import series

FIRST_WORD_S = (0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)  # upper bounds of the histogram's buckets
ENDS = ("answered", "interrupted", "refused")  # of a question

# What a sample's name has beside the family's, its labels, its value.
Sample = tuple[str, Mapping[str, str], float]


@dataclass(frozen=True)
class Tally:
    """What a model has done since it began, and what it holds now."""

    passes: int = 0
    seconds: float = 0.0  # of all passes
    tokens: int = 0  # visual tokens read
    words: int = 0  # of answers
    kept: Mapping[str, int] = field(default_factory=dict)  # bytes, by stream
    waiting: Mapping[str, int] = field(default_factory=dict)  # canvases, by stream

    def __add__(self, other: Tally) -> Tally:
        return Tally(
            self.passes + other.passes,
            self.seconds + other.seconds,
            self.tokens + other.tokens,
            self.words + other.words,
            {**self.kept, **other.kept},
            {**self.waiting, **other.waiting},
        )

    def done(self) -> Tally:
        """What stays true of a model that is gone."""
        return Tally(self.passes, self.seconds, self.tokens, self.words)


class Figures:
    """Counts what the server reports."""

    def __init__(self) -> None:
        self._asked, self._wakes = 0, 0
        self._ended: Counter[str] = Counter()
        self._buckets = [0] * (len(FIRST_WORD_S) + 1)
        self._first_word_s = 0.0

    def heed(self, row: Mapping[str, Any]) -> None:
        """A row was reported."""
        event = row["event"]
        self._wakes += event == "noticed"
        if "question" not in row:
            return
        self._asked += event == "asked"
        if event in ENDS:
            self._ended[event] += 1
        if (seconds := row.get("first_word_s")) is not None:
            self._buckets[bisect_left(FIRST_WORD_S, seconds)] += 1
            self._first_word_s += seconds

    def exposition(self, streams: int, tally: Tally) -> str:
        """The text, with so many streams watched now."""
        ends: list[Sample] = [("", {"outcome": end}, self._ended[end]) for end in ENDS]
        families: list[tuple[str, str, str, Iterable[Sample]]] = [
            ("streams", "gauge", "Streams that the model watches.", _plain(streams)),
            ("tokens_total", "counter", "Visual tokens that were read.", _plain(tally.tokens)),
            ("words_total", "counter", "Words of answers that were found.", _plain(tally.words)),
            ("passes_total", "counter", "Passes through the weights.", _plain(tally.passes)),
            ("pass_seconds_total", "counter", "Seconds that passes took.", _plain(tally.seconds)),
            ("questions_asked_total", "counter", "Questions that somebody asked.", _plain(self._asked)),
            ("questions_ended_total", "counter", "Questions, by how they ended.", ends),
            ("first_word_seconds", "histogram", "From a question to the first word of its answer.", self._histogram()),
            ("wakes_told_total", "counter", "Conditions that came true and were told.", _plain(self._wakes)),
            ("waiting_canvases", "gauge", "Canvases that wait to be read.", _of_streams(tally.waiting)),
            ("kept_bytes", "gauge", "Keys and values that are kept.", _of_streams(tally.kept)),
        ]
        return "".join(_family(f"vidtok_model_{name}", kind, text, samples) for name, kind, text, samples in families)

    def _histogram(self) -> Iterable[Sample]:
        bounds = (*map(repr, FIRST_WORD_S), "+Inf")
        for bound, count in zip(bounds, accumulate(self._buckets), strict=True):
            yield "_bucket", {"le": bound}, count
        yield "_sum", {}, self._first_word_s
        yield "_count", {}, sum(self._buckets)


def _plain(value: float) -> list[Sample]:
    return [("", {}, value)]


def _of_streams(values: Mapping[str, int]) -> list[Sample]:
    return [("", {"stream": stream}, value) for stream, value in values.items()]


def _family(name: str, kind: str, text: str, samples: Iterable[Sample]) -> str:
    """The lines of one name; none where it has no samples."""
    lines = [f"{series(name + more, labels)} {value!r}\n" for more, labels, value in samples]
    return "".join([f"# HELP {name} {text}\n# TYPE {name} {kind}\n", *lines]) if lines else ""
