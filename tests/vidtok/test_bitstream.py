"""Golden payloads: exact bytes and their meaning, in a file that a twin in another language reads too.

`tests/vectors/payload.json` and the tables it was coded with are rewritten only with GENERATE_EXPECTED=1 in the
environment.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from typing import Any

import numpy as np
import pytest

from tests.vidtok.fakes import GOLDEN, VECTORS, flat, random_canvas, random_patch, tables, to_patch
from vidtok.bitstream import TURN_SHARES, decode_payload, encode_payload, patch_symbols
from vidtok.canvas import MAX_POSITION, Canvas, Grid, blank
from vidtok.codec import patch
from vidtok.edits import Edit, Gist, Move, Pan, Refine, Set
from vidtok.entropy import TURNS, fit_tables, spelled
from vidtok.errors import PayloadError
from vidtok.tokenizer.fsq import CHANNELS, EDGES, GIST, GIST_EDGES, GIST_LEVELS, LEVELS, VALUES

PATH = VECTORS / "payload.json"
WORDS: dict[str, type] = {"pan": Pan, "gist": Gist, "move": Move, "set": Set, "refine": Refine}
ABOUT = (
    "Payloads of vidtok/bitstream.py. `tables` lie beside this folder. A canvas is position [x, y], gist (numbers of "
    "the whole frame), depth (rows of cells) and values (rows of cells); gist and values are a digit for each number "
    "of the levels held, the others are zero. Edits: [pan, dx, dy], [gist, values], [move, row, col, dx, dy], "
    "[set, row, col, values], [refine, row, col, values], values as digits from the first level on, a refinement's "
    "from the first level not held on. Each of `bad` must be refused on its base."
)


def digits(values: Iterable[int]) -> str:
    return "".join(map(str, values))


def written(edit: Edit) -> list[Any]:
    match edit:
        case Pan(dx, dy):
            return ["pan", dx, dy]
        case Gist(values):
            return ["gist", digits(values)]
        case Move(row, col, dx, dy):
            return ["move", row, col, dx, dy]
        case Set(row, col, values) | Refine(row, col, values):
            return [type(edit).__name__.lower(), row, col, digits(values)]


def read(words: list[Any]) -> Edit:
    kind, *numbers = words
    return WORDS[kind](*(tuple(map(int, n)) if isinstance(n, str) else n for n in numbers))


def canvas_words(canvas: Canvas) -> dict[str, Any]:
    rows = [zip(*row, strict=True) for row in zip(canvas.values.tolist(), canvas.depth.tolist(), strict=True)]
    return {
        "position": list(canvas.position),
        "gist": digits(canvas.gist[: GIST_EDGES[canvas.gist_depth]].tolist()),
        "depth": canvas.depth.tolist(),
        "values": [[digits(values[: EDGES[depth]]) for values, depth in row] for row in rows],
        "state_hash": f"{canvas.state_hash():08x}",
    }


def canvas_of(case: dict[str, Any]) -> Canvas:
    grid, base = Grid(case["width"], case["height"]), case["base"]
    depth = np.array(base["depth"], np.uint8)
    values = [[list(map(int, cell.ljust(CHANNELS, "0"))) for cell in row] for row in base["values"]]
    gist = np.array(list(map(int, base["gist"].ljust(GIST, "0"))), np.uint8)
    maps = (np.array(values, np.uint8), depth, np.zeros(depth.shape, np.uint32))
    return Canvas(grid, 1, tuple(base["position"]), *maps, gist, GIST_EDGES.index(len(base["gist"])))


def counting(first: int, levels: int, held: int = 0) -> tuple[int, ...]:
    """Values that tell a cell from its neighbours, each from the one before."""
    return tuple((first + n * n) % VALUES for n in range(EDGES[held], EDGES[levels]))


def full(grid: Grid) -> Canvas:
    """Every cell held, on one or two levels."""
    places = [(row, col) for row in range(grid.rows) for col in range(grid.cols)]
    told = [Set(r, c, counting(r + 2 * c, 1 + (r + c) % 2)) for r, c in places]
    return patch(blank(grid), to_patch(blank(grid), told), 1)


def gist_of(levels: int, changed: int = 0) -> Gist:
    """A gist of so many levels; so many of its numbers, spread out evenly, are others than without `changed`."""
    count = GIST_EDGES[levels]
    others = {n * count // changed for n in range(changed)}
    return Gist(tuple((n * n // 3 + (n in others)) % VALUES for n in range(count)))


def holding(grid: Grid, levels: int) -> Canvas:
    """Nothing but a gist."""
    return patch(blank(grid), to_patch(blank(grid), [gist_of(levels)]), 1)


def cases() -> dict[str, tuple[Canvas, list[Edit]]]:
    """What the vectors show: every kind of edit, every context, the smallest frame, both ways up."""
    rng = np.random.default_rng(2024)
    wide, tall, one = Grid(128, 80), Grid(48, 144), Grid(32, 32)
    held = random_canvas(wide, np.random.default_rng(11), span=80)
    out: dict[str, tuple[Canvas, list[Edit]]] = {
        "nothing": (blank(wide), []),
        "one cell": (blank(one), [Set(0, 0, flat(0, 1))]),
        "one cell, all levels": (blank(one), [Set(0, 0, counting(5, LEVELS))]),
        "one cell out of four": (blank(one), [Pan(3, 5), Set(1, 1, counting(6, 2))]),
        "neighbours": (blank(wide), [Set(r, c, counting(3 * r + c, 1)) for r in range(3) for c in range(4)]),
        "moves": (full(wide), [Move(0, 1, 2, 1), Move(0, 2, 2, 1), Set(1, 1, flat(5, 1)), Move(2, 3, -3, -2)]),
        "a panned move": (full(tall), [Pan(32, -5), Move(2, 0, 1, 3), Refine(2, 1, flat(7, 4, 2))]),
        "a refinement": (full(one), [Refine(0, 0, counting(1, 2, 1))]),
        "small pan": (held, [Pan(-7, 2)]),
        "large pan": (held, [Pan(1000, -25)]),
        "escaped pans": (held, [Pan(24, -24)]),
        "largest pan": (blank(one).panned(-MAX_POSITION, 0), [Pan(2 * MAX_POSITION, -MAX_POSITION)]),
        "first gist": (blank(one), [gist_of(2)]),
        "first gist, all levels": (blank(one), [gist_of(GIST_LEVELS)]),
        "the same gist": (holding(one, 3), [gist_of(3)]),
        "few changes of a gist": (holding(one, GIST_LEVELS), [gist_of(GIST_LEVELS, 23)]),
        "some changes of a gist": (holding(one, GIST_LEVELS), [gist_of(GIST_LEVELS, 24)]),
        "more changes of a gist": (holding(one, 1), [gist_of(1, 4)]),
        "many changes of a gist": (holding(one, 3), [gist_of(3, 56)]),
        "a deeper gist": (holding(one, 1), [gist_of(3, 2)]),
        "a shallower gist": (holding(one, GIST_LEVELS), [gist_of(2, 30)]),
        "a gist with pan and cells": (
            patch(full(tall), to_patch(full(tall), [gist_of(2)]), 1),
            [Pan(-3, 6), gist_of(3, 11), Move(1, 1, 0, 1), Set(2, 1, counting(3, 2)), Refine(3, 2, flat(1, 3, 1))],
        ),
    }
    for number, (name, grid) in enumerate((("wide", wide), ("tall", tall), ("wide", wide), ("tall", tall))):
        base = random_canvas(grid, rng, span=400)
        pan = Pan(0, 0) if number < 2 else Pan(int(rng.integers(-40, 40)), int(rng.integers(-40, 40)))
        edits, _ = random_patch(base, pan, rng, 0.5)
        out[f"{name}, all kinds {number}"] = (base, list(edits.edits(base.panned(pan.dx, pan.dy).depth)))
    return out


def vectors() -> dict[str, Any]:
    rows = []
    for name, (base, edits) in cases().items():
        made = to_patch(base, edits)
        after = patch(base, made, 2)
        rows.append(
            {
                "name": name,
                "width": base.grid.width,
                "height": base.grid.height,
                "base": canvas_words(base),
                "edits": [written(edit) for edit in edits],
                "tokens": made.tokens,
                "payload": encode_payload(base, made, tables()).hex(),
                "after": canvas_words(after),
            }
        )
    bad = [
        {"base": row["name"], "payload": row["payload"] + "0102030405", "why": "bytes left over"}
        for row in [*rows[4:8], *(row for row in rows if row["name"] == "a deeper gist")]
    ]
    bad += [{"base": "one cell", "payload": "ff" * 9, "why": "a pan out of the scene, or a symbol outside its table"}]
    head = {"about": ABOUT, "tables": "golden/tables.bin", "tables_digest": tables().digest.hex()}
    return {**head, "payloads": rows, "bad": bad}


def dumped(value: dict[str, Any]) -> str:
    """One line a payload: a diff of the file shows which one changed."""
    lines = []
    for key, content in value.items():
        if isinstance(content, list):
            inside = ",\n    ".join(json.dumps(row) for row in content)
            lines.append(f"  {json.dumps(key)}: [\n    {inside}\n  ]")
        else:
            lines.append(f"  {json.dumps(key)}: {json.dumps(content)}")
    return "{\n" + ",\n".join(lines) + "\n}\n"


if os.environ.get("GENERATE_EXPECTED") == "1":
    (GOLDEN / "tables.bin").write_bytes(fit_tables({}).to_bytes())
    tables.cache_clear()
    PATH.write_text(dumped(vectors()))

STORED = json.loads(PATH.read_text())


def test_the_vectors_are_of_the_stored_tables() -> None:
    assert (VECTORS.parent / STORED["tables"]).read_bytes() == tables().to_bytes()
    assert STORED["tables_digest"] == tables().digest.hex()


def test_the_vectors_show_every_kind_of_edit() -> None:
    told = [edit[0] for row in STORED["payloads"] for edit in row["edits"]]
    assert set(told) == set(WORDS)
    assert {row["name"] for row in STORED["payloads"]} == set(cases())


def test_the_vectors_show_gists_of_every_class_of_change_and_of_more_and_fewer_levels() -> None:
    assert len(TURN_SHARES) == TURNS - 1
    symbols = [spelled(patch_symbols(base, to_patch(base, edits), tables())) for base, edits in cases().values()]
    assert {told for each in symbols for name, _, told in each if name == "turn"} == set(range(TURNS))
    depths = [(held, told) for each in symbols for name, held, told in each if name == "gist" and told]
    assert {np.sign(told - held) for held, told in depths} == {-1, 0, 1}


@pytest.mark.parametrize("row", STORED["payloads"], ids=lambda row: row["name"])
def test_golden_payloads_encode(row: dict[str, Any]) -> None:
    base = canvas_of(row)
    made = to_patch(base, map(read, row["edits"]))
    assert f"{base.state_hash():08x}" == row["base"]["state_hash"]
    assert made.tokens == row["tokens"]
    assert encode_payload(base, made, tables()).hex() == row["payload"]


@pytest.mark.parametrize("row", STORED["payloads"], ids=lambda row: row["name"])
def test_golden_payloads_decode(row: dict[str, Any]) -> None:
    base = canvas_of(row)
    told = decode_payload(base, bytes.fromhex(row["payload"]), tables())
    held = base.panned(told.pan.dx, told.pan.dy).depth
    assert [written(edit) for edit in told.edits(held)] == row["edits"]
    assert canvas_words(patch(base, told, 2)) == row["after"]


@pytest.mark.parametrize("row", STORED["bad"], ids=lambda row: row["why"])
def test_bad_payloads_are_refused(row: dict[str, Any]) -> None:
    base = canvas_of(next(each for each in STORED["payloads"] if each["name"] == row["base"]))
    with pytest.raises(PayloadError):
        decode_payload(base, bytes.fromhex(row["payload"]), tables())


def test_the_file_is_as_it_would_be_written_today() -> None:
    stored = {row["name"]: row["payload"] for row in STORED["payloads"]}
    assert {row["name"]: row["payload"] for row in vectors()["payloads"]} == stored
