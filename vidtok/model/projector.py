"""The way from our tokens into another model's eye: what cells and gist hold -> what its vision tower gives there.

    cells (B, SEEN_CONTEXT, h, w) --linear and a few layers that look one cell further each--+
    gist (B, GIST_CONTEXT) ------------------------------------------------------------------+--> (B, outs, dim, h, w)

One vector a cell and output. A tower that feeds its language model at several depths (Qwen3-VL's deepstack) has several
outputs; the first is what stands in the sequence. `python -m experiments.align` trains one for a tower.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from vidtok.errors import ModelError
from vidtok.tokenizer.networks import GIST_CONTEXT, SEEN_CONTEXT, Residual

FORMAT = "vidtok projector 1"


@dataclass(frozen=True)
class ProjectorConfig:
    """What a projector is for, and its size."""

    dim: int  # of the tower's output
    outs: int = 1
    width: int = 256
    blocks: int = 4
    tower: str = ""  # the tower that it was trained for

    def __post_init__(self) -> None:
        for name in ("dim", "outs", "width", "blocks"):
            value = getattr(self, name)
            if not isinstance(value, int) or not 1 <= value <= 65536:
                raise ValueError(f"{name} {value!r} is not a size")


class Projector(nn.Module):
    """Ours to theirs, place by place."""

    def __init__(self, config: ProjectorConfig) -> None:
        super().__init__()
        self.config = config
        out, width = config.dim * config.outs, config.width
        self.linear = nn.Conv2d(SEEN_CONTEXT, out, 1)
        self.whole = nn.Linear(GIST_CONTEXT, out, bias=False)
        self.into = nn.Conv2d(SEEN_CONTEXT, width, 3, padding=1)
        self.gist = nn.Sequential(nn.Linear(GIST_CONTEXT, width), nn.GELU(), nn.Linear(width, width))
        self.blocks = nn.Sequential(*(Residual(width) for _ in range(config.blocks)))
        self.narrow = nn.Conv2d(width, out, 1)
        self.scale = nn.Buffer(torch.ones(out))  # the tower's own spread and mean, so that training sees unit ones
        self.shift = nn.Buffer(torch.zeros(out))

    def forward(self, cells: Tensor, gist: Tensor) -> Tensor:
        """(B, SEEN_CONTEXT, h, w) and (B, GIST_CONTEXT) -> (B, outs, dim, h, w)."""
        deep = self.narrow(F.gelu(self.blocks(self.into(cells) + self.gist(gist)[..., None, None])))
        out = self.linear(cells) + self.whole(gist)[..., None, None] + deep
        out = out * self.scale[:, None, None] + self.shift[:, None, None]
        return out.unflatten(1, (self.config.outs, self.config.dim))


def save_projector(projector: Projector, path: Path) -> None:
    """Store it with its sizes, in 16-bit floats."""
    tensors = {name: tensor.detach().half().contiguous() for name, tensor in projector.state_dict().items()}
    save_file(tensors, path, {"format": FORMAT, "config": json.dumps(asdict(projector.config))})
    path.chmod(0o644)


def load_projector(path: Path) -> Projector:
    """One that was stored, frozen."""
    again = "make it anew with python -m experiments.align"
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name).float() for name in file.keys()}  # noqa: SIM118 - not a mapping
    except FileNotFoundError:
        raise ModelError(f"{path}: no such projector; make one with python -m experiments.align") from None
    except (OSError, SafetensorError) as error:
        raise ModelError(f"{path}: not a projector ({error}); {again}") from None
    if metadata.get("format") != FORMAT:
        raise ModelError(f"{path}: not a projector of this version ({FORMAT}); {again}")
    try:
        projector = Projector(ProjectorConfig(**json.loads(metadata["config"])))
        projector.load_state_dict(tensors)
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise ModelError(f"{path}: sizes and weights disagree ({str(error).splitlines()[0]}); {again}") from None
    return projector.eval().requires_grad_(False)
