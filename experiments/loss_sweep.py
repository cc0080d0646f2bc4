"""Bad networks: how stale is what the receiver shows, and does it always know? Ours against what people use today.

    python -m experiments.loss_sweep --clips DIR --out DIR [--traces DIR] [--seconds 8] [--quick]

Tokens at 10 fps from real clips, over seeded links in virtual time. Ours decides live, from what comes back. The others
send what ours sends over a perfect link: `reliable-channel` is aiortc's own SCTP stack, reliable and ordered;
`websocket` is a model of TCP (CUBIC, RACK, tail loss probes); `lossy-keyframes` is aiortc's channel without
retransmissions, which starts from blank every two seconds and has no feedback. `--traces` takes a folder of files in
Mahimahi's format.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from experiments import baseline_sctp, baseline_tcp, bench, loss_greedy, loss_run
from experiments.bench import BenchError, Row, Rows
from experiments.films import Film, check_length
from experiments.loss_run import KEYFRAME_S, Remembered, Taped, Watched
from experiments.networks import SCARCE, Network, networks
from experiments.plots import pyplot
from experiments.rate_quality import find_films
from experiments.staleness import Tooth, heal_time, percentile, staleness
from experiments.systems import Clip
from transport.config import SessionConfig
from vidtok.live.sender import SendConfig

SIZE, FPS = 256, 10.0
KEY = ("system", "setting", "clip")
ABLATED = ("random 3%", "random 10%", "random 30%", "bursty 10%", "congested", "geo", "geo, outages", "geo, random 3%")
QUICK = ("no loss", "random 10%", "congested", "cell-edge, outages", SCARCE)
OURS: dict[str, SessionConfig] = {
    "vidtok": SessionConfig(),
    "vidtok-assumed": SessionConfig(bases="assumed"),
    "vidtok-acknowledged": SessionConfig(bases="acknowledged"),
    "vidtok-no-parity": SessionConfig(parity="never"),
    "vidtok-parity": SessionConfig(parity="always"),
}
Baseline = Callable[[Taped, Taped, tuple[Any, Any], float], Watched]
BASELINES: dict[str, Baseline] = {
    "reliable-channel": lambda tape, _, links, rtt: loss_run.reliable(tape, baseline_sctp.deliver, links, rtt),
    "websocket": lambda tape, _, links, rtt: loss_run.reliable(tape, baseline_tcp.deliver, links, rtt),
    "lossy-keyframes": lambda _, keyed, links, rtt: loss_run.lossy(keyed, baseline_sctp.deliver, links, rtt),
}
COLUMNS = (
    "loss_pct", "rtt_ms", "hash_equal", "wrong", "staleness_p50_ms", "staleness_p95_ms", "heal_rtt_p95",
    "queued_bytes_max", "kbps", "overhead", "tokens_per_s",
)  # fmt: skip


@dataclass(frozen=True)
class Job:
    """A clip over a network, by every system."""

    film: Film
    network: str
    traces: tuple[Path, ...]


def run(argv: Sequence[str] | None = None) -> None:
    """Command line."""
    args = _arguments(argv)
    films, left_out = find_films(args)
    rows = Rows(args.out, KEY, {"size": films[0].shape, "fps": FPS, "seconds": args.seconds})
    traces = tuple(sorted(p for p in args.traces.iterdir() if p.suffix in (".up", ".down"))) if args.traces else ()
    names = [n.name for n in networks(traces, 1.0) if not args.quick or n.name in QUICK]
    jobs = [Job(film, name, traces) for film in films for name in names]
    waiting = [job for job in jobs if not all(rows.has(**key) for key in _keys(job))]
    took = bench.run_jobs(waiting, work, rows, start=_nothing, workers=args.jobs, label="loss_sweep")
    chosen = rows.keep([key for job in jobs for key in _keys(job)])
    summary = summarise(chosen)
    greedy = asdict(loss_greedy.run())
    told = {"networks": summary, "greedy": greedy, "clips_left_out": left_out, "machine": bench.machine()}
    bench.write_json(args.out / "summary.json", told)
    draw(args.out / "staleness.png", summary)
    report(args.out, summary, greedy, len(films), args, took)
    print(f"{len(chosen)} rows: {args.out / 'report.md'}")


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = bench.parser("loss_sweep", __doc__)
    parser.add_argument("--traces", type=Path, help="folder of .up and .down files in Mahimahi's format")
    parser.add_argument("--seconds", type=float, help="of each clip (default 8, with --quick 4)")
    args = parser.parse_args(argv)
    args.size, args.fps = str(SIZE), FPS
    args.seconds = args.seconds if args.seconds is not None else (4.0 if args.quick else 8.0)
    check_length((SIZE, SIZE), FPS, args.seconds)
    if args.traces is not None and not args.traces.is_dir():
        raise BenchError(f"--traces {args.traces}: not a folder")
    return args


def _keys(job: Job) -> list[Row]:
    return [{"system": name, "setting": job.network, "clip": job.film.name} for name in systems(job.network)]


def systems(network: str) -> list[str]:
    """Who is sent over a network: ablations of ours only where they tell something."""
    ours = list(OURS) if network in ABLATED else ["vidtok"]
    return [*ours, *BASELINES]


# In a worker


def _nothing() -> None:
    pass


@lru_cache(maxsize=1)
def _clip(film: Film) -> tuple[Clip, Remembered, Taped, Taped]:
    clip, encoder = film.load(), Remembered(loss_run.encoder())
    taped = [loss_run.tape(clip, encoder, SendConfig(), every) for every in (None, KEYFRAME_S)]
    return clip, encoder, taped[0], taped[1]


def work(job: Job) -> list[Row]:
    """Every system over one network, with one clip."""
    with bench.naming(job.network, job.film.name):
        clip, encoder, tape, keyed = _clip(job.film)
        needed = tape.payload_bytes * 8 * FPS / len(tape.captured)
        network = next(n for n in networks(job.traces, needed) if n.name == job.network)
        seed = sum(job.film.name.encode())
        out = []
        for name in systems(job.network):
            links = network.links(seed)
            if name in OURS:
                watched = loss_run.ours(clip, encoder, SendConfig(), OURS[name], links)
            else:
                watched = BASELINES[name](tape, keyed, links, network.rtt_s)
            out.append(
                {"system": name, "setting": network.name, "clip": clip.name} | row_of(watched, network, job.film)
            )
        return out


def teeth_of(watched: Watched, settled_s: float = 1.0) -> list[Tooth]:
    """The age of what was shown, from some time after the first frame (at most half of all) to the last."""
    first, last = watched.captured[0], watched.captured[-1]
    return staleness(watched.captured, watched.shown, first + min(settled_s, (last - first) / 2), last)


def row_of(watched: Watched, network: Network, film: Film) -> Row:
    """One run's figures."""
    teeth, seconds = teeth_of(watched, network.settled_s), len(watched.captured) / FPS
    end = watched.captured[-1]
    heals = [
        (heal_time(watched.captured, watched.shown, until) or end - until) / network.rtt_s
        for _, until in network.outages
        if until < end
    ]
    ages = {f"staleness_p{p}_ms": round(min(percentile(teeth, p), end) * 1000, 1) for p in (50, 95)}
    return {
        "loss_pct": network.loss * 100, "rtt_ms": network.rtt_s * 1000, "hash_equal": int(watched.equal),
        "wrong": watched.wrong, **ages, "heal_rtt_p95": round(max(heals), 3) if heals else None,
        **{f"heal_rtt_{n + 1}": round(heal, 3) for n, heal in enumerate(heals)},
        "queued_bytes_max": watched.queue_max, "waited_max_ms": round(watched.waited_max_s * 1000, 1),
        "kbps": round(watched.wire_bytes * 8 / seconds / 1000, 4),
        "overhead": round(watched.wire_bytes / max(1, watched.payload_bytes) - 1, 4),
        "tokens_per_s": round(watched.tokens / seconds, 2),
        "size": film.shape, "fps": FPS, "seconds": film.seconds,
    }  # fmt: skip


# What is said of it


def summarise(rows: Sequence[Row]) -> list[Row]:
    """A row per system and network: means over clips; the worst of what must never be; heals over all outages."""
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        groups.setdefault((row["setting"], row["system"]), []).append(row)
    out = []
    for (setting, system), group in groups.items():
        heals = sorted(row[f"heal_rtt_{n}"] for row in group for n in (1, 2, 3) if f"heal_rtt_{n}" in row)
        means = {
            name: sum(row[name] for row in group) / len(group)
            for name in ("staleness_p50_ms", "staleness_p95_ms", "kbps", "overhead", "tokens_per_s")
        }
        out.append(
            {"setting": setting, "system": system, "clips": len(group)}
            | {name: group[0][name] for name in ("loss_pct", "rtt_ms")}
            | means
            | {"hash_equal": min(row["hash_equal"] for row in group), "wrong": sum(row["wrong"] for row in group)}
            | {name: max(row[name] for row in group) for name in ("queued_bytes_max", "waited_max_ms")}
            | {"heal_rtt_p95": heals[min(len(heals) - 1, int(0.95 * len(heals)))] if heals else None}
        )
    return out


def draw(path: Path, summary: Sequence[Row]) -> None:
    """Staleness at the 95th percentile, a group of bars a network."""
    plt = pyplot()
    settings = list(dict.fromkeys(row["setting"] for row in summary))
    shown = ["vidtok", *BASELINES]
    figure, axis = plt.subplots(figsize=(10, 0.42 * len(settings) + 1.2), layout="constrained")
    for n, (system, colour) in enumerate(zip(shown, ("#1a7f5a", "#8c6bb1", "#e08214", "#9a9a9a"), strict=True)):
        values = {row["setting"]: row["staleness_p95_ms"] for row in summary if row["system"] == system}
        places = [k + 0.2 * n for k, setting in enumerate(settings) if setting in values]
        axis.barh(places, [values[s] for s in settings if s in values], 0.19, color=colour, label=system)
    axis.set_yticks([k + 0.3 for k in range(len(settings))], settings)
    axis.invert_yaxis()
    axis.set(xscale="log", xlabel="age of what the receiver shows, 95th percentile over time, ms (mean over clips)")
    axis.legend(frameon=False, loc="lower right")
    axis.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def report(out: Path, summary: Sequence[Row], greedy: Row, clips: int, args: argparse.Namespace, took: float) -> None:
    """report.md."""
    first = f"{clips} clips, at most {args.seconds:g} s of each and 3 s of its last frame, {SIZE}x{SIZE}, {FPS:g} fps."
    lines = [
        f"{first} Measured now: {took / 60:.1f} minutes.", "", "![staleness](staleness.png)", "",
        "`staleness`: now less the capture time of the newest frame shown, over time. `heal`: from an outage's end",
        "until a frame captured after it is shown, in round trips, over all outages of all clips. `wrong`: canvases",
        "shown that the sender never had at that version. `kbps`: ours as the session counts both ways; others with",
        "SCTP or TCP, UDP and IP. `overhead`: all of that over the payload.", "",
        *bench.table(list(summary), ("setting", "system", *COLUMNS)), "",
        "## An application that always has more to say: 5 Mbps, 100 kbps for 3 s, 5 Mbps", "",
        *bench.table([greedy], tuple(greedy)),
    ]  # fmt: skip
    bench.write_report(out, "loss_sweep: how stale on a bad network, and does it know?", lines)


if __name__ == "__main__":
    bench.main(run)
