"""What motion and entropy coding bring: the same stream with parts switched off.

    python -m experiments.codec_gains --out DIR [--clips DIR] [--quick]

Streams the built-in moving scenes, and any clips, through the codec in virtual time under generous caps, with and
without pans and moves; codes keyframes at every number of levels against the three bits a value that they take raw; and
weighs every payload against the cross-entropy of its symbols under the tables, which no coder can go below.
Rows go to results.json as they are finished (a run that was stopped goes on), means to summary.json and gains.png.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
from tqdm import tqdm

import vidtok.live.sender as sender_module
from edge_gate.budget import Caps
from edge_gate.source import open_source
from experiments import bench
from experiments.bench import Row, Rows
from vidtok.bitstream import PAN_RAW_BITS, encode_payload, patch_symbols
from vidtok.canvas import CELL, Canvas, Grid, blank
from vidtok.codec import diff
from vidtok.edits import Patch
from vidtok.entropy import PAN_ESCAPE, Tables, load_tables, spelled
from vidtok.live.recording import Loop
from vidtok.live.sender import SendConfig
from vidtok.model.reader import Reader, agreement
from vidtok.tokenizer.edge import EdgeEncoder
from vidtok.tokenizer.fsq import EDGES, LEVELS, VALUE_BITS, quantise

SCENES = ("scene:pan", "scene:handheld", "scene:scroll", "scene:tour")
SYSTEMS = {
    "vidtok": {"pan": True},
    "vidtok-no-pan": {"pan": False},
    "vidtok-no-move": {"pan": True, "move_reach": 0},
    "vidtok-no-motion": {"pan": False, "move_reach": 0},
}


def run(argv: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = bench.parser("codec_gains", __doc__, clips=False)
    parser.add_argument("--size", default="256")
    parser.add_argument("--fps", type=float, default=10.0)
    parser.add_argument("--kbps", type=float, default=60.0)
    parser.add_argument("--tokens-per-s", type=float, default=1500.0)
    args = parser.parse_args(argv)
    clips = bench.find_clips(args.clips) if args.clips else []
    specs = [*SCENES, *map(str, clips[:: 4 if args.quick else 1])]
    setting = f"{args.kbps:g} kbps, {args.tokens_per_s:g} tokens/s, {args.size}, {args.fps:g} fps"
    kept = Rows(args.out, ("system", "clip"), {"setting": setting + (", quick" if args.quick else "")})
    reader, encoder = Reader(), EdgeEncoder()
    keys = [{"system": system, "clip": Path(spec).name} for spec in specs for system in SYSTEMS]
    for key, spec in zip(tqdm(keys, "streams"), [spec for spec in specs for _ in SYSTEMS], strict=True):
        if not kept.has(**key):
            kept.add([{**key, "setting": kept.run["setting"], **stream(spec, key["system"], args, reader, encoder)}])
    rows = kept.keep(keys)
    summary = summarise(rows)
    bench.write_json(args.out / "summary.json", summary)
    draw(rows, args.out / "gains.png")
    print(json.dumps(summary, indent=1))


def stream(spec: str, system: str, args: argparse.Namespace, reader: Reader, encoder: EdgeEncoder) -> Row:
    """One clip through one system."""
    source = open_source(spec, size=args.size, fps=args.fps, duration_s=3.0 if args.quick else 8.0)
    config = replace(SendConfig(caps=Caps(args.kbps, args.tokens_per_s)), **SYSTEMS[system])
    loop = Loop(Grid(*source.size), config, fps=args.fps, name=source.name, encoder=encoder)
    frames = tokens = 0
    start, views, keys = loop.bytes_total, [], []
    tables, scale = load_tables(), Scale()
    for frame in source:
        with patch.object(sender_module, "encode_payload", scale.encode_payload):
            tokens += loop.step(frame).tokens
        if frames % 5 == 0:
            canvas = loop.receiver.canvas
            assert canvas is not None
            views.append(agreement(reader.read(canvas).pooled, reader.judge(frame.pixels).pooled))
        if frames % 20 == 0:
            keys.append(keyframe_bits(encoder(frame.pixels), tables))
        frames += 1
    seconds = frames / args.fps
    key = np.mean(keys, 0)
    return {
        "kbps": round((loop.bytes_total - start) * 8 / seconds / 1000, 4),
        "tokens_per_s": round(tokens / seconds, 3),
        "feature_cosine_tokens": round(float(np.mean(views)), 5),
        "payloads": scale.payloads,
        "payload_bits": scale.bits,
        "ideal_bits": round(scale.ideal, 1),
        **{f"key_bits_per_cell_{n + 1}": round(float(key[n]), 3) for n in range(LEVELS)},
    }


class Scale:
    """Codes payloads and adds up what they weigh, and what their symbols would at the least."""

    def __init__(self) -> None:
        self.payloads, self.bits, self.ideal = 0, 0, 0.0

    def encode_payload(self, base: Canvas, edits: Patch, tables: Tables, after: Canvas) -> bytes:
        """As the codec's own."""
        payload = encode_payload(base, edits, tables, after)
        self.payloads += 1
        self.bits += 8 * len(payload)
        self.ideal += ideal_bits(base, edits, tables)
        return payload


def ideal_bits(base: Canvas, edits: Patch, tables: Tables) -> float:
    """The cross-entropy of a payload's symbols under the tables."""
    bits = 0.0
    for number in (edits.pan.dx, edits.pan.dy):
        symbol = min(2 * abs(number) - (number < 0), PAN_ESCAPE)
        bits += float(tables.costs["pan"][symbol]) + PAN_RAW_BITS * (symbol == PAN_ESCAPE)
    for name, context, symbol in spelled(patch_symbols(base, edits, tables)):
        costs = tables.costs[name]
        bits += float(costs.reshape(-1, costs.shape[-1])[context, symbol])
    return bits


def keyframe_bits(latents: np.ndarray, tables: Any) -> list[float]:
    """Bits a cell that a keyframe takes at 1, 2, ... levels."""
    grid = Grid((latents.shape[1] - 1) * CELL, (latents.shape[0] - 1) * CELL)
    base, values = blank(grid), quantise(latents)
    out = []
    for levels in range(1, LEVELS + 1):
        edits = diff(values, base, (base.visible() * levels).astype(np.uint8))
        out.append(len(encode_payload(base, edits, tables)) * 8 / grid.frame_cells)
    return out


def summarise(rows: list[Row]) -> dict[str, Any]:
    """Means over clips, and each ablation against the whole, for scenes and clips apart."""
    out: dict[str, Any] = {}
    for name, chosen in (
        ("scenes", [r for r in rows if r["clip"] in SCENES]),
        ("clips", [r for r in rows if r["clip"] not in SCENES]),
    ):
        for system in SYSTEMS:
            mine = [r for r in chosen if r["system"] == system]
            if mine:
                means = {
                    c: round(float(np.mean([r[c] for r in mine])), 4)
                    for c in ("kbps", "tokens_per_s", "feature_cosine_tokens")
                }
                out.setdefault(name, {})[system] = means
    whole = [r for r in rows if r["system"] == "vidtok"]
    coded, ideal, count = (sum(r[c] for r in whole) for c in ("payload_bits", "ideal_bits", "payloads"))
    out["entropy_coder"] = {
        "payloads": count,
        "over_ideal": round(coded / ideal - 1, 5),
        "bits_over_ideal_a_payload": round((coded - ideal) / count, 2),
    }
    out["keyframe_bits_per_cell"] = {
        f"{n} levels": {
            "raw": VALUE_BITS * EDGES[n],
            "coded": round(float(np.mean([r[f"key_bits_per_cell_{n}"] for r in whole])), 2),
        }
        for n in range(1, LEVELS + 1)
    }
    return out


def draw(rows: list[Row], path: Path) -> None:
    """Bits and tokens of each clip with and without motion."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    clips = sorted({r["clip"] for r in rows})
    figure, axes = plt.subplots(1, 2, figsize=(12, 0.35 * len(clips) + 2), layout="constrained", sharey=True)
    for axis, column in zip(axes, ("kbps", "tokens_per_s"), strict=True):
        for number, system in enumerate(SYSTEMS):
            values = {r["clip"]: r[column] for r in rows if r["system"] == system}
            places = [index + number * 0.2 for index in range(len(clips))]
            axis.barh(places, [values.get(clip, 0) for clip in clips], height=0.2, label=system)
        axis.set(xlabel=column, yticks=range(len(clips)), yticklabels=clips)
    axes[0].legend()
    figure.savefig(path, dpi=90)
    plt.close(figure)


if __name__ == "__main__":
    bench.main(run)
