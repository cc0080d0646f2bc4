"""The other process of the WebRTC test: listens, shows what it receives, prints when it is in step."""

from __future__ import annotations

import asyncio
import sys
import zlib

from tests.transport.toy import ToyReceiver, new_session
from transport import Role
from transport.adapters.connection import Connection
from transport.adapters.webrtc import WebRtcListener
from transport.adapters.webrtc_endpoint import WebRtcEndpoint


async def show(endpoint: WebRtcEndpoint) -> None:
    now = asyncio.get_running_loop().time()
    toy = ToyReceiver(new_session(Role.RECEIVER, now))
    async with Connection(toy.session, endpoint) as connection:
        async for event in connection.events():
            toy.take([event], connection.clock())
            toy.session.send_feedback({"shown": zlib.crc32(toy.shown)}, connection.clock())
            connection.flush()
    print(f"shown {zlib.crc32(toy.shown)} closed {toy.session.closed}", flush=True)


async def main(token: str) -> None:
    listener = WebRtcListener(port=0, token=token, on_endpoint=show, max_sessions=1)
    await listener.start()
    print(listener.port, flush=True)
    try:
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    finally:
        await listener.close()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
