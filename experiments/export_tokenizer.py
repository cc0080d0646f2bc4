"""Turn finished training runs into what ships: safetensors, ONNX and the numbers that the gate reads.

    python -m experiments.export_tokenizer --run runs/tokenizer --images DIR --out vidtok/weights

Weights are rounded to 16 bits first. The edge's encoder computes in 8-bit integers, ranges calibrated on photographs,
all but its last layers, which give the latents. Nothing is summed in floats before them, and no sum of two maps is
rounded twice: so every machine and browser makes the same values.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from experiments.lessons import SIDE, crop
from experiments.pictures import load_images
from experiments.refit import refit, through
from experiments.train_pictures import Artist
from experiments.train_tokenizer import Trainee, load_averaged
from vidtok.model.tower import FEATURES, Tower, load_tower, to_input
from vidtok.tokenizer.edge import WEIGHTS, digest_of
from vidtok.tokenizer.fsq import CHANNELS, GIST, GIST_LEVELS, LEVEL_SIZES, SEEN_LEVELS
from vidtok.tokenizer.networks import (
    CONTEXT,
    GIST_CONTEXT,
    SEEN,
    Encoder,
    GistEncoder,
    context,
    gist_context,
    quantise_ste,
)
from vidtok.tokenizer.store import load_encoder, load_gist, load_gist_head, load_head, load_viewer, save_half

CALIBRATED = 64  # photographs
PACKED = 4096  # numbers from which a tensor is stored in 8 bits
GIST_CELLS = 2  # levels that cells hold where the gist's worth is measured


def main() -> None:
    """Command line."""
    import onnx

    parser = argparse.ArgumentParser(prog="experiments.export_tokenizer", description=__doc__.splitlines()[0])
    parser.add_argument("--run", type=Path, default=Path("runs/tokenizer"), help="folder of the training runs")
    parser.add_argument("--images", type=Path, required=True, help="photographs to measure sensitivity on")
    parser.add_argument("--out", type=Path, default=WEIGHTS)
    parser.add_argument("--batches", type=int, default=6, help="of eight crops, to measure sensitivity on")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    tower = load_tower()
    trained, artist, encoder, gist = Trainee(), Artist(), Encoder(), GistEncoder()
    steps = [load_averaged(trained, args.run), load_averaged(artist, args.run / "pictures")]
    encoder.front.load_state_dict(tower.front.state_dict())
    encoder.squeeze.load_state_dict(trained.squeeze.state_dict())
    encoder.detail.load_state_dict(artist.detail.state_dict())
    halves = {
        "encoder": encoder,
        "gist": trained.gist,
        "head": trained.head,
        "gist_head": trained.gist_head,
        "viewer": artist.viewer,
    }
    for name, network in halves.items():
        save_half(network, args.out / f"{name}.safetensors")
    gist.back.load_state_dict(tower.back.state_dict())
    gist.gist.load_state_dict(load_gist(args.out).state_dict())
    pictures = load_images(args.images, 320)
    samples = [{"picture": x.numpy()} for x in calibration(pictures)]
    export_onnx(load_encoder(args.out), args.out / "encoder.onnx", ["latents", "features"], picture=(1, 3, 64, 64))
    seen = through(onnx.load(str(args.out / "encoder.onnx")), ["features"], samples)["features"]
    to_integers(args.out / "encoder.onnx", samples, giving_latents)
    export_onnx(gist.eval(), args.out / "gist.onnx", ["latents"], features=(1, FEATURES, 4, 4))
    to_integers(args.out / "gist.onnx", [{"features": each} for each in seen])
    pack(args.out / "gist.onnx")
    viewer = args.out / "viewer.onnx"
    export_onnx(load_viewer(args.out), viewer, ["picture"], context=(1, CONTEXT, 2, 2), gist=(1, GIST_CONTEXT))
    pack(viewer)
    info = {
        "steps": steps,
        **measure_sensitivity(tower, args.out, pictures, args.batches),
        "digest": digest_of(args.out / "encoder.onnx", args.out / "gist.onnx").hex(),
    }
    (args.out / "tokenizer.json").write_text(json.dumps(info) + "\n")
    print(f"wrote {args.out}: {', '.join(sorted(p.name for p in args.out.iterdir()))}")


def export_onnx(network: nn.Module, path: Path, outputs: list[str], **inputs: tuple[int, ...]) -> None:
    """Maps of any height and width; `inputs` are examples' shapes by name."""
    axes = {name: {2: "height", 3: "width"} for name, shape in inputs.items() if len(shape) == 4}
    torch.onnx.export(
        network, tuple(torch.zeros(shape) for shape in inputs.values()), path, input_names=list(inputs),
        output_names=outputs, dynamic_axes=axes, opset_version=17, dynamo=False,
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


def pack(path: Path) -> None:
    """Store a network's large float weights in 8 bits, a scale a row, made floats again where it is loaded."""
    import onnx

    model = onnx.load(str(path))
    graph, nodes, scales = model.graph, [], []
    for stored in graph.initializer:
        numbers = onnx.numpy_helper.to_array(stored)
        if numbers.dtype != np.float32 or numbers.size < PACKED:
            continue
        scale = np.abs(numbers.reshape(len(numbers), -1)).max(1).clip(1e-8) / 127
        whole = np.rint(numbers / scale.reshape(-1, *(1,) * (numbers.ndim - 1))).astype(np.int8)
        name = stored.name
        stored.CopyFrom(onnx.numpy_helper.from_array(whole, name + "/packed"))
        scales.append(onnx.numpy_helper.from_array(scale.astype(np.float32), name + "/scale"))
        nodes.append(onnx.helper.make_node("DequantizeLinear", [name + "/packed", name + "/scale"], [name], axis=0))
    graph.initializer.extend(scales)
    nodes += graph.node
    del graph.node[:]
    graph.node.extend(nodes)
    onnx.checker.check_model(model)
    onnx.save(model, str(path))


def calibration(pictures: list[np.ndarray]) -> Iterator[Tensor]:
    """Crops whose activations say how wide the integers must be."""
    rng = np.random.default_rng(0)
    for i in rng.permutation(len(pictures))[:CALIBRATED]:
        yield to_input(torch.from_numpy(crop(pictures[i], SIDE, rng).copy()[None]))


def giving_latents(names: list[str]) -> list[str]:
    """The layers that the latents come out of."""
    return [name for name in names if name.endswith(("squeeze/linear/Conv", "squeeze/narrow/Conv", "narrow.3/Conv"))]


def to_integers(
    path: Path,
    samples: list[dict[str, np.ndarray]],
    floats: Callable[[list[str]], list[str]] = lambda names: [],
) -> None:
    """The same network in 8-bit integers, ranges from the samples; weights in 7, by channel, refitted.

    `floats` says which convolutions, of all their names in order, stay in floats.
    """
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
            self._samples = iter(samples)

        def get_next(self) -> dict[str, np.ndarray] | None:
            return next(self._samples, None)

    ready = path.with_suffix(".ready.onnx")
    quant_pre_process(str(path), str(ready), skip_symbolic_shape=True)
    fold_pads(ready)
    convolutions = [node.name for node in onnx.load(str(ready)).graph.node if node.op_type == "Conv"]
    quantize_static(
        str(ready), str(path), Reader(), QuantFormat.QOperator, activation_type=QuantType.QUInt8, per_channel=True,
        nodes_to_exclude=floats(convolutions), calibrate_method=CalibrationMethod.Percentile,
        op_types_to_quantize=["Conv", "Add", "Clip", "Relu"],
        extra_options={"CalibPercentile": 99.99},
    )  # fmt: skip
    settle_sums(path)
    refit(path, ready, samples)
    ready.unlink()


def settle_sums(path: Path) -> None:
    """Give maps that are added in integers scales whose ratios have few bits: then no addition of theirs rounds twice.

    A sum that is added to again keeps its scale through the whole chain; what joins it has a 64th part of it, so often
    as it takes.
    """
    import onnx

    model = onnx.load(str(path))
    stored = {t.name: t for t in model.graph.initializer}
    adds = [node for node in model.graph.node if node.op_type == "QLinearAdd" and node.input[3] not in stored]
    chain: dict[str, str] = {}  # the scale of a sum -> that of the first sum of its chain
    for node in adds:
        first_of = next((chain[name] for name in (node.input[1], node.input[4]) if name in chain), node.input[6])
        chain[node.input[6]] = first_of
    scale = {
        name: float(onnx.numpy_helper.to_array(t))
        for name, t in stored.items()
        if name.endswith("_scale") and not t.dims
    }
    widest = {at: max(scale[name] for name in chain if chain[name] == at) for at in chain.values()}
    new = {name: _short(widest[at]) for name, at in chain.items()}
    for node in adds:
        whole = new[node.input[6]]
        for name in (node.input[1], node.input[4]):
            if name not in chain:
                new[name] = whole * math.ceil(scale[name] / whole * 64) / 64
    for name, value in new.items():
        stored[name].CopyFrom(onnx.numpy_helper.from_array(np.array(value, np.float32), name))
    for node in adds:
        for name in (node.input[1], node.input[4]):
            parts = 64 * np.float32(new[name]) / np.float32(new[node.input[6]])
            assert parts == int(parts) <= 255, f"{node.name}: a scale that two sums want in two ways, or far apart"
    onnx.checker.check_model(model)
    onnx.save(model, str(path))


def _short(number: float) -> float:
    """The least number of 16 bits that is no smaller."""
    part, power = math.frexp(number)
    return math.ldexp(math.ceil(part * 2**16), power - 16)


def measure_sensitivity(tower: Tower, folder: Path, pictures: list[np.ndarray], batches: int) -> dict[str, list[float]]:
    """How far the tower's pooled view turns when one latent is replaced by another's: of a cell, and of the gist.

    Every number is relative to the mean over a cell's first level, the gist's in a frame of a single cell. What only
    people see is given the last seen level's mean.
    """
    rng = np.random.default_rng(0)
    encoder, head, gist_of, gist_head = (load(folder) for load in (load_encoder, load_head, load_gist, load_gist_head))
    turned, gist_turned = np.zeros(CHANNELS), np.zeros(GIST)
    with torch.no_grad():
        for _ in range(batches):
            crops = np.stack([crop(pictures[i], SIDE, rng) for i in rng.integers(len(pictures), size=8)])
            seen, features = encoder(to_input(torch.from_numpy(crops)))
            latents = quantise_ste(seen)[:, :SEEN]
            gist = quantise_ste(torch.tanh(gist_of(tower.back(features)[1])))
            rows, cols = latents.shape[-2:]

            def view(cells: Tensor, whole: Tensor, levels: int, gist_levels: int) -> Tensor:
                depth = torch.full((len(cells), *cells.shape[-2:]), levels)
                held = gist_context(whole, torch.full((len(cells),), gist_levels))
                around = context(cells, depth, SEEN_LEVELS)
                return gist_head(tower.back(head(around))[0], around, held)[1]

            before = view(latents, gist, SEEN_LEVELS, 0)
            some = torch.rand(8, rows, cols) < 0.25
            for channel in range(SEEN):
                other = latents.clone()
                other[:, channel] = torch.where(some, latents[:, channel].roll(1, 0), latents[:, channel])
                moved = (other[:, channel] - latents[:, channel]).square().mean().clamp_min(1e-4)
                after = view(other, gist, SEEN_LEVELS, 0)
                turned[channel] += float((1 - F.cosine_similarity(before, after)).mean() / moved) / (rows * cols)
            before = view(latents, gist, GIST_CELLS, GIST_LEVELS)
            for number in range(GIST):
                whole = gist.clone()
                whole[:, number] = gist[:, number].roll(1, 0)
                moved = (whole[:, number] - gist[:, number]).square().mean().clamp_min(1e-4)
                after = view(latents, whole, GIST_CELLS, GIST_LEVELS)
                gist_turned[number] += float((1 - F.cosine_similarity(before, after)).mean() / moved) / (rows * cols)
    turned[SEEN:] = turned[SEEN - LEVEL_SIZES[SEEN_LEVELS - 1] : SEEN].mean()
    unit = turned[: LEVEL_SIZES[0]].mean()
    return {
        "sensitivity": (turned / unit).round(4).tolist(),
        "gist_sensitivity": (gist_turned / unit).round(4).tolist(),
    }


if __name__ == "__main__":
    main()
