"""What `browser_edge` says of its rows: summary.json, a plot and report.md.

rows --medians over clips--> a row a system and setting --ratios(), targets--> summary, plot, report
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from experiments import bench
from experiments.bench import Row
from experiments.browser_edge_camera import LEAD_S
from experiments.browser_edge_figures import OURS, UDP_BYTES, folded, medians, ratios, workable
from experiments.browser_edge_twins import PARTS
from experiments.plots import pyplot

TITLE = "The edge in the browser"
_DELAYS = (
    "system", "setting", "clips", "p50_ms", "p95_ms", "news_p50_ms", "news_p95_ms", "known_p50_ms", "feature_cosine",
    "frames", "frames_told",
)  # fmt: skip
_COSTS = (
    "system", "setting", "wire_bytes_per_s", "bytes_per_s", "packets_per_s", "tokens_per_s", "server_cpu_ms_per_s",
    "server_cpu_to_cut_ms_per_s", "tab_cpu_ms_per_s", "browser_cpu_ms_per_s",
)  # fmt: skip
_PACE = ("keeps_up_fps", "frame_ms", "look_p50_ms", "look_p95_ms", "look_share", *(f"{part}_ms" for part in PARTS))
_TWINS = (
    "codes_agree",
    "codes_near",
    "first_levels_agree",
    "cells_agree",
    "looks_agree",
    "payloads_agree",
    "payloads_agree_on_its_codes",
)
_LIVE = ("worked_fps", "worked_p50_ms", "worked_looks", "camera_lag_ms", "stamp_lag_ms")
_PAGE = ("page_cold_bytes", "page_runtime_bytes", "page_weights_bytes", "page_warm_bytes", "first_token_warm_s")
REPORT = (
    "Medians over clips. A frame's moment is when Chromium's camera took it. `p50_ms`, `p95_ms`: from there "
    "to model input, of the frames that led to any; ours: its edits stand in the server's canvas, video: the decoded "
    "and resized frame's features stand at the tower's cut. `news`: the same of every frame, until it or a newer one "
    "stood there; for ours a frame that was no news waits for the next that is. `known`: until the tower's labels are "
    "there, which ours reads every two seconds, for people. `feature_cosine`: what model input tells when the next "
    "frame is taken (ours: the canvas then, read afterwards) against what the whole tower sees in the true frame; "
    "ratios are to the video of fewest bytes that knows no less than ours, or to the one that knows most where none "
    "does.",
    "",
    "`wire_bytes_per_s`: both directions as Chromium's transport counts them (RTP, RTCP and SRTP, or SCTP, and DTLS) "
    f"and {UDP_BYTES} bytes of UDP and IPv4 a packet; `bytes_per_s`: RTP payload, or the data channels' messages. "
    "`server_cpu`: of the receiving process: ours `vidtok serve` with its model and labels, video: aiortc, decoder, "
    "whole tower on every frame and the same model reading every frame's tokens once a second; `to_cut`: without the "
    "tower beyond the cut at which our tokens enter it. `tab_cpu`: of the "
    "tabs' processes, all that the page draws and counts and the note of each frame's stamp included; `browser_cpu`: "
    "of all of Chromium. The viewer's picture is for people and is not asked for.",
    "",
    f"Only the {LEAD_S:g} s before what is measured carry numbers in the picture. aiortc's receiver is mended to hand "
    "a frame on at its last packet, as in `latency`; `as aiortc` is it unmended.",
)

_PARTS = (
    "`codes_agree`: values that are the same; `codes_near`: or one apart; `first_levels_agree`, `cells_agree`: cells "
    "whose first level, or all of them, are the same; `looks_agree`, `payloads_agree`: frames; "
    "`payloads_agree_on_its_codes`: frames, where Python's edge is given what the browser's encoder saw.",
    "",
    "Parts of a frame:",
)


def write(args: argparse.Namespace, rows: Sequence[Row], took: str) -> None:
    """All of it."""
    middle = folded(medians(rows))
    beside = ratios(middle, args.size)
    video = workable(middle)
    summary: Row = {
        "systems": middle,
        "targets": beside,
        "video": None if video is None else f"{video['system']} ({video['setting']})",
        "browser": sorted({row["browser"] for row in rows}),
        "machine": bench.machine(),
    }
    bench.write_json(args.out / "summary.json", summary)
    drawn = draw(args.out / "browser_edge.png", middle)
    report(args, summary, took, drawn)


def report(args: argparse.Namespace, summary: Row, took: str, drawn: bool) -> None:
    """report.md."""
    width, height = args.size
    middle = summary["systems"]
    streams = [row for row in middle if "wire_bytes_per_s" in row]
    lines = [
        f"{width}x{height}, {args.fps:g} fps, {args.seconds:g} s of each clip; {', '.join(summary['browser'])}. {took}",
        "", *REPORT, "",
    ]  # fmt: skip
    if drawn:
        lines += ["![delays, bytes, CPU](browser_edge.png)", ""]
    if summary["targets"]:
        lines += ["## Targets", "", *bench.table(summary["targets"], ("what", "figure", "target", "met")), ""]
    if streams:
        lines += ["## Delay and knowledge", "", *bench.table(streams, _DELAYS), ""]
        lines += ["## Bytes and CPU", "", *bench.table(streams, _COSTS), ""]
    titles = {
        "What a frame costs in the browser, one thread of WASM": _PACE,
        "The browser's edge and Python's on the same frames": _TWINS,
        "The page while it is measured": _LIVE,
        "The page's weight": _PAGE,
    }
    for title, columns in titles.items():
        mine = [row for row in middle if row["system"] == OURS and columns[0] in row]
        lines += [f"## {title}", "", *bench.table(mine, columns), ""] if mine else []
    if any("codes_agree" in row for row in middle):
        lines += [*_PARTS, "", *(f"- **{part}**: {about}" for part, about in PARTS.items())]
    bench.write_report(args.out, TITLE, lines)


def draw(path: Path, rows: Sequence[Row]) -> bool:
    """Delay, bytes and server's CPU, a bar a setting; nothing to draw without a stream."""
    plt = pyplot()
    streams = [row for row in rows if "wire_bytes_per_s" in row]
    if not streams:
        return False
    names = [f"{row['system']} ({row['setting']})" for row in streams]
    panels = {
        "p50_ms": "ms from the camera to model input",
        "wire_bytes_per_s": "bytes a second on the wire",
        "server_cpu_ms_per_s": "server: CPU ms a second",
        "feature_cosine": "knowledge: cosine with the true frame's view",
    }
    size = (4.1 * len(panels) + 2, 0.42 * len(streams) + 1.4)
    figure, axes = plt.subplots(1, len(panels), figsize=size, layout="constrained", sharey=True)
    for axis, (column, title) in zip(axes, panels.items(), strict=True):
        _bars(axis, names, streams, column, title)
    axes[0].invert_yaxis()
    figure.savefig(path, dpi=90)
    plt.close(figure)
    return True


def _bars(axis: Any, names: Sequence[str], rows: Sequence[Row], column: str, title: str) -> None:
    values = [row.get(column) or 0.0 for row in rows]
    colours = ["tab:orange" if row["system"] == OURS else "tab:gray" for row in rows]
    axis.barh(names, values, color=colours, height=0.6)
    for place, row in enumerate(rows):
        axis.text(values[place], place, f" {bench.short(row.get(column))}", va="center", fontsize=8)
    axis.set_xlabel(title)
    axis.margins(x=0.25)
    axis.locator_params(axis="x", nbins=4)
