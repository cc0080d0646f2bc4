"""What motion and entropy coding bring: the same stream with parts switched off.

    python -m experiments.codec_gains --out DIR [--clips DIR] [--quick]

Streams the built-in moving scenes, and any clips, through the codec in virtual time under generous caps, with and
without pans and moves; and codes keyframes at every number of levels against the 15 bits a level that they take raw.
Rows go to results.json as they are finished (a run that was stopped goes on), means to summary.json and gains.png.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from edge_gate.budget import Caps
from edge_gate.source import open_source
from experiments.pictures import VIDEOS
from vidtok.bitstream import encode_payload
from vidtok.canvas import Grid, blank
from vidtok.codec import diff
from vidtok.entropy import load_tables
from vidtok.live.recording import Loop
from vidtok.live.sender import SendConfig
from vidtok.model.reader import Reader, agreement
from vidtok.tokenizer.edge import EdgeEncoder, codes_of
from vidtok.tokenizer.fsq import CODE_BITS, LEVELS

SCENES = ("scene:pan", "scene:handheld", "scene:scroll", "scene:tour")
SYSTEMS = {
    "vidtok": {},
    "vidtok-no-pan": {"pan": False},
    "vidtok-no-move": {"move_reach": 0},
    "vidtok-no-motion": {"pan": False, "move_reach": 0},
}
Row = dict[str, Any]


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(prog="experiments.codec_gains", description=__doc__.splitlines()[0])
    parser.add_argument("--clips", type=Path, help="folder of videos to run besides the built-in scenes")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--size", default="256")
    parser.add_argument("--fps", type=float, default=10.0)
    parser.add_argument("--kbps", type=float, default=60.0)
    parser.add_argument("--tokens-per-s", type=float, default=1500.0)
    parser.add_argument("--quick", action="store_true", help="three seconds of each, every fourth clip")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    clips = sorted(p for p in args.clips.rglob("*") if p.suffix.lower() in VIDEOS) if args.clips else []
    specs = [*SCENES, *map(str, clips[:: 4 if args.quick else 1])]
    rows = list(run(specs, args))
    summary = summarise(rows)
    (args.out / "summary.json").write_text(json.dumps(summary, indent=1) + "\n")
    draw(rows, args.out / "gains.png")
    print(json.dumps(summary, indent=1))


def run(specs: list[str], args: argparse.Namespace) -> Iterator[Row]:
    """Every row, the finished ones from disk."""
    path = args.out / "results.json"
    rows: list[Row] = json.loads(path.read_text()) if path.exists() else []
    done = {(row["system"], row["setting"], row["clip"]) for row in rows}
    setting = f"{args.kbps:g} kbps, {args.tokens_per_s:g} tokens/s, {args.size}, {args.fps:g} fps" + (
        ", quick" if args.quick else ""
    )
    reader, encoder = Reader(), EdgeEncoder()
    jobs = [(spec, system) for spec in specs for system in SYSTEMS]
    for spec, system in tqdm(jobs, "streams"):
        clip = Path(spec).name
        if (system, setting, clip) not in done:
            row = {"system": system, "setting": setting, "clip": clip, **stream(spec, system, args, reader, encoder)}
            rows.append(row)
            path.with_suffix(".part").write_text(json.dumps(rows, indent=1) + "\n")
            path.with_suffix(".part").replace(path)
    yield from (row for row in rows if row["setting"] == setting)


def stream(spec: str, system: str, args: argparse.Namespace, reader: Reader, encoder: EdgeEncoder) -> Row:
    """One clip through one system."""
    source = open_source(spec, size=args.size, fps=args.fps, duration_s=3.0 if args.quick else 8.0)
    config = replace(SendConfig(caps=Caps(args.kbps, args.tokens_per_s)), **SYSTEMS[system])
    loop = Loop(Grid(*source.size), config, fps=args.fps, name=source.name, encoder=encoder)
    frames = tokens = 0
    start, views, keys = loop.bytes_total, [], []
    tables = load_tables()
    for frame in source:
        tokens += loop.step(frame).tokens
        if frames % 5 == 0:
            canvas = loop.receiver.canvas
            assert canvas is not None
            views.append(agreement(reader.read(canvas), reader.judge(frame.pixels)))
        if frames % 20 == 0:
            keys.append(keyframe_bits(encoder(frame.pixels), tables))
        frames += 1
    seconds = frames / args.fps
    key = np.mean(keys, 0)
    return {
        "kbps": round((loop.bytes_total - start) * 8 / seconds / 1000, 4),
        "tokens_per_s": round(tokens / seconds, 3),
        "feature_cosine_tokens": round(float(np.mean(views)), 5),
        **{f"key_bits_per_cell_{n + 1}": round(float(key[n]), 3) for n in range(LEVELS)},
    }


def keyframe_bits(latents: np.ndarray, tables: Any) -> list[float]:
    """Bits a cell that a keyframe takes at 1, 2, ... levels."""
    grid = Grid((latents.shape[1] - 1) * 16, (latents.shape[0] - 1) * 16)
    base, codes = blank(grid), codes_of(latents)
    out = []
    for levels in range(1, LEVELS + 1):
        edits = diff(codes, base, (base.visible() * levels).astype(np.uint8))
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
    out["keyframe_bits_per_cell"] = {
        f"{n} levels": {
            "raw": CODE_BITS * n,
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
    main()
