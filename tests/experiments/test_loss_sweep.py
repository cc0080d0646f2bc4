"""Our stream and what others would send, over bad networks in virtual time: what is watched is true."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edge_gate.scene import Scene
from experiments import baseline_sctp, baseline_tcp, loss_greedy, loss_run, loss_sweep
from experiments.loss_run import OPEN_S, Remembered, Taped, Watched
from experiments.networks import Network, bursts, networks
from experiments.staleness import percentile
from experiments.systems import Clip, clip_of
from transport.config import SessionConfig
from transport.impair import Link
from vidtok.live.sender import SendConfig

NETWORKS = {network.name: network for network in networks(needed_bps=8000.0)}


@pytest.fixture(scope="module")
def clip() -> Clip:
    scene = Scene(size=(128, 128), fps=10, variant="tour", noise=False)
    return clip_of("tour", 10.0, [scene.frame(k) for k in range(20)])


@pytest.fixture(scope="module")
def encoder() -> Remembered:
    return Remembered(loss_run.encoder())


@pytest.fixture(scope="module")
def taped(clip: Clip, encoder: Remembered) -> Taped:
    return loss_run.tape(clip, encoder, SendConfig())


def age_ms(watched: Watched, percent: float) -> float:
    return percentile(loss_sweep.teeth_of(watched), percent) * 1000


@pytest.mark.parametrize("name", ["no loss", "random 30%", "bursty 30%", "congested", "geo"])
def test_both_ends_come_to_the_same_and_nothing_wrong_is_shown(clip: Clip, encoder: Remembered, name: str) -> None:
    watched = loss_run.ours(clip, encoder, SendConfig(), SessionConfig(), NETWORKS[name].links(1))
    assert (watched.equal, watched.wrong) == (True, 0)
    assert watched.tokens > 0
    assert watched.wire_bytes > watched.payload_bytes > 0


def test_over_a_perfect_link_ours_sends_what_the_tape_holds(clip: Clip, encoder: Remembered, taped: Taped) -> None:
    watched = loss_run.ours(clip, encoder, SendConfig(), SessionConfig(), (Link(0), Link(1)))
    assert (watched.payload_bytes, watched.tokens) == (taped.payload_bytes, taped.tokens)
    assert taped.keys == {0}
    assert age_ms(watched, 95) <= 100


def test_a_delay_is_seen_and_no_more(clip: Clip, encoder: Remembered, taped: Taped) -> None:
    network = NETWORKS["no loss"]
    live = loss_run.ours(clip, encoder, SendConfig(), SessionConfig(), network.links(0))
    others = [
        loss_run.reliable(taped, deliver, network.links(0), network.rtt_s)
        for deliver in (baseline_sctp.deliver, baseline_tcp.deliver)
    ]
    for watched in (live, *others):
        assert watched.equal
        assert 0 < age_ms(watched, 95) < 160


def test_a_lossy_channel_waits_for_its_keyframes(clip: Clip, encoder: Remembered) -> None:
    keyed = loss_run.tape(clip, encoder, SendConfig(), 1.0)
    assert len(keyed.keys) >= 3
    network = NETWORKS["random 20%"]
    watched = loss_run.lossy(keyed, baseline_sctp.deliver, network.links(2), network.rtt_s)
    assert age_ms(watched, 95) > 250


def test_an_outage_heals(clip: Clip, encoder: Remembered) -> None:
    network = Network("cut", 0.0, 0.1, lambda seed: (cut(seed), Link(seed, delay_s=0.05)), ((4.0, 4.6),))
    watched = loss_run.ours(clip, encoder, SendConfig(), SessionConfig(), network.links(0))
    film = loss_sweep.Film("scene", "tour", (128, 128), 10.0, 2.0)
    row = loss_sweep.row_of(watched, network, film)
    assert watched.equal
    assert 0.5 <= row["heal_rtt_1"] <= 2.5
    assert json.dumps(row)


def cut(seed: int) -> Link:
    return Link(seed, delay_s=0.05, outages=((4.0, 4.6),))


def test_frames_that_build_on_what_never_came_are_not_shown() -> None:
    taped = Taped([(1.0, 0, b""), (1.1, 1, b""), (1.3, 3, b""), (1.4, 4, b"")], frozenset({0, 3}),
                  [1.0, 1.1, 1.2, 1.3, 1.4], 0, 0)  # fmt: skip
    came = {0: 1.05, 1: None, 3: 1.5, 4: 1.45}
    assert loss_run._chained(taped, came) == [1.05, None, None, 1.5, 1.5]


def test_bursts_lose_as_much_as_they_say() -> None:
    link = Link(5, gilbert=bursts(0.2))
    for _ in range(20_000):
        link.push(b"x", 0.0)
    assert link.drops["loss"] / 20_000 == pytest.approx(0.2, abs=0.02)
    assert OPEN_S > 0


def test_a_greedy_application_waits_nowhere_and_finds_the_room_again() -> None:
    told = loss_greedy.run()
    assert told.waited_max_s <= 0.2
    assert told.recovered_s is not None
    assert told.recovered_s <= 3.0


@pytest.mark.slow
def test_the_command(tmp_path: Path) -> None:
    from vidtok.live.pictures import FilmWriter

    clips, out = tmp_path / "clips", tmp_path / "out"
    clips.mkdir()
    scene = Scene(size=(256, 256), fps=10, variant="tour", noise=False)
    with FilmWriter(clips / "tour.mp4", 10) as film:
        for k in range(20):
            film.write(scene.frame(k).pixels)
    argv = ["--clips", str(clips), "--out", str(out), "--quick", "--seconds", "2", "--jobs", "1"]
    loss_sweep.run(argv)
    rows = json.loads((out / "results.json").read_text())
    assert {row["setting"] for row in rows} == set(loss_sweep.QUICK)
    assert all(row["wrong"] == 0 and row["hash_equal"] for row in rows if row["system"] == "vidtok")
    assert (out / "staleness.png").exists()
    before = (out / "results.json").read_bytes()
    loss_sweep.run(argv)
    assert (out / "results.json").read_bytes() == before
