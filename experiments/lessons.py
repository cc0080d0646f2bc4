"""What the tokenizer learns from: crops of photographs, of clips and of written pages, each seen three ways.

    crop --clean--------------------------------> front half of the tower --> features    the target
         --noise, exposure, compression---------> front half of the tower --> features    what a camera gives
         --moved a few pixels-------------------> front half of the tower --> features    the next frame of a pan

The front half never learns, so all of it is computed once and kept in files beside the checkpoints.
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

from experiments.pictures import load_clips, load_images
from vidtok.model.tower import FEATURES, Tower, to_input

SIDE = 256  # pixels of a crop
MAPS = SIDE // 16
WAYS = ("clean", "noisy", "moved")
MOST_MOVE = 4  # pixels
_BATCH = 32


@dataclass(frozen=True)
class Lessons:
    """Crops, and the tower's features of each way of seeing them; memory-mapped."""

    pictures: NDArray[np.uint8]  # (N, SIDE, SIDE, 3)
    features: dict[str, NDArray[np.float16]]  # way -> (N, MAPS, MAPS, FEATURES)

    def __len__(self) -> int:
        return len(self.pictures)


def prepare(out: Path, images: Path | None, clips: Path | None, count: int, tower: Tower, seed: int) -> Lessons:
    """The lessons in `out`, made if they are not there: two thirds photographs, a quarter clips, the rest pages."""
    if not (out / "lessons.done").exists():
        rng = np.random.default_rng(seed)
        pools = []
        if images is not None:
            pools.append((0.66, load_images(images, 320)))
        if clips is not None:
            pools.append((0.26, load_clips(clips, 320, 0.5, 16)))
        pools = [(share, pool) for share, pool in pools if pool]
        if not pools:
            raise SystemExit("nothing to learn from: name a folder with --images and/or --clips")
        _write(out, pools, count, tower, rng)
        (out / "lessons.done").touch()
    return load(out)


def load(out: Path) -> Lessons:
    """The lessons that were prepared in `out`."""
    arrays = {name: np.load(out / f"{name}.npy", mmap_mode="r") for name in ("pictures", *WAYS)}
    return Lessons(arrays["pictures"], {way: arrays[way] for way in WAYS})


def _write(
    out: Path, pools: list[tuple[float, list[NDArray[np.uint8]]]], count: int, tower: Tower, rng: np.random.Generator
) -> None:
    def create(name: str, dtype: type, *shape: int) -> np.memmap:
        return np.lib.format.open_memmap(out / f"{name}.npy", "w+", dtype, (count, *shape))

    pictures = create("pictures", np.uint8, SIDE, SIDE, 3)
    maps = {way: create(way, np.float16, MAPS, MAPS, FEATURES) for way in WAYS}
    fonts = page_fonts()
    shares = np.cumsum([share for share, _ in pools])
    for start in tqdm(range(0, count, _BATCH), "lessons"):
        size = min(_BATCH, count - start)
        wide = np.empty((size, SIDE + MOST_MOVE, SIDE + MOST_MOVE, 3), np.uint8)
        for one in wide:
            kind = int(np.searchsorted(shares, rng.random()))
            if kind < len(pools):
                pool = pools[kind][1]
                one[:] = crop(pool[int(rng.integers(len(pool)))], SIDE + MOST_MOVE, rng)
            else:
                one[:] = written_page(SIDE + MOST_MOVE, rng, fonts)
        clean = wide[:, :SIDE, :SIDE]
        pictures[start : start + size] = clean
        noisy = np.stack([disturb(picture, rng) for picture in clean])
        y, x = rng.integers(MOST_MOVE + 1, size=2)
        moved = np.stack([disturb(picture, rng, 0.5) for picture in wide[:, y : y + SIDE, x : x + SIDE]])
        for way, seen in zip(WAYS, (clean, noisy, moved), strict=True):
            with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
                x_in = to_input(torch.from_numpy(np.ascontiguousarray(seen)))
                features = tower.front(x_in.contiguous(memory_format=torch.channels_last))[2]
            maps[way][start : start + size] = features.float().permute(0, 2, 3, 1).numpy()


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
