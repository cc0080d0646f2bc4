"""Fewer acknowledgements below a data channel: aiortc's SCTP answers every packet, RFC 9260 (6.2) lets it wait.

    packet --> nothing missing, none waits: wait DELAY_S --the next packet, or time--> one SACK for both
               something missing, or twice there: SACK now

Each SACK is a packet of some 90 bytes; at a few small updates a second they are a fifth of what crosses the network.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

DELAY_S = 0.2  # at most, as the RFC has it: peers count on it
_PARTS = ("_send_sack", "_sack_needed", "_sack_misordered", "_sack_duplicates")


def patient(sctp: Any) -> None:
    """Have this transport of aiortc's wait with its SACKs; one that is built otherwise stays as it is."""
    if all(hasattr(sctp, part) for part in _PARTS):
        sctp._send_sack = _Sacks(sctp).asked


class _Sacks:
    """Of one transport: sends them in its place."""

    def __init__(self, sctp: Any) -> None:
        self._sctp, self._send = sctp, sctp._send_sack
        self._timer: asyncio.TimerHandle | None = None
        self._sending: asyncio.Task[None] | None = None

    async def asked(self) -> None:
        """The transport has taken a packet in that is to be acknowledged."""
        if self._timer is None and not self._sctp._sack_misordered and not self._sctp._sack_duplicates:
            self._sctp._sack_needed = False  # else the next packet is answered whatever it carries
            self._timer = asyncio.get_running_loop().call_later(DELAY_S, self._late)
            return
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        await self._send()

    def _late(self) -> None:
        self._timer = None
        self._sending = asyncio.get_running_loop().create_task(self._send_late())

    async def _send_late(self) -> None:
        with suppress(ConnectionError):  # closed meanwhile
            await self._send()
