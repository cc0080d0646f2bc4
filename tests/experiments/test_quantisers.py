"""Quantisers behind one interface, and the critic."""

from __future__ import annotations

import pytest
import torch

from experiments.adversary import LEADS, Adversary
from experiments.quantisers import PAIRS, QUANTISERS, SYMBOLS, Fsq, Vq, entropy_bits
from vidtok.tokenizer.networks import SEEN, quantise_ste


def latents(seed: int = 0, spread: float = 0.4) -> torch.Tensor:
    return torch.tanh(torch.randn(4, SEEN, 5, 3, generator=torch.Generator().manual_seed(seed)) * spread)


@pytest.mark.parametrize("name", sorted(QUANTISERS))
def test_the_gradient_passes_straight_through_and_symbols_are_the_pairs(name: str) -> None:
    torch.manual_seed(0)
    quantiser = QUANTISERS[name]().eval()
    z = latents().requires_grad_()
    rounded, _ = quantiser(z)
    rounded.sum().backward()
    assert torch.equal(z.grad, torch.ones_like(z))
    symbols = quantiser.symbols(z)
    assert symbols.shape == (PAIRS, 4 * 5 * 3)
    assert 0 <= int(symbols.min()) <= int(symbols.max()) < SYMBOLS
    pairs = rounded.detach().transpose(0, 1).flatten(1).unflatten(0, (PAIRS, 2))
    alike = symbols[0, 0] == symbols[0]
    assert torch.allclose(pairs[0][:, alike], pairs[0][:, :1].expand(2, int(alike.sum())), atol=1e-6)


def test_ours_is_the_rounding_that_ships() -> None:
    assert torch.equal(Fsq()(latents())[0], quantise_ste(latents()))


def test_codes_follow_their_latents_and_idle_ones_are_put_to_use() -> None:
    torch.manual_seed(0)
    vq, far = Vq(), latents(spread=0.1)
    before = (vq.eval()(far)[0] - far).square().mean()
    vq.train()
    for seed in range(600):
        vq(latents(seed, spread=0.1))
    after = (vq.eval()(far)[0] - far).square().mean()
    assert after < 0.3 * before
    assert entropy_bits(vq.symbols(far)).mean() > entropy_bits(Fsq().symbols(far)).mean() + 1


def test_the_critic_learns_what_is_drawn_and_is_heard_only_then() -> None:
    torch.manual_seed(0)
    adversary = Adversary()
    true, drawn = torch.randn(2, 3, 64, 64), torch.randn(2, 3, 64, 64) * 0.2
    assert adversary.complaint(drawn) == 0
    for _ in range(LEADS + 1):
        adversary.learn(drawn, true)
    assert adversary.complaint(drawn) > adversary.complaint(true) + 1
