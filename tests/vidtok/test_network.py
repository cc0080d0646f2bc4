"""Law 2 with the real codec: whatever the network does, the receiver shows a canvas that the sender made."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from edge_gate.budget import Caps
from tests.transport.healing import HealingLink
from tests.vidtok.fakes import World, blocks, calm, generators, noisy, tables
from transport import Link, RemoteProtocolError, Role, Session
from transport.events import Connected
from transport.impair import Gilbert
from transport.wire import Delta, Heartbeat, RefreshRequest, pull_packet, push_packet
from vidtok.bitstream import encode_payload
from vidtok.canvas import Canvas, Grid, blank
from vidtok.edits import no_edits
from vidtok.live.receiver import Receiver, Update
from vidtok.live.sender import hello
from vidtok.tokenizer.fsq import LEVELS

GRID = Grid(144, 80)
BAD_S, FPS = 4.0, 10.0
GOOD_S = 30.0  # at most: while loss is remembered a scene is refined anew until it is acknowledged
CALM_S = 1.5  # so long nothing new, and both must have the same
DRAWN = (Phase.explicit, Phase.reuse, Phase.generate)  # a world costs too much to be shrunk

impaired = st.fixed_dictionaries(
    {
        "seed": st.integers(0, 1 << 16),
        "loss": st.sampled_from([0.0, 0.05, 0.3, 0.6]),
        "duplicate": st.sampled_from([0.0, 0.3]),
        "reorder": st.sampled_from([0.0, 0.1, 0.4]),
        "delay_s": st.sampled_from([0.0, 0.03, 0.2]),
        "jitter_s": st.sampled_from([0.0, 0.03]),
        "rate_bps": st.sampled_from([None, 60_000.0]),
        "outages": st.lists(st.tuples(st.floats(0.5, 2), st.floats(2, BAD_S)), max_size=1),
        "gilbert": st.sampled_from([None, Gilbert(0.05, 0.3)]),
    }
)


def check_shown(world: World) -> None:
    """Every canvas that the receiver ever showed is one that the sender made, and was made from its base."""
    for update in world.updates:
        assert update.canvas == world.made[update.canvas.version]
        assert update.base == world.made[update.base.version]
    assert world.receiver.rejected == 0


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow], phases=DRAWN)
@given(impaired, impaired, generators, st.sampled_from([8.0, 40.0]), st.booleans())
def test_law_2_any_network_and_equal_soon_after_it_heals(
    there: dict[str, Any], back: dict[str, Any], rng: np.random.Generator, kbps: float, pan: bool
) -> None:
    world = World(GRID, HealingLink(BAD_S, **there), HealingLink(BAD_S, **back), calm(caps=Caps(kbps, 400.0), pan=pan))
    still = blocks(rng, GRID)
    for k in range(int((BAD_S + GOOD_S) * FPS)):
        world.run(k / FPS)
        if k / FPS < BAD_S and rng.random() < 0.5:
            still = blocks(rng, GRID, int(rng.choice([8, 16])))
        world.frame(noisy(still, rng, 1.0))
        last = max((time for time, step in world.steps if step.tokens), default=np.inf)
        if world.now > max(last, BAD_S) + CALM_S:
            break
    check_shown(world)
    shown = world.receiver.canvas
    assert shown is not None
    assert shown == world.sender.canvas
    assert (shown.depth[shown.visible()] > 0).all()
    assert world.now < BAD_S + GOOD_S - CALM_S, "it never came to rest"


@settings(max_examples=10, deadline=None, phases=DRAWN)
@given(st.integers(0, 1 << 16), generators)
def test_law_2_heals_within_a_second_while_the_camera_goes_on(seed: int, rng: np.random.Generator) -> None:
    """A burst of nothing at all, then a clean link of 60 ms: news is there a second later, still moving."""
    outage = (1.0, 2.5)
    there, back = (Link(seed + n, delay_s=0.03, outages=[outage]) for n in range(2))
    world = World(GRID, there, back, calm(caps=Caps(60.0, 600.0), pan=False))
    for k in range(45):
        world.run(k / FPS)
        world.frame(blocks(rng, GRID))
    world.run(4.5)
    check_shown(world)
    assert any(outage[1] < update.capture_ms / 1000 <= outage[1] + 1.0 for update in world.updates)
    shown = world.receiver.canvas
    assert shown is not None
    assert shown.version == world.sender.canvas.version
    assert shown == world.sender.canvas


def test_a_perfect_network_shows_every_version_at_once() -> None:
    world = World(GRID, Link(0), Link(1), calm(caps=Caps(100.0, 1000.0)))
    rng = np.random.default_rng(0)
    for k in range(20):
        world.run(k / FPS)
        world.frame(blocks(rng, GRID))
        world.run(k / FPS + 0.001)
        assert world.receiver.canvas == world.sender.canvas
    assert [update.canvas.version for update in world.updates] == list(world.made)[1:]


def test_a_refresh_begins_again_from_blank() -> None:
    world = World(GRID, Link(0, delay_s=0.02), Link(1, delay_s=0.02), calm(caps=Caps(100.0, 1000.0)))
    still = blocks(np.random.default_rng(0), GRID)
    for k in range(60):
        world.run(k / FPS)
        if k == 30:
            world.receiver.session.request_refresh("test", world.now)
        world.frame(still)
    check_shown(world)
    again = [update for update in world.updates if update.capture_ms > 3000]
    assert again[0].base == blank(GRID)
    shown = world.receiver.canvas
    assert shown is not None
    assert shown == world.sender.canvas
    assert (shown.depth[shown.visible()] == LEVELS).all()


# The receiver alone: law 6


def lone_receiver() -> Receiver:
    """A receiver that was greeted and knows nothing yet."""
    receiver = Receiver(Session(Role.RECEIVER, codec_hash=b"", meta={}, now=0.0, wall_ms=0), tables())
    sender = Session(
        Role.SENDER, codec_hash=b"", meta=hello(GRID, FPS, "test"), now=0.0, wall_ms=0, session_id=bytes(16)
    )
    for _, data in sender.datagrams_to_send(0.0):
        for event in receiver.session.receive_datagram(data, 0.0):
            receiver.on_event(event, 0.0)
    list(receiver.session.datagrams_to_send(0.0))
    return receiver


def deliver(receiver: Receiver, now: float, packet: Delta | Heartbeat) -> Update | None:
    """The update that a packet brings."""
    updates = [receiver.on_event(event, now) for event in receiver.session.receive_datagram(push_packet(packet), now)]
    return next((update for update in updates if update is not None), None)


def asks(receiver: Receiver, now: float) -> bool:
    """Whether a request to begin again leaves now."""
    packets = [pull_packet(data) for _, data in receiver.session.datagrams_to_send(now)]
    return any(isinstance(packet, RefreshRequest) for packet in packets)


def nothing(base: Canvas) -> bytes:
    return encode_payload(base, no_edits(base.grid.rows, base.grid.cols), tables())


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=200), st.one_of(st.none(), st.integers(0, 2**32 - 1)))
def test_law_6_any_payload_is_a_canvas_or_a_request_to_begin_again(payload: bytes, state_hash: int | None) -> None:
    receiver = lone_receiver()
    update = deliver(receiver, 0.1, Delta(1, 0, 0, payload, state_hash))
    if update is None:
        assert receiver.rejected == 1
        assert receiver.canvas == blank(GRID)
        assert asks(receiver, 0.1)
    else:
        assert state_hash is None or update.canvas.state_hash() == state_hash
        assert receiver.canvas is update.canvas


def test_a_wrong_hash_asks_to_begin_again() -> None:
    receiver = lone_receiver()
    update = deliver(receiver, 0.1, Delta(1, 0, 0, nothing(blank(GRID)), None))
    assert update is not None
    deliver(receiver, 0.2, Heartbeat(1, update.canvas.state_hash()))
    assert not asks(receiver, 0.2)
    deliver(receiver, 0.3, Heartbeat(1, update.canvas.state_hash() ^ 1))
    assert asks(receiver, 0.3)


def test_canvases_are_kept_within_bounds() -> None:
    receiver = lone_receiver()
    for version in range(1, 300):
        payload = nothing(receiver.canvas or blank(GRID))
        update = deliver(receiver, version / 10, Delta(version, int(version > 1), 0, payload, None))
        assert update is not None
        assert receiver.canvas is update.canvas
        assert update.base.version == version - 1
    assert deliver(receiver, 40.0, Delta(300, 200, 0, payload, None)) is None
    assert receiver.canvas is update.canvas


@pytest.mark.parametrize(
    "meta",
    [
        {},
        {"width": "64", "height": 64},
        {"width": 64},
        {"width": 65, "height": 64},
        {"width": 0, "height": 32},
        {"width": 64, "height": 16},
    ],
)
def test_greetings_that_describe_no_stream_are_refused(meta: dict[str, object]) -> None:
    with pytest.raises(RemoteProtocolError, match="the greeting"):
        lone_receiver().on_event(Connected(bytes(16), meta, 0), 0.0)
