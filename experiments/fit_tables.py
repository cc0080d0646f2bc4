"""Count what the codec codes on training clips, and fit the integer tables that ship.

    python -m experiments.fit_tables --clips DIR --images DIR --out vidtok/weights/tables.bin [--report FILE.json]

The gain of every kind of context is reported on clips that the fit did not see (clips are split in two, each half is
coded with tables counted on the other); the tables that are written are counted on all of them.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from edge_gate.budget import Caps
from edge_gate.source import SourceError, open_source
from experiments.pictures import VIDEOS, load_images
from experiments.systems.ours import Remembering
from vidtok.bitstream import patch_symbols
from vidtok.canvas import Grid, blank
from vidtok.codec import diff
from vidtok.entropy import NEIGHBOURS, NO_VALUE, SHAPES, Symbols, by_table, fit_tables, load_tables
from vidtok.live.recording import Loop
from vidtok.live.sender import SendConfig
from vidtok.tokenizer.edge import WEIGHTS, EdgeEncoder
from vidtok.tokenizer.fsq import GIST_LEVELS, LEVELS, VALUE_BITS, VALUES, quantise

Counts = dict[str, NDArray[np.int64]]
PRICES = (250.0, 75.0, 20.0)  # from coarse to fine


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(prog="experiments.fit_tables", description=__doc__.splitlines()[0])
    parser.add_argument("--clips", type=Path, required=True)
    parser.add_argument("--images", type=Path, help="folder of photographs: first pictures of scenes")
    parser.add_argument("--out", type=Path, default=WEIGHTS / "tables.bin")
    parser.add_argument("--seconds", type=float, default=8.0, help="of each clip")
    parser.add_argument("--report", type=Path, help="write the gain of each context here")
    args = parser.parse_args()
    if not args.out.exists():
        args.out.write_bytes(fit_tables({}).to_bytes())
    paths = sorted(p for p in args.clips.rglob("*") if p.suffix.lower() in VIDEOS)
    halves: tuple[Counts, Counts] = (empty(), empty())
    looker = EdgeEncoder(threads=2)
    for number, picture in enumerate(tqdm(load_images(args.images, 256) if args.images else [], "pictures")):
        count_picture(np.ascontiguousarray(picture[:256, :256]), halves[number % 2], looker)
    for number, path in enumerate(tqdm(paths, "clips")):
        encoder = Remembering()
        for price in PRICES:
            count_clip(path, price, args.seconds, halves[number % 2], encoder)
    both = {name: halves[0][name] + halves[1][name] for name in SHAPES}
    report = gains(halves)
    args.out.write_bytes(fit_tables(both).to_bytes())
    print(json.dumps(report, indent=1))
    if args.report:
        args.report.write_text(json.dumps(report, indent=1) + "\n")


def empty() -> Counts:
    """Nothing counted yet."""
    return {name: np.zeros(shape, np.int64) for name, shape in SHAPES.items()}


def count_clip(path: Path, price: float, seconds: float, counts: Counts, encoder: EdgeEncoder) -> None:
    """Send one clip through the codec in virtual time and count its symbols."""
    tables = load_tables()
    try:
        source = open_source(path, size="256", fps=10, duration_s=seconds)
    except SourceError as error:
        print(error)
        return
    config = SendConfig(caps=Caps(500, 5000), price=price)
    loop = Loop(Grid(*source.size), config, fps=10, name=path.name, encoder=encoder)
    for frame in source:
        loop.step(frame)
        for update in loop.updates:
            count_symbols(patch_symbols(update.base, update.edits, tables), counts)
            for number in (update.edits.pan.dx, update.edits.pan.dy):
                counts["pan"][min(2 * abs(number) - (number < 0), SHAPES["pan"][0] - 1)] += 1


def count_picture(pixels: NDArray[np.uint8], counts: Counts, encoder: EdgeEncoder) -> None:
    """Count the values of a picture, told whole to someone who holds nothing; where edits stand says nothing here."""
    base = blank(Grid(pixels.shape[1], pixels.shape[0]))
    every, values = (base.visible() * LEVELS).astype(np.uint8), quantise(encoder(pixels))
    edits = diff(values, base, every, gist=quantise(encoder.gist()), gist_to=GIST_LEVELS)
    count_symbols(patch_symbols(base, edits, load_tables()), counts, ("value", "gist_value"))


def count_symbols(coded: Symbols, counts: Counts, names: Iterable[str] = SHAPES) -> None:
    """Add coded symbols to their tables, those of other names than these aside."""
    seen = by_table(np.bincount(coded, minlength=sum(table.size for table in counts.values())))
    for name in names:
        counts[name] += seen[name]


def gains(halves: tuple[Counts, Counts]) -> dict[str, float]:
    """Bits per value of a code under tables that know less or more, each half coded with the other's tables."""
    rows: dict[str, list[tuple[float, float]]] = {}
    for mine, theirs in (halves, halves[::-1]):
        seen = mine["value"].astype(float)
        for name, counted in _views(theirs["value"].astype(float)).items():
            rows.setdefault(name, []).append(_cost(seen, counted))
    out = {
        f"value_bits_{name}": round(sum(c for c, _ in pairs) / sum(n for _, n in pairs), 4)
        for name, pairs in rows.items()
    }
    out["value_bits_raw"] = float(VALUE_BITS)
    out["values_counted"] = float(sum(half["value"].sum() for half in halves))
    known = [half["value"][:, :NO_VALUE].astype(float) for half in halves]
    for name in ("dimension", "neighbours", "both"):
        pairs = [_cost(known[i], _views(halves[1 - i]["value"].astype(float))[name][:, :NO_VALUE]) for i in (0, 1)]
        out[f"value_bits_held_cells_{name}"] = round(sum(c for c, _ in pairs) / max(1.0, sum(n for _, n in pairs)), 4)
    for name, part in (("new", slice(NO_VALUE, None)), ("held", slice(NO_VALUE))):
        whole = [half["gist_value"][:, :, part].astype(float) for half in halves]
        pairs = [
            _cost(whole[i], fit_tables(halves[1 - i]).frequencies["gist_value"][:, :, part].astype(float))
            for i in (0, 1)
        ]
        out[f"gist_value_bits_{name}"] = round(sum(c for c, _ in pairs) / max(1.0, sum(n for _, n in pairs)), 4)
    flat = [half["edited"].astype(float) for half in halves]
    positions = [_cost(flat[i], fit_tables(halves[1 - i]).frequencies["edited"].astype(float)) for i in (0, 1)]
    edits = sum(half["edited"][..., 1].sum() for half in halves)
    out["place_bits_per_edit"] = round(float(sum(c for c, _ in positions) / max(1, edits)), 3)
    return out


def _views(
    counts: NDArray[np.float64],
) -> Iterator[tuple[str, NDArray[np.float64]]] | dict[str, NDArray[np.float64]]:
    full = fit_tables({"value": counts}).frequencies["value"].astype(float)
    shape = (SHAPES["value"][0], VALUES + 1, NEIGHBOURS, VALUES)
    by_dimension = np.broadcast_to(counts.sum((1, 2), keepdims=True) + 1, shape)
    by_neighbours = np.broadcast_to(counts.sum(1, keepdims=True) + 1, shape)
    by_held = np.broadcast_to(counts.sum(2, keepdims=True) + 1, shape)
    return {"dimension": by_dimension, "neighbours": by_neighbours, "held": by_held, "both": full}


def _cost(seen: NDArray[np.float64], weights: NDArray[np.float64]) -> tuple[float, float]:
    share = weights / weights.sum(-1, keepdims=True)
    return float((seen * -np.log2(share)).sum()), float(seen.sum())


if __name__ == "__main__":
    main()
