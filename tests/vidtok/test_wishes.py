"""What the receiver wishes, at the sender: what is bought follows, both caps hold, and nothing gets too old."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from edge_gate.budget import Caps
from edge_gate.scene import Scene
from edge_gate.source import Frame
from edge_gate.wishes import Attention, Wishes
from experiments.planting import Event, disturb, show
from tests.edge_gate.test_wishes import nearly, stated
from tests.vidtok.fakes import World, blocks, calm, frames, generators, noisy
from tests.vidtok.test_loop import Taped, check_caps
from transport import Link
from transport.events import FeedbackReceived
from vidtok.canvas import Grid
from vidtok.edits import Kind
from vidtok.live.recording import Loop
from vidtok.live.sender import SendConfig
from vidtok.tokenizer.fsq import LEVELS

GRID = Grid(192, 128)
AMPLE = Caps(400.0, 4000.0)


# The caps


@settings(max_examples=6)
@given(
    generators, nearly, st.sampled_from([0.0, 0.3, 2.0]), st.sampled_from([8.0, 40.0]), st.sampled_from([10.0, 100.0])
)
def test_hostile_feedback_breaks_neither_sender_nor_caps(
    rng: np.random.Generator, feedback: dict[str, Any], refresh_s: float, kbps: float, tokens: float
) -> None:
    taped = Taped(GRID, calm(caps=Caps(kbps, tokens), refresh_s=refresh_s))
    taped.loop.sender.on_event(FeedbackReceived(feedback))
    taped.play(frames([blocks(rng, GRID) for _ in range(15)], 10.0))
    check_caps(taped, taped.loop.sender.config.caps)


@settings(max_examples=6)
@given(generators, stated, st.sampled_from([0.3, 2.0]))
def test_law_4_caps_hold_whatever_is_wished(rng: np.random.Generator, wishes: Wishes, refresh_s: float) -> None:
    caps = Caps(12.0, 60.0)
    taped = Taped(GRID, calm(caps=caps, refresh_s=refresh_s))
    taped.loop.sender.interest = 100.0
    taped.loop.sender.on_event(FeedbackReceived(wishes.to_map()))
    taped.play(frames([blocks(rng, GRID) for _ in range(15)], 10.0))
    check_caps(taped, caps)


# What is bought


def told(taped: Taped) -> NDArray[np.int64]:
    """(rows, cols): how often each cell was."""
    return np.sum([step.kind != Kind.KEEP for _, step in taped.steps], 0)


def test_attention_moves_what_tight_caps_buy() -> None:
    rng = np.random.default_rng(0)
    wild = frames([blocks(rng, GRID) for _ in range(30)], 10.0)
    shares = []
    for seen in (None, np.s_[:, :3], np.s_[:, 3:]):
        taped = Taped(GRID, calm(caps=Caps(100.0, 20.0)))
        if seen is not None:
            weights = np.zeros((GRID.rows, GRID.cols), np.float32)
            weights[seen] = 1
            taped.loop.receiver.wish(Wishes(attention=Attention.of(weights, (0, 0))), 0.0)
        counts = told(taped.play(wild))
        shares.append(counts[:, :3].sum() / counts.sum())
    alike, left, right = shares
    assert right < 0.2 < alike < 0.8 < left


def test_detail_brings_every_level_of_a_region_and_of_nothing_else() -> None:
    rng = np.random.default_rng(1)
    still = blocks(rng, GRID)
    film = frames([noisy(still, rng, 1.5) for _ in range(60)], 10.0)
    taped = Taped(GRID, calm(price=900.0, caps=AMPLE)).play(film[:20])
    assert not taped.loop.sender.canvas.depth.any()
    taped.loop.receiver.wish(Wishes(detail=((40, 40, 40, 10),)), 2.0)
    taped.play(film[20:])
    canvas = taped.loop.receiver.canvas
    assert canvas is not None
    assert (canvas.depth[1, 1:3] == LEVELS).all()
    assert np.count_nonzero(canvas.depth) == 2
    assert not any(step.kind[1, 1:3].any() for time, step in taped.steps if time >= 4.0), "and then costs nothing"


def test_interest_buys_more_whoever_has_it() -> None:
    still = frames([blocks(np.random.default_rng(3), GRID)] * 10, 10.0)
    sent: dict[str, list[int]] = {"receiver": [], "sender": []}
    for interest in (0.25, 1.0, 4.0):
        for whose, bytes_sent in sent.items():
            taped = Taped(GRID, calm(price=300.0, caps=AMPLE))
            if whose == "sender":
                taped.loop.sender.interest = interest
            else:
                taped.loop.receiver.wish(Wishes(interest=interest), 0.0)
            bytes_sent.append(sum(step.payload_bytes for _, step in taped.play(still).steps))
    little, some, much = sent["sender"]
    assert little < some < much
    assert sent["receiver"] == sent["sender"]


@pytest.mark.parametrize("whose", ["receiver", "sender"])
def test_a_settled_scene_is_told_more_of_as_soon_as_somebody_asks(whose: str) -> None:
    still = frames([blocks(np.random.default_rng(3), GRID)] * 102, 10.0)
    taped = Taped(GRID, calm(price=600.0, caps=AMPLE)).play(still[:100])
    assert taped.steps[-1][1].tokens == 0
    if whose == "sender":
        taped.loop.sender.interest = 8.0
    else:
        taped.loop.receiver.wish(Wishes(interest=8.0), 10.0)
    taped.play(still[100:])
    assert taped.steps[-2][1].tokens > 10
    assert not taped.steps[-2][1].looked


# Stated over a link


def test_wishes_arrive_and_the_newest_replaces_what_was_not_sent_yet() -> None:
    world = World(GRID, Link(0, delay_s=0.05), Link(1, delay_s=0.05), calm())
    world.run(0.5)
    first, second, third = (Wishes(kbps=kbps, detail=((1, 2, 3, 4),)) for kbps in (9.0, 8.0, 7.0))
    for at, wishes in ((0.5, first), (0.52, second), (0.54, third)):
        world.run(at)
        world.receiver.wish(wishes, at)
    world.run(0.58)
    assert world.sender.wishes == first
    world.run(1.0)
    assert world.sender.wishes == third
    assert world.sender.ledger.caps.kbps == 7.0
    world.receiver.wish(Wishes(), 1.0)
    world.run(1.5)
    assert world.sender.wishes == Wishes()
    assert world.sender.ledger.caps == world.config.caps


# The floor under staleness


def test_a_still_scene_is_told_anew_evenly() -> None:
    still = frames([blocks(np.random.default_rng(4), GRID)] * 160, 10.0)
    taped = Taped(GRID, calm(refresh_s=4.0))
    told_s, late = np.zeros((GRID.rows, GRID.cols)), []
    for frame in still:
        _, step = taped.play([frame]).steps[-1]
        told_s[step.kind != Kind.KEEP] = frame.time_s
        assert (frame.time_s - told_s[:-1, :-1]).max() <= 4.0
        late.append(step.tokens if frame.time_s >= 4.0 else 0)
    pace = GRID.frame_cells / 4.0
    assert pace <= sum(late) / 12.0 <= 1.4 * pace
    assert max(late) <= pace
    canvas = taped.loop.receiver.canvas
    assert canvas is not None
    assert (canvas.depth[:-1, :-1] == LEVELS).all(), "what was refined stays so"


@pytest.mark.parametrize("seed", range(3))
def test_the_floor_counts_what_was_lost_as_not_told(seed: int) -> None:
    rng, there = np.random.default_rng(seed), Link(seed, delay_s=0.05, loss=0.2)
    world = World(GRID, there, Link(seed + 9, delay_s=0.05), calm(caps=Caps(100.0, 400.0), refresh_s=4.0))
    still, told_s, seen = blocks(rng, GRID), np.zeros((GRID.rows, GRID.cols)), 0
    for k in range(160):
        world.run(k / 10)
        for update in world.updates[seen:]:
            fresh = update.canvas.changed > update.base.version
            told_s[fresh] = np.maximum(told_s[fresh], update.capture_ms / 1000)
        seen = len(world.updates)
        assert (world.now - told_s[:-1, :-1]).max() <= 4.0 + 1.0, "a second at most until a loss is known and mended"
        world.frame(still)


# Fairness


def test_a_waving_curtain_does_not_hide_who_walks_into_a_corner() -> None:
    still = Scene(variant="still", noise=False).frame(0).pixels
    event = Event("crosses", 1000, 40, 10, 0, 0, 64, 1.0, 2, 40)
    loop = Loop(Grid(256, 256), SendConfig(caps=Caps(30.0, 20.0)), fps=10.0, name="curtain")
    spent, delays = 0, []
    for k in range(50):
        pixels = disturb("leaves", still, k, 10.0, 0)
        step = loop.step(Frame(show(pixels, event, k) if k >= 40 else pixels, k / 10, k))
        spent += step.tokens if 20 <= k < 40 else 0
        if k >= 40 and step.kind[:3, :3].any():
            delays.append(k - 40)
    assert spent > 10, "the curtain is worth something to the gate"
    assert delays
    assert delays[0] <= 2


def test_a_floor_is_not_below_zero() -> None:
    with pytest.raises(ValueError, match="refresh_s"):
        replace(SendConfig(), refresh_s=-1.0)


def test_what_says_nothing_new_changes_nothing() -> None:
    rng = np.random.default_rng(6)
    film = frames([noisy(blocks(rng, GRID), rng, 1.5)] * 5 + [blocks(rng, GRID)] * 25, 10.0)
    plain, told_so = (Taped(GRID, calm(price=300.0)) for _ in range(2))
    plain.play(film)
    for frame in film:
        told_so.loop.receiver.wish(Wishes(), frame.time_s)
        told_so.play([frame])
    assert [(s.version, s.payload_bytes) for _, s in told_so.steps] == [
        (s.version, s.payload_bytes) for _, s in plain.steps
    ]
    assert told_so.loop.sender.canvas == plain.loop.sender.canvas
