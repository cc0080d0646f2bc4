"""Another language model in our model's place reads the same lessons; only what is new in it learns."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest
import torch

from experiments import backbone, train_model
from experiments.backbone import Borrowed, by_source, pass_ms, teach, tell
from experiments.bench import BenchError
from experiments.model_lessons import THIRDS, collate, drawn
from experiments.questions import NOTHING
from experiments.questions.grounds import made_backdrops
from experiments.questions.heard import Heard, clip_of, hear
from experiments.questions.worlds import world
from experiments.systems.tokens import raw_ids
from experiments.train_model import Lessons, Pupil, Sides, examine, step_loss
from vidtok.model.brain import Brain, Size
from vidtok.model.words import CONTROLS, SPELLED, Words


def borrowed(words: Words) -> Borrowed:
    """A tiny one with random weights."""
    transformers = pytest.importorskip("transformers", reason="pip install 'vidtok[open]'")
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=50, hidden_size=64, intermediate_size=96, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1, tie_word_embeddings=True, initializer_range=0.13,
    )  # fmt: skip

    def tokenizer(text: str, add_special_tokens: bool) -> dict[str, list[int]]:
        return {"input_ids": [ord(letter) % 50 for letter in text]}

    return Borrowed(transformers.LlamaForCausalLM(config), tokenizer, words)


@pytest.fixture(name="heard", scope="module")
def _heard() -> Heard:
    film = world(3, "train", made_backdrops(2))
    return hear(film, raw_ids((10, 1), clip_of(film)))


def test_it_learns_from_the_same_lessons_and_what_is_frozen_stays(heard: Heard) -> None:
    words = Words.of([*(t for q in heard.questions for t in (q.text, q.answer)), NOTHING, *sum(THIRDS, ())], least=1)
    brain = borrowed(words)
    pupil, sides = Pupil(brain), Sides.of(words)  # type: ignore[arg-type]
    frozen = {name: p.clone() for name, p in brain.named_parameters() if not p.requires_grad}
    learned = [p for p in pupil.parameters() if p.requires_grad]
    optimiser, losses = torch.optim.AdamW(learned, 1e-2), []
    for _ in range(12):
        loss, parts = step_loss(pupil, collate([drawn(heard, words, np.random.default_rng(0), 4)]), sides)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        losses.append(parts["loss"])
    assert losses[-1] < 0.8 * losses[0]
    now = dict(brain.named_parameters())
    assert frozen
    assert all(torch.equal(now[name], before) for name, before in frozen.items())
    assert any(float(p.detach().abs().sum()) > 0 for name, p in now.items() if name.endswith("wide.weight"))


def test_a_word_goes_in_as_the_model_knows_it() -> None:
    brain = borrowed(Words(["red"]))
    number = len(CONTROLS) + len(SPELLED)
    went_in: list[torch.Tensor] = []
    brain.model.register_forward_pre_hook(
        lambda _, args, named: went_in.append(named["inputs_embeds"]), with_kwargs=True
    )
    brain(brain.words(torch.tensor([[number]])), torch.zeros(1, 1, 4), torch.ones(1, 1, 1, dtype=torch.bool))
    table = brain.model.get_input_embeddings().weight
    known = table[[ord(letter) % 50 for letter in " red"]].mean(0)
    assert torch.allclose(went_in[0][0, 0], known, atol=1e-6)
    assert torch.allclose(brain.says(torch.ones(64))[number], known.sum(), atol=1e-4)


def test_learning_ends_with_the_processor_time(heard: Heard, monkeypatch: pytest.MonkeyPatch) -> None:
    words = Words.of([*(t for q in heard.questions for t in (q.text, q.answer)), NOTHING, *sum(THIRDS, ())], least=1)
    pupil = Pupil(Brain(Size(len(words), dim=64, layers=2, hidden=96)))
    batch = collate([drawn(heard, words, np.random.default_rng(0), 4)])
    now = itertools.count(0.0, 1.0)
    monkeypatch.setattr(backbone.time, "process_time", lambda: next(now))
    monkeypatch.setattr(backbone, "PARTS", 2)
    lessons = cast(Lessons, SimpleNamespace(batches=lambda first: itertools.repeat(batch)))
    learned = teach("ours", pupil, torch.optim.AdamW(pupil.parameters()), lessons, Sides.of(words), 6.5 / 60)
    assert (learned["steps"], learned["films"]) == (6, 6)  # the clock says a second more at every look
    assert [part["steps"] for part in learned["curve"]] == [4, 6]
    assert learned["curve"][1]["loss"] < learned["curve"][0]["loss"]


def test_nothing_that_comes_later_is_seen() -> None:
    brain = borrowed(Words(["red"]))
    x, sees = torch.randn(1, 5, 64), torch.ones(5, 5, dtype=torch.bool).tril()[None]
    with torch.inference_mode():
        one, _ = brain(x, torch.zeros(1, 5, 4), sees)
        two, _ = brain(torch.cat([x[:, :4], -x[:, 4:]], 1), torch.zeros(1, 5, 4), sees)
    assert torch.allclose(one[:, :4], two[:, :4], atol=1e-5)
    assert not torch.allclose(one[:, 4], two[:, 4], atol=1e-3)


def test_a_pass_is_timed_for_both() -> None:
    assert pass_ms(borrowed(Words(["red"])), 1) > 0
    assert pass_ms(Brain(Size(60, dim=64, layers=2, hidden=96)), 1) > 0


def test_the_loss_of_one_that_prefers_no_word(heard: Heard, monkeypatch: pytest.MonkeyPatch) -> None:
    words = Words.of([t for q in heard.questions for t in (q.text, q.answer)], least=1)
    brain = Brain(Size(len(words), dim=64, layers=2, hidden=96))
    torch.nn.init.zeros_(brain.words.weight)
    monkeypatch.setattr(train_model, "load", lambda file: replace(heard, questions=heard.questions[:3]))
    monkeypatch.setattr(train_model, "MOST_TOKENS", len(heard.tokens))
    found = examine(brain, [Path("world-0001/000-0.npz")], words)
    assert sum(at["asked"] for at in found.values()) == 3
    assert all(at["loss"] == pytest.approx(math.log(len(words)), rel=1e-4) for at in found.values())


def test_the_report_tells_of_both(tmp_path: Path) -> None:
    curve = [{"passed": part, "films": int(100 * part), "loss": 2 - part} for part in (0.5, 1.0)]
    rows = [{"model": name, "minutes": 2.0, "pass_ms": ms, "curve": curve} for name, ms in (("ours", 3.0), ("B", 94.0))]
    tell(tmp_path, rows)
    assert "| pass_ms | 3 | 94 |" in (tmp_path / "report.md").read_text()
    assert (tmp_path / "backbone.png").stat().st_size > 1000


def test_kinds_are_put_together_by_source() -> None:
    found = by_source(
        {
            "world where": {"accuracy": 0.5, "chance": 0.1, "loss": 2.0, "asked": 30},
            "world count": {"accuracy": 1.0, "chance": 0.2, "loss": 1.0, "asked": 10},
        }
    )
    assert found == {"world_accuracy": 0.625, "world_chance": 0.125, "world_loss": 1.75, "world_asked": 40}


def test_too_few_films_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match="the --out of train_model"):
        backbone.run(["--films", str(tmp_path), "--out", str(tmp_path / "out")])
