"""Metrics over real HTTP: for those who could open a session, and for nobody else."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp

from tests.transport.test_metrics import parse, value
from tests.transport.toy import new_session
from transport import Role, Session
from transport.adapters.metrics_route import add_metrics
from transport.adapters.webrtc import WebRtcEndpoint, WebRtcListener
from transport.metrics import CONTENT_TYPE

TOKEN = "a token of the test"


async def _ignore(endpoint: WebRtcEndpoint) -> None:
    await endpoint.receive()


def run(
    test: Callable[[aiohttp.ClientSession, str, WebRtcListener], Awaitable[None]], token: str | None, **options: Any
) -> None:
    async def main() -> None:
        listener = WebRtcListener(port=0, token=token, on_endpoint=_ignore)
        add_metrics(listener, **options)
        await listener.start()
        try:
            async with asyncio.timeout(20), aiohttp.ClientSession() as http:
                await test(http, f"http://127.0.0.1:{listener.port}", listener)
        finally:
            await listener.close()

    asyncio.run(main())


def test_a_scraper_with_the_token_reads_what_the_sessions_are_now() -> None:
    sessions: dict[str, Session] = {}

    async def test(http: aiohttp.ClientSession, url: str, listener: WebRtcListener) -> None:
        async def scrape() -> str:
            async with http.get(f"{url}/metrics", headers={"Authorization": f"Bearer {TOKEN}"}) as response:
                assert response.status == 200
                assert response.headers["Content-Type"] == CONTENT_TYPE
                return await response.text()

        assert await scrape() == ""
        sessions['a "b"\n'] = new_session(Role.RECEIVER)
        sessions['a "b"\n'].receive_datagram(b"nonsense", 0.0)
        assert value(parse(await scrape()), "bytes_received_total", 'a "b"\n') == 8

    run(test, TOKEN, sessions=lambda: sessions)


def test_without_the_token_there_are_none() -> None:
    async def test(http: aiohttp.ClientSession, url: str, listener: WebRtcListener) -> None:
        for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "Bearer tökén"}):
            async with http.get(f"{url}/metrics", headers=headers) as response:
                assert response.status == 401
                assert "transport_" not in await response.text()
        assert listener.trace.dropped("wrong-token") == 3

    run(test, TOKEN, sessions=lambda: {"a": new_session(Role.SENDER)})


def test_where_no_token_is_wanted_only_local_names_are_served() -> None:
    async def test(http: aiohttp.ClientSession, url: str, listener: WebRtcListener) -> None:
        for headers, status in (({}, 200), ({"Host": "evil.example"}, 403), ({"Origin": "http://evil.example"}, 403)):
            async with http.get(f"{url}/numbers", headers=headers) as response:
                assert response.status == status

    run(test, None, sessions=dict, path="/numbers")


def test_nothing_is_posted_there() -> None:
    async def test(http: aiohttp.ClientSession, url: str, listener: WebRtcListener) -> None:
        async with http.post(f"{url}/metrics", data=b"x") as response:
            assert response.status == 405

    run(test, None, sessions=dict)
