"""Canvas, payload and tables in another language: edge_gate/web under Node says the same of the same bytes.

Expected values come from the vectors or from the Python twin, never from JavaScript's own round trip alone.
"""

from __future__ import annotations

import json
import struct
import zlib
from base64 import b64decode
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

from tests.vidtok.fakes import VECTORS, random_canvas, random_patch, tables, to_patch
from tests.vidtok.test_bitstream import canvas_of, read
from tests.vidtok.twin import (
    Twin,
    TwinError,
    based,
    canvas_words,
    damaged,
    patch_words,
    shown_words,
    verdict,
)
from vidtok import bitstream
from vidtok.bitstream import decode_payload, encode_payload
from vidtok.canvas import MAX_POSITION, MAX_SIDE, Canvas, Grid, blank
from vidtok.codec import MOVE_REACH, patch
from vidtok.edits import Kind, Pan, Patch, no_edits
from vidtok.entropy import SHAPES, TOTAL, RangeEncoder, Tables
from vidtok.errors import PayloadError, WeightsError
from vidtok.tokenizer.fsq import GIST_LEVELS, LEVELS

PAYLOAD_ERRORS: dict[type[Exception], str] = {PayloadError: "PayloadError"}
VALUE_ERRORS: dict[type[Exception], str] = {ValueError: "RangeError"}


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
        for key in ("position", "values", "depth", "gist", "gist_depth"):
            assert after[key] == canvas_words(expected)[key], case["name"]
        assert f"{after['state_hash']:08x}" == case["after"]["state_hash"], case["name"]
    for bad in stored["bad"]:
        with pytest.raises(TwinError, match="PayloadError"):
            twin.ask("decode", base=bases[bad["base"]], payload=based(bytes.fromhex(bad["payload"])))


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


@pytest.mark.parametrize("seed", range(24))
def test_any_class_of_change_tells_the_same_gist(twin: Twin, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A peer may choose another class than its changes fall in."""
    base, edits = drawn(seed)
    monkeypatch.setattr(bitstream, "TURN_SHARES", [(0, 0, 0), (0, 0, 101), (0, 101, 101), (101, 101, 101)][seed % 4])
    payload = encode_payload(base, edits, tables())
    assert twin.ask("decode", base=canvas_words(base), payload=based(payload)) == patch_words(edits)


def misfits() -> Iterator[tuple[str, Canvas, Patch]]:
    """Patches that fit no base, one rule broken each."""
    base = random_canvas(Grid(96, 64), np.random.default_rng(3))
    depth = np.full_like(base.depth, 2)
    depth[0, 0] = depth[1, 2] = 0
    base = replace(base, version=1, position=(0, 0), depth=depth)

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
    for told in (1, GIST_LEVELS, GIST_LEVELS + 1):
        yield f"a gist of {told} levels", base, replace(no_edits(base.grid.rows, base.grid.cols), gist_depth=told)
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
    base = replace(base, version=3, position=position)
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
            encoder.encode([(cumulative[context][symbol], int(sizes[context, symbol]))])
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
