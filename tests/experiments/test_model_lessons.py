"""Lessons of the model: what it hears of a film, and that training reads a sequence as serving does."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from experiments import train_model
from experiments.bench import BenchError, Rows
from experiments.model_lessons import (
    CONTROL,
    THIRDS,
    UNNAMED,
    Layout,
    Sentence,
    collate,
    drawn,
    lay_out,
    lesson,
    names_of,
    numbered,
    places,
    sees,
)
from experiments.question_answering import KEY, Job, accuracy, answers, asked, between, draw_weak, film_rows, summarise
from experiments.question_films import Pick
from experiments.questions import NOTHING, Film, Question
from experiments.questions.grounds import made_backdrops
from experiments.questions.heard import Heard, clip_of, hear, load, save
from experiments.questions.worlds import world
from experiments.systems.tokens import raw_ids
from tests.vidtok.test_answerer import answerer
from vidtok.model.answerer import Answerer
from vidtok.model.brain import Brain, Size
from vidtok.model.memory import read, said
from vidtok.model.sequence import PREFIX
from vidtok.model.stream import GLOBAL, Mark, Tokens
from vidtok.model.words import Words


def question(text: str, answer: str, at_s: float, since_s: float = 0.0, until_s: float | None = None) -> Question:
    """Of two answers."""
    return Question("kind", text, answer, at_s, (answer, "another"), since_s, at_s if until_s is None else until_s)


ASKED = (
    question("what is it?", "a red ball", 0.35),
    question("is it a ball?", "red", 1.2),
    question("is it red?", "a ball", 1.0),
)


@pytest.fixture(name="film", scope="module")
def _film() -> Film:
    return replace(world(3, "train", made_backdrops(2)), count=13, questions=ASKED)


@pytest.fixture(name="heard", scope="module")
def _heard(film: Film) -> Heard:
    clip = replace(clip_of(film), frames=lambda: (frame for frame, _ in zip(film, range(13), strict=False)))
    return hear(film, raw_ids((2, 1), clip))


def streamed(model: Answerer, heard: Heard, asking: Question) -> torch.Tensor:
    """What serving makes of the positions before the answer's words, the right ones being said."""
    watch = model.listen(heard.tokens.chosen(heard.step == 0))
    for step in range(1, int(heard.step[-1]) + 1):
        tokens = heard.tokens.chosen(heard.step == step)
        if tokens.time_s[0] <= asking.at_s:
            model.think([(watch, tokens)])
    sentence = Sentence.of(model.words, asking)
    new = said(model.brain, watch.kept, sentence.words, PREFIX, asking.at_s)
    return read(model.brain, [watch.kept], [new])[0].made[sentence.answer - 1 : -1]


def test_training_reads_a_sequence_as_serving_does(heard: Heard) -> None:
    """The same numbers, whether all at once with a mask or piece by piece with a memory; padding changes nothing."""
    model = answerer()
    sentences = [Sentence.of(model.words, each) for each in heard.questions]
    first = heard.step < 2
    begun = replace(heard, tokens=heard.tokens.chosen(first), step=heard.step[first], named=heard.named[first])
    whole = lesson(heard, heard.tokens, sentences, model.words)
    short = lesson(begun, begun.tokens, sentences[:1], model.words)
    batch = collate([whole, short])
    with torch.inference_mode():
        made, _ = batch.run(model.brain)
    expected = torch.cat(
        [*(streamed(model, heard, each) for each in heard.questions), streamed(model, heard, ASKED[0])]
    )
    assert torch.allclose(made, expected, atol=1e-5)
    said_words = [word for s in [*sentences, sentences[0]] for word in s.words[s.answer :]]
    assert batch.right().tolist() == said_words


def test_a_stream_that_began_earlier_is_read_alike(heard: Heard) -> None:
    model, rng = answerer(), np.random.default_rng(0)
    for _ in range(8):
        one = drawn(heard, model.words, rng, 1)
        if one.tokens.time_s[0] < 0:
            break
    else:
        pytest.fail("none of eight began earlier")
    asking = next(q for q in heard.questions if q.at_s == one.layout.at[one.layout.answer][0, 0].round(3).astype(float))
    with torch.inference_mode():
        made, _ = collate([one]).run(model.brain)
    assert torch.allclose(made, streamed(model, replace(heard, tokens=one.tokens), asking), atol=1e-4)


def test_nobody_sees_what_comes_later_or_another_question(heard: Heard) -> None:
    words = Words.of(["what is it a red ball"], least=1)
    layout: Layout = lay_out(heard.tokens, heard.step, [Sentence.of(words, each) for each in heard.questions])
    mask, time_s = sees(layout), layout.at[:, 0]
    assert not (mask & (time_s[None] > time_s[:, None] + 1e-6)).any()
    group = layout.step >> 20
    assert not (mask & (group[None] > 0) & (group[None] != group[:, None])).any()
    assert mask.diagonal().all()
    visual = layout.visual != CONTROL
    before = (layout.at[None, :, 0] <= layout.at[:, None, 0]) & visual[None] & (group[:, None] > 0)
    assert (mask[before]).all()


def test_what_is_heard_can_be_kept(heard: Heard, tmp_path: Path) -> None:
    save(heard, tmp_path / "film.npz")
    again = load(tmp_path / "film.npz")
    for each in fields(Tokens):
        assert np.array_equal(getattr(again.tokens, each.name), getattr(heard.tokens, each.name)), each.name
    assert (again.step == heard.step).all()
    assert again.questions == heard.questions
    assert (again.name, again.seconds, again.paid, again.bytes) == (heard.name, heard.seconds, heard.paid, heard.bytes)


def test_tokens_are_named_after_what_covers_their_cell(film: Film, heard: Heard) -> None:
    assert film.named is not None
    cells = heard.tokens.row != GLOBAL
    assert (heard.named[~cells] == "").all()
    for k in np.flatnonzero(cells):
        left, top = 32 * heard.tokens.col[k], 32 * heard.tokens.row[k]
        inside = {
            words
            for (x0, y0, x1, y1), words in film.named(float(heard.tokens.time_s[k]))
            if x0 < left + 32 and x1 > left and y0 < top + 32 and y1 > top
        }
        assert tuple(heard.named[k]) in inside | {(NOTHING, NOTHING, NOTHING)}
    assert len(set(heard.named[cells][:, 0])) > 1
    words = Words.of(["nothing red"], least=1)
    numbers = numbered(np.array([["nothing", "nothing"], ["red", "zebra"], ["", ""]]), words)
    assert numbers.tolist() == [[words.number("nothing")] * 2, [words.number("red"), UNNAMED], [UNNAMED, UNNAMED]]


def test_a_token_is_also_named_after_what_its_place_showed(heard: Heard) -> None:
    named = names_of(heard.named, heard.tokens)
    assert (named[:, [0, 1, 4]] == heard.named).all()
    shown = {}
    for k, (row, col) in enumerate(zip(heard.tokens.row.tolist(), heard.tokens.col.tolist(), strict=True)):
        first = "" if row == GLOBAL else NOTHING
        assert tuple(named[k, 2:4]) == shown.get((row, col), (first, first))
        shown[row, col] = tuple(heard.named[k, :2])
    assert set(named[:, 2].tolist()) > {"", NOTHING}


def test_places_are_told_in_thirds_of_the_frame(heard: Heard) -> None:
    told = places(heard.tokens)
    cells = heard.tokens.row != GLOBAL
    across, down = heard.tokens.col[cells] * 32 + 16, heard.tokens.row[cells] * 32 + 16
    for axis, at, names in ((0, across, ("left", "middle", "right")), (1, down, ("top", "middle", "bottom"))):
        assert [names[int(3 * pixel / 256)] for pixel in at] == told[cells][:, axis].tolist()
    assert (told[~cells] == "").all()


def test_nothing_heard_is_the_beginning_alone(film: Film) -> None:
    heard = hear(film, iter(()))
    assert heard.tokens.mark.tolist() == [Mark.META]
    assert len(answers(answerer(), heard)) == len(ASKED)


def test_questions_are_asked_in_time_and_answered_in_their_order(heard: Heard) -> None:
    model = answerer()
    said_all = answers(model, heard)
    for each, text in zip(heard.questions, said_all, strict=True):
        watch = model.listen(heard.tokens.chosen(heard.step == 0))
        for step in range(1, int(heard.step[-1]) + 1):
            tokens = heard.tokens.chosen(heard.step == step)
            if tokens.time_s[0] <= each.at_s:
                model.think([(watch, tokens)])
        assert asked(model, watch, each) == text


def test_between_two_samples() -> None:
    assert between(question("?", "a", 5.0, 2.1, 2.9))
    assert not between(question("?", "a", 5.0, 2.9, 3.1))
    assert not between(question("?", "a", 5.0, 3.0, 3.4))
    assert not between(question("?", "a", 5.0, 2.1, 4.9))


def row(clip: str, right: int, asked_: int, system: str = "vidtok", part: str = "real", within: bool = False) -> dict:
    """A row of results."""
    return {
        "system": system, "setting": "s", "part": part, "number": 0, "clip": clip, "kind": "colour", "between": within,
        "seconds": 8.0, "tokens_per_s": 10.0, "kbps": 5.0, "asked": asked_, "right": right, "right_served": right,
        "guessed": asked_ / 2,
    }  # fmt: skip


def test_accuracy_is_over_questions_and_its_interval_over_films() -> None:
    found = accuracy([row("a", 4, 4), row("b", 1, 4), row("c", 2, 2)])
    assert found["accuracy"] == 0.7
    assert found["chance"] == 0.5
    assert found["accuracy_low"] < 0.7 < found["accuracy_high"]
    assert accuracy([row("a", 3, 4)])["accuracy_low"] == 0.75


def test_the_summary_tells_of_all_and_of_each_kind() -> None:
    found = summarise([row("a", 2, 4), row("b", 4, 4, within=True), row("a", 0, 4, system="text-only")])
    kinds = {(at["system"], at["kind"]): at["accuracy"] for at in found}
    assert kinds["vidtok", "all"] == 0.75
    assert kinds["vidtok", "between"] == 1.0
    assert kinds["vidtok", "real: colour"] == 0.75
    assert kinds["vidtok", "all, as served"] == 0.75
    assert kinds["text-only", "all"] == 0.0
    assert json.loads(json.dumps(found)) == found


def test_rows_that_were_kept_are_taken_up_again_and_of_another_model_refused(heard: Heard, tmp_path: Path) -> None:
    job = Job("vidtok", "price 2", Pick("planted", 0, 0, 6))
    said_all = [q.answer for q in heard.questions]
    Rows(tmp_path, KEY, {"model": "of this build"}).add(found := film_rows(job, heard, said_all, said_all))
    assert sum(each["right"] for each in found) == len(ASKED)
    assert Rows(tmp_path, KEY, {"model": "of this build"}).all() == [
        each | {"model": "of this build"} for each in found
    ]
    with pytest.raises(BenchError, match="another --out"):
        Rows(tmp_path, KEY, {"model": "of another"})


def test_the_summary_tells_of_what_is_hard(tmp_path: Path) -> None:
    """Counting, and what moved so fast that it was over between two samples."""
    rows = [
        row("a", 1, 4) | {"kind": "count"},
        row("b", 3, 4, within=True) | {"kind": "moved"},
        row("c", 4, 4) | {"kind": "moved"},
    ]
    summary = summarise(rows)
    found = {at["kind"]: at["accuracy"] for at in summary}
    assert (found["counting"], found["fast motion"]) == (0.25, 0.75)
    assert "left and right" not in found
    draw_weak(tmp_path, [each | {"setting": "price 2"} for each in summary])
    assert (tmp_path / "weak.png").stat().st_size > 1000


def test_the_list_of_words_holds_the_one_for_nothing(heard: Heard, tmp_path: Path) -> None:
    """Films may never say it, lessons always do."""
    save(heard, tmp_path / "film.npz")
    words = train_model.vocabulary([tmp_path / "film.npz"], tmp_path, None)
    assert words.number(NOTHING) is not None
    assert train_model.vocabulary([], tmp_path, None).words == words.words


@pytest.mark.slow
def test_the_model_learns_what_a_film_tells_and_can_be_shipped(heard: Heard, tmp_path: Path) -> None:
    """Three answers by heart: the loss falls, the weights are written, loaded and give the answers."""
    texts = [text for q in heard.questions for text in (q.text, q.answer)]
    words = Words.of([*texts, NOTHING, *sum(THIRDS, ())], least=1)
    torch.manual_seed(0)
    brain = Brain(Size(len(words), dim=64, layers=2, hidden=96, cell_hidden=48))
    pupil, sides = train_model.Pupil(brain), train_model.Sides.of(words)
    optimiser = train_model.both(pupil)
    for group in optimiser.param_groups:
        group["lr"] = 3e-3
    rng = np.random.default_rng(0)
    losses = []
    for _ in range(120):
        loss, parts = train_model.step_loss(pupil, collate([drawn(heard, words, rng, 3)]), sides)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        losses.append(parts["loss"])
    assert losses[-1] < 0.1 * losses[0]
    again = train_model.both(pupil)
    again.load_state_dict(optimiser.state_dict())
    assert [len(each["state"]) for each in again.state_dict()["each"]] == [
        len(each["state"]) for each in optimiser.state_dict()["each"]
    ]
    train_model.write(brain, words, tmp_path, 60)
    shipped = Answerer.load(tmp_path)
    assert answers(shipped, heard) == [q.answer for q in heard.questions]
    assert shipped.words.words == words.words
