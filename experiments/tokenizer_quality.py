"""What a model and a person know from each number of levels, every cell sent: the tokenizer alone, no gate.

    python -m experiments.tokenizer_quality --out DIR [--clips DIR] [--images DIR] [--quick]

Also checks that torch and onnxruntime agree on the codes. Clips that are finished are not measured again.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from tqdm import tqdm

from edge_gate.source import open_source
from experiments import bench
from experiments.bench import Row, Rows
from vidtok.model.tower import load_tower, to_input
from vidtok.tokenizer.edge import EdgeEncoder
from vidtok.tokenizer.fsq import GIST_LEVELS, LEVELS, SEEN_LEVELS, quantise
from vidtok.tokenizer.networks import SEEN, context, gist_context, quantise_ste
from vidtok.tokenizer.store import load_encoder, load_gist_head, load_head, load_viewer


class Judge:
    """All the networks, loaded once."""

    def __init__(self) -> None:
        self.tower, self.head, self.gist_head, self.viewer = load_tower(), load_head(), load_gist_head(), load_viewer()
        self.torch_encoder, self.encoder = load_encoder(), EdgeEncoder(threads=2)

    @torch.inference_mode()
    def rows(self, clip: str, frames: NDArray[np.uint8]) -> Iterator[Row]:
        """One row a number of levels, for frames (N, H, W, 3)."""
        x = to_input(torch.from_numpy(frames))
        true = self.tower(x)[1]
        looks = [(self.encoder(frame)[:-1, :-1], self.encoder.gist()) for frame in frames]
        latents, gists = (np.stack(part) for part in zip(*looks, strict=True))
        theirs = self.torch_encoder(x)[0].permute(0, 2, 3, 1).numpy()
        same = float((quantise(latents) == quantise(theirs)).mean())
        z = quantise_ste(torch.from_numpy(latents).permute(0, 3, 1, 2))
        gist = quantise_ste(torch.from_numpy(gists))
        for levels, gist_levels in itertools.product(range(LEVELS + 1), (0, GIST_LEVELS)):
            depth = torch.full((len(frames), *z.shape[2:]), levels)
            whole = gist_context(gist, torch.full((len(frames),), gist_levels))
            cells = context(z[:, :SEEN], depth, SEEN_LEVELS)
            pooled = self.gist_head(self.tower.back(self.head(cells))[0], cells, whole)[1]
            picture = self.viewer(context(z, depth), whole).clamp(-127 / 128, 1)
            error = ((picture - x) * 128).square().mean((1, 2, 3))
            scores = [self.tower.back.classify(p).argmax(1) for p in (pooled, true)]
            yield {
                "system": "vidtok-dense",
                "setting": setting_of(levels, gist_levels),
                "clip": clip,
                "feature_cosine_tokens": float(F.cosine_similarity(pooled, true).mean()),
                "feature_cosine_viewer": float(F.cosine_similarity(self.tower(picture)[1], true).mean()),
                "top1_agreement": float((scores[0] == scores[1]).float().mean()),
                "psnr_db": float((10 * torch.log10(255**2 / error)).mean()),
                "codes_equal_onnx": same,
            }


def setting_of(levels: int, gist_levels: int) -> str:
    """How a row is called."""
    return f"{levels} levels{', gist' if gist_levels else ''}"


def run(argv: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = bench.parser("tokenizer_quality", __doc__, clips=False)
    parser.add_argument("--images", type=Path, help="folder of pictures")
    parser.add_argument("--size", default="256")
    args = parser.parse_args(argv)
    clips = bench.find_clips(args.clips) if args.clips else []
    jobs = [(p, 2.0, 6.0) for p in clips] + ([(args.images, 1.0, None)] if args.images else [])
    kept = Rows(args.out, ("clip", "setting"), {"frames": f"{args.size}{', quick' if args.quick else ''}"})
    judge, settings = Judge(), [setting_of(n, gist) for n in range(LEVELS + 1) for gist in (0, GIST_LEVELS)]
    for path, fps, seconds in tqdm(jobs):
        if all(kept.has(clip=path.name, setting=setting) for setting in settings):
            continue
        frames = [f.pixels for f in open_source(path, size=args.size, fps=fps, duration_s=seconds)]
        fresh = judge.rows(path.name, np.stack(frames[:: 4 if args.quick else 1]))
        kept.add([{**row, **kept.run} for row in fresh])
    rows = kept.keep([{"clip": path.name, "setting": setting} for path, *_ in jobs for setting in settings])
    names = {clip.name for clip in clips}
    summary = {
        part: summarise([row for row in rows if (row["clip"] in names) == (part == "clips")])
        for part in ("clips", "images")
    }
    bench.write_json(args.out / "summary.json", summary)
    print(json.dumps(summary, indent=1))


def summarise(rows: list[Row]) -> Row:
    """Means over clips, a number of levels each."""
    out: Row = {}
    for setting in sorted({r["setting"] for r in rows}):
        mine = [r for r in rows if r["setting"] == setting]
        columns = [c for c in mine[0] if isinstance(mine[0][c], float)]
        out[setting] = {c: round(float(np.mean([r[c] for r in mine])), 4) for c in columns}
    return out


if __name__ == "__main__":
    bench.main(run)
