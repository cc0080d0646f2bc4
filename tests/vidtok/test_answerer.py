"""The model that watches: what it reads, keeps and answers. Weights are random here; what they have learned is not."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.vidtok.fakes import generators
from tests.vidtok.test_stream import GRID, drawn
from vidtok.canvas import Canvas, Grid, blank
from vidtok.edits import Pan
from vidtok.model.answerer import MOST_TOKENS, MOST_WAITING, Answer, Answerer, Watch, looked_at
from vidtok.model.brain import FAR_S, Brain, Size
from vidtok.model.memory import WINDOW_S, WORD, Kept, forget, read, said
from vidtok.model.stream import begin, tell
from vidtok.model.words import Words

WORDS = Words(["what", "is", "it", "red", "ball", "?", "a"])


def answerer(history: int = 512) -> Answerer:
    """A small one that has learned nothing."""
    torch.manual_seed(0)
    return Answerer(Brain(Size(len(WORDS), dim=64, layers=2, hidden=96, cell_hidden=48)), WORDS, history)


@pytest.fixture(name="model", scope="module")
def _model() -> Answerer:
    return answerer()


def film(rng: np.random.Generator, count: int, share: float = 0.3) -> Iterator[Canvas]:
    """Canvases of a stream, each with some cells anew."""
    canvas = blank(GRID)
    for k in range(count):
        canvas = drawn(rng, canvas, share, gist=int(rng.integers(0, 4)) if k else 5)
        yield canvas


def watched(model: Answerer, canvases: list[Canvas], times: list[float]) -> Watch:
    """A stream that was read to its end, canvas by canvas."""
    watch = model.watch(canvases[0], 10.0)
    for canvas, time_s in zip(canvases, times, strict=True):
        model.show(watch, canvas, time_s)
        model.catch_up([watch])
    return watch


def answer_of(model: Answerer, watch: Watch, now_s: float | None = None) -> Answer:
    """The whole answer."""
    *_, answer = model.ask(watch, "What is it?", now_s)
    assert isinstance(answer, Answer)
    return answer


def close(a: Kept, b: Kept) -> bool:
    """Whether both remember the same."""
    plain = all(np.array_equal(getattr(a, name), getattr(b, name)) for name in ("time_s", "order", "cell", "eye"))
    return plain and torch.allclose(a.keys, b.keys, atol=1e-5) and torch.allclose(a.values, b.values, atol=1e-5)


def test_a_question_leaves_no_trace(model: Answerer) -> None:
    watch = watched(model, list(film(np.random.default_rng(0), 3)), [0.0, 0.5, 2.0])
    before = watch.kept
    first = answer_of(model, watch)
    assert watch.kept is before
    assert answer_of(model, watch) == first or np.array_equal(answer_of(model, watch).looked, first.looked)


def test_words_come_one_by_one_and_make_the_answer(model: Answerer) -> None:
    watch = watched(model, list(film(np.random.default_rng(1), 2)), [0.0, 1.0])
    *words, answer = model.ask(watch, "what is it?")
    assert isinstance(answer, Answer)
    assert "".join(map(str, words)) == answer.text
    assert 0 <= answer.sure <= 1


def test_streams_read_together_are_read_as_each_alone(model: Answerer) -> None:
    rngs = [np.random.default_rng(k) for k in range(3)]
    films = [list(film(rng, 3)) for rng in rngs]
    alone = [watched(model, canvases, [0.0, 0.4, 1.0]) for canvases in films]
    together = [model.watch(canvases[0], 10.0) for canvases in films]
    for watch, canvases in zip(together, films, strict=True):
        for canvas, time_s in zip(canvases, (0.0, 0.4, 1.0), strict=True):
            model.show(watch, canvas, time_s)
    model.catch_up(together)
    assert all(close(a.kept, b.kept) for a, b in zip(alone, together, strict=True))


def test_a_question_beside_other_streams_is_answered_as_alone(model: Answerer) -> None:
    canvases = list(film(np.random.default_rng(4), 4))
    watch, other = watched(model, canvases[:3], [0.0, 0.4, 1.0]), watched(model, canvases[:1], [0.0])
    alone = answer_of(model, watch)
    asking, words = model.begin(watch, "What is it?"), []
    model.show(other, canvases[1], 0.5)
    model.show(other, canvases[2], 0.6)
    while True:
        (word,) = model.think(model.take([other]), [asking])
        if isinstance(word, Answer):
            break
        words.append(word)
    assert "".join(words) == word.text == alone.text
    assert np.allclose(word.looked, alone.looked, atol=1e-5)


@given(st.floats(0, 1e7), generators)
@settings(deadline=None, max_examples=10)
def test_only_times_between_things_count_not_how_long_the_stream_has_gone_on(
    later: float, rng: np.random.Generator
) -> None:
    """A stream of four months answers as one of a second does."""
    model, canvases = answerer(), list(film(rng, 3))
    times = [0.0, 0.5, 1.25]
    soon = watched(model, canvases, times)
    late = model.listen(begin(canvases[0], 10.0, later)[1])
    late.told = begin(canvases[0], 10.0, later)[0]
    for canvas, time_s in zip(canvases, times, strict=True):
        model.show(late, canvas, later + time_s)
        model.catch_up([late])
    assert torch.allclose(soon.kept.values, late.kept.values, atol=1e-4)
    assert np.allclose(answer_of(model, soon).looked, answer_of(model, late).looked, atol=1e-4)


def test_what_is_older_than_far_counts_as_far(model: Answerer) -> None:
    watch = watched(model, list(film(np.random.default_rng(5), 2)), [0.0, 0.1])
    one, other = (answer_of(model, watch, now_s) for now_s in (FAR_S + 1, FAR_S + 1e6))
    assert one.text == other.text
    assert np.allclose(one.looked, other.looked, atol=1e-5)


def test_what_comes_later_does_not_change_what_was_made_of_the_past(model: Answerer) -> None:
    canvases = list(film(np.random.default_rng(6), 4))
    early = watched(model, canvases[:2], [0.0, 1.0])
    whole = watched(model, canvases, [0.0, 1.0, 2.0, 3.0])
    assert torch.allclose(whole.kept.values[:, :, : len(early.kept)], early.kept.values, atol=1e-5)


@given(generators, st.integers(0, 30))
@settings(deadline=None, max_examples=10)
def test_memory_is_bounded_and_holds_the_newest_of_every_place(rng: np.random.Generator, history: int) -> None:
    """Law 8."""
    model = answerer(history)
    canvases = list(film(rng, 12))
    watch = watched(model, canvases, [float(k) for k in range(12)])
    places = GRID.rows * GRID.cols
    # Prefix; meta, pan and gist; cells; what they superseded, and half as many that are not looked for yet.
    assert len(watch.kept) <= 3 + 3 + places + history + history // 2
    told, _ = begin(canvases[0], 10.0)
    newest: dict[tuple[int, int], float] = {}
    for k, canvas in enumerate(canvases):
        told, tokens = tell(told, canvas, float(k))
        newest |= {(int(row), int(col)): float(k) for row, col in zip(tokens.row, tokens.col, strict=True)}
    kept = {(int(row), int(col)): time for (row, col), time in zip(watch.kept.cell, watch.kept.time_s, strict=True)}
    assert all(kept[place] == time_s for place, time_s in newest.items())


def test_a_camera_that_travels_leaves_no_more_behind_than_the_history() -> None:
    """Law 8 where places go out of sight."""
    model, rng = answerer(4), np.random.default_rng(2)
    canvas = drawn(rng, blank(GRID), 1.0)
    watch = model.watch(canvas, 10.0)
    sizes = []
    for k in range(12):
        model.show(watch, canvas, float(k))
        model.catch_up([watch])
        sizes.append(len(watch.kept))
        canvas = drawn(rng, canvas, 1.0, pan=Pan(200, 0))
    assert max(sizes) <= 3 + 3 + GRID.rows * GRID.cols + 4 + 2


def test_a_memory_does_not_change_when_others_go_on_from_it(model: Answerer) -> None:
    """Two streams with one past, and a question in between: each reads as if it were alone."""
    watch = watched(model, list(film(np.random.default_rng(12), 2)), [0.0, 1.0])
    past, text = watch.kept, "what is it a red ball"
    branches = [text, "red red red"]
    alone = [
        read(model.brain, [past.apart(9)], [said(model.brain, past, WORDS.encode(each), 3, 2.0)]) for each in branches
    ]
    shared = [read(model.brain, [past], [said(model.brain, past, WORDS.encode(each), 3, 2.0)]) for each in branches]
    for one, other in zip(alone, shared, strict=True):
        assert close(one[0].kept, other[0].kept)
        assert torch.allclose(one[0].made, other[0].made, atol=1e-5)


def test_a_stream_that_was_still_for_long_reads_on_as_if_all_were_far(model: Answerer) -> None:
    canvases = list(film(np.random.default_rng(13), 3))
    one, other = (watched(model, canvases, [0.0, 0.1, still_s]) for still_s in (2 * FAR_S, 1e6))
    assert torch.allclose(one.kept.values, other.kept.values, atol=1e-4)
    assert torch.allclose(one.kept.keys[:, :, :3].norm(dim=-1), other.kept.keys[:, :, :3].norm(dim=-1), atol=1e-4)


def test_forgetting_nothing_changes_nothing(model: Answerer) -> None:
    watch = watched(model, list(film(np.random.default_rng(8), 3)), [0.0, 1.0, 2.0])
    assert forget(watch.kept, 512) is watch.kept
    less = forget(watch.kept, 0)
    assert len(less) < len(watch.kept)
    assert close(forget(less, 0), less)


def test_what_was_superseded_long_ago_is_forgotten_and_what_still_stands_is_not(model: Answerer) -> None:
    """A scene that changes after hours is not answered about from what was there before it."""
    canvases = list(film(np.random.default_rng(14), 4))
    watch = watched(model, canvases, [0.0, 1.0, 2.0, WINDOW_S])
    assert (watch.kept.cell[:, 0] != WORD).sum() == 1 + watch.tokens  # META, and all within the window
    late = watched(model, canvases, [0.0, 1.0, 2.0, 2 * WINDOW_S])
    assert len(late.kept) < len(watch.kept)
    newest = {tuple(cell): at for cell, at in zip(watch.kept.cell.tolist(), watch.kept.time_s.tolist(), strict=True)}
    assert {tuple(cell) for cell in late.kept.cell.tolist()} == set(newest)
    stands = {cell for cell, at in newest.items() if at < WINDOW_S}
    assert stands <= {tuple(cell) for cell in late.kept.cell[late.kept.time_s < WINDOW_S].tolist()}


def test_a_large_update_is_read_in_pieces_so_that_nobody_waits(model: Answerer) -> None:
    grid = Grid(640, 480)
    rng = np.random.default_rng(9)
    canvas = drawn(rng, blank(grid), 1.0)
    watch = model.watch(canvas, 10.0)
    model.show(watch, canvas, 0.0)
    sizes = []
    while told := model.take([watch]):
        sizes.append(len(told[0][1]))
        model.think(told)
    assert sum(sizes) == watch.tokens == 300
    assert max(sizes) <= MOST_TOKENS


def test_what_cannot_be_read_in_time_gives_way_to_what_is_newer(model: Answerer) -> None:
    canvases = list(film(np.random.default_rng(10), MOST_WAITING + 3))
    watch = model.watch(canvases[0], 10.0)
    room = [model.show(watch, canvas, float(k)) for k, canvas in enumerate(canvases)]
    assert room == [True] * MOST_WAITING + [False] * 3
    assert watch.waiting[-1].canvas is canvases[-1]
    model.catch_up([watch])
    assert watch.told is not None
    assert watch.told.canvas is canvases[-1]


def test_where_an_answer_looked_is_told_in_places_of_the_canvas(model: Answerer) -> None:
    watch = watched(model, list(film(np.random.default_rng(11), 2, share=1.0)), [0.0, 1.0])
    answer = answer_of(model, watch)
    assert watch.told is not None
    canvas = watch.told.canvas
    places = looked_at(answer, canvas)
    assert places.shape == (GRID.rows, GRID.cols)
    assert 0 < places.sum() <= answer.looked.sum() + 1e-5 <= 1 + 1e-4
    assert not places[~canvas.visible()].any()


def test_words_before_any_picture_are_no_error(model: Answerer) -> None:
    assert isinstance(answer_of(model, model.watch(blank(GRID), 10.0)), Answer)


def test_reading_in_pieces_is_reading_at_once_for_words(model: Answerer) -> None:
    """Law 7: words see only those before them, so pieces make no difference."""
    brain, watch = model.brain, model.watch(blank(GRID), 10.0)
    words = WORDS.encode("what is it a red ball")
    whole = read(brain, [watch.kept], [said(brain, watch.kept, words, 3, 1.0)])[0]
    kept, made = watch.kept, []
    for k, word in enumerate(words):
        found = read(brain, [kept], [said(brain, kept, [word], 3 + k, 1.0)])[0]
        kept, made = found.kept, [*made, found.made]
    assert torch.allclose(torch.cat(made), whole.made, atol=1e-5)
    assert close(kept, whole.kept)
