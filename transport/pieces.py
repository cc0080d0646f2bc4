"""Payloads that come in several packets, put together again; what stays incomplete gives way."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from transport.wire import Delta, Part

_MOST = 8  # versions that may be incomplete at once


def fold(pieces: Sequence[bytes], whole: int) -> bytes:
    """All pieces, filled up with zeros to `whole` bytes, one XOR the other."""
    folded = 0
    for piece in pieces:
        folded ^= int.from_bytes(piece.ljust(whole, b"\0"), "big")
    return folded.to_bytes(whole, "big")


@dataclass
class _Puzzle:
    """One version's pieces so far; the one at `count` is the parity."""

    distance: int
    count: int
    size: int
    pieces: dict[int, bytes] = field(default_factory=dict)

    def payload(self) -> bytes | None:
        """The whole payload, once all pieces but one are here."""
        if len(self.pieces) < self.count:
            return None
        whole = Part(0, self.count, self.size).whole
        missing = next((i for i in range(self.count) if i not in self.pieces), None)
        if missing is not None:
            self.pieces[missing] = fold(tuple(self.pieces.values()), whole)
        return b"".join(self.pieces[i] for i in range(self.count))[: self.size]


class Pieces:
    """What is incomplete, by version: at most eight, the oldest gives way."""

    def __init__(self) -> None:
        self._puzzles: dict[int, _Puzzle] = {}

    def add(self, version: int, delta: Delta, part: Part) -> bytes | None:
        """Take in a piece; the whole payload if that completes it. ValueError: it does not fit the others."""
        puzzle = self._puzzles.setdefault(version, _Puzzle(delta.distance, part.count, part.size))
        if (puzzle.distance, puzzle.count, puzzle.size) != (delta.distance, part.count, part.size):
            raise ValueError("it does not fit the others")
        puzzle.pieces[part.index] = delta.payload
        payload = puzzle.payload()
        if payload is not None:
            del self._puzzles[version]
        return payload

    def settle(self, newest: int) -> list[int]:
        """Take out what is no longer wanted, and return it: versions up to the newest handed up, and too many."""
        if not self._puzzles:
            return []
        gone = [version for version in self._puzzles if version <= newest]
        rest = sorted(version for version in self._puzzles if version > newest)
        gone += rest[: max(0, len(rest) - _MOST)]
        for version in gone:
            del self._puzzles[version]
        return gone
