"""Train the model that answers: edits and questions in, answers out.

    python -m experiments.train_model --clips DIR --images DIR --labels DIR --out DIR [--steps N] [--jobs N]

Films with questions are made of painted worlds, of the built-in scene and of the clips and photographs (their labels
come from `python -m experiments.questions.labels`), heard under several policies and kept in `--out`; one in forty is
held out. Checkpoints, resumes; ends with model.safetensors, model.json, the learning curve and the accuracy by kind,
all in `--out`. Copy the first two into vidtok/weights to ship them.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import tqdm

from experiments.bench import BenchError
from experiments.model_films import Places, as_shipped, prepare
from experiments.model_lessons import THIRDS, UNNAMED, Batch, Lesson, Sentence, collate, drawn, lesson, numbered
from experiments.questions import NOTHING
from experiments.questions.heard import Heard, load
from experiments.questions.worlds import ACTS
from experiments.train_tokenizer import Both, averaging, learn, load_averaged
from vidtok.model.answerer import Answerer
from vidtok.model.brain import Brain, Size
from vidtok.model.words import Words
from vidtok.tokenizer.store import save_half

HELD_OUT = 40  # one film in so many
ROOM = 4096  # positions of a batch
MOST_TOKENS = 1700  # visual tokens of a film; longer ones are left out
ASKED = 48  # questions of a film at a time
NAMING = 1.0  # what words for visual tokens count, against answers
WAS = 0.5  # what the words for what was there before count, against those for what is there
DOES = 0.5  # what the word for what it does counts
PLACED = 1.0  # what the words for its place count
EMPTY = 0.05  # what a token counts that shows nothing in particular
SHARPENING = 5.0  # how much faster the gains of queries and keys learn: they say how sharply a layer can look
LEAST = 3  # times that a word stands in the films, to be one of the list
OTHERWISE = 0.4  # how often a film is heard as another system sends it, against ours
POOL = 96  # films that batches of like length are made of


class Lessons:
    """Films from disk, drawn without end: each batch is of films of about one length."""

    def __init__(self, files: Sequence[Path], words: Words, seed: int, room: int = ROOM) -> None:
        self._words, self._seed, self._room = words, seed, room
        pairs = [(file, load(file)) for file in tqdm(files, "films", unit="film")]
        fitting = [(1.0 if as_shipped(file) else OTHERWISE, heard) for file, heard in pairs if _fits(heard)]
        self._heard = [heard for _, heard in fitting]
        self._weights = np.array([weight for weight, _ in fitting]) / sum(weight for weight, _ in fitting)

    def __len__(self) -> int:
        return len(self._heard)

    def batches(self, first: int) -> Iterator[Batch]:
        """From the `first` pool of films on."""
        pool = first
        while True:
            rng = np.random.default_rng([self._seed, pool])
            chosen = rng.choice(len(self._heard), min(POOL, len(self._heard)), p=self._weights)
            lessons = [drawn(self._heard[k], self._words, rng, ASKED) for k in chosen]
            groups = list(grouped(sorted(lessons, key=lambda one: len(one.layout)), self._room))
            for k in rng.permutation(len(groups)):
                yield collate(groups[k])
            pool += 1


def _fits(heard: Heard) -> bool:
    return len(heard.tokens) <= MOST_TOKENS and bool(heard.questions)


def grouped(lessons: Sequence[Lesson], room: int) -> Iterator[list[Lesson]]:
    """Lessons in order of length, as many together as there is room for."""
    group: list[Lesson] = []
    for one in lessons:
        if group and len(one.layout) * (len(group) + 1) > room:
            yield group
            group = []
        group.append(one)
    yield group


class Pupil(nn.Module):
    """The brain, and what it is examined with while it learns: what a place showed before, and what happens there."""

    def __init__(self, brain: Brain) -> None:
        super().__init__()
        self.brain = brain
        self.was, self.does = (nn.Linear(brain.size.dim, brain.size.dim, bias=False) for _ in range(2))


@dataclass(frozen=True, eq=False)
class Sides:
    """The words for what nothing is shown by, and for the thirds of a frame."""

    nothing: int
    across: Tensor
    down: Tensor

    @classmethod
    def of(cls, words: Words) -> Self:
        """Their numbers."""
        nothing, *thirds = (numbered(np.array(names), words) for names in ((NOTHING,), *THIRDS))
        return cls(int(nothing[0]), *map(torch.from_numpy, thirds))


def step_loss(pupil: Pupil, batch: Batch, sides: Sides) -> tuple[Tensor, dict[str, float]]:
    """How unlikely the right answers were, and the words for what visual tokens show and showed, and where."""
    brain = pupil.brain
    answering, seeing = batch.run(brain)
    said, right = brain.says(answering), batch.right()
    answers = F.cross_entropy(said, right)
    now, was, does, across, down = batch.names().split((2, 2, 1, 1, 1), 1)
    says = brain.says(seeing)
    names = naming_loss(says, now, sides.nothing)
    names = names + WAS * naming_loss(brain.says(pupil.was(seeing)), was, sides.nothing)
    names = names + DOES * naming_loss(brain.says(pupil.does(seeing)), does, sides.nothing)
    places = placing_loss(says, across[:, 0], sides.across) + placing_loss(says, down[:, 0], sides.down)
    hit = (said.argmax(-1) == right).float().mean()
    parts = {"loss": answers.item(), "names": names.item(), "places": places.item(), "words_right": hit.item()}
    return answers + NAMING * names + PLACED * places, parts


def naming_loss(said: Tensor, named: Tensor, nothing: int) -> Tensor:
    """The words should be likely; tokens that show nothing in particular count little, the unknown not at all."""
    each = F.log_softmax(said, -1).gather(1, named.clamp(min=0))
    weight = (named != UNNAMED) * torch.where(named == nothing, EMPTY, 1.0)
    return -(each * weight).sum() / weight.sum().clamp(min=1e-6)


def placing_loss(said: Tensor, named: Tensor, words: Tensor) -> Tensor:
    """Of three words the right one should be likeliest, whatever else is said."""
    known = named != UNNAMED
    return F.cross_entropy(said[known][:, words], (named[known][:, None] == words).float().argmax(1))


def train(args: argparse.Namespace, files: Sequence[Path], words: Words) -> Brain:
    """The network after all steps."""
    torch.manual_seed(args.seed)
    brain = Brain(Size(len(words), args.dim, args.layers, 3 * args.dim))
    if args.start is not None:
        brain.load_state_dict(Answerer.load(args.start).brain.state_dict())
    lessons, pupil, sides = Lessons(files, words, args.seed), Pupil(brain), Sides.of(words)
    optimiser = both(pupil)
    batches = lessons.batches(_pools_done(args.out))
    for layer in brain.each():
        layer.compile(dynamic=True)  # twice as fast on a CPU, after two minutes

    def one(_: int) -> tuple[Tensor, dict[str, float]]:
        return step_loss(pupil, next(batches), sides)

    learn(args, args.out, pupil, optimiser, averaging(pupil), one, ("loss", "names", "places", "words_right"))
    load_averaged(pupil, args.out)
    return brain.eval()


def both(pupil: Pupil) -> Both:
    """Muon for the matrices of the layers, AdamW for tables, embeddings and norms."""
    inner = [p for p in pupil.brain.layers.parameters() if p.ndim > 1]
    known = set(map(id, inner))
    sharp = [w for layer in pupil.brain.each() for w in (layer.norm_q.weight, layer.norm_k.weight)]
    known |= set(map(id, sharp))
    outer = [p for p in pupil.parameters() if id(p) not in known]
    return Both(
        torch.optim.Muon(inner, weight_decay=0.05, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(
            [{"params": outer, "weight_decay": 0.01}, {"params": sharp, "weight_decay": 0.0, "share": SHARPENING}],
            betas=(0.9, 0.98),
        ),
    )


def _pools_done(out: Path) -> int:
    """A run that goes on begins with other films than it began with."""
    path = out / "checkpoint.pt"
    return int(torch.load(path, weights_only=True)["step"]) * 1000 if path.exists() else 0


@torch.inference_mode()
def examine(brain: Brain, files: Sequence[Path], words: Words) -> dict[str, dict[str, float]]:
    """Share of questions answered right, by source and kind; an answer counts when every word of it is the best.

    `loss` is how unlikely the right words of an answer were, on the mean.
    """
    right: dict[str, list[bool]] = defaultdict(list)
    unlikely: dict[str, list[float]] = defaultdict(list)
    chance: dict[str, list[float]] = defaultdict(list)
    for file in tqdm(files, "held out", unit="film"):
        heard = load(file)
        if not _fits(heard):
            continue
        sentences = [Sentence.of(words, question) for question in heard.questions]
        batch = collate([lesson(heard, heard.tokens, sentences, words)])
        said, wanted = brain.says(batch.run(brain)[0]), batch.right()
        of_each = [len(s.words) - s.answer for s in sentences]
        hits = (said.argmax(-1) == wanted).split(of_each)
        losses = F.cross_entropy(said, wanted, reduction="none").split(of_each)
        for question, hit, loss in zip(heard.questions, hits, losses, strict=True):
            kind = f"{file.parent.name.split('-')[0]} {question.kind}"
            right[kind].append(bool(hit.all()))
            unlikely[kind].append(float(loss.mean()))
            chance[kind].append(1 / len(question.choices))
    return {
        kind: {
            "accuracy": float(np.mean(right[kind])),
            "chance": float(np.mean(chance[kind])),
            "loss": float(np.mean(unlikely[kind])),
            "asked": len(right[kind]),
        }
        for kind in sorted(right)
    }


def parted(files: Sequence[Path]) -> tuple[list[Path], list[Path]]:
    """Those to learn from, those held out; a film is heard twice, and either learned from or held out."""
    held = [file for number, file in enumerate(files) if number // 2 % HELD_OUT == HELD_OUT - 1]
    return sorted(set(files) - set(held)), held


def vocabulary(files: Sequence[Path], out: Path, start: Path | None) -> Words:
    """The words of all questions and answers; those of a run that goes on stay as they are."""
    path = out / "words.json"
    if start is not None:
        path.write_text(json.dumps(Answerer.load(start).words.words))
    if not path.exists():
        texts = [
            text
            for file in tqdm(files, "words", unit="film")
            for q in load(file).questions
            for text in (q.text, *q.choices)
        ]
        path.write_text(json.dumps(Words.of([*texts, *LEAST * [NOTHING, *ACTS, *sum(THIRDS, ())]], LEAST).words))
    return Words(json.loads(path.read_text()))


def write(brain: Brain, words: Words, out: Path, steps: int) -> None:
    """What ships: weights in halves, and what they are."""
    save_half(brain, out / "model.safetensors")
    about = {"size": brain.size.to_map(), "words": words.words, "steps": steps}
    (out / "model.json").write_text(json.dumps(about) + "\n")


def run(argv: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=Path, required=True, help="a folder of videos")
    parser.add_argument("--images", type=Path, help="a folder of photographs")
    parser.add_argument("--labels", type=Path, required=True, help="their labels")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--start", type=Path, help="go on from the weights of that folder, with their words")
    parser.add_argument("--worlds", type=int, default=6000, help="films of painted worlds")
    parser.add_argument("--scenes", type=int, default=1500, help="films of the built-in scene")
    parser.add_argument("--reals", type=int, default=6000, help="films of clips and photographs")
    parser.add_argument("--steps", type=int, default=12000)
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--dim", type=int, default=192)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--save-every", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=2, help="processes that make films")
    args = parser.parse_args(argv)
    counts = {"world": args.worlds, "scene": args.scenes, "real": args.reals}
    files = prepare(Places(args.clips, args.images, args.labels, args.out), counts, args.jobs)
    if len(files) < 2 * HELD_OUT:
        raise BenchError(
            f"{len(files)} hearings are too few: give {HELD_OUT} films or more, one in {HELD_OUT} is held out"
        )
    kept, held = parted(files)
    words = vocabulary(kept, args.out, args.start)
    brain = train(args, kept, words)
    write(brain, words, args.out, args.steps)
    found = examine(brain, held, words)
    (args.out / "examined.json").write_text(json.dumps(found, indent=1) + "\n")
    for kind, at in found.items():
        print(f"{kind:24} {at['accuracy']:.3f} of {at['asked']:5.0f}, chance {at['chance']:.3f}")


if __name__ == "__main__":
    from experiments import bench

    bench.main(run)
