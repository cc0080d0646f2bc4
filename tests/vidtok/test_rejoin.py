"""A live stream whose path is cut goes on over the next one, from what both ends hold."""

from __future__ import annotations

import asyncio
from contextlib import nullcontext

import pytest

from edge_gate.source import Frame, open_source
from transport import Role, Session
from transport.adapters.connection import Connection
from transport.adapters.endpoint import Endpoint
from transport.adapters.host import Host
from transport.adapters.loopback import LoopbackEndpoint, loopback_pair
from transport.errors import PeerError
from vidtok.entropy import load_tables
from vidtok.live.edge import Edge
from vidtok.live.link import LIVE, codec_hash
from vidtok.live.receiver import Receiver
from vidtok.live.sender import Step
from vidtok.tokenizer.edge import load_info


def test_a_cut_path_is_found_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vidtok.live.uplink._LAST_RETRY_S", 0.5)

    async def main() -> None:
        loop = asyncio.get_running_loop()
        tables = load_tables()
        build = codec_hash(tables, load_info().digest)
        receivers: list[Receiver] = []
        serving: list[asyncio.Task[None]] = []
        paths: list[LoopbackEndpoint] = []
        refused: list[int] = []

        def session() -> nullcontext[Session]:
            return nullcontext(
                Session(Role.RECEIVER, codec_hash=build, meta={}, config=LIVE, now=loop.time(), wall_ms=0)
            )

        async def serve(connection: Connection) -> None:
            receivers.append(Receiver(connection.session, tables))
            async for event in connection.events():
                receivers[-1].on_event(event, connection.clock())
                connection.flush()

        host = Host(session, serve)

        async def again() -> Endpoint:
            if len(paths) == 1 and len(refused) < 2:  # the server cannot be reached at first
                refused.append(1)
                raise PeerError("nobody there")
            ours, theirs = loopback_pair()
            if len(refused) == 2:  # then a path is lost again before anybody has greeted on it
                refused.append(1)
                await theirs.close()
                return ours
            paths.append(ours)
            serving.append(asyncio.create_task(host.accept(theirs)))
            return ours

        steps: list[Step] = []

        def told(_frame: Frame, _time_s: float, step: Step) -> None:
            steps.append(step)
            if len(steps) == 8:
                loop.call_soon(lambda: asyncio.ensure_future(paths[0].close()))

        with open_source("scene", size="128", fps=10, duration_s=3.0) as source:
            edge = Edge(source)
            await edge.run(await again(), told, again)
        await asyncio.wait_for(asyncio.gather(*serving), 10)
        assert (len(paths), len(receivers), len(refused)) == (2, 1, 3)
        (receiver,) = receivers
        assert receiver.canvas is not None
        assert receiver.canvas.version >= steps[7].version
        assert receiver.canvas.version == steps[-1].version
        assert receiver.rejected == 0
        assert max(step.payload_bytes for step in steps[12:]) < steps[0].payload_bytes  # not from blank

    asyncio.run(main())
