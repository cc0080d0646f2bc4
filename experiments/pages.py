"""Pages with known text, films of one being brought in, moved a little and held still, and reading them.

    write_page(cap height, seed) --> Page: lines of words and codes --draw--> sheet
    PageFilm: the built-in still room, then the sheet in front of it --flicker, exposure drift, noise--> frames

    0 s    1 s         1.5 s             3.5 s                                  8.5 s
    |  room | comes in  | drifts and turns | held still, or by a hand that trembles |

The page is in place, and later comes to rest, between two whole seconds, so that a system that looks once a second
waits half of one, as it does on average. What was read of a page is compared sign by sign, spaces, line ends and case
aside.
"""

from __future__ import annotations

import importlib.metadata
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

import cv2
import matplotlib
import numpy as np
from matplotlib.ft2font import FT2Font
from numpy.typing import NDArray

from edge_gate.scene import Scene
from edge_gate.scene_art import INK, PAPER
from edge_gate.scene_script import Act, Art, Key, ease, mix, shake
from edge_gate.source import Frame, Size
from experiments.bench import BenchError

# No two signs that look alike: neither O nor Q, I nor 1, 5 (S), 8 (B), Z (2), 0.
LETTERS = "ABCDEFGHJKLMNPRSTUVWXY"
DIGITS = "234679"
WORDS = """
AFTER BREAD CALL CAMERA CHAPTER CLEAR EARLY GARDEN GREAT GREEN HAND LETTER MARKET MATTER NEVER NUMBER PAPER PARENT PLANT
PLEASE SEVEN STREET SUMMER TABLE THREE TREE TUESDAY TWELVE UNDER WATER
""".split()  # noqa: SIM905
HOLDS = ("still", "hand")
MOST_LINES, MOST_SIGNS = 6, 20  # of a page, and of a line with its spaces
SMALLEST_PX, LARGEST_PX = 6, 120  # cap heights

ARRIVES_S, PLACED_S, RESTS_S, ENDS_S = 1.0, 1.5, 3.5, 8.5
DRIFT_PX, TURN_DEG, TILT_DEG = (5.0, 9.0), (1.0, 2.0), 1.0  # over 2 s; the tilt is what remains at rest
TREMOR_PX = {"moving": 0.8, "still": 0.0, "hand": 0.3}  # a hand's shake is about so many pixels
CALM_S = 0.4  # before rest, in which the shake of moving dies away

FINE = 2  # drawn so many times larger, laid down, then averaged
PITCH = 1.9  # from line to line, in cap heights
CAP_OF_EM = 0.729  # DejaVu Sans
MARGIN_PX = 24  # around all places of the page, of what is read

INSTALL = "pip install --no-deps rapidocr-onnxruntime==1.4.4 pyclipper shapely PyYAML six"

Sheet = NDArray[np.float32]
Region = tuple[slice, slice]


# Pages


@dataclass(frozen=True)
class Page:
    """A sheet of `width` x `height` pixels with lines in capitals `cap_px` high."""

    lines: tuple[str, ...]
    cap_px: int
    width: int
    height: int

    @property
    def text(self) -> str:
        """What stands on it."""
        return "\n".join(self.lines)

    @cached_property
    def corner(self) -> tuple[float, float]:
        """Where the first line's capitals begin: pixels from the sheet's left and top."""
        wide = max(line_width(line, self.cap_px) for line in self.lines)
        tall = self.cap_px * (1 + PITCH * (len(self.lines) - 1))
        return (self.width - wide) / 2, (self.height - tall) / 2


def write_page(cap_px: int, size: Size, seed: int) -> Page:
    """A page for a frame of `size`: on every line common words and codes by turns, as many as fit."""
    if not SMALLEST_PX <= cap_px <= LARGEST_PX:
        raise BenchError(f"cap height {cap_px}: give {SMALLEST_PX} to {LARGEST_PX} pixels")
    width = round(min(0.86 * size[0], 1.1 * size[1]))
    height = round(0.72 * width)
    room = 0.88 * width
    count = min(MOST_LINES, int((0.88 * height / cap_px - 1) / PITCH + 1))
    rng = np.random.default_rng([seed, cap_px])
    lines = tuple(_line(rng, cap_px, room, word_first=bool(number % 2)) for number in range(count))
    if not lines or not all(lines):
        raise BenchError(f"capitals of {cap_px} px do not fit on a page in {size[0]}x{size[1]}: give a larger --size")
    return Page(lines, cap_px, width, height)


def _line(rng: np.random.Generator, cap_px: int, room: float, word_first: bool) -> str:
    line, word = "", word_first
    for _ in range(8):
        longer = f"{line} {_word(rng) if word else _code(rng)}".strip()
        if len(longer) <= MOST_SIGNS and line_width(longer, cap_px) <= room:
            line = longer
        word = not word
    return line


def _word(rng: np.random.Generator) -> str:
    return str(rng.choice(WORDS))


def _code(rng: np.random.Generator) -> str:
    """Three or four letters and digits, at least one of each, that no language has."""
    signs = [*rng.choice(list(LETTERS), 2), *rng.choice(list(DIGITS), 1), *rng.choice(list(LETTERS + DIGITS), 1)]
    return "".join(rng.permutation(signs[: int(rng.integers(3, 5))]))


# Drawing


@lru_cache(maxsize=1)
def _font() -> FT2Font:
    return FT2Font(str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"))


def draw_text(line: str, cap_px: float) -> tuple[NDArray[np.uint8], int]:
    """A line's ink (h, w), 0 to 255, cut to its signs; and how many of its rows lie below the capitals' feet."""
    font = _font()
    font.set_size(cap_px / CAP_OF_EM, 72)
    font.set_text(line, 0.0)
    font.draw_glyphs_to_bitmap(antialiased=True)
    drawn = np.asarray(font.get_image(), np.uint8)
    rows, columns = np.flatnonzero(drawn.any(1)), np.flatnonzero(drawn.any(0))  # the library leaves a clear rim
    ink = drawn[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    return ink.copy(), round(font.get_descent() / 64)


@lru_cache(maxsize=4096)
def line_width(line: str, cap_px: float) -> float:
    """How wide a line is drawn."""
    return float(draw_text(line, cap_px * FINE)[0].shape[1] / FINE)


@lru_cache(maxsize=4)
def draw_page(page: Page) -> Sheet:
    """The sheet (FINE * height, FINE * width, 4): colours times coverage, coverage; its rim is clear."""
    ink = np.zeros((page.height * FINE, page.width * FINE), np.float32)
    left, top = page.corner
    for number, line in enumerate(page.lines):
        drawn, below = draw_text(line, page.cap_px * FINE)
        foot = round((top + page.cap_px * (1 + PITCH * number)) * FINE) + below
        x = round(left * FINE)
        ink[foot - drawn.shape[0] : foot, x : x + drawn.shape[1]] = drawn / np.float32(255)
    colours = np.asarray(PAPER, np.float32) * (1 - ink[..., None]) + np.asarray(INK, np.float32) * ink[..., None]
    cover = np.zeros_like(ink)
    cover[FINE:-FINE, FINE:-FINE] = 1
    return np.dstack([colours * cover[..., None], cover])


def lay(sheet: Sheet, pose: Key, size: Size) -> Sheet:
    """The sheet as it lies in a frame of `size`: (height, width, 4)."""
    turn = math.radians(pose.angle_deg)
    cos, sin = math.cos(turn), math.sin(turn)
    u, v = (sheet.shape[1] - 1) / 2, (sheet.shape[0] - 1) / 2
    x, y = pose.x * FINE - 0.5, pose.y * FINE - 0.5
    place = np.array([[cos, -sin, x - cos * u + sin * v], [sin, cos, y - sin * u - cos * v]])
    laid = cv2.warpAffine(sheet, place, (size[0] * FINE, size[1] * FINE), flags=cv2.INTER_LINEAR, borderValue=0)
    return np.asarray(cv2.resize(laid, size, interpolation=cv2.INTER_AREA), np.float32)


# The film


class PageFilm(Scene):
    """A page before the built-in still room; frame k is a pure function of the arguments and k.

    `hold` says how the page is held after `RESTS_S`: `still` on a stand, or by a `hand` that trembles by less than
    a pixel.
    """

    def __init__(self, cap_px: int, hold: str, size: Size = (640, 480), fps: float = 10.0, seed: int = 0) -> None:
        if hold not in HOLDS:
            raise BenchError(f"a page can be held {' or '.join(HOLDS)}, not {hold}")
        super().__init__(size, fps, seed, "still", duration_s=ENDS_S + 0.5 / fps)
        self.name = f"{cap_px} px, {hold}"
        self.hold = hold
        self.page = write_page(cap_px, size, seed)
        self._act = _brought_in(self.page, size, seed)
        self._last: tuple[Key, Sheet] | None = None

    def __len__(self) -> int:
        return self.frame_at(ENDS_S) + 1

    def frame_at(self, t: float) -> int:
        """The newest frame at time `t`."""
        return math.floor(t * self.fps + 1e-6)

    def pose(self, k: int) -> Key | None:
        """Where the page's middle is in frame `k`; None before it is shown."""
        t = k / self.fps
        held = self._act.pose(t)
        if held is None:
            return None
        calm = ease(min(1.0, max(0.0, (t - RESTS_S + CALM_S) / CALM_S)))
        far = mix(TREMOR_PX["moving"], TREMOR_PX[self.hold], calm)
        dx, dy = shake(t, self.seed)
        return Key(0.0, held.x + far * dx, held.y + far * dy, held.angle_deg)

    def clean_frame(self, k: int) -> Frame:
        """Frame `k` without the camera's nuisances."""
        frame = super().clean_frame(k)
        pose = self.pose(k)
        if pose is None:
            return frame
        if self._last is None or self._last[0] != pose:
            self._last = pose, lay(draw_page(self.page), pose, self.size)
        laid = self._last[1]
        mixed = frame.pixels * (1 - laid[..., 3:]) + laid[..., :3]
        return Frame(np.clip(np.rint(mixed), 0, 255).astype(np.uint8), frame.time_s, k)

    @cached_property
    def region(self) -> Region:
        """Rows and columns of the frame that hold the page from the moment it is in place, and a margin."""
        poses = [pose for k in range(self.frame_at(PLACED_S), len(self)) if (pose := self.pose(k)) is not None]
        reach = MARGIN_PX + math.radians(TILT_DEG + TURN_DEG[1]) * self.page.width / 2
        half_w, half_h = self.page.width / 2 + reach, self.page.height / 2 + reach
        columns = _span([pose.x for pose in poses], half_w, self.size[0])
        return _span([pose.y for pose in poses], half_h, self.size[1]), columns


def _brought_in(page: Page, size: Size, seed: int) -> Act:
    """Up from below, a drift with a turn, and rest at a place and a tilt that fit no pixel grid."""
    rng = np.random.default_rng([seed, page.cap_px, 1])
    x, y = (side / 2 + float(rng.uniform(-4, 4)) for side in size)
    dx, dy, turn = (float(rng.uniform(*reach) * rng.choice((-1, 1))) for reach in (DRIFT_PX, DRIFT_PX, TURN_DEG))
    tilt = float(rng.uniform(-TILT_DEG, TILT_DEG))
    below = size[1] + 0.56 * page.height
    keys = (
        Key(ARRIVES_S, x + dx, below, tilt + 4 * turn),
        Key(PLACED_S, x + dx, y + dy, tilt + turn),
        Key(RESTS_S, x, y, tilt),
    )
    return Act(Art("page", page.text, page.width, page.height), ARRIVES_S, math.inf, keys)


def _span(middles: list[float], half: float, side: int) -> slice:
    return slice(max(0, math.floor(min(middles) - half)), min(side, math.ceil(max(middles) + half)))


# Reading


class Ocr:
    """RapidOCR's PP-OCRv4, detection and recognition in one thread: a picture's text, line by line."""

    def __init__(self) -> None:
        ocr_version()
        from rapidocr_onnxruntime import RapidOCR

        # Pages are upright, and letters are looked for at the picture's own size: it is the faster and no worse here.
        self._engine = RapidOCR(intra_op_num_threads=1, inter_op_num_threads=1, use_cls=False, det_limit_side_len=64)

    def __call__(self, picture: NDArray[np.uint8]) -> str:
        """Read a picture (H, W, 3) RGB."""
        found, _ = self._engine(np.ascontiguousarray(picture[..., ::-1]))
        return reading_order([(np.asarray(box, np.float64), str(text)) for box, text, _ in found or []])


def ocr_version() -> str:
    """Which OCR is installed. Raises BenchError where it isn't."""
    try:
        import rapidocr_onnxruntime  # noqa: F401
    except ImportError as error:
        # Its own requirements would put a second OpenCV beside the headless one.
        raise BenchError(f"the OCR is missing ({error.name}): {INSTALL}") from None
    return f"rapidocr-onnxruntime {importlib.metadata.version('rapidocr-onnxruntime')}"


def reading_order(found: Sequence[tuple[NDArray[np.float64], str]]) -> str:
    """Pieces of text, each with its box (4, 2) from the top left on clockwise, as lines from top to bottom."""
    if not found:
        return ""
    edges = np.array([box[1] - box[0] for box, _ in found])
    slope = float(np.median(edges[:, 1] / np.maximum(edges[:, 0], 1)))
    pieces = []  # x, y as if the page stood upright, height, text
    for box, text in found:
        x, y = box.mean(0)
        pieces.append((float(x), float(y - slope * x), float(np.linalg.norm(box[3] - box[0])), text))
    lines: list[list[tuple[float, float, float, str]]] = []
    for piece in sorted(pieces, key=lambda piece: piece[1]):
        if lines and piece[1] - lines[-1][0][1] < 0.5 * max(piece[2], lines[-1][0][2]):
            lines[-1].append(piece)
        else:
            lines.append([piece])
    return "\n".join(" ".join(piece[3] for piece in sorted(line)) for line in lines)


def char_accuracy(text: str, read: str) -> float:
    """1 - edit distance / signs of the text, 0 at worst; spaces, line ends and case don't count."""
    wanted, got = _plain(text), _plain(read)
    if not wanted:
        raise ValueError("there is nothing to read")
    return max(0.0, 1 - edit_distance(wanted, got) / len(wanted))


def _plain(text: str) -> str:
    return "".join(text.split()).upper()


def edit_distance(a: str, b: str) -> int:
    """Fewest insertions, deletions and substitutions of a sign that make `b` of `a`."""
    signs = np.array([ord(sign) for sign in b], np.int64)
    places = np.arange(len(b) + 1)
    row = places
    for number, sign in enumerate(a, 1):
        best = np.minimum(row[1:] + 1, row[:-1] + (signs != ord(sign)))
        # An insertion comes from the left: the least of what stands there and one more for each step.
        row = np.minimum.accumulate(np.concatenate(([number], best)) - places) + places
    return int(row[-1])
