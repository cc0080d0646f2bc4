"""What the gate's second network learns from: what the model would know better, were a cell told.

    frames --Sender at some price--> looks: what is seen, what is held
    held --a little nearer to all that is seen--> model --> how near is its view to the true frame's?
                           \\--gradient, cell by cell, times what the cell would change--> worth

The gradient says of all cells at once what telling each would do while some of the others are told too; telling every
cell by itself and looking finds a somewhat better order, for sixty times the work. The view is near where the pooled
cosine and the mean of the cosines place by place are high; worth is a share of their sum.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from edge_gate.memory import missing
from experiments.gate_lessons import Look, Stream, watched
from vidtok.canvas import CELL
from vidtok.codec import diff, patch
from vidtok.model.tower import Tower, load_tower, to_input
from vidtok.tokenizer.edge import EdgeEncoder
from vidtok.tokenizer.fsq import EDGES, GIST_EDGES, SEEN_LEVELS, dequantise, known
from vidtok.tokenizer.networks import GistHead, TokenHead
from vidtok.tokenizer.store import canvas_context, load_gist_head, load_head

Floats = NDArray[np.float32]
NEARER = 0.3  # how much of all that is seen is taken as told where the gradient is taken
EVERY_S = 0.35  # between two looks that teach something
OF_GIST = GIST_EDGES[3]  # numbers of the gist that the network is told
UNIT = 1000.0  # of a cosine


@dataclass(frozen=True, eq=False)
class Worths:
    """Some looks of one stream, their visible cells only."""

    cells: NDArray[np.float16]  # (looks, M, rows, cols), what is missing of each
    frame: NDArray[np.float16]  # (looks, G), and of the gist
    worth: Floats  # (looks, rows, cols)


class Knower:
    """The model, and how its view of a canvas hangs on every cell."""

    def __init__(self) -> None:
        self.tower: Tower = load_tower()
        self.head: TokenHead = load_head()
        self.gist_head: GistHead = load_gist_head()
        for network in (self.tower, self.head, self.gist_head):
            network.requires_grad_(False)

    def nearness(self, cells: Tensor, gist: Tensor, pooled: Tensor, maps: Tensor) -> Tensor:
        """(B,): how near what is held (B, SEEN_CONTEXT, rows, cols) brings the model's view to the true one."""
        mine, view = self.gist_head(self.tower.back(self.head(cells))[0], cells, gist)
        places = F.cosine_similarity(mine.flatten(2), maps.flatten(2), dim=1).mean(1)
        return F.cosine_similarity(view, pooled, dim=1) + places

    def worth(self, look: Look, pixels: NDArray[np.uint8]) -> Floats:
        """(rows, cols) of the visible cells: what telling each at this look is worth."""
        visible = look.held.visible()
        told = patch(look.held, diff(look.view.values, look.held, (visible * SEEN_LEVELS).astype(np.uint8)), 0)
        held, gist = canvas_context(look.held, SEEN_LEVELS)
        more = canvas_context(told, SEEN_LEVELS)[0] - held
        with torch.no_grad():
            maps, pooled = self.tower.back(self.tower.front(to_input(torch.from_numpy(pixels)[None]))[2])[:2]
        cells = (held + NEARER * more).requires_grad_(True)
        (slope,) = torch.autograd.grad(self.nearness(cells, gist, pooled, maps).sum(), cells)
        return np.asarray((slope * more).sum(1)[0] * UNIT, np.float32)


def worths_of(stream: Stream, encoder: EdgeEncoder, knower: Knower, rng: np.random.Generator) -> Worths:
    """Send a stream at some price, and ask the model at some of its looks."""
    height, width = stream.frames[0].shape[:2]
    place = np.s_[: height // CELL, : width // CELL]
    looks, _ = watched(stream, encoder, rng, gist_s=float(rng.choice([0.0, 6.0], p=[0.3, 0.7])))
    kept, due = [], 0.0
    for look in looks[1:]:
        if look.frame / stream.fps >= due:
            kept.append(look)
            due = look.frame / stream.fps + EVERY_S * float(rng.uniform(0.7, 1.3))
    said = [told_of(look) for look in kept]
    return Worths(
        np.stack([cells[:, *place] for cells, _ in said]).astype(np.float16),
        np.stack([frame for _, frame in said]).astype(np.float16),
        np.stack([knower.worth(look, stream.frames[look.frame]) for look in kept]),
    )


def told_of(look: Look) -> tuple[Floats, Floats]:
    """What the network is told of a look."""
    there = np.arange(OF_GIST) < GIST_EDGES[look.held.gist_depth]
    return missing(
        look.view.latents, dequantise(look.held.values), known(look.held.depth), look.view.gist[:OF_GIST],
        np.where(there, dequantise(look.held.gist[:OF_GIST]), 0), EDGES[: SEEN_LEVELS + 1],
    )  # fmt: skip
