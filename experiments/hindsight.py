"""What would a gate save that knew the future? The best moments to tell each cell, in hindsight, beside ours.

    python -m experiments.hindsight --clips DIR --out DIR [--size 256] [--fps 10] [--seconds 6] [--quick] [--jobs N]

    latents of every frame --experiments.moments--> when to tell each cell --tell--> canvases, read as any other

A telling is a token: a cell, or the gist, on all levels that the model reads. Two oracles tell what is seen in the
frame of the telling, so that only when to tell is known beforehand; the third tells the mean of what is seen until it
tells again. The moments are the best by the gate's own measure, not by the cosine. Bits are free here, for ours too.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache, lru_cache

import numpy as np
from numpy.typing import NDArray

from edge_gate.budget import Caps
from edge_gate.source import parse_size
from experiments import bench, plots
from experiments.bench import Row, Rows
from experiments.films import check_length
from experiments.judges import Scorer
from experiments.moments import Floats, Spans, Told, first, mean, moments
from experiments.rate_quality import KEY, QUICK_SECONDS, Job, find_films, judges, key_of, seen
from experiments.statistics import Curves, means
from experiments.systems import Clip, Known, System, all_systems
from experiments.systems.ours import PARTS, encoder
from vidtok.canvas import Grid, blank
from vidtok.codec import diff, patch
from vidtok.live.sender import SendConfig
from vidtok.tokenizer.edge import load_info
from vidtok.tokenizer.fsq import CHANNELS, EDGES, GIST_LEVELS, SEEN_LEVELS, quantise

PRICES = (30.0, 20.0, 14.0, 10.0, 7.0, 5.0, 3.0, 2.0, 1.0, 0.5, 0.2, 0.05)  # of a token, in what is missed in a second
OUR_PRICES = (30.0, 20.0, 14.0, 10.0, 7.0, 5.0, 3.0, 1.0, 0.5)
GIST_COUNTS = 10.0  # what is missed of the gist counts so manyfold where the cosine is to be best: set on train clips
FREE = replace(SendConfig(), caps=Caps(10_000, 10_000), price=0.01, levels=SEEN_LEVELS)  # tokens alone count
OURS, DENSE, ALL_LEVELS = "vidtok-by-tokens", "vidtok-dense", f"{SEEN_LEVELS} levels"
SHARE = 0.99  # of the dense stream's quality is asked for
QUALITIES = {"feature_cosine": (0.9, 0.92, 0.93), "feature_cosine_places": (0.65, 0.75, 0.8)}
COLUMNS = ("tokens_per_s", *QUALITIES, "top1_agreement")


# Systems


@dataclass(frozen=True)
class Oracle:
    """What it tells when it tells, and what counts."""

    told: Told
    price: float
    gist_counts: float = 1.0


@dataclass(frozen=True, eq=False)
class Watched:
    """A clip as the tokenizer sees it."""

    cells: Floats  # (T, N, CHANNELS), those in sight
    gists: Floats  # (T, 1, GIST)
    spans: Spans
    gist_spans: Spans


@lru_cache(maxsize=2)
def watch(clip: Clip, told: Told) -> Watched:
    """Look at every frame."""
    canvas, info, read = blank(Grid(*clip.size)), load_info(), EDGES[SEEN_LEVELS]
    looks = [(encoder()(frame.pixels)[canvas.visible()], encoder().gist()[None]) for frame in clip]
    cells, gists = (np.stack(of) for of in zip(*looks, strict=True))
    spans = Spans.of(cells[..., :read], info.sensitivity[:read], told)
    return Watched(cells, gists, spans, Spans.of(gists, info.gist_sensitivity * canvas.grid.frame_cells, told))


def tell(oracle: Oracle, clip: Clip) -> Iterator[Known]:
    """Each cell, and the gist, at its moments."""
    watched, canvas, tokens = watch(clip, oracle.told), blank(Grid(*clip.size)), 0
    visible = canvas.visible()
    values, wanted = np.zeros((*visible.shape, CHANNELS), np.uint8), np.zeros(visible.shape, np.uint8)
    price = oracle.price * clip.fps
    until, gist_until = moments(watched.spans, price), moments(watched.gist_spans, price / oracle.gist_counts)
    for now in range(clip.count):
        wanted[visible] = np.where(until[now] > 0, SEEN_LEVELS, 0)
        values[visible] = values_told(watched.cells, until[now], now, oracle.told)
        gist = values_told(watched.gists, gist_until[now], now, oracle.told)[0]
        edits = diff(values, canvas, wanted, gist=gist, gist_to=GIST_LEVELS if gist_until[now, 0] else 0)
        if edits.tokens:
            canvas, tokens = patch(canvas, edits, canvas.version + 1), tokens + edits.tokens
        yield Known(canvas=canvas, bytes=None, tokens=tokens)


def values_told(latents: Floats, until: NDArray[np.int64], now: int, told: Told) -> NDArray[np.uint8]:
    """(N, C) of latents (T, N, C): what is told now, zero where nothing is."""
    out = np.zeros(latents.shape[1:], np.uint8)
    for cell in np.flatnonzero(until):
        out[cell] = quantise(told(latents[now : until[cell], cell]))
    return out


@cache
def systems() -> dict[str, System]:
    """The oracles, ours with and without averaging, a gate that tells what differs most now, and the dense stream."""
    shipped = all_systems()

    def oracle(name: str, about: str, told: Told, counts: float = 1.0) -> System:
        settings = {f"token price {price:g}": Oracle(told, price, counts) for price in PRICES}
        return System(name, about, tell, settings, "tokens", weights=load_info().digest.hex())

    tenfold = f"the gist counts {GIST_COUNTS:g}-fold"

    def ours(name: str, about: str, config: SendConfig, family: str) -> System:
        settings = {f"token price {price:g}": replace(config, token_price=price) for price in OUR_PRICES}
        said = f"{about}; on the levels that the model reads, price {FREE.price:g}, caps beyond reach"
        return replace(shipped[name], about=said, settings=settings, family=family, quick=())

    dense, (without, change) = shipped[DENSE], PARTS["vidtok-no-steady"]
    found = [
        oracle("hindsight", "tells what is seen, at the best moments by the gate's measure", first),
        oracle("hindsight-gist", f"the same, but {tenfold}", first, GIST_COUNTS),
        oracle("hindsight-mean", f"tells the mean of what is seen until it tells again; {tenfold}", mean, GIST_COUNTS),
        ours(OURS, "as shipped", FREE, "vidtok"),
        ours("vidtok-no-steady", without, replace(FREE, **change), "ablations"),
        shipped["gate-codes"],
        replace(dense, settings={ALL_LEVELS: dense.settings[ALL_LEVELS]}),
    ]
    return {system.name: system for system in found}


# A run


def run(argv: Sequence[str] | None = None) -> None:
    """Command line."""
    args = arguments(argv)
    chosen = systems()
    films, left_out = find_films(args)
    rows = Rows(args.out, KEY, {"size": films[0].shape, "fps": args.fps, "seconds": args.seconds})
    jobs = [Job(s.name, label, film) for film in films for s in chosen.values() for label in s.chosen(args.quick)]
    waiting = [job for job in jobs if not rows.has(**key_of(job, chosen))]
    took = bench.run_jobs(waiting, work, rows, start=systems, workers=args.jobs, label="hindsight")
    kept = rows.keep([key_of(job, chosen) for job in jobs])
    averaged, saved = means(kept, COLUMNS), savings(kept)
    summary = {"means": averaged, "saved": saved, "clips_left_out": left_out, "machine": bench.machine()}
    bench.write_json(args.out / "summary.json", summary)
    looks = plots.looks(chosen, {system.name: system.family for system in chosen.values()})
    for name in QUALITIES:
        labels = ("tokens a second", name.replace("_", " "))
        plots.lines(averaged, args.out / f"{name}.png", looks, x="tokens_per_s", y=name, labels=labels)
    said = f"{len(films)} clips, at most {args.seconds:g} s of each, {args.size} pixels, {args.fps:g} fps."
    ran = f"{len(jobs)} rows, {len(waiting)} of them measured now, in {took / 60:.1f} minutes; the rest were there."
    report(args, [said, ran, *left_out], averaged, saved)


def arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line, checked."""
    parser = bench.parser("hindsight", __doc__)
    parser.add_argument("--size", default="256", help="a number for a square, or WIDTHxHEIGHT; multiples of 16")
    parser.add_argument("--fps", type=float, default=10.0)
    parser.add_argument("--seconds", type=float, help="of each clip (default 6, with --quick 2)")
    args = parser.parse_args(argv)
    args.seconds = args.seconds if args.seconds is not None else (QUICK_SECONDS if args.quick else 6.0)
    check_length(parse_size(args.size), args.fps, args.seconds)
    return args


def work(job: Job) -> list[Row]:
    """One system at one setting on one clip; no `follow`, which refuses to look ahead."""
    clip, true = seen(job.film)
    system, scorer = systems()[job.system], Scorer(judges(job.film.size))
    with bench.naming(job.system, job.setting, clip.name):
        for look, known in zip(true, system.run(system.settings[job.setting], clip), strict=True):
            scorer.take(replace(known, bytes=None), look)  # no pictures: the model reads tokens
    row = scorer.row() | {"tokens_per_s": known.tokens / clip.seconds}
    of = {"size": job.film.shape, "fps": clip.fps, "seconds": job.film.seconds}
    return [key_of(job, {job.system: system}) | of | {name: round(row[name] or 0.0, 9) for name in COLUMNS}]


def savings(rows: Sequence[Row]) -> list[Row]:
    """Tokens a second at a quality, and which share of the dense stream's is saved: alone, and of the best oracle's."""
    dense = next(row for row in means(rows, COLUMNS) if row["system"] == DENSE)
    out: list[Row] = []
    for name, asked in QUALITIES.items():
        curves = Curves(rows, "tokens_per_s", name)
        for quality in (*asked, SHARE * dense[name]):
            found = {system: curves.cost(system, quality) for system in curves.systems if system != DENSE}
            saved = {s: 1 - cost.value / dense["tokens_per_s"] for s, cost in found.items() if cost.value is not None}
            best = max((share for system, share in saved.items() if system.startswith("hindsight")), default=None)
            out += [
                {
                    "quality": name, "at": quality, "system": system,
                    "tokens_per_s": cost.value, "low": cost.low, "high": cost.high,
                    "saved": saved.get(system), "of_best": saved[system] / best if best and system in saved else None,
                }
                for system, cost in found.items()
            ]  # fmt: skip
    return out


def report(args: argparse.Namespace, said: Sequence[str], averaged: Sequence[Row], saved: Sequence[Row]) -> None:
    """report.md."""
    bench.write_report(
        args.out,
        "hindsight: what a gate would save that knew the future",
        [
            *said,
            "",
            *(line for name in QUALITIES for line in (f"![{name}]({name}.png)", "")),
            "## Tokens a second at equal quality",
            "",
            f"The last of a kind is {SHARE:.0%} of the dense stream's. `low`, `high`: 95% interval over clips. "
            "`saved`: of the dense stream's tokens. `of_best`: of what the oracle saves that saves most there.",
            "",
            *bench.table(saved, list(saved[0])),
            "",
            "## Means over clips",
            "",
            *bench.table(averaged, ("system", "setting", *COLUMNS)),
            "",
            "## The systems",
            "",
            *(f"- `{system.name}`: {system.about}." for system in systems().values()),
        ],
    )


if __name__ == "__main__":
    bench.main(run)
