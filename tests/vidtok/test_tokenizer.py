"""The shipped tokenizer: torch and onnxruntime agree, sizes, noise, what the networks behind it give."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from edge_gate.scene import Scene
from vidtok.canvas import Canvas, Grid, blank
from vidtok.codec import diff, patch
from vidtok.errors import WeightsError
from vidtok.model.reader import Reader, agreement, label_names
from vidtok.model.tower import load_tower, to_input
from vidtok.model.viewer import CanvasViewer
from vidtok.tokenizer.edge import WEIGHTS, EdgeEncoder, digest_of, load_info, pad_to_grid
from vidtok.tokenizer.fsq import CHANNELS, LEVELS, SEEN_LEVELS, quantise
from vidtok.tokenizer.store import load_encoder


@pytest.fixture(scope="module")
def encoder() -> EdgeEncoder:
    return EdgeEncoder()


def filmed(size: tuple[int, int] = (256, 256), count: int = 6) -> list[np.ndarray]:
    scene = Scene(size=size, fps=10, variant="tour")
    return [scene.frame(k).pixels for k in np.linspace(0, 200, count).astype(int)]


@pytest.mark.parametrize("size", [(256, 256), (640, 480), (240, 320), (368, 208)])
def test_torch_and_onnxruntime_agree_on_the_values(encoder: EdgeEncoder, size: tuple[int, int]) -> None:
    network, apart = load_encoder(), []
    for pixels in filmed(size):
        with torch.inference_mode():
            whole = torch.from_numpy(pad_to_grid(pixels, (0, 0)))
            theirs = network(to_input(whole[None]))[0][0].permute(1, 2, 0).numpy()
        apart.append(np.abs(quantise(encoder(pixels)[:-1, :-1]).astype(int) - quantise(theirs)))
    # The edge computes in 8-bit integers: that moves a latent by a tenth of a step, and one in ten over an edge.
    assert np.mean(np.array(apart) == 0) >= 0.85
    assert np.mean(np.array(apart) <= 1) >= 0.999


def test_the_features_do_not_hang_on_the_order_of_sums() -> None:
    import onnxruntime

    made = []
    for level in ("ORT_ENABLE_ALL", "ORT_DISABLE_ALL"):  # other kernels, other layouts: sums in another order
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, level)
        session = onnxruntime.InferenceSession(str(WEIGHTS / "encoder.onnx"), options)
        pictures = [to_input(torch.from_numpy(pixels[None])).numpy() for pixels in filmed()]
        made.append([session.run(["features"], {"picture": picture})[0] for picture in pictures])
    np.testing.assert_array_equal(*made)


def test_a_frame_inside_a_moved_grid_fills_the_spare_row_and_column(encoder: EdgeEncoder) -> None:
    pixels = filmed(count=1)[0]
    assert encoder(pixels).shape == encoder(pixels, (5, 9)).shape == (9, 9, CHANNELS)
    assert not encoder(pixels)[-1].any()
    assert encoder(pixels, (5, 9))[-1].any()
    assert pad_to_grid(pixels, (5, 9)).shape == (288, 288, 3)


@pytest.mark.parametrize(
    ("offset", "rows", "cols"), [((0, 0), 2, 3), ((16, 0), 2, 3), ((17, 16), 2, 4), ((0, 17), 3, 3), ((31, 31), 3, 4)]
)
def test_a_frame_of_half_cells_fills_the_cells_that_it_shows(
    encoder: EdgeEncoder, offset: tuple[int, int], rows: int, cols: int
) -> None:
    pixels = filmed((80, 64), count=1)[0][:48]
    padded = pad_to_grid(pixels, offset)
    assert padded.shape == (rows * 32, cols * 32, 3)
    assert np.array_equal(padded[offset[1] :, offset[0] :][:48, :80], pixels)
    latents = encoder(pixels, (offset[0] - 64, offset[1] + 320))
    assert latents.shape == (3, 4, CHANNELS)
    shown = latents.any(-1)
    assert shown[:rows, :cols].all()
    assert shown.sum() == rows * cols


def test_the_same_scene_through_a_grid_that_moved_with_it_keeps_most_of_it(encoder: EdgeEncoder) -> None:
    wide = Scene(size=(320, 320), fps=10, variant="tour", noise=False).frame(30).pixels
    here, there = wide[:256, :256], wide[:256, 5:261]
    still = encoder(here)[1:7, 1:7]
    moved = encoder(there, (5, 0))[1:7, 1:7]
    unmoved = encoder(there)[1:7, 1:7]
    assert np.abs(moved - still).mean() < 0.5 * np.abs(unmoved - still).mean()


def test_sensor_noise_moves_latents_far_less_than_another_scene_does(encoder: EdgeEncoder) -> None:
    scene = Scene(size=(256, 256), fps=10, variant="still")
    noise = np.square(encoder(scene.frame(0).pixels) - encoder(scene.frame(7).pixels)).mean()
    other = np.square(encoder(scene.frame(0).pixels) - encoder(filmed(count=2)[1])).mean()
    assert noise < other / 10


def known(pixels: np.ndarray, encoder: EdgeEncoder, levels: int) -> Canvas:
    base = blank(Grid(pixels.shape[1], pixels.shape[0]))
    return patch(base, diff(quantise(encoder(pixels)), base, (base.visible() * levels).astype(np.uint8)), 1)


def test_the_model_reads_the_canvas_better_with_more_levels_and_better_than_another_picture(
    encoder: EdgeEncoder,
) -> None:
    reader = Reader()
    frames = filmed(count=5)
    true = [reader.judge(f) for f in frames]
    by_level = [
        np.mean(
            [agreement(reader.read(known(f, encoder, n)).pooled, t.pooled) for f, t in zip(frames, true, strict=True)]
        )
        for n in (1, SEEN_LEVELS)
    ]
    assert by_level[1] > by_level[0] > 0.4
    assert by_level[0] > agreement(reader.read(known(frames[0], encoder, 0)).pooled, true[0].pooled)


def test_the_model_has_no_use_for_levels_made_for_people(encoder: EdgeEncoder) -> None:
    reader, pixels = Reader(), filmed(count=1)[0]
    seen, shown = (reader.read(known(pixels, encoder, n)) for n in (SEEN_LEVELS, LEVELS))
    assert np.array_equal(seen.pooled, shown.pooled)


def seen_from(pixels: np.ndarray, encoder: EdgeEncoder, position: tuple[int, int]) -> Canvas:
    """All levels of every cell that a frame somewhere in the scene shows."""
    base = blank(Grid(pixels.shape[1], pixels.shape[0])).panned(*position)
    wanted = (base.visible() * LEVELS).astype(np.uint8)
    return patch(base, diff(quantise(encoder(pixels, position)), base, wanted), 1)


SIZES = pytest.mark.parametrize("size", [(256, 256), (272, 208), (176, 112)])
POSITIONS = pytest.mark.parametrize("position", [(0, 0), (7, 9), (16, 25), (31, -31)])


@SIZES
@POSITIONS
def test_the_model_looks_through_the_frames_window(
    encoder: EdgeEncoder, size: tuple[int, int], position: tuple[int, int]
) -> None:
    reader, (pixels, other) = Reader(), filmed(size, count=2)
    seen, true = reader.read(seen_from(pixels, encoder, position)).pooled, reader.judge(pixels).pooled
    assert agreement(seen, true) > max(0.4, agreement(seen, reader.judge(other).pooled))


@SIZES
@POSITIONS
def test_the_viewer_looks_through_the_frames_window(
    encoder: EdgeEncoder, size: tuple[int, int], position: tuple[int, int]
) -> None:
    pixels = filmed(size, count=1)[0]
    shown = CanvasViewer().show(seen_from(pixels, encoder, position))
    assert shown.shape == pixels.shape
    assert np.square(shown.astype(float) - pixels).mean() < np.square(pixels - pixels.mean((0, 1))).mean() / 2


@pytest.mark.parametrize("size", [(256, 256), (272, 208)])
def test_the_viewer_shows_the_frame(encoder: EdgeEncoder, size: tuple[int, int]) -> None:
    pixels = filmed(size, count=1)[0]
    shown = CanvasViewer().show(known(pixels, encoder, LEVELS))
    assert shown.shape == pixels.shape
    assert shown.dtype == np.uint8
    mean_only = np.square(pixels - pixels.mean((0, 1))).mean()
    assert np.square(shown.astype(float) - pixels).mean() < mean_only / 3


def test_the_tower_is_the_published_one() -> None:
    assert len(label_names()) == 1000
    tower = load_tower()
    assert not any(p.requires_grad for p in tower.parameters())
    odd = torch.zeros(1, 3, 272, 240)
    assert tower.front(odd)[2].shape[2:] == (17, 15)


def test_the_shipped_files_belong_together() -> None:
    info = json.loads((WEIGHTS / "tokenizer.json").read_text())
    digest = digest_of(WEIGHTS / "encoder.onnx", WEIGHTS / "gist.onnx")
    assert bytes.fromhex(info["digest"]) == load_info().digest == digest
    assert load_info().sensitivity.shape == (CHANNELS,)
    one_encoder = (p for p in WEIGHTS.glob("*.onnx") if p.name != "encoder.onnx")  # nobody loads both
    assert sum(p.stat().st_size for p in one_encoder) < 8_000_000
    assert (WEIGHTS / "MODEL_CARD.md").exists()


def test_missing_weights_are_a_line_that_names_them(tmp_path) -> None:
    with pytest.raises(WeightsError, match="reinstall"):
        load_info(tmp_path)
    with pytest.raises(WeightsError, match=r"encoder\.onnx"):
        EdgeEncoder(tmp_path)
