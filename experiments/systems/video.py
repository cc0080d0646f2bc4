"""Video codecs through PyAV with zero latency: every frame comes out as one packet before the next one goes in.

    frame --RGB to YUV 4:2:0--> encoder --packet--> decoder --YUV to RGB--> picture

Bytes are those of the packets, parameter sets included, and nothing else: no container, no RTP, no feedback. Settings
were chosen for few bits on training clips (`experiments.systems.video_variants`, see the log), not for speed.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from fractions import Fraction

import av
import numpy as np

from experiments.systems import Clip, Known, System, cells_of, every

os.environ.setdefault("SVT_LOG", "1")  # errors only; the library prints its settings otherwise
MTU = 1200  # bytes of video in an RTP packet
ENDLESS = 1 << 20  # frames in a group of pictures


@dataclass(frozen=True)
class Coder:
    """An encoder with its decoder and everything but the quality."""

    encoder: str
    decoder: str
    options: Mapping[str, str]
    gop_s: float | None = None
    fps: float | None = None  # at most so many frames a second, held in between
    shrink: int = 1  # encoded at a fraction of the size, scaled up by the receiver


X264 = Coder("libx264", "h264", {"preset": "veryslow", "tune": "zerolatency", "aq-mode": "0"})
X265 = Coder(
    "libx265",
    "hevc",
    {
        "preset": "fast",
        "tune": "zerolatency",
        "x265-params": "log-level=error:pools=none:frame-threads=1:scenecut=0:keyint=-1",
    },
)
SVT_AV1 = Coder(
    "libsvtav1",
    "libdav1d",
    {"preset": "4", "svtav1-params": "pred-struct=1:lp=1:lookahead=0:scd=0:keyint=-1"},
)
VP9 = Coder("libvpx-vp9", "vp9", {"deadline": "good", "cpu-used": "0", "lag-in-frames": "0", "b": "0"})


def systems() -> list[System]:
    """The codecs at every frame; x264 as a lossy link needs it; the best of them at fewer frames and pixels."""
    return [
        system("x264", X264, (51, 48, 45, 42, 39, 36, 32)),
        system("x264-gop2s", replace(X264, gop_s=2.0), (48, 44, 40, 36, 32)),
        system("x265", X265, (51, 48, 45, 42, 38, 34)),
        system("svt-av1", SVT_AV1, (63, 60, 56, 52, 47, 42, 36)),
        system("svt-av1-2fps", replace(SVT_AV1, fps=2.0), (63, 56, 47, 38)),
        system("svt-av1-half", replace(SVT_AV1, shrink=2), (60, 50, 40)),
        system("vp9", VP9, (63, 60, 56, 52, 46, 40)),
    ]


def system(name: str, coder: Coder, qualities: tuple[int, ...]) -> System:
    """A codec at several qualities, from cheap to dear."""
    said = [f"{key}={value}" for key, value in coder.options.items()]
    said.append(f"a keyframe every {coder.gop_s:g} s" if coder.gop_s else "one long group of pictures")
    if coder.fps:
        said.append(f"{coder.fps:g} frames a second, held in between")
    if coder.shrink > 1:
        said.append(f"1/{coder.shrink} of width and height, scaled up by the receiver")
    return System(
        name,
        f"{coder.encoder} (FFmpeg {av.ffmpeg_version_info}), {', '.join(said)}; packets only, no RTP or container",
        lambda crf, clip: code(coder, crf, clip),
        {f"crf {crf}": crf for crf in qualities},
        "video",
    )


def code(coder: Coder, crf: int, clip: Clip) -> Iterator[Known]:
    """Encode and decode, a frame at a time."""
    fps = min(clip.fps, coder.fps or clip.fps)
    size = (clip.size[0] // coder.shrink, clip.size[1] // coder.shrink)
    encoder, decoder = _open(coder, crf, size, fps)
    known, number = Known(), 0
    for frame, taken in every(clip, 1 / fps):
        if taken:
            picture = av.VideoFrame.from_ndarray(frame.pixels, format="rgb24")
            picture = picture.reformat(*size, format="yuv420p", interpolation="AREA" if coder.shrink > 1 else None)
            picture.pts = number
            (packet,) = encoder.encode(picture)
            (decoded,) = decoder.decode(packet)
            number += 1
            known = Known(
                picture=np.ascontiguousarray(decoded.reformat(*clip.size).to_ndarray(format="rgb24")),
                bytes=(known.bytes or 0) + packet.size,
                packets=known.packets + -(-packet.size // MTU),
                tokens=known.tokens + cells_of(size),
            )
        yield known
    encoder.encode(None)  # nothing is left in it, but SVT-AV1 complains if it is not told of the end


def open_beside_others(encoder: av.CodecContext) -> None:
    """Open it. SVT-AV1, run by root, gives whoever opens it a priority above every other process: taken back."""
    if not hasattr(os, "sched_getscheduler"):
        encoder.open()
        return
    before, share = os.sched_getscheduler(0), os.sched_getparam(0)
    encoder.open()
    if os.sched_getscheduler(0) != before:
        os.sched_setscheduler(0, before, share)


def _open(coder: Coder, crf: int, size: tuple[int, int], fps: float) -> tuple[av.CodecContext, av.CodecContext]:
    rate = Fraction(fps).limit_denominator(1000)
    encoder = av.CodecContext.create(coder.encoder, "w")
    encoder.width, encoder.height = size
    encoder.pix_fmt = "yuv420p"
    encoder.framerate, encoder.time_base = rate, 1 / rate
    encoder.gop_size = round(coder.gop_s * fps) if coder.gop_s else ENDLESS
    encoder.max_b_frames, encoder.thread_count = 0, 1
    encoder.options = {**coder.options, "crf": str(crf)}
    open_beside_others(encoder)
    decoder = av.CodecContext.create(coder.decoder, "r")
    decoder.thread_count = 1
    return encoder, decoder
