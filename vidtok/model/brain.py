"""The model: one transformer that reads edits and text as one sequence, and answers.

    Tokens --EditEmbedding--+
                            +--> layers: what is under way sees all that is kept, and itself --> answers, word by word
    words ---table----------+            |
                                         Kept: keys and values of what was read, bounded; see vidtok.model.memory

A position is (time, x, y, order): what is seen has a time and a place, words have an order and stand at the time and
the place of the eye that they are said to. Only differences between positions count, so a stream may go on for ever.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vidtok.model.stream import SEEN, Mark, Tokens
from vidtok.tokenizer.fsq import GIST, GIST_LEVELS, LEVEL_OF, SEEN_LEVELS, dequantise
from vidtok.tokenizer.networks import flat_context, gist_context

AXES = 4  # time in seconds, x, y, order of words
# Wavelengths of the rotation on each axis, in its own unit; one pair of a head's numbers each.
WAVES = (
    (0.5, 1.5, 4.0, 12.0, 40.0, 160.0),
    (2.0, 6.0, 18.0),
    (2.0, 6.0, 18.0),
    (3.0, 8.0, 24.0, 80.0),
)
HEAD = 2 * sum(map(len, WAVES))  # numbers of a head
FAR_S = 60.0  # what is older counts as being so old
Turn = tuple[Tensor, Tensor]  # cosines and sines (B, 1, n, HEAD / 2) of the angles at n positions
ROUGH = 12  # waves by which a place and an age are told to the embedding


@dataclass(frozen=True)
class Size:
    """How large a model is."""

    words: int
    dim: int = 192
    layers: int = 4
    hidden: int = 576
    cell_hidden: int = 384

    @property
    def heads(self) -> int:
        """Of each layer."""
        return self.dim // HEAD

    def to_map(self) -> dict[str, int]:
        """For the file of weights."""
        return asdict(self)


class EditEmbedding(nn.Module):
    """A visual token as a vector: what is there now, what was before, of which kind, where, how old, how late."""

    def __init__(self, size: Size) -> None:
        super().__init__()
        self.mark = nn.Embedding(len(Mark), size.dim)
        self.cell = nn.Sequential(
            nn.Linear(2 * (SEEN + SEEN_LEVELS) + 2 * ROUGH, size.cell_hidden),
            nn.GELU(),
            nn.Linear(size.cell_hidden, size.dim),
        )
        self.gist = nn.Sequential(
            nn.Linear(GIST + GIST_LEVELS, size.cell_hidden), nn.GELU(), nn.Linear(size.cell_hidden, size.dim)
        )
        self.rest = nn.Linear(2 + 2 + 2, size.dim)  # ages, lateness, shift, of any token

    def forward(self, tokens: dict[str, Tensor]) -> Tensor:
        """Tokens as `as_tensors` makes them, n of them -> (n, dim)."""
        now = flat_context(tokens["values"], tokens["depth"], LEVEL_OF[:SEEN])
        old = flat_context(tokens["old_values"], tokens["old_depth"], LEVEL_OF[:SEEN])
        where = _waves(tokens["place"] - tokens["eye"])
        out = self.mark(tokens["mark"]) + self.rest(tokens["rest"])
        gist = tokens["mark"] == Mark.GIST
        cells = (tokens["mark"] == Mark.SET) | (tokens["mark"] == Mark.REFINE) | (tokens["mark"] == Mark.BACK)
        out = out + cells[:, None] * self.cell(torch.cat([now, old, where], 1))
        if len(tokens["gist"]):
            told = self.gist(gist_context(tokens["gist"], tokens["depth"][gist]))
            out = out.index_add(0, gist.nonzero()[:, 0], told)
        return out


def _waves(at: Tensor) -> Tensor:
    """Places (n, 2) -> (n, 2 * ROUGH) slow and quick waves of both."""
    scale = math.pi / 8 * 2.0 ** torch.arange(ROUGH // 2, device=at.device).div(2)
    angle = (at[:, :, None] * scale).flatten(1)
    return torch.cat([angle.sin(), angle.cos()], 1)


def turned(x: Tensor, turn: Turn) -> Tensor:
    """Queries or keys (B, heads, n, HEAD), turned by where they are."""
    (cos, sin), (a, b) = turn, x.chunk(2, -1)
    return torch.cat([a * cos - b * sin, a * sin + b * cos], -1)


class Layer(nn.Module):
    """Attention and a feed-forward step, each on what it changes."""

    def __init__(self, size: Size) -> None:
        super().__init__()
        self.heads = size.heads
        self.before_look, self.before_think = nn.RMSNorm(size.dim), nn.RMSNorm(size.dim)
        self.ask = nn.Linear(size.dim, 3 * size.dim, bias=False)
        self.norm_q, self.norm_k = nn.RMSNorm(HEAD), nn.RMSNorm(HEAD)
        self.found = nn.Linear(size.dim, size.dim, bias=False)
        self.think = nn.Linear(size.dim, 2 * size.hidden, bias=False)
        self.thought = nn.Linear(size.hidden, size.dim, bias=False)

    def forward(self, x: Tensor, turn: Turn, sees: Tensor) -> Tensor:
        """(B, n, dim), turned so, where `sees` (B, 1, n, n) says who sees whom."""
        q, k, v = self.asked(x, turn)
        return self.use(x, F.scaled_dot_product_attention(q, k, v, attn_mask=sees))

    def asked(self, x: Tensor, turn: Turn) -> tuple[Tensor, Tensor, Tensor]:
        """(B, n, dim) -> queries, keys, values (B, heads, n, HEAD), the first two turned."""
        q, k, v = self.ask(self.before_look(x)).unflatten(-1, (3, self.heads, HEAD)).permute(2, 0, 3, 1, 4)
        return turned(self.norm_q(q), turn), turned(self.norm_k(k), turn), v

    def use(self, x: Tensor, looked: Tensor) -> Tensor:
        """What attention found (B, heads, n, HEAD), taken in and thought about."""
        x = x + self.found(looked.transpose(1, 2).flatten(2))
        gate, value = self.think(self.before_think(x)).chunk(2, -1)
        return x + self.thought(F.silu(gate) * value)


class Brain(nn.Module):
    """Embeddings, layers and the table of words, which also says what comes next."""

    waves: Tensor
    axis: Tensor

    def __init__(self, size: Size) -> None:
        super().__init__()
        self.size = size
        self.words = nn.Embedding(size.words, size.dim)
        self.edits = EditEmbedding(size)
        self.layers = nn.ModuleList(Layer(size) for _ in range(size.layers))
        self.last = nn.RMSNorm(size.dim)
        nn.init.normal_(self.words.weight, std=0.5)
        for layer in self.each():
            for out in (layer.found, layer.thought):
                nn.init.normal_(out.weight, std=0.02 / math.sqrt(2 * size.layers))
        waves = [math.tau / wave for axis in WAVES for wave in axis]
        self.register_buffer("waves", torch.tensor(waves), persistent=False)
        axis = [number for number, waves in enumerate(WAVES) for _ in waves]
        self.register_buffer("axis", torch.tensor(axis), persistent=False)

    def each(self) -> list[Layer]:
        """The layers, from the first to the last."""
        return [layer for layer in self.layers if isinstance(layer, Layer)]

    def turn(self, at: Tensor) -> Turn:
        """Positions (B, n, AXES) -> by how much everything there is turned; doubles are turned precisely."""
        angle = (at[..., self.axis] * self.waves)[:, None]
        return angle.cos().float(), angle.sin().float()

    def forward(self, x: Tensor, at: Tensor, sees: Tensor) -> tuple[Tensor, Tensor]:
        """A whole sequence at once (B, n, dim), at positions (B, n, AXES), where `sees` (B, n, n) says who sees whom.

        What came of it at the end, and half way. What a model in training runs; `vidtok.model.memory` runs the same
        piece by piece.
        """
        turn, sees = self.turn(at), sees[:, None]
        half = x
        for number, layer in enumerate(self.each(), 1):
            x = layer(x, turn, sees)
            if number == self.size.layers // 2:
                half = x
        return self.last(x), self.last(half)

    def says(self, x: Tensor) -> Tensor:
        """(..., dim) -> (..., words): how likely each word is to be next, before the softmax."""
        return x @ self.words.weight.T / math.sqrt(self.size.dim)


def as_tensors(tokens: Tokens) -> dict[str, Tensor]:
    """What the embedding reads of tokens."""
    rest = [
        torch.log1p(torch.from_numpy(t).clamp(0, FAR_S) * by)
        for t in (tokens.age_s, tokens.late_s)
        for by in (0.3, 5.0)
    ]
    return {
        "mark": torch.from_numpy(tokens.mark).long(),
        "place": torch.from_numpy(tokens.place),
        "eye": torch.from_numpy(tokens.eye),
        "rest": torch.cat([torch.stack(rest, 1), torch.from_numpy(tokens.shift)], 1),
        **{name: torch.from_numpy(getattr(tokens, name)).long() for name in ("depth", "old_depth")},
        **{name: torch.from_numpy(dequantise(getattr(tokens, name))) for name in ("values", "old_values", "gist")},
    }
