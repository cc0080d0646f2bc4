"""Endpoints by URL: every scheme that is built in, those that packages add, and what is said when there is none."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.transport.meeting import TOKEN, Meeting, listening, run, until
from tests.transport.test_adapters_connection import sync
from tests.transport.toy import ToyReceiver, World, new_session
from transport import Closed, ConnectionClosed, Lane, Link, LocalProtocolError, PeerError, RecordingError, Role
from transport.adapters.connection import Connection
from transport.adapters.endpoint import Endpoint
from transport.adapters.file import FileWriter
from transport.adapters.registry import (
    Adapter,
    Listener,
    OnEndpoint,
    adapter_for,
    connect,
    host_and_port,
    listen,
    schemes,
)
from transport.adapters.webrtc import WebRtcAdapter, WebRtcEndpoint

ROOT = Path(__file__).parents[2]
BUILT_IN = ["file", "http", "https", "loopback", "udp", "webrtc", "ws", "wss"]


@pytest.mark.parametrize("scheme", ["ws", "udp", "loopback"])
def test_a_session_comes_in_step(scheme: str) -> None:
    async def main() -> None:
        meeting = Meeting()
        url = f"{scheme}://127.0.0.1:0"
        async with listening(listener := listen(url, meeting, token=TOKEN, max_sessions=1)) as port:
            url = url if scheme == "loopback" else f"{scheme}://127.0.0.1:{port}"
            sending = await connect(url, token=TOKEN)
            assert listener.sessions == 1
            with pytest.raises(PeerError):
                await connect(url, token=TOKEN)
            sender, receiver = await sync(sending, await meeting.next(), 0.2)
            assert sender.truth == receiver.shown
            meeting.part()
            await until(lambda: listener.sessions == 0)

    run(main())


@pytest.mark.parametrize(("scheme", "path"), [("webrtc", ""), ("http", "/"), ("WebRTC", "/elsewhere")])
def test_webrtc_under_its_names(scheme: str, path: str) -> None:
    async def main() -> None:
        meeting = Meeting()
        async with listening(listen(f"{scheme}://127.0.0.1:0{path}", meeting, token=TOKEN)) as port:
            ours = await connect(f"{scheme}://127.0.0.1:{port}{path}", token=TOKEN)
            assert isinstance(ours, WebRtcEndpoint)
            theirs = await meeting.next()
            ours.send(Lane.CONTROL, b"there")
            assert await theirs.receive() == b"there"
            await ours.close()

    run(main())


def test_an_unknown_scheme_is_said_with_what_is_known_and_how_to_add_one() -> None:
    for url, scheme in (("gopher://host:70", "gopher"), ("host", ""), ("", ""), ("UDPP://host:1", "udpp")):
        with pytest.raises(PeerError) as caught:
            adapter_for(url)
        words = str(caught.value)
        assert repr(scheme) in words
        assert ", ".join(BUILT_IN) in words
        assert "entry point of that name in the group transport.adapters" in words


PIGEONS = """
from transport.adapters.loopback import loopback_pair

class PigeonAdapter:
    async def connect(self, url, *, token, ice_servers, timeout):
        one, other = loopback_pair()
        other.send(0, f"{url} {token} {ice_servers} {timeout:g}".encode())
        return one

    def listen(self, url, on_endpoint, *, token, max_sessions, ice_servers):
        return [url, on_endpoint, token, max_sessions, ice_servers]
"""


@pytest.fixture
def pigeons(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A package with adapters, as pip would have installed it."""
    info = tmp_path / "pigeons-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: pigeons\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[transport.adapters]\ncarrier-pigeon = pigeons:PigeonAdapter\nhttp = pigeons:PigeonAdapter\n"
        "broken = pigeons:NoSuchAdapter\n"
    )
    (tmp_path / "pigeons.py").write_text(PIGEONS)
    monkeypatch.syspath_prepend(tmp_path)


@pytest.mark.usefixtures("pigeons")
def test_a_package_adds_a_scheme_and_replaces_none() -> None:
    async def main() -> None:
        assert schemes() == sorted([*BUILT_IN, "broken", "carrier-pigeon"])
        endpoint = await connect("Carrier-Pigeon://loft", token="t", ice_servers=("stun:s",), timeout=3)
        assert await endpoint.receive() == b"Carrier-Pigeon://loft t ('stun:s',) 3"
        meeting = Meeting()
        made: object = listen("carrier-pigeon://loft", meeting, max_sessions=2)
        assert made == ["carrier-pigeon://loft", meeting, None, 2, ()]
        assert isinstance(adapter_for("http://host"), WebRtcAdapter)
        with pytest.raises(AttributeError, match="NoSuchAdapter"):
            adapter_for("broken://x")

    run(main())


def test_an_adapter_of_ones_own_fits_the_protocol() -> None:
    class Mine:
        async def connect(self, url: str, *, token: str | None, ice_servers: Sequence[str], timeout: float) -> Endpoint:
            raise PeerError(url)

        def listen(
            self, url: str, on_endpoint: OnEndpoint, *, token: str | None, max_sessions: int, ice_servers: Sequence[str]
        ) -> Listener:
            return listen("loopback://mine", on_endpoint)

    mine: Adapter = Mine()
    assert mine.listen("x", Meeting(), token=None, max_sessions=1, ice_servers=()).port == 0


@pytest.mark.parametrize("url", ["udp://host", "ws://:80", "http://[", "ws://host:99999", "webrtc://host/path"])
def test_where_to_listen_must_be_said(url: str) -> None:
    with pytest.raises(LocalProtocolError, match="write scheme://host:port"):
        listen(url, Meeting())


def test_host_and_port() -> None:
    assert host_and_port("udp://[::1]:0") == ("::1", 0)
    assert host_and_port("ws://host:80/path?x") == ("host", 80)


def test_what_cannot_be_listened_on_says_so() -> None:
    for url in ("https://127.0.0.1:0", "wss://127.0.0.1:0/x"):
        with pytest.raises(LocalProtocolError, match="needs a certificate"):
            listen(url, Meeting())
    with pytest.raises(LocalProtocolError, match="only be connected to"):
        listen("file://a.vtk", Meeting())
    for url in ("ws://0.0.0.0:0", "udp://0.0.0.0:0", "http://0.0.0.0:0"):
        with pytest.raises(LocalProtocolError, match="set a token"):
            listen(url, Meeting())


def test_loopback_refuses_like_the_others() -> None:
    async def main() -> None:
        with pytest.raises(PeerError, match="nobody in this process"):
            await connect("loopback://here")
        listener = listen("loopback://here", Meeting(), token=TOKEN, max_sessions=1)
        async with listening(listener):
            with pytest.raises(PeerError, match="listens on loopback://here already"):
                await listen("loopback://here", Meeting()).start()
            with pytest.raises(PeerError, match="refused the token"):
                await connect("loopback://here")
            ours = await connect("loopback://here", token=TOKEN)
            with pytest.raises(PeerError, match="is full"):
                await connect("loopback://here", token=TOKEN)
        with pytest.raises(ConnectionClosed, match="other end"):
            await ours.receive()
        with pytest.raises(PeerError):
            await connect("loopback://here", token=TOKEN)

    run(main())


def record(path: Path) -> World:
    """A session in virtual time, its sender's packets written to `path` with times a tenth of theirs."""
    world = World(Link(1), Link(2))
    world.run(1.0, change=0.8)
    world.run(2.0)
    assert world.in_step()
    with FileWriter(path, {}) as writer:
        for now, lane, data in world.sent_log:
            writer.write(round(now * 100), lane, data)
    return world


def test_a_recording_plays_into_a_session(tmp_path: Path) -> None:
    async def main() -> None:
        world = record(tmp_path / "a b.vtk")
        endpoint = await connect(f"file://{tmp_path}/a%20b.vtk")
        toy = ToyReceiver(new_session(Role.RECEIVER, asyncio.get_running_loop().time()))
        async with Connection(toy.session, endpoint) as connection:
            async for event in connection.events():
                toy.take([event], connection.clock())
                connection.flush()
        assert toy.shown == world.sender.truth
        assert isinstance(toy.seen[-1], Closed)
        assert toy.seen[-1].reason == "the recording is over"
        assert endpoint.buffered_amount == 0
        for _ in range(2):
            with pytest.raises(ConnectionClosed):
                await endpoint.receive()
        with pytest.raises(ConnectionClosed):
            endpoint.send(Lane.DELTA, b"x")

    run(main())


def test_packets_of_a_recording_wait_for_their_time_and_close_ends_the_wait(tmp_path: Path) -> None:
    async def main() -> None:
        with FileWriter(tmp_path / "a.vtk", {}) as writer:
            writer.write(0, Lane.DELTA, b"now")
            writer.write(3_600_000, Lane.DELTA, b"in an hour")
        endpoint = await connect(f"file://{tmp_path}/a.vtk")
        assert await endpoint.receive() == b"now"
        endpoint.send(Lane.DELTA, b"nobody hears this")
        waiting = asyncio.create_task(endpoint.receive())
        await asyncio.sleep(0)
        assert not waiting.done()
        await endpoint.close()
        with pytest.raises(ConnectionClosed, match="closed by us"):
            await waiting
        with pytest.raises(ConnectionClosed, match="closed by us"):
            await endpoint.receive()

    run(main())


def test_a_bad_recording_says_what_is_wrong(tmp_path: Path) -> None:
    async def main() -> None:
        with pytest.raises(PeerError, match="check the path"):
            await connect(f"file://{tmp_path}/none.vtk")
        path = tmp_path / "a.vtk"
        path.write_bytes(b"no recording")
        with pytest.raises(RecordingError, match="not a vidtok recording"):
            await connect(f"file://{path}")
        with FileWriter(path, {}) as writer:
            writer.write(0, Lane.DELTA, b"whole")
        path.write_bytes(path.read_bytes()[:-1])
        endpoint = await connect(f"file://{path}")
        assert await endpoint.receive() == b"whole"
        with pytest.raises(ConnectionClosed, match="truncated"):
            await endpoint.receive()
        await endpoint.close()

    run(main())


def without(*packages: str, code: str) -> None:
    blocked = f"import sys\nsys.modules.update(dict.fromkeys({packages!r}))\n{code}"
    command = [sys.executable, "-c", blocked]
    out = subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=ROOT, check=False)
    assert out.returncode == 0, out.stderr


def test_the_registry_and_what_needs_no_package_need_none() -> None:
    code = """
import transport.adapters.registry as registry
for url in ("udp://h:1", "loopback://x", "file://x"):
    registry.adapter_for(url)
roots = {name.split(".")[0] for name, module in sys.modules.items() if module is not None}
assert not roots & {"aiohttp", "aiortc", "numpy", "cv2", "av", "torch", "vidtok", "edge_gate"}, roots
"""
    without("aiohttp", "aiortc", "numpy", code=code)


@pytest.mark.parametrize(
    ("package", "url", "words"),
    [
        ("aiohttp", "ws://h:1", "needs aiohttp: pip install 'vidtok[edge]'"),
        ("aiohttp", "http://h:1", "needs aiohttp: pip install 'vidtok[edge]'"),
        ("aiortc", "webrtc://h:1", "WebRTC needs aiortc: pip install 'vidtok[edge]'"),
    ],
)
def test_a_missing_extra_is_named(package: str, url: str, words: str) -> None:
    code = f"""
from transport.adapters.registry import adapter_for
try:
    adapter_for({url!r})
except ImportError as error:
    assert {words!r} in str(error), error
else:
    raise SystemExit("no error")
"""
    without(package, code=code)
