"""Every exception this package raises on purpose.

    TransportError
    ├── ProtocolError
    │   ├── LocalProtocolError      our side misused the API
    │   └── RemoteProtocolError     the peer's bytes make no sense
    │       └── RecordingError      ... or a recording's bytes
    ├── ConnectionClosed            the session is over (code, reason)
    └── PeerError                   the peer cannot be reached, or refused us

The contract is closed: any bytes from outside give a value or a `RemoteProtocolError`.
"""

from __future__ import annotations


class TransportError(Exception):
    """The root of every exception raised here."""


class ProtocolError(TransportError):
    """A rule of the protocol was broken."""


class LocalProtocolError(ProtocolError):
    """Our own side asked for something that the protocol does not allow."""


class RemoteProtocolError(ProtocolError):
    """Bytes from the other side that are not valid."""


class RecordingError(RemoteProtocolError):
    """A recording that cannot be read; the message names file, offset and what to do."""


class ConnectionClosed(TransportError):  # noqa: N818 - the established word for it
    """The session is over; `code` and `reason` say why."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(f"closed with code {code}: {reason}" if reason else f"closed with code {code}")
        self.code = code
        self.reason = reason


class PeerError(TransportError):
    """The peer cannot be reached or refused the session; the message names it and what to do."""
