"""Train a rectified flow behind the viewer, as FlowMo draws: sharper pictures for people's eyes, if it is worth it.

    python -m experiments.train_flow --out DIR [--steps N]

`--out` is the folder of finished `experiments.train_tokenizer` and `experiments.train_pictures`. The flow begins at the
viewer's draft with some noise on it and goes in a straight line to the true picture; a small network, which sees where
it is, the draft and how far it has come, learns the direction. Not part of what ships unless it measured better
(`experiments.compare_viewers`).
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from experiments.lessons import Lessons, load
from experiments.train_pictures import Artist, draft_of
from experiments.train_tokenizer import Trainee, averaging, learn, load_averaged
from vidtok.model.tower import Back, load_tower, to_input
from vidtok.tokenizer.networks import Residual

BLOCK = 4  # pixels on a side of what the network takes as one place
NOISE = 0.25  # on the draft, of a range from -1 to 1


class Flow(nn.Module):
    """Where to go from here: the direction from a noisy draft to the picture."""

    def __init__(self, width: int = 128) -> None:
        super().__init__()
        places = 3 * BLOCK * BLOCK
        self.into = nn.Conv2d(2 * places + 1, width, 1)
        self.fine = nn.Sequential(*(Residual(width) for _ in range(3)))
        self.down = nn.Conv2d(width, 2 * width, 2, 2)
        self.coarse = nn.Sequential(*(Residual(2 * width) for _ in range(4)))
        self.up = nn.Sequential(nn.Conv2d(2 * width, 4 * width, 1), nn.PixelShuffle(2))
        self.last = nn.Sequential(*(Residual(width) for _ in range(2)), nn.Conv2d(width, places, 1))

    def forward(self, here: Tensor, draft: Tensor, time: Tensor) -> Tensor:
        """Two pictures (B, 3, H, W) and how far it has come (B,), 0 to 1 -> the direction (B, 3, H, W)."""
        parts = [F.pixel_unshuffle(part, BLOCK) for part in (here, draft)]
        clock = time[:, None, None, None].expand(-1, 1, *parts[0].shape[2:])
        fine = self.fine(self.into(torch.cat([*parts, clock], 1)))
        out: Tensor = self.last(fine + self.up(self.coarse(self.down(fine))))
        return F.pixel_shuffle(out, BLOCK)

    @torch.no_grad()
    def draw(self, draft: Tensor, steps: int = 4, seed: int = 0) -> Tensor:
        """The picture at the end of the line, in so many steps."""
        noise = torch.randn(draft.shape, generator=torch.Generator().manual_seed(seed))
        here = draft + NOISE * noise
        for step in range(steps):
            here = here + self(here, draft, torch.full((len(draft),), step / steps)) / steps
        return here


def step_loss(
    net: Flow, trained: Trainee, artist: Artist, back: Back, lessons: Lessons, batch: int, rng: np.random.Generator
) -> tuple[Tensor, dict[str, float]]:
    """One batch's loss and its parts."""
    chosen = np.sort(rng.integers(len(lessons), size=batch))
    true = to_input(torch.from_numpy(lessons.pictures[chosen])).contiguous(memory_format=torch.channels_last)
    with torch.autocast("cpu", torch.bfloat16):
        with torch.no_grad():
            seen = torch.from_numpy(lessons.features["clean"][chosen]).permute(0, 3, 1, 2).bfloat16()
            draft = draft_of(artist, trained, true, seen, back(seen)[1].float(), rng)[0].float().clamp(-1, 1)
        start = draft + NOISE * torch.randn_like(draft)
        time = torch.from_numpy(rng.random(batch, np.float32))
        here = torch.lerp(start, true, time[:, None, None, None])
        direction = net(here, draft, time).float()
    loss = (direction - (true - start)).square().mean()
    return loss, {"loss": loss.item(), "still": (true - start).square().mean().item()}


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(prog="experiments.train_flow", description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("runs/tokenizer"), help="that of experiments.train_pictures")
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rate", type=float, default=1e-3, help="peak learning rate")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--save-every", type=int, default=250)
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    if not (args.out / "pictures" / "checkpoint.pt").exists():
        raise SystemExit(f"{args.out}: no run of experiments.train_pictures there; run that first, or name its --out")
    lessons, trained, artist = load(args.out), Trainee(), Artist()
    for network, folder in ((trained, args.out), (artist, args.out / "pictures")):
        load_averaged(network, folder)
        network.eval().requires_grad_(False)
    back = load_tower().to(memory_format=torch.channels_last).back
    net = Flow().to(memory_format=torch.channels_last)
    folder = args.out / "flow"
    folder.mkdir(exist_ok=True)

    def one(step: int) -> tuple[Tensor, dict[str, float]]:
        return step_loss(net, trained, artist, back, lessons, args.batch, np.random.default_rng((args.seed, 2, step)))

    optimiser = torch.optim.AdamW(net.parameters(), args.rate, weight_decay=1e-3)
    learn(args, folder, net, optimiser, averaging(net), one, ("loss", "still"))


if __name__ == "__main__":
    main()
