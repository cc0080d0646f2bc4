"""A critic of drawn pictures, as VQGAN trains against: what looks false to it costs the viewer.

Used by `experiments.train_pictures --adversary WEIGHT`; not part of what ships unless it measured better.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn, optim

LEADS = 300  # steps that the critic learns before it is heard


class Adversary:
    """Judges patches of about 34 pixels; learns to tell drawn from true as the viewer learns to be taken for true."""

    def __init__(self, rate: float = 2e-4, width: int = 32) -> None:
        self._critic = nn.Sequential(
            nn.Conv2d(3, width, 4, 2, 1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(width, 2 * width, 4, 2, 1),
            nn.GroupNorm(8, 2 * width),
            nn.LeakyReLU(0.2),
            nn.Conv2d(2 * width, 4 * width, 4, 1, 1),
            nn.GroupNorm(8, 4 * width),
            nn.LeakyReLU(0.2),
            nn.Conv2d(4 * width, 1, 4, 1, 1),
        )
        self._optimiser = optim.AdamW(self._critic.parameters(), rate, betas=(0.5, 0.9))
        self._seen = 0

    def learn(self, drawn: Tensor, true: Tensor) -> None:
        """One step of the critic, by the hinge loss."""
        self._critic.requires_grad_(True)
        false, real = self._critic(drawn.detach()).float(), self._critic(true).float()
        loss = F.relu(1 + false).mean() + F.relu(1 - real).mean()
        self._optimiser.zero_grad(set_to_none=True)
        loss.backward()
        self._optimiser.step()
        self._critic.requires_grad_(False)
        self._seen += 1

    def complaint(self, drawn: Tensor) -> Tensor:
        """What the drawn pictures cost: nothing until the critic knows a little."""
        return -self._critic(drawn).float().mean() * float(self._seen > LEADS)
