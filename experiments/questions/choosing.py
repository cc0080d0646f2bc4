"""Which questions a film is asked, and when: 12 to 24 of all kinds, every answer of a form about as often.

Plan --moments--> the end, right after events, some in between (never while something happens)
     --FORMS find what can be asked--> drawn: the kind, then the form, then the answer, then the moment
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from experiments.questions.asking import Ask
from experiments.questions.forms import FORMS
from experiments.questions.plans import STILL_SHARE, Plan

FEWEST, MOST = 14, 22
TRIES = 200
OFTEN = 3  # times that a form may come in one film
YES_ONLY = STILL_SHARE / (1 - STILL_SHARE)  # of the films in which something happens; half are asked before it too


Offer = tuple[Ask, float]
"""What could be asked, and how likely that is against the others."""


@dataclass(frozen=True)
class Moment:
    """When one may ask, and how much likelier that is than at other moments."""

    at_s: float
    weight: float


def moments(plan: Plan, fps: float, rng: np.random.Generator) -> list[Moment]:
    """The end, moments right after events, and a few others."""
    quiet = quiet_ticks(plan, fps)
    found = [Moment(quiet[-1], 4.0)]
    for _, end in plan.spans:
        after = [t for t in quiet if 0.25 <= t - end <= 0.9]
        found += [Moment(after[int(rng.integers(len(after)))], 1.5)] if after else []
    found += [Moment(quiet[int(rng.integers(len(quiet)))], 1.0) for _ in range(2)]
    early = [t for t in quiet if plan.spans and t < plan.spans[0][0]]
    found += [Moment(early[int(rng.integers(len(early)))], 0.5)] if early else []
    return found


def quiet_ticks(plan: Plan, fps: float) -> list[float]:
    """The times of all frames in which nothing happens, the very first ones left out."""
    ticks = [k / fps for k in range(round(0.6 * fps), round(plan.duration_s * fps))]
    return [t for t in ticks if plan.quiet(t)]


class Chooser:
    """Draws what a film is asked."""

    def __init__(self, plan: Plan, fps: float, rng: np.random.Generator) -> None:
        self._plan, self._rng = plan, rng
        self._moments = moments(plan, fps, rng)
        self._ticks = [Moment(t, 1.0) for t in quiet_ticks(plan, fps)[::2]]
        self._asked: set[tuple[str, str]] = set()
        self._found: dict[str, list[Offer]] = {}
        self._last: dict[str, str] = {}

    def choose(self) -> list[tuple[str, Ask]]:
        """Forms with what they ask about, in order of time."""
        wanted = int(self._rng.integers(FEWEST, MOST + 1))
        found = self._certain()
        waiting: list[str] = []
        for _ in range(TRIES):
            if len(found) >= wanted:
                break
            waiting = waiting or self._round()
            form = waiting.pop()
            if sum(form == other for other, _ in found) < OFTEN:
                found += self._draw(form)
        return sorted(found, key=lambda asked: asked[1].at_s)

    def _certain(self) -> list[tuple[str, Ask]]:
        """What is asked in every film, so that a coin of the plan decides the answer."""
        found = [asked for form, how in FORMS.items() if how.once and form != "happened" for asked in self._draw(form)]
        lot = 0.0 if not self._plan.spans else self._rng.random()
        if not self._plan.spans or lot < YES_ONLY:
            return found + self._draw("happened", "yes" if self._plan.spans else "no")
        both = self._draw("happened", "no") + self._draw("happened", "yes")
        return found + both if len(both) == 2 and lot < 1 - YES_ONLY else found

    def _round(self) -> list[str]:
        """One form of every kind, in random order."""
        kinds: dict[str, list[str]] = {}
        for form, how in FORMS.items():
            if not how.once and self._offers(form):
                kinds.setdefault(how.kind, []).append(form)
        picked = [str(self._rng.choice(forms)) for forms in kinds.values()]
        return [picked[i] for i in self._rng.permutation(len(picked))]

    def _offers(self, form: str) -> list[Offer]:
        """All that the form can ask in this film, each with its weight; nothing if it could not be fair."""
        if form not in self._found:
            self._found[form] = self._find(form)
        return self._found[form]

    def _find(self, form: str) -> list[Offer]:
        how = FORMS[form]
        moments = self._ticks if form == "when" else self._moments
        found = [(ask, moment.weight) for moment in moments for ask in how.find(self._plan, moment.at_s)]
        if not how.even:
            return found
        answers: dict[str, set[str]] = {}
        for ask, _ in found:
            answers.setdefault(ask.about.get("does", ""), set()).add(ask.answer)
        return [(ask, w) for ask, w in found if len(answers[ask.about.get("does", "")]) == len(ask.choices)]

    def _draw(self, form: str, answer: str = "") -> list[tuple[str, Ask]]:
        """One more question of a form, or none. Of even ones the answer is drawn first, and is another next time."""
        offers = [offer for offer in self._offers(form) if (form, _subject(offer[0])) not in self._asked]
        if answer:
            offers = [offer for offer in offers if offer[0].answer == answer]
        elif FORMS[form].even:
            offers = self._evened(form, offers)
        if not offers:
            return []
        weights = np.array([weight for _, weight in offers])
        ask = offers[int(self._rng.choice(len(offers), p=weights / weights.sum()))][0]
        self._asked.add((form, _subject(ask)))
        self._last[form] = ask.answer
        return [(form, ask)]

    def _evened(self, form: str, offers: list[Offer]) -> list[Offer]:
        """Those with the answer, and of the group, that the lot falls on."""
        everything = self._offers(form)
        groups = sorted({ask.about.get("does", "") for ask, _ in everything})
        if not groups:
            return []
        group = str(self._rng.choice(groups))
        choices = everything[0][0].choices
        free = [choice for choice in choices if choice != self._last.get(form)]
        answer = str(self._rng.choice(free))
        return [(a, w) for a, w in offers if a.answer == answer and a.about.get("does", "") == group]


def _subject(ask: Ask) -> str:
    return f"{ask.at_s if not ask.about else ''} {sorted(ask.about.items())}"
