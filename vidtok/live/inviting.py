"""A way in for another device: a link that works once, and a QR code of it for the terminal.

    https://192.168.1.5:8080/#TICKET --page--> POST /session {"ticket": "..."} --> {"token": "..."}
                                                             a second time    --> 401

What stands after # is sent to no server and into no log of one; the page takes it out of the address bar at once.
"""

from __future__ import annotations

import hmac
import json
import secrets
import socket
from collections.abc import Callable

from transport.adapters.admission import Refusal
from transport.adapters.http_listener import HttpListener

from aiohttp import web  # isort: skip - after our own, which says what is missing

USED = Refusal(401, "wrong-ticket", "this link was used already, or is none: take the one the server printed last")
ANYWHERE = ("0.0.0.0", "::", "")


class Invitations:
    """Links to the page at `address`, of which one is good at a time; `invite` is told of each."""

    def __init__(self, listener: HttpListener, invite: Callable[[str], None]) -> None:
        self._listener, self._invite = listener, invite
        self._address, self._ticket = "", ""
        listener.app.router.add_post("/session", self._trade)

    def begin(self, address: str) -> None:
        """Make the first link."""
        self._address = address.rstrip("/")
        self._next()

    def _next(self) -> None:
        self._ticket = secrets.token_urlsafe(12)
        self._invite(f"{self._address}/#{self._ticket}")

    async def _trade(self, request: web.Request) -> web.Response:
        ticket = _ticket(await self._listener.body(request))
        if not self._ticket or not hmac.compare_digest(ticket.encode(), self._ticket.encode()):
            return self._listener.refuse(request, USED)
        self._next()
        return web.json_response({"token": self._listener.admission.grant()}, headers={"Cache-Control": "no-store"})


def _ticket(body: str) -> str:
    try:
        told = json.loads(body)
    except ValueError:
        told = None
    if not isinstance(told, dict) or not isinstance(told.get("ticket"), str):
        raise web.HTTPBadRequest(text='send {"ticket": "what stands after # in the link"}')
    return str(told["ticket"])


def reachable(host: str) -> str:
    """The name under which other devices reach a server that listens there: this machine's address on its network."""
    if host not in ANYWHERE:
        return host
    family = socket.AF_INET6 if host == "::" else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as asking:
        try:
            asking.connect(("2001:db8::1" if host == "::" else "192.0.2.1", 9))  # sends nothing: only picks a route
            return str(asking.getsockname()[0])
        except OSError:
            return "localhost"


def qr(text: str) -> str:
    """A QR code for a terminal, two rows of it to a line; empty without `segno`."""
    try:
        import segno
    except ImportError:
        return ""
    rows = [list(row) for row in segno.make(text, error="l", micro=False).matrix_iter(border=2)]
    rows += [[0] * len(rows[0])] * (len(rows) % 2)
    blocks = {(0, 0): "█", (0, 1): "▀", (1, 0): "▄", (1, 1): " "}  # dark modules are the terminal's own background
    pairs = zip(rows[::2], rows[1::2], strict=True)
    return "\n".join("".join(blocks[bool(a), bool(b)] for a, b in zip(*pair, strict=True)) for pair in pairs)
