"""Turn finished training runs into what ships: safetensors, ONNX and the numbers that the gate reads.

    python -m experiments.export_tokenizer --run runs/tokenizer --images DIR --out vidtok/weights

Weights are rounded to 16 bits first. The edge's encoder computes in 8-bit integers, ranges calibrated on photographs,
all but its first layers, whose few channels cannot bear it, and its last, which give the latents.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from experiments.lessons import crop
from experiments.pictures import load_images
from experiments.train_pictures import Artist
from experiments.train_tokenizer import Trainee, averaged_weights
from vidtok.model.tower import Tower, load_tower, to_input
from vidtok.tokenizer.edge import WEIGHTS, digest_of
from vidtok.tokenizer.fsq import CHANNELS, LEVEL_SIZES, SEEN_LEVELS
from vidtok.tokenizer.networks import CONTEXT, SEEN, Encoder, context, quantise_ste
from vidtok.tokenizer.store import load_encoder, load_head, load_viewer, save_half

CALIBRATED = 32  # photographs


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(prog="experiments.export_tokenizer", description=__doc__.splitlines()[0])
    parser.add_argument("--run", type=Path, default=Path("runs/tokenizer"), help="folder of the training runs")
    parser.add_argument("--images", type=Path, required=True, help="photographs to measure sensitivity on")
    parser.add_argument("--out", type=Path, default=WEIGHTS)
    parser.add_argument("--batches", type=int, default=6, help="of eight crops, to measure sensitivity on")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    tower = load_tower()
    trained, artist, encoder = Trainee(), Artist(), Encoder()
    states = [torch.load(args.run / part / "checkpoint.pt", weights_only=True) for part in (".", "pictures")]
    for network, state in zip((trained, artist), states, strict=True):
        network.load_state_dict(averaged_weights(state))
    encoder.front.load_state_dict(tower.front.state_dict())
    encoder.squeeze.load_state_dict(trained.squeeze.state_dict())
    encoder.detail.load_state_dict(artist.detail.state_dict())
    for name, network in (("encoder", encoder), ("head", trained.head), ("viewer", artist.viewer)):
        save_half(network, args.out / f"{name}.safetensors")
    pictures = load_images(args.images, 320)
    whole = args.out / "encoder-float.onnx"
    export_onnx(load_encoder(args.out), whole, ("picture", "latents"), torch.zeros(1, 3, 64, 64))
    to_integers(whole, args.out / "encoder.onnx", pictures)
    whole.unlink()
    example = torch.zeros(1, CONTEXT, 2, 2)
    export_onnx(load_viewer(args.out), args.out / "viewer.onnx", ("context", "picture"), example)
    halve(args.out / "viewer.onnx")
    info = {
        "steps": [state["step"] for state in states],
        "sensitivity": measure_sensitivity(tower, args.out, pictures, args.batches).tolist(),
        "digest": digest_of(args.out / "encoder.onnx").hex(),
    }
    (args.out / "tokenizer.json").write_text(json.dumps(info) + "\n")
    print(f"wrote {args.out}: {', '.join(sorted(p.name for p in args.out.iterdir()))}")


def export_onnx(network: nn.Module, path: Path, names: tuple[str, str], example: Tensor) -> None:
    """One input, one output, any height and width."""
    axes = {2: "height", 3: "width"}
    torch.onnx.export(
        network, (example,), path, input_names=[names[0]], output_names=[names[1]],
        dynamic_axes={names[0]: axes, names[1]: axes}, opset_version=17, dynamo=False,
    )  # fmt: skip


def fold_pads(path: Path) -> None:
    """Let convolutions pad for themselves: a padding of its own cannot stay in 8 bits and costs more than they do."""
    import onnx

    model = onnx.load(str(path))
    graph = model.graph
    numbers = {t.name: onnx.numpy_helper.to_array(t) for t in graph.initializer}
    pads = {node.output[0]: node for node in graph.node if node.op_type == "Pad" and node.input[1] in numbers}
    for node in graph.node:
        if node.op_type == "Conv" and node.input[0] in pads:
            pad = pads[node.input[0]]
            more = numbers[pad.input[1]].reshape(2, -1)[:, -2:].ravel().tolist()  # top, left, bottom, right
            for attribute in node.attribute:
                if attribute.name == "pads":
                    attribute.ints[:] = [a + b for a, b in zip(attribute.ints, more, strict=True)]
            node.input[0] = pad.input[0]
    used = {name for node in graph.node for name in node.input}
    for pad in pads.values():
        if pad.output[0] not in used:
            graph.node.remove(pad)
    onnx.checker.check_model(model)
    onnx.save(model, str(path))


def halve(path: Path) -> None:
    """Store a network's weights in 16-bit floats, made 32-bit again where it is loaded: half the download."""
    import onnx

    model = onnx.load(str(path))
    graph, casts = model.graph, []
    for stored in [t for t in graph.initializer if t.data_type == onnx.TensorProto.FLOAT]:
        numbers = onnx.numpy_helper.to_array(stored).astype(np.float16)
        name = stored.name
        stored.CopyFrom(onnx.numpy_helper.from_array(numbers, name + "/half"))
        casts.append(onnx.helper.make_node("Cast", [name + "/half"], [name], to=onnx.TensorProto.FLOAT))
    nodes = [*casts, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
    onnx.save(model, str(path))


def to_integers(source: Path, out: Path, pictures: list[np.ndarray]) -> None:
    """The same network in 8-bit integers, weights by channel, ranges from the pictures."""
    import onnx
    from onnxruntime.quantization import (
        CalibrationDataReader,
        CalibrationMethod,
        QuantFormat,
        QuantType,
        quantize_static,
    )
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            rng = np.random.default_rng(0)
            chosen = (pictures[i] for i in rng.permutation(len(pictures))[:CALIBRATED])
            self._crops = (to_input(torch.from_numpy(crop(picture, 256, rng).copy()[None])) for picture in chosen)

        def get_next(self) -> dict[str, np.ndarray] | None:
            x = next(self._crops, None)
            return None if x is None else {"picture": x.numpy()}

    ready = out.with_suffix(".ready.onnx")
    quant_pre_process(str(source), str(ready), skip_symbolic_shape=True)
    fold_pads(ready)
    nodes = onnx.load(str(ready)).graph.node
    convolutions = [node.name for node in nodes if node.op_type == "Conv"]
    front = [name for name in convolutions if "/front/" in name]
    last = [
        name for name in convolutions if name.endswith(("squeeze/linear/Conv", "squeeze/narrow/Conv", "narrow.3/Conv"))
    ]
    quantize_static(
        str(ready), str(out), Reader(), QuantFormat.QOperator, activation_type=QuantType.QUInt8, per_channel=True,
        nodes_to_exclude=front[:3] + last,
        calibrate_method=CalibrationMethod.Percentile, extra_options={"CalibPercentile": 99.99},
        op_types_to_quantize=["Conv", "Add", "Clip"],
    )  # fmt: skip
    ready.unlink()


def measure_sensitivity(tower: Tower, folder: Path, pictures: list[np.ndarray], batches: int) -> np.ndarray:
    """(CHANNELS,): how far the tower's pooled view turns when one latent is replaced by another cell's.

    Every number is relative to the mean over the first level. What only people see is given the last seen level's mean.
    """
    rng = np.random.default_rng(0)
    encoder, head = load_encoder(folder), load_head(folder)
    turned = np.zeros(CHANNELS)
    with torch.no_grad():
        for _ in range(batches):
            crops = np.stack([crop(pictures[i], 256, rng) for i in rng.integers(len(pictures), size=8)])
            latents = quantise_ste(encoder(to_input(torch.from_numpy(crops))))[:, :SEEN]
            depth = torch.full((8, *latents.shape[-2:]), SEEN_LEVELS)
            before = tower.back(head(context(latents, depth, SEEN_LEVELS)))[1]
            some = torch.rand(8, *latents.shape[-2:]) < 0.25
            for channel in range(SEEN):
                other = latents.clone()
                other[:, channel] = torch.where(some, latents[:, channel].roll(1, 0), latents[:, channel])
                moved = (other[:, channel] - latents[:, channel]).square().mean().clamp_min(1e-4)
                after = tower.back(head(context(other, depth, SEEN_LEVELS)))[1]
                turned[channel] += float((1 - F.cosine_similarity(before, after)).mean() / moved)
    turned[SEEN:] = turned[SEEN - LEVEL_SIZES[SEEN_LEVELS - 1] : SEEN].mean()
    return np.asarray((turned / turned[: LEVEL_SIZES[0]].mean()).round(4))


if __name__ == "__main__":
    main()
