"""The canvas as a picture over HTTP: drawn when it is asked for, at most so often, for who may ask."""

from __future__ import annotations

import asyncio

import cv2
import numpy as np
import pytest
from aiohttp import ClientSession

from tests.vidtok.fakes import random_canvas
from tests.vidtok.test_mind import run
from transport.adapters.webrtc import WebRtcListener
from vidtok.canvas import Canvas, Grid, blank
from vidtok.live import showing
from vidtok.live.showing import add_pictures


async def nobody(_: object) -> None:
    raise AssertionError("no stream comes this way")


def test_a_stream_is_shown_to_who_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(showing, "EVERY_S", 0.2)
    grid = Grid(96, 64)
    canvases: dict[str, Canvas] = {"stream 1": blank(grid)}

    async def check() -> None:
        listener = WebRtcListener("127.0.0.1", 0, token="sesame", on_endpoint=nobody)
        add_pictures(listener, lambda: canvases)
        await listener.start()
        url = f"http://127.0.0.1:{listener.port}/picture?stream=stream%201"
        inside = {"Authorization": "Bearer sesame"}
        try:
            async with ClientSession() as client:
                assert (await client.get(url)).status == 401
                assert (await client.get(url.replace("1?", "2?") + "2", headers=inside)).status == 404
                first = await client.get(url, headers=inside)
                picture = cv2.imdecode(np.frombuffer(await first.read(), np.uint8), cv2.IMREAD_COLOR)
                assert (first.status, picture.shape) == (200, (64, 96, 3))
                has = inside | {"If-None-Match": first.headers["ETag"]}
                assert (await client.get(url, headers=has)).status == 304
                canvases["stream 1"] = random_canvas(grid, np.random.default_rng(1), version=7)
                assert (await client.get(url, headers=has)).status == 304, "not so often"
                await asyncio.sleep(0.3)
                newer = await client.get(url, headers=has)
                assert (newer.status, newer.headers["ETag"]) == (200, '"7"')
        finally:
            await listener.close()

    run(check)
