"""What the transport costs: streams that one core carries, and delay over WebRTC against a bare data channel.

    python -m experiments.transport_speed --out DIR [--seconds 10] [--repeats 5] [--quick]

    streams --written down, then replayed--> either end's CPU time ------------> streams per core
    updates --our session | a bare channel, between two processes, in turn--> one-way delays, and their ratios

Everything is measured in turn, round after round (`experiments.timing`); ratios are between figures of the same round.
Figures want a quiet machine: two cores to themselves. `--jobs` is not heeded.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from tqdm import tqdm

from experiments import bench, timing
from experiments.bench import BenchError, Row, Rows
from experiments.latency_receiver import Receiving
from experiments.timing import in_turn, spread
from experiments.transport_speed_core import Kind, tapes, timed
from experiments.transport_speed_ways import MODULE, Sent, Way, send
from transport import PeerError, Role

KEY = ("measure", "system", "setting")
FPS = 30.0
SIZES = (400, 3000)
LEAD = 30  # updates of every run are not measured
QUANTILES = (50, 95, 99)
STREAMS = 100
MOVING, STILL = Kind(10.0, 200), Kind(0.0, 200)
ENDS = {Role.SENDER: "sending end", Role.RECEIVER: "receiving end"}
BOTH = "both ends"


def ways(size: int) -> list[Way]:
    """What is compared for updates of one size; ratios are to the first."""
    lossy = "unordered, never retransmitted"
    task = "the receiving application is a task that waits; the others' is called by aiortc first of all"
    found = [
        Way("bare channel", "lossy", f"a data channel of aiortc, {lossy}; ratios are to this one", 1),
        Way("session", "webrtc", "our session over our adapter, `on_event`"),
        Way("session", "webrtc, to a task", f"our session over our adapter, `events()`; {task}", task=True),
        Way("bare channel", "lossy, to a task", f"{lossy}; {task}", 1, task=True),
        Way("bare channel", "reliable", "ordered and retransmitted, as a channel is by default", 1, reliable=True),
    ]
    pieces = -(-size // 1000)
    if pieces > 1:
        about = f"{lossy}; in as many messages as ours"
        found.append(Way("bare channel", f"lossy, {pieces} messages", about, pieces))
        found.append(Way("bare channel", f"lossy, {pieces} messages, to a task", f"{about}; {task}", pieces, task=True))
    return found


# The core


def mixes() -> dict[str, list[tuple[Kind, int]]]:
    """What so many streams at once are made of."""
    return {
        "10 fps of 200 bytes": [(MOVING, STREAMS)],
        "still": [(STILL, STREAMS)],
        "half of either": [(MOVING, STREAMS // 2), (STILL, STREAMS // 2)],
    }


def core_rows(seconds: float, repeats: int) -> list[Row]:
    """Streams that one core carries, for either end and for both on one core."""
    rows: list[Row] = []
    for mix, kinds in mixes().items():
        streams, calls = sum(count for _, count in kinds), tapes(kinds, seconds)
        spent = in_turn([timed(role, calls[role], streams) for role in ENDS], repeats)
        cpu = {end: [one.cpu_s for one in mine] for end, mine in zip(ENDS.values(), spent, strict=True)}
        cpu[BOTH] = [sum(pair) for pair in zip(*cpu.values(), strict=True)]
        rows += [core_row(mix, end, [one / streams / seconds for one in mine]) for end, mine in cpu.items()]
    return rows


def core_row(mix: str, end: str, load: Sequence[float]) -> Row:
    """From the share of a core that one stream takes, round by round."""
    return {
        "measure": "core",
        "system": mix,
        "setting": end,
        **spread("streams_per_core", [1 / one for one in load]),
        **spread("cpu_ms_per_s", [one * 1000 for one in load]),
    }


# Delays


def delays_ms(sent: Sent) -> list[float]:
    """One-way delays of the updates that arrived, the first ones aside."""
    out = [
        (sent.arrived_ns[number] - ns) / 1e6
        for number, ns in sorted(sent.sent_ns.items())
        if number >= LEAD and number in sent.arrived_ns
    ]
    if not out:
        raise BenchError("nothing arrived: run it again with more --seconds")
    return out


def way_row(size: int, way: Way, runs: Sequence[Sent], base: Sequence[Sent], count: int) -> Row:
    """The figures of one way: medians over rounds, ratios to the base system of the same round."""
    out: Row = {"measure": f"{size} bytes", "system": way.name, "setting": way.setting}
    mine, others = [delays_ms(run) for run in runs], [delays_ms(run) for run in base]
    for percent in QUANTILES:
        values = [float(np.percentile(one, percent)) for one in mine]
        bases = [float(np.percentile(one, percent)) for one in others]
        out |= spread(f"p{percent}_ms", values)
        out |= spread(f"p{percent}_ratio", [value / other for value, other in zip(values, bases, strict=True)])
    sent = sum(number >= LEAD for run in runs for number in run.sent_ns)
    measured = sum(map(len, mine))
    return out | {"measured": measured, "lost": sent - measured, "skipped": (count - LEAD) * len(runs) - sent}


async def compare(receiving: Receiving, size: int, seconds: float, repeats: int, tell: Any) -> list[Row]:
    """Every way in turn, so many times; the first round warms up."""
    chosen = ways(size)
    runs: list[list[Sent]] = [[] for _ in chosen]
    count = LEAD + round(seconds * FPS)
    for number in range(repeats + 1):
        for place in range(len(chosen)):
            index = (place + number) % len(chosen)
            try:
                sending = send(receiving.url, chosen[index], size, FPS, count if number else 2 * LEAD)
                sent = await asyncio.wait_for(sending, seconds + 60)
            except (TimeoutError, PeerError) as error:
                raise BenchError(receiving.failed(f"ended {chosen[index].name} ({error!r})")) from None
            if number:
                runs[index].append(sent)
            tell.update()
    return [way_row(size, way, mine, runs[0], count) for way, mine in zip(chosen, runs, strict=True)]


async def way_rows(sizes: Sequence[int], seconds: float, repeats: int, rows: Rows) -> None:
    """All sizes, one after the other."""
    total = sum(len(ways(size)) for size in sizes) * (repeats + 1)
    with tqdm(total=total, desc="delays", unit="run") as tell:
        async with Receiving((), MODULE) as receiving:
            for size in sizes:
                found = await compare(receiving, size, seconds, repeats, tell)
                rows.add(row | rows.run for row in found)


# The command


def arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line, checked."""
    parser = bench.parser("transport_speed", __doc__, clips=None)
    parser.add_argument("--seconds", type=float, help="of each run and of each stream (default 10, with --quick 3)")
    parser.add_argument("--repeats", type=int, help="rounds (default 5, with --quick 2)")
    args = parser.parse_args(argv)
    args.seconds = args.seconds if args.seconds is not None else (3.0 if args.quick else 10.0)
    args.repeats = args.repeats if args.repeats is not None else (2 if args.quick else 5)
    if args.repeats < 1 or args.seconds < 0.5:
        raise BenchError("give at least --repeats 1 and --seconds 0.5")
    return args


def keys() -> list[Row]:
    """Of all rows, in their order."""
    found = [("core", mix, end) for mix in mixes() for end in (*ENDS.values(), BOTH)]
    found += [(f"{size} bytes", way.name, way.setting) for size in SIZES for way in ways(size)]
    return [dict(zip(KEY, key, strict=True)) for key in found]


def run(argv: Sequence[str] | None = None) -> None:
    """Command line."""
    args = arguments(argv)
    timing.set_surroundings()
    rows = Rows(args.out, KEY, {"seconds": args.seconds, "repeats": args.repeats})
    missing = {key["measure"] for key in keys() if not rows.has(**key)}
    began = time.monotonic()
    if "core" in missing:
        rows.add(row | rows.run for row in core_rows(args.seconds, args.repeats))
    sizes = [size for size in SIZES if f"{size} bytes" in missing]
    if sizes:
        asyncio.run(way_rows(sizes, args.seconds, args.repeats, rows))
    kept = rows.keep(keys())
    bench.write_json(args.out / "summary.json", summarise(kept) | {"machine": bench.machine()})
    report(args, kept, time.monotonic() - began)
    print(f"{len(kept)} rows: {args.out / 'report.md'}")


def summarise(rows: Sequence[Row]) -> Row:
    """By measure, then by system and setting."""
    out: Row = {}
    for row in rows:
        out.setdefault(row["measure"], {})[timing.label(row)] = {k: v for k, v in row.items() if k not in KEY}
    return out


REPORT = (
    "**Core**: the session without sockets, called as the asyncio shell calls it; CPU time of one thread. "
    "`streams_per_core` is seconds of stream over CPU seconds, with 100 streams at once.",
    "",
    "**Delays**: from the call that hands an update over until the receiving application has all of it, in another "
    f"process, {FPS:g} updates a second, the first {LEAD} aside; CLOCK_MONOTONIC, which both processes read. Medians "
    "over rounds, lowest and highest in results.json. Every run has a connection of its own. `ratio` is to the bare "
    "lossy channel with one message an update, of the same round. `skipped` had no room by the session's own estimate, "
    "`lost` never arrived whole.",
)
_CORE = ("system", "setting", "streams_per_core", "streams_per_core_low", "streams_per_core_high", "cpu_ms_per_s")
_DELAYS = (
    "system", "setting", "p50_ms", "p95_ms", "p99_ms", "p50_ratio", "p95_ratio", "p99_ratio", "measured", "lost",
    "skipped",
)  # fmt: skip


def report(args: argparse.Namespace, rows: Sequence[Row], took_s: float) -> None:
    """report.md."""
    lines = [f"{args.seconds:g} s, {args.repeats} rounds, {took_s / 60:.1f} minutes.", "", *REPORT, ""]
    for measure in dict.fromkeys(row["measure"] for row in rows):
        mine = [row for row in rows if row["measure"] == measure]
        lines += [f"## {measure}", "", *bench.table(mine, _CORE if measure == "core" else _DELAYS), ""]
    worst = max((row[f"p{p}_ratio"] for row in rows if row["system"] == "session" for p in QUANTILES), default=None)
    if worst is not None:
        lines += [f"The session's largest ratio is {worst:.2f}, median over rounds.", ""]
    lines += ["## Ways", "", *(f"- **{way.name} ({way.setting})**: {way.about}" for way in ways(max(SIZES)))]
    bench.write_report(args.out, "Speed of the transport", lines)


if __name__ == "__main__":
    bench.main(run)
