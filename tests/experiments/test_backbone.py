"""Another language model in our model's place reads the same lessons; only what is new in it learns."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from experiments import backbone
from experiments.backbone import Borrowed, by_source, pass_ms
from experiments.bench import BenchError
from experiments.model_lessons import THIRDS, collate, drawn
from experiments.questions import NOTHING
from experiments.questions.grounds import made_backdrops
from experiments.questions.heard import Heard, clip_of, hear
from experiments.questions.worlds import world
from experiments.systems.tokens import raw_ids
from experiments.train_model import Pupil, Sides, step_loss
from vidtok.model.brain import Brain, Size
from vidtok.model.words import Words


def borrowed(words: Words) -> Borrowed:
    """A tiny one with random weights."""
    transformers = pytest.importorskip("transformers", reason="pip install 'vidtok[open]'")
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=50, hidden_size=64, intermediate_size=96, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1, tie_word_embeddings=True,
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
    optimiser, losses = torch.optim.AdamW(learned, 3e-3), []
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


def test_kinds_are_put_together_by_source() -> None:
    found = by_source(
        {
            "world where": {"accuracy": 0.5, "chance": 0.1, "asked": 30},
            "world count": {"accuracy": 1.0, "chance": 0.2, "asked": 10},
        }
    )
    assert found == {"world_accuracy": 0.625, "world_chance": 0.125, "world_asked": 40}


def test_too_few_films_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match="the --out of train_model"):
        backbone.run(["--films", str(tmp_path), "--out", str(tmp_path / "out")])
