"""Who may come in: the same rules for every listener, and a log that a flood cannot fill.

    request ──> token, or a local name without one ──> rate ──> room ──> a session in a task of its own
                     401, 403                           429      503

Each refusal stands in `trace` under its reason; the log gets a few and then their number.
"""

from __future__ import annotations

import asyncio
import hmac
import ipaddress
import logging
import secrets
from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar
from urllib.parse import urlsplit

from transport.adapters.endpoint import Endpoint
from transport.errors import ConnectionClosed, LocalProtocolError
from transport.trace import Trace

_LOGGED_AT_ONCE = 10
_LOGGED_PER_SECOND = 0.2
MOST_GRANTED = 64
_log = logging.getLogger(__name__)
_E = TypeVar("_E", bound=Endpoint)


@dataclass(frozen=True)
class Refusal:
    """Why somebody stays outside: an HTTP status, the reason in the trace, and words for the peer."""

    status: int
    reason: str
    text: str


WRONG_TOKEN = Refusal(401, "wrong-token", "wrong or missing token")
FOREIGN_HOST = Refusal(403, "foreign-host", "only local host names without a token")
FOREIGN_ORIGIN = Refusal(403, "foreign-origin", "only local pages without a token")
TOO_MANY_OFFERS = Refusal(429, "too-many-offers", "too many offers")
NO_SESSION_FREE = Refusal(503, "no-session-free", "no session free")

# What the side that connects says when it reads these numbers.
REFUSALS = {
    401: "refused the token: check --token on both ends",
    404: "has no such path: is it a vidtok server?",
    403: "refused this host name: use localhost, or start it with a token",
    429: "gets too many offers: wait a second and try again",
    503: "is full: wait until a session ends, or raise its limit",
}


class Bucket:
    """Lets `rate` through a second, and `burst` at once after a pause."""

    def __init__(self, rate: float, burst: float) -> None:
        self._rate, self._burst = rate, burst
        self._left, self._at = burst, 0.0

    def take(self, now: float) -> bool:
        """Whether one more may pass at `now`."""
        self._left = min(self._burst, self._left + (now - self._at) * self._rate)
        self._at = now
        taken = self._left >= 1
        self._left -= taken
        return taken


class Admission:
    """One listener's rules; without a token it serves this machine only."""

    def __init__(self, host: str, *, token: str | None, max_sessions: int, offers_per_second: float) -> None:
        if not token and not is_loopback(host):
            raise LocalProtocolError(f"listening on {host} lets others in: set a token, or listen on 127.0.0.1")
        self.trace = Trace(limit=256)
        self._token, self._max_sessions = token, max_sessions
        self._granted: deque[str] = deque(maxlen=MOST_GRANTED)
        self._offers = Bucket(offers_per_second, max(1.0, offers_per_second))
        self._lines = Bucket(_LOGGED_PER_SECOND, _LOGGED_AT_ONCE)
        self._unlogged = 0

    def identity(self, authorization: str, host: str, origin: str | None = None) -> Refusal | None:
        """Check the token; without one, that the host name asked for and the page that asks are local.

        A browser lets any page reach a server on this machine, by a name of the page's own or across origins.
        """
        if self._token:
            given = authorization.encode("utf-8", "replace")
            known = [hmac.compare_digest(given, f"Bearer {each}".encode()) for each in (self._token, *self._granted)]
            return None if any(known) else WRONG_TOKEN
        if not is_loopback(_host_name(f"//{host}")):
            return FOREIGN_HOST
        return None if origin is None or is_loopback(_host_name(origin)) else FOREIGN_ORIGIN

    @property
    def asks_for_token(self) -> bool:
        """Whether anybody has to present one."""
        return bool(self._token)

    def grant(self) -> str:
        """A further token, as good as the first until so many others were granted; where there is a first."""
        if not self._token:
            raise LocalProtocolError("a listener without a token grants none: whoever is on this machine comes in")
        self._granted.append(secrets.token_urlsafe(16))
        return self._granted[-1]

    def room(self, sessions: int, now: float) -> Refusal | None:
        """Check the rate of offers, then whether one more session is allowed beside `sessions`."""
        if not self._offers.take(now):
            return TOO_MANY_OFFERS
        return NO_SESSION_FREE if sessions >= self._max_sessions else None

    def refused(self, reason: str, peer: object, now: float) -> None:
        """Note a refusal in the trace and, if there were not many of late, in the log."""
        self.trace.drop(now, reason, peer=str(peer))
        if not self._lines.take(now):
            self._unlogged += 1
            return
        more = f" ({self._unlogged} more were not logged)" if self._unlogged else ""
        _log.info("refused %s: %s%s", peer, reason, more)
        self._unlogged = 0


class Sessions:
    """The sessions of one listener, each in a task of its own."""

    def __init__(self) -> None:
        self._running: dict[asyncio.Task[None], Endpoint] = {}
        self._opening = 0

    def __len__(self) -> int:
        return len(self._running) + self._opening

    @contextmanager
    def opening(self) -> Iterator[None]:
        """Count a session that does not run yet."""
        self._opening += 1
        try:
            yield
        finally:
            self._opening -= 1

    def start(self, endpoint: _E, serve: Callable[[_E], Awaitable[None]]) -> asyncio.Task[None]:
        """Run `serve(endpoint)`, then close the endpoint."""
        task = asyncio.create_task(_run(endpoint, serve))
        self._running[task] = endpoint
        task.add_done_callback(self._running.pop)
        return task

    async def close(self) -> None:
        """End them all."""
        running = dict(self._running)
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        for endpoint in running.values():
            await endpoint.close()  # a task that had not begun closed nothing


async def _run(endpoint: _E, serve: Callable[[_E], Awaitable[None]]) -> None:
    try:
        await serve(endpoint)
    except (TimeoutError, ConnectionClosed) as error:
        _log.info("a session ended: %s", str(error) or "it never opened")
    except Exception:
        _log.exception("a session failed")
    finally:
        await endpoint.close()


def bearer(token: str | None) -> dict[str, str]:
    """The header that carries the token."""
    return {"Authorization": f"Bearer {token}"} if token else {}


def is_loopback(host: str) -> bool:
    """Whether this host name or address can only be this machine."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _host_name(url: str) -> str:
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""
