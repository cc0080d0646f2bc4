"""Glass to token over real WebRTC between two processes: our stream against a video track that the tower looks at.

    python -m experiments.latency --out DIR [--clips DIR] [--size 256] [--fps 10] [--seconds 6] [--repeats 3] [--quick]

    this process                                     the receiving process
    Camera --Edge--> data channel ----------------> Server: canvas, token head | back half
           --VideoTrack--> VP8 or H.264, RTP ------> aiortc's decoder, RGB, front half | back half
                                                                  tokens ^    answer ^

Both systems film the same frames at the same pace, in turn, between the same two processes. Every frame carries its
number in its picture (big black and white blocks, Gray code), so that it is known again behind any codec. Times are
CLOCK_MONOTONIC, which all processes of one machine share. HTTP listens on 127.0.0.1 only; media flow between this
machine's own addresses. `--jobs` is not heeded.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np
from tqdm import tqdm

from edge_gate.source import SourceError
from experiments import bench, timing
from experiments.bench import BenchError, Row
from experiments.latency_camera import TAIL, filmed, measured
from experiments.latency_receiver import SPARE_TIMEOUT_S, Receiving
from experiments.latency_senders import Sent, ask, send_ours, send_video
from experiments.plots import pyplot
from experiments.systems import Clip
from experiments.timing import Plan, groups, label, spread
from transport.errors import ConnectionClosed, PeerError
from vidtok.live.sender import SendConfig

UDP_BYTES = 28  # IPv4 20, UDP 8, a packet
QUANTILES = (50, 95, 99)
WHAT = {"token": "", "features": "features_", "answer": "answer_"}  # moment -> prefix of its columns


@dataclass(frozen=True)
class System:
    """A way from the camera to the model."""

    name: str
    setting: str
    about: str
    mime: str | None = None  # of a video track; None: our stream
    marker: bool = False  # the receiver hands a frame on at its last packet


def systems(quick: bool = False) -> list[System]:
    """What is compared; the first of the video tracks is what ratios are to."""
    caps = SendConfig().caps
    hold = "aiortc's receiver as it is: it hands a frame on when the next one begins, so one frame later"
    now = "each frame handed on at its last packet, as browsers do, by another jitter buffer in aiortc's receiver"
    vp8 = "VP8 as aiortc sets it (libvpx realtime, 250 to 1500 kbps)"
    ours = f"{caps.kbps:g} kbps, {caps.tokens_per_s:g} tokens/s"
    found = [
        System("webrtc-vp8", "at once", f"{vp8}; {now}; ratios are to this one", "video/VP8", True),
        System("webrtc-h264", "at once", f"H.264 as aiortc sets it (libx264 zerolatency); {now}", "video/H264", True),
        System("webrtc-vp8", "as aiortc", f"{vp8}; {hold}", "video/VP8"),
        System("vidtok", ours, "our stream over the data channel, as shipped"),
    ]
    return [found[0], found[3]] if quick else found


# Runs


async def one_run(receiving: Receiving, system: System, clip: Clip) -> Run:
    """Film a clip through a system, and put both processes' notes together."""
    try:
        async with asyncio.timeout(clip.seconds + SPARE_TIMEOUT_S):
            if system.mime:
                sent = await send_video(receiving.url, clip, system.mime, system.marker)
            else:
                sent = await send_ours(receiving.url, clip)
            rows = json.loads(await ask(receiving.url + "/rows"))
    except TimeoutError:
        raise BenchError(receiving.failed(f"did not finish {system.name} on {clip.name} in time")) from None
    except (PeerError, ConnectionClosed, aiohttp.ClientError, OSError) as error:
        raise BenchError(receiving.failed(f"ended {system.name} on {clip.name} ({error})")) from None
    moments = of_video(rows) if system.mime else of_ours(rows, sent)
    return Run.of(clip, sent, moments)


Moments = dict[int, dict[str, int]]  # frame -> moment -> its time in ns


def of_ours(rows: Sequence[Row], sent: Sent) -> Moments:
    """When each frame's edits stood in the canvas (all of its packets), and when they were read."""
    numbers = {capture: number for number, capture in sent.capture_ms.items()}
    last: dict[int, Row] = {}
    for row in rows:
        if row["event"] == "update" and row["capture_ms"] in numbers:
            last[numbers[row["capture_ms"]]] = row
    read = {row["version"]: row for row in rows if row["event"] == "sight"}
    out: Moments = {}
    for number, row in last.items():
        out[number] = {"token": row["ns"]}
        if row["version"] in read:
            sight = read[row["version"]]
            out[number] |= {"features": sight["features_ns"], "answer": sight["ns"]}
    return out


def of_video(rows: Sequence[Row]) -> Moments:
    """When each frame's features stood at the tower's cut: there a video's tokens begin to exist."""
    return {
        row["number"]: {"token": row["features_ns"], "features": row["features_ns"], "answer": row["ns"]}
        for row in reversed(rows)  # of a frame that came twice, the first counts
    }


@dataclass(frozen=True)
class Run:
    """One run's figures."""

    delays_ms: Mapping[str, Sequence[float]]  # moment -> of each frame that got there
    frames: int
    late: int  # never taken from the camera
    foreign: int  # numbers read that were never filmed
    wire_kbps: float
    wire_packets_per_s: float
    kbps: float

    @classmethod
    def of(cls, clip: Clip, sent: Sent, moments: Moments) -> Run:
        """From what was filmed and what arrived."""
        window = measured(clip)
        known = {number: at for number, at in moments.items() if number in sent.glass_ns}
        delays = {
            name: [
                (at[name] - sent.glass_ns[number]) / 1e6
                for number, at in sorted(known.items())
                if number in window and name in at
            ]
            for name in WHAT
        }
        if not delays["token"] or not delays["answer"]:
            raise BenchError(f"nothing of {clip.name} arrived: run it again with more --seconds")
        wire = sent.wire_bytes + UDP_BYTES * sent.wire_packets
        kbps = 8 / clip.seconds / 1000
        late = sum(number not in sent.glass_ns for number in window)
        foreign = len(moments) - len(known)
        packets = sent.wire_packets / clip.seconds
        return cls(delays, len(window), late, foreign, wire * kbps, packets, sent.bytes * kbps)

    def quantile(self, what: str, percent: int) -> float:
        """Of one moment's delays."""
        return float(np.percentile(self.delays_ms[what], percent))


def row_of(runs: Sequence[Run], base: Sequence[Run]) -> Row:
    """The figures of a row: medians over repeats, the lowest and highest beside them."""
    out: Row = {}
    for what, prefix in WHAT.items():
        for percent in QUANTILES:
            out |= spread(f"{prefix}p{percent}_ms", [run.quantile(what, percent) for run in runs])
        ratios = [r.quantile(what, 50) / b.quantile(what, 50) for r, b in zip(runs, base, strict=True)]
        out |= spread(f"{prefix}ratio_to_video", ratios)
    arrived = sum(len(run.delays_ms["token"]) for run in runs)
    frames = sum(run.frames for run in runs)
    return out | {
        "frames": frames,
        "frames_measured": arrived,
        "frames_skipped": frames - arrived,
        "frames_late": sum(run.late for run in runs),
        "frames_answered": sum(len(run.delays_ms["answer"]) for run in runs),
        "frames_misread": sum(run.foreign for run in runs),
        **spread("kbps", [run.kbps for run in runs]),
        **spread("wire_kbps", [run.wire_kbps for run in runs]),
        "wire_packets_per_s": round(float(np.median([run.wire_packets_per_s for run in runs])), 2),
    }


async def compare(receiving: Receiving, chosen: Sequence[System], clip: Clip, repeats: int, tell: Any) -> list[Row]:
    """Every system in turn, so many times; the first is what ratios are to."""
    long = filmed(clip)
    runs: list[list[Run]] = [[] for _ in chosen]
    for number in range(repeats):
        for place in range(len(chosen)):
            index = (place + number) % len(chosen)
            runs[index].append(await one_run(receiving, chosen[index], long))
            tell.update()
    return [
        {"system": system.name, "setting": system.setting, "clip": clip.name} | row_of(mine, runs[0])
        for system, mine in zip(chosen, runs, strict=True)
    ]


async def measure(args: argparse.Namespace, chosen: Sequence[System], plan: Plan) -> None:
    """All clips that wait, one after the other."""
    with tqdm(total=len(plan.waiting) * len(chosen) * args.repeats, desc="latency", unit="run") as tell:
        async with Receiving(args.size) as receiving:
            for film in plan.waiting:
                try:
                    clip = film.load()
                except SourceError as error:
                    tqdm.write(f"{error}; left out")
                    continue
                rows = await compare(receiving, chosen, clip, args.repeats, tell)
                plan.rows.add([row | plan.rows.run for row in rows])


# The command


def run(argv: Sequence[str] | None = None) -> None:
    """Command line."""
    args = timing.arguments("latency", __doc__ or "", argv, repeats=3)
    timing.set_surroundings()
    chosen = systems(args.quick)
    plan = Plan(args, [(system.name, system.setting) for system in chosen])
    began = time.monotonic()
    if plan.waiting:
        asyncio.run(measure(args, chosen, plan))
    took = time.monotonic() - began
    kept = plan.kept()
    summary = timing.summarise(kept) | {"machine": bench.machine()}
    bench.write_json(args.out / "summary.json", summary)
    draw(args.out / "latency.png", summary)
    report(args, chosen, summary, plan.done(took))
    print(plan.said(kept))


def draw(path: Path, summary: Row) -> None:
    """Median delays with lowest and highest, a group a panel, a bar for each moment."""
    plt, names = pyplot(), groups(summary)
    bars = max(len(summary[name]) for name in names)
    figure, axes = plt.subplots(
        1, len(names), figsize=(5.2 * len(names) + 2, 0.95 * bars + 1.6), layout="constrained", sharey=True,
        squeeze=False,
    )  # fmt: skip
    for axis, group in zip(axes[0], names, strict=True):
        rows = list(summary[group].values())
        for number, (what, prefix) in enumerate(WHAT.items()):
            name = f"{prefix}p50_ms"
            values = [row[name] for row in rows]
            whiskers = (
                [row[name] - row[f"{name}_low"] for row in rows],
                [row[f"{name}_high"] - row[name] for row in rows],
            )
            places = [place + (number - 1) * 0.27 for place in range(len(rows))]
            axis.barh(
                places, values, xerr=whiskers, height=0.25, capsize=3, label=f"glass to {what}", color=f"C{number}"
            )
            for place, row in zip(places, rows, strict=True):
                axis.text(row[f"{name}_high"], place, f" {row[name]:.1f}", va="center", fontsize=8)
        axis.set(title=group, xlabel="ms, median", yticks=range(len(rows)), yticklabels=[label(row) for row in rows])
        axis.margins(x=0.15)
    axes[0][0].invert_yaxis()
    figure.legend(*axes[0][0].get_legend_handles_labels(), loc="outside lower center", ncols=len(WHAT), frameon=False)
    figure.savefig(path, dpi=90)
    plt.close(figure)


REPORT = (
    "Glass is the moment at which a frame comes into being in the camera (a sender that is late sees the newest one, "
    "and its waiting counts). **Token**, ours: all of the frame's edits are in the receiving process's canvas; video: "
    "the decoded frame's features stand where the tower is cut. **Features** is that cut for both, ours after the "
    "token head. **Answer** is the tower's ImageNet label. Each process is one thread a library. The first second and "
    f"the last {TAIL} frames of a run are not measured. `ratio_to_video` is between medians of the same repeat. All "
    "times are CLOCK_MONOTONIC, which both processes read.",
    "",
    "aiortc's receiver hands a video frame on only when the next one begins. That is its own doing, not WebRTC's, so "
    "the ratios are to a receiver mended in that point; the receiver as it is stands beside it. aiortc asks VP8 and "
    "H.264 for at least 250 kbps, so nothing here says anything about rates.",
    "",
    "`kbps` are session bytes of both directions for ours and RTP payload for video. `wire_kbps` is what crossed in "
    "both directions from the opened connection to its end, as aiortc counts it below SRTP or DTLS, and "
    f"{UDP_BYTES} bytes of UDP and IPv4 a packet; connectivity checks are not in it. `frames_skipped` are those "
    "without a token: `frames_late` of them the sender was too busy to take from the camera; in the others ours had "
    "nothing to say or its caps forbade it, or the video encoder dropped them.",
)
_TABLE = (
    "system", "setting", "p50_ms", "p95_ms", "p99_ms", "ratio_to_video", "features_p50_ms", "features_ratio_to_video",
    "answer_p50_ms", "answer_p95_ms", "answer_ratio_to_video",
)  # fmt: skip
_COUNTS = (
    "system", "setting", "frames", "frames_measured", "frames_skipped", "frames_late", "frames_answered",
    "frames_misread", "kbps", "wire_kbps", "wire_packets_per_s",
)  # fmt: skip


def report(args: argparse.Namespace, chosen: Sequence[System], summary: Row, took: str) -> None:
    """report.md."""
    width, height = args.size
    head = f"{width}x{height}, {args.fps:g} fps, {args.seconds:g} s measured of each, {args.repeats} repeats. {took}"
    lines = [head, "", *REPORT, "", "![delays](latency.png)", ""]
    for group in groups(summary):
        rows = list(summary[group].values())
        lines += [f"## {group}", "", *bench.table(rows, _TABLE), "", *bench.table(rows, _COUNTS), ""]
    lines += ["## Systems", "", *(f"- **{s.name} ({s.setting})**: {s.about}" for s in chosen)]
    bench.write_report(args.out, "Glass to token", lines)


if __name__ == "__main__":
    bench.main(run)
