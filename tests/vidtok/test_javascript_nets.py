"""nets.js against onnxruntime: the networks that ship, run in node by the kernels that every browser has."""

from __future__ import annotations

import hashlib
import json
import stat
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from numpy.typing import NDArray

from edge_gate.scene import Scene
from tests.vidtok.tagging import Tagged
from tests.vidtok.test_javascript_gate import latents_of, of_any_size, same
from tests.vidtok.test_javascript_sender import pixel_words
from vidtok.canvas import CELL, UNIT
from vidtok.tokenizer.edge import WEIGHTS, EdgeEncoder
from vidtok.tokenizer.fsq import CHANNELS, GIST, quantise

WEB = Path(__file__).parents[2] / "edge_gate" / "web"
KERNELS = WEB / "kernels"
GATE = WEB.parent / "weights" / "gate.onnx"
TWIN = Path(__file__).parent / "twin_nets.mjs"
BUILDS = ("kernels.wasm", "relaxed.wasm", "kernels-shared.wasm", "relaxed-shared.wasm")
RELAXED_DOT = b"\xfd\x93\x02"  # the instruction that only the relaxed builds have
Array = NDArray[Any]


def in_node(node: str, model: Path, name: str, arrays: list[Array], folder: Path) -> list[dict[str, Array]]:
    """What nets.js makes of inputs (rows, cols, channels), one after the other: by name, in the same order."""
    asked = []
    for k, array in enumerate(arrays):
        array.tofile(folder / f"{k}.bin")
        asked.append({"name": name, "file": str(folder / f"{k}.bin"), "dims": array.shape})
    (folder / "asked.json").write_text(json.dumps(asked))
    command = [node, TWIN, KERNELS / "kernels.wasm", model, folder / "asked.json", folder / "told.json"]
    subprocess.run(
        [*command, "bytes"] if arrays[0].dtype == np.int8 else command, check=True, capture_output=True, text=True
    )
    told = json.loads((folder / "told.json").read_text())
    return [
        {key: np.array(found["data"], np.float32).reshape(found["dims"]) for key, found in one.items()} for one in told
    ]


def natively(model: Path, name: str, array: Array) -> dict[str, Array]:
    """What onnxruntime makes of it."""
    session = onnxruntime.InferenceSession(str(model))
    names = [output.name for output in session.get_outputs()]
    made = session.run(names, {name: array.astype(np.float32).transpose(2, 0, 1)[None]})
    return {
        key: found[0].transpose(1, 2, 0) if found.ndim == 4 else found for key, found in zip(names, made, strict=True)
    }


@pytest.mark.parametrize("sizes", [[(256, 256), (96, 160), (256, 256)], [(640, 480)], [(64, 64), (224, 96)]])
def test_encoder_and_gist_make_the_same_values(node: str, sizes: list[tuple[int, int]], tmp_path: Path) -> None:
    whole = Scene((640, 480), 10.0)
    frames = [np.ascontiguousarray(whole.frame(20 * k).pixels[:high, :wide]) for k, (wide, high) in enumerate(sizes)]
    found = in_node(
        node, WEIGHTS / "encoder.onnx", "picture", [(f.astype(int) - 128).astype(np.int8) for f in frames], tmp_path
    )
    wanted = [natively(WEIGHTS / "encoder.onnx", "picture", (f.astype(np.float32) - 127) / 128) for f in frames]
    for mine, theirs in zip(found, wanted, strict=True):
        np.testing.assert_array_equal(mine["features"], theirs["features"])
        assert np.mean(quantise(mine["latents"]) == quantise(theirs["latents"])) >= 0.9999
    gists = in_node(node, WEIGHTS / "gist.onnx", "features", [theirs["features"] for theirs in wanted], tmp_path)
    for whole, theirs in zip(gists, wanted, strict=True):
        mine = quantise(whole["latents"].ravel())
        assert (
            np.mean(mine == quantise(natively(WEIGHTS / "gist.onnx", "features", theirs["features"])["latents"]))
            >= 0.995
        )


def test_the_gate_judges_alike(node: str, tmp_path: Path) -> None:
    asked = np.random.default_rng(3).standard_normal((7, 5, 55)).astype(np.float32)
    (mine,) = in_node(node, GATE, "asked", [asked], tmp_path)
    np.testing.assert_allclose(mine["said"], natively(GATE, "asked", asked)["said"], rtol=1e-4, atol=1e-5)


def refusal(node: str, model: Path, array: Array, folder: Path, name: str = "asked") -> str:
    """What nets.js says where it will not run."""
    with pytest.raises(subprocess.CalledProcessError) as raised:
        in_node(node, model, name, [array], folder)
    return str(raised.value.stderr)


def test_what_it_cannot_run_is_refused_by_name(node: str, tmp_path: Path) -> None:
    import onnx

    asked, broken = np.zeros((2, 2, 55), np.float32), tmp_path / "broken.onnx"
    assert "said: not an input" in refusal(node, GATE, asked, tmp_path, "said")
    assert "cannot run" in refusal(node, GATE, asked[..., :50], tmp_path)
    broken.write_bytes(GATE.read_bytes()[:5000])
    assert "ends too early" in refusal(node, broken, asked, tmp_path)
    model = onnx.load(str(GATE))
    model.graph.node[-2].op_type = "Softplus"
    onnx.save(model, str(broken))
    assert "cannot run" in refusal(node, broken, asked, tmp_path)
    features = np.zeros((1, 4, 112), np.float32)
    assert "too small" in refusal(node, WEIGHTS / "gist.onnx", features, tmp_path, "features")


def test_the_kernels_are_compiled_of_their_source() -> None:
    source = hashlib.sha256((KERNELS / "kernels.c").read_bytes()).hexdigest().encode()
    for name in BUILDS:
        compiled = (KERNELS / name).read_bytes()
        assert source in compiled, f"{name} is older than kernels.c: make kernels"
        assert (RELAXED_DOT in compiled) == name.startswith("relaxed")
        assert stat.S_IMODE((KERNELS / name).stat().st_mode) & 0o111 == 0, f"{name} is no program"
    assert {path.name for path in KERNELS.glob("*.wasm")} == set(BUILDS)


@pytest.mark.parametrize("size", [(64, 96), (80, 48), (48, 32)])
@pytest.mark.parametrize("channels", [3, 4])
def test_what_the_encoder_is_fed_and_what_is_made_of_it(
    sender_twin: Tagged, size: tuple[int, int], channels: int
) -> None:
    (width, height), rng = size, np.random.default_rng(5)
    pixels = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    fed: list[NDArray[np.float32]] = []

    class Fake:
        def __init__(self, *answers: NDArray[np.float32]) -> None:
            self.answers = list(answers)

        def run(self, _: None, feeds: dict[str, NDArray[np.float32]]) -> list[NDArray[np.float32]]:
            fed.extend(feeds.values())
            return self.answers

    rows, cols = -(-height // CELL), -(-width // CELL)
    latents, features = latents_of(rng, CHANNELS, rows * cols), latents_of(rng, 5, 4 * rows * cols)
    by_pixel = lambda array, *shape: np.ascontiguousarray(array.reshape(shape).transpose(1, 2, 0))  # noqa: E731
    gist = latents_of(rng, 1, GIST)
    shapes = (1, CHANNELS, rows, cols), (1, 5, 2 * rows, 2 * cols)
    mine = EdgeEncoder.__new__(EdgeEncoder)
    cells: Any = Fake(latents.reshape(shapes[0]), features.reshape(shapes[1]))
    mine._cells, mine._gist, mine._features = cells, Fake(gist), None
    made = mine(pixels), mine.gist()
    outputs = {
        name: {key: {"data": array.ravel(), "dims": array.shape} for key, array in arrays.items()}
        for name, arrays in {
            "encoder": {
                "latents": by_pixel(latents, CHANNELS, rows, cols),
                "features": by_pixel(features, 5, 2 * rows, 2 * cols),
            },
            "gist": {"latents": gist.reshape(1, 1, GIST)},
        }.items()
    }
    theirs = sender_twin.ask("fake_encode", pixels=pixel_words(pixels, channels), outputs=outputs)
    same(theirs["latents"], made[0].ravel())
    same(theirs["gist"], made[1].ravel())
    assert theirs["early"] == "gist() before the first frame"
    picture, seen = theirs["fed"]
    assert (picture["name"], seen["name"]) == ("picture", "features")
    same((np.array(picture["data"], np.float32) + 1) / 128, by_pixel(fed[0], *fed[0].shape[1:]).ravel())
    same(seen["data"], by_pixel(fed[1], *fed[1].shape[1:]).ravel())
    assert picture["dims"] == [32 * rows, 32 * cols, 3]
    assert seen["dims"] == [height // UNIT, width // UNIT, 5]


def test_what_the_gates_network_is_fed_and_what_it_says(sender_twin: Tagged) -> None:
    asked, said = of_any_size(np.random.default_rng(1), 55, 12), of_any_size(np.random.default_rng(2), 2, 12)
    outputs = {"gate": {"said": {"data": said.T.ravel(), "dims": [3, 4, 2]}}}
    told = sender_twin.ask("fake_judge", asked=asked, rows=3, cols=4, outputs=outputs)
    same(told["lastsS"], said[0])
    same(told["event"], said[1])
    (fed,) = told["fed"]
    assert (fed["name"], fed["dims"], told["wake"]) == ("asked", [3, 4, 55], 0.5)
    same(fed["data"], asked.T.ravel())
