"""What the gate makes of what is wished of it: every kind of feedback, and what it buys and costs.

    python -m experiments.feedback --out DIR [--clips DIR] [--quick] [--jobs N]

    backdrops, 256 pixels at 10 fps --Loop, a wish at some time--> canvases, tokens, bytes --> rows --> report.md

| part | asked | told |
|---|---|---|
| attention | one half of the picture, under tight caps | what is spent and known there, and elsewhere |
| detail | the middle of the picture, where bits are dear | when all levels of it are held, and the bits until then |
| interest | a quarter, four times | what is spent, and what is known |
| limit | 5 kbps in the midst of the stream | from when no second holds more |
| refresh | everything again | when all cells in sight are held, and when as deep as before |
| floor | every cell anew within so many seconds | how old cells get, and what that costs |
| fairness | nothing: somebody walks into a corner, a curtain waves elsewhere or none | when a cell of it is told |
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from edge_gate.budget import Caps
from edge_gate.source import Frame
from edge_gate.wishes import Attention, Wishes
from experiments import bench
from experiments.backdrops import Film, find_films
from experiments.bench import Row, Rows
from experiments.judges import cosine, cosine_of_places
from experiments.planting import Box, Event, disturb, show, window
from experiments.systems.ours import encoder
from experiments.where_it_looks import covered
from vidtok.canvas import Canvas, Grid
from vidtok.edits import Kind
from vidtok.live.link import Tap
from vidtok.live.recording import Loop
from vidtok.live.sender import SendConfig, Step
from vidtok.model.reader import Reader
from vidtok.tokenizer.fsq import LEVELS

Pixels = NDArray[np.uint8]
Act = Callable[[Loop, float], None]

FPS, ASK_S, END_S = 10.0, 4.0, 12.0
TIGHT = Caps(6.0, 30.0)
DEAR = SendConfig(price=25.0)
LIMIT_KBPS = 5.0
FLOORS_S, FLOOR_END_S = (0.0, 10.0, 5.0), 30.0
TRIALS, SCARCE, LOW_S = 4, (10.0, 5.0), 2.0  # tokens a second, from when the held frame is known
TIMES = ("seconds", "kbit", "obeyed_s", "whole_s", "as_deep_s", "delay_s")
KEY = ("part", "system", "setting", "clip", "trial")


@dataclass(frozen=True, eq=False)
class Moment:
    """What one frame has led to."""

    time_s: float
    pixels: Pixels
    step: Step
    canvas: Canvas  # the receiver's
    bits: int  # sent since the beginning, both ways


def play(
    frames: Sequence[Pixels], config: SendConfig, ask: Act | None = None, ask_s: float = ASK_S, tap: Tap | None = None
) -> list[Moment]:
    """A film sent by the real ends; at one time something is asked of the sender."""
    height, width = frames[0].shape[:2]
    loop, moments = Loop(Grid(width, height), config, fps=FPS, name="feedback", tap=tap, encoder=encoder()), []
    for k, pixels in enumerate(frames):
        if ask is not None and k == round(ask_s * FPS):
            ask(loop, k / FPS)
        step = loop.step(Frame(pixels, k / FPS, k))
        assert loop.receiver.canvas is not None
        moments.append(Moment(k / FPS, pixels, step, loop.receiver.canvas, loop.bytes_total * 8))
    return moments


def wishing(wishes: Wishes) -> Act:
    """States wishes."""
    return lambda loop, now: loop.receiver.wish(wishes, now)


def costs(moments: Sequence[Moment], from_s: float = 0.0) -> Row:
    """What was spent from a time on."""
    late = since(moments, from_s)
    bits = late[-1].bits - (moments[-len(late) - 1].bits if len(late) < len(moments) else 0)
    tokens, seconds = sum(moment.step.tokens for moment in late), len(late) / FPS
    return {"kbps": round(bits / seconds / 1000, 2), "tokens_per_s": round(tokens / seconds, 2)}


def since(moments: Sequence[Moment], time_s: float) -> list[Moment]:
    """Those from a time on."""
    return [moment for moment in moments if moment.time_s >= time_s - 1e-6]


@lru_cache(maxsize=1)
def reader() -> Reader:
    """One for the process."""
    return Reader()


# The parts


def attention(film: Film, _trials: int) -> list[Row]:
    """Left half and right half in turn: the mean over both, attended to and not."""
    frames, config = film.load(round(END_S * FPS)), SendConfig(caps=TIGHT, price=12.0)
    plain = play(frames, config)
    truth = [reader().judge(moment.pixels).maps for moment in since(plain, ASK_S)[:: round(FPS)]]
    found: dict[str, list[Row]] = {"alike": [], "one half": []}
    grid = Grid(film.size[0], film.size[1])
    for left in (True, False):
        weights = np.zeros((grid.rows, grid.cols), np.float32)
        middle = (grid.cols - 1) // 2
        half = np.s_[:, :middle] if left else np.s_[:, middle:-1]
        weights[half] = 1
        asked = play(frames, config, wishing(Wishes(attention=Attention.of(weights, (0, 0)))))
        for setting, moments in (("alike", plain), ("one half", asked)):
            late = since(moments, ASK_S)
            told = sum((moment.step.kind != Kind.KEEP).astype(int) for moment in late)
            maps = [reader().read(moment.canvas).maps for moment in late[:: round(FPS)]]
            there, elsewhere = (
                np.mean([cosine_of_places(a[:, :, part], b[:, :, part]) for a, b in zip(maps, truth, strict=True)])
                for part in (half[1], _other(half[1], maps[0].shape[2]))
            )
            share = float(np.sum(told[half]) / max(np.sum(told), 1))
            row = {"share": share, "cosine_there": float(there), "cosine_elsewhere": float(elsewhere)}
            found[setting].append(row | costs(moments, ASK_S))
    return [{"setting": setting} | {name: _mean(name, rows) for name in rows[0]} for setting, rows in found.items()]


def _other(half: slice, cols: int) -> slice:
    return slice(half.stop, cols) if half.start is None else slice(0, half.start)


def _mean(name: str, rows: Sequence[Row]) -> float:
    return round(float(np.mean([row[name] for row in rows])), 4)


def detail(film: Film, _trials: int) -> list[Row]:
    """A box in the middle, three eighths of the picture wide and high."""
    frames = film.load(round(END_S * FPS))
    width, height = film.size
    box = (width * 5 // 16, height * 5 // 16, width * 3 // 8, height * 3 // 8)
    cells = covered(_filled(box, (height, width)), (0, 0), Grid(width, height)) > 0
    rows = []
    for setting, ask in (("not asked", None), ("asked", wishing(Wishes(detail=(box,))))):
        moments = play(frames, DEAR, ask)
        late = since(moments, ASK_S)
        whole = [moment for moment in late if (moment.canvas.depth[cells] == LEVELS).all()]
        levels = float(np.mean([moment.canvas.depth[cells].mean() for moment in late]))
        row: Row = {"setting": setting, "levels": round(levels, 2), "seconds": None, "kbit": None}
        if whole:
            row["seconds"] = round(whole[0].time_s - ASK_S, 2)
            row["kbit"] = round((whole[0].bits - moments[-len(late) - 1].bits) / 1000, 2)
        rows.append(row | costs(moments, ASK_S))
    return rows


def _filled(box: Box, shape: tuple[int, int]) -> NDArray[np.bool_]:
    mask, (left, top, width, height) = np.zeros(shape, bool), box
    mask[top : top + height, left : left + width] = True
    return mask


def interest(film: Film, _trials: int) -> list[Row]:
    """From the beginning, with caps out of the way."""
    frames, config = film.load(round(END_S * FPS)), SendConfig(caps=Caps(64, 640), price=12.0)
    rows = []
    for factor in (0.25, 1.0, 4.0):
        moments = play(frames, config, wishing(Wishes(interest=factor)), ask_s=0.0)
        seen = since(moments, 2.0)[:: round(FPS)]
        known = [cosine(reader().read(m.canvas).pooled, reader().judge(m.pixels).pooled) for m in seen]
        rows.append({"setting": f"{factor:g}", **costs(moments), "cosine": round(float(np.mean(known)), 4)})
    return rows


def limit(film: Film, _trials: int) -> list[Row]:
    """A lower cap while the stream is on: obeyed when no second that ends later holds more."""
    wire: list[tuple[float, int]] = []
    frames, wish = film.load(round(END_S * FPS)), wishing(Wishes(kbps=LIMIT_KBPS))
    moments = play(frames, SendConfig(price=1.0), wish, tap=lambda now, _, data: wire.append((now, len(data) * 8)))
    (at, bits), ends = np.array(wire).T, np.array([moment.time_s for moment in moments])
    kbps = np.array([bits[(at > end - 1 + 1e-6) & (at <= end + 1e-6)].sum() for end in ends]) / 1000
    over = ends[(ends >= ASK_S) & (kbps > LIMIT_KBPS)]
    row = {
        "kbps_before": kbps[(ends >= 1) & (ends < ASK_S)].mean(),
        "kbps_after": kbps[ends >= ASK_S + 1].mean(),
        "kbps_most": kbps[ends >= ASK_S + 1.1].max(),
        "obeyed_s": over[-1] - ASK_S + 1 / FPS if len(over) else 0.0,
    }
    return [{"setting": f"{LIMIT_KBPS:g} kbps", **{name: round(float(value), 2) for name, value in row.items()}}]


def refresh(film: Film, _trials: int) -> list[Row]:
    """Everything from blank, at the caps as they come and at tight ones."""
    frames, rows = film.load(round(END_S * FPS)), []
    for setting, caps in (("30 kbps, 300 tokens/s", Caps()), ("6 kbps, 30 tokens/s", TIGHT)):
        moments = play(frames, SendConfig(caps=caps), lambda loop, now: loop.receiver.session.request_refresh("", now))
        before, *late = [
            (m.time_s - ASK_S, m.canvas.depth[m.canvas.visible()]) for m in since(moments, ASK_S - 1 / FPS)
        ]
        whole = [round(after_s, 2) for after_s, depth in late if depth.all()]
        deep = [round(after_s, 2) for after_s, depth in late if depth.mean() >= 0.9 * before[1].mean()]
        row = {"setting": setting, "whole_s": min(whole, default=None), "as_deep_s": min(deep, default=None)}
        rows.append(row | {"levels_before": round(float(before[1].mean()), 2)})
    return rows


def floor(film: Film, _trials: int) -> list[Row]:
    """Ages of cells in sight from when the floor has come into its own."""
    frames, rows = film.load(round(FLOOR_END_S * FPS)), []
    for within_s in FLOORS_S:
        told_s, ages = None, []
        moments = play(frames, SendConfig(refresh_s=within_s))
        for moment in moments:
            told_s = np.zeros(moment.step.kind.shape) if told_s is None else told_s
            told_s[moment.step.kind != Kind.KEEP] = moment.time_s
            if moment.time_s >= max(FLOORS_S):
                ages.append((moment.time_s - told_s)[moment.canvas.visible()])
        age = np.concatenate(ages)
        row = {"age_p95_s": round(float(np.percentile(age, 95)), 2), "age_max_s": round(float(age.max()), 2)}
        setting = f"{within_s:g} s" if within_s else "none"
        rows.append({"setting": setting, **row, **costs(moments, max(FLOORS_S))})
    return rows


def fairness(film: Film, trials: int) -> list[Row]:
    """A frame held and known; somebody comes out of the corner furthest from the curtain. Not told counts 2 s."""
    still, rows = film.load(round(FPS))[-1], []
    first, count = round(ASK_S * FPS), round((ASK_S + 2) * FPS)
    for trial in range(trials):
        event = _walk_in(still, first, count - first, trial)
        for curtain in (False, True):
            scene = [disturb("leaves", still, k, FPS, trial) if curtain else still for k in range(count)]
            frames = [show(pixels, event, k) if k >= first else pixels for k, pixels in enumerate(scene)]
            for tokens in SCARCE:
                setting = f"{tokens:g} tokens/s{', curtain' * curtain}"
                for system, learned in (("vidtok", True), ("vidtok-unlearned", False)):
                    scarce = wishing(Wishes(tokens_per_s=tokens))
                    moments = play(frames, SendConfig(learned=learned), scarce, LOW_S)
                    delay = next((m.time_s - ASK_S for m in moments[first:] if _told(m, event)), 2.0)
                    row = {"system": system, "setting": setting, "trial": trial, "delay_s": round(delay, 2)}
                    rows.append(row | costs(moments, ASK_S))
    return rows


def _walk_in(still: Pixels, first: int, frames: int, seed: int) -> Event:
    height, width = still.shape[:2]
    left, top, right, bottom = window(still, seed)
    size = min(width, height) // 4
    x, dx = (0, size // 2) if left + right > width else (width - size, -size // 2)
    y = 0 if top + bottom > height else height - size
    return Event("crosses", round(frames / FPS * 1000), first, frames, x, y, size, 1.0, seed, dx)


def _told(moment: Moment, event: Event) -> bool:
    height, width = moment.pixels.shape[:2]
    left, top, right, bottom = event.box(round(moment.time_s * FPS))
    mask = _filled((left, top, right - left, bottom - top), (height, width))
    touched = covered(mask, moment.step.offset, Grid(width, height)) >= 0.25
    return bool((moment.step.kind[touched] != Kind.KEEP).any())


PARTS: dict[str, Callable[[Film, int], list[Row]]] = {
    each.__name__: each for each in (attention, detail, interest, limit, refresh, floor, fairness)
}


# The run


def run(argv: Sequence[str] | None = None) -> None:
    """Command line. Every run begins afresh: it takes minutes."""
    parser = bench.parser("feedback", __doc__, clips=False)
    parser.set_defaults(fps=FPS, seed=0)
    args = parser.parse_args(argv)
    args.size, args.backdrops = ("128", 1) if args.quick else ("256", 8)
    films, left_out = find_films(args)
    results = args.out / "results.json"
    results.unlink(missing_ok=True)
    rows = Rows(args.out, KEY, {"size": films[0].shape, "fps": FPS})
    jobs = [(part, film, 1 if args.quick else TRIALS) for part in PARTS for film in films]
    took = bench.run_jobs(jobs, work, rows, start=reader, workers=args.jobs, label="feedback")
    tables = summarise(json.loads(results.read_text()))
    bench.write_json(
        args.out / "summary.json", {"parts": tables, "clips_left_out": left_out} | {"machine": bench.machine()}
    )
    lines = [
        f"{len(films)} backdrops of {films[0].shape} pixels at {FPS:g} fps, seed 0, in {took / 60:.1f} minutes.",
        "",
    ]
    for name, table in tables.items():
        lines += [f"## {name}", "", (PARTS[name].__doc__ or "").strip(), "", *bench.table(table, list(table[0])), ""]
    bench.write_report(args.out, "feedback: what the gate makes of what is wished of it", lines)
    print("\n".join(lines))


def work(job: tuple[str, Film, int]) -> list[Row]:
    """The rows of one part on one film, with so many trials."""
    part, film, trials = job
    with bench.naming(part, film.name):
        found = PARTS[part](film, trials)
    head: Row = {"part": part, "system": "vidtok", "clip": film.name, "trial": None}
    return [{**head, **row, "size": film.shape, "fps": FPS} for row in found]


def summarise(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """Of every part a row for each system and setting: means over the films, of delays and times percentiles too."""
    out: dict[str, list[Row]] = {}
    for part in PARTS:
        mine = [row for row in rows if row["part"] == part]
        names = [name for name in mine[0] if name not in (*KEY, "size", "fps")]
        out[part] = []
        for system, setting in dict.fromkeys((row["system"], row["setting"]) for row in mine):
            of = [row for row in mine if (row["system"], row["setting"]) == (system, setting)]
            told: Row = {"system": system, "setting": setting, "runs": len(of)}
            for name in names:
                values = [row[name] for row in of if row[name] is not None]
                if name in TIMES:
                    told |= {
                        f"{name} p{p}": round(float(np.percentile(values, p)), 2) if values else None for p in (50, 95)
                    }
                    told |= {f"{name} never": len(of) - len(values)} if len(values) < len(of) else {}
                else:
                    told[name] = round(float(np.mean(values)), 4)
            out[part].append(told)
    return out


if __name__ == "__main__":
    bench.main(run)
