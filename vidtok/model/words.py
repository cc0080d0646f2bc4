"""Text to numbers and back: words of a fixed list, and letters for every other word.

"What's on the LEFT?" --split--> what 's on the left ? --encode--> [41, 17, ...] --decode--> "what's on the left?"
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence

PAD, BOS, EOS, SOV, SOT, EOV, ANSWER, UNKNOWN = range(8)
CONTROLS = ("<pad>", "<bos>", "<eos>", "<sov>", "<sot>", "<eov>", "<answer>", "<unknown>")
LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789"
SPELLED = tuple("~" + letter for letter in LETTERS)  # a word that is not in the list, letter by letter
_PIECE = re.compile(r"'[a-z]+|[a-z]+|[0-9]|[^\w\s]")
_NO_SPACE_BEFORE = re.compile(r" (?=[.,!?;:)]|'[a-z])")
MOST_LETTERS = 400  # of a text that somebody typed; what comes after them is not read


def split(text: str) -> list[str]:
    """Words, single digits and signs, in lower case."""
    return _PIECE.findall(text[:MOST_LETTERS].lower())


class Words:
    """A list of words, each with its number."""

    def __init__(self, words: Sequence[str]) -> None:
        self.words = tuple(words)
        self._all = (*CONTROLS, *SPELLED, *self.words)
        self._number = {word: number for number, word in enumerate(self._all)}
        if len(self._number) != len(self._all):
            raise ValueError("a word stands twice in the list")

    def __len__(self) -> int:
        return len(self._all)

    @classmethod
    def of(cls, texts: Iterable[str], least: int = 2) -> Words:
        """The words that stand in the texts at least so often, the frequent ones first."""
        counts = Counter(word for text in texts for word in split(text))
        return cls(
            [word for word, count in sorted(counts.items(), key=lambda item: (-item[1], item[0])) if count >= least]
        )

    def number(self, word: str) -> int | None:
        """The number of a word; None if it is not in the list."""
        return self._number.get(word)

    def encode(self, text: str) -> list[int]:
        """Numbers of the text's words; a word that is not in the list is spelled."""
        return [number for word in split(text) for number in self._numbers(word)]

    def _numbers(self, word: str) -> list[int]:
        return [self._number[word]] if word in self._number else self.spelled(word)

    def spelled(self, word: str) -> list[int]:
        """Numbers of a word's letters."""
        return [self._number.get("~" + letter, UNKNOWN) for letter in word]

    def decode(self, numbers: Sequence[int]) -> str:
        """The text of numbers; control words are left out."""
        out: list[str] = []
        spelling = False
        for number in numbers:
            word = self._all[number]
            if word.startswith("~") and len(word) == 2:
                out.append(word[1] if spelling else " " + word[1])
                spelling = True
            else:
                spelling = False
                if word not in CONTROLS:
                    out.append(" " + word)
        return _NO_SPACE_BEFORE.sub("", "".join(out).strip())
