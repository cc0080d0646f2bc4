"""Candidates for the video codecs' best zero-latency settings, as a file of systems for `--systems`.

    python -m experiments.rate_quality --clips TRAIN --out DIR --systems experiments/systems/video_variants.py

What needs fewest bits at equal feature cosine on training clips is what `video.py` ships; speed is no object as long
as a frame takes less than its tenth of a second.
"""

from __future__ import annotations

from dataclasses import replace

from experiments.systems import System
from experiments.systems.video import SVT_AV1, VP9, X264, X265, Coder, system

QUALITIES = {"libx264": (46, 41, 36), "libx265": (48, 43, 38), "libsvtav1": (63, 56, 48), "libvpx-vp9": (63, 57, 50)}


def systems() -> list[System]:
    """Every candidate at three qualities."""
    return [system(name, coder, QUALITIES[coder.encoder]) for name, coder in candidates().items()]


def candidates() -> dict[str, Coder]:
    """By a name that says what is different."""
    return {
        "x264-veryfast": _with(X264, preset="veryfast", **{"aq-mode": "1"}),
        "x264-medium": _with(X264, preset="medium", **{"aq-mode": "1"}),
        "x264-veryslow": _with(X264, preset="veryslow", **{"aq-mode": "1"}),
        "x264-veryslow-aq0": _with(X264, preset="veryslow", **{"aq-mode": "0"}),
        "x265-fast": _with(X265, preset="fast"),
        "x265-slow": _with(X265, preset="slow"),
        "x265-slow-aq0": _more(_with(X265, preset="slow"), "x265-params", "aq-mode=0"),
        "svt-av1-8": _with(SVT_AV1, preset="8"),
        "svt-av1-4": _with(SVT_AV1, preset="4"),
        "svt-av1-4-aq0": _more(_with(SVT_AV1, preset="4"), "svtav1-params", "aq-mode=0"),
        "vp9-realtime-5": _with(VP9, deadline="realtime", **{"cpu-used": "5"}),
        "vp9-good-2": _with(VP9, deadline="good", **{"cpu-used": "2"}),
        "vp9-good-0": _with(VP9, deadline="good", **{"cpu-used": "0"}),
        "vp9-good-0-aq": _with(VP9, deadline="good", **{"cpu-used": "0", "aq-mode": "1"}),
    }


def _with(coder: Coder, **options: str) -> Coder:
    return replace(coder, options={**coder.options, **options})


def _more(coder: Coder, name: str, value: str) -> Coder:
    return _with(coder, **{name: f"{coder.options[name]}:{value}"})
