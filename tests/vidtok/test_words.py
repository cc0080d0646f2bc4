"""Text to numbers and back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vidtok.model.words import CONTROLS, LETTERS, MOST_LETTERS, Words, split

KNOWN = Words(["what", "'s", "on", "the", "left", "?", ",", "red", "a", "2"])


def test_what_is_known_comes_back_as_it_was() -> None:
    assert KNOWN.decode(KNOWN.encode("What's on the LEFT?")) == "what's on the left?"
    assert KNOWN.decode(KNOWN.encode("a red, 2")) == "a red, 2"


def test_other_words_are_spelled() -> None:
    numbers = KNOWN.encode("the zebra left")
    assert len(numbers) == 1 + 5 + 1
    assert KNOWN.decode(numbers) == "the zebra left"


@given(st.text(max_size=2 * MOST_LETTERS))
def test_any_text_has_numbers_and_no_control_among_them(text: str) -> None:
    numbers = KNOWN.encode(text)
    assert all(7 <= number < len(KNOWN) for number in numbers)
    assert len(numbers) <= MOST_LETTERS
    KNOWN.decode(numbers)


def test_the_list_holds_what_comes_often() -> None:
    assert Words.of(["a cat", "a dog", "a cat"], least=2).words == ("a", "cat")
    assert split("It's 12 o'clock.") == ["it", "'s", "1", "2", "o", "'clock", "."]
    assert len(Words([])) == len(CONTROLS) + len(LETTERS)


def test_a_word_may_not_stand_twice() -> None:
    with pytest.raises(ValueError, match="twice"):
        Words(["a", "a"])
