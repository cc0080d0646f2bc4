"""A study of costs, as `edge_cost` and `server_cost` are: contenders in turn on every film, rows, a plot and a report.

    Contender --prepare(clip), not timed--> Pass --in_turn--> Spent, round by round --columns--> a row a contender
    rows --summarise--> by group --> summary.json, bars of CPU time and of our own parts, report.md

One worker measures, whatever `--jobs` says: what runs beside a timing changes it.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from tqdm import tqdm

from edge_gate.source import SourceError
from experiments import bench, timing
from experiments.bench import Row
from experiments.films import Film
from experiments.plots import pyplot
from experiments.systems import Clip
from experiments.timing import Pass, Plan, columns, groups, in_turn, summarise


@dataclass(frozen=True)
class Contender:
    """A system at one setting; `prepare` does what is not timed and returns the pass that is."""

    name: str
    setting: str
    about: str
    prepare: Callable[[Clip], Pass]
    base: bool = False  # the ratios of those after it, up to the next base, are to this one


@dataclass(frozen=True)
class Study:
    """One experiment of this kind."""

    name: str
    title: str
    doc: str
    contenders: Callable[[], Sequence[Contender]]
    parts: Mapping[str, str]  # of our own cost, and what they are
    report: Sequence[str]  # what a reader must know, as Markdown


def measure(study: Study, run: Row, film: Film) -> list[Row]:
    """All systems of a study on one clip; none where the clip cannot be read, which is said."""
    try:
        clip = film.load()
    except SourceError as error:
        tqdm.write(f"{error}; left out")
        return []
    contenders = study.contenders()
    spent = in_turn([contender.prepare(clip) for contender in contenders], run["repeats"])
    bases = bases_of(contenders)
    return [
        {"system": c.name, "setting": c.setting, "clip": clip.name, **run, "frames": clip.count}
        | columns(mine, spent[base], clip)
        for c, mine, base in zip(contenders, spent, bases, strict=True)
    ]


def bases_of(contenders: Sequence[Contender]) -> list[int]:
    """For each contender, the place of the one that it is compared with."""
    places: list[int] = []
    for place, contender in enumerate(contenders):
        places.append(place if contender.base else places[-1])
    return places


def start() -> None:
    """What a worker does first: nothing, for all it needs belongs to a clip."""


# The command


def conduct(study: Study, argv: Sequence[str] | None, extra: Callable[[argparse.Namespace], Row] | None = None) -> None:
    """Run a study from its command line: rows, summary, plots, report. `extra` adds to the summary."""
    args = timing.arguments(study.name, study.doc, argv)
    timing.set_surroundings()
    plan = Plan(args, [(contender.name, contender.setting) for contender in study.contenders()])
    work = partial(measure, study, plan.rows.run)
    took = bench.run_jobs(plan.waiting, work, plan.rows, start=start, workers=1, label=study.name)
    kept = plan.kept()
    summary = summarise(kept) | (extra(args) if extra is not None else {}) | {"machine": bench.machine()}
    bench.write_json(args.out / "summary.json", summary)
    draw(args.out / f"{study.name}.png", summary, study)
    report(args, study, summary, plan.done(took))
    print(plan.said(kept))


# What is said of it


def draw(path: Path, summary: Row, study: Study) -> None:
    """Bars of CPU time a group, whiskers from lowest to highest; and what our own is made of."""
    plt, names = pyplot(), groups(summary)
    bars = max(len(summary[name]) for name in names)
    figure, axes = plt.subplots(
        2, len(names), figsize=(5.2 * len(names) + 2.5, 0.42 * bars + 3.4), layout="constrained",
        squeeze=False, gridspec_kw={"height_ratios": (0.42 * bars + 0.8, 1.5)}, sharey="row",
    )  # fmt: skip
    for column, group in enumerate(names):
        _draw_systems(axes[0][column], group, summary[group])
        _draw_parts(axes[1][column], summary[group], study)
    figure.suptitle(study.title)
    figure.legend(*axes[1][0].get_legend_handles_labels(), loc="outside lower center", ncols=6, frameon=False)
    figure.savefig(path, dpi=90)
    plt.close(figure)


def _draw_systems(axis: Any, group: str, systems: Row) -> None:
    names, rows = list(systems), list(systems.values())
    values = [row["cpu_ms_per_s"] for row in rows]
    below = [value - row["cpu_ms_per_s_low"] for value, row in zip(values, rows, strict=True)]
    above = [row["cpu_ms_per_s_high"] - value for value, row in zip(values, rows, strict=True)]
    colours = ["tab:orange" if row["system"].startswith("vidtok") else "tab:gray" for row in rows]
    axis.barh(names, values, xerr=(below, above), color=colours, capsize=3, height=0.6, ecolor="black")
    for place, row in enumerate(rows):
        text = f" {row['cpu_ms_per_s']:.3g} ({row['ratio_to_video']:.2f}x)"
        axis.text(row["cpu_ms_per_s_high"], place, text, va="center", fontsize=8)
    axis.set(title=group, xlabel="CPU ms a second of video", xlim=(0, 1.6 * max(r["cpu_ms_per_s_high"] for r in rows)))
    axis.invert_yaxis()


def _draw_parts(axis: Any, systems: Row, study: Study) -> None:
    ours = next(row for row in systems.values() if row["system"] == "vidtok")
    left = 0.0
    for number, part in enumerate(study.parts):
        value = ours[f"{part}_ms_per_s"]
        axis.barh(["vidtok"], [value], left=left, label=part, color=f"C{number}", height=0.5)
        left += value
    axis.set(xlabel="ours by part: CPU ms a second of video", xlim=(0, left * 1.02))


def report(args: argparse.Namespace, study: Study, summary: Row, took: str) -> None:
    """report.md."""
    width, height = args.size
    lines = [
        f"{width}x{height}, {args.fps:g} fps, {args.seconds:g} s of each, {args.repeats} rounds. {took}",
        "",
        *study.report,
        "",
        f"![{study.title}]({study.name}.png)",
        "",
    ]
    for group in groups(summary):
        lines += [f"## {group}", "", *bench.table([_told(row) for row in summary[group].values()], _TABLE), ""]
        ours = [row for row in summary[group].values() if row["system"] == "vidtok"]
        lines += [*bench.table(ours, [f"{part}_ms_per_s" for part in study.parts]), ""]
    if "process" in summary:
        lines += ["## The edge as a process", "", *bench.table([summary["process"]], list(summary["process"])), ""]
    lines += ["## Systems", "", *(f"- **{c.name} ({c.setting})**: {c.about}" for c in study.contenders()), ""]
    lines += ["## Parts of ours", "", *(f"- **{part}**: {about}" for part, about in study.parts.items()), ""]
    bench.write_report(args.out, study.title, lines)


_TABLE = (
    "system",
    "setting",
    "cpu_ms_per_s",
    "low to high",
    "ratio_to_video",
    "streams_per_core",
    "macs_per_frame",
    "kbps",
)


def _told(row: Row) -> Row:
    between = f"{bench.short(row['cpu_ms_per_s_low'])} to {bench.short(row['cpu_ms_per_s_high'])}"
    macs = row["macs_per_frame"]
    return row | {"low to high": between, "macs_per_frame": None if macs is None else f"{macs / 1e6:.1f} M"}
