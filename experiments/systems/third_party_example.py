"""A system of somebody else, as one file: thumbnails as WebP, sent when the picture has changed enough.

    python -m experiments.rate_quality --clips DIR --out DIR --systems x264,experiments/systems/third_party_example.py

`run` gets a setting and a clip. It takes the frames one by one and, for each, yields what the receiver knows at that
moment and what it has cost so far. The rules stand in `experiments/systems/__init__.py`.
"""

from collections.abc import Iterator

import cv2
import numpy as np

from experiments.systems import Clip, Known, System

TOKENS = 64  # what a low-resolution picture costs a hosted model


def systems() -> list[System]:
    """What `--systems` finds in this file."""
    settings = {"96 pixels": 96, "128 pixels": 128, "192 pixels": 192}  # from cheap to dear
    return [System("webp-thumbnails", "WebP q60, at most 2 fps, only when a tenth has changed", run, settings)]


def run(side: int, clip: Clip) -> Iterator[Known]:
    """Send a thumbnail when it is news; the receiver scales it up and holds it."""
    known, last, due = Known(), None, 0.0
    for frame in clip:
        small = cv2.resize(frame.pixels, (side, side), interpolation=cv2.INTER_AREA)
        changed = last is None or (cv2.absdiff(small, last) > 16).any(-1).mean() > 0.1
        if changed and frame.time_s >= due:
            last, due = small, frame.time_s + 0.5
            _, coded = cv2.imencode(".webp", small[..., ::-1], [cv2.IMWRITE_WEBP_QUALITY, 60])
            shown = cv2.resize(cv2.imdecode(coded, cv2.IMREAD_COLOR)[..., ::-1], clip.size)
            known = Known(
                picture=np.ascontiguousarray(shown),
                bytes=known.bytes + coded.size,
                packets=known.packets + -(-coded.size // 1200),
                tokens=known.tokens + TOKENS,
            )
        yield known
