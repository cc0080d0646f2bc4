"""`loopback://name`: a listener and those who connect to it within one event loop."""

from __future__ import annotations

from asyncio import get_running_loop
from collections.abc import Sequence

from transport.adapters.admission import REFUSALS, Admission, Sessions, bearer
from transport.adapters.loopback import LoopbackEndpoint, loopback_pair
from transport.adapters.registry import OnEndpoint
from transport.errors import PeerError

_UNLIMITED = 1e6
_listeners: dict[str, LoopbackListener] = {}


class LoopbackListener:
    """Can be reached under its name from `start` to `close`."""

    port = 0

    def __init__(self, name: str, *, token: str | None, on_endpoint: OnEndpoint, max_sessions: int = 8) -> None:
        self.name, self._on_endpoint = name, on_endpoint
        self._admission = Admission("localhost", token=token, max_sessions=max_sessions, offers_per_second=_UNLIMITED)
        self._sessions = Sessions()

    @property
    def sessions(self) -> int:
        """Sessions that are open."""
        return len(self._sessions)

    async def start(self) -> None:
        """Take the name."""
        if _listeners.setdefault(self.name, self) is not self:
            raise PeerError(f"somebody listens on loopback://{self.name} already: choose another name")

    async def close(self) -> None:
        """End every session and give the name back."""
        if _listeners.get(self.name) is self:
            del _listeners[self.name]
        await self._sessions.close()

    def join(self, token: str | None) -> LoopbackEndpoint:
        """The other end of a new session."""
        now = get_running_loop().time()
        authorization = bearer(token).get("Authorization", "")
        refusal = self._admission.identity(authorization, "localhost") or self._admission.room(self.sessions, now)
        if refusal is not None:
            self._admission.refused(refusal.reason, f"loopback://{self.name}", now)
            raise PeerError(f"loopback://{self.name} {REFUSALS[refusal.status]}")
        ours, theirs = loopback_pair()
        self._sessions.start(ours, self._on_endpoint)
        return theirs


class LoopbackAdapter:
    """`loopback://name`."""

    async def connect(
        self, url: str, *, token: str | None, ice_servers: Sequence[str], timeout: float
    ) -> LoopbackEndpoint:
        """Join the listener of that name."""
        listener = _listeners.get(_name(url))
        if listener is None:
            raise PeerError(f"{url} cannot be reached: nobody in this process listens under that name")
        return listener.join(token)

    def listen(
        self, url: str, on_endpoint: OnEndpoint, *, token: str | None, max_sessions: int, ice_servers: Sequence[str]
    ) -> LoopbackListener:
        """A listener of that name."""
        return LoopbackListener(_name(url), token=token, on_endpoint=on_endpoint, max_sessions=max_sessions)


def _name(url: str) -> str:
    return url.partition("://")[2].strip("/")
