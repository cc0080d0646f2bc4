"""What a model hears of a film: the visual tokens that a sending policy makes of it, and the film's questions.

Film --frames--> a System (ours, dense, 1 fps, DTD, ...) --Known.canvas, frame by frame--> tell --> Heard <--> .npz
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from experiments.questions import NOTHING, Film, Question
from experiments.systems import Clip, Known
from vidtok.canvas import CELL, Grid, blank
from vidtok.model.stream import GLOBAL, Tokens, begin, tell

LEAST_COVERED = 0.15  # of a cell, by what it is named after
OLD = ("old_depth", "old_values")  # not stored: what the token before of the same place holds


@dataclass(frozen=True, eq=False)
class Heard:
    """A film under a policy."""

    name: str
    seconds: float
    tokens: Tokens
    step: NDArray[np.int32]  # (n,), tokens that came together have the same number; the first token's is 0
    questions: tuple[Question, ...]
    named: NDArray[np.str_]  # (n, 3), what each visual token shows, twice, and what that does; empty where nobody knows
    paid: int  # tokens, as the policy counts them
    bytes: int | None  # None where the policy is about tokens alone


def clip_of(film: Film) -> Clip:
    """The film without its questions, as systems take it."""
    return Clip(film.name, film.size, film.fps, film.count, film.frames)


def hear(film: Film, knowns: Iterator[Known]) -> Heard:
    """Follow what a receiver knows, frame by frame, as the server does."""
    told, meta = begin(blank(Grid(*film.size)), film.fps)
    parts, steps, number = [meta], [np.zeros(1, np.int32)], 0
    known, last = Known(), told.canvas
    for frame, known in enumerate(knowns):
        canvas = known.canvas
        if canvas is None or canvas is last:
            continue
        told, tokens = tell(told, canvas, frame / film.fps)
        last = canvas
        if len(tokens):
            number += 1
            parts.append(tokens)
            steps.append(np.full(len(tokens), number, np.int32))
    seconds, tokens = film.count / film.fps, Tokens.joined(parts)
    return Heard(
        film.name, seconds, tokens, np.concatenate(steps), film.questions, names_of(film, tokens), known.tokens,
        known.bytes,
    )  # fmt: skip


def names_of(film: Film, tokens: Tokens) -> NDArray[np.str_]:
    """(n, 3): words for what each token of a cell shows and does; NOTHING where a film that tells names nothing."""
    out = np.full((len(tokens), 3), "", "<U16")
    cells = tokens.row != GLOBAL
    if film.named is None:
        return out
    out[cells] = NOTHING
    for time_s in np.unique(tokens.time_s[cells]):
        mine = np.flatnonzero(cells & (tokens.time_s == time_s))
        left, top = tokens.col[mine] * CELL, tokens.row[mine] * CELL
        covered = np.full(len(mine), LEAST_COVERED * CELL * CELL)
        for box, words in film.named(float(time_s)):
            wide = np.minimum(left + CELL, box[2]) - np.maximum(left, box[0])
            high = np.minimum(top + CELL, box[3]) - np.maximum(top, box[1])
            area = np.maximum(wide, 0) * np.maximum(high, 0)
            out[mine[area > covered]] = words
            covered = np.maximum(area, covered)
    return out


def save(heard: Heard, path: Path) -> None:
    """Write it whole or not at all."""
    about = {
        "name": heard.name,
        "seconds": heard.seconds,
        "paid": heard.paid,
        "bytes": heard.bytes,
        "questions": [asdict(question) for question in heard.questions],
    }
    arrays = {f.name: getattr(heard.tokens, f.name) for f in fields(Tokens) if f.name not in OLD}
    part = path.with_suffix(".part.npz")
    np.savez_compressed(part, about=json.dumps(about), step=heard.step, named=heard.named, **arrays)
    part.rename(path)


def load(path: Path) -> Heard:
    """Read one back."""
    with np.load(path) as stored:
        about = json.loads(str(stored["about"]))
        arrays = {name: stored[name] for name in stored.files if name not in ("about", "step", "named")}
        step, named = stored["step"], stored["named"]
    before = earlier(arrays["row"], arrays["col"])
    for name in OLD:
        held = arrays[name.removeprefix("old_")]
        arrays[name] = np.where((before < 0).reshape(-1, *[1] * (held.ndim - 1)), 0, held[before]).astype(np.uint8)
    questions = tuple(Question(**{**q, "choices": tuple(q["choices"])}) for q in about.pop("questions"))
    return Heard(tokens=Tokens(**arrays), step=step, questions=questions, named=named, **about)


def earlier(row: NDArray[np.int32], col: NDArray[np.int32]) -> NDArray[np.int64]:
    """(n,): which token told of the same place before, -1 for none."""
    out = np.full(len(row), -1)
    order = np.lexsort((np.arange(len(row)), col, row))
    same = (np.diff(row[order]) == 0) & (np.diff(col[order]) == 0)
    out[order[1:][same]] = order[:-1][same]
    return out
