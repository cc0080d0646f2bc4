"""Every number a session can be tuned by. Times are seconds, rates are bits per second."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from transport.errors import LocalProtocolError
from transport.fields import MAX_PACKET
from transport.wire import DELTA_HEADER, HASH_BYTES, MAX_PARTS, PART_HEADER

Bases = Literal["auto", "assumed", "acknowledged"]
Parity = Literal["auto", "always", "never"]


@dataclass(frozen=True)
class SessionConfig:
    """The defaults suit a camera at 10 to 30 frames a second over anything from a LAN to a satellite.

    `bases` says what a delta may build on: what is assumed to arrive, only what is acknowledged, or whichever the
    measured loss makes the fresher. `parity` sends each update's bytes once more, folded together: auto does it when
    something is lost and a round trip is longer than `delta_deadline`. `resume_within`: how long a session waits for
    a new path when its own is lost; 0 ends it at once.
    """

    max_packet: int = MAX_PACKET
    # versions
    history: int = 64
    max_in_flight: int = 48
    bases: Bases = "auto"
    hash_interval: float = 1.0
    reorder_threshold: int = 3
    # deadlines: how long a packet may wait in our own outbox
    delta_deadline: float = 0.25
    anchor_deadline: float = 1.0
    control_deadline: float = 5.0
    outbox_limit: int = 64
    # timers
    heartbeat: float = 1.0
    keepalive: float = 5.0
    dead_after: float = 15.0
    handshake_timeout: float = 15.0
    hello_interval: float = 0.25
    resume_within: float = 0.0
    ack_delay: float = 0.2
    min_timeout: float = 0.15
    initial_timeout: float = 1.0
    max_timeout: float = 1.0
    patient_retries: int = 30
    feedback_interval: float = 0.1
    refresh_interval: float = 0.5
    # rate
    start_rate: float = 500_000.0
    min_rate: float = 1_000.0
    max_rate: float = 5_000_000.0
    bucket_depth: float = 0.2
    # protection
    parity: Parity = "auto"
    # patience
    max_bad_packets: int = 50

    def __post_init__(self) -> None:
        if not 64 <= self.max_packet <= MAX_PACKET:
            raise LocalProtocolError(f"max_packet must be 64 to {MAX_PACKET}, not {self.max_packet}")
        if not 1 <= self.max_in_flight < self.history <= 4096:
            raise LocalProtocolError("max_in_flight must be at least 1 and below history, history at most 4096")
        if not 0 < self.min_rate <= self.start_rate <= self.max_rate:
            raise LocalProtocolError("rates must be 0 < min_rate <= start_rate <= max_rate")
        if not 0 < self.bucket_depth <= 0.2:
            raise LocalProtocolError("bucket_depth must be above 0 and at most 0.2 s")

    @property
    def max_payload(self) -> int:
        """The largest payload of one packet, with room for header and hash."""
        return self.max_packet - DELTA_HEADER - HASH_BYTES

    @property
    def max_piece(self) -> int:
        """The largest piece of a payload that takes several packets."""
        return self.max_payload - PART_HEADER

    @property
    def max_update(self) -> int:
        """The largest payload of one delta, in as many packets as it takes."""
        return self.max_piece * MAX_PARTS
