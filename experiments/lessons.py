"""What the tokenizer learns from: crops of photographs, of clips and of written pages, each seen four ways.

    crop --clean--------------------------------> front half of the tower --> features    the target
         --noise, exposure, compression---------> front half of the tower --> features    what a camera gives
         --moved a few pixels-------------------> front half of the tower --> features    the next frame of a pan
         --later--------------------------------> front half of the tower --> features    what it has become meanwhile

Later is the same crop of a later frame of the clip; of a photograph, another crop of it, or something of another
photograph that has come in. Some crops are made of two photographs to begin with: what is asked is what the tower sees,
and it sees something in any picture. The front half never learns, so all of it is computed once and kept in files
beside the checkpoints.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import matplotlib.font_manager
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from tqdm import tqdm

from experiments.pictures import load_films, load_images
from vidtok.model.tower import FEATURES, Tower, to_input

SIDE = 256  # pixels of a crop
MAPS = SIDE // 16
WAYS = ("clean", "noisy", "moved", "later")
MOST_MOVE = 4  # pixels
MADE_UP = 0.3  # of the crops of photographs are made of two
_BATCH = 32

Pictures = list[NDArray[np.uint8]]


@dataclass(frozen=True)
class Lessons:
    """Crops, and the tower's features of each way of seeing them; memory-mapped."""

    pictures: NDArray[np.uint8]  # (N, SIDE, SIDE, 3)
    features: dict[str, NDArray[np.float16]]  # way -> (N, MAPS, MAPS, FEATURES)

    def __len__(self) -> int:
        return len(self.pictures)

    def spread(self, count: int, batch: int) -> list[NDArray[np.int64]]:
        """Which to take for so many from first to last, none twice, in batches."""
        count = min(count, len(self))
        return np.array_split(np.linspace(0, len(self) - 1, count).astype(int), -(-count // batch))


def prepare(out: Path, images: Path | None, clips: Path | None, count: int, tower: Tower, seed: int) -> Lessons:
    """The lessons in `out`, made if they are not there: two thirds photographs, a quarter clips, the rest pages."""
    if not (out / "lessons.done").exists():
        rng = np.random.default_rng(seed)
        photographs = [] if images is None else load_images(images, 320)
        films = [] if clips is None else load_films(clips, 320, 0.4, 24)
        if not photographs and not films:
            raise SystemExit("nothing to learn from: name a folder with --images and/or --clips")
        _write(out, photographs, films, count, tower, rng)
        (out / "lessons.done").touch()
    return load(out)


def load(out: Path) -> Lessons:
    """The lessons that were prepared in `out`."""
    arrays = {name: np.load(out / f"{name}.npy", mmap_mode="r") for name in ("pictures", *WAYS)}
    return Lessons(arrays["pictures"], {way: arrays[way] for way in WAYS})


def _write(
    out: Path, photographs: Pictures, films: list[Pictures], count: int, tower: Tower, rng: np.random.Generator
) -> None:
    def create(name: str, dtype: type, *shape: int) -> np.memmap:
        return np.lib.format.open_memmap(out / f"{name}.npy", "w+", dtype, (count, *shape))

    pictures = create("pictures", np.uint8, SIDE, SIDE, 3)
    maps = {way: create(way, np.float16, MAPS, MAPS, FEATURES) for way in WAYS}
    fonts = page_fonts()
    page, film = 0.08, 0.26 if photographs else 1.0
    for start in tqdm(range(0, count, _BATCH), "lessons"):
        pairs = []
        for kind in rng.random(min(_BATCH, count - start)):
            if kind < page:
                pairs.append(pages(fonts, rng))
            elif films and kind < page + film:
                pairs.append(of_film(films[int(rng.integers(len(films)))], rng))
            else:
                pairs.append(of_photographs(photographs, rng))
        wide, later = (np.stack(part) for part in zip(*pairs, strict=True))
        clean = wide[:, :SIDE, :SIDE]
        pictures[start : start + len(clean)] = clean
        noisy = np.stack([disturb(picture, rng) for picture in clean])
        y, x = rng.integers(MOST_MOVE + 1, size=2)
        moved = np.stack([disturb(picture, rng, 0.5) for picture in wide[:, y : y + SIDE, x : x + SIDE]])
        for way, seen in zip(WAYS, (clean, noisy, moved, later[:, :SIDE, :SIDE]), strict=True):
            with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
                x_in = to_input(torch.from_numpy(np.ascontiguousarray(seen)))
                features = tower.front(x_in.contiguous(memory_format=torch.channels_last))[2]
            maps[way][start : start + len(clean)] = features.float().permute(0, 2, 3, 1).numpy()


def of_film(frames: Pictures, rng: np.random.Generator) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """A crop of a frame, and the same crop of a frame up to three seconds later, coloured alike."""
    first = int(rng.integers(len(frames)))
    then = min(first + int(rng.integers(1, 9)), len(frames) - 1)
    seed = int(rng.integers(1 << 30))
    one, other = (crop(frames[i], SIDE + MOST_MOVE, np.random.default_rng(seed)) for i in (first, then))
    seed = int(rng.integers(1 << 30))
    return coloured(one, np.random.default_rng(seed)), coloured(other, np.random.default_rng(seed))


def of_photographs(pool: Pictures, rng: np.random.Generator) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """A crop, perhaps of two photographs, and what may have become of it: something has come in, or the view is new."""
    size = SIDE + MOST_MOVE
    one, guest = (pool[int(i)] for i in rng.integers(len(pool), size=2))
    now, entering = coloured(crop(one, size, rng), rng), coloured(crop(guest, size, rng), rng)
    if rng.random() < MADE_UP:
        now = pasted(now, coloured(crop(pool[int(rng.integers(len(pool)))], size, rng), rng), rng)
    if rng.random() < 0.5:
        both = now, pasted(now, entering, rng)
        return both if rng.random() < 0.5 else both[::-1]
    side = int(rng.integers(size * 2 // 3, size))
    y, x = rng.integers(size - side + 1, size=2)
    return now, cv2.resize(now[y : y + side, x : x + side], (size, size), interpolation=cv2.INTER_CUBIC)


def pasted(under: NDArray[np.uint8], over: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """A rectangle of one picture on another of the same size."""
    size, out = under.shape[0], under.copy()
    height, width = (int(size * n) for n in rng.uniform(0.25, 0.8, 2))
    (y, x), (from_y, from_x) = (
        (int(rng.integers(size - height + 1)), int(rng.integers(size - width + 1))) for _ in range(2)
    )
    out[y : y + height, x : x + width] = over[from_y : from_y + height, from_x : from_x + width]
    return out


def coloured(picture: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """The picture under other light, half of the time: brightness, contrast, and each colour's share."""
    if rng.random() < 0.5:
        return picture
    gain = rng.uniform(0.75, 1.25) * rng.uniform(0.9, 1.1, 3)
    mean = picture.mean((0, 1))
    table = (np.arange(256)[:, None] - mean) * gain + mean + rng.uniform(-20, 20)
    table = np.clip(table + 0.5, 0, 255).astype(np.uint8)
    return cv2.LUT(picture, np.ascontiguousarray(table[None]))


def pages(fonts: list[str], rng: np.random.Generator) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """A written page, and another."""
    return written_page(SIDE + MOST_MOVE, rng, fonts), written_page(SIDE + MOST_MOVE, rng, fonts)


def crop(picture: NDArray[np.uint8], size: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    """A random square of a random scale, flipped at random, at `size` pixels."""
    height, width = picture.shape[:2]
    side = int(rng.integers(min(size, height, width) * 3 // 4, min(height, width) + 1))
    top, left = int(rng.integers(height - side + 1)), int(rng.integers(width - side + 1))
    part = picture[top : top + side, left : left + side]
    if side != size:
        part = cv2.resize(part, (size, size), interpolation=cv2.INTER_AREA if side > size else cv2.INTER_CUBIC)
    return part[:, ::-1] if rng.random() < 0.5 else part


def disturb(picture: NDArray[np.uint8], rng: np.random.Generator, share: float = 1.0) -> NDArray[np.uint8]:
    """The same picture as a cheap camera would give it: gain, offset, noise, and sometimes JPEG."""
    noise = rng.standard_normal(picture.shape, dtype=np.float32) * np.float32(rng.uniform(0, 5 * share))
    gain, offset = 1 + share * rng.uniform(-0.06, 0.06), share * rng.uniform(-4, 4)
    out = np.clip(picture * np.float32(gain) + np.float32(offset) + noise + 0.5, 0, 255).astype(np.uint8)
    if rng.random() < 0.3 * share:
        quality = [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(40, 95))]
        out = cv2.imdecode(cv2.imencode(".jpg", out, quality)[1], cv2.IMREAD_COLOR)
    return out


def page_fonts() -> list[str]:
    """The text fonts that matplotlib brings along."""
    folder = Path(matplotlib.font_manager.findfont("DejaVu Sans")).parent
    return sorted(str(path) for path in folder.glob("*.ttf") if path.name.startswith(("DejaVu", "STIXGeneral")))


def written_page(size: int, rng: np.random.Generator, fonts: list[str]) -> NDArray[np.uint8]:
    """Lines of random letters and digits, of one size and face, dark on light or light on dark, sometimes tilted."""
    ground, ink = rng.integers(120, 256, 3), rng.integers(0, 110, 3)
    if rng.random() < 0.4:
        ground, ink = ink, ground
    image = Image.new("RGB", (2 * size, 2 * size), tuple(int(n) for n in ground))
    draw, em = ImageDraw.Draw(image), float(np.exp(rng.uniform(np.log(9), np.log(80))))
    font = ImageFont.truetype(fonts[int(rng.integers(len(fonts)))], 2 * em)
    signs = list("ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789" + "abcdefghijklmnopqrstuvwxyz" * int(rng.random() < 0.5))
    y = float(rng.uniform(-em, em))
    while y < 2 * size:
        words = ("".join(rng.choice(signs, int(rng.integers(2, 9)))) for _ in range(40))
        draw.text((float(rng.uniform(-2 * em, 4 * em)), y), " ".join(words), tuple(int(n) for n in ink), font)
        y += 2 * em * float(rng.uniform(1.15, 2.2))
    page = np.asarray(image)
    if rng.random() < 0.5:
        turn = cv2.getRotationMatrix2D((size, size), float(rng.normal(0, 3)), 1.0)
        page = cv2.warpAffine(page, turn, (2 * size, 2 * size), borderMode=cv2.BORDER_REFLECT)
    return cv2.resize(page, (size, size), interpolation=cv2.INTER_AREA)
