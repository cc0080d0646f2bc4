"""What watching costs at the server: our receiving end and half a network against decoding and the whole of it.

    python -m experiments.server_cost --out DIR [--clips DIR] [--size 256] [--fps 10] [--seconds 6] [--repeats 5]
                                      [--quick]

    packets of our stream --Session, Receiver--> canvas --changed?--> token head --> tower's back half
    packets of H.264 --decode--> YUV to RGB --> whole tower, on every frame or once a second
    JPEGs, once a second --decode--> whole tower

Streams are made before anything is timed. Systems run in turn (`experiments.timing`), on the built-in scenes and on any
clips; `--jobs` is not heeded. The tower is EfficientNet-lite0 on one thread, in torch as the server runs it; two
systems are measured in onnxruntime too.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import cache, partial
from typing import Any, Protocol

import av
import cv2
import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

import vidtok.live.receiver as receiver_module
import vidtok.model.reader as reader_module
from experiments import bench
from experiments.costs import Contender, Study, conduct
from experiments.edge_cost import JPEG_QUALITY, X264, encoder, new_encoder, yuv
from experiments.systems import Clip, every
from experiments.systems.pictures import encode as encode_jpeg
from experiments.tapes import Taped, new_receiver, replay_receiver, tape
from experiments.timing import Meter, Pass, Spent, cpu_s, macs_of
from vidtok.canvas import UNIT, Canvas, Grid
from vidtok.live.sender import SendConfig
from vidtok.model.head import IncrementalHead
from vidtok.model.reader import Reader
from vidtok.model.tower import FEATURES, Back, Front, Tower, load_tower
from vidtok.tokenizer.fsq import SEEN_LEVELS
from vidtok.tokenizer.networks import GIST_CONTEXT, SEEN_CONTEXT, GistHead, TokenHead
from vidtok.tokenizer.store import load_gist_head, load_head

Pixels = NDArray[np.uint8]
PARTS = {
    "decode": "payload to patch: the entropy decoder",
    "patch": "the canvas after the patch",
    "head": "codes to latents, the token head (where the canvas changed) and the gist head",
    "back": "the tower's back half and its labels",
    "rest": "session, state hash, acknowledgements, bookkeeping",
}


def contenders() -> list[Contender]:
    """Everything that runs."""
    caps = SendConfig().caps
    ours = f"{caps.kbps:g} kbps, {caps.tokens_per_s:g} tokens/s"
    stream = f"{X264.about}; at the source's rate, decoded by FFmpeg on one thread, YUV to RGB"
    always, once = f"crf {X264.crf}, tower on every frame", "once a second"
    return [
        Contender("h264", always, f"{stream}; torch; ratios are to this one", partial(h264, reader, 0.0), base=True),
        Contender("h264", f"crf {X264.crf}, tower {once}", "the same: every frame is decoded, one a second seen",
                  partial(h264, reader, 1.0)),
        Contender("jpeg-1fps", f"q{JPEG_QUALITY}, tower {once}", "a JPEG a second, decoded and seen", jpeg),
        Contender("vidtok", ours, "every frame's packets; read after each frame that changed the canvas; torch",
                  partial(ours_at, reader, 0.0)),
        Contender("vidtok-1fps", f"{ours}, read {once}", "the same stream, read at most once a second",
                  partial(ours_at, reader, 1.0)),
        Contender("h264-onnx", always, "the whole tower in onnxruntime; the ratio of the next is to this one",
                  partial(h264, onnx_reader, 0.0), base=True),
        Contender("vidtok-onnx", ours, "token head and back half in onnxruntime", partial(ours_at, onnx_reader, 0.0)),
    ]  # fmt: skip


class Looks(Protocol):
    """Reads canvases and judges pictures, as `vidtok.model.reader.Reader` does."""

    def read(self, canvas: Canvas) -> object:
        """What the model makes of a canvas."""

    def judge(self, pixels: Pixels) -> object:
        """What the whole tower makes of a picture."""


Opened = Callable[[tuple[int, int]], Looks]


@cache
def tower() -> Tower:
    """The pretrained network, one for the process."""
    return load_tower()


@cache
def reader(size: tuple[int, int]) -> Looks:
    """The product's own, in torch; it takes pictures of any size."""
    return Reader(tower=tower())


@cache
def onnx_reader(size: tuple[int, int]) -> Looks:
    """The same networks in onnxruntime, for pictures of one size."""
    return OnnxReader(size)


class OnnxReader:
    """What `Reader` does, in onnxruntime on one thread."""

    def __init__(self, size: tuple[int, int]) -> None:
        (width, height), grid = size, Grid(*size)
        cells = (1, SEEN_CONTEXT, grid.rows, grid.cols)
        self._head = onnx_network(load_head(), cells, any_size=True)
        self._back = onnx_network(
            _Reading(), (1, FEATURES, height // UNIT, width // UNIT), cells, (1, GIST_CONTEXT), any_size=True
        )
        self._tower = onnx_network(
            nn.Sequential(_Features(tower().front), _Labels(tower().back)), (1, 3, height, width)
        )

    def read(self, canvas: Canvas) -> NDArray[np.float32]:
        """Probabilities of the labels (1000,), from a canvas."""
        cells, gist = (part.numpy() for part in reader_module.canvas_context(canvas, SEEN_LEVELS))
        return self._back(self._head(cells)[:, :, *reader_module.frame_places(canvas)], cells, gist)[0]

    def judge(self, pixels: Pixels) -> NDArray[np.float32]:
        """Probabilities of the labels (1000,), from a picture (H, W, 3)."""
        x = (pixels.astype(np.float32) - np.float32(127)) / np.float32(128)
        return self._tower(x.transpose(2, 0, 1)[None])[0]


class _Features(nn.Module):
    def __init__(self, front: Front) -> None:
        super().__init__()
        self.front = front

    def forward(self, x: Tensor) -> Tensor:
        return self.front(x)[2]


class _Reading(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.back, self.gist_head = tower().back, load_gist_head()

    def forward(self, features: Tensor, cells: Tensor, gist: Tensor) -> Tensor:
        return self.back.classify(self.gist_head(self.back(features)[0], cells, gist)[1]).softmax(1)


class _Labels(nn.Module):
    def __init__(self, back: Back) -> None:
        super().__init__()
        self.back = back

    def forward(self, features: Tensor) -> Tensor:
        return self.back.classify(self.back(features)[1]).softmax(1)


def onnx_network(
    network: nn.Module, *shapes: tuple[int, ...], any_size: bool = False
) -> Callable[..., NDArray[np.float32]]:
    """A network of one output, as a function that onnxruntime runs on one thread; a map of cells may be of any size."""
    stored = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the tracer points out that the size is fixed, as it should be
        names = [f"x{number}" for number in range(len(shapes))]
        cells = {name: {2: "rows", 3: "cols"} for name, s in zip(names, shapes, strict=True) if s[1] == SEEN_CONTEXT}
        torch.onnx.export(
            network, tuple(torch.zeros(shape) for shape in shapes), stored, input_names=names,
            dynamic_axes=cells if any_size else None, opset_version=17, dynamo=False,
        )  # fmt: skip
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(stored.getvalue(), options, providers=["CPUExecutionProvider"])
    return lambda *xs: session.run(None, {n: np.ascontiguousarray(x) for n, x in zip(names, xs, strict=True)})[0]


# Ours


def ours_at(opened: Opened, pause_s: float, clip: Clip) -> Pass:
    """Our receiving end: once for the total, once more for the parts."""
    taped, looks = tape(clip, encoder()), opened(clip.size)
    macs = float(half_macs(*clip.size))

    def once() -> Spent:
        views = _Views(looks, pause_s)
        total = cpu_s(partial(replay_receiver, new_receiver(), taped, views))
        parts = _parts(taped, _Views(looks, pause_s))
        return Spent(
            total, parts, views.count * macs, taped.bytes, {"reads_per_s": round(views.count / clip.seconds, 4)}
        )

    return once


class _Views:
    """Reads a canvas when the last reading was long enough ago."""

    def __init__(self, reader: Looks, pause_s: float) -> None:
        self.count = 0
        self._reader, self._pause_s, self._due = reader, pause_s, 0.0

    def __call__(self, canvas: Canvas, now: float) -> None:
        if now + 1e-9 >= self._due:
            self._due = now + self._pause_s
            self.count += 1
            self._reader.read(canvas)


def _parts(taped: Taped, views: _Views) -> dict[str, float]:
    meter = Meter()
    with ExitStack() as stack:
        stack.enter_context(meter.watching(receiver_module, {"decode": ["decode_payload"], "patch": ["patch"]}))
        stack.enter_context(meter.watching(reader_module, {"head": ["canvas_context"]}))
        stack.enter_context(meter.watching(IncrementalHead, {"head": ["read"]}))
        stack.enter_context(meter.watching(GistHead, {"head": ["forward"]}))
        stack.enter_context(meter.watching(Back, {"back": ["forward", "classify"]}))
        spent = meter.measure("rest", partial(replay_receiver, new_receiver(), taped, views))
    return {part: spent.get(part, 0.0) for part in PARTS}


# Others


def h264(opened: Opened, pause_s: float, clip: Clip) -> Pass:
    """H.264 decoded whole, seen by the whole tower now and then."""
    packets, looks = h264_packets(clip), opened(clip.size)
    seen = [taken for _, taken in every(clip, pause_s)]
    macs = sum(seen) * float(tower_macs(clip.size[1], clip.size[0]))
    size = sum(map(len, packets))

    def once() -> Spent:
        meter = Meter()
        parts = meter.measure("rest", partial(watch, packets, seen, looks, meter))
        return Spent(sum(parts.values()), parts, macs, size)

    return once


def watch(packets: Sequence[bytes], seen: Sequence[bool], looks: Looks, meter: Meter) -> None:
    """Decode every packet and look at the frames that are wanted."""
    decoder: Any = av.CodecContext.create("h264", "r")
    decoder.thread_count = 1
    decode = meter.timed("decode", decoder.decode)
    convert = meter.timed("convert", lambda picture: picture.to_ndarray(format="rgb24"))
    look = meter.timed("tower", looks.judge)
    for data, wanted in zip(packets, seen, strict=True):
        (picture,) = decode(av.Packet(data))
        if wanted:
            look(convert(picture))


def h264_packets(clip: Clip) -> list[bytes]:
    """A clip as x264 sends it, a packet a frame."""
    context = new_encoder(X264, clip)
    packets = []
    for number, frame in enumerate(clip):
        picture = yuv(frame.pixels)
        picture.pts = number
        (packet,) = context.encode(picture)
        packets.append(bytes(packet))
    return packets


def jpeg(clip: Clip) -> Pass:
    """A JPEG a second, decoded and seen."""
    pictures = [encode_jpeg(frame.pixels, JPEG_QUALITY) for frame, taken in every(clip, 1.0) if taken]
    macs = len(pictures) * float(tower_macs(clip.size[1], clip.size[0]))
    size = sum(picture.size for picture in pictures)

    def once() -> Spent:
        meter = Meter()
        decode: Callable[..., Any] = meter.timed("decode", lambda data: cv2.imdecode(data, cv2.IMREAD_COLOR_RGB))
        look = meter.timed("tower", reader(clip.size).judge)
        parts = meter.measure("rest", lambda: [look(np.asarray(decode(data), np.uint8)) for data in pictures])
        return Spent(sum(parts.values()), parts, macs, size)

    return once


# Multiply-adds


@cache
def half_macs(width: int, height: int) -> int:
    """Of one reading of our canvas: the token head on all of its cells, the back half on those of a frame, the gist."""
    with torch.device("meta"):
        head, back, gist_head = TokenHead(), Back(), GistHead()
        grid = Grid(width, height)
        context = torch.zeros(1, SEEN_CONTEXT, grid.rows, grid.cols)
        features = torch.zeros(1, FEATURES, height // UNIT, width // UNIT)
        gist = torch.zeros(1, GIST_CONTEXT)
    return macs_of(lambda: (head(context), back.classify(gist_head(back(features)[0], context, gist)[1])))


@cache
def tower_macs(height: int, width: int) -> int:
    """Of one look of the whole tower, labels included."""
    with torch.device("meta"):
        whole, picture = Tower(), torch.zeros(1, 3, height, width)
    return macs_of(lambda: whole.back.classify(whole(picture)[1]))


# The command

REPORT = (
    "CPU time of the process that one second of video takes, one thread, streams made beforehand; medians over the "
    "rounds (and over clips), lowest and highest beside them. `ratio_to_video` compares with H.264 and the tower on "
    "every frame, in the same round and the same runtime. `streams_per_core` is 1000 ms over that time. Ours is "
    "session, receiver, canvas and one reading after each frame that changed the canvas; a canvas that stands still "
    "costs no reading. UDP, DTLS, SCTP and SRTP are in nobody's figures. Parts come from a second pass with timers.",
    "",
    "`macs_per_frame` counts token head (all of it, changed or not), back half and gist head, or the whole tower, "
    "spread over all frames of the source; "
    "decoders are not in it. On the server the token head takes the front half's place, so what is saved beyond the "
    "network's first half comes from looking only when something has changed.",
)
STUDY = Study("server_cost", "What watching costs at the server", __doc__ or "", contenders, PARTS, REPORT)


def run(argv: Sequence[str] | None = None) -> None:
    """Command line."""
    conduct(STUDY, argv)


if __name__ == "__main__":
    bench.main(run)
