"""The wire contract in another language: edge_gate/web under Node says the same of the same bytes.

    this process --a line of JSON--> twin.mjs --> edge_gate/web/*.js
                 <--a line of JSON--

Expected values come from the vectors or from the Python twin, never from JavaScript's own round trip alone.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import struct
import subprocess
import threading
import zlib
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import transport.errors
from tests.transport.test_wire import GOLDEN as PACKETS
from tests.transport.test_wire import packets, values
from tests.vidtok.fakes import GOLDEN, VECTORS, random_canvas, random_patch, tables, to_patch
from tests.vidtok.test_bitstream import canvas_of, read
from transport import wire
from transport.states import Role
from vidtok.bitstream import decode_payload, encode_payload
from vidtok.canvas import MAX_POSITION, MAX_SIDE, Canvas, Grid, blank
from vidtok.codec import MOVE_REACH, patch
from vidtok.edits import Kind, Pan, Patch, no_edits
from vidtok.entropy import SHAPES, TOTAL, RangeEncoder, Tables
from vidtok.errors import PayloadError, WeightsError
from vidtok.tokenizer.fsq import LEVELS

SECONDS = 60  # for one answer: whatever takes longer hangs

Words = dict[str, Any]


class TwinError(Exception):
    """An error in JavaScript, by its name there."""

    def __init__(self, name: str, message: str) -> None:
        super().__init__(f"{name}: {message}")
        self.name = name


class Twin:
    """A Node process that answers line by line."""

    def __init__(self, node: str) -> None:
        driver = Path(__file__).parent / "twin.mjs"
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "encoding": "utf-8"}
        self.process = subprocess.Popen([node, str(driver)], **pipes)  # type: ignore[call-overload]

    def ask(self, do: str, **request: Any) -> Any:
        timer = threading.Timer(SECONDS, self.process.kill)
        timer.start()
        try:
            self.process.stdin.write(json.dumps({"do": do, **request}) + "\n")
            self.process.stdin.flush()
            line = self.process.stdout.readline()
        finally:
            timer.cancel()
        assert line, f"no answer to {do!r}: the JavaScript twin has crashed, or hung for {SECONDS} seconds"
        answer = json.loads(line)
        if "error" in answer:
            raise TwinError(answer["error"], answer["message"])
        return answer["value"]

    def close(self) -> None:
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait(SECONDS)


@pytest.fixture(scope="module")
def twin() -> Iterator[Twin]:
    node = shutil.which("node")
    if node is None:
        why = "node is not on the PATH: install Node.js 20 or newer to test edge_gate/web"
        (pytest.fail if os.environ.get("CI") else pytest.skip)(why)
    started = Twin(node)
    try:
        assert started.ask("tables", bytes=based((GOLDEN / "tables.bin").read_bytes())) == based(tables().digest)
        yield started
    finally:
        started.close()


def based(data: bytes) -> str:
    return b64encode(data).decode()


def arrays(of: object, **types: str) -> Words:
    return {name: based(getattr(of, name).astype(kind).tobytes()) for name, kind in types.items()}


def canvas_words(canvas: Canvas) -> Words:
    size = {"width": canvas.grid.width, "height": canvas.grid.height, "version": canvas.version}
    maps = arrays(canvas, values="u1", depth="u1", changed="<u4")
    return {**size, "position": list(canvas.position), **maps}


def shown_words(canvas: Canvas) -> Words:
    """All that the twin tells of a canvas."""
    visible = based(canvas.visible().astype(np.uint8).tobytes())
    return {**canvas_words(canvas), "state_hash": canvas.state_hash(), "visible": visible}


def patch_words(edits: Patch) -> Words:
    return {"pan": [edits.pan.dx, edits.pan.dy], **arrays(edits, kind="u1", depth="u1", values="u1", move="i1")}


def tagged(value: object) -> Any:
    """A packet's field as JSON that keeps what JSON would lose."""
    match value:
        case bytes():
            return {"bytes": based(value)}
        case float():
            return {"float": struct.pack(">d", math.nan if math.isnan(value) else value).hex()}
        case int() if abs(value) >= 1 << 53:
            return {"int": str(value)}
        case Role():
            return value.value
        case Mapping():
            return {"map": [[key, tagged(each)] for key, each in value.items()]}
        case list() | tuple():
            return [tagged(each) for each in value]
    return value


def packet_words(packet: wire.Packet) -> Words:
    return {"type": type(packet).__name__, **{key: tagged(value) for key, value in vars(packet).items()}}


def verdict(call: Callable[[], object], names: Mapping[type[Exception], str]) -> object:
    """What a call gives, or the name that its error has in JavaScript; JavaScript errors come with theirs."""
    try:
        return call()
    except TwinError as error:
        if error.name not in names.values():
            raise
        return {"error": error.name}
    except tuple(names) as error:
        return {"error": names[type(error)]}


PAYLOAD_ERRORS: dict[type[Exception], str] = {PayloadError: "PayloadError"}
VALUE_ERRORS: dict[type[Exception], str] = {ValueError: "RangeError"}
WIRE_ERRORS: dict[type[Exception], str] = {
    wire.UnknownVersionError: "UnknownVersionError",
    transport.errors.RemoteProtocolError: "RemoteProtocolError",
    transport.errors.LocalProtocolError: "LocalProtocolError",
}


def test_payload_vectors(twin: Twin) -> None:
    stored = json.loads((VECTORS / "payload.json").read_text())
    assert twin.ask("tables", bytes=based((VECTORS.parent / stored["tables"]).read_bytes())) == based(
        bytes.fromhex(stored["tables_digest"])
    )
    bases = {}
    for case in stored["payloads"]:
        base = canvas_of(case)
        bases[case["name"]] = canvas_words(base)
        edits, payload = to_patch(base, map(read, case["edits"])), bytes.fromhex(case["payload"])
        words = {"base": canvas_words(base), "patch": patch_words(edits)}
        assert twin.ask("encode", **words) == based(payload), case["name"]
        assert twin.ask("decode", base=words["base"], payload=based(payload)) == words["patch"], case["name"]
        after = twin.ask("patch", **words, version=2)
        expected = canvas_of({**case, "base": case["after"]})
        for key in ("position", "values", "depth"):
            assert after[key] == canvas_words(expected)[key], case["name"]
        assert f"{after['state_hash']:08x}" == case["after"]["state_hash"], case["name"]
    for bad in stored["bad"]:
        with pytest.raises(TwinError, match="PayloadError"):
            twin.ask("decode", base=bases[bad["base"]], payload=based(bytes.fromhex(bad["payload"])))


def test_transport_vectors(twin: Twin) -> None:
    raw = {"session_id", "codec_hash", "payload"}
    for case in json.loads((VECTORS / "transport.json").read_text()):
        fields = {key: bytes.fromhex(v) if key in raw else v for key, v in case["packet"].items()}
        words, data = {key: tagged(value) for key, value in fields.items()}, based(bytes.fromhex(case["hex"]))
        assert twin.ask("push", packet=words) == data, case["name"]
        assert twin.ask("pull", bytes=data) == words, case["name"]


SIZES = [(32, 32), (48, 80), (160, 112), (32, 640), (640, 48), (640, 368), (368, 640)]


def drawn(seed: int) -> tuple[Canvas, Patch]:
    """A canvas and a patch to it: small ones and large ones, still, panned a little and out of sight."""
    rng = np.random.default_rng(seed)
    base = random_canvas(Grid(*SIZES[seed % len(SIZES)]), rng)
    reach = (0, 40, 800, 10**9)[int(rng.integers(4))]
    pan = Pan(*(int(n) for n in rng.integers(-reach, reach + 1, 2)))
    edits, _ = random_patch(base, pan, rng, (0.0, 0.02, 0.2, 0.6, 1.0)[int(rng.integers(5))])
    return base, edits


def check_round_trip(twin: Twin, base: Canvas, edits: Patch) -> None:
    payload, words = encode_payload(base, edits, tables()), canvas_words(base)
    assert twin.ask("decode", base=words, payload=based(payload)) == patch_words(edits)
    after = patch(base, edits, base.version + 1)
    assert twin.ask("patch", base=words, patch=patch_words(edits), version=after.version) == shown_words(after)
    assert b64decode(twin.ask("encode", base=words, patch=patch_words(edits))) == payload


@pytest.mark.parametrize("seed", range(42))
def test_round_trips_of_drawn_patches(twin: Twin, seed: int) -> None:
    check_round_trip(twin, *drawn(seed))


def test_the_largest_canvas(twin: Twin) -> None:
    rng = np.random.default_rng(1)
    base = random_canvas(Grid(MAX_SIDE, MAX_SIDE), rng)
    check_round_trip(twin, base, random_patch(base, Pan(-33, 17), rng, 0.2)[0])


def test_a_chain_of_patches_stays_one_canvas(twin: Twin) -> None:
    """Each end goes on from its own canvas only."""
    rng = np.random.default_rng(5)
    mine = blank(Grid(240, 176))
    theirs = twin.ask("grid", width=240, height=176)
    assert theirs == shown_words(mine)
    for version in range(1, 25):
        pan = Pan(*(int(n) for n in rng.integers(-30, 31, 2))) if version % 3 == 0 else Pan(0, 0)
        edits, _ = random_patch(mine, pan, rng, 0.3)
        told = twin.ask("decode", base=theirs, payload=based(encode_payload(mine, edits, tables())))
        theirs = twin.ask("patch", base=theirs, patch=told, version=version)
        mine = patch(mine, edits, version)
        assert theirs == shown_words(mine)


def damaged(payload: bytes, rng: np.random.Generator) -> bytes:
    """Bytes changed, cut off or added."""
    data = bytearray(payload)
    for _ in range(int(rng.integers(1, 4)) if data else 0):
        data[int(rng.integers(len(data)))] = int(rng.integers(256))
    tail = rng.integers(0, 256, int(rng.integers(4)), dtype=np.uint8).tobytes()
    return (bytes(data[: int(rng.integers(len(data) + 1))]), bytes(data), bytes(data) + tail)[int(rng.integers(3))]


@pytest.mark.parametrize("seed", range(42))
def test_damaged_payloads_get_one_verdict(twin: Twin, seed: int) -> None:
    base, edits = drawn(seed)
    payload, rng = encode_payload(base, edits, tables()), np.random.default_rng(seed)
    noise = rng.integers(0, 256, int(rng.integers(1, 60)), dtype=np.uint8).tobytes()
    for data in (noise, b"\xff" * 9, payload + b"\x00", *(damaged(payload, rng) for _ in range(8))):
        words = canvas_words(base)
        mine = verdict(lambda data=data: patch_words(decode_payload(base, data, tables())), PAYLOAD_ERRORS)
        theirs = verdict(
            lambda data=data, words=words: twin.ask("decode", base=words, payload=based(data)), PAYLOAD_ERRORS
        )
        assert theirs == mine, data.hex()


def misfits() -> Iterator[tuple[str, Canvas, Patch]]:
    """Patches that fit no base, one rule broken each."""
    base = random_canvas(Grid(96, 64), np.random.default_rng(3))
    depth = np.full_like(base.depth, 2)
    depth[0, 0] = depth[1, 2] = 0
    base = Canvas(base.grid, 1, (0, 0), base.values, depth, base.changed)

    def cell(row: int, col: int, kind: Kind, depth: int = 0, move: tuple[int, int] = (0, 0)) -> Patch:
        edits = no_edits(base.grid.rows, base.grid.cols)
        edits.kind[row, col], edits.depth[row, col], edits.move[row, col] = kind, depth, move
        return edits

    yield "nothing is wrong", base, cell(0, 1, Kind.REFINE, 4)
    yield "set to no level", base, cell(0, 1, Kind.SET, 0)
    yield "set to too many", base, cell(0, 1, Kind.SET, LEVELS + 1)
    yield "refined to what is held", base, cell(0, 1, Kind.REFINE, 2)
    yield "refined to less", base, cell(0, 1, Kind.REFINE, 1)
    yield "refined to too many", base, cell(0, 1, Kind.REFINE, LEVELS + 1)
    yield "refined, never set", base, cell(0, 0, Kind.REFINE, 3)
    yield "moved from far", base, cell(0, 0, Kind.MOVE, 0, (MOVE_REACH + 1, 0))
    yield "moved from far above", base, cell(0, 0, Kind.MOVE, 0, (0, -128))
    yield "moved from the left of the grid", base, cell(1, 0, Kind.MOVE, 0, (-1, 0))
    yield "moved from above the grid", base, cell(0, 1, Kind.MOVE, 0, (0, -1))
    yield "moved from the right of the grid", base, cell(0, 1, Kind.MOVE, 0, (3, 0))
    yield "moved from below the grid", base, cell(0, 1, Kind.MOVE, 0, (0, 3))
    yield "moved from an unknown cell", base, cell(1, 1, Kind.MOVE, 0, (1, 0))
    yield "out of the scene", base, no_edits(base.grid.rows, base.grid.cols, Pan(MAX_POSITION + 1, 0))
    yield "out of the scene below", base, no_edits(base.grid.rows, base.grid.cols, Pan(0, -MAX_POSITION - 1))


@pytest.mark.parametrize(("base", "edits"), [pytest.param(b, e, id=name) for name, b, e in misfits()])
def test_patches_that_do_not_fit(twin: Twin, base: Canvas, edits: Patch) -> None:
    words = {"base": canvas_words(base), "patch": patch_words(edits)}
    mine = verdict(lambda: shown_words(patch(base, edits, 9)), VALUE_ERRORS)
    assert verdict(lambda: twin.ask("patch", **words, version=9), VALUE_ERRORS) == mine
    coded = verdict(lambda: based(encode_payload(base, edits, tables())), VALUE_ERRORS)
    assert verdict(lambda: twin.ask("encode", **words), VALUE_ERRORS) == coded


def test_an_edit_out_of_sight_is_not_encoded(twin: Twin) -> None:
    base = blank(Grid(64, 64))
    edits = no_edits(3, 3)
    edits.kind[2, 0], edits.depth[2, 0] = Kind.SET, 1
    with pytest.raises(TwinError, match=r"RangeError.*does not show"):
        twin.ask("encode", base=canvas_words(base), patch=patch_words(edits))


@pytest.mark.parametrize("side", [0, 16, 31, 32, 40, 48, 1920, 1936, -32, 32.5])
def test_grids(twin: Twin, side: float) -> None:
    for size in ((side, 64), (64, side)):
        mine = verdict(lambda size=size: shown_words(blank(Grid(*size))), VALUE_ERRORS)
        theirs = verdict(lambda size=size: twin.ask("grid", width=size[0], height=size[1]), VALUE_ERRORS)
        assert theirs == mine


@pytest.mark.parametrize("position", [(0, 0), (-1, 31), (MAX_POSITION, -MAX_POSITION)])
def test_pans(twin: Twin, position: tuple[int, int]) -> None:
    base = random_canvas(Grid(112, 80), np.random.default_rng(8))
    base = Canvas(base.grid, 3, position, base.values, base.depth, base.changed)
    for pan in ((0, 0), (1, -1), (32, 0), (-32, 64), (-33, 31), (0, 96), (128, 0), (-96, -200), (MAX_POSITION, 0)):
        mine = verdict(lambda pan=pan: shown_words(base.panned(*pan)), VALUE_ERRORS)
        theirs = verdict(lambda pan=pan: twin.ask("pan", base=canvas_words(base), pan=list(pan)), VALUE_ERRORS)
        assert theirs == mine, pan


@pytest.mark.parametrize("before", [0, 1, 0x80000000, 0xFFFFFFFF])
def test_crc32(twin: Twin, before: int) -> None:
    for data in (b"", b"\x00", b"\xff" * 5, bytes(range(256)), b"123456789"):
        assert twin.ask("crc32", bytes=based(data), before=before) == zlib.crc32(data, before)


@pytest.mark.parametrize("seed", range(8))
def test_the_range_coder_carries_alike(twin: Twin, seed: int) -> None:
    """Tables so uneven that carries run through long rows of 255, which payloads hardly ever do."""
    rng = np.random.default_rng(seed)
    sizes = np.array([[1, TOTAL - 2, 1], [TOTAL - 2, 1, 1], [1, 1, TOTAL - 2]])
    cumulative = np.pad(sizes.cumsum(1), ((0, 0), (1, 0))).tolist()
    calls = []
    for _ in range(3000):
        if rng.random() < 0.01:
            count = int(rng.integers(1, 33))
            calls.append([-count, (int(rng.integers(1 << count)), (1 << count) - 1)[int(rng.integers(2))]])
        else:
            context = int(rng.integers(3))
            likely = int(sizes[context].argmax())
            calls.append([context, likely if rng.random() < 0.97 else int(rng.integers(3))])
    encoder = RangeEncoder()
    for context, symbol in calls:
        if context < 0:
            encoder.bits(symbol, -context)
        else:
            encoder.encode(cumulative[context][symbol], int(sizes[context, symbol]))
    answer = twin.ask("coder", calls=calls, symbols=3, cumulative=np.ravel(cumulative).tolist())
    assert answer == {"bytes": based(encoder.finish()), "read": [symbol for _, symbol in calls]}


def bent_tables() -> Iterator[tuple[str, bytes]]:
    good = tables().to_bytes()
    yield "cut", good[:-2]
    yield "longer", good + b"\x00\x00"
    yield "empty", b""
    yield "not summing up", good[:-2] + struct.pack("<H", 4095)
    yield "far too large", b"\xff\xff" + good[2:]
    first = np.frombuffer(good, "<u2", count=SHAPES["density"][-1]).copy()
    first[0] += first[1]
    first[1] = 0
    yield "a zero", first.astype("<u2").tobytes() + good[first.nbytes :]
    last = np.frombuffer(good, "<u2")[-2:].copy()
    last += np.array([1, -1]).astype("<u2")
    yield "other good ones", good[:-4] + last.astype("<u2").tobytes()


@pytest.mark.parametrize("data", [pytest.param(data, id=name) for name, data in bent_tables()])
def test_tables_are_checked(twin: Twin, data: bytes) -> None:
    errors: dict[type[Exception], str] = {WeightsError: "WeightsError"}
    try:
        theirs = verdict(lambda: twin.ask("tables", bytes=based(data)), errors)
    finally:
        twin.ask("tables", bytes=based(tables().to_bytes()))
    assert theirs == verdict(lambda: based(Tables.from_bytes(data).digest), errors)


@settings(max_examples=200)
@given(packet=packets)
def test_drawn_packets(twin: Twin, packet: wire.Packet) -> None:
    data = verdict(lambda: based(wire.push_packet(packet)), WIRE_ERRORS)
    assert verdict(lambda: twin.ask("push", packet=packet_words(packet)), WIRE_ERRORS) == data
    if isinstance(data, str):
        pulled = wire.pull_packet(b64decode(data))
        assert twin.ask("pull", bytes=data) == packet_words(pulled) == packet_words(packet)


def check_pull(twin: Twin, data: bytes) -> None:
    mine = verdict(lambda: packet_words(wire.pull_packet(data)), WIRE_ERRORS)
    assert verdict(lambda: twin.ask("pull", bytes=based(data)), WIRE_ERRORS) == mine, data.hex()


@pytest.mark.parametrize("name", sorted(PACKETS))
def test_damaged_packets_get_one_verdict(twin: Twin, name: str) -> None:
    data, rng = wire.push_packet(PACKETS[name]), np.random.default_rng(len(name))
    for cut in range(len(data)):
        check_pull(twin, data[:cut])
    for kind in range(256):
        check_pull(twin, bytes([kind]) + data[1:])
    for _ in range(150):
        check_pull(twin, damaged(data, rng))


@settings(max_examples=200)
@given(kind=st.integers(1, 8), body=st.binary(max_size=60))
def test_any_body_gets_one_verdict(twin: Twin, kind: int, body: bytes) -> None:
    check_pull(twin, bytes([0x10 | kind]) + body)


@settings(max_examples=400)
@given(flags=st.integers(0, 31), body=st.lists(st.sampled_from(b"\x00\x01\x03\x7f\x80\xff"), max_size=16))
def test_any_ack_of_few_values_gets_one_verdict(twin: Twin, flags: int, body: list[int]) -> None:
    check_pull(twin, bytes([0x14, flags, *body]))


@settings(max_examples=200)
@given(flags=st.integers(0, 3), size=st.integers(0, 70), body=st.binary(max_size=90))
def test_any_greeting_gets_one_verdict(twin: Twin, flags: int, size: int, body: bytes) -> None:
    data = b"\x11" + bytes(16) + bytes([flags, size]) + body
    check_pull(twin, data)
    check_pull(twin, data.ljust(1 + 16 + 2 + size + 8, b"\x00"))


def test_packets_at_their_limits(twin: Twin) -> None:
    for size in (wire.MAX_PACKET - 1, wire.MAX_PACKET, wire.MAX_PACKET + 1):
        for first in (b"\x13\x02", b"\x18\x00", b"\x16\x00"):
            check_pull(twin, first.ljust(size, b"\x00"))
    sized = [wire.Delta(1, 0, 0, bytes(wire.MAX_PACKET - more)) for more in (6, 5, 0, -100_000)]
    greetings = [
        wire.Hello(bytes(15), Role.SENDER, b""),
        wire.Hello(bytes(16), Role.SENDER, bytes(64)),
        wire.Hello(bytes(16), Role.SENDER, bytes(65)),
        wire.Welcome(bytes(16), Role.RECEIVER, b"", {"fps": 10.0, "source": "é\ufeff漢😀", "levels": 6}),
        wire.Welcome(bytes(16), Role.RECEIVER, b"", {"x": {}}, (1 << 64) - 1),
        wire.Hello(bytes(16), Role.SENDER, b"", {}, -1),
        wire.Hello(bytes(16), Role.SENDER, b"", {}, 1 << 64),
        wire.Hello(bytes(16), Role.SENDER, b"", {}, 5.0),  # type: ignore[arg-type]
        wire.Hello(bytes(16), Role.SENDER, b"", {"x": nested(7)}),
        wire.Hello(bytes(16), Role.SENDER, b"", {"x": nested(8)}),
        wire.Hello(bytes(16), Role.SENDER, b"", {"x": "y" * 1067}),
        wire.Hello(bytes(16), Role.SENDER, b"", {"x": "y" * 1068}),
        wire.Welcome(bytes(16), Role.RECEIVER, b"", {"x": "y" * 2000}),
    ]
    others = [
        wire.Delta(1 << 40, wire.MAX_DISTANCE, (1 << 33) + 7, b"", 0xFFFFFFFF),
        wire.Delta(1, wire.MAX_DISTANCE + 1, 0, b""),
        wire.Delta(1, -1, 0, b""),
        wire.Delta(1, 1, 0, b"", 1 << 32),
        wire.Ack(1 << 40, 1 << 40, (1 << 40) + 5, 1 << 20, 1 << 40),
        wire.Ack(newest=5, hold_ms=-3),
        wire.Ack((1 << 40) + 5, 5, wire.ALL_ARRIVED, wire.MAX_HOLD_MS + 1),
        wire.Ack(5, 6, -1, wire.MAX_HOLD_MS),
        wire.Ack(5, received=wire.ALL_ARRIVED, hold_ms=3),
        wire.Ack(0, 1 << 16, wire.ALL_ARRIVED - 1, 128, 0),
        wire.Ack(-1, (1 << 16) - 1, 1 << 33),
        wire.Heartbeat(0, 0, True),
        wire.Heartbeat(0, -1),
        wire.Feedback(0xFFFFFFFF, {}),
        wire.Feedback(1 << 32, {}),
        wire.Feedback(-1, {}),
        wire.RefreshRequest(1, "ü" * 150),
        wire.RefreshRequest(1, "x" + "漢" * 80),
        wire.RefreshRequest(1, "half \ud800 a pair"),
        wire.Close(255, "😀" * 60),
        wire.Close(256),
        wire.Close(-1),
    ]
    for packet in [*sized, *greetings, *others]:
        mine = verdict(lambda packet=packet: based(wire.push_packet(packet)), WIRE_ERRORS)
        theirs = verdict(lambda packet=packet: twin.ask("push", packet=packet_words(packet)), WIRE_ERRORS)
        assert theirs == mine, packet


def test_greetings_that_are_wrong_in_one_place(twin: Twin) -> None:
    sid, wall = bytes(range(16)), bytes(8)
    for byte in range(256):
        for meta in (b"", b"\x81\xa1a\x01"):
            check_pull(twin, b"\x11" + sid + bytes([byte, 0]) + wall + meta)
            check_pull(twin, b"\x12" + sid + bytes([2 * bool(meta), byte]) + bytes(byte) + wall + meta)
        check_pull(twin, b"\x11" + sid + b"\x02\x00" + wall + bytes([byte]))
    for wall_ms in (1, (1 << 32) - 1, 1 << 32, (1 << 53) - 1, 1 << 53, (1 << 53) + 1, (1 << 63) + 5, (1 << 64) - 1):
        check_pull(twin, b"\x12" + sid + b"\x01\x00" + wall_ms.to_bytes(8, "big"))
    strange: list[object] = [None, True, 3, 0.0, 1.5, "x", b"x", "", b"", [], {}, [1], {1: 2}, {b"a": 1}, {None: 1}]
    usual = [{"1": 1, "b": 2, "0": 3, "__proto__": 4}, {"new": [1]}, {"meta": {}}, nested(8), nested(9), {"": None}]
    for meta in [*strange, *usual]:
        check_pull(twin, b"\x11" + sid + b"\x02\x00" + wall + msgpack.packb(meta))


def nested(levels: int) -> Any:
    value: Any = 1
    for level in range(levels):
        value = [value] if level % 2 else {"k": value}
    return value


EDGES_OF_INTEGERS = [sign * (1 << bits) + off for bits in (5, 7, 8, 15, 16, 31, 32, 53, 63, 64) for sign in (1, -1)
                     for off in (-1, 0, 1)]  # fmt: skip
FLOATS = [0.0, -0.0, 10.0, -1.0, 0.1, 29.97, 2.0**53, 1e300, 5e-324, math.inf, -math.inf, math.nan]


@pytest.mark.parametrize(
    "value",
    [
        *EDGES_OF_INTEGERS,
        *FLOATS,
        *(nested(levels) for levels in range(5, 10)),
        *("x" * size for size in (0, 31, 32, 255, 256, 1000, 1093, 1094, 1095, 70_000)),
        *(bytes(size) for size in (0, 255, 256, 1093, 1094, 70_000)),
        *([0] * size for size in (15, 16, 255, 256, 1094, 70_000)),
        *({str(n): n for n in range(size)} for size in (15, 16, 100)),
        "\x00é\ufeff漢😀\udfff",
        "\ufeff\x00é漢😀",
    ],
    ids=lambda value: f"{type(value).__name__} {str(value)[:16]!a}",
)
def test_maps_at_the_edges_of_msgpack(twin: Twin, value: object) -> None:
    mine = verdict(lambda: based(wire.pack_map({"a": value})), WIRE_ERRORS)
    assert verdict(lambda: twin.ask("pack", value=tagged({"a": value})), WIRE_ERRORS) == mine
    if isinstance(mine, str):
        assert twin.ask("unpack", bytes=mine) == tagged(wire.unpack_map(b64decode(mine)))


@settings(max_examples=200)
@given(value=st.dictionaries(st.text(max_size=6), values | st.floats(allow_nan=False), max_size=4))
def test_drawn_maps(twin: Twin, value: Words) -> None:
    data = verdict(lambda: based(wire.pack_map(value)), WIRE_ERRORS)
    assert verdict(lambda: twin.ask("pack", value=tagged(value)), WIRE_ERRORS) == data


def test_plain_objects_are_written_like_maps(twin: Twin) -> None:
    value = {"width": 640, "fps": 29.97, "detail": [1, None, True], "inner": {"source": "camera"}}
    assert b64decode(twin.ask("pack_object", value=value)) == wire.pack_map(value)


@pytest.mark.parametrize("bad", [3, None, [], "a", {"bytes": ""}])
def test_only_maps_are_packed(twin: Twin, bad: object) -> None:
    with pytest.raises(TwinError, match="LocalProtocolError"):
        twin.ask("pack", value=bad)


@pytest.mark.parametrize(
    "data",
    [
        "", "c1", "80", "90", "8080", "81", "81a1", "81a161", "81a16100", "810102", "81c4016100", "91" * 1000,
        "81a161" * 300, "de0001a16107", "df00000001a16107", "dfffffffff", "deffff", "81a161ddffffffff",
        "81a161dc0000", "81a161dbffffffff", "81a161c6ffffffff", "81d901610a", "81da000161cc05",
        "81db0000000161cd0005", "81a161ce00000005", "81a161cf0000000000000005", "81a161d005", "81a161d1fffb",
        "81a161d2fffffffb", "81a161d3fffffffffffffffb", "81a161ca3fc00000", "81a161ca41200000", "81a161ca7fc00001",
        "81a161cb7ff8000000000001", "82a16101a16102", "83a16101a16202a16103", "81a1ff00", "81a2c08000",
        "81a3eda08000", "81a4f490808000", "81a2c3a9c0", "81a161d40500", "81a161d6ff00000000",
        "81a161d80500000000000000000000000000000000", "81a161c7010500", "81a161c70005", "81a161c700ff",
        "81a161c8000005", "81a161c90000000005", "81a16191c70005", "81c7000500", "81c0c0", "81c2c0", "8180c0", "8190c0",
        "81ca3fc00000c0", "81a161c1", "9081a16100", "80c0", "c0",
    ],
)  # fmt: skip
def test_hostile_msgpack(twin: Twin, data: str) -> None:
    raw = bytes.fromhex(data)
    mine = verdict(lambda: tagged(wire.unpack_map(raw)), WIRE_ERRORS)
    assert verdict(lambda: twin.ask("unpack", bytes=based(raw)), WIRE_ERRORS) == mine


@pytest.mark.parametrize("value", [-1, 0, 127, 128, 16383, 16384, 2**31, 2**32 - 1, 2**32])
def test_varints(twin: Twin, value: int) -> None:
    mine = verdict(lambda: based(wire.push_varint(value)), WIRE_ERRORS)
    assert verdict(lambda: twin.ask("varint", value=value), WIRE_ERRORS) == mine
    for tail in (b"", b"\x80\x00", b"\xff\xff\xff\xff\x7f", b"\x80\x80\x80\x80\x01", b"\xff" * 9):
        check_pull(twin, b"\x13\x00\x00\x05" + (wire.push_varint(value) if 0 <= value < 2**32 else b"") + tail)


@pytest.mark.parametrize("near", [0, 1, 0x7FFF, 0x8000, 0x8001, 0xFFFF, 0x10000, 0x18000, (1 << 40) + 5, (1 << 52) - 1])
def test_expansion(twin: Twin, near: int) -> None:
    for low in {0, 1, 0x7FFF, 0x8000, 0xFFFF, near & 0xFFFF, (near + 0x8000) & 0xFFFF, (near + 0x7FFF) & 0xFFFF}:
        assert twin.ask("expand", low=low, near=near) == wire.expand(low, near), low
