"""Where words and visual tokens stand in the one sequence, in training and in serving alike.

    order   0     1                2                                  3     4, 5, ...          n       n + 1, ...
          [BOS] [SOV] meta       [SOT] visual tokens, as they come ... [EOV] question ...    [ANSWER]  answer ... [EOS]
    step    0     1    2           3   4, 5, 6 ... one an update        what was seen by the time, and the words before

A token sees every token of an earlier step; visual tokens of one step see each other; words see the words before them.
A question stands outside: nothing that comes later sees it.
"""

from __future__ import annotations

from vidtok.model.words import ANSWER, BOS, EOV, SOT, SOV, Words

BEFORE_META, AFTER_META = (BOS, SOV), (SOT,)
PREFIX = len(BEFORE_META) + len(AFTER_META)
FIRST_STEP = 4  # of visual tokens after the meta token


def question_words(words: Words, text: str) -> list[int]:
    """What is said to ask something; their order goes on from PREFIX."""
    return [EOV, *words.encode(text), ANSWER]
