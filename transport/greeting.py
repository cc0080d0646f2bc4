"""How two ends meet: what this one says of itself, whom it refuses, and when it greets again."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Any

from transport.errors import LocalProtocolError
from transport.states import Role
from transport.wire import (
    ALL_FEATURES,
    MAX_CODEC_HASH,
    SESSION_ID_BYTES,
    CloseCode,
    Feature,
    Hello,
    Welcome,
    push_packet,
)

_HELLO_AT_LEAST = 0.5  # seconds between two, however long nobody answers
_DOUBLINGS = 64  # of the time between two: a float holds no more than a thousand


class Greeter:
    """One end's side of the handshake; the session says when, and moves its state."""

    def __init__(
        self,
        role: Role,
        session_id: bytes | None,
        codec_hash: bytes,
        meta: Mapping[str, Any],
        wall_ms: int,
        *,
        resumes: bool,
    ) -> None:
        if session_id is not None and len(session_id) != SESSION_ID_BYTES:
            raise LocalProtocolError(f"session id must be {SESSION_ID_BYTES} bytes, not {len(session_id)}")
        if len(codec_hash) > MAX_CODEC_HASH:
            raise LocalProtocolError(f"codec hash is longer than {MAX_CODEC_HASH} bytes")
        if session_id is None and role is Role.SENDER:
            session_id = secrets.token_bytes(SESSION_ID_BYTES)
        self.session_id = session_id
        self.agreed = Feature(0)
        self.hellos = 0  # since greeting began
        self.hello_at: float | None = None  # when the next is due
        self._role, self._codec_hash, self._meta, self._wall_ms = role, codec_hash, dict(meta), wall_ms
        self._features = ALL_FEATURES if resumes else ALL_FEATURES & ~Feature.RESUME
        push_packet(self.packet(Hello, resumed=False))

    def packet(self, kind: type[Hello] | type[Welcome], *, resumed: bool) -> Hello | Welcome:
        """A greeting of ours."""
        session_id = self.session_id or bytes(SESSION_ID_BYTES)
        return kind(
            session_id, self._role, self._codec_hash, self._meta, self._wall_ms, int(self._features), resumed
        )  # fmt: skip

    def foreign(self, greeting: Hello | Welcome) -> bool:
        """Whether it is of another session than ours; the first Hello says which that is."""
        return self.session_id is not None and greeting.session_id != self.session_id

    def refusal(self, greeting: Hello | Welcome) -> tuple[CloseCode, str] | None:
        """Why we cannot talk to each other, if so."""
        if greeting.role is self._role:
            return CloseCode.PROTOCOL_ERROR, f"both ends are {self._role.value}s"
        if greeting.codec_hash != self._codec_hash:
            ours, theirs = self._codec_hash.hex()[:16], greeting.codec_hash.hex()[:16]
            return (
                CloseCode.CODEC_MISMATCH,
                f"codec {theirs} met codec {ours}: use the same weights on both ends",
            )
        return None

    def meet(self, greeting: Hello | Welcome) -> None:
        """Take the peer in: its session is ours, and what both can do is used."""
        self.session_id = greeting.session_id
        self.agreed = self._features & Feature(greeting.features & ALL_FEATURES)
        self.stop()

    def start(self, now: float) -> None:
        """Greet from now on."""
        self.hello_at, self.hellos = now, 0

    def stop(self) -> None:
        """Greet no more."""
        self.hello_at = None

    def due(self, now: float, interval: float) -> bool:
        """Whether a Hello is to leave now; the next comes later and later."""
        if self.hello_at is None or now < self.hello_at:
            return False
        self.hello_at = now + min(interval * 2.0 ** min(self.hellos, _DOUBLINGS), _HELLO_AT_LEAST)
        self.hellos += 1
        return True
