"""Does the model answer right? The same model and the same questions for every way of sending.

    python -m experiments.question_answering --clips DIR --out DIR [--quick] [--model DIR]

Films: windows of the clips and cuts between them, with questions about what a camera saw (`real`, labelled by
pretrained networks that look at every true frame); things painted into the clips (`planted`); the built-in scene
(`scene`). Phrasings are none that the model was taught. Every system sends every film, the model hears what arrives and
is asked at the moment that the question names. `between` counts the questions about what began and ended between two
whole seconds, which a picture a second cannot show. `text-only` hears nothing: what can be guessed.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from experiments import bench, plots
from experiments.bench import Row
from experiments.question_films import PARTS, Pick, films_of, pick_films
from experiments.questions import Film, Question
from experiments.questions.heard import Heard, clip_of, hear
from experiments.systems import System, all_systems
from vidtok.model.answerer import Answer, Answerer, Watch
from vidtok.tokenizer.edge import WEIGHTS

SYSTEMS = (
    ("vidtok", "price 2"),
    ("vidtok", "price 12"),
    ("vidtok-dense", "5 levels"),
    ("raw-ids", "1 fps, 4 levels"),
    ("raw-ids", "5 fps, 2 levels"),
    ("dtd", "0.5"),
    ("rlt", "0.2"),
)
TEXT_ONLY = ("text-only", "nothing")
QUICK = (("vidtok", "price 2"), ("vidtok-dense", "5 levels"), ("raw-ids", "1 fps, 4 levels"))
# What is hard for a model that sees by tokens: kinds of questions, and whether only of what was soon over.
WEAK = {
    "writing": ({"text", "page"}, False),
    "counting": ({"count", "faces"}, False),
    "left and right": ({"where", "direction", "way", "motion_where", "face_where", "hand_where"}, False),
    "fast motion": ({"brief", "moved", "direction", "face_moved"}, True),
}
NO_END = 1 << 30  # of history: every way of sending keeps all that it sent, whatever that costs; ours also as served
DRAWS = 1000
KEY = ("system", "setting", "part", "number", "clip", "kind", "between")
COLUMNS = ("tokens_per_s", "kbps", "accuracy", "accuracy_low", "accuracy_high", "asked", "chance")


@dataclass(frozen=True)
class Job:
    """Some films under one way of sending."""

    system: str
    setting: str
    pick: Pick


# In a worker


class _Bench:
    def __init__(self, model: Path, clips: Path, labels: Path) -> None:
        self.answerer = Answerer.load(model, history=NO_END)
        self.served = Answerer.load(model)
        self.systems = all_systems()
        self.clips, self.labels = clips, labels


_bench: _Bench | None = None


def start(model: Path, clips: Path, labels: Path) -> None:
    """Load what every job of this worker needs."""
    global _bench
    _bench = _Bench(model, clips, labels)


@lru_cache(maxsize=2)
def _films(pick: Pick) -> tuple[Film, ...]:
    assert _bench is not None
    return tuple(films_of(pick, _bench.clips, _bench.labels))


def work(job: Job) -> list[Row]:
    """The rows of some films: one a kind of question and film."""
    assert _bench is not None
    rows = []
    for film in _films(job.pick):
        with bench.naming(job.system, job.setting, film.name):
            heard = heard_by(_bench.systems.get(job.system), job.setting, film)
            said = answers(_bench.answerer, heard)
            served = answers(_bench.served, heard) if job.system == "vidtok" else said
            rows += film_rows(job, heard, said, served)
    return rows


def heard_by(system: System | None, setting: str, film: Film) -> Heard:
    """What comes of a film; nothing but the beginning where there is no system."""
    if system is None:
        return hear(film, iter(()))
    return hear(film, system.run(system.settings[setting], clip_of(film)))


def answers(answerer: Answerer, heard: Heard) -> list[str]:
    """What the model answers to each question, each asked when only what had come by then was read."""
    watch = answerer.listen(heard.tokens.chosen(heard.step == 0))
    order = sorted(range(len(heard.questions)), key=lambda k: heard.questions[k].at_s)
    out = [""] * len(order)
    read = 1
    for k in order:
        question = heard.questions[k]
        while read <= heard.step[-1] and heard.tokens.time_s[heard.step == read][0] <= question.at_s + 1e-6:
            answerer.think([(watch, heard.tokens.chosen(heard.step == read))])
            read += 1
        out[k] = asked(answerer, watch, question)
    return out


def asked(answerer: Answerer, watch: Watch, question: Question) -> str:
    """The whole answer."""
    *_, answer = answerer.ask(watch, question.text, question.at_s)
    assert isinstance(answer, Answer)
    return answer.text


def film_rows(job: Job, heard: Heard, said: Sequence[str], served: Sequence[str]) -> list[Row]:
    """A row for each kind of question in the film."""
    kinds: dict[tuple[str, bool], list[int]] = {}
    for k, question in enumerate(heard.questions):
        kinds.setdefault((question.kind, between(question)), []).append(k)
    size = None if heard.bytes is None else round(heard.bytes * 8 / heard.seconds / 1000, 6)
    return [
        {
            "system": job.system,
            "setting": job.setting,
            "part": job.pick.part,
            "number": job.pick.number,
            "clip": heard.name,
            "kind": kind,
            "between": within,
            "seconds": heard.seconds,
            "tokens_per_s": round(heard.paid / heard.seconds, 6),
            "kbps": size,
            "asked": len(which),
            "right": sum(said[k] == heard.questions[k].answer for k in which),
            "right_served": sum(served[k] == heard.questions[k].answer for k in which),
            "guessed": round(sum(1 / len(heard.questions[k].choices) for k in which), 6),
        }
        for (kind, within), which in kinds.items()
    ]


def between(question: Question) -> bool:
    """Whether what one must have seen began and ended between two whole seconds."""
    first, last = question.since_s, question.until_s
    return last - first < 1 and math.ceil(first - 1e-9) > last + 1e-9


# What is said of it


def accuracy(rows: Sequence[Row], right: str = "right") -> Row:
    """Share of the questions answered right, with a 95% interval over films drawn with replacement."""
    names = sorted({row["clip"] for row in rows})
    number = {name: k for k, name in enumerate(names)}
    counts: NDArray[np.float64] = np.zeros((len(names), 3))
    for row in rows:
        counts[number[row["clip"]]] += row[right], row["asked"], row["guessed"]
    rng = np.random.default_rng(0)
    drawn = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), size=DRAWS) @ counts
    shares = drawn[:, 0] / np.maximum(drawn[:, 1], 1)
    low, high = np.percentile(shares, (2.5, 97.5))
    total = counts.sum(0)
    return {
        "accuracy": round(float(total[0] / total[1]), 4),
        "accuracy_low": round(float(low), 4),
        "accuracy_high": round(float(high), 4),
        "asked": int(total[1]),
        "chance": round(float(total[2] / total[1]), 4),
    }


def summarise(rows: Sequence[Row]) -> list[Row]:
    """A row for each way of sending and each kind, part and group of questions; `all` first."""
    out = []
    ways = list(dict.fromkeys((row["system"], row["setting"]) for row in rows))
    for system, setting in ways:
        mine = [row for row in rows if (row["system"], row["setting"]) == (system, setting)]
        films = {row["clip"]: row for row in mine}.values()
        seconds = sum(row["seconds"] for row in films)
        rates: Row = {"tokens_per_s": round(sum(row["tokens_per_s"] * row["seconds"] for row in films) / seconds, 3)}
        known = all(row["kbps"] is not None for row in films)
        rates["kbps"] = round(sum(row["kbps"] * row["seconds"] for row in films) / seconds, 3) if known else None
        for kind, some in groups(mine).items():
            if some:
                out.append({"system": system, "setting": setting, "kind": kind, **rates, **accuracy(some)})
        if system == "vidtok":
            served = accuracy(mine, "right_served")
            out.append({"system": system, "setting": setting, "kind": "all, as served", **rates, **served})
    return out


def groups(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """The rows as a whole, by part, of what happened between two samples, of what is hard, and by part and kind."""
    out = {"all": list(rows), "between": [row for row in rows if row["between"]]}
    for name, (kinds, fast) in WEAK.items():
        out[name] = [row for row in rows if row["kind"] in kinds and (row["between"] or not fast)]
    for part in PARTS:
        out[part] = [row for row in rows if row["part"] == part]
    for row in rows:
        out.setdefault(f"{row['part']}: {row['kind']}", []).append(row)
    return out


def draw(out: Path, summary: Sequence[Row]) -> None:
    """accuracy.png: accuracy over tokens a second; all questions, and those between two samples."""
    plt = plots.pyplot()
    figure, axes = plt.subplots(1, 2, figsize=(10, 4.2), layout="constrained", sharey=True)
    for axis, kind in zip(axes, ("all", "between"), strict=True):
        mine = [row for row in summary if row["kind"] == kind]
        for system in dict.fromkeys(row["system"] for row in mine):
            points = sorted((max(r["tokens_per_s"], 0.5), r["accuracy"]) for r in mine if r["system"] == system)
            axis.plot(*zip(*points, strict=True), marker="o", label=system)
        axis.set(xscale="log", xlabel="model tokens a second", title=f"questions: {kind}")
        axis.grid(alpha=0.3)
    axes[0].set(ylabel="answered right")
    axes[1].legend(fontsize=8)
    figure.savefig(out / "accuracy.png", dpi=100)
    plt.close(figure)


def draw_weak(out: Path, summary: Sequence[Row]) -> None:
    """weak.png: accuracy at what is hard, for each of a few ways of sending, and what guessing gives."""
    plt = plots.pyplot()
    figure, axis = plt.subplots(figsize=(8, 3.6), layout="constrained")
    ways = [way for way in (*QUICK, TEXT_ONLY) if any((row["system"], row["setting"]) == way for row in summary)]
    for number, way in enumerate(ways):
        mine = {row["kind"]: row for row in summary if (row["system"], row["setting"]) == way}
        names = [name for name in WEAK if name in mine]
        at = [list(WEAK).index(name) + (number - len(ways) / 2 + 0.5) * 0.8 / len(ways) for name in names]
        heights = [mine[name]["accuracy"] for name in names]
        errors = [
            [mine[n]["accuracy"] - mine[n]["accuracy_low"] for n in names],
            [mine[n]["accuracy_high"] - mine[n]["accuracy"] for n in names],
        ]
        axis.bar(at, heights, 0.8 / len(ways), yerr=errors, label=", ".join(way))
        if not number:
            for name in names:
                place = list(WEAK).index(name)
                axis.hlines(mine[name]["chance"], place - 0.45, place + 0.45, "black", "dotted")
    axis.set(ylabel="answered right (dotted: guessing)", ylim=(0, 1))
    axis.set_xticks(range(len(WEAK)), list(WEAK))
    axis.legend(fontsize=8)
    figure.savefig(out / "weak.png", dpi=100)
    plt.close(figure)


def report(args: argparse.Namespace, summary: Sequence[Row], films: int) -> None:
    """report.md."""
    whole = [row for row in summary if ":" not in row["kind"]]
    kinds = [row for row in summary if ":" in row["kind"] and (row["system"], row["setting"]) in (*QUICK, TEXT_ONLY)]
    columns = ("system", "setting", "kind", *COLUMNS)
    bench.write_report(
        args.out,
        "question_answering: the same model and questions for every way of sending",
        [
            f"{films} films. {__doc__.split('[--model DIR]')[1].strip()}",
            "",
            "![accuracy](accuracy.png)",
            "![what is hard](weak.png)",
            "",
            *bench.table(whole, columns),
            "",
            "## By kind of question",
            "",
            *bench.table(kinds, columns),
        ],
    )


# The command


def run(argv: Sequence[str] | None = None) -> None:
    """Command line."""
    args = arguments(argv)
    labels = args.labels or args.out / "labels"
    picks = pick_films(args, labels)
    ways = [*(QUICK if args.quick else SYSTEMS), TEXT_ONLY]
    build = bench.digest(args.model / "model.safetensors", args.model / "model.json")
    jobs = [Job(system, setting, pick) for pick in picks for system, setting in ways]
    rows = bench.Rows(args.out, KEY, {"model": build})
    done = {(row["system"], row["setting"], row["part"], row["number"]) for row in rows.all()}
    waiting = [job for job in jobs if (job.system, job.setting, job.pick.part, job.pick.number) not in done]
    bench.run_jobs(
        waiting, work, rows, start=start, start_args=(args.model, args.clips, labels), workers=args.jobs,
        label="question_answering",
    )  # fmt: skip
    wanted = {(job.system, job.setting, job.pick.part, job.pick.number) for job in jobs}
    chosen = [r for r in rows.all() if (r["system"], r["setting"], r["part"], r["number"]) in wanted]
    summary = summarise(chosen)
    bench.write_json(args.out / "summary.json", {"ways": summary, "machine": bench.machine()})
    draw(args.out, summary)
    draw_weak(args.out, summary)
    report(args, summary, len({row["clip"] for row in chosen}))
    for row in summary:
        if row["kind"] == "all":
            print(f"{row['system']:14} {row['setting']:18} {row['tokens_per_s']:7.1f} tokens/s  {row['accuracy']:.3f}")


def arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = bench.parser("question_answering", __doc__)
    parser.add_argument("--model", type=Path, default=WEIGHTS, help="folder of model.safetensors and model.json")
    parser.add_argument("--labels", type=Path, help="the clips' labels, made if they are not there (default: in --out)")
    parser.add_argument("--seed", type=int, default=0, help="other films and questions for every seed")
    return parser.parse_args(argv)


if __name__ == "__main__":
    bench.main(run)
