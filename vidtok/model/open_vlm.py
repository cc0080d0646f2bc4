"""Open vision-language models on our tokens: `hf:NAME_OR_PATH`. No picture is drawn and no vision tower is run.

    canvas --what differs from what was told--> cells, gist --Projector--> embeddings, with (t, h, w) of each
                                                                              |
    chat template, before ------------------------------------------------> KV cache, filled as edits arrive
    chat template, question, after --> answer, word by word; then the cache is cropped to what it was

A canvas is compared with what the model was last told, so any canvas may be left out, and what a lost packet undid is
told like everything else. A cell is told as it looks among its neighbours at that moment. The gist alone is what the
projector makes of a place of which nothing but the gist is known; it stands in the frame's middle. A token is 32x32
pixels of the frame, whatever the model's own eye would take.

Memory is bounded (`Memory`): one token a place, a window of superseded ones, and words. When positions run out, after
hours, the cache is made anew from what counts. The words after the stream follow the largest position used so far, as
Qwen-VL was trained; LLaVA is told no times, and its superseded tokens leave at once: it sees now, not before.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vidtok.canvas import CELL, Canvas
from vidtok.errors import ModelError
from vidtok.model.cache import Entry, Memory, Slot
from vidtok.model.families import LanguageModel, Order, load_model, load_words
from vidtok.model.projector import Projector, load_projector
from vidtok.model.prompt import Prompt, prompt_of
from vidtok.tokenizer.fsq import EDGES, SEEN_LEVELS
from vidtok.tokenizer.store import canvas_context

PREFIX = "hf:"
PROJECTOR = "projector.safetensors"
SEEN = EDGES[SEEN_LEVELS]
INCOMPLETE = "\ufffd"


@dataclass(frozen=True)
class WatchConfig:
    """How much is remembered."""

    window: int = 128  # superseded tokens kept; a picture that is kept up to date keeps none
    moment_s: float = 0.5  # changes within so long share one time, where each costs words
    horizon_s: float = 600.0  # when positions begin anew, all that is older counts as this old
    max_tokens: int = 200  # of an answer


class OpenVlm:
    """A model, the projector into its eye's place, and its chat format. Serves any number of streams, one at a time."""

    def __init__(self, model: LanguageModel, projector: Projector, words: Any) -> None:
        has, needs = (projector.config.outs, projector.config.dim), (model.outs, model.width)
        if has != needs:
            raise ModelError(
                f"hf:{model.name}: needs a projector with {needs[0]} outputs of {needs[1]} numbers, this one has "
                f"{has[0]} of {has[1]}; make one: python -m experiments.align --vision-tower {model.name}"
            )
        self.model, self.words = model, words
        self.projector = projector.to(model.device)
        self.prompt: Prompt = prompt_of(model, words)

    def watch(self, config: WatchConfig = WatchConfig()) -> Watching:
        """A new stream."""
        return Watching(self, config)

    @torch.inference_mode()
    def embed(self, canvas: Canvas) -> tuple[Tensor, Tensor]:
        """All cells in sight (rows, cols, outs, width), and the whole frame from its gist alone (outs, width)."""
        cells, gist = (part.to(self.model.device) for part in canvas_context(canvas, SEEN_LEVELS))
        nothing = torch.zeros_like(cells[:, :, :1, :1])
        dtype = self.model.model.dtype
        seen = self.projector(cells, gist)[0].permute(2, 3, 0, 1)
        return seen.to(dtype), self.projector(nothing, gist)[0, :, :, 0, 0].to(dtype)


def open_vlm(spec: str, projector: Path | None = None, device: str = "cpu", dtype: str = "auto") -> OpenVlm:
    """Open `hf:NAME_OR_PATH`. Without a projector's path it is looked for in the model's folder."""
    name = spec.removeprefix(PREFIX)
    path = Path(name) / PROJECTOR if projector is None else projector
    if not path.exists():
        raise ModelError(
            f"{PREFIX}{name}: {path} is not there; make it with python -m experiments.align --vision-tower {name}"
        )
    return OpenVlm(load_model(name, device, dtype), load_projector(path), load_words(name))


class Watching:
    """One stream, as the model knows it."""

    def __init__(self, vlm: OpenVlm, config: WatchConfig) -> None:
        self._vlm, self._config = vlm, config
        self.memory = Memory(vlm.model)
        self._told: Canvas | None = None
        self._later: tuple[Canvas, float] | None = None  # came while an answer was given
        self._busy, self._asked = threading.Lock(), threading.Lock()
        self._moment, self._moment_s, self._base, self._origin_s = -1, 0.0, 0, 0.0
        self._begin(0.0)

    def see(self, canvas: Canvas, time_s: float) -> int:
        """Tell the model what this canvas, of that time, changes; how many visual tokens that took.

        While an answer is given nothing is told: the newest canvas waits, and is told before the next question.
        """
        if not self._busy.acquire(blocking=False):
            self._later = (canvas, time_s)
            return 0
        try:
            self._later = None
            return self._see(canvas, time_s)
        finally:
            self._busy.release()

    def ask(self, question: str, stop: Callable[[], bool] = lambda: False) -> Iterator[str]:
        """The answer, piece by piece; `stop` is asked before each word. The memory is afterwards what it was."""
        with self._question(question) as scores:
            yield from _readable(self._vlm.words, self._answer(scores, stop))

    def scores(self, question: str) -> Tensor:
        """Scores (words,) of the first word of an answer; nothing of it is remembered."""
        with self._question(question) as scores:
            return scores

    def again(self, now: float | None = None) -> None:
        """Make the cache anew: what counts, told at once. What was superseded is forgotten with all that saw it."""
        entries, model = self.memory.live(), self._vlm.model
        newest = max((entry.time_s for entry in entries), default=self._origin_s) if now is None else now
        horizon = min(self._config.horizon_s, model.most_positions / 4 / max(model.tokens_per_second, 1e-9))
        self.memory.reset()
        with self.memory.at_once():
            self._begin(max(self._origin_s, newest - horizon))
            for time_s, together in groupby(entries, lambda entry: entry.time_s):
                self._tell(list(together), time_s)

    # Telling

    def _begin(self, origin_s: float) -> None:
        self._origin_s, self._moment = origin_s, -1
        self._say(self._vlm.prompt.before)
        self._base = self.memory.next

    def _see(self, canvas: Canvas, time_s: float) -> int:
        picture = self._vlm.model.family.order is Order.PICTURE
        if self._told is None:
            self._origin_s = time_s
        elif self._told.grid != canvas.grid or (picture and self._told.position != canvas.position):
            self.memory.reset()
            self._told = None
            self._begin(time_s)
        entries = self._news(canvas, time_s)
        self._told = canvas
        if not entries:
            return 0
        self._out_of_sight(canvas)
        self._make_room(time_s)
        with self.memory.at_once():
            self._tell(entries, time_s)
        window = 0 if picture else self._config.window
        if self.memory.superseded > window + window // 4:  # some at a time: each time copies the cache
            self.memory.evict(window)
        return len(entries)

    def _make_room(self, time_s: float) -> None:
        """Begin positions anew where there are too few left for what is shown, a question and its answer."""
        most = self._vlm.model.most_positions
        spare = self._config.max_tokens + most // 4
        if self._end(time_s) + spare > most:
            self.again(time_s)
            if self._end(time_s) + spare > most:
                raise ModelError(f"hf:{self._vlm.model.name}: has {most} positions, too few for such frames; "
                                 "send smaller ones")  # fmt: skip

    def _end(self, time_s: float) -> int:
        """About the first free position after something is told now."""
        match self._vlm.model.family.order:
            case Order.VIDEO:
                return self._base + self._ticks(time_s) + self._room()
            case Order.MOMENTS:
                return self.memory.next + self._room() + len(self._vlm.prompt.stamp(time_s)) + 2
            case Order.PICTURE:
                return self._base + self._room()

    def _room(self) -> int:
        """Positions that a whole frame takes, at one time."""
        if self._told is None:
            return 0
        rows, cols = _sight(self._told)
        return rows * cols if self._vlm.model.family.order is Order.PICTURE else max(rows, cols)

    def _ticks(self, time_s: float) -> int:
        return int(max(0.0, time_s - self._origin_s) * self._vlm.model.tokens_per_second)

    def _news(self, canvas: Canvas, time_s: float) -> list[Entry]:
        """What differs from what was told: the gist first, then cells in raster order."""
        told, (col, row) = self._told, _corner(canvas)
        differs = changed_cells(told, canvas)
        gist = canvas.gist_depth > 0 and (
            told is None or told.gist_depth != canvas.gist_depth or bool((told.gist != canvas.gist).any())
        )
        if not gist and not differs.any():
            return []
        cells, whole = self._vlm.embed(canvas)
        out = [Entry(None, time_s, whole)] if gist else []
        places = [(int(r), int(c)) for r, c in np.argwhere(differs)]
        return out + [Entry((r + row, c + col), time_s, cells[r, c].clone()) for r, c in places]

    def _out_of_sight(self, canvas: Canvas) -> None:
        (col, row), seen = _corner(canvas), canvas.visible() & (canvas.depth > 0)
        in_sight = {(int(r) + row, int(c) + col) for r, c in np.argwhere(seen)}
        for entry in self.memory.live():
            if entry.place is not None and entry.place not in in_sight:
                self.memory.forget(entry.place)

    def _tell(self, entries: list[Entry], time_s: float) -> None:
        if self._vlm.model.family.order is Order.MOMENTS:
            self._open_moment(time_s)
        else:
            self._moment += 1
        positions = torch.tensor([self._position(entry) for entry in entries]).T
        slots = [Slot(entry, self._moment) for entry in entries]
        self.memory.add(torch.stack([entry.embed for entry in entries]), positions, slots)
        self.memory.next = max(self.memory.next, self._base + self._room())

    def _open_moment(self, time_s: float) -> None:
        """Go on in the moment that is open, or close it and begin the next after its time."""
        if self._moment >= 0 and 0 <= time_s - self._moment_s < self._config.moment_s:
            return
        if self._moment >= 0:
            self._say(self._vlm.prompt.closes)
        self._moment, self._moment_s = self._moment + 1, time_s
        self._say(self._vlm.prompt.stamp(time_s))
        self._base = self.memory.next

    def _position(self, entry: Entry) -> tuple[int, int, int]:
        """(t, h, w): where a visual token stands. The whole frame's stands in its middle."""
        assert self._told is not None
        (rows, cols), (left, top) = _sight(self._told), _corner(self._told)
        row, col = (top + rows // 2, left + cols // 2) if entry.place is None else entry.place
        order = self._vlm.model.family.order
        if order is Order.PICTURE:
            at = self._base + (row - top) * cols + col - left
            return at, at, at
        ticks = self._ticks(entry.time_s) if order is Order.VIDEO else 0
        return self._base + ticks, self._base + row, self._base + col

    # Asking

    @contextmanager
    def _question(self, text: str) -> Iterator[Tensor]:
        """Scores of an answer's first word; what is run within is forgotten at the end."""
        if not self._asked.acquire(blocking=False):
            raise ModelError(f"hf:{self._vlm.model.name}: is answering; ask again when it has ended")
        try:
            with self._busy:
                if self._later is not None:
                    later, self._later = self._later, None
                    self._see(*later)
                ids = self._vlm.prompt.question(text)
                if self._moment >= 0:
                    ids = [*self._vlm.prompt.closes, *ids]
                if len(ids) > self._vlm.model.most_positions // 4:
                    raise ModelError(
                        f"hf:{self._vlm.model.name}: the question has {len(ids)} tokens; ask a shorter one"
                    )
                count, after = len(self.memory), self.memory.next
                try:
                    yield self._run(ids)
                finally:
                    self.memory.crop(count, after)
        finally:
            self._asked.release()

    def _answer(self, scores: Tensor, stop: Callable[[], bool]) -> Iterator[int]:
        ends = self._vlm.model.ends()
        for _ in range(self._config.max_tokens):
            word = int(scores.argmax())
            if word in ends or stop():
                return
            yield word
            scores = self._run([word])

    def _say(self, ids: Sequence[int]) -> None:
        """Words that are remembered."""
        if ids:
            embeds = self._vlm.model.embed(list(ids))
            self.memory.add(embeds, self._following(len(ids)), [Slot(None, self._moment) for _ in ids])

    def _run(self, ids: list[int]) -> Tensor:
        """Words that are forgotten again; scores (words,) of the one that follows."""
        embeds, positions = self._vlm.model.embed(ids), self._following(len(ids))
        self.memory.next += len(ids)
        words = torch.zeros(len(ids), dtype=torch.bool, device=embeds.device)
        return self._vlm.model.run(embeds, positions, words, self.memory.cache)[-1]

    def _following(self, count: int) -> Tensor:
        """(3, count) positions of words that come next."""
        return torch.arange(self.memory.next, self.memory.next + count).expand(3, -1)


def changed_cells(told: Canvas | None, canvas: Canvas) -> np.ndarray:
    """(rows, cols): cells in sight that hold something else than what was told of their place in the scene."""
    if told is None:
        return canvas.visible() & (canvas.depth > 0)
    before = told.panned(*(b - a for a, b in zip(told.position, canvas.position, strict=True)))
    deeper = np.minimum(before.depth, SEEN_LEVELS) != np.minimum(canvas.depth, SEEN_LEVELS)
    other = (before.values[..., :SEEN] != canvas.values[..., :SEEN]).any(-1)
    return np.asarray((deeper | other) & canvas.visible() & (canvas.depth > 0))


def _corner(canvas: Canvas) -> tuple[int, int]:
    """(col, row) of the canvas's first cell in the scene."""
    return canvas.position[0] // CELL, canvas.position[1] // CELL


def _sight(canvas: Canvas) -> tuple[int, int]:
    """(rows, cols) of cells of which the frame shows something."""
    seen = canvas.visible()
    return int(seen.any(1).sum()), int(seen.any(0).sum())


def _readable(words: Any, ids: Iterator[int]) -> Iterator[str]:
    """Token ids as text, as soon as each letter is whole."""
    all_ids: list[int] = []
    told = ""
    for word in ids:
        all_ids.append(word)
        text = str(words.decode(all_ids, skip_special_tokens=True))
        if text.startswith(told) and len(text) > len(told) and not text.endswith(INCOMPLETE):
            yield text[len(told) :]
            told = text
