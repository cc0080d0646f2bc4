"""Pictures for training: a folder of photographs and frames sampled from a folder of clips, held small in memory."""

from __future__ import annotations

from pathlib import Path

import av
import cv2
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

PICTURES = {".png", ".jpg", ".jpeg", ".webp", ".bmp"}
VIDEOS = {".mp4", ".mkv", ".avi", ".mov", ".webm", ".gif"}


def load_images(folder: Path, short_side: int) -> list[NDArray[np.uint8]]:
    """Every photograph below a folder, RGB, scaled so that its shorter side is `short_side`."""
    paths = _below(folder, PICTURES)
    loaded = (cv2.imread(str(p), cv2.IMREAD_COLOR_RGB) for p in tqdm(paths, "photographs"))
    return [_scaled(picture, short_side) for picture in loaded if picture is not None]


def middle_of(picture: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """The square in the middle."""
    top, left = ((n - side) // 2 for n in picture.shape[:2])
    return picture[top : top + side, left : left + side]


def load_films(folder: Path, short_side: int, every_s: float, most: int) -> list[list[NDArray[np.uint8]]]:
    """Frames of every clip below a folder, one each `every_s` seconds, at most `most` a clip."""
    paths = _below(folder, VIDEOS)
    films = [_sample(p, short_side, every_s, most) for p in tqdm(paths, "clips")]
    return [frames for frames in films if frames]


def _below(folder: Path, suffixes: set[str]) -> list[Path]:
    """The files of a kind below a folder, in order of name; a file is taken as it is."""
    paths = [folder] if folder.is_file() else folder.rglob("*")
    return sorted(path for path in paths if path.suffix.lower() in suffixes)


def _sample(path: Path, short_side: int, every_s: float, most: int) -> list[NDArray[np.uint8]]:
    frames: list[NDArray[np.uint8]] = []
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            if len(frames) >= most:
                break
            if (frame.time or 0.0) >= len(frames) * every_s:
                frames.append(_scaled(frame.to_ndarray(format="rgb24"), short_side))
    return frames


def _scaled(picture: NDArray[np.uint8], short_side: int) -> NDArray[np.uint8]:
    height, width = picture.shape[:2]
    scale = short_side / min(height, width)
    size = (max(short_side, round(width * scale)), max(short_side, round(height * scale)))
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    return np.ascontiguousarray(cv2.resize(picture, size, interpolation=method))
