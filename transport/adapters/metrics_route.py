"""Metrics over HTTP, for whoever a listener would let open a session: the same token, the same host names.

GET /metrics   Authorization: Bearer TOKEN
200 the text   401 token  403 host
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from transport.adapters.http_listener import HttpListener
from transport.metrics import CONTENT_TYPE, exposition
from transport.session import Session

from aiohttp import web  # isort: skip - after our own, which says what to install when it is missing


def add_metrics(
    listener: HttpListener,
    sessions: Callable[[], Mapping[str, Session]],
    path: str = "/metrics",
    more: Callable[[], str] = str,
) -> None:
    """Answer at `path` with what `sessions()` returns, by name, and the exposition of the application's own that
    `more()` returns; call it before the listener's `start`.
    """

    async def answer(request: web.Request) -> web.Response:
        text = exposition(sessions()) + more()
        return web.Response(body=text.encode(), headers={"Content-Type": CONTENT_TYPE})

    listener.app.router.add_get(path, listener.guarded(answer))
