"""The live loop, sender to receiver without a network: laws 3, 4 and 7."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from edge_gate.budget import Caps, Why
from edge_gate.network import GateNetwork
from edge_gate.novelty import GateConfig
from edge_gate.scene import Scene
from edge_gate.source import Frame
from experiments.planting import Event, plant
from tests.vidtok.fakes import AVERAGING, GATE, FakeEncoder, blocks, calm, frames, generators, info, noisy, tables
from transport import MAX_PACKET, Lane, LocalProtocolError
from vidtok.canvas import Grid
from vidtok.live import recording
from vidtok.live.recording import Loop
from vidtok.live.sender import SendConfig, Step
from vidtok.tokenizer.fsq import GIST_LEVELS, LEVELS, dequantise

Pixels = NDArray[np.uint8]
Wire = list[tuple[float, Lane, bytes]]

CAPS = st.builds(Caps, st.sampled_from([2.0, 8.0, 30.0, 150.0]), st.sampled_from([10.0, 60.0, 300.0, 2000.0]))


class Taped:
    """A loop with a fake encoder and its tables, and all that left its sender after the greeting."""

    def __init__(self, grid: Grid, config: SendConfig, fps: float = 10.0) -> None:
        self.wire: Wire = []
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(recording, "load_tables", tables)
            patch.setattr(recording, "load_info", info)
            self.loop = Loop(grid, config, fps=fps, name="test", tap=self._tap, encoder=FakeEncoder())
        self.wire.clear()
        self.steps: list[tuple[float, Step]] = []

    def _tap(self, now: float, lane: Lane, data: bytes) -> None:
        self.wire.append((now, lane, data))

    def play(self, some: list[Frame]) -> Taped:
        for frame in some:
            self.steps.append((frame.time_s, self.loop.step(frame)))
            received = self.loop.receiver.canvas
            if received is not None and received.version == self.loop.sender.canvas.version:
                assert received == self.loop.sender.canvas
        return self


def wandering(rng: np.random.Generator, grid: Grid, count: int, fps: float) -> list[Frame]:
    """A hand-held look at a wall of blocks that now and then is another wall."""
    x, y, wall = 80, 80, blocks(rng, Grid(grid.width + 160, grid.height + 160), 8)
    pictures = []
    for _ in range(count):
        x, y = (int(np.clip(place + rng.integers(-8, 9), 0, 160)) for place in (x, y))
        if rng.random() < 0.1:
            wall = blocks(rng, Grid(grid.width + 160, grid.height + 160), 8)
        pictures.append(wall[y : y + grid.height, x : x + grid.width].copy())
    return frames(pictures, fps)


# Law 3


@settings(max_examples=8, deadline=None)
@given(generators, st.sampled_from([Grid(192, 128), Grid(80, 208), Grid(32, 32)]), st.sampled_from([5.0, 10.0]))
def test_law_3_a_still_picture_is_refined_and_then_costs_nothing(
    rng: np.random.Generator, grid: Grid, fps: float
) -> None:
    still = blocks(rng, grid)
    config = calm(pan=grid.width > 32)  # one cell is too little to follow a camera by
    taped = Taped(grid, config, fps).play(frames([noisy(still, rng, 2.0) for _ in range(int(8 * fps))], fps))
    late = [step for time, step in taped.steps if time >= 4.0]
    assert not any(step.tokens for step in late)
    assert not any(step.payload_bytes for step in late)
    canvas = taped.loop.receiver.canvas
    assert canvas is not None
    assert canvas == taped.loop.sender.canvas
    assert (canvas.depth[canvas.visible()] == taped.loop.sender.config.levels).all()


@pytest.mark.parametrize("gate", [GATE, AVERAGING], ids=["as it is", "averaging"])
@settings(max_examples=5, deadline=None)
@given(rng=generators)
def test_law_3_after_any_past(gate: GateConfig, rng: np.random.Generator) -> None:
    # An average needs its looks, one a second, and creeps up on the threshold: a straggler may come late.
    grid, (settles_s, stragglers) = Grid(192, 128), (4.0, 0) if gate is GATE else (11.0, 2)
    taped = Taped(grid, calm(caps=Caps(60.0, 600.0), gate=gate)).play(wandering(rng, grid, 20, 10.0))
    last = blocks(rng, grid)
    taped.play(frames([noisy(last, rng, 1.5) for _ in range(round(settles_s * 10) + 20)], 10.0, first=20))
    assert sum(step.tokens for time, step in taped.steps if time >= 2.0 + settles_s) <= stragglers
    assert taped.loop.receiver.canvas == taped.loop.sender.canvas


def test_a_still_picture_is_looked_at_less_and_less_often() -> None:
    taped = Taped(Grid(192, 128), calm()).play(frames([blocks(np.random.default_rng(0), Grid(192, 128))] * 60, 10.0))
    looks = [time for time, step in taped.steps if step.looked]
    assert np.allclose(looks, [0.0, 1.0, 3.0])


def test_still_scene_settles() -> None:
    scene = Scene(variant="still", noise=True)
    loop = Loop(Grid(*scene.size), fps=scene.fps, name=scene.name)
    settled, told = int(2 * scene.fps), 0
    for k in range(2 * settled):
        if k == settled:
            bytes_before = loop.bytes_total
        step = loop.step(scene.frame(k))
        told += step.tokens if k >= settled else 0
    kbps = (loop.bytes_total - bytes_before) * 8 / 2.0 / 1000
    assert (told, kbps < 0.5) == (0, True), f"{told} edits and {kbps:.2f} kbps in the third and fourth second"


# Law 4


def check_caps(taped: Taped, caps: Caps) -> None:
    """Any second that begins with something sent: no other holds more."""
    bits = [(time, len(data) * 8) for time, _, data in taped.wire]
    tokens = [(time, step.tokens) for time, step in taped.steps]
    for log, cap, slack in ((bits, caps.kbps * 1000, MAX_PACKET * 8), (tokens, caps.tokens_per_s, 1)):
        for start, _ in log:
            spent = sum(amount for time, amount in log if start <= time < start + 1.0 - 1e-6)
            assert spent <= cap + slack, (start, spent, cap)


@settings(max_examples=15, deadline=None)
@given(
    generators,
    CAPS,
    st.sampled_from([5.0, 10.0, 25.0]),
    st.sampled_from([Grid(256, 192), Grid(80, 176)]),
    st.booleans(),
)
def test_law_4_both_caps_hold_over_any_second_however_wild_the_pictures(
    rng: np.random.Generator, caps: Caps, fps: float, grid: Grid, pan: bool
) -> None:
    taped = Taped(grid, calm(caps=caps, pan=pan), fps)
    count = int(3 * fps)
    wild = [blocks(rng, grid, int(side)) for side in rng.choice([4, 8, 16, 32], count)]
    taped.play(frames(wild, fps))
    assert taped.wire
    check_caps(taped, caps)


@settings(max_examples=6, deadline=None)
@given(generators, CAPS)
def test_law_4_holds_for_a_hand_held_camera(rng: np.random.Generator, caps: Caps) -> None:
    grid = Grid(240, 208)
    taped = Taped(grid, calm(caps=caps)).play(wandering(rng, grid, 30, 10.0))
    check_caps(taped, caps)


@settings(max_examples=6, deadline=None)
@given(generators, st.sampled_from([1.0, 5.0, 20.0]), st.sampled_from([5.0, 50.0]))
def test_law_4_the_receivers_lower_caps_count_from_when_they_are_known(
    rng: np.random.Generator, kbps: float, tokens: float
) -> None:
    grid = Grid(256, 192)
    taped = Taped(grid, calm(caps=Caps(100.0, 1000.0)))
    taped.loop.receiver.session.send_feedback({"kbps": kbps, "tokens_per_s": tokens}, 0.0)
    taped.play(frames([blocks(rng, grid)], 10.0))
    taped.play(frames([blocks(rng, grid) for _ in range(40)], 10.0, first=1))
    assert taped.loop.sender.ledger.caps == Caps(kbps, tokens)
    late = Taped.__new__(Taped)
    late.wire = [sent for sent in taped.wire if sent[0] >= 1.5]
    late.steps = [step for step in taped.steps if step[0] >= 1.5]
    check_caps(late, Caps(kbps, tokens))


def test_a_wide_budget_is_used() -> None:
    grid, rng = Grid(256, 192), np.random.default_rng(0)
    taped = Taped(grid, calm(caps=Caps(200.0, 2000.0))).play(frames([blocks(rng, grid) for _ in range(20)], 10.0))
    assert sum(step.tokens for _, step in taped.steps) > 10 * grid.frame_cells


# Law 7


@settings(max_examples=6, deadline=None)
@given(generators, CAPS)
def test_law_7_the_same_frames_give_the_same_bytes(rng: np.random.Generator, caps: Caps) -> None:
    grid = Grid(192, 128)
    some = wandering(rng, grid, 25, 10.0)
    one, two = (Taped(grid, calm(caps=caps)).play(some) for _ in range(2))
    assert one.wire == two.wire
    assert [step.version for _, step in one.steps] == [step.version for _, step in two.steps]


@settings(max_examples=6, deadline=None)
@given(generators, st.integers(1, 24))
def test_law_7_the_future_never_changes_the_past(rng: np.random.Generator, change: int) -> None:
    grid = Grid(192, 128)
    some = wandering(rng, grid, 25, 10.0)
    other = some[:change] + frames([blocks(rng, grid) for _ in range(25 - change)], 10.0, first=change)
    one, two = (Taped(grid, calm()).play(each) for each in (some, other))
    before = some[change].time_s if change < 25 else float("inf")
    assert [sent for sent in one.wire if sent[0] < before] == [sent for sent in two.wire if sent[0] < before]
    assert one.wire != two.wire


@settings(max_examples=5, deadline=None)
@given(generators)
def test_law_7_fed_in_pieces_equals_fed_whole(rng: np.random.Generator) -> None:
    grid = Grid(192, 128)
    some = wandering(rng, grid, 20, 10.0)
    whole = Taped(grid, calm()).play(some)
    pieces = Taped(grid, calm())
    for frame in some:
        pieces.play([frame])
    assert pieces.wire == whole.wire
    assert pieces.loop.sender.canvas == whole.loop.sender.canvas


# What a step says


def test_frames_stay_as_they_were() -> None:
    grid = Grid(192, 128)
    some = wandering(np.random.default_rng(0), grid, 8, 10.0)
    kept = [frame.pixels.copy() for frame in some]
    Taped(grid, calm()).play(some)
    assert all(np.array_equal(frame.pixels, before) for frame, before in zip(some, kept, strict=True))


@pytest.mark.parametrize(
    "grid", [Grid(32, 32), Grid(48, 80), Grid(32, 320), Grid(640, 368), Grid(368, 640), Grid(1280, 720)]
)
def test_any_size_arrives(grid: Grid) -> None:
    taped = Taped(grid, calm(caps=Caps(3000.0, 10_000.0)))
    taped.play(frames([blocks(np.random.default_rng(1), grid)] * 12, 10.0))
    canvas = taped.loop.receiver.canvas
    assert canvas is not None
    assert canvas == taped.loop.sender.canvas
    assert (canvas.depth[canvas.visible()] > 0).all()
    assert all(len(data) <= MAX_PACKET for _, _, data in taped.wire)


@pytest.mark.parametrize("grid", [Grid(256, 192), Grid(240, 208)])
def test_a_hand_held_camera_is_mostly_pans(grid: Grid) -> None:
    rng = np.random.default_rng(5)
    wall = blocks(rng, Grid(grid.width + 80, grid.height + 80), 8)
    places = [(40 + (5 * k) % 23, 40 + (3 * k) % 17) for k in range(40)]
    pictures = [wall[y : y + grid.height, x : x + grid.width].copy() for x, y in places]
    configs = (calm(caps=Caps(400.0, 4000.0), pan=pan) for pan in (True, False))  # caps that cut neither short
    taped = [Taped(grid, config).play(frames(pictures, 10.0)) for config in configs]
    followed, ignored = (sum(step.tokens for _, step in each.steps) for each in taped)
    assert followed < ignored * 0.5


def test_the_dearer_a_bit_the_less_is_told() -> None:
    grid = Grid(192, 112)
    still = frames([blocks(np.random.default_rng(3), grid)] * 40, 10.0)
    depths, sent = [], []
    for price in (0.001, 60.0, 150.0, 200.0, 10_000.0):
        config = calm(price=price, caps=Caps(400.0, 4000.0))
        depths.append(Taped(grid, config).play(still[:1]).loop.sender.canvas.depth[:-1, :-1])
        sent.append(sum(step.payload_bytes for _, step in Taped(grid, config).play(still).steps))
    assert (depths[0] == LEVELS).all()
    assert (np.diff(np.array(depths, int), axis=0) <= 0).all()
    assert all(dearer <= cheaper * 1.01 for cheaper, dearer in pairwise(sent))  # in two steps, a few bytes more
    assert sent[-1] == 0


def test_what_stands_for_longer_is_worth_more() -> None:
    grid = Grid(192, 112)
    still = frames([blocks(np.random.default_rng(3), grid)] * 40, 10.0)
    new, stood = (Taped(grid, calm(price=60.0, last_s=last_s)).play(still) for last_s in (0.7, 6.0))
    assert all(step.tokens == 0 for time, step in new.steps if time > 0.5)  # what was not worth it at once never is
    shallow, deep = (taped.loop.sender.canvas.depth for taped in (new, stood))
    assert (deep >= shallow).all()
    assert deep.sum() > shallow.sum()


def test_the_gist_comes_first_and_follows_the_scene() -> None:
    grid, rng = Grid(192, 112), np.random.default_rng(4)
    one, other = blocks(rng, grid), blocks(rng, grid)
    film = frames([one] * 2 + [other] * 10, 10.0)
    taped = Taped(grid, calm(caps=Caps(400.0, 4000.0))).play(film[:2])
    assert taped.loop.receiver.canvas is not None
    first = taped.loop.receiver.canvas.gist
    taped.play(film[2:])
    canvas = taped.loop.receiver.canvas
    assert canvas.gist_depth == GIST_LEVELS
    encoder = FakeEncoder()
    for pixels, gist in ((one, first), (other, canvas.gist)):
        encoder(pixels)
        assert np.abs(dequantise(gist) - encoder.gist()).max() < 0.25
    assert not np.array_equal(first, canvas.gist)


def test_a_gist_alone_is_a_token_and_none_is_sent_when_it_is_switched_off() -> None:
    grid = Grid(192, 112)
    still = frames([blocks(np.random.default_rng(5), grid)] * 3, 10.0)
    dear = calm(price=30.0, caps=Caps(400.0, 4000.0))  # too dear for any cell, not for what speaks of all of them
    for gist_s, tokens in ((1e4, 1), (0.0, 0)):
        taped = Taped(grid, replace(dear, gist_s=gist_s)).play(still)
        canvas = taped.loop.sender.canvas
        assert (canvas.gist_depth > 0) == (tokens > 0)
        assert sum(step.tokens for _, step in taped.steps) - np.count_nonzero(canvas.depth) == tokens


# The gate as it ships


def test_an_event_is_called_out_and_told_and_a_noisy_scene_is_not() -> None:
    scene = Scene(variant="still", noise=True)
    loop = Loop(Grid(*scene.size), SendConfig(pan=False), fps=10.0, name=scene.name)
    still = [scene.frame(k) for k in range(60)]
    quiet = [loop.step(frame) for frame in still]
    assert max(step.alarm for step in quiet[10:]) < 0.5
    event = Event("appears", 200, 0, 2, 96, 64, 64, 1.0, 7)
    shown = replace(still[-1], pixels=plant(still[-1].pixels, [event], 0), time_s=6.0, index=60)
    step = loop.step(shown)
    assert step.alarm > GateNetwork().wake
    assert step.kind[2:4, 3:5].any()
    why = loop.sender.explain()
    assert (why[2:4, 3:5] >= Why.NEWS).any()
    assert (why[:, -1] == Why.OUT_OF_SIGHT).all()
    assert np.count_nonzero(why >= Why.MOVED) < 16


def test_nothing_can_be_explained_before_the_first_frame() -> None:
    with pytest.raises(LocalProtocolError, match="before the first frame"):
        Taped(Grid(64, 64), calm()).loop.sender.explain()
