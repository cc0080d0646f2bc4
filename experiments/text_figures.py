"""The figures of `text_reading`: who reads what, how soon and for how much, and what every receiver showed.

    rows --------------------------> summary: the ceiling, the smallest capitals that can be read
    rows, a panel a film ----------> accuracy.png, rate.png; a column a film: seconds.png
    Job.tile, kept while it was read --> shown.png
    all of it ---------------------> report.md, with what its words say

A system has a colour, a setting of it a line; the true picture, which is the ceiling, is black.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from experiments import bench
from experiments.bench import Row
from experiments.pages import ARRIVES_S, ENDS_S, PLACED_S, RESTS_S, draw_text
from experiments.plots import pyplot
from experiments.readings import ENOUGH, SETTLED_S, SHOWN_S, STILL_S, TILE, TIMES_S, TRUE, Job, Pixels, mean
from experiments.systems import System

LABEL = 248  # columns of a label of shown.png


def summarise(rows: Sequence[Row]) -> Row:
    """The ceiling, and of every system and setting what it spent and from which cap height on it can be read."""
    ceiling = {row["clip"]: row["char_accuracy"] for row in rows if row["system"] == TRUE}
    out: Row = {
        "ceiling": ceiling,
        "ceiling_too_low": [clip for clip, accuracy in ceiling.items() if accuracy < ENOUGH],
        "systems": {},
    }
    for name, setting in _settings(rows):
        mine = [row for row in rows if (row["system"], row["setting"]) == (name, setting)]
        told = {
            "kbps": mean([row["kbps"] for row in mine]),
            "smallest_read_px": _smallest([row for row in mine if row["hold"] == "still"]),
            "smallest_read_px_hand": _smallest([row for row in mine if row["hold"] == "hand"]),
            "char_accuracy": {row["clip"]: row["char_accuracy"] for row in mine},
            "seconds_to_90": {row["clip"]: row["seconds_to_90"] for row in mine},
            "bits_to_90": {row["clip"]: row["bits_to_90"] for row in mine},
        }
        out["systems"].setdefault(name, {})[setting] = told
    return out


def _settings(rows: Sequence[Row]) -> list[tuple[str, str]]:
    return list(dict.fromkeys((row["system"], row["setting"]) for row in rows))


def _smallest(rows: Sequence[Row]) -> int | None:
    """The cap height from which on every page was read in the end."""
    out = None
    for row in sorted(rows, key=lambda row: -int(row["cap_height_px"])):
        if row["char_accuracy"] < ENOUGH:
            break
        out = int(row["cap_height_px"])
    return out


def draw_accuracy(rows: Sequence[Row], path: Path) -> None:
    """Signs read right over time, a panel a film."""
    panels = _Panels(rows, "seconds since the page was in place; it moves in the grey part")
    for axis, clip in panels:
        axis.axvspan(TIMES_S[0], STILL_S, color="0.93", zorder=0)
        for row in (row for row in rows if row["clip"] == clip):
            values = [row[f"accuracy_at_{t:g}_s"] for t in TIMES_S]
            axis.plot(TIMES_S, values, label=_label(row), **panels.styles[row["system"], row["setting"]])
    panels.save(path)


def draw_rate(rows: Sequence[Row], path: Path) -> None:
    """Signs read right in the end over what the film cost, a panel a film; the ceiling is a line."""
    panels = _Panels(rows, "kbps over the whole film")
    for axis, clip in panels:
        for name in dict.fromkeys(row["system"] for row in rows):
            mine = [row for row in rows if (row["system"], row["clip"]) == (name, clip)]
            sent = sorted((row["kbps"], row["char_accuracy"]) for row in mine if row["kbps"] is not None)
            style = {**panels.styles[name, mine[0]["setting"]], "linestyle": "-", "label": name}
            if sent:
                axis.plot(*zip(*sent, strict=True), marker="o", markersize=4, **style)
            else:
                axis.axhline(mine[0]["char_accuracy"], **style)
        axis.set_xscale("log")
    panels.save(path)


def draw_seconds(rows: Sequence[Row], path: Path) -> None:
    """How long until a page can be read, a column a film."""
    plt = pyplot()
    clips, settings, styles = list(dict.fromkeys(row["clip"] for row in rows)), _settings(rows), _styles(rows)
    figure, axis = plt.subplots(figsize=(1.3 * len(clips) + 4, 4.4), layout="constrained")
    never = TIMES_S[-1] + 1
    for number, (name, setting) in enumerate(settings):
        mine = [row for row in rows if (row["system"], row["setting"]) == (name, setting)]
        aside = 0.8 * ((number + 0.5) / len(settings) - 0.5)  # so that equal ones can be told apart
        values = [never if row["seconds_to_90"] is None else row["seconds_to_90"] for row in mine]
        nth = sum(known == name for known, _ in settings[:number])
        style = {"color": styles[name, setting]["color"], "marker": "osDv^<>P"[nth % 8], "markersize": 5}
        axis.plot(
            [clips.index(row["clip"]) + aside for row in mine],
            values,
            linestyle="",
            label=f"{name}, {setting}",
            **style,
        )
    for place in range(1, len(clips)):
        axis.axvline(place - 0.5, color="0.85", linewidth=0.8, zorder=0)
    axis.axhspan(TIMES_S[0], STILL_S, color="0.93", zorder=0)
    axis.set_xticks(range(len(clips)), [clip.replace(", ", "\n") for clip in clips])
    ticks = range(int(TIMES_S[-1]) + 1)
    axis.set_yticks([*ticks, never], [*map(str, ticks), "never"])
    axis.set_ylabel(f"seconds until {ENOUGH:.0%} are read;\nthe page moves in the grey part")
    figure.legend(loc="outside right center", fontsize=7.5)
    figure.savefig(path, dpi=100)
    plt.close(figure)


class _Panels:
    """A panel a film with signs read right on its upright axis, and one legend."""

    def __init__(self, rows: Sequence[Row], across: str) -> None:
        self.clips, self.styles = list(dict.fromkeys(row["clip"] for row in rows)), _styles(rows)
        wide = min(4, len(self.clips))
        tall = -(-len(self.clips) // wide)
        self._plt = pyplot()
        self._figure, axes = self._plt.subplots(
            tall, wide, figsize=(3.2 * wide + 2.6, 2.6 * tall + 0.6), sharex=True, sharey=True, squeeze=False,
            layout="constrained",
        )  # fmt: skip
        self._axes = list(axes.flat)
        self._figure.supxlabel(across, fontsize=10)
        self._figure.supylabel("signs read right", fontsize=10)

    def __iter__(self) -> Iterator[tuple[Any, str]]:
        for axis in self._axes[len(self.clips) :]:
            axis.axis("off")
        for axis, clip in zip(self._axes, self.clips, strict=False):
            axis.set_title(clip, fontsize=10)
            axis.set_ylim(-0.03, 1.04)
            axis.axhline(ENOUGH, color="0.7", linewidth=0.8, zorder=0)
            yield axis, clip

    def save(self, path: Path) -> None:
        """Write the PNG."""
        self._figure.legend(*self._axes[0].get_legend_handles_labels(), loc="outside right center", fontsize=7.5)
        self._figure.savefig(path, dpi=100)
        self._plt.close(self._figure)


def _styles(rows: Sequence[Row]) -> dict[tuple[str, str], dict[str, Any]]:
    """A colour a system, a line a setting; the ceiling is black."""
    names = list(dict.fromkeys(row["system"] for row in rows if row["system"] != TRUE))
    out: dict[tuple[str, str], dict[str, Any]] = {}
    for name, setting in _settings(rows):
        number = sum(key[0] == name for key in out)
        colour = "black" if name == TRUE else f"C{names.index(name) % 10}"
        line = ((0, (1, 1.5)), (0, (4, 1.5)), "-", (0, (6, 1, 1, 1)))[number % 4]
        out[name, setting] = {"color": colour, "linestyle": "-" if name == TRUE else line, "linewidth": 1.4}
    return out


def _label(row: Row) -> str:
    return f"{row['system']}, {row['setting']}"


def draw_shown(jobs: Sequence[Job], path: Path) -> None:
    """What every receiver showed of each page: a row a setting, a column a film, in 16 greys to keep the file small."""
    films = list(dict.fromkeys((job.cap_px, job.hold) for job in jobs))
    settings = list(dict.fromkeys((job.system, job.setting) for job in jobs))
    sheet = np.full(((len(settings) + 1) * (TILE[0] + 4), LABEL + len(films) * (TILE[1] + 4)), 255, np.uint8)
    for column, (cap_px, hold) in enumerate(films):
        _write(sheet, f"{cap_px} px, {hold}", 28, LABEL + column * (TILE[1] + 4))
    for number, (name, setting) in enumerate(settings, 1):
        _write(sheet, f"{name}, {setting}", number * (TILE[0] + 4) + 26, 4)
    for job in jobs:
        tile = cv2.imread(str(job.tile), cv2.IMREAD_GRAYSCALE) if job.tile.exists() else None
        if tile is not None and tile.shape == TILE:
            top = (1 + settings.index((job.system, job.setting))) * (TILE[0] + 4)
            left = LABEL + films.index((job.cap_px, job.hold)) * (TILE[1] + 4)
            sheet[top : top + TILE[0], left : left + TILE[1]] = tile // 16 * 17
    cv2.imwrite(str(path), sheet, [cv2.IMWRITE_PNG_COMPRESSION, 9])


def _write(sheet: Pixels, text: str, foot: int, left: int) -> None:
    ink, below = draw_text(text, 8.5)
    bottom, width = foot + below, min(ink.shape[1], sheet.shape[1] - left)
    sheet[bottom - ink.shape[0] : bottom, left : left + width] = (255 - ink[:, :width]) // 16 * 17


def report(args: argparse.Namespace, rows: list[Row], summary: Row, systems: dict[str, System], ran: str) -> None:
    """report.md."""
    clips = list(summary["ceiling"])
    low = summary["ceiling_too_low"]
    ceiling = (
        f"Even the camera's own picture stays below {ENOUGH:.0%} at: {'; '.join(low)}. Nothing can be said there."
        if low
        else f"The camera's own picture is read to {ENOUGH:.0%} or more on every page."
    )
    bench.write_report(
        args.out,
        "text_reading: can a page that is held up be read?",
        [
            f"{len(clips)} films of {ENDS_S:g} s, {args.size} pixels, {args.fps:g} fps, seed {args.seed}; "
            f"{rows[0]['ocr']}. {ran}",
            "",
            ceiling,
            "",
            "![signs read right over time](accuracy.png)",
            "",
            "![signs read right for what was spent](rate.png)",
            "",
            "![seconds until a page can be read](seconds.png)",
            "",
            f"![the first line, {SHOWN_S - STILL_S:g} s after the page came to rest](shown.png)",
            "",
            f"## Signs read right in the end, the mean of {sum(t >= SETTLED_S for t in TIMES_S)} (`char_accuracy`)",
            "",
            *_by_clip(rows, clips, "char_accuracy"),
            "",
            f"## Signs read right while it moves, the mean of {sum(t < STILL_S for t in TIMES_S)} (`moving_accuracy`)",
            "",
            *_by_clip(rows, clips, "moving_accuracy"),
            "",
            f"## Seconds until {ENOUGH:.0%} are read (`seconds_to_90`; – is never)",
            "",
            *_by_clip(rows, clips, "seconds_to_90"),
            "",
            f"## Kilobits from the page's coming into view until {ENOUGH:.0%} are read (`bits_to_90` / 1000)",
            "",
            *_by_clip([row | {"kbit": row["bits_to_90"] and row["bits_to_90"] / 1000} for row in rows], clips, "kbit"),
            "",
            *_definitions(),
            "",
            "## The systems",
            "",
            *(f"- `{system.name}`: {system.about}." for system in systems.values()),
        ],
    )


def _by_clip(rows: Sequence[Row], clips: Sequence[str], column: str) -> list[str]:
    lines = []
    for name, setting in _settings(rows):
        mine = [row for row in rows if (row["system"], row["setting"]) == (name, setting)]
        values = {row["clip"]: row[column] for row in mine}
        lines.append({"system": name, "setting": setting, "kbps": mean([row["kbps"] for row in mine]), **values})
    return bench.table(lines, ("system", "setting", "kbps", *clips))


def _definitions() -> list[str]:
    return [
        "## What the words say",
        "",
        f"- A film: a still room; from {ARRIVES_S:g} s on a page comes in, is in place at {PLACED_S:g} s, drifts and "
        f"turns slowly in a hand that shakes by a pixel, and rests from {RESTS_S:g} s on: `still` on a stand, or by a "
        "`hand` that trembles by less than a pixel. Sensor noise, flicker and exposure drift throughout, no motion "
        "blur. The page is in place, and comes to rest, half-way between two whole seconds, so that one picture a "
        "second waits half a second, as it does on average.",
        "- The text: common words and random codes by turns, capitals and digits in DejaVu Sans, no two signs of the "
        "alphabet alike (no 0 O Q, 1 I, 5, 8, Z). Cap height is that of the letters in the frame.",
        "- The picture: what a system's receiver shows at that moment, holding included; of canvases, the viewer's. "
        "The same part of it for everyone, the page and its surroundings, is read by PP-OCRv4 at its own size.",
        "- `char_accuracy`: 1 - edit distance / signs, 0 at worst, spaces, line ends and case aside, the mean over the "
        f"readings from {SETTLED_S:g} to {TIMES_S[-1]:g} s after the page was in place, {SETTLED_S - STILL_S:g} s and "
        "more after it came to rest; `accuracy_at_T_s` at each time. One page a height: an error is worth 1 / `signs`.",
        f"- `seconds_to_90`: the first of the times {', '.join(f'{t:g}' for t in TIMES_S)} s at which {ENOUGH:.0%} are "
        f"right, counted from the moment the page is in place; up to {STILL_S:g} it still moves. `bits_to_90`: a "
        "system's own bytes from the last frame without the page up to that moment.",
        "- `kbps`: all bytes over the whole film that a system's own protocol sends; `wire_kbps` adds what lies below "
        "each packet.",
    ]
