"""Turn a training checkpoint into what ships: safetensors, ONNX and the numbers that the gate reads.

    python -m experiments.export_tokenizer --checkpoint runs/tokenizer/checkpoint.pt --images DIR --out vidtok/weights

Weights are rounded to 16 bits first, so that torch and onnxruntime hold the very same numbers.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from experiments.pictures import load_images
from experiments.train_tokenizer import Trainee, averaged_weights, crop_batch
from vidtok.model.tower import Tower, load_tower, to_input
from vidtok.tokenizer.edge import WEIGHTS, digest_of
from vidtok.tokenizer.fsq import CHANNELS, DIMS, LEVELS
from vidtok.tokenizer.networks import context, quantise_ste
from vidtok.tokenizer.store import load_encoder, load_head, load_viewer, save_half


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(prog="experiments.export_tokenizer", description=__doc__.splitlines()[0])
    parser.add_argument("--checkpoint", type=Path, default=Path("runs/tokenizer/checkpoint.pt"))
    parser.add_argument("--images", type=Path, required=True, help="photographs to measure sensitivity on")
    parser.add_argument("--out", type=Path, default=WEIGHTS)
    parser.add_argument("--batches", type=int, default=8, help="of eight crops, to measure sensitivity on")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    tower = load_tower()
    net = Trainee(tower)
    state = torch.load(args.checkpoint, weights_only=True)
    net.load_state_dict(averaged_weights(state))
    for name, network in (("encoder", net.encoder), ("head", net.head), ("viewer", net.viewer)):
        save_half(network, args.out / f"{name}.safetensors")
    export_onnx(load_encoder(args.out), args.out / "encoder.onnx", ("picture", "latents"), torch.zeros(1, 3, 64, 64))
    export_onnx(load_viewer(args.out), args.out / "viewer.onnx", ("context", "picture"), torch.zeros(1, 24, 4, 4))
    info = {
        "steps": state["step"],
        "sensitivity": measure_sensitivity(tower, args.out, load_images(args.images, 320), args.batches).tolist(),
        "digest": digest_of(args.out / "encoder.onnx").hex(),
    }
    (args.out / "tokenizer.json").write_text(json.dumps(info, indent=1) + "\n")
    print(f"wrote {args.out}: {', '.join(sorted(p.name for p in args.out.iterdir()))}")


def export_onnx(network: nn.Module, path: Path, names: tuple[str, str], example: Tensor) -> None:
    """One input, one output, any height and width."""
    axes = {2: "height", 3: "width"}
    torch.onnx.export(
        network, (example,), path, input_names=[names[0]], output_names=[names[1]],
        dynamic_axes={names[0]: axes, names[1]: axes}, opset_version=17, dynamo=False,
    )  # fmt: skip


def measure_sensitivity(tower: Tower, folder: Path, pictures: list[np.ndarray], batches: int) -> np.ndarray:
    """(LEVELS, DIMS): how far the tower's pooled view turns when one latent is replaced by another cell's.

    Every number is relative to the mean over the first level.
    """
    rng = np.random.default_rng(0)
    encoder, head = load_encoder(folder), load_head(folder)
    turned = np.zeros(CHANNELS)
    with torch.no_grad():
        for _ in range(batches):
            latents = quantise_ste(encoder(to_input(torch.from_numpy(crop_batch(pictures, 256, 8, rng)))))
            depth = torch.full((8, *latents.shape[-2:]), LEVELS)
            before = tower.back(head(context(latents, depth)))[1]
            some = torch.rand(8, *latents.shape[-2:]) < 0.25
            for channel in range(CHANNELS):
                other = latents.clone()
                other[:, channel] = torch.where(some, latents[:, channel].roll(1, 0), latents[:, channel])
                moved = (other[:, channel] - latents[:, channel]).square().mean()
                after = tower.back(head(context(other, depth)))[1]
                turned[channel] += float((1 - F.cosine_similarity(before, after)).mean() / moved)
    shares = turned.reshape(LEVELS, DIMS)
    return np.asarray((shares / shares[0].mean()).round(4))


if __name__ == "__main__":
    main()
