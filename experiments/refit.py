"""Integer weights that undo what rounding did before them: one layer after the other, on photographs.

    float network  --a layer's output y-->  weights w with the least |y - x w|  --rounded one by one, what each
    integer network --its input x------>    of the rest make up for what one lost--> the layer's integers

A layer's inputs in the integer network are not what they were in floats; its weights are fitted anew to give what the
float network's layer gives from what does arrive (held near what they were), and are then rounded in turn, those that
are still to come taking over the error (as GPTQ does it). Means come out right by the bias.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

Floats = NDArray[np.float64]

WIDEST = 63  # weight: 7 bits, so that no processor's sums of 16 bits overflow, and browsers' dot products take them
PLACES = 24_000  # that a layer is fitted on
HELD = 0.02  # how strongly weights are held where they were, of the inputs' mean power


def refit(path: Path, floats: Path, samples: list[dict[str, NDArray[Any]]], seed: int = 0) -> None:
    """Fit every integer convolution of the network at `path` to the float network's, in order."""
    import onnx

    model, exact = onnx.load(str(path)), onnx.load(str(floats))
    convolutions = {node.name: node for node in exact.graph.node if node.op_type == "Conv"}
    numbers = {t.name: onnx.numpy_helper.to_array(t) for t in exact.graph.initializer}
    wanted = [node for node in model.graph.node if node.op_type == "QLinearConv"]
    targets = through(exact, [convolutions[node.name.removesuffix("_quant")].output[0] for node in wanted], samples)
    rng = np.random.default_rng(seed)
    for node in tqdm(wanted, desc="layers", unit="layer"):
        stored = {t.name: t for t in model.graph.initializer}
        scale, zero = (onnx.numpy_helper.to_array(stored[name]) for name in node.input[1:3])
        as_float = convolutions[node.name.removesuffix("_quant")]
        weight = numbers[as_float.input[1]].astype(np.float64)
        arrived = through(model, [node.input[0]], samples)[node.input[0]]
        x, y = _places(node, weight.shape, arrived, targets[as_float.output[0]], int(zero), float(scale), rng)
        mean_x, mean_y = x.mean(1, keepdims=True), y.mean(1, keepdims=True)
        rows = weight.reshape(x.shape[0], -1, x.shape[2])  # (groups, outputs, inputs)
        fitted, power = _fitted(rows, x - mean_x, y - mean_y)
        whole, step = _rounded(fitted, power)
        made = whole * step[..., None]
        bias = (mean_y - mean_x @ made.transpose(0, 2, 1)).reshape(-1)
        each = step.reshape(-1).astype(np.float32)
        new = {node.input[3]: whole.reshape(weight.shape).astype(np.int8), node.input[4]: each}
        if len(node.input) < 9:
            node.input.append(f"{node.name}/bias")
            stored[node.input[8]] = model.graph.initializer.add()
        new[node.input[8]] = np.rint(bias / (float(scale) * each.astype(np.float64))).astype(np.int32)
        for name, values in new.items():
            stored[name].CopyFrom(onnx.numpy_helper.from_array(values, name))
    onnx.checker.check_model(model)
    onnx.save(model, str(path))


def through(model: Any, names: list[str], samples: list[dict[str, NDArray[Any]]]) -> dict[str, list[NDArray[Any]]]:
    """What a network has inside, for every sample."""
    import onnx
    import onnxruntime

    asked = onnx.ModelProto()
    asked.CopyFrom(model)
    del asked.graph.output[:]
    asked.graph.output.extend(onnx.ValueInfoProto(name=name) for name in dict.fromkeys(names))
    session = onnxruntime.InferenceSession(asked.SerializeToString())
    found = [session.run(None, sample) for sample in samples]
    return {output.name: [each[k] for each in found] for k, output in enumerate(session.get_outputs())}


def _places(
    node: Any,
    shape: tuple[int, ...],
    arrived: list[NDArray[Any]],
    given: list[NDArray[Any]],
    zero: int,
    scale: float,
    rng: np.random.Generator,
) -> tuple[Floats, Floats]:
    """Inputs (groups, places, inputs) and outputs (groups, places, outputs) of a layer at some places."""
    at = {a.name: list(a.ints) for a in node.attribute if a.name in ("strides", "pads")}
    (down, across), (top, left, bottom, right) = at["strides"], at["pads"]
    outputs, _, high, wide = shape
    deep = next(a.i for a in node.attribute if a.name == "group") > 1
    most = -(-PLACES // len(arrived))
    xs, ys = [], []
    for whole, y in zip(arrived, given, strict=True):
        x = np.pad((whole[0].astype(np.float32) - zero) * scale, ((0, 0), (top, bottom), (left, right)))
        windows = np.lib.stride_tricks.sliding_window_view(x, (high, wide), (1, 2))[:, ::down, ::across]
        rows, cols = y.shape[2:]
        some = rng.permutation(rows * cols)[:most]
        seen = windows[:, some // cols, some % cols]  # (channels, places, high, wide)
        flat = seen.reshape(*seen.shape[:2], -1)
        xs.append(flat if deep else flat.transpose(1, 0, 2).reshape(1, len(some), -1))
        gave = y[0].reshape(outputs, -1)[:, some]
        ys.append(gave[..., None] if deep else gave.T[None])
    return np.concatenate(xs, 1).astype(np.float64), np.concatenate(ys, 1).astype(np.float64)


def _fitted(weight: Floats, x: Floats, y: Floats) -> tuple[Floats, Floats]:
    """Weights that give y from x, held near what they were; and x's power, by which errors are weighed."""
    power = x.transpose(0, 2, 1) @ x / x.shape[1]
    mean = np.trace(power, axis1=1, axis2=2) / power.shape[1]
    power += (HELD * mean + 1e-9)[:, None, None] * np.eye(power.shape[1])
    missing = y - x @ weight.transpose(0, 2, 1)
    more = np.linalg.solve(power, x.transpose(0, 2, 1) @ missing / x.shape[1])
    return weight + more.transpose(0, 2, 1), power


def _rounded(weight: Floats, power: Floats) -> tuple[Floats, Floats]:
    """Whole weights and the step of each output's, so that the outputs' error is small."""
    widest = np.abs(weight).max(2).clip(1e-8) / WIDEST
    upper = np.linalg.cholesky(np.linalg.inv(power)).transpose(0, 2, 1)
    best, out, steps = np.full(weight.shape[:2], np.inf), np.zeros_like(weight), widest.copy()
    for part in (0.8, 0.87, 0.94, 1.0):
        step = (widest * part).astype(np.float32).astype(np.float64)
        left, whole = weight.copy(), np.zeros_like(weight)
        for k in range(weight.shape[2]):
            whole[..., k] = np.rint(left[..., k] / step).clip(-WIDEST, WIDEST)
            lost = (left[..., k] - whole[..., k] * step) / upper[:, None, k, k]
            left[..., k:] -= lost[..., None] * upper[:, None, k, k:]
        wrong = whole * step[..., None] - weight
        error = np.einsum("goi,gij,goj->go", wrong, power, wrong, optimize=True)
        better = error < best
        best, steps = np.where(better, error, best), np.where(better, step, steps)
        out = np.where(better[..., None], whole, out)
    return out, steps
