"""What the built-in scene is made of: photographs, stickers, notes, a lamp and the walls behind them.

Photographs come from the data folder of the installed scikit-image wheel; nothing is downloaded. Cut-outs are
patches (H, W, 4) float32: RGB from 0 to 255 already multiplied by the fourth channel, coverage from 0 to 1.
OpenCV comes through `source.load_cv2`.
"""

from __future__ import annotations

import functools
import importlib.util
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edge_gate.scene_script import Art
from edge_gate.scene_variants import STORY
from edge_gate.source import Pixels, SourceError, fit, load_cv2, read_picture

Patch = npt.NDArray[np.float32]
Plane = npt.NDArray[np.float32]

ROOMS = ("motorcycle_left.png", "coffee.png", "astronaut.png")
GALLERY = ("coffee.png", "motorcycle_left.png", "chelsea.png", "rocket.jpg", "astronaut.png")
FACES = {
    "cat": ("chelsea.png", (105, 5, 280)),
    "astronaut": ("astronaut.png", (120, 0, 210)),
    "coffee": ("coffee.png", (85, 20, 345)),
}
WALL = (206, 199, 186)
PAPER = (247, 245, 239)
INK = (32, 34, 42)
ACCENT = (196, 62, 48)
AMBER = (255, 196, 84)
FINE = 4  # drawn so many times larger, then averaged down


@functools.lru_cache(maxsize=16)
def photo(file: str) -> Pixels:
    """A photograph (H, W, 3) out of the scikit-image wheel."""
    found = importlib.util.find_spec("skimage")
    if found is None or found.origin is None:
        raise SourceError("scikit-image is missing: pip install 'vidtok[edge]'")
    pixels = read_picture(Path(found.origin).parent / "data" / file)
    if pixels is None:
        raise SourceError(f"scikit-image has no {file}: pip install --upgrade 'vidtok[edge]'")
    return pixels


@functools.lru_cache(maxsize=64)
def draw(art: Art) -> Patch:
    """The patch (height, width, 4) of a piece of art; the same art gives the same patch."""
    if art.kind == "sticker":
        return _sticker(art)
    if art.kind == "page":
        return _page(art)
    if art.kind == "story":
        return _opaque(_story(art))
    return _glow(art.width)


def cap_height(art: Art) -> float:
    """How tall the capital letters of a page are, in pixels."""
    lines = art.name.split("\n")
    return _letters(lines, *_text_room(art.width * FINE, art.height * FINE, len(lines)))[1] / FINE


# Cut-outs


def _sticker(art: Art) -> Patch:
    """A photograph with round corners and a white rim, over a soft shadow."""
    cv2 = load_cv2()
    file, (x, y, side) = FACES[art.name]
    face = photo(file)[y : y + side, x : x + side]
    w, h = art.width, art.height
    margin = max(1, round(0.05 * w))
    rim = max(1, round(0.04 * w))
    inner = w - 2 * (margin + rim), h - 2 * (margin + rim)
    how = cv2.INTER_AREA if inner[0] < side else cv2.INTER_CUBIC
    rgb = np.full((h, w, 3), 250.0, np.float32)
    small = cv2.resize(face, inner, interpolation=how).astype(np.float32)
    over = _rounded(w, h, margin + rim, 0.12)[..., None]
    framed = np.zeros((h, w, 3), np.float32)
    framed[margin + rim : margin + rim + inner[1], margin + rim : margin + rim + inner[0]] = small
    rgb = rgb * (1.0 - over) + framed * over
    return _with_shadow(rgb, _rounded(w, h, margin, 0.16), margin)


def _page(art: Art) -> Patch:
    """A sheet of paper: the first line set off by a coloured rule, dark letters, a soft shadow."""
    cv2 = load_cv2()
    w, h = art.width * FINE, art.height * FINE
    lines = art.name.split("\n")
    left, top, room_w, row = _text_room(w, h, len(lines))
    scale, cap = _letters(lines, left, top, room_w, row)
    sheet = np.full((h, w, 3), PAPER, np.uint8)
    for number, line in enumerate(lines):
        base = top + round(number * row + (row + cap) / 2)
        _write(sheet, line, (left, base), scale, cap)
    rule = top + round(row)
    sheet[rule - FINE : rule + FINE // 2, left : left + room_w] = ACCENT
    rgb = cv2.resize(sheet, (art.width, art.height), interpolation=cv2.INTER_AREA).astype(np.float32)
    margin = max(2, round(0.025 * art.width))
    return _with_shadow(rgb, _rounded(art.width, art.height, margin, 0.03), margin)


def _text_room(w: int, h: int, lines: int) -> tuple[int, int, int, float]:
    """Where text goes on a page: left, top, width, and the height of a line."""
    left, top = round(0.09 * w), round(0.09 * h)
    return left, top, w - 2 * left, (h - 2 * top) / lines


def _letters(lines: list[str], left: int, top: int, room_w: int, row: float) -> tuple[float, int]:
    """The font scale at which all lines fit, and how tall its capitals are."""
    cv2 = load_cv2()
    font = cv2.FONT_HERSHEY_SIMPLEX
    widest = max(cv2.getTextSize(line, font, 10.0, 20)[0][0] for line in lines) / 10.0
    tall = _cap_px(10.0) / 10.0
    scale = min(room_w / widest, 0.56 * row / tall)
    return scale, _cap_px(scale)


@functools.lru_cache(maxsize=64)
def _cap_px(scale: float) -> int:
    """The height of a capital H, measured on the drawn letter, whichever font OpenCV has."""
    cv2 = load_cv2()
    side = round(60 * scale) + 20
    plate = np.zeros((side, side), np.uint8)
    cv2.putText(plate, "H", (4, side - 10), cv2.FONT_HERSHEY_SIMPLEX, scale, 255, max(1, round(2 * scale)))
    rows = np.flatnonzero(plate.max(axis=1) > 127)
    return int(rows[-1] - rows[0] + 1)


def _write(sheet: Pixels, line: str, at: tuple[int, int], scale: float, cap: int) -> None:
    cv2 = load_cv2()
    thick = max(1, round(0.11 * cap))
    cv2.putText(sheet, line, at, cv2.FONT_HERSHEY_SIMPLEX, scale, INK, thick, cv2.LINE_AA)


def _story(art: Art) -> Pixels:
    """A strip of text (height, width, 3) that continues at its top where it ends."""
    cv2 = load_cv2()
    w, row = art.width * FINE, art.height * FINE / len(STORY)
    left = round(0.06 * w)
    scale, cap = _letters(list(STORY), left, 0, w - 2 * left, row)
    strip = np.full((art.height * FINE, w, 3), PAPER, np.uint8)
    for number, line in enumerate(STORY):
        _write(strip, line, (left, round(number * row + (row + cap) / 2)), scale, cap)
    small: Pixels = cv2.resize(strip, (art.width, art.height), interpolation=cv2.INTER_AREA)
    return small


def _glow(side: int) -> Patch:
    """A lamp that is on: a bright core and a halo that fades to nothing at the rim."""
    r = _radius(side)
    halo = np.clip(1.0 - r, 0.0, 1.0) ** 2 * 0.85
    core = np.clip((0.36 - r) * side / 4, 0.0, 1.0)
    cover = np.maximum(halo, core).astype(np.float32)
    white = np.clip(1.2 - 3.0 * r, 0.0, 1.0)[..., None]
    rgb = np.asarray(AMBER, np.float32) * (1.0 - white) + 255.0 * white
    return np.dstack([rgb * cover[..., None], cover]).astype(np.float32)


def _with_shadow(rgb: Plane, shape: Plane, margin: int) -> Patch:
    """Put a shape (H, W) of colours (H, W, 3) over its own blurred shadow; the outermost pixels are clear."""
    cv2 = load_cv2()
    reach = max(1.0, 0.45 * margin)
    dark = cv2.GaussianBlur(np.roll(shape, max(1, margin // 3), axis=0), (0, 0), reach) * 0.4
    frame = np.zeros_like(shape)
    frame[1:-1, 1:-1] = 1.0
    dark *= frame
    cover = shape + dark * (1.0 - shape)
    return np.dstack([rgb * shape[..., None], cover]).astype(np.float32)


def _rounded(w: int, h: int, margin: int, corner: float) -> Plane:
    """Coverage (h, w) of a rectangle `margin` pixels in, its corners rounded by a share of its width."""
    inside_w, inside_h = w / 2 - margin, h / 2 - margin
    radius = corner * 2 * min(inside_w, inside_h)
    dx = np.abs(np.arange(w) + 0.5 - w / 2) - (inside_w - radius)
    dy = np.abs(np.arange(h) + 0.5 - h / 2) - (inside_h - radius)
    far = np.hypot(np.maximum(dx, 0.0)[None, :], np.maximum(dy, 0.0)[:, None])
    return np.asarray(np.clip(radius - far + 0.5, 0.0, 1.0), dtype=np.float32)


def _radius(side: int) -> Plane:
    """Distance from the middle (side, side), 1 at the rim."""
    line = (np.arange(side) + 0.5) / side * 2.0 - 1.0
    return np.asarray(np.hypot(line[None, :], line[:, None]), dtype=np.float32)


def _opaque(pixels: Pixels) -> Patch:
    return np.dstack([pixels, np.ones(pixels.shape[:2])]).astype(np.float32)


# Walls


def room(size: tuple[int, int], seed: int) -> Pixels:
    """A photograph of a room larger than the frame (width, height): half as high again, twice as wide."""
    cv2 = load_cv2()
    pixels = photo(ROOMS[seed % len(ROOMS)])
    tall, wide = pixels.shape[:2]
    scale = max(1.5 * size[1] / tall, 1.9 * size[0] / wide)
    how = cv2.INTER_AREA if scale < 1.0 else cv2.INTER_CUBIC
    scaled: Pixels = cv2.resize(pixels, (round(wide * scale), round(tall * scale)), interpolation=how)
    return scaled


def gallery(size: tuple[int, int]) -> Pixels:
    """A brick wall with framed photographs, a little higher than the frame; its right end meets its left."""
    cv2 = load_cv2()
    tall = round(1.2 * size[1])
    picture = round(0.66 * tall)
    gap = round(0.3 * picture)
    bricks = cv2.rotate(photo("brick.png"), cv2.ROTATE_90_CLOCKWISE)
    bricks = cv2.resize(bricks, (tall, tall), interpolation=cv2.INTER_AREA).astype(np.float32)
    bricks = np.clip(bricks / bricks.mean() * np.asarray((168, 112, 92)), 0, 255).astype(np.uint8)
    tiles = -(-len(GALLERY) * (picture * 4 // 3 + gap) // (2 * tall)) * 2
    wall: Pixels = np.tile(np.hstack([bricks, bricks[:, ::-1]]), (1, tiles // 2, 1))
    for number, file in enumerate(GALLERY):
        left = round(number * wall.shape[1] / len(GALLERY)) + gap // 2
        _hang(wall, photo(file), left, (tall - picture) // 2, picture)
    return wall


def _hang(wall: Pixels, pixels: Pixels, left: int, top: int, tall: int) -> None:
    """Put a picture in a dark frame with a white mount on the wall, at most four thirds as wide as high."""
    wide = min(round(tall * pixels.shape[1] / pixels.shape[0]), tall * 4 // 3)
    edge, mount = max(2, tall // 32), max(2, tall // 18)
    block = np.full((tall, wide, 3), (44, 36, 32), np.uint8)
    block[edge:-edge, edge:-edge] = PAPER
    inset = edge + mount
    block[inset:-inset, inset:-inset] = fit(pixels, (wide - 2 * inset, tall - 2 * inset))
    wall[top : top + tall, left : left + wide] = block


def put_lamp(wall: Pixels, x: float, y: float, side: int) -> None:
    """Paint a lamp that is off on the wall, its middle at (x, y); `side` is that of its glow."""
    cv2 = load_cv2()
    for share, colour in ((0.36, (60, 58, 56)), (0.3, (30, 29, 30)), (0.24, (112, 84, 48))):
        radius = round(share * side / 2 * 16)
        middle = round((x - 0.5) * 16), round((y - 0.5) * 16)
        cv2.circle(wall, middle, radius, colour, -1, cv2.LINE_AA, 4)
