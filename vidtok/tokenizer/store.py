"""The networks behind the canvas, as the server loads them: safetensors, torch."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from vidtok.canvas import Canvas
from vidtok.errors import WeightsError
from vidtok.tokenizer.edge import WEIGHTS
from vidtok.tokenizer.fsq import EDGES, LEVELS, dequantise
from vidtok.tokenizer.networks import Encoder, Gist, GistHead, TokenHead, Viewer, context, gist_context

N = TypeVar("N", bound=nn.Module)


def load_encoder(folder: Path = WEIGHTS) -> Encoder:
    """The edge's encoder in torch: for training and for checking the ONNX file against."""
    return loaded(Encoder(), folder / "encoder.safetensors")


def load_gist(folder: Path = WEIGHTS) -> Gist:
    """What makes the gist of the tower's pooled view, in torch."""
    return loaded(Gist(), folder / "gist.safetensors")


def load_head(folder: Path = WEIGHTS) -> TokenHead:
    """The token head."""
    return loaded(TokenHead(), folder / "head.safetensors")


def load_gist_head(folder: Path = WEIGHTS) -> GistHead:
    """The gist head."""
    return loaded(GistHead(), folder / "gist_head.safetensors")


def load_viewer(folder: Path = WEIGHTS) -> Viewer:
    """The viewer."""
    return loaded(Viewer(), folder / "viewer.safetensors")


def save_half(network: nn.Module, path: Path) -> None:
    """Store a network in 16-bit floats: half the size, far below what rounding to codes costs."""
    save_file({name: tensor.detach().half().contiguous() for name, tensor in network.state_dict().items()}, path)
    path.chmod(0o644)  # not only for whoever trained it


def loaded(network: N, path: Path) -> N:
    """The network with the weights of a file, frozen, to be used."""
    if not path.exists():
        raise WeightsError(f"{path}: no such file; the package's weights are incomplete, reinstall it")
    network.load_state_dict({name: tensor.float() for name, tensor in load_file(path).items()})
    return network.eval().requires_grad_(False)


def canvas_context(canvas: Canvas, levels: int = LEVELS) -> tuple[Tensor, Tensor]:
    """What a network behind the canvas reads of its first levels, where the frame shows them, and of its gist.

    (1, EDGES[levels] + levels, rows in sight, cols in sight) and (1, GIST_CONTEXT).
    """
    visible = canvas.visible()
    shown = slice(int(visible.any(1).sum())), slice(int(visible.any(0).sum()))
    latents = torch.from_numpy(dequantise(canvas.values[*shown, : EDGES[levels]])).permute(2, 0, 1)[None]
    cells = context(latents, torch.from_numpy(canvas.depth[shown].astype("int64"))[None], levels)
    return cells, gist_context(torch.from_numpy(dequantise(canvas.gist))[None], torch.tensor([canvas.gist_depth]))
