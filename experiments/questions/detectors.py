"""Pretrained networks that look at one frame: faces, hands and people (mediapipe), writing (rapidocr).

    picture (H, W, 3) --faces--> boxes     --hands--> boxes     --pose--> 33 points     --selfie--> share of a person
                      --writing--> coverage of a grid

Boxes are rows of (left, top, right, bottom, score), all from 0 to 1, the surest first, padded with zeros.
"""

from __future__ import annotations

import importlib.metadata
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from experiments.bench import BenchError
from experiments.pages import ocr_version

Pixels = NDArray[np.uint8]
Floats = NDArray[np.float32]

INSTALL = "pip install --no-deps mediapipe==0.10.21 absl-py==2.5.1"
MOST = 4  # boxes that are kept of each kind
GRID = 16  # rows and columns of maps of the frame
POINTS = 33  # of a pose
FAINTEST = 0.3  # a face less sure than this is none
SURE_WORD = 0.8


def detectors_version() -> str:
    """Which mediapipe is installed. Raises BenchError where it isn't."""
    try:
        return f"mediapipe {importlib.metadata.version('mediapipe')}"
    except importlib.metadata.PackageNotFoundError:
        # What it asks for would replace numpy, protobuf and OpenCV.
        raise BenchError(f"the detectors are missing: {INSTALL}") from None


class Detectors:
    """The networks of mediapipe, each frame by itself: no box is carried over from the frame before."""

    def __init__(self) -> None:
        detectors_version()
        from mediapipe.python.solutions.face_detection import FaceDetection
        from mediapipe.python.solutions.selfie_segmentation import SelfieSegmentation

        self._short, self._full = FaceDetection(FAINTEST, 0), FaceDetection(FAINTEST, 1)
        self._selfie = SelfieSegmentation(0)
        self._hands = _graph(
            "hand_landmark/hand_landmark_tracking_cpu",
            {"model_complexity": 1, "num_hands": MOST, "use_prev_landmarks": False},
            ["multi_hand_landmarks", "multi_handedness", "palm_detections"],
        )
        unused = dict.fromkeys(("smooth_landmarks", "enable_segmentation", "smooth_segmentation"), False)
        self._pose = _graph(
            "pose_landmark/pose_landmark_cpu",
            {"model_complexity": 1, "use_prev_landmarks": False} | unused,
            ["pose_landmarks", "pose_detection"],
        )

    def faces(self, picture: Pixels, *, near: bool) -> Floats:
        """Faces (MOST, 5) by the network for near ones, or by that for far ones."""
        found = (self._short if near else self._full).process(picture).detections or []
        return _padded([_box(detection) for detection in found])

    def hands(self, picture: Pixels) -> tuple[Floats, Floats]:
        """Hands (MOST, 5) around their 21 points, and palms (MOST, 5), of which more are found."""
        found = self._hands.process({"image": picture})
        hands = [
            [*_around(hand.landmark), side.classification[0].score]
            for hand, side in zip(found.multi_hand_landmarks or [], found.multi_handedness or [], strict=True)
        ]
        return _padded(hands), _padded([_box(palm) for palm in found.palm_detections or []])

    def pose(self, picture: Pixels) -> tuple[Floats, float]:
        """The 33 points (x, y, visibility) of one person, and how sure it is that there is one; zeros for nobody."""
        found = self._pose.process({"image": picture})
        score = float(found.pose_detection.score[0]) if found.pose_detection else 0.0
        if not found.pose_landmarks:
            return np.zeros((POINTS, 3), np.float32), score
        return np.array([(p.x, p.y, p.visibility) for p in found.pose_landmarks.landmark], np.float32), score

    def selfie(self, picture: Pixels) -> float:
        """How much of the picture is a person, as the network for pictures of oneself sees it."""
        return float((self._selfie.process(picture).segmentation_mask > 0.5).mean())


def _graph(path: str, settings: dict[str, Any], outputs: list[str]) -> Any:
    """A network of the package by its file; its own classes change thresholds in a way that protobuf 7 refuses."""
    from mediapipe.python.solution_base import SolutionBase

    return SolutionBase(f"mediapipe/modules/{path}.binarypb", side_inputs=settings, outputs=outputs)


def _box(detection: Any) -> list[float]:
    box = detection.location_data.relative_bounding_box
    return [box.xmin, box.ymin, box.xmin + box.width, box.ymin + box.height, detection.score[0]]


def _around(points: Any) -> tuple[float, float, float, float]:
    x, y = [p.x for p in points], [p.y for p in points]
    return min(x), min(y), max(x), max(y)


def _padded(boxes: list[list[float]]) -> Floats:
    out = np.zeros((MOST, 5), np.float32)
    for row, box in zip(out, sorted(boxes, key=lambda box: -box[4]), strict=False):
        row[:] = box
    return out


class Writing:
    """Where something is written: PP-OCRv4 finds lines and reads them."""

    def __init__(self) -> None:
        ocr_version()
        from rapidocr_onnxruntime import RapidOCR

        self._engine = RapidOCR(intra_op_num_threads=1, inter_op_num_threads=1, use_cls=False, det_limit_side_len=64)

    def __call__(self, picture: Pixels) -> tuple[Floats, Floats]:
        """Coverage (GRID, GRID) from 0 to 1 by words that were surely read, and by all that looks like a line."""
        found, _ = self._engine(np.ascontiguousarray(picture[..., ::-1]))
        lines = [
            (np.asarray(box, np.float32), len(str(text).strip()), float(score)) for box, text, score in found or []
        ]
        sure = [box for box, signs, score in lines if score >= SURE_WORD and signs >= 3]
        return coverage(sure, picture.shape[:2]), coverage([box for box, _, _ in lines], picture.shape[:2])


def coverage(quads: list[Floats], shape: tuple[int, ...]) -> Floats:
    """How much of each place of the grid lies within quadrangles (4, 2) of pixels."""
    mask = np.zeros(shape[:2], np.float32)
    cv2.fillPoly(mask, [quad.round().astype(np.int32) for quad in quads], (1.0,))
    return np.asarray(cv2.resize(mask, (GRID, GRID), interpolation=cv2.INTER_AREA), np.float32)
