"""The session's two twins side by side: what one was asked, and what it said, is asked of the other.

test --> Recorded --> transport.Session          Recorded.calls, Recorded.told --> the same calls of JavaScript
test --> InJavaScript --> session_twin.mjs       a Session to whoever uses it
"""

from __future__ import annotations

import math
import struct
from base64 import b64decode
from collections.abc import Mapping
from dataclasses import fields
from functools import partial
from typing import Any

from hypothesis import Phase, settings
from hypothesis import strategies as st

import transport
from tests.transport.toy import CODEC, SESSION_ID, new_session
from tests.vidtok.twin import Twin, Words, based, spelled, tagged
from transport import (
    ConnectionClosed,
    Lane,
    LocalProtocolError,
    RemoteProtocolError,
    Role,
    Session,
    SessionConfig,
    State,
    wire,
)

# What may be called, and the names of what is given by place.
CALLS: Mapping[str, tuple[str, ...]] = {
    "receive_datagram": ("data", "now"),
    "handle_timeout": ("now",),
    "datagrams_to_send": ("now",),
    "send_delta": (),
    "base": ("now",),
    "allowance": ("now",),
    "path_lost": ("now", "reason"),
    "path_found": ("now",),
    "path_is_behind": ("buffered",),
    "close": ("code", "reason", "now"),
}
RECEIVERS = {"feedback_interval", "refresh_interval"}  # what JavaScript's configuration leaves out
ROUNDED = {"rtt_ms": 1, "queue_ms": 1, "bps": 0}
OPTIONS: Words = {
    "codec_hash": CODEC,
    "meta": {"who": "sender"},
    "wall_ms": 1_700_000_000_000,
    "session_id": SESSION_ID,
}


def readable(session: Session) -> Words:
    """What anyone may read of a session."""
    due = session.next_timeout()
    return {
        "state": session.state.value,
        "next_timeout": "Infinity" if due == math.inf else due,
        "bytes": [session.bytes_sent, session.bytes_received],
        "packets": [session.packets_sent, session.packets_received, session.bad_packets, session.packets_dropped],
        "queued_bytes": session.queued_bytes,
        "path": [session.rtt, session.loss, session.rate],
        "next_version": session.next_version,
        "oldest_needed": session.oldest_needed(),
        "needed": sorted(session.needed()),
        "max_update": session.max_update,
    }


def told(name: str, value: Any) -> Any:
    """What a call gave, as JavaScript says it."""
    if name == "datagrams_to_send":
        return [[lane.value, based(data)] for lane, data in value]
    return [spelled(event) for event in value] if isinstance(value, list) else value


# What fails is named by its call: with fewer calls it would be another.
drawn = partial(settings, phases=(Phase.explicit, Phase.reuse, Phase.generate))

configs = st.builds(
    lambda sizes, **options: SessionConfig(max_in_flight=sizes[0], history=sizes[1], **options),
    sizes=st.sampled_from([(48, 64), (4, 8)]),
    bases=st.sampled_from(["auto", "assumed", "acknowledged"]),
    parity=st.sampled_from(["auto", "always", "never"]),
    max_packet=st.sampled_from([64, 1100]),
    resume_within=st.sampled_from([10.0, 0.0]),
    start_rate=st.sampled_from([500_000.0, 20_000.0]),
    outbox_limit=st.sampled_from([64, 8]),
)


class Recorded:
    """A sender's session that keeps what it was asked and what it said; everything else is the session's own."""

    def __init__(self, now: float = 0.0, config: SessionConfig | None = None) -> None:
        self.session = new_session(Role.SENDER, now, config)
        self.calls: list[tuple[str, Words]] = []
        self.told: list[Words] = [readable(self.session)]

    def __getattr__(self, name: str) -> Any:
        return partial(self._call, name) if name in CALLS else getattr(self.session, name)

    def _call(self, name: str, *given: Any, **named: Any) -> Any:
        words = dict(zip(CALLS[name], given, strict=False)) | named
        self.calls.append((name, call_words(words)))
        try:
            value = getattr(self.session, name)(**words)
        except (LocalProtocolError, ConnectionClosed) as error:
            self.told.append({"error": type(error).__name__, "message": str(error), **readable(self.session)})
            raise
        self.told.append({"value": told(name, value), **readable(self.session)})
        return value

    def check(self, twin: Twin) -> None:
        """JavaScript says the same to the same, and has the same trace."""
        begun = twin.ask("open", **session_words(self.session.started_at, self.session.config))
        said = [begun, *twin.ask("calls", calls=self.calls)]
        for place, (mine, theirs) in enumerate(zip(self.told, said, strict=True)):
            assert theirs == mine, f"call {place}: {self.calls[place - 1] if place else 'the first look'}"
        traces = zip(self.session.trace.events(), twin.ask("trace"), strict=True)
        for event, (time, name, data) in traces:
            mine = [event.time, event.name, {key: plain(key, each) for key, each in event.data.items()}]
            assert [time, name, {key: plain(key, untagged(each)) for key, each in data.items()}] == mine


def plain(key: str, value: Any) -> Any:
    """What stands in a trace, rounded as Python's is; the words about a wrong limit are each language's own."""
    if isinstance(value, float) and key in ROUNDED:
        return round(value, ROUNDED[key]) if math.isfinite(value) else value
    return None if key == "limit" else value


def of_a_map(error: str) -> bool:
    """Whether this is said of a map's bytes: the words are each msgpack's own."""
    return any(words in error for words in ("valid", "must be a map", "nested deeper", "key that is not text"))


class InJavaScript:
    """A sender's session that runs in JavaScript, for whoever wants a `Session`."""

    def __init__(self, twin: Twin, now: float, config: SessionConfig | None = None) -> None:
        self.config = config or SessionConfig()
        self._twin = twin
        self._seen = twin.ask("open", **session_words(now, self.config))

    def __getattr__(self, name: str) -> Any:
        return partial(self._call, name) if name in CALLS else self._seen[name]

    def _call(self, name: str, *given: Any, **named: Any) -> Any:
        words = dict(zip(CALLS[name], given, strict=False)) | named
        (self._seen,) = self._twin.ask("calls", calls=[(name, call_words(words))])
        assert "error" not in self._seen, self._seen
        value = self._seen["value"]
        if name == "datagrams_to_send":
            return [(Lane(lane), b64decode(data)) for lane, data in value]
        return [event_of(words) for words in value] if isinstance(value, list) else value

    @property
    def state(self) -> State:
        return State(self._seen["state"])

    def next_timeout(self) -> float | None:
        return self._seen["next_timeout"]

    def needed(self) -> frozenset[int]:
        return frozenset(self._seen["needed"])

    def oldest_needed(self) -> int:
        return self._seen["oldest_needed"]


def event_of(words: Words) -> Any:
    named = {key: untagged(value) for key, value in words.items() if key != "type"}
    return getattr(transport, words["type"])(**named)


def call_words(words: Words) -> Words:
    return {name: tagged(value) if isinstance(value, bytes) else value for name, value in words.items()}


def session_words(now: float, config: SessionConfig) -> Words:
    chosen = {field.name: getattr(config, field.name) for field in fields(config) if field.name not in RECEIVERS}
    return {"options": {**{key: tagged(value) for key, value in OPTIONS.items()}, "now": now}, "config": chosen}


def untagged(value: Any) -> Any:
    match value:
        case {"bytes": text}:
            return b64decode(text)
        case {"float": digits}:
            return struct.unpack(">d", bytes.fromhex(digits))[0]
        case {"map": pairs}:
            return {key: untagged(each) for key, each in pairs}
        case {"int": digits}:
            return int(digits)
        case list():
            return [untagged(each) for each in value]
    return value


def wrong(data: bytes) -> str:
    """What is wrong with a packet, in words; none where nothing is."""
    try:
        wire.pull_packet(data)
    except RemoteProtocolError as error:
        return str(error)
    return ""
