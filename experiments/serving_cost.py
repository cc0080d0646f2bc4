"""What a stream costs the model that watches: bytes kept, processor time of a pass and of an answer.

    canvases drawn at random --full memory--> passes over several streams at once --> one row a setting
                                          +-> an answer

`python -m experiments.serving_cost` prints the rows that vidtok/live/SERVING.md reckons with. Weights are random and of
the shipped size: the time does not hang on what they have learned.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import replace

import numpy as np
import torch

from vidtok.canvas import Canvas, Grid, blank
from vidtok.model.answerer import Answerer, Watch
from vidtok.model.brain import Brain, Size
from vidtok.model.words import Words
from vidtok.tokenizer.fsq import CHANNELS, SEEN_LEVELS, VALUES

FILLING, TIMED = 14, 12  # updates until superseded tokens are forgotten, and those that are timed
LARGE = 64  # cells of an update while the memory fills


def untrained(words: int = 400) -> Answerer:
    """A model of the shipped size that has learned nothing."""
    torch.manual_seed(0)
    return Answerer(Brain(Size(words)), Words([f"w{k}" for k in range(words - 5)]))


def with_news(canvas: Canvas, cells: int, rng: np.random.Generator) -> Canvas:
    """The canvas with so many cells anew."""
    at = np.unravel_index(
        rng.choice(canvas.depth.size, min(cells, canvas.depth.size), replace=False), canvas.depth.shape
    )
    values, depth, changed = canvas.values.copy(), canvas.depth.copy(), canvas.changed.copy()
    values[at] = rng.integers(0, VALUES, (len(at[0]), CHANNELS))
    depth[at], changed[at] = SEEN_LEVELS, canvas.version + 1
    return replace(canvas, version=canvas.version + 1, values=values, depth=depth, changed=changed)


def measured(model: Answerer, grid: Grid, streams: int, cells: int) -> dict[str, object]:
    """Figures of so many streams of a size, with so many cells an update."""
    rng = np.random.default_rng(0)
    watches = [model.watch(blank(grid), 10.0) for _ in range(streams)]
    canvases = [blank(grid)] * streams
    tokens, seconds = [], []
    for k in range(1 + FILLING + TIMED):
        news = canvases[0].depth.size if k == 0 else LARGE if k <= FILLING else cells
        canvases = [with_news(canvas, news, rng) for canvas in canvases]
        for watch, canvas in zip(watches, canvases, strict=True):
            model.show(watch, canvas, k / 10)
        count, spent = _read(model, watches)
        tokens.append(count)
        seconds.append(spent)
    kept, timed = watches[0].kept, float(np.median(seconds[-TIMED:]))
    return {
        "size": f"{grid.width}x{grid.height}",
        "streams": streams,
        "kept_tokens": len(kept),
        "kept_bytes": kept.bytes,
        "tokens_a_stream": round(float(np.mean(tokens[-TIMED:])) / streams, 1),
        "pass_cpu_ms": round(1000 * timed, 1),
        "pass_cpu_ms_a_stream": round(1000 * timed / streams, 1),
        "tokens_per_cpu_s": round(sum(tokens[-TIMED:]) / sum(seconds[-TIMED:])),
        "answer_cpu_ms": round(1000 * _answer(model, watches[0])),
    }


def _read(model: Answerer, watches: list[Watch]) -> tuple[int, float]:
    """Read all that waits: how many tokens, how long."""
    before, began = sum(watch.tokens for watch in watches), time.process_time()
    model.catch_up(watches)
    return sum(watch.tokens for watch in watches) - before, time.process_time() - began


def _answer(model: Answerer, watch: Watch) -> float:
    began = time.process_time()
    for _ in model.ask(watch, "w1 w2 w3 w4"):
        pass
    return time.process_time() - began


def main() -> None:
    """Print a row a setting."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--streams", type=int, nargs="+", default=[1, 8], help="at once (default 1 8)")
    parser.add_argument("--cells", type=int, nargs="+", default=[4, 32], help="of an update (default 4 32)")
    args = parser.parse_args()
    torch.set_num_threads(1)
    model = untrained()
    for grid in (Grid(256, 256), Grid(640, 480)):
        for streams in args.streams:
            for cells in args.cells:
                print(json.dumps(measured(model, grid, streams, cells)), flush=True)


if __name__ == "__main__":
    main()
