"""A stream of a whole day, and what the model forgets: painted films with questions, as our edge sends them.

    Lap of films --turn after turn, with still hours between--> one stream, one memory, 24 hours of its own clock
        a question at its moment: what is (`now`), what was in the film (`past`)
        those asked at a film's end once more: ten minutes later; when another film has gone by

    a film under some ways of sending --each with a memory of 0, 32, ... superseded tokens--> answers

Every turn shows the same films, so the last tenth of a day is asked what the first was.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from experiments.answering_streams import Lap
from experiments.bench import Row
from experiments.question_answering import NO_END, answers, heard_by
from experiments.questions import Film, Question
from experiments.questions.grounds import made_backdrops
from experiments.questions.heard import Heard
from experiments.questions.worlds import world
from experiments.systems import System
from vidtok.canvas import Canvas
from vidtok.model.answerer import Answer, Answerer, Asking, Watch
from vidtok.model.stream import Tokens

DAY_S = 86400.0
NOW = ("shape", "colour", "count", "where")  # kinds of questions about what is in sight
ABOUT = ("now", "past", "ten minutes ago", "a film ago")
AGO_S = 600.0
HISTORIES = (0, 32, 128, 512, NO_END)
Waiting = Sequence[tuple[float, Canvas]]  # what of a film has not been read yet


def painted(first: int, count: int) -> list[Film]:
    """Films that nothing was trained on; they need no data."""
    backdrops = made_backdrops()
    return [world(seed, "test", backdrops) for seed in range(first, first + count)]


def about(question: Question) -> str:
    """Whether it asks for what is or for what was."""
    return "now" if question.kind in NOW else "past"


# A day


@dataclass
class Tally:
    """Questions of one film on one turn."""

    asked: int = 0
    right: int = 0
    guessed: float = 0.0

    def add(self, question: Question, said: str) -> None:
        """One more."""
        self.asked += 1
        self.right += said == question.answer
        self.guessed += 1 / len(question.choices)


@dataclass
class Day:
    """A stream that goes round a lap for a day."""

    answerer: Answerer
    lap: Lap
    turns: int
    name: str
    rows: list[Row] = field(default_factory=list)
    updates: int = 0
    cpu_s: float = 0.0  # of reading alone

    def run(self) -> list[Row]:
        """All of it: a row for each film, turn and what was asked about, and one for the memory after each film."""
        films = self.lap.films
        watch = self.answerer.watch(self.lap.canvases[0][0][1], films[0].fps)
        before: tuple[Film, ...] = ()
        for turn in range(self.turns):
            for number, film in enumerate(films):
                start = DAY_S * (turn * len(films) + number) / (self.turns * len(films))
                self._film(watch, turn, number, start, before)
                self.rows.append(self._memory(watch, start + film.count / film.fps))
                before = (film,)
        return self.rows

    def _film(self, watch: Watch, turn: int, number: int, start: float, before: Sequence[Film]) -> None:
        film = self.lap.films[number]
        waiting: Waiting = self.lap.of(turn, number)
        tallies = {what: Tally() for what in ABOUT}
        for question in sorted(film.questions, key=lambda question: question.at_s):
            waiting = self._read(watch, waiting, start, question.at_s)
            self._ask(tallies[about(question)], watch, question, start + question.at_s)
        end = film.count / film.fps
        waiting = self._read(watch, waiting, start, end)
        for other in before:
            for question in at_end(other):
                self._ask(tallies["a film ago"], watch, question, start + end)
        self._read(watch, waiting, start, DAY_S)
        for question in at_end(film):
            self._ask(tallies["ten minutes ago"], watch, question, start + end + AGO_S)
        self.rows += [self._row(turn, what, film, tally) for what, tally in tallies.items() if tally.asked]

    def _read(self, watch: Watch, waiting: Waiting, start: float, until_s: float) -> Waiting:
        """Read what has come by then; returns what has not."""
        began = time.process_time()
        for at_s, canvas in waiting:
            if at_s > until_s + 1e-6:
                break
            self.updates += 1
            self.answerer.show(watch, canvas, start + at_s)
            self.answerer.catch_up([watch])
        self.cpu_s += time.process_time() - began
        return [(at_s, canvas) for at_s, canvas in waiting if at_s > until_s + 1e-6]

    def _ask(self, tally: Tally, watch: Watch, question: Question, now_s: float) -> None:
        *_, answer = self.answerer.ask(watch, question.text, now_s)
        assert isinstance(answer, Answer)
        tally.add(question, answer.text)

    def _row(self, turn: int, what: str, film: Film, tally: Tally) -> Row:
        found = {"asked": tally.asked, "right": tally.right, "guessed": round(tally.guessed, 6)}
        setting = f"{self.name}, turn {turn + 1} of {self.turns}, {what}"
        return {"system": "vidtok", "setting": setting, "clip": film.name, "turn": turn, "about": what, **found}

    def _memory(self, watch: Watch, at_s: float) -> Row:
        row = {
            "system": "vidtok",
            "setting": f"{self.name}, at {at_s / 3600:.3f} h",
            "clip": "day",
            "at_h": round(at_s / 3600, 4),
            "updates": self.updates,
            "tokens": watch.tokens,
            "kept": len(watch.kept),
            "kept_kb": round(watch.kept.bytes / 1000, 3),
            "rss_mb": resident_mb(),
            "cpu_ms_per_update": round(1000 * self.cpu_s / max(self.updates, 1), 4),
        }
        self.updates, self.cpu_s = 0, 0.0
        return row


def at_end(film: Film) -> list[Question]:
    """What is asked about the past when the film is over."""
    last = film.count / film.fps - 2 / film.fps
    return [question for question in film.questions if about(question) == "past" and question.at_s >= last]


def resident_mb() -> float | None:
    """What this process holds in memory now; None where the system does not say."""
    path = Path("/proc/self/statm")
    if not path.exists():
        return None
    return round(int(path.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6, 2)


# What is forgotten


class Weighing(Answerer):
    """Notes how many tokens it kept at most."""

    most = 0

    def think(self, told: Sequence[tuple[Watch, Tokens]], askings: Sequence[Asking] = ()) -> list[str | Answer]:
        """One pass."""
        out = super().think(told, askings)
        self.most = max([self.most, *(len(watch.kept) for watch, _ in told)])
        return out


def eviction_rows(answerer: Answerer, film: Film, system: System, setting: str, histories: Sequence[int]) -> list[Row]:
    """A row for each size of memory and what was asked about: the same film, heard once."""
    heard = heard_by(system, setting, film)
    rows = []
    for history in histories:
        model = Weighing(answerer.brain, answerer.words, history)
        said = answers(model, heard)
        rows += _evicted(heard, said, history, model.most, system.name, setting)
    return rows


def _evicted(heard: Heard, said: Sequence[str], history: int, most: int, system: str, setting: str) -> list[Row]:
    rows = []
    for what in ("now", "past"):
        tally = Tally()
        for question, answer in zip(heard.questions, said, strict=True):
            if about(question) == what:
                tally.add(question, answer)
        label = "no end" if history == NO_END else str(history)
        rows.append(
            {
                "system": system,
                "setting": f"{setting}, history {label}, {what}",
                "clip": heard.name,
                "sent": setting,
                "history": label,
                "about": what,
                "tokens": len(heard.tokens),
                "kept_most": most,
                "asked": tally.asked,
                "right": tally.right,
                "guessed": round(tally.guessed, 6),
            }
        )
    return rows
