"""What `answering` has to say: its rows summed up, drawn, and told part by part.

rows of a part --summary--> a few rows with intervals --> summary.json, a picture, a section of report.md
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from experiments import bench
from experiments.answering_cost import OURS, PARTS
from experiments.answering_day import ABOUT
from experiments.bench import Row
from experiments.plots import pyplot
from experiments.question_answering import DRAWS, accuracy
from experiments.timing import SCENES, group_of
from vidtok.model.memory import HISTORY

AIM_MS, AIM_TIMES = 232, 10
SHARES = ("accuracy", "accuracy_low", "accuracy_high", "asked", "chance")


@dataclass(frozen=True)
class Section:
    """A part of the report."""

    part: str
    title: str
    about: str
    summary: Callable[[Sequence[Row]], dict[str, list[Row]]]  # tables by heading; "" for the first
    draw: Callable[[Any, Any, dict[str, list[Row]], Sequence[Row]], None]


def write(out: Path, rows: Sequence[Row], said: str) -> None:
    """summary.json, a picture a part, report.md."""
    lines, summary = [said, ""], {}
    for section in SECTIONS:
        mine = [row for row in rows if row["part"] == section.part]
        if not mine:
            continue
        tables = section.summary(mine)
        summary[section.part] = tables
        picture(out / f"{section.part}.png", section, tables, mine)
        lines += [f"## {section.title}", "", section.about, "", f"![{section.part}]({section.part}.png)", ""]
        for heading, table in tables.items():
            lines += [*([f"### {heading}", ""] if heading else []), *bench.table(table, list(table[0])), ""]
    bench.write_json(out / "summary.json", summary | {"machine": bench.machine()})
    bench.write_report(out, "answering: serving our own model", lines)


def picture(path: Path, section: Section, tables: dict[str, list[Row]], rows: Sequence[Row]) -> None:
    """Two panels a part."""
    plt = pyplot()
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 3.8), layout="constrained")
    section.draw(left, right, tables, rows)
    figure.savefig(path, dpi=90)
    plt.close(figure)


def _distinct(rows: Iterable[Row], name: str) -> list[Any]:
    return list(dict.fromkeys(row[name] for row in rows))


def _median(rows: Sequence[Row], name: str) -> float | None:
    values = [row[name] for row in rows if row[name] is not None]
    return round(median(values), 4) if values else None


def _most(rows: Sequence[Row], name: str) -> float | None:
    return max((row[name] for row in rows if row[name] is not None), default=None)


# Delay

DELAYS = ("read_p50_ms", "read_p95_ms", "first_word_p50_ms", "first_word_p95_ms", "answer_p50_ms", "answer_p95_ms")


def delays(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """Medians over clips, and the worst clip's 95th percentiles."""
    out, worst = [], []
    for setting in _distinct(rows, "setting"):
        mine = [row for row in rows if row["setting"] == setting]
        counts = {name: sum(row[name] for row in mine) for name in ("updates", "updates_crowded", "questions")}
        out.append({"setting": setting, "clips": len(mine), **{n: _median(mine, n) for n in DELAYS}, **counts})
        worst.append({"setting": setting, **{n: _most(mine, n) for n in DELAYS if "p95" in n}})
    return {"": out, "The worst clip": worst}


def draw_delays(left: Any, right: Any, tables: dict[str, list[Row]], _: Sequence[Row]) -> None:
    """Bars of the median, marks of the 95th percentile."""
    rows = tables[""]
    for number, row in enumerate(rows):
        for axis, names in ((left, ("read",)), (right, ("first_word", "answer"))):
            places = np.arange(len(names)) + number * 0.35
            axis.bar(places, [row[f"{n}_p50_ms"] or 0 for n in names], 0.33, label=f"{row['setting']}, p50")
            axis.plot(places, [row[f"{n}_p95_ms"] or 0 for n in names], "k_", markersize=18)
            axis.set_xticks(np.arange(len(names)) + 0.17, [n.replace("_", " ") for n in names])
    left.set(ylabel="ms (line: p95)", title="a canvas comes: it has been read")
    right.axhline(AIM_MS, color="tab:red", linestyle=":", label=f"aim for p50: {AIM_MS} ms")
    right.set(title="a question is asked: first word, whole answer")
    right.legend(fontsize=8)


# Cost


def costs(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """By group and way: medians over clips; times ours as the geometric mean with an interval over clips."""
    out, parts = [], []
    for group in (*SCENES, "clips"):
        mine = [row for row in rows if group_of(row) == group]
        for setting in _distinct(mine, "setting"):
            some = [row for row in mine if row["setting"] == setting]
            names = {"clips of": group, "system": some[0]["system"], "setting": setting, "clips": len(some)}
            figures = {name: _median(some, name) for name in ("cpu_ms_per_s", "tokens_per_s", "kbps")}
            out.append(names | figures | times_ours(some) | times_ours(some, "times_ours_once"))
            parts.append(names | {part: _median(some, f"{part}_ms_per_s") for part in PARTS})
    return {"": out, "CPU ms a second, by part": parts}


def times_ours(rows: Sequence[Row], name: str = "times_ours") -> Row:
    """Geometric mean over clips; of one clip the extremes of its rounds, of several a 95% interval over clips."""
    logs = np.log([row[name] for row in rows])
    low, high = rows[0][f"{name}_low"], rows[0][f"{name}_high"]
    if len(rows) > 1:
        drawn = np.random.default_rng(0).choice(logs, (DRAWS, len(logs))).mean(1)
        low, high = np.exp(np.percentile(drawn, (2.5, 97.5)))
    values = {name: np.exp(logs.mean()), f"{name}_low": low, f"{name}_high": high}
    return {each: round(float(value), 3) for each, value in values.items()}


def draw_costs(left: Any, right: Any, tables: dict[str, list[Row]], _: Sequence[Row]) -> None:
    """How many times ours each takes; what each is made of."""
    others = [row for row in tables[""] if row["system"] != OURS[0]]
    names = [f"{row['clips of']}: {row['setting']}" for row in others]
    values = [row["times_ours"] for row in others]
    whiskers = [
        [max(0.0, row["times_ours"] - row["times_ours_low"]) for row in others],
        [max(0.0, row["times_ours_high"] - row["times_ours"]) for row in others],
    ]
    left.barh(names, values, xerr=whiskers, color="tab:gray", capsize=3)
    left.axvline(AIM_TIMES, color="tab:red", linestyle=":", label=f"aim: {AIM_TIMES}")
    left.set(xlabel="CPU of video, times ours as shipped")
    left.legend(fontsize=8)
    mine = [row for row in tables["CPU ms a second, by part"] if row["system"] == OURS[0]]
    start = np.zeros(len(mine))
    for number, part in enumerate(part for part in PARTS if any(row[part] for row in mine)):
        width = np.array([row[part] for row in mine])
        names = [f"{row['clips of']}: {row['setting']}" for row in mine]
        right.barh(names, width, left=start, label=part, color=f"C{number}")
        start += width
    right.set(xlabel="ours by part: CPU ms a second of video")
    right.legend(fontsize=8, ncols=4, loc="upper center", bbox_to_anchor=(0.4, -0.2), frameon=False)


# Day


def days(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """Accuracy in the first and the last turn, and its difference over the same films; the memory over time."""
    asked, memory = [row for row in rows if "about" in row], [row for row in rows if "kept" in row]
    first, last = min(row["turn"] for row in asked), max(row["turn"] for row in asked)
    shares, changes = [], []
    for what in ABOUT:
        mine = [row for row in asked if row["about"] == what]
        ends = [[row for row in mine if row["turn"] == turn] for turn in (first, last)]
        if not all(ends):
            continue
        for name, some in zip(("first", "last"), ends, strict=True):
            shares.append({"asked about": what, "part of the day": name, **accuracy(some)})
        changes.append({"asked about": what, **change(*ends)})
    return {"": shares, "From the first to the last, the same films": changes, "Memory": memories(memory)}


def change(first: Sequence[Row], last: Sequence[Row]) -> Row:
    """How much the accuracy changed, with a 95% interval over films drawn with replacement."""
    films = sorted({row["clip"] for row in first} & {row["clip"] for row in last})
    place = {name: k for k, name in enumerate(films)}
    counts = np.zeros((2, len(films), 2))
    for end, some in enumerate((first, last)):
        for row in some:
            if row["clip"] in place:
                counts[end, place[row["clip"]]] += row["right"], row["asked"]
    drawn = np.random.default_rng(0).multinomial(len(films), np.full(len(films), 1 / len(films)), DRAWS)
    before, after = (share[:, 0] / np.maximum(share[:, 1], 1) for share in (drawn @ counts[0], drawn @ counts[1]))
    low, high = np.percentile(after - before, (2.5, 97.5))
    total = counts.sum(1)
    value = total[1, 0] / total[1, 1] - total[0, 0] / total[0, 1]
    figures = {"change": value, "change_low": low, "change_high": high}
    return {name: round(float(figure), 4) for name, figure in figures.items()} | {"films": len(films)}


def memories(rows: Sequence[Row]) -> list[Row]:
    """A row for each tenth of a day: the most of any day."""
    out = []
    for tenth in range(10):
        mine = [row for row in rows if int(row["at_h"] / 2.4) == tenth]
        if mine:
            row: Row = {"hours": f"{2.4 * tenth:.1f} to {2.4 * (tenth + 1):.1f}"}
            row |= {"updates": sum(one["updates"] for one in mine), "tokens_so_far": _most(mine, "tokens")}
            row |= {name: _most(mine, name) for name in ("kept", "kept_kb", "rss_mb")}
            out.append(row | {"cpu_ms_per_update": _median(mine, "cpu_ms_per_update")})
    return out


def draw_days(left: Any, right: Any, _: dict[str, list[Row]], rows: Sequence[Row]) -> None:
    """Memory over the hours; accuracy turn by turn."""
    memory = [row for row in rows if "kept" in row]
    other = left.twinx()
    left.plot([row["at_h"] for row in memory], [row["kept_kb"] for row in memory], ".", color="C0")
    other.plot([row["at_h"] for row in memory], [row["rss_mb"] or 0 for row in memory], ".", color="C1")
    left.set(xlabel="hours", ylabel="the model's memory, kB", ylim=(0, None), title="memory over a day")
    other.set(ylabel="process, MB (orange)", ylim=(0, 1.2 * max([1.0, *(row["rss_mb"] or 0 for row in memory)])))
    for what in ABOUT:
        mine = [row for row in rows if row.get("about") == what]
        turns = sorted({row["turn"] for row in mine})
        shares = [accuracy([row for row in mine if row["turn"] == turn]) for turn in turns]
        _share_line(right, [turn + 1 for turn in turns], shares, what)
    right.set(xlabel="turn of the day", ylabel="answered right", ylim=(0, 1), title="accuracy over a day")
    right.legend(fontsize=8)


def _share_line(axis: Any, at: Sequence[Any], shares: Sequence[Row], label: str) -> None:
    low, high = ([row[f"accuracy_{end}"] for row in shares] for end in ("low", "high"))
    (line,) = axis.plot(at, [row["accuracy"] for row in shares], marker="o", label=label)
    axis.fill_between(at, low, high, alpha=0.15, color=line.get_color(), linewidth=0)


# Eviction


def evictions(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """Accuracy by way of sending, size of memory and what was asked about."""
    out = []
    for system, sent in dict.fromkeys((row["system"], row["sent"]) for row in rows):
        for history in _distinct(rows, "history"):
            mine = [row for row in rows if (row["system"], row["sent"], row["history"]) == (system, sent, history)]
            names = {"system": system, "setting": sent, "history": history, "films": len({r["clip"] for r in mine})}
            sizes = {"tokens": _median(mine, "tokens"), "kept_most": _most(mine, "kept_most")}
            for what in ("now", "past"):
                some = [row for row in mine if row["about"] == what and row["asked"]]
                if some:
                    out.append({**names, "asked about": what, **sizes, **accuracy(some)})
    return {"": out}


def draw_evictions(left: Any, right: Any, tables: dict[str, list[Row]], _: Sequence[Row]) -> None:
    """Accuracy over the size of the memory."""
    for axis, what in ((left, "now"), (right, "past")):
        mine = [row for row in tables[""] if row["asked about"] == what]
        for system, sent in dict.fromkeys((row["system"], row["setting"]) for row in mine):
            some = [row for row in mine if (row["system"], row["setting"]) == (system, sent)]
            _share_line(axis, [row["history"] for row in some], some, f"{system}, {sent}")
        axis.set(xlabel="superseded tokens kept", ylim=(0, 1), title=f"questions about {what}")
    left.set(ylabel="answered right")
    left.legend(fontsize=8)


# Fairness

FAIR = (
    "read_p50_ms", "read_p95_ms", "p95_to_alike", "p95_to_alike_low", "p95_to_alike_high", "worst_to_best_p95",
    "jain_delay", "jain_read", "updates_crowded", "first_word_p95_ms", "answer_p50_ms", "answer_p95_ms",
)  # fmt: skip


def fairnesses(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """As they are."""
    return {"": [{"the tenth": row["setting"], **{name: row[name] for name in FAIR}} for row in rows]}


def draw_fairnesses(left: Any, right: Any, tables: dict[str, list[Row]], _: Sequence[Row]) -> None:
    """95th percentiles of the nine."""
    rows = tables[""]
    names = [row["the tenth"] for row in rows]
    for axis, name, title in (
        (left, "read_p95_ms", "the nine others: canvas to memory"),
        (right, "answer_p95_ms", "the nine others: question to answer"),
    ):
        axis.barh(names, [row[name] or 0 for row in rows], color=["tab:gray", *["tab:red"] * (len(rows) - 1)])
        axis.set(xlabel="p95, ms", title=title)
        axis.invert_yaxis()


SECTIONS = (
    Section(
        "delay",
        "Delay",
        "From a canvas shown to the model to its last token's keys and values in memory (`read`), and from a question "
        f"to its first word and to the whole answer (aim: p50 under {AIM_MS} ms), with every stream running at its "
        "real pace in this process and asked a second after each answer. A clip's streams all show that clip, begun "
        "one after the other. Percentiles are a clip's, medians of them over clips.",
        delays,
        draw_delays,
    ),
    Section(
        "cost",
        "Server CPU a second of video",
        "Ours is session, receiver, canvas, and what has come read into the model every third of a second, or once a "
        "second. Video is H.264 decoded and made RGB, the whole of EfficientNet-lite0 on every frame, and every "
        "frame's 64 cells and gist read into the same model, a second's in one pass; at 1 fps it is encoded as one "
        "frame a second. CPU time of the process, one thread, in turn; `times_ours` is the geometric mean over clips "
        f"of the same round's ratio (aim at 10 fps: {AIM_TIMES} or more), `times_ours_once` the same against ours "
        "read once a second. Parts of ours come from a second pass with timers.",
        costs,
        draw_costs,
    ),
    Section(
        "day",
        "A day",
        "One stream of 24 hours of its own clock: painted films at equal distances, a still scene between them, every "
        "turn the same films. `now` and `past` are asked in the film; `ten minutes ago` at a film's end about what "
        "happened in it, with the clock ten minutes on; `a film ago` when another film has come since (what 'before' "
        "means is then a matter of taste: it shows what is left, not what is right). The model keeps no more than "
        f"{HISTORY} superseded tokens and the newest of every place.",
        days,
        draw_days,
    ),
    Section(
        "eviction",
        "What may be forgotten",
        "The same films and questions with a memory of so many superseded tokens; the newest token of every place "
        "always stays. `tokens` is the median film's, `kept_most` the most tokens that were ever kept.",
        evictions,
        draw_evictions,
    ),
    Section(
        "fairness",
        "Ten streams at once",
        "Ten streams of one clip, and nine beside one that floods (200 canvases a second, every cell new), asks "
        "without end (as many questions at a time as are allowed) or never reads what it is answered. All figures are "
        "of the same nine streams, medians over rounds; `p95_to_alike` compares rounds. Jain's index is 1 where all "
        "fare alike: of mean delays, and of the share of canvases that were read in their turn.",
        fairnesses,
        draw_fairnesses,
    ),
)
