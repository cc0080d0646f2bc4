"""Pictures and films for people: panels side by side with a caption, written as MP4 and PNG.

OpenCV and PyAV are borrowed from `edge_gate.source`, which says how to install them when they are missing.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from edge_gate.budget import Why
from edge_gate.source import load_av, load_cv2

Pixels = NDArray[np.uint8]

CAPTION_PX = 28
OUTLINES = {  # why a cell is outlined, and in which colour
    Why.EVENT: (255, 255, 255),
    Why.NEWS: (255, 210, 60),
    Why.REFINED: (90, 170, 255),
    Why.MOVED: (90, 230, 120),
    Why.NO_ROOM: (130, 130, 130),
}


class FilmWriter:
    """Writes H.264 MP4. The file gets its name when it is whole."""

    def __init__(self, path: Path, fps: float) -> None:
        self._path, self._part = path, path.with_name(path.name + ".part")
        self._av = load_av()
        self._container: Any = self._av.open(str(self._part), "w", format="mp4")
        self._stream: Any = self._container.add_stream(
            "libx264", rate=Fraction(fps).limit_denominator(1000), options={"crf": "20", "preset": "veryfast"}
        )
        self._stream.pix_fmt = "yuv420p"
        self._sized = False

    def write(self, pixels: Pixels) -> None:
        """Add one frame (H, W, 3) RGB, even sides."""
        if not self._sized:
            self._stream.height, self._stream.width = pixels.shape[:2]
            self._sized = True
        frame = self._av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
        self._container.mux(self._stream.encode(frame))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, _: BaseException | None, __: TracebackType | None) -> None:
        try:
            if kind is None:
                self._container.mux(self._stream.encode())
            self._container.close()
            if kind is None:
                self._part.replace(self._path)
        finally:
            self._part.unlink(missing_ok=True)


def heat(pixels: Pixels, score: NDArray[np.float32], offset: tuple[int, int], cell: int) -> Pixels:
    """The frame in dim grey with novelty (rows, cols) laid over it, dark red to yellow."""
    cv2 = load_cv2()
    height, width = pixels.shape[:2]
    wide = np.kron(score, np.ones((cell, cell), np.float32))[offset[1] :, offset[0] :][:height, :width]
    colour = cv2.applyColorMap((np.clip(wide, 0, 1) * 255).astype(np.uint8), cv2.COLORMAP_HOT)[..., ::-1]
    grey = np.repeat(pixels.mean(-1, keepdims=True) * 0.6, 3, -1)
    share = np.clip(wide, 0, 1)[..., None] * 0.85
    return (grey * (1 - share) + colour * share).astype(np.uint8)


def outlined(pixels: Pixels, why: NDArray[np.uint8], offset: tuple[int, int], cell: int) -> Pixels:
    """The picture with a frame around each cell that was told, or would have been, in the colour of its `Why`."""
    cv2, out = load_cv2(), pixels.copy()
    for row, col in np.argwhere(np.isin(why, list(OUTLINES))):
        left, top = (int(n) * cell - start for n, start in zip((col, row), offset, strict=True))
        corner = left + cell - 2, top + cell - 2
        cv2.rectangle(out, (left + 1, top + 1), corner, OUTLINES[Why(int(why[row, col]))], 1)
    return out


def panels(pictures: Sequence[Pixels], captions: Sequence[str], foot: str, scale: float = 1.5) -> Pixels:
    """Pictures of one size side by side, each under its caption, with a line of text below."""
    cv2 = load_cv2()
    columns = [_captioned(cv2, picture, caption, scale) for picture, caption in zip(pictures, captions, strict=True)]
    sheet = np.concatenate(columns, 1)
    line = np.zeros((CAPTION_PX, sheet.shape[1], 3), np.uint8)
    _write(cv2, line, foot)
    sheet = np.concatenate([sheet, line])
    return np.ascontiguousarray(sheet[: sheet.shape[0] // 2 * 2, : sheet.shape[1] // 2 * 2])


def _captioned(cv2: Any, picture: Pixels, caption: str, scale: float) -> Pixels:
    size = (round(picture.shape[1] * scale), round(picture.shape[0] * scale))
    head = np.zeros((CAPTION_PX, size[0], 3), np.uint8)
    _write(cv2, head, caption)
    return np.concatenate([head, cv2.resize(picture, size, interpolation=cv2.INTER_CUBIC)])


def _write(cv2: Any, strip: Pixels, text: str) -> None:
    cv2.putText(strip, text, (8, CAPTION_PX - 9), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (235, 235, 235), 1, cv2.LINE_AA)


def save_png(path: Path, pixels: Pixels) -> None:
    """Write an RGB picture."""
    good, data = load_cv2().imencode(".png", np.ascontiguousarray(pixels[..., ::-1]))
    if not good:
        raise OSError(f"{path}: the picture could not be encoded")
    path.write_bytes(data.tobytes())


def jpeg(pixels: Pixels, quality: int = 85) -> bytes:
    """An RGB picture as a JPEG."""
    cv2 = load_cv2()
    good, data = cv2.imencode(".jpg", np.ascontiguousarray(pixels[..., ::-1]), [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not good:
        raise ValueError(f"a picture of {pixels.shape[1]}x{pixels.shape[0]} could not be made a JPEG")
    return bytes(data)


def webm(frames: Iterable[Pixels], size: tuple[int, int], fps: int) -> bytes:
    """Pictures (H, W, 3) RGB of one size as a film in memory: VP8, which every browser plays."""
    av, out = load_av(), io.BytesIO()
    with av.open(out, "w", format="webm") as container:
        options = {"deadline": "realtime", "cpu-used": "6", "crf": "20"}
        stream: Any = container.add_stream("libvpx", rate=fps, options=options)
        stream.width, stream.height = size
        stream.pix_fmt, stream.bit_rate = "yuv420p", 1_500_000
        for pixels in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")))
        container.mux(stream.encode())
    return out.getvalue()
