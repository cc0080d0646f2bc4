"""What stands around the stream in an open model's own chat format, cut where the stream and the question go.

chat template of (something shown, "QUESTION") --> before | stream | between | question | after
                                                   told once |       told with every question
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from vidtok.errors import ModelError
from vidtok.model.families import LanguageModel, Order

MARK = "THE-QUESTION-GOES-HERE"
INSTRUCTION = (
    "You watch a camera. What it shows is told as it changes, place by place. Answer the question briefly, from what "
    "was shown."
)


@dataclass(frozen=True)
class Prompt:
    """Token ids around stream and question; `opens` and `closes` stand around each moment, where a model has them."""

    before: tuple[int, ...]
    between: tuple[int, ...]
    after: tuple[int, ...]
    opens: tuple[int, ...] = ()
    closes: tuple[int, ...] = ()
    words: Any = None

    def stamp(self, time_s: float) -> list[int]:
        """What opens a moment: its time, and the sign that pictures follow."""
        return [*ids_of(self.words, f"<{time_s:.1f} seconds>"), *self.opens]

    def question(self, text: str) -> list[int]:
        """What follows the stream; signs that a question holds are read as letters."""
        asked = ids_of(self.words, text, split_special_tokens=True)
        return [*self.between, *asked, *self.after]


def prompt_of(model: LanguageModel, words: Any) -> Prompt:
    """Cut the model's own chat template."""
    shown = words.convert_ids_to_tokens(model.placeholder)
    content = [{"type": model.family.item}, {"type": "text", "text": f"{INSTRUCTION}\n{MARK}"}]
    chat = words.apply_chat_template([{"role": "user", "content": content}], tokenize=False, add_generation_prompt=True)
    opens, closes = _around(model, words)
    if model.family.order is Order.MOMENTS:
        shown = f"{opens}{shown}{closes}"  # each moment brings its own
    before, found, rest = chat.partition(shown)
    between, asked, after = rest.partition(MARK)
    if not found or not asked:
        raise ModelError(f"hf:{model.name}: its chat template shows no {model.family.item} before a question")
    parts = [_first(words, before), *(ids_of(words, part) for part in (between, after, opens, closes))]
    first, middle, last, *around = map(tuple, parts)
    return Prompt(first, middle, last, around[0], around[1], words)


def ids_of(words: Any, text: str, **how: bool) -> list[int]:
    """Token ids of a piece of text as it stands."""
    return list(words(text, add_special_tokens=False, **how)["input_ids"]) if text else []


def _first(words: Any, text: str) -> list[int]:
    """The ids that everything begins with: with the sign for it, where the tokenizer sets one and the template not."""
    alone, begin = list(words("")["input_ids"]), words.bos_token_id
    missing = begin is not None and alone[:1] == [begin] and not text.startswith(words.bos_token)
    return [begin] * missing + ids_of(words, text)


def _around(model: LanguageModel, words: Any) -> tuple[str, str]:
    if model.family.order is not Order.MOMENTS:
        return "", ""
    start, end = model.config.vision_start_token_id, model.config.vision_end_token_id
    return words.convert_ids_to_tokens(start), words.convert_ids_to_tokens(end)
