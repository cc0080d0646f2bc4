"""The canvas as the viewer shows it, over HTTP: for whoever looks, and only while somebody looks.

    GET /picture?stream=NAME   Authorization: Bearer TOKEN
    200 a JPEG of the newest canvas, ETag: its version   304 the client has it   401 token   403 host   404 stream

A picture is drawn when it is asked for, one at a time and at most every EVERY_S a stream; until then the last one is
given again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from transport.adapters.http_listener import HttpListener
from vidtok.canvas import Canvas

from aiohttp import web  # isort: skip - after our own, which says what is missing

if TYPE_CHECKING:
    from vidtok.model.viewer import CanvasViewer

EVERY_S = 0.5


@dataclass(frozen=True)
class _Drawn:
    """One stream's picture."""

    canvas: Canvas
    jpeg: bytes
    at_s: float


class Pictures:
    """Draws canvases that are looked at."""

    def __init__(self) -> None:
        self._viewer: CanvasViewer | None = None
        self._drawn: dict[str, _Drawn] = {}
        self._one = asyncio.Lock()

    async def picture(self, name: str, canvas: Canvas, now: float) -> tuple[int, bytes]:
        """The version that is shown, and its JPEG."""
        async with self._one:
            drawn = self._drawn.get(name)
            if drawn is None or (drawn.canvas is not canvas and now - drawn.at_s >= EVERY_S):
                drawn = _Drawn(canvas, await asyncio.to_thread(self._draw, canvas), now)
                self._drawn[name] = drawn
        return drawn.canvas.version, drawn.jpeg

    def keep(self, names: Mapping[str, object]) -> None:
        """Forget the pictures of streams that are no more."""
        self._drawn = {name: drawn for name, drawn in self._drawn.items() if name in names}

    def _draw(self, canvas: Canvas) -> bytes:
        from vidtok.live.pictures import jpeg
        from vidtok.model.viewer import CanvasViewer

        self._viewer = self._viewer or CanvasViewer()
        return jpeg(self._viewer.show(canvas))


def add_pictures(listener: HttpListener, canvases: Callable[[], Mapping[str, Canvas]]) -> None:
    """Show the newest canvas of every stream that `canvases()` names; before `start`."""
    pictures = Pictures()

    async def answer(request: web.Request) -> web.Response:
        there, name = canvases(), request.query.get("stream", "")
        pictures.keep(there)
        if name not in there:
            raise web.HTTPNotFound(text=f"there is no stream {name!r}; there are {', '.join(there) or 'none now'}")
        version, jpeg = await pictures.picture(name, there[name], asyncio.get_running_loop().time())
        headers = {"ETag": f'"{version}"', "Cache-Control": "no-cache"}
        if headers["ETag"] == request.headers.get("If-None-Match"):
            return web.Response(status=304, headers=headers)
        return web.Response(body=jpeg, content_type="image/jpeg", headers=headers)

    listener.app.router.add_get("/picture", listener.guarded(answer))
