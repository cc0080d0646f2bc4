"""Both ends of a stream by themselves: either does the same again without the other, or it is found out."""

from __future__ import annotations

import pytest

from edge_gate.scene import Scene
from experiments import tapes
from experiments.bench import BenchError
from experiments.systems import Clip, clip_of
from experiments.tapes import Taped
from vidtok.tokenizer.edge import EdgeEncoder


@pytest.fixture(scope="module")
def clip() -> Clip:
    return clip_of("tour", 5.0, list(Scene((64, 64), fps=5.0, duration_s=1.0)))


@pytest.fixture(scope="module")
def encoder() -> EdgeEncoder:
    return EdgeEncoder()


def test_either_end_does_the_same_again_without_the_other(clip: Clip, encoder: EdgeEncoder) -> None:
    taped = tapes.tape(clip, encoder)
    tapes.replay_sender(tapes.new_sender(clip, encoder), taped)
    looks: list[float] = []
    tapes.replay_receiver(tapes.new_receiver(), taped, lambda canvas, now: looks.append(now))
    assert 0 < len(looks) <= clip.count
    assert looks == sorted(looks)
    assert taped.bytes > 0
    assert taped.hashes[0] == taped.hashes[1]


def test_an_end_that_goes_another_way_is_found_out(clip: Clip, encoder: EdgeEncoder) -> None:
    taped = tapes.tape(clip, encoder)
    wrong = Taped(taped.sender, taped.receiver, taped.bytes, (taped.hashes[0] ^ 1, taped.hashes[1]))
    with pytest.raises(BenchError, match="another way"):
        tapes.replay_sender(tapes.new_sender(clip, encoder), wrong)
