"""The gate in another language, piece by piece: edge_gate/web computes what numpy does, in the same float32.

Only what an exponential or a logarithm has gone into may differ, in its last bits.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from edge_gate import budget, floor, memory, novelty, wishes
from tests.edge_gate.test_wishes import nearly, stated
from tests.vidtok.fakes import generators, random_canvas, random_gist, random_values
from tests.vidtok.tagging import Map, Tagged, number
from tests.vidtok.test_javascript_sender import LOGARITHM, camel, pixel_words
from tests.vidtok.twin import TwinError
from vidtok.bitstream import gist_costs, value_costs
from vidtok.canvas import CELL, Canvas, Grid
from vidtok.codec import diff, split
from vidtok.entropy import load_tables
from vidtok.tokenizer.fsq import (
    CHANNELS,
    EDGES,
    GIST,
    GIST_EDGES,
    GIST_LEVELS,
    LEVELS,
    dequantise,
    known,
    quantise,
)

Rng = np.random.Generator
few = settings(max_examples=12)
same = np.testing.assert_array_equal
GATE = novelty.GateConfig()
sizes = st.sampled_from([Grid(64, 96), Grid(176, 112), Grid(256, 256), Grid(48, 48)])


def of_any_size(rng: Rng, *shape: int) -> NDArray[np.float32]:
    """Numbers so unlike in size that another order of adding them shows."""
    return np.asarray(rng.normal(size=shape) * np.exp2(rng.integers(-12, 12, shape)), np.float32)


def latents_of(rng: Rng, cells: int, size: int = CHANNELS) -> NDArray[np.float32]:
    return np.asarray(np.tanh(rng.normal(size=(cells, size))), np.float32)


def grid_words(grid: Grid) -> dict[str, int]:
    return {"width": grid.width, "height": grid.height, "rows": grid.rows, "cols": grid.cols}


def canvas_words(canvas: Canvas) -> dict[str, Any]:
    maps = {name: getattr(canvas, name).ravel() for name in ("values", "depth", "changed", "gist")}
    return {"grid": grid_words(canvas.grid), "version": 1, "position": [0, 0], "gistDepth": canvas.gist_depth, **maps}


def still(grid: Grid, rng: Rng) -> Canvas:
    return replace(random_canvas(grid, rng), position=(0, 0))


# Sums and values


@pytest.mark.parametrize("count", [1, 2, 5, 7, 8, 9, 15, 16, 63, 64, 127, 128, 129, 136, 190, 255, 256, 257, 496, 1025])
def test_sums_are_added_in_numpys_order(sender_twin: Tagged, count: int) -> None:
    lines = of_any_size(np.random.default_rng(count), 8, count)
    sums = [sender_twin.call("sums", "pairwise", lines.ravel(), at * count, count) for at in range(8)]
    same(np.float32(sums), lines.sum(-1))
    means = [sender_twin.call("sums", "mean", lines.ravel(), at * count, count) for at in range(8)]
    same(np.float32(means), lines.mean(-1))
    same(np.float32([sender_twin.call("sums", "median", line) for line in lines]), np.median(lines, -1))


@given(generators)
@few
def test_losses_and_gains(sender_twin: Tagged, rng: Rng) -> None:
    canvas = still(Grid(112, 80), rng)
    shape = canvas.depth.shape
    latents = latents_of(rng, shape[0] * shape[1]).reshape(*shape, CHANNELS)
    values, weights = random_values(shape, rng), np.float32(rng.random(CHANNELS))
    shown = np.float32(rng.integers(0, 3, shape) / 2)
    noise = float(rng.choice([0.0, 0.03, 0.5]))
    held = dequantise(canvas.values)
    mine = novelty.losses(latents, dequantise(values), held, known(canvas.depth), weights, EDGES, noise)
    seen = latents.ravel(), values.ravel(), canvas_words(canvas), shown.ravel()
    theirs = sender_twin.call("novelty", "losses", *seen, weights, number(noise))
    missed = novelty.by_level(novelty.missed(latents, held, known(canvas.depth), 0.0), EDGES)
    expected = {"now": mine.now, "blank": mine.blank, "told": mine.told, "missed": missed}
    for name, array in expected.items():
        same(theirs[name], np.ravel(array * (shown > 0)[..., None]), name)
    words = {"levels": LEVELS, **{name: np.ravel(getattr(mine, name)) for name in ("now", "blank", "told")}}
    same(sender_twin.call("novelty", "setGain", words), mine.set_gain().ravel())
    refined = sender_twin.call("novelty", "refineGain", words, canvas.depth.ravel())
    same(refined, mine.refine_gain(canvas.depth).ravel())


@given(generators)
@few
def test_novelty_and_averages(sender_twin: Tagged, rng: Rng) -> None:
    canvas = still(Grid(112, 80), rng)
    shape, weights = canvas.depth.shape, np.float32(rng.random(CHANNELS))
    held = dequantise(canvas.values)
    near = held + np.float32(rng.choice([0.1, 0.3, 1.0], (*shape, 1)) * rng.normal(size=held.shape))
    config = replace(GATE, floor=float(rng.choice([0.0, 0.05])))
    words = camel(vars(config))
    mine = novelty.novelty(near, held, known(canvas.depth), weights, config)
    theirs = sender_twin.call("novelty", "novelty", near.ravel(), held.ravel(), canvas.depth.ravel(), weights, words)
    np.testing.assert_allclose(theirs, mine.ravel(), atol=1e-6)
    everything = np.ones(held.shape, bool)
    mine = novelty.novelty(near, held, everything, weights, config)
    theirs = sender_twin.call("novelty", "novelty", near.ravel(), held.ravel(), None, weights, words)
    np.testing.assert_allclose(theirs, mine.ravel(), atol=1e-6)
    for line, before in ((near, held), (near[0, 0], held[0, 0])):
        averaged = novelty.steady(before, line, weights, 0.1, 0.35)
        same(sender_twin.call("novelty", "steady", before.ravel(), line.ravel(), weights, 0.1, 0.35), averaged.ravel())
    quiet = novelty.QuietState.start(*shape, 1.5).watched(mine, 2.25, GATE)
    theirs = sender_twin.call("novelty", "coverage", grid_words(canvas.grid), CELL)
    same(theirs, novelty.coverage((112, 80), (0, 0), CELL).ravel())
    calls = [["quietS", 7], ["watched", mine.ravel(), 2.25, words]]
    waited, watched = sender_twin.drive("novelty", "QuietState", [np.full(mine.size, 1.5)], calls)
    same(waited, np.full(mine.size, 5.5, np.float32))
    same(watched["since"], quiet.since.ravel())


@given(generators)
@few
def test_values_and_renewal_of_the_gist(sender_twin: Tagged, rng: Rng) -> None:
    edges = np.float32(np.arange(-4, 13) / 4 - 1)  # of the bins, and beyond
    close = np.concatenate([edges, np.nextafter(edges, np.float32(9)), np.nextafter(edges, np.float32(-9))])
    latents = np.concatenate([close, latents_of(rng, 1, GIST)[0]])
    same(sender_twin.call("levels", "quantise", latents), quantise(latents))
    same(sender_twin.call("levels", "dequantise", quantise(latents)), dequantise(quantise(latents)))
    latents, held, depth = latents_of(rng, 1, GIST)[0], random_gist(rng), int(rng.integers(GIST_LEVELS + 1))
    seen, rounded = np.arange(GIST) < GIST_EDGES[depth], dequantise(quantise(latents))
    mine = novelty.renewal(latents, rounded, dequantise(held), seen, 0.03)
    theirs = sender_twin.call("novelty", "renewal", latents, rounded, dequantise(held), GIST_EDGES[depth], 0.03)
    same(theirs, mine)


# Glances


@given(generators, st.sampled_from([(64, 48), (67, 53), (240, 112), (32, 200)]), st.sampled_from([3, 4]))
@few
def test_glances(sender_twin: Tagged, rng: Rng, size: tuple[int, int], channels: int) -> None:
    """A film of flicker, darkness and small changes wakes both at the same frames."""
    (width, height), frames, looked = size, [], []
    base = rng.integers(0, rng.choice([3, 60, 256]), (height, width, 3)).astype(np.float64)
    state, now = novelty.GlanceState(), 0.0
    for _ in range(14):
        now += float(rng.choice([0.1, 0.5, 1.0]))
        if rng.random() < 0.3:
            at = rng.integers(0, 24, 2)
            base[at[0] : at[0] + 12, at[1] : at[1] + 12, rng.integers(3) :] += float(rng.choice([4, 6, 12]))
        lit = base * (1 + 0.2 * rng.random()) * (1 + 0.05 * rng.random((height, 1, 1)))
        pixels = np.clip(lit + rng.normal(size=base.shape), 0, 255).astype(np.uint8)
        small = novelty.thumbnail(pixels)
        same(sender_twin.call("glance", "thumbnail", pixel_words(pixels, channels))["data"], small.ravel())
        due, state = novelty.glance(state, small, now, GATE)
        frames.append({"pixels": pixel_words(pixels, channels), "now": number(now)})
        looked.append({"waitS": state.wait_s, "woken": state.woken} if due else None)
    assert sender_twin.ask("glances", frames=frames, config=camel(vars(GATE))) == looked


def test_rows_of_equal_places_have_one_gain(sender_twin: Tagged) -> None:
    """The median by weight, where many ratios are alike."""
    rng = np.random.default_rng(0)
    for _ in range(20):
        pixels = rng.choice([0, 8, 16, 200], (2, 16, 256, 1)).repeat(3, -1).astype(np.uint8)
        blocks = pixels[:, ::8, ::8].repeat(8, 1).repeat(8, 2)
        state, woken = novelty.GlanceState(), []
        for now, frame in enumerate(blocks):
            due, state = novelty.glance(state, novelty.thumbnail(frame), now / 10, GATE)
            woken.append({"waitS": state.wait_s, "woken": state.woken} if due else None)
        frames = [{"pixels": pixel_words(frame, 3), "now": now / 10} for now, frame in enumerate(blocks)]
        assert sender_twin.ask("glances", frames=frames, config=camel(vars(GATE))) == woken


# Memory


@given(generators, sizes)
@few
def test_what_is_remembered_and_asked(sender_twin: Tagged, rng: Rng, grid: Grid) -> None:
    shape, looks, last, time_s = (grid.rows, grid.cols), [], None, 3.0
    cells, mine = grid.rows * grid.cols, []
    base = latents_of(rng, cells)
    for _ in range(5):
        time_s += float(rng.choice([0.033, 0.5, 4.0]))
        base = np.float32(base + rng.choice([0.0, 0.02, 0.5], (cells, 1)) * rng.normal(size=base.shape))
        glimpse, last = memory.remember(last, base.reshape(*shape, CHANNELS), time_s, EDGES)
        mine.append((glimpse, last))
        looks.append({"latents": base.ravel(), "timeS": number(time_s)})
    theirs = sender_twin.ask("memory", looks=looks, grid=grid_words(grid), edges=list(EDGES))
    for (glimpse, after), told in zip(mine, theirs, strict=True):
        np.testing.assert_allclose(told["glimpse"], glimpse.ravel(), rtol=LOGARITHM, atol=LOGARITHM)
        for name in ("usual", "spread", "restless"):
            np.testing.assert_allclose(told[name], getattr(after, name).ravel(), rtol=1e-6, atol=1e-7)
    canvas = still(grid, rng)
    quiet, shown = np.float32(rng.random(shape) * 9), np.float32(rng.random(shape))
    held, seen = dequantise(canvas.values), base.reshape(*shape, CHANNELS)
    question = memory.asked(glimpse, seen, held, known(canvas.depth), quiet, shown, EDGES)
    missed = novelty.by_level(novelty.missed(seen, held, known(canvas.depth), 0.0), EDGES)
    asked = sender_twin.call(
        "memory", "asked", glimpse.ravel(), missed.ravel(), canvas.depth.ravel(), quiet.ravel(), shown.ravel(), EDGES
    )
    np.testing.assert_allclose(asked, question.ravel(), rtol=LOGARITHM, atol=LOGARITHM)
    event, busy = np.float32(rng.random(shape)), np.float32(rng.random(shape))
    for before in (None, busy):
        new, after_it = memory.surprise(event, before, 0.3)
        flat = None if before is None else before.ravel()
        told = sender_twin.call("memory", "surprise", event.ravel(), flat, 0.3)
        same(told["fresh"], new.ravel())
        np.testing.assert_allclose(told["busy"], after_it.ravel(), rtol=1e-6)


# The floor and the budget


@given(generators, st.sampled_from([0.0, 0.4, 2.0, 30.0]))
@few
def test_what_is_due(sender_twin: Tagged, rng: Rng, refresh_s: float) -> None:
    mine, calls, expected = floor.Floor(refresh_s), [], []
    in_sight = rng.random((6, 7)) < 0.8
    for version in range(1, 30, 2):
        now = version * refresh_s / 8
        changed = np.uint32(rng.integers(0, version + 1, in_sight.shape))
        most = int(rng.integers(0, 40))
        calls.append(["due", changed.ravel(), in_sight.ravel(), number(now), most])
        due = mine.due(changed, in_sight, now, most)
        expected.append(due.ravel() if refresh_s else None)
        mine.sent(range(version, version + 2), now)
        calls.append(["sent", version, version + 2, number(now)])
    theirs = sender_twin.drive("floor", "Floor", [number(refresh_s)], calls)
    for told, due in zip(theirs[::2], expected, strict=True):
        same(told, due)


@given(generators)
@few
def test_the_ledger(sender_twin: Tagged, rng: Rng) -> None:
    caps = budget.Caps(float(rng.choice([0.5, 30.0, 77.7])), float(rng.choice([1.5, 20.0, 300.0])))
    mine, calls, left, now = budget.Ledger(caps), [], [], 0.0
    for _ in range(30):
        now += float(rng.choice([0.0, 0.0333, 0.4, 1.101]))
        if rng.random() < 0.2:
            lower = (float(rng.random() * 50), float(rng.choice([3.3, math.inf])))
            mine.honour(*lower)
            calls.append(["honour", *(value if math.isinf(value) else number(value) for value in lower)])
        spent = int(rng.integers(0, 9000)), int(rng.integers(0, 90))
        mine.spend(now, *spent)
        allowance = mine.left(now)
        calls += [["spend", number(now), *spent], ["left", number(now)]]
        left.append({"bits": allowance.bits, "tokens": allowance.tokens})
    words = {"kbps": number(caps.kbps), "tokensPerS": number(caps.tokens_per_s)}
    theirs = sender_twin.drive("budget", "Ledger", [words], calls)
    assert [told for told, call in zip(theirs, calls, strict=True) if call[0] == "left"] == left
    with pytest.raises(TwinError, match=r"RangeError.*above zero"):
        sender_twin.drive("budget", "Ledger", [{**words, "kbps": 0}], [])


@given(generators, st.sampled_from([0.001, 0.01, 0.3]), st.sampled_from([0.0, 0.5, 3.0]))
@settings(max_examples=30)
def test_what_is_bought_and_why(sender_twin: Tagged, rng: Rng, bit: float, token: float) -> None:
    shape = (6, 7)
    rough = rng.random() < 0.5  # whole numbers: many are alike, and the first is taken
    gains = [rng.normal(size=(*shape, LEVELS)) * 8 + 2 for _ in range(2)]
    bits = rng.random((*shape, LEVELS)) * np.arange(4, 4 + 9 * LEVELS, 9)
    set_gain, refine_gain, set_bits = (np.float32(np.rint(a) if rough else a) for a in (*gains, bits))
    depth = np.uint8(rng.integers(0, LEVELS + 1, shape))
    offer = budget.Offer(set_gain, refine_gain, np.zeros(shape, np.float32), set_bits, depth)
    allowance = budget.Allowance(float(rng.random() * rng.choice([200, 4000])), int(rng.integers(0, 60)))
    left = budget.Allowance(allowance.bits * 1.7, allowance.tokens + 3)
    mine = budget.buy(offer, allowance, budget.Price(bit, token), left)
    words = {
        "levels": LEVELS, "setGain": set_gain.ravel(), "refineGain": refine_gain.ravel(),
        "setBits": set_bits.ravel(), "depth": depth.ravel(),
    }  # fmt: skip
    price = {"bit": bit, "token": number(token)}
    funds = [{"bits": number(each.bits), "tokens": each.tokens} for each in (allowance, left)]
    theirs = sender_twin.call("budget", "buy", words, funds[0], price, funds[1])
    names = {"setTo": "set_to", "refineTo": "refine_to", "gain": "gain", "worth": "worth"}
    for name, ours in names.items():
        same(theirs[name], getattr(mine, ours).ravel(), name)
    assert theirs["surplus"] == mine.surplus
    alert, in_sight = np.float32(rng.random(shape) * 9), rng.random(shape) < 0.8
    why = sender_twin.call("budget", "explain", theirs, alert.ravel(), in_sight.ravel())
    same(why, budget.explain(mine, alert, in_sight).ravel())


@pytest.mark.parametrize("more", [-1e-3, -1e-9, 0.0])
def test_what_is_free_is_compared_in_float32(sender_twin: Tagged, more: float) -> None:
    """As numpy compares its float32 with Python's float: a hair less than the bits is enough."""
    bits = np.float32([[[100.3, 900, 900, 900, 900, 900]]])
    gain = np.full((1, 1, LEVELS), 50, np.float32)
    offer = budget.Offer(gain, gain, np.zeros((1, 1), np.float32), bits, np.uint8([[0]]))
    funds = budget.Allowance(float(bits[0, 0, 0] + np.float32(8)) + more, 5)
    mine = budget.buy(offer, funds, budget.Price(0.01, 1.0))
    assert mine.set_to.item() == int(more > -1e-6)
    flat = {"setGain": gain.ravel(), "refineGain": gain.ravel(), "setBits": bits.ravel(), "depth": np.uint8([0])}
    words = {"bits": funds.bits, "tokens": funds.tokens}
    theirs = sender_twin.call("budget", "buy", {"levels": LEVELS, **flat}, words, {"bit": 0.01, "token": 1}, words)
    same(theirs["setTo"], mine.set_to.ravel())
    gist = {"ways": 1, "gain": np.ones(1, np.float32), "told": bits.ravel()[:1], "kept": bits.ravel()[:1]}
    spare = float(bits[0, 0, 0] + np.float32(4)) + more
    of_gist = budget.GistOffer(np.ones(1, np.float32), bits[0, :, :1], bits[0, :, :1], (0, 1))
    renewed = budget.renew(of_gist, spare, budget.Price(0.001, 0.1))
    theirs = sender_twin.call("budget", "renew", {**gist, "edges": [0, 1]}, spare, {"bit": 0.001, "token": 0.1})
    assert theirs["levels"] == renewed.levels == int(more > -1e-6)


@given(generators, st.sampled_from([0.0, 90.0, 700.0, 5000.0]))
@few
def test_what_of_a_gist_is_renewed(sender_twin: Tagged, rng: Rng, bits: float) -> None:
    ways = 4
    gain = np.float32(rng.normal(size=GIST) * 0.02 + float(rng.choice([0.0, 0.01])))
    told, kept = (np.float32(rng.random((ways, GIST)) * 6) for _ in range(2))
    kept[:, GIST_EDGES[int(rng.integers(1, GIST_LEVELS + 1))] :] = 1e6
    mine = budget.renew(budget.GistOffer(gain, told, kept, GIST_EDGES), bits, budget.Price(0.002, 0.1))
    offer = {"ways": ways, "gain": gain, "told": told.ravel(), "kept": kept.ravel(), "edges": list(GIST_EDGES)}
    theirs = sender_twin.call("budget", "renew", offer, number(bits), {"bit": 0.002, "token": 0.1})
    assert (theirs["levels"], theirs["bits"], theirs["surplus"]) == (mine.levels, mine.bits, mine.surplus)
    same(theirs["told"], mine.told)


# Wishes


def wished(wishes: wishes.Wishes) -> dict[str, Any]:
    attention = wishes.attention and {
        "at": list(wishes.attention.at), "cols": wishes.attention.cols, "weights": list(wishes.attention.weights),
    }  # fmt: skip
    words = {"kbps": wishes.kbps, "tokensPerS": wishes.tokens_per_s, "interest": wishes.interest}
    return {**words, "attention": attention, "detail": [list(box) for box in wishes.detail]}


def packable(value: Any) -> bool:
    """What a feedback can hold: msgpack has no whole numbers of more than 64 bits."""
    if isinstance(value, dict | list):
        return all(map(packable, value.values() if isinstance(value, dict) else value))
    return not isinstance(value, int) or -(2**63) <= value < 2**64


@given(nearly.filter(packable) | stated.map(wishes.Wishes.to_map))
@example(
    {"kbps": 5.812031758557853e16, "tokens_per_s": 2**63, "interest": 2.0, "detail": [[1.0, 2, 3, 4], [1, 2, 3, 4]]}
)
@example({"attention": {"at": [0, 2**60], "cols": True, "weights": b"ab"}, "interest": True})
@example({"attention": {"at": [5, -7], "cols": True, "weights": b"ab"}, "kbps": math.inf, "tokens_per_s": math.nan})
@settings(max_examples=30)
def test_any_wishes_are_read_alike(sender_twin: Tagged, feedback: dict[str, Any]) -> None:
    mine = wishes.read(feedback)
    theirs = sender_twin.call("wishes", "readWishes", Map.of(feedback))
    if theirs["attention"]:
        theirs["attention"]["weights"] = theirs["attention"]["weights"].tolist()
    assert theirs == wished(mine)


near = st.integers(-200, 300)


@given(
    st.builds(
        wishes.Wishes,
        interest=st.floats(1 / 16, 16),
        attention=st.builds(
            lambda at, cols, rows, seed, top: wishes.Attention(
                at, cols, np.random.default_rng(seed).integers(0, top, rows * cols, np.uint8).tobytes()
            ),
            st.tuples(near, near), st.integers(1, 12), st.integers(1, 12), st.integers(0, 99),
            st.sampled_from([1, 256]),
        ),
        detail=st.lists(st.tuples(near, near, st.integers(1, 90), st.integers(1, 90)), max_size=3).map(tuple),
    ),
    generators,
)  # fmt: skip
@settings(max_examples=20)
def test_what_wishes_make_of_gains(sender_twin: Tagged, wish: wishes.Wishes, rng: Rng) -> None:
    in_sight = rng.random((7, 9)) < 0.8
    mine = wishes.counts(wish, (0, 0), in_sight, CELL)
    words: dict[str, Any] = {"interest": number(wish.interest), "detail": [list(box) for box in wish.detail]}
    assert wish.attention is not None
    words["attention"] = {"at": list(wish.attention.at), "cols": wish.attention.cols, "weights": wish.attention.weights}
    same(sender_twin.call("wishes", "counts", words, in_sight.ravel(), {"rows": 7, "cols": 9}, CELL), mine.ravel())
    other = {**words, "kbps": 7.5, "tokensPerS": math.inf}
    assert sender_twin.call("wishes", "sameWishes", other, other) is True
    changes = {"kbps": 8.5, "interest": 99, "detail": [[1, 2, 3, 4]], "attention": None}
    for name, change in changes.items():
        assert sender_twin.call("wishes", "sameWishes", other, {**other, name: change}) is False, name


# What it costs, and the patch


def test_bits_of_every_symbol(sender_twin: Tagged) -> None:
    tables = load_tables()
    costs = sender_twin.ask("tables", bytes=tables.to_bytes())
    same(costs["value"], tables.costs["value"].ravel())
    same(costs["gistValue"], tables.costs["gist_value"].ravel())


@given(generators, sizes)
@few
def test_costs_of_values_and_gist(sender_twin: Tagged, rng: Rng, grid: Grid) -> None:
    canvas = still(grid, rng)
    shape = canvas.depth.shape
    values, gist, wanted = random_values(shape, rng), random_gist(rng), rng.random(shape) < 0.7
    bits = sender_twin.ask("coded", name="valueCosts", args=[canvas_words(canvas), values.ravel(), wanted.ravel()])
    same(bits, (value_costs(canvas, values, load_tables()) * wanted[..., None]).ravel())
    told, kept = gist_costs(canvas, gist, load_tables())
    theirs = sender_twin.ask("coded", name="gistCosts", args=[canvas_words(canvas), gist])
    same(theirs["told"], told.ravel())
    same(theirs["kept"], kept.ravel())
    assert theirs["ways"] == len(told)


def patch_of(edits: Any) -> dict[str, Any]:
    maps = {name: getattr(edits, name).ravel().tolist() for name in ("kind", "depth", "values", "move", "gist")}
    return {"dx": 0, "dy": 0, "gistDepth": edits.gist_depth, **maps}


@given(generators, sizes, st.integers(1, 9))
@few
def test_patches_and_their_parts(sender_twin: Tagged, rng: Rng, grid: Grid, parts: int) -> None:
    canvas = still(grid, rng)
    shape = canvas.depth.shape
    values, gist, levels = random_values(shape, rng), random_gist(rng), int(rng.integers(GIST_LEVELS + 1))
    set_to, refine_to = (np.uint8(rng.integers(0, LEVELS + 1, shape) * (rng.random(shape) < 0.4)) for _ in range(2))
    mine = diff(values, canvas, set_to, refine_to=refine_to, gist=gist, gist_to=levels)
    wanted = {"setTo": set_to.ravel(), "refineTo": refine_to.ravel(), "gist": gist, "gistTo": levels}
    theirs = sender_twin.call("codec", "diff", values.ravel(), canvas_words(canvas), wanted)
    plain = lambda edits: {key: v.tolist() if isinstance(v, np.ndarray) else v for key, v in edits.items()}  # noqa: E731
    assert plain(theirs) == patch_of(mine)
    assert sender_twin.call("codec", "tokensOf", theirs) == mine.tokens
    chain = sender_twin.call("codec", "split", theirs, canvas_words(canvas), parts)
    assert [plain(part) for part in chain] == [patch_of(part) for part in split(mine, parts)]
