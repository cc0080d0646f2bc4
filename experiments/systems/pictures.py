"""Pictures now and then: what hosted realtime models and agent frameworks are fed today, held in between.

frame --policy: send it?--> JPEG --> receiver holds it until the next
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_gate.source import Frame
from experiments.systems import HOSTED_TOKENS, Clip, Known, System, every
from vidtok.canvas import CELL

Pixels = NDArray[np.uint8]
Floats = NDArray[np.float32]
MTU = 1400  # bytes of a message that fit a packet
TCP_BYTES = 79  # below it: IPv4 20, TCP 32, TLS record 22, WebSocket frame 4, rounded up to the odd byte
QUALITIES = (10, 30, 50, 75, 90)


def systems() -> list[System]:
    """JPEG at fixed rates, and behind a filter of whole frames."""
    about = f"OpenCV {cv2.__version__} JPEG, 4:2:0, optimised tables; {HOSTED_TOKENS} tokens a picture; held in between"
    held = {f"q{quality}": Params(quality, every_s=1.0) for quality in QUALITIES}
    speaking = {f"q75 {rate:g} fps, within 1024x1024": Params(75, every_s=1 / rate) for rate in (0.3, 1.0)}
    filtered = {
        f"q{quality} {threshold:g}": Params(quality, threshold=threshold)
        for threshold, quality in ((0.95, 75), (0.98, 75), (0.99, 75), (0.995, 30), (0.995, 75), (0.999, 30))
    }
    return [
        System("jpeg-1fps", f"one frame a second; {about}", send, held, "pictures", packet_bytes=TCP_BYTES),
        System(
            "livekit", f"LiveKit's sampler: 1 fps while someone speaks, 0.3 fps else; {about}", send, speaking,
            "pictures", packet_bytes=TCP_BYTES,
        ),
        System(
            "frame-filter", "vllm-omni's filter: a frame is sent unless 1 - MSE / 255^2 of its 64x64 thumbnail "
            f"against the last one sent reaches the threshold (0.95 as shipped); {about}", send, filtered,
            "pictures", quick=("q75 0.95", "q75 0.99", "q30 0.999"), packet_bytes=TCP_BYTES,
        ),
    ]  # fmt: skip


@dataclass(frozen=True)
class Params:
    """When a picture is sent, and how good."""

    quality: int
    every_s: float | None = None
    threshold: float | None = None


def send(params: Params, clip: Clip) -> Iterator[Known]:
    """JPEGs when the policy says so."""
    frames = every(clip, params.every_s) if params.every_s else _changed(clip, params.threshold or 0.0)
    cells = (-(-clip.size[1] // CELL), -(-clip.size[0] // CELL))
    known = Known()
    for frame, sent in frames:
        if sent:
            coded = encode(frame.pixels, params.quality)
            known = Known(
                picture=np.asarray(cv2.imdecode(coded, cv2.IMREAD_COLOR_RGB), np.uint8),
                bytes=(known.bytes or 0) + coded.size,
                packets=known.packets + -(-coded.size // MTU),
                tokens=known.tokens + HOSTED_TOKENS,
            )
        yield known if params.every_s else replace(known, news=np.full(cells, sent))


def encode(pixels: Pixels, quality: int) -> Pixels:
    """A JPEG's bytes, with its best low-cost settings."""
    flags = [cv2.IMWRITE_JPEG_QUALITY, quality, cv2.IMWRITE_JPEG_OPTIMIZE, 1]
    done, coded = cv2.imencode(".jpg", cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR), flags)
    assert done
    return np.asarray(coded, np.uint8)


def _changed(clip: Clip, threshold: float) -> Iterator[tuple[Frame, bool]]:
    """Frames, and whether each one's thumbnail is another than that of the last one taken."""
    last: Floats | None = None
    for frame in clip:
        thumbnail = cv2.resize(frame.pixels, (64, 64), interpolation=cv2.INTER_LINEAR).astype(np.float32)
        taken = last is None or not 1 - np.square(thumbnail - last).mean() / 255**2 >= threshold
        if taken:
            last = thumbnail
        yield frame, taken
