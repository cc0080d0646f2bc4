"""`file://PATH.vtk`: an endpoint that plays a recording's packets at their times."""

from __future__ import annotations

import asyncio
from collections.abc import Generator, Sequence
from pathlib import Path
from urllib.parse import unquote

from transport.adapters.file import FileReader, Record
from transport.adapters.registry import Listener, OnEndpoint
from transport.errors import ConnectionClosed, LocalProtocolError, PeerError, RecordingError
from transport.lanes import Lane
from transport.wire import CloseCode


class ReplayEndpoint:
    """Receives what was recorded, counted from the first `receive`; what is sent to it, nobody hears."""

    def __init__(self, path: str | Path) -> None:
        self._reader = FileReader(path)
        self._records = self._play()
        self._next: Record | None = None
        self._started: float | None = None
        self._over: ConnectionClosed | None = None
        self._ended = asyncio.Event()

    def _play(self) -> Generator[Record, None, None]:
        yield from self._reader

    def send(self, lane: Lane, data: bytes) -> None:
        """Send into the void."""
        if self._over is not None:
            raise self._over

    async def receive(self) -> bytes:
        """The next packet, when its time has come; `ConnectionClosed` after the last, or where the file is damaged."""
        record = self._next = self._next or self._read()
        now = asyncio.get_running_loop().time()
        self._started = now if self._started is None else self._started
        await self._sleep(self._started + record.time_ms / 1000 - now)
        if self._over is not None:
            raise self._over
        self._next = None
        return record.data

    def _read(self) -> Record:
        if self._over is not None:
            raise self._over
        try:
            return next(self._records)
        except StopIteration:
            raise self._end(CloseCode.NORMAL, "the recording is over") from None
        except RecordingError as error:
            raise self._end(CloseCode.PROTOCOL_ERROR, str(error)) from None

    async def _sleep(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(max(0.0, seconds)):
                await self._ended.wait()
        except TimeoutError:
            pass

    def _end(self, code: int, reason: str) -> ConnectionClosed:
        self._over = self._over or ConnectionClosed(code, reason)
        self._ended.set()
        return self._over

    @property
    def buffered_amount(self) -> int:
        """Nothing ever leaves."""
        return 0

    async def close(self) -> None:
        """Stop, and close the file."""
        self._end(CloseCode.LINK_LOST, "closed by us")
        self._records.close()


class ReplayAdapter:
    """`file://PATH.vtk`, connect only."""

    async def connect(
        self, url: str, *, token: str | None, ice_servers: Sequence[str], timeout: float
    ) -> ReplayEndpoint:
        """Open the recording; `RecordingError` when it is none."""
        try:
            return ReplayEndpoint(unquote(url.partition("://")[2]))
        except (OSError, ValueError) as error:
            what = getattr(error, "strerror", None) or error
            raise PeerError(f"{url} cannot be opened ({what}): check the path") from None

    def listen(
        self, url: str, on_endpoint: OnEndpoint, *, token: str | None, max_sessions: int, ice_servers: Sequence[str]
    ) -> Listener:
        """Never possible."""
        raise LocalProtocolError(f"{url}: a recording can only be connected to")
