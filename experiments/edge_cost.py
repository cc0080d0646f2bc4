"""What watching costs at the edge: our whole edge against video encoders, in CPU time a second of video.

    python -m experiments.edge_cost --out DIR [--clips DIR] [--size 256] [--fps 10] [--seconds 6] [--repeats 5]
                                    [--quick]

    frames in memory --+--> Sender + Session, the receiver's answers played from a tape
                       +--> RGB to YUV 4:2:0 --> x264, SVT-AV1      +--> JPEG once a second
                       +--> the encoder network alone, every frame

Systems run in turn (`experiments.timing`), on the built-in scenes and on any clips; `--jobs` is not heeded. The edge's
memory is taken in a process of its own that imports nothing else.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cache, partial
from typing import Any

import av
import cv2

import vidtok.live.sender as sender_module
from edge_gate.motion import LONGEST
from experiments import bench
from experiments.bench import BenchError, Row
from experiments.costs import Contender, Study, conduct
from experiments.systems import Clip, every
from experiments.systems import video as yardstick
from experiments.systems.pictures import encode as encode_jpeg
from experiments.tapes import new_sender, replay_sender, tape
from experiments.timing import Meter, Pass, Spent, cpu_s, macs_of
from vidtok.canvas import CELL, UNIT
from vidtok.live.sender import SendConfig
from vidtok.tokenizer.edge import EdgeEncoder, pad_to_grid

JPEG_QUALITY = 75
CHILD_TIMEOUT_S = 120.0
PARTS = {
    "motion": "following the camera (phase correlation) when a look is due, and looking for where cells came from",
    "glance": "the thumbnail: is a closer look due?",
    "encoder": "the network, from padding the frame to latents; runs only when a look is due",
    "gist": "the second network, from the first one's features to the gist; at most every 0.1 s",
    "gate": "steadied latents, novelty, costs of every cell, what the budget buys",
    "bitstream": "diff, patch and entropy coding, repeated until the payload fits",
    "rest": "session, packets, bookkeeping",
}
NAMES = {  # in vidtok.live.sender
    "motion": ("luma", "track_pan", "cell_moves"),
    "glance": ("thumbnail", "glance"),
    "gate": (
        "steady",
        "remember",
        "asked",
        "surprise",
        "quantise",
        "novelty",
        "losses",
        "coverage",
        "dequantise",
        "value_costs",
        "buy",
        "gist_costs",
        "renewal",
        "renew",
    ),
    "bitstream": ("encode_payload", "diff", "patch"),
}


@dataclass(frozen=True)
class Encoding:
    """A video encoder at one quality."""

    encoder: str
    options: Mapping[str, str]
    crf: int

    @property
    def about(self) -> str:
        """For the report."""
        options = ", ".join(f"{key}={value}" for key, value in self.options.items())
        return f"{self.encoder} (FFmpeg {av.ffmpeg_version_info}), {options}, one thread, one long group of pictures"


LABELS = {"libx264": "x264", "libsvtav1": "svt-av1"}  # as in rate_quality
LIVE = {"preset": "veryfast", "tune": "zerolatency"}
X264 = Encoding("libx264", LIVE, 32)
X264_LOW = Encoding("libx264", LIVE, 45)
SVT_AV1 = Encoding("libsvtav1", {"preset": "8", "svtav1-params": yardstick.SVT_AV1.options["svtav1-params"]}, 45)
THOROUGH = (Encoding("libx264", yardstick.X264.options, 45), Encoding("libsvtav1", yardstick.SVT_AV1.options, 60))


def contenders() -> list[Contender]:
    """Everything that runs."""
    caps = SendConfig().caps
    rgb = "from RGB, OpenCV's conversion to YUV 4:2:0 included"
    thorough = [
        Contender(LABELS[e.encoder], f"as in rate_quality, crf {e.crf}", f"{e.about}; {rgb}", partial(video, e))
        for e in THOROUGH
    ]
    return [
        Contender("x264", "veryfast, crf 32", f"{X264.about}; {rgb}; ratios are to this one", partial(video, X264),
                  base=True),
        Contender("x264", "veryfast, crf 32, from YUV", "the same, frames converted beforehand",
                  partial(video, X264, convert=False)),
        Contender("x264", "veryfast, crf 45", "the same from RGB at about our rate", partial(video, X264_LOW)),
        Contender(LABELS[SVT_AV1.encoder], "preset 8, crf 45", f"{SVT_AV1.about}; {rgb}", partial(video, SVT_AV1)),
        *thorough,
        Contender("jpeg-1fps", f"q{JPEG_QUALITY}", "one frame a second, OpenCV, optimised tables", jpeg),
        Contender("encoder only", "every frame", "our first network on every frame and nothing else", network),
        Contender("vidtok", f"{caps.kbps:g} kbps, {caps.tokens_per_s:g} tokens/s", "the whole edge as shipped", edge),
    ]  # fmt: skip


# Ours


@cache
def encoder() -> EdgeEncoder:
    """One for the process."""
    return EdgeEncoder()


def edge(clip: Clip) -> Pass:
    """Our edge: once for the total, once more for the parts."""
    taped = tape(clip, encoder())
    pan = SendConfig().pan
    glanced = glance_macs(clip.size)
    motion = motion_macs(clip.size) if pan else 0.0

    def once() -> Spent:
        total = cpu_s(partial(replay_sender, new_sender(clip, encoder()), taped))
        meter = Meter()
        looks = _Counting(encoder(), meter)
        looking = new_sender(clip, looks)
        with meter.watching(sender_module, NAMES):
            spent = meter.measure("rest", partial(replay_sender, looking, taped))
        network = float(sum(encoder_macs(*size) for size in looks.seen))
        second = float(looks.gists * gist_macs(*clip.size))
        more = {
            "encoder_share": round(len(looks.seen) / clip.count, 4),
            "gist_share": round(looks.gists / clip.count, 4),
            "encoder_macs_per_frame": round(network / clip.count),
            "gist_macs_per_frame": round(second / clip.count),
            "glance_macs_per_frame": round(glanced),
            "motion_macs_per_frame": round(motion * len(looks.seen) / clip.count),
        }
        macs = network + second + glanced * clip.count + motion * len(looks.seen)
        return Spent(total, {part: spent.get(part, 0.0) for part in PARTS}, macs, taped.bytes, more)

    return once


class _Counting:
    """An encoder, timed, that notes the size of every picture that its network sees, and counts its gists."""

    def __init__(self, encoder: Any, meter: Meter) -> None:
        self._encoder, self._gist = meter.timed("encoder", encoder), meter.timed("gist", encoder.gist)
        self.seen: list[tuple[int, int]] = []
        self.gists = 0

    def __call__(self, pixels: Any, position: tuple[int, int] = (0, 0)) -> Any:
        self.seen.append(pad_to_grid(pixels, (position[0] % CELL, position[1] % CELL)).shape[:2])
        return self._encoder(pixels, position)

    def gist(self) -> Any:
        self.gists += 1
        return self._gist()


@cache
def encoder_macs(height: int, width: int) -> int:
    """Multiply-adds of the encoder network for one picture."""
    import torch

    from vidtok.tokenizer.networks import Encoder

    with torch.device("meta"):
        network, picture = Encoder(), torch.zeros(1, 3, height, width)
    return macs_of(lambda: network(picture))


@cache
def gist_macs(width: int, height: int) -> int:
    """Multiply-adds of the second network for one frame."""
    import torch

    from vidtok.model.tower import FEATURES
    from vidtok.tokenizer.networks import GistEncoder

    with torch.device("meta"):
        network, features = GistEncoder(), torch.zeros(1, FEATURES, height // UNIT, width // UNIT)
    return macs_of(lambda: network(features))


def glance_macs(size: tuple[int, int]) -> float:
    """Of one frame: three additions a pixel for the thumbnail."""
    return 3.0 * size[0] * size[1]


def motion_macs(size: tuple[int, int]) -> float:
    """Of one look, an estimate: brightness, the shrunk picture and three real FFTs.

    An FFT of N real numbers takes about 2.5 N log2 N operations, two of which make a multiply-add.
    """
    factor = -(-max(size) // LONGEST)
    points = (size[0] // factor) * (size[1] // factor)
    return 4 * size[0] * size[1] + 3 * 1.25 * points * math.log2(points)


def network(clip: Clip) -> Pass:
    """The encoder network alone, on every frame."""
    run, frames = encoder(), list(clip)
    macs = float(encoder_macs(*pad_to_grid(frames[0].pixels, (0, 0)).shape[:2]) * clip.count)

    def every_frame() -> None:
        for frame in frames:
            run(frame.pixels)

    return lambda: Spent(cpu_s(every_frame), macs=macs)


# Others


def video(encoding: Encoding, clip: Clip, *, convert: bool = True) -> Pass:
    """A video encoder; the frames are converted within the pass or before it."""
    frames = [frame.pixels for frame in clip]
    ready = None if convert else [yuv(pixels) for pixels in frames]

    def once() -> Spent:
        sizes: list[int] = []
        context = new_encoder(encoding, clip)

        def encode() -> None:
            for number, pixels in enumerate(frames):
                picture = yuv(pixels) if ready is None else ready[number]
                picture.pts = number
                sizes.extend(packet.size for packet in context.encode(picture))
            sizes.extend(packet.size for packet in context.encode(None))

        return Spent(cpu_s(encode), bytes=sum(sizes))

    return once


def yuv(pixels: Any) -> Any:
    """A frame for an encoder; OpenCV converts several times faster than FFmpeg's scaler does."""
    return av.VideoFrame.from_ndarray(cv2.cvtColor(pixels, cv2.COLOR_RGB2YUV_I420), format="yuv420p")


def new_encoder(encoding: Encoding, clip: Clip) -> Any:
    """An encoder that is ready for its first frame."""
    rate = Fraction(clip.fps).limit_denominator(1000)
    context: Any = av.CodecContext.create(encoding.encoder, "w")
    context.width, context.height = clip.size
    context.pix_fmt = "yuv420p"
    context.framerate, context.time_base = rate, 1 / rate
    context.gop_size, context.max_b_frames, context.thread_count = yardstick.ENDLESS, 0, 1
    context.options = {**encoding.options, "crf": str(encoding.crf)}
    yardstick.open_beside_others(context)
    return context


def jpeg(clip: Clip) -> Pass:
    """A JPEG a second."""
    chosen = [frame.pixels for frame, taken in every(clip, 1.0) if taken]

    def once() -> Spent:
        sizes: list[int] = []
        spent = cpu_s(lambda: sizes.extend(encode_jpeg(pixels, JPEG_QUALITY).size for pixels in chosen))
        return Spent(spent, bytes=sum(sizes))

    return once


# The edge as a process

ALONE = """
import json, resource, sys
from edge_gate.source import open_source
from vidtok.canvas import Grid
from vidtok.live.recording import Loop

def peak_mb():
    try:  # getrusage would count what the parent process held when it started this one
        lines = open("/proc/self/status").read().splitlines()
        return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) / 1024
    except (OSError, StopIteration):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024 if sys.platform == "linux" else 1024 ** 2)

size, fps, seconds = sys.argv[1], float(sys.argv[2]), float(sys.argv[3])
source = open_source("scene:tour", size=size, fps=fps, duration_s=seconds)
loop = Loop(Grid(*source.size), fps=fps, name=source.name)
for frame in source:
    loop.step(frame)
streaming = peak_mb()
import transport.adapters.webrtc
found = {"peak_rss_mb": streaming, "peak_rss_mb_with_webrtc": peak_mb(), "imports_torch": "torch" in sys.modules}
print(json.dumps(found))
"""


def alone(size: tuple[int, int], fps: float, seconds: float) -> Row:
    """Peak memory of a process that films the built-in scene and does nothing but the edge's work."""
    text = [f"{size[0]}x{size[1]}", str(fps), str(seconds)]
    try:
        child = subprocess.run(
            [sys.executable, "-c", ALONE, *text], capture_output=True, text=True, timeout=CHILD_TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired:
        raise BenchError(f"the edge's own process took more than {CHILD_TIMEOUT_S:g} s: give fewer --seconds") from None
    if child.returncode:
        last = child.stderr.strip().splitlines()[-1:] or ["no word"]
        raise BenchError(f"the edge's own process failed (exit code {child.returncode}): {last[0]}")
    row: Row = json.loads(child.stdout)
    if row["imports_torch"]:
        raise BenchError("the edge's own process has imported torch, which an edge must not need")
    return {name: round(value, 1) if isinstance(value, float) else value for name, value in row.items()}


# The command

REPORT = (
    "CPU time of the process that one second of video takes, one thread, frames already decoded and in memory; medians "
    "over the rounds (and over clips), lowest and highest beside them. `ratio_to_video` compares with x264 in the same "
    "round. `streams_per_core` is 1000 ms over that time. Ours is the sender and its session with the receiver's "
    "answers played from a tape of an untimed run; UDP, DTLS and SCTP are not in it, nor are they in the others'. "
    "Parts come from a second pass with timers around them.",
    "",
    "`macs_per_frame`: the encoder network is counted exactly for every picture it was run on (padded by a cell where "
    "the camera stands off the grid) and spread over all frames; brightness, thumbnail and an estimate of the phase "
    "correlation are added, the gate's and the entropy coder's arithmetic is not. Nobody counts a video encoder's.",
    "",
    "`peak_rss_mb` is the most memory that a process held which filmed the built-in scene and did the edge's work, the "
    "session that answers it included; `peak_rss_mb_with_webrtc` adds the import of aiortc.",
)
STUDY = Study("edge_cost", "What watching costs at the edge", __doc__ or "", contenders, PARTS, REPORT)


def process(args: argparse.Namespace) -> Row:
    """What the summary says of the edge as a process."""
    return {"process": alone(args.size, args.fps, args.seconds)}


def run(argv: Sequence[str] | None = None) -> None:
    """Command line."""
    conduct(STUDY, argv, process)


if __name__ == "__main__":
    bench.main(run)
