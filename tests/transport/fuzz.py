"""Mutated packets by the million, thrown at living sessions: each one gives events, none an exception.

    python -m tests.transport.fuzz [--packets 1000000] [--seed 0] [--failure out/fuzz-failure.jsonl]
    python -m tests.transport.fuzz --replay out/fuzz-failure.jsonl

    two ends that talk ──their packets, and the golden ones──> mutate ──> either end, greeting, open, suspended or over

The same seed throws the same packets. When a session fails, all that it was given since its start is in the file of
`--failure`; `--replay` gives exactly that to a fresh session, and so fails in the same place.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import resource
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any, get_args

from tqdm import tqdm

from tests.transport.toy import BLANK, SLOTS, ToyReceiver, ToySender, new_session, patch
from transport import (
    MAX_PACKET,
    DeltaReceived,
    Event,
    Lane,
    LocalProtocolError,
    RemoteProtocolError,
    Role,
    SessionConfig,
    State,
)
from transport.wire import Delta, Packet, Part, pull_packet, push_packet

VECTORS = Path(__file__).parents[1] / "vectors" / "transport.json"
FAILURE = Path("out/fuzz-failure.jsonl")
LIVES = (30, 300, 3000)  # packets that are thrown at a pair of sessions before the next pair
AFTER_CLOSE = 30
CONFIGS: Sequence[Mapping[str, Any]] = (
    {},
    {"max_bad_packets": 1 << 60, "resume_within": 5.0},
    {"max_bad_packets": 1 << 60, "resume_within": 5.0, "max_packet": 64, "parity": "always"},
    {"max_bad_packets": 1 << 60, "bases": "acknowledged", "history": 8, "max_in_flight": 4},
)
MORE_MEMORY = 16 << 20  # bytes that a run may come to need after its first tenth

Operation = tuple[str, float, bytes]


class FuzzError(Exception):
    """A session did what it must not; `story` is all that it was given since its start."""

    def __init__(self, story: Story, why: str) -> None:
        super().__init__(why)
        self.story = story


# A session and its application


@dataclass
class Story:
    """How a session was made and what it was given: enough to do it again."""

    role: Role
    config: Mapping[str, Any]
    start: float
    operations: list[Operation] = field(default_factory=list)

    def write(self, path: Path) -> None:
        """JSON lines: how it was made, then an operation each."""
        path.parent.mkdir(parents=True, exist_ok=True)
        head = {"role": self.role.value, "config": dict(self.config), "start": self.start}
        lines = [head, *({"do": what, "now": now, "data": data.hex()} for what, now, data in self.operations)]
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))

    @classmethod
    def read(cls, path: Path) -> Story:
        """The inverse of `write`."""
        head, *lines = map(json.loads, path.read_text().splitlines())
        operations = [(line["do"], line["now"], bytes.fromhex(line["data"])) for line in lines]
        return cls(Role(head["role"]), head["config"], head["start"], operations)


class Wary(ToyReceiver):
    """Rejects patches that are none."""

    def _on_delta(self, event: DeltaReceived, now: float) -> None:
        try:
            patch(self.states[event.base], event.payload)
        except (IndexError, ValueError):
            self.session.rejected(event.version, "no patch", now)
        else:
            super()._on_delta(event, now)


class Subject:
    """One end with its application. All that it does follows from the operations, so that they can be done again."""

    def __init__(self, story: Story) -> None:
        self.story = story
        self.session = new_session(story.role, story.start, config=SessionConfig(**story.config))
        self._sender = ToySender(self.session)
        self._receiver = Wary(self.session)

    def do(self, what: str, now: float, data: bytes = b"") -> list[bytes]:
        """One operation; returns what leaves. Raises FuzzError for whatever should not have happened."""
        self.story.operations.append((what, now, data))
        try:
            return self._do(what, now, data)
        except Exception as error:
            raise FuzzError(self.story, f"{what} at {now:g}: {error!r}") from error

    def _do(self, what: str, now: float, data: bytes) -> list[bytes]:
        session = self.session
        if what == "take":
            self._hand_up(session.receive_datagram(data, now), now)
        elif what == "lose path":
            self._hand_up(session.path_lost(now), now)
        elif what == "find path":
            session.path_found(now)
        elif what == "close":
            session.close(64, "enough", now)
        elif what == "turn":  # the data is the truth that is to be sent
            return self._turn(data, now)
        else:
            raise ValueError(f"no operation is called {what}")
        return []

    def _turn(self, truth: bytes, now: float) -> list[bytes]:
        self._hand_up(self.session.handle_timeout(now), now)
        if self.story.role is Role.SENDER and self.session.state is State.OPEN:
            self._sender.truth = truth
            if self.session.max_update >= 2 * SLOTS:  # else the peer joins no pieces
                self._sender.frame(now)
        elif self.session.state is State.OPEN:
            self.session.send_feedback({"shown": self._receiver.version}, now)
        out = [data for _, data in self.session.datagrams_to_send(now)]
        self._check(out, now)
        return out

    def _hand_up(self, events: list[Event], now: float) -> None:
        assert all(isinstance(event, get_args(Event)) for event in events)
        if self.story.role is Role.SENDER:
            self._sender.take(events)
            self._sender.seen.clear()
        else:
            self._receiver.take(events, now)
            self._receiver.seen.clear()
            self._receiver.history.clear()

    def _check(self, out: list[bytes], now: float) -> None:
        """Nothing is unbounded, and what leaves can be read."""
        for data in out:
            pull_packet(data)
        config, session = self.session.config, self.session
        assert session.queued_bytes <= len(Lane) * config.outbox_limit * MAX_PACKET
        assert len(session.needed()) <= config.max_in_flight + 1
        assert len(session._receiver._pieces._puzzles) <= 8, "nothing public tells what is incomplete"
        assert (session.next_timeout() is None) <= (session.state is not State.OPEN)


def replay(path: Path) -> None:
    """Do again what a file says. Raises FuzzError as it was raised before."""
    story = Story.read(path)
    subject = Subject(dataclasses.replace(story, operations=[]))
    for operation in story.operations:
        subject.do(*operation)


# Packets


def golden(*, close: bool) -> list[bytes]:
    """One packet of each shape there is, those that end a session only if asked for."""
    stored = [(each["packet"]["type"], bytes.fromhex(each["hex"])) for each in json.loads(VECTORS.read_text())]
    return [data for kind, data in stored if close or kind != "Close"]


def mutate(random: Random, packets: Sequence[bytes]) -> bytes:
    """A packet that is near one of these, or is one of them."""
    data, how = random.choice(packets), random.randrange(10)
    if how < 3:
        return _flip(random, data)
    if how < 6:
        return rewrite(random, data)
    if how == 6:
        return data[: random.randrange(len(data) + 1)]
    if how == 7:
        return data + random.randbytes(random.choice((1, 4, MAX_PACKET)))
    if how == 8:
        other = random.choice(packets)
        return data[: random.randrange(len(data) + 1)] + other[random.randrange(len(other) + 1) :]
    return data


def _flip(random: Random, data: bytes) -> bytes:
    out = bytearray(data)
    for _ in range(random.choice((1, 1, 2, 4)) if out else 0):
        out[random.randrange(len(out))] = random.choice((0, 1, 0x7F, 0x80, 0xFF, random.randrange(256)))
    return bytes(out)


def rewrite(random: Random, data: bytes) -> bytes:
    """A valid packet that says something else in one of its fields, where such a packet can be written."""
    try:
        packet = pull_packet(data)
        name = random.choice(dataclasses.fields(packet)).name
        changed: dict[str, Any] = {name: _other(random, getattr(packet, name))}
        return push_packet(_refit(random, dataclasses.replace(packet, **changed)))
    except (RemoteProtocolError, LocalProtocolError, TypeError):  # None where there must be a number
        return _flip(random, data)


def _refit(random: Random, packet: Packet) -> Packet:
    """Now and then a delta becomes a piece; a piece is made as long as it must be."""
    if isinstance(packet, Delta) and packet.part is None and random.random() < 0.3:
        packet = dataclasses.replace(packet, part=Part(0, 1, 1))
    if isinstance(packet, Delta) and packet.part is not None:
        count, size = random.randrange(1, 33), random.choice((1, random.randrange(1, 64), random.randrange(1, 9000)))
        part = Part(random.randrange(count + 1), count, size)
        return dataclasses.replace(packet, part=part, payload=random.randbytes(part.length))
    return packet


def _other(random: Random, value: object) -> object:
    if isinstance(value, bool):
        return not value
    if value is None or isinstance(value, int):
        near = (value or 0) + random.choice((-40, -2, -1, 1, 2, 40, 1 << 14, 1 << 15))
        return random.choice((near & 0xFFFF, 0, 1, 0xFFFF, random.getrandbits(8), random.getrandbits(32), None))
    if isinstance(value, bytes):
        return random.randbytes(random.choice((0, 1, 2, 16, 64)))
    if isinstance(value, str):
        return random.choice(("", "x" * 200))
    if isinstance(value, Mapping):
        limit = random.choice((0, -1, 1e-9, 2000, 1e308, float("nan"), float("inf"), "x", None, True))
        return random.choice(({}, {"~rate": limit}, {"~rate": limit, "a": [[], {"b": b"c"}]}))
    if isinstance(value, Role):
        return random.choice(list(Role))
    return value


# The run


class Pair:
    """Two ends that talk over a link that loses something, and what they said lately."""

    def __init__(self, random: Random, now: float) -> None:
        config = random.choice(CONFIGS)
        self.now, self.left = now, random.choice(LIVES)
        self._random, self._truth = random, bytearray(BLANK)
        self._ends = {role: Subject(Story(role, config, now)) for role in Role}
        self._said: dict[Role, list[bytes]] = {role: [] for role in Role}
        self._golden = golden(close=random.random() < 0.2)

    def over(self) -> bool:
        """Whether it is time for the next pair."""
        return self.left <= 0

    def turn(self) -> int:
        """A moment passes: both ends do what is due, some packets are thrown. Returns how many."""
        random = self._random
        self.now += random.choice((0.001, 0.02, 0.02, 0.1, 1.0))
        if random.random() < 0.7:
            self._truth[random.randrange(SLOTS)] = random.randrange(256)
        for role, end in self._ends.items():
            for data in end.do("turn", self.now, bytes(self._truth)):
                self._said[role] = [*self._said[role][-30:], data]
                if random.random() < 0.9:
                    self._other(role).do("take", self.now, data)
        if random.random() < 0.03:
            self._upset()
        count = random.choice((1, 4, 16))
        for _ in range(count):
            role = random.choice(list(Role))
            self._ends[role].do("take", self.now, self._aimed_at(role))
        closed = any(end.session.state is State.CLOSED for end in self._ends.values())
        self.left = min(self.left - count, AFTER_CLOSE if closed else self.left)
        return count

    def _other(self, role: Role) -> Subject:
        return self._ends[Role.SENDER if role is Role.RECEIVER else Role.RECEIVER]

    def _aimed_at(self, role: Role) -> bytes:
        random, said = self._random, self._said[self._other(role).story.role]
        if random.random() < 0.02:
            return random.randbytes(random.randrange(40))
        return mutate(random, said if said and random.random() < 0.8 else self._golden)

    def _upset(self) -> None:
        what = self._random.choice(("lose path", "find path", "find path", "close"))
        for end in self._ends.values():
            if what != "close" or self._random.random() < 0.05:
                end.do(what, self.now)


def throw(packets: int, seed: int) -> int:
    """Throw so many; returns by how many bytes the process grew after the first tenth. Raises FuzzError."""
    random, thrown, base = Random(seed), 0, 0
    pair = Pair(random, 0.0)
    with tqdm(total=packets, desc="fuzz", unit="packet", unit_scale=True, disable=None) as tell:
        while thrown < packets:
            if pair.over():
                pair = Pair(random, pair.now)
            count = pair.turn()
            thrown += count
            tell.update(count)
            if not base and thrown >= packets / 10:
                base = resident()
    return resident() - base


def resident() -> int:
    """The most memory that this process ever had, bytes."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; 0 when nothing failed."""
    parser = argparse.ArgumentParser(prog="python -m tests.transport.fuzz", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--packets", type=int, default=1_000_000, help="how many are thrown (default 1000000)")
    parser.add_argument("--seed", type=int, default=0, help="another seed throws others (default 0)")
    parser.add_argument("--failure", type=Path, default=FAILURE, help=f"where a failure is written (default {FAILURE})")
    parser.add_argument("--replay", type=Path, metavar="FILE", help="do again what such a file says, and nothing else")
    args = parser.parse_args(argv)
    if args.replay is not None:
        replay(args.replay)
        print(f"{args.replay}: nothing fails any more")
        return 0
    try:
        grown = throw(args.packets, args.seed)
    except FuzzError as failed:
        failed.story.write(args.failure)
        print(f"{failed.story.role.value}: {failed}\nagain: python -m tests.transport.fuzz --replay {args.failure}")
        return 1
    print(f"{args.packets} packets of seed {args.seed}: nothing failed, {grown / 2**20:.1f} MiB more than at the start")
    return int(grown > MORE_MEMORY)


if __name__ == "__main__":
    raise SystemExit(main())
