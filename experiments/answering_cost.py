"""What reading a stream into the model costs the server, against decoding video and seeing every frame anew.

    packets of our stream --Session, Receiver--> canvas --tell--> what is new --embed, read, forget--> memory
    packets of H.264 --decode, to RGB--> whole vision tower --> 64 cells and a gist a frame --embed, read--> memory

CPU time of one thread, every way in turn, and the same model at the end of each. What a frame's dense tokens hold was
made before: the tower's time is counted, its features are let go. A second's tokens are read in one pass, and a stream
of one frame a second is encoded as such: both are in the video's favour.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

import vidtok.live.receiver as receiver_module
import vidtok.model.answerer as answerer_module
from experiments.bench import Row
from experiments.edge_cost import X264, encoder
from experiments.server_cost import h264_packets, tower
from experiments.systems import Clip, clip_of, every
from experiments.systems.tokens import put
from experiments.tapes import Taped, new_receiver, replay_receiver, tape
from experiments.timing import Meter, Pass, Spent, cpu_s, in_turn, spread
from vidtok.canvas import Canvas, Grid, blank
from vidtok.live.mind import PAUSE_S
from vidtok.model.answerer import Answerer, Watch
from vidtok.model.stream import Tokens, begin, tell
from vidtok.model.tower import to_input
from vidtok.tokenizer.fsq import SEEN_LEVELS, quantise

OURS, ONCE = ("vidtok", "as shipped"), ("vidtok", "read once a second")
READING = {"tell": ["tell"], "embed": ["seen"], "read": ["read"], "forget": ["forget"]}
PARTS = {
    "decode": "ours: payload to patch; video: H.264 to pictures",
    "patch": "ours: the canvas after the patch",
    "convert": "video: YUV to RGB of the tower's size",
    "tower": "video: the whole of EfficientNet-lite0",
    "tell": "ours: what the model is to be told of a new canvas",
    "embed": "tokens to vectors",
    "read": "the model's layers",
    "forget": "superseded tokens leave the memory",
    "rest": "session, state hash, acknowledgements, bookkeeping",
}


@dataclass(frozen=True, eq=False)
class Way:
    """One way of getting a clip into the model; `once` is a pass over it."""

    system: str
    setting: str
    tokens: float  # a second
    bytes: int
    once: Pass


def ways(answerer: Answerer, clip: Clip) -> list[Way]:
    """Ours, read as the server does and once a second; video at the clip's rate and at one frame a second."""
    taped = tape(clip, encoder())
    return [
        ours(OURS, answerer, clip, taped, PAUSE_S),
        ours(ONCE, answerer, clip, taped, 1.0),
        video(answerer, clip, clip.fps),
        video(answerer, clip, 1.0),
    ]


# Ours


def ours(name: tuple[str, str], answerer: Answerer, clip: Clip, taped: Taped, pause_s: float) -> Way:
    """Our receiving end; what has come is read when the last was read so long ago."""
    work = partial(_replayed, answerer, clip, taped, pause_s)
    watch = work()

    def once() -> Spent:
        return Spent(cpu_s(work), _parts(work))

    return Way(*name, watch.tokens / clip.seconds, taped.bytes, once)


def _replayed(answerer: Answerer, clip: Clip, taped: Taped, pause_s: float) -> Watch:
    watch, due = answerer.watch(blank(Grid(*clip.size)), clip.fps), 0.0

    def look(canvas: Canvas, now: float) -> None:
        nonlocal due
        answerer.show(watch, canvas, now)
        if now + 1e-9 >= due:
            due = now + pause_s
            answerer.catch_up([watch])

    replay_receiver(new_receiver(), taped, look)
    answerer.catch_up([watch])
    return watch


def _parts(work: Any) -> dict[str, float]:
    meter = Meter()
    with ExitStack() as stack:
        stack.enter_context(meter.watching(receiver_module, {"decode": ["decode_payload"], "patch": ["patch"]}))
        stack.enter_context(meter.watching(answerer_module, READING))
        return dict(meter.measure("rest", work))


# Video


def video(answerer: Answerer, clip: Clip, fps: float) -> Way:
    """H.264 at so many frames a second, each seen by the whole tower and read with all of its tokens."""
    if fps < clip.fps:
        clip = clip_of(clip.name, fps, [frame for frame, taken in every(clip, 1 / fps) if taken])
    packets = h264_packets(clip)
    meta, seconds = dense_tokens(clip)

    def work(meter: Meter) -> None:
        watch_video(answerer, clip.size, packets, meta, seconds, round(fps), meter)

    def once() -> Spent:
        meter = Meter()
        with meter.watching(answerer_module, READING):
            parts = meter.measure("rest", lambda: work(meter))
        return Spent(sum(parts.values()), parts)

    tokens = sum(map(len, seconds)) / clip.seconds
    return Way(f"h264-crf{X264.crf}", f"{fps:g} fps", tokens, sum(map(len, packets)), once)


def watch_video(
    answerer: Answerer,
    size: tuple[int, int],
    packets: Sequence[bytes],
    meta: Tokens,
    seconds: Sequence[Tokens],
    every_frames: int,
    meter: Meter,
) -> None:
    """Decode and see every frame; after each second's frames, read their tokens."""
    decoder: Any = av.CodecContext.create("h264", "r")
    decoder.thread_count = 1
    decode = meter.timed("decode", decoder.decode)
    convert = meter.timed("convert", partial(_rgb, size))
    look = meter.timed("tower", _features)
    watch = answerer.listen(meta)
    for number, data in enumerate(packets):
        (picture,) = decode(av.Packet(data))
        look(convert(picture))
        if (number + 1) % every_frames == 0 or number + 1 == len(packets):
            answerer.think([(watch, seconds[number // every_frames])])


def _rgb(size: tuple[int, int], picture: Any) -> NDArray[np.uint8]:
    """YUV to RGB and to the tower's size, in one step of FFmpeg's."""
    width, height = size
    return np.asarray(picture.to_ndarray(format="rgb24", width=width, height=height), np.uint8)


def _features(pixels: NDArray[np.uint8]) -> None:
    import torch

    with torch.inference_mode():
        tower().back(tower().front(to_input(torch.from_numpy(pixels)[None]))[2])


def dense_tokens(clip: Clip) -> tuple[Tokens, list[Tokens]]:
    """The token that begins the stream, and of each second every cell and the gist of each frame."""
    told, meta = begin(blank(Grid(*clip.size)), clip.fps)
    canvas, frames = told.canvas, []
    for frame in clip:
        values, gist = quantise(encoder()(frame.pixels)), quantise(encoder().gist())
        canvas = put(canvas, values, canvas.visible(), SEEN_LEVELS, gist)
        frames.append(tell(told, canvas, frame.time_s)[1])
    per = round(clip.fps)
    return meta, [Tokens.joined(frames[k : k + per]) for k in range(0, len(frames), per)]


# Rows


def cost_rows(answerer: Answerer, clip: Clip, repeats: int) -> list[Row]:
    """A row a way; how many times ours it takes, and ours read once a second, round by round."""
    found = ways(answerer, clip)
    spent = in_turn([way.once for way in found], repeats)
    rows = []
    for way, mine in zip(found, spent, strict=True):
        times, times_once = (_times(mine, base) for base in spent[:2])
        rows.append(
            {
                "system": way.system,
                "setting": way.setting,
                "clip": clip.name,
                **spread("cpu_ms_per_s", [1000 * one.cpu_s / clip.seconds for one in mine]),
                **spread("times_ours", times),
                **spread("times_ours_once", times_once),
                "tokens_per_s": round(way.tokens, 3),
                "kbps": round(8 * way.bytes / clip.seconds / 1000, 3),
                **{f"{part}_ms_per_s": _median_part(mine, part, clip.seconds) for part in PARTS},
            }
        )
    return rows


def _times(mine: Sequence[Spent], base: Sequence[Spent]) -> list[float]:
    return [one.cpu_s / other.cpu_s for one, other in zip(mine, base, strict=True)]


def _median_part(spent: Sequence[Spent], part: str, seconds: float) -> float:
    return round(float(np.median([one.parts.get(part, 0.0) for one in spent])) * 1000 / seconds, 4)
