"""A recording sent as a live sender would: the same where nothing is lost, as good soon after where something is."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import urllib.request
from collections.abc import Iterable
from dataclasses import replace
from functools import cache, partial
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_gate.budget import Caps
from edge_gate.scene import Scene
from edge_gate.wishes import Wishes
from tests.vidtok.command import VIDTOK, serving_once, vidtok
from tests.vidtok.fakes import World, calm, generators, grids, random_canvas
from transport import Link, Session
from transport.adapters.file import FileReader
from transport.errors import RecordingError
from transport.wire import Delta, pull_packet
from vidtok.canvas import Grid, blank
from vidtok.codec import patch
from vidtok.edits import Kind
from vidtok.entropy import load_tables
from vidtok.live.receiver import Receiver, Update
from vidtok.live.recording import Replay, encode
from vidtok.live.replaying import Teller, between, resend
from vidtok.live.sender import SendConfig
from vidtok.tokenizer.fsq import known

SIZE = (176, 112)
GRID = Grid(*SIZE)
ready = cache(load_tables)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dozen frames of the built-in scene, recorded."""
    path = tmp_path_factory.mktemp("replaying") / "scene.vtk"
    for _ in encode(Scene(SIZE, variant="tour", duration_s=1.2), path, SendConfig(caps=Caps(60.0, 600.0))):
        pass
    return path


@pytest.fixture(scope="module")
def recorded(path: Path) -> list[tuple[float, Update]]:
    return list(Replay(path, ready()))


class Replayed(World):
    """Both ends over two links, and a recording in the camera's place."""

    def __init__(self, there: Link, back: Link) -> None:
        super().__init__(GRID, there, back, calm())
        session: Session = self.sender.session
        self.sender = self.teller = Teller(GRID, session, ready())  # type: ignore[assignment]
        self.receiver = Receiver(self.receiver.session, ready())
        self.run(1.0)

    def play(self, recorded: list[tuple[float, Update]], rest_s: float = 0.0) -> None:
        """All of it at its times, then wait; what waits is looked at often."""
        began = self.now
        for seconds, update in recorded:
            self.watch(began + seconds)
            self.teller.show(update, self.now, self.now)
        self.watch(self.now + rest_s)

    def watch(self, until: float) -> None:
        while self.now < until:
            self.run(min(until, self.now + 0.05))
            if self.teller.waits:
                self.teller.tell(self.now, self.now)
        self.run(self.now)

    @property
    def hashes(self) -> list[int]:
        return [update.canvas.state_hash() for update in self.updates]


def payloads(packets: Iterable[bytes]) -> list[bytes]:
    """Of the deltas among them."""
    return [packet.payload for data in packets if isinstance(packet := pull_packet(data), Delta)]


def test_where_nothing_is_lost_the_same_bytes_are_sent(path: Path, recorded: list[tuple[float, Update]]) -> None:
    class Tapped(Link):
        def push(self, data: bytes, now: float) -> None:
            packets.append(data)
            super().push(data, now)

    packets: list[bytes] = []
    live = Replayed(Tapped(0), Link(1))
    live.play(recorded, rest_s=0.5)
    assert live.hashes == [update.canvas.state_hash() for _, update in recorded]
    sent, before = payloads(packets), payloads(record.data for record in FileReader(path))
    assert len(sent) > 5
    assert sent == before
    assert live.teller.settled
    assert live.teller.tokens == sum(update.edits.tokens for _, update in recorded)
    assert live.teller.versions == len(recorded)


@pytest.mark.parametrize("seed", range(4))
def test_what_is_lost_is_made_up_for(recorded: list[tuple[float, Update]], seed: int) -> None:
    live = Replayed(Link(seed, loss=0.4, delay_s=0.05), Link(seed + 100, loss=0.2, delay_s=0.05))
    live.play(recorded, rest_s=6.0)
    assert live.receiver.rejected == 0
    assert live.hashes[-1] == recorded[-1][1].canvas.state_hash()
    assert live.teller.settled


def test_the_receivers_caps_are_obeyed_and_all_is_told_in_the_end(recorded: list[tuple[float, Update]]) -> None:
    live = Replayed(Link(0), Link(1))
    live.receiver.wish(Wishes(kbps=8.0, tokens_per_s=9.0), live.now)
    live.run(live.now + 0.2)
    live.play(recorded, rest_s=30.0)
    told = [(update.capture_ms, update.edits.tokens) for update in live.updates]
    assert len(told) > 5
    for first, _ in told:
        assert sum(tokens for at, tokens in told if 0 <= at - first < 1000) <= 9
    assert live.hashes[-1] == recorded[-1][1].canvas.state_hash()


def test_nothing_is_told_twice(recorded: list[tuple[float, Update]]) -> None:
    live = Replayed(Link(0), Link(1))
    live.play(recorded, rest_s=0.5)
    versions = live.teller.versions
    for _ in range(5):
        live.teller.tell(live.now, live.now)
        live.run(live.now + 0.3)
    assert live.teller.versions == versions
    assert not live.teller.waits


@given(generators, grids, st.sampled_from([0, 40, 1000]))
def test_the_edits_between_two_canvases_lead_from_one_to_the_other(
    rng: np.random.Generator, grid: Grid, span: int
) -> None:
    base, wanted = (random_canvas(grid, rng, span=span) for _ in range(2))
    for one in (base, blank(grid)):
        reached = patch(one, between(one, wanted), 9)
        seen = wanted.visible() & (wanted.depth > 0)
        assert reached.position == wanted.position
        assert (reached.depth[seen] == wanted.depth[seen]).all()
        assert (reached.values[seen] == wanted.values[seen]).all()
        assert reached.gist_depth >= wanted.gist_depth
        assert between(reached, wanted).tokens == 0
    assert between(wanted, wanted).tokens == 0


def test_between_two_canvases_more_levels_are_a_refinement() -> None:
    canvas = blank(GRID)
    two, three = (np.full_like(canvas.depth, levels) for levels in (2, 3))
    whole = replace(canvas, depth=three, values=5 * known(three).astype(np.uint8))
    edits = between(replace(canvas, depth=two, values=5 * known(two).astype(np.uint8)), whole)
    assert (edits.kind == Kind.REFINE * whole.visible()).all()


def test_a_recording_without_a_picture_is_not_sent(tmp_path: Path) -> None:
    path = tmp_path / "empty.vtk"
    for _ in encode(Scene(SIZE, variant="still", duration_s=0.2), path, SendConfig(caps=Caps(0.001, 1.0))):
        pass
    with pytest.raises(RecordingError, match="holds no picture"):
        asyncio.run(resend(Replay(path), "http://127.0.0.1:9", token=None))


@pytest.mark.slow
def test_the_command_replays_to_a_server(path: Path, recorded: list[tuple[float, Update]]) -> None:
    with serving_once() as (url, told):
        command = [*VIDTOK, "replay", path, "--to", url, "--speed", "2", "--stay"]
        heeding = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)  # whoever runs the tests may ignore it
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, preexec_fn=heeding) as replaying:
            assert replaying.stdout is not None
            said = [replaying.stdout.readline() for _ in range(2)]
            with urllib.request.urlopen(url + "/streams", timeout=20) as answer:
                streams = json.load(answer)["streams"]
            replaying.send_signal(signal.SIGINT)
            replaying.wait(60)
        rows = told()
    connected = next(row for row in rows if row["event"] == "connected")
    assert (connected["width"], connected["height"], connected["source"]) == (*SIZE, "scene:tour")
    assert connected["fps"] == 20
    hashes = [row["state_hash"] for row in rows if row["event"] == "update"]
    assert hashes[-1] == recorded[-1][1].canvas.state_hash()
    assert next(row for row in rows if row["event"] == "closed")["code"] == 0
    assert said[0].startswith("replayed in 0.6 s")
    assert f"vidtok ask {url}" in said[1]
    assert [stream["source"] for stream in streams] == ["scene:tour"]
    assert replaying.returncode == 130


def test_replaying_to_nobody_and_what_is_no_recording_are_one_line(path: Path, tmp_path: Path) -> None:
    other = tmp_path / "letter.vtk"
    other.write_text("Dear reader")
    for file, words in ((path, "is the server running?"), (other, "not a vidtok recording")):
        out = vidtok("replay", file, "--to", "http://127.0.0.1:9")
        assert out.returncode == 1
        assert len(out.stderr.splitlines()) == 1
        assert words in out.stderr
