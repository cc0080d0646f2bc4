"""What a projector is compared with: the mean of what the tower gives, and ridge regression on the same inputs.

    latents of a cell and its eight neighbours, the gist --solve once for each setting--> the tower's features

A setting holds some levels and not others, so its inputs are some of all columns, and its normal equations a part of
those of all: they are summed up once. Each setting has a regression of its own, with the best of a few penalties on
lessons that it was not solved on; the projector is one network for all settings.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from experiments.align_lessons import Lessons
from experiments.teachers import CELLS
from vidtok.tokenizer.fsq import EDGES, GIST_EDGES, GIST_LEVELS, SEEN_LEVELS
from vidtok.tokenizer.networks import SEEN

NEIGHBOURS = 9
MIDDLE = 4  # the cell itself, of those
PENALTIES = (1e-3, 1e-2, 1e-1)  # of the columns' mean square
HELD_OUT = 10  # one in so many lessons chooses the penalty
_BATCH = 32


def design(cells: Tensor, gist: Tensor) -> Tensor:
    """(B, SEEN, 8, 8) and (B, GIST) -> (B * 64, columns): neighbourhood, what of it lies in the frame, gist, one."""
    inside = torch.ones(len(cells), 1, CELLS, CELLS)
    around = F.unfold(torch.cat([cells, inside], 1), 3, padding=1)  # (B, (SEEN + 1) * 9, 64)
    whole = torch.cat([gist, torch.ones(len(gist), 1)], 1)[..., None].expand(-1, -1, CELLS * CELLS)
    return torch.cat([around, whole], 1).transpose(1, 2).flatten(0, 1)


def columns(levels: int, gist_levels: int, gist: int) -> Tensor:
    """Which columns of a design are known where so many levels are held."""
    cell = torch.arange(SEEN + 1)
    around = ((cell < EDGES[levels]) | (cell == SEEN)).repeat_interleave(NEIGHBOURS)
    number = torch.arange(gist + 1)
    return torch.cat([around, (number < GIST_EDGES[gist_levels]) | (number == gist)])


@dataclass(frozen=True, eq=False)
class Ridge:
    """Normal equations of all columns, over the lessons that are learned from and those that are not."""

    gram: Tensor  # (columns, columns)
    moment: Tensor  # (columns, outs * dim)
    lessons: Lessons

    def solve(self, levels: int, gist_levels: int) -> Tensor:
        """Weights (columns, outs * dim) of a setting, zero for what it does not know."""
        return self._solved(columns(levels, gist_levels, self.lessons.gist.shape[1]))

    def of_cells_alone(self) -> tuple[Tensor, Tensor, Tensor]:
        """The best that is linear in a cell and the gist, all levels: (SEEN, out), (GIST, out) and what is added."""
        known = columns(SEEN_LEVELS, GIST_LEVELS, self.lessons.gist.shape[1])
        around = NEIGHBOURS * (SEEN + 1)
        known[:around] = False
        known[MIDDLE : around - NEIGHBOURS : NEIGHBOURS] = True
        found = self._solved(known)
        return found[MIDDLE : around - NEIGHBOURS : NEIGHBOURS], found[around:-1], found[-1]

    def _solved(self, known: Tensor) -> Tensor:
        gram, moment = self.gram[known][:, known], self.moment[known]
        best, least = moment, float("inf")
        checks = [self.lessons.batch(part) for part in _parts(self.lessons, learned=False)]
        for penalty in PENALTIES:
            weight = penalty * gram.diagonal().mean() * torch.eye(len(gram), dtype=gram.dtype)
            found = torch.cholesky_solve(moment, torch.linalg.cholesky(gram + weight))
            error = sum(float((design(c, g)[:, known] @ found.float() - flat(t)).square().sum()) for c, g, t in checks)
            if error < least:
                best, least = found, error
        out = torch.zeros(self.moment.shape)
        out[known] = best.float()
        return out


def ridge(lessons: Lessons) -> Ridge:
    """Sum up the normal equations."""
    gram = moment = torch.zeros(())
    for part in tqdm(_parts(lessons, learned=True), "ridge"):
        cells, gist, target = lessons.batch(part)
        rows = design(cells, gist)
        gram = gram + (rows.T @ rows).double()
        moment = moment + (rows.T @ flat(target)).double()
    return Ridge(gram, moment, lessons)


def predict(weights: Tensor, cells: Tensor, gist: Tensor, outs: int) -> Tensor:
    """(B, outs, dim, 8, 8), as a projector gives."""
    found = design(cells, gist) @ weights
    return found.unflatten(0, (len(cells), CELLS, CELLS)).permute(0, 3, 1, 2).unflatten(1, (outs, -1))


def flat(target: Tensor) -> Tensor:
    """(B, outs, dim, 8, 8) -> (B * 64, outs * dim)."""
    return target.flatten(1, 2).flatten(2).transpose(1, 2).flatten(0, 1)


def _parts(lessons: Lessons, *, learned: bool) -> list[slice]:
    """Batches of the lessons that are solved on, or of the last ones, that choose the penalty."""
    border = len(lessons) - max(1, len(lessons) // HELD_OUT)
    first, end = (0, border) if learned else (border, len(lessons))
    return [slice(at, min(end, at + _BATCH)) for at in range(first, end, _BATCH)]
