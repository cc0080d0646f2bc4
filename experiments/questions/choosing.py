"""Which questions a film is asked, and when: of all kinds, every answer of a form about as often.

Plan --moments--> the end, right after events, some in between (never while something happens)
     --forms find what can be asked--> Chooser draws: the kind, then the form, then the answer, then the moment
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from experiments.questions.asking import Ask, Form
from experiments.questions.forms import FORMS
from experiments.questions.plans import STILL_SHARE, Plan

FEWEST, MOST = 14, 22
TRIES = 200
OFTEN = 3  # times that a form may come in one film; even ones once for each answer
YES_ONLY = 2 * STILL_SHARE / (1 - STILL_SHARE)  # of the films in which something happens; still ones are asked twice
BOTH = 0.1  # of them are asked before it and after it: no more, or the clock would tell

Offer = tuple[Ask, float]
"""What could be asked, and how likely that is against the others."""
Asked = tuple[str, Ask]
"""A form, and what it asks."""


class Chooser:
    """Draws what a film is asked out of what could be asked; no form asks the same twice."""

    def __init__(
        self,
        forms: Mapping[str, Form],
        find: Callable[[Form], list[Offer]],
        group: Callable[[Ask], str],
        rng: np.random.Generator,
    ) -> None:
        """`group` says among which offers of an even form every answer must be found: what may not tell the answer."""
        self._forms, self._find, self._group, self._rng = forms, find, group, rng
        self._found: dict[str, list[Offer]] = {}
        self._asked: set[tuple[object, ...]] = set()
        self._last: dict[str, str] = {}

    def fill(self, found: list[Asked], wanted: int) -> list[Asked]:
        """As many as are wanted, if there are, in order of time: those found before and others, kind after kind."""
        waiting: list[str] = []
        for _ in range(TRIES):
            waiting = waiting or self._round()
            if len(found) >= wanted or not waiting:
                break
            form = waiting.pop()
            found = found + self.draw(form) if self._may_come(form, found) else found
        return sorted(found, key=lambda asked: asked[1].at_s)

    def draw(self, form: str, answer: str = "") -> list[Asked]:
        """One more question of a form, or none: with that answer, or of even ones with one that is drawn first."""
        offers = [offer for offer in self._offers(form) if self._subject(form, offer[0]) not in self._asked]
        if answer:
            offers = [offer for offer in offers if offer[0].answer == answer]
        elif self._forms[form].even:
            offers = self._evened(form, offers)
        if not offers:
            return []
        weights = np.array([weight for _, weight in offers])
        ask = offers[int(self._rng.choice(len(offers), p=weights / weights.sum()))][0]
        self._asked.add(self._subject(form, ask))
        self._last[form] = ask.answer
        return [(form, ask)]

    def _may_come(self, form: str, found: list[Asked]) -> bool:
        how = self._forms[form]
        rounds = 2 if how.again else 1
        most = min(OFTEN, len(self._offers(form)[0][0].choices)) * rounds if how.even else OFTEN
        return sum(form == other for other, _ in found) < most

    def _round(self) -> list[str]:
        """One form of every kind, in random order."""
        kinds: dict[str, list[str]] = {}
        for form, how in self._forms.items():
            if not how.once and self._offers(form):
                kinds.setdefault(how.kind, []).append(form)
        picked = [str(self._rng.choice(forms)) for forms in kinds.values()]
        return [picked[i] for i in self._rng.permutation(len(picked))]

    def _offers(self, form: str) -> list[Offer]:
        """All that the form can ask in this film; nothing if it could not be fair."""
        if form not in self._found:
            how = self._forms[form]
            self._found[form] = self._fair(self._find(how)) if how.even else self._find(how)
        return self._found[form]

    def _evened(self, form: str, offers: list[Offer]) -> list[Offer]:
        """Those of the group, and with the answer, that the lot falls on; the answer is another than last time."""
        everything = self._offers(form)
        if not everything:
            return []
        weights: dict[str, float] = {}
        for ask, weight in everything:
            weights[self._group(ask)] = max(weight, weights.get(self._group(ask), 0.0))
        shares = np.array(list(weights.values()))
        group = str(self._rng.choice(list(weights), p=shares / shares.sum()))
        free = [choice for choice in everything[0][0].choices if choice != self._last.get(form)]
        answer = str(self._rng.choice(free))
        return [(ask, weight) for ask, weight in offers if ask.answer == answer and self._group(ask) == group]

    def _fair(self, offers: list[Offer]) -> list[Offer]:
        """Those in whose group every answer can be the right one."""
        answers: dict[str, set[str]] = {}
        for ask, _ in offers:
            answers.setdefault(self._group(ask), set()).add(ask.answer)
        return [(ask, weight) for ask, weight in offers if len(answers[self._group(ask)]) == len(ask.choices)]

    def _subject(self, form: str, ask: Ask) -> tuple[object, ...]:
        """What may not be asked twice: the same with the same answer, but for what every film is asked."""
        how = self._forms[form]
        words = [word for gap, word in ask.about.items() if gap != "thing" or ask.who is None]
        return (form, ask.answer, ask.at_s if how.once or how.again else None, id(ask.who), *words)


# Painted worlds


@dataclass(frozen=True)
class Moment:
    """When one may ask, and how much likelier that is than at other moments."""

    at_s: float
    weight: float


def choose(plan: Plan, fps: float, rng: np.random.Generator) -> list[Asked]:
    """What the film of a plan is asked."""
    some = moments(plan, fps, rng)
    many = [Moment(t, 1.0) for t in quiet_ticks(plan, fps)]

    def find(form: Form) -> list[Offer]:
        when = many if form.kind == "when" else some
        return [(ask, moment.weight) for moment in when for ask in form.find(plan, moment.at_s)]

    chooser = Chooser(FORMS, find, _hour, rng)
    return chooser.fill(_certain(plan, chooser, rng), int(rng.integers(FEWEST, MOST + 1)))


def _hour(ask: Ask) -> str:
    """So that the clock does not tell the answer: the moment, or about the moment where it is asked how long ago."""
    return f"{ask.at_s // 2.0}" if "does" in ask.about else f"{ask.at_s}"


def _certain(plan: Plan, chooser: Chooser, rng: np.random.Generator) -> list[Asked]:
    """What is asked in every film, so that a coin of the plan decides the answer."""
    found = [asked for form, how in FORMS.items() if how.once and form != "happened" for asked in chooser.draw(form)]
    if not plan.spans:
        return found + chooser.draw("happened", "no") + chooser.draw("happened", "no")
    lot = rng.random()
    if lot < YES_ONLY:
        return found + chooser.draw("happened", "yes")
    both = chooser.draw("happened", "no") + chooser.draw("happened", "yes")
    return found + both if len(both) == 2 and lot < YES_ONLY + BOTH else found


def moments(plan: Plan, fps: float, rng: np.random.Generator) -> list[Moment]:
    """The end, moments right after events, one before the first, and two others."""
    quiet = quiet_ticks(plan, fps)
    found = [Moment(quiet[-1], 4.0)]
    for _, end in plan.spans:
        found += _one_of([t for t in quiet if 0.25 <= t - end <= 0.9], 1.5, rng)
    found += _one_of([t for t in quiet if plan.spans and t < plan.spans[0][0]], 0.5, rng)
    return found + _one_of(quiet, 1.0, rng) + _one_of(quiet, 1.0, rng)


def _one_of(ticks: list[float], weight: float, rng: np.random.Generator) -> list[Moment]:
    return [Moment(ticks[int(rng.integers(len(ticks)))], weight)] if ticks else []


def quiet_ticks(plan: Plan, fps: float) -> list[float]:
    """The times of all frames in which nothing happens, the very first ones left out."""
    ticks = [k / fps for k in range(round(0.6 * fps), round(plan.duration_s * fps))]
    return [t for t in ticks if plan.quiet(t)]
