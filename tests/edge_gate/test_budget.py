"""The double cap: law 4 at its root, and what is bought first."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from edge_gate.budget import (
    LATE_S,
    TICK_S,
    WINDOW_S,
    Allowance,
    Bought,
    Caps,
    GistOffer,
    Ledger,
    Offer,
    Price,
    Why,
    buy,
    explain,
    renew,
)

LEVELS = 4
Floats = NDArray[np.float32]
generators = st.integers(0, 2**32 - 1).map(np.random.default_rng)
limits = st.floats(0, exclude_min=True)


# The ledger


@pytest.mark.parametrize(("kbps", "tokens"), [(0.0, 1.0), (1.0, 0.0), (-1.0, 5.0), (float("nan"), 5.0)])
def test_caps_are_above_zero(kbps: float, tokens: float) -> None:
    with pytest.raises(ValueError, match="above zero"):
        Caps(kbps, tokens)


@given(
    st.floats(0.5, 500),
    st.floats(1, 1000),
    st.lists(st.tuples(st.floats(0, 0.7), st.floats(0, 1), st.floats(0, 1)), max_size=60),
)
def test_law_4_no_second_goes_over_when_what_is_left_is_all_that_is_spent(
    kbps: float, tokens_per_s: float, steps: list[tuple[float, float, float]]
) -> None:
    ledger, now, log = Ledger(Caps(kbps, tokens_per_s)), 0.0, []
    for wait, bit_share, token_share in steps:
        now += wait
        left = ledger.left(now)
        bits, tokens = int(left.bits * bit_share), int(left.tokens * token_share)
        ledger.spend(now, bits, tokens)
        log.append((now, bits, tokens))
    for start, _, _ in log:
        window = [entry for entry in log if start <= entry[0] < start + WINDOW_S]
        assert sum(entry[1] for entry in window) <= kbps * 1000 + 1
        assert sum(entry[2] for entry in window) <= tokens_per_s


def test_spending_counts_for_a_second_and_as_long_as_a_frame_may_be_late() -> None:
    assert WINDOW_S == 1.0 + LATE_S
    ledger = Ledger(Caps(1.0, 10))
    ledger.spend(5.0, 600, 4)
    ledger.spend(5.5, 300, 3)
    assert ledger.left(5.5) == Allowance(100.0, 3)
    assert ledger.left(4.999 + WINDOW_S) == Allowance(100.0, 3)
    assert ledger.left(5.0 + WINDOW_S + 2 * TICK_S) == Allowance(700.0, 7)
    assert ledger.left(5.5 + WINDOW_S + 2 * TICK_S) == Allowance(1000.0, 10)


def test_the_clocks_last_digits_decide_nothing() -> None:
    for last in (-1e-12, 0.0, 1e-12):
        ledger = Ledger(Caps(1.0, 10))
        ledger.spend(5.0, 600, 4)
        assert ledger.left(5.0 + WINDOW_S + last) == Allowance(400.0, 6)


def test_nothing_is_left_after_running_over() -> None:
    ledger = Ledger(Caps(1.0, 10))
    ledger.spend(0.0, 9000, 50)
    assert ledger.left(0.9) == Allowance(0.0, 0)


@given(st.lists(st.tuples(limits, limits), max_size=5))
def test_the_receivers_limits_only_lower(feedbacks: list[tuple[float, float]]) -> None:
    asked = Caps(30.0, 300.0)
    ledger = Ledger(asked)
    for feedback in feedbacks:
        ledger.honour(*feedback)
        assert 0 < ledger.caps.kbps <= asked.kbps
        assert 0 < ledger.caps.tokens_per_s <= asked.tokens_per_s


def test_a_limit_holds_until_the_next_feedback() -> None:
    ledger = Ledger(Caps(30.0, 300.0))
    ledger.honour(5.0, 1000.0)
    assert ledger.caps == Caps(5.0, 300.0)
    ledger.honour(12.5, math.inf)
    assert ledger.caps == Caps(12.5, 300.0)
    ledger.honour(math.inf, math.inf)
    assert ledger.caps == Caps(30.0, 300.0)


# Buying

AMPLE = Allowance(1e9, 10**6)


def offer_of(rng: np.random.Generator, rows: int = 5, cols: int = 6) -> Offer:
    shape = (rows, cols)
    moving = rng.random(shape) < 0.1
    return Offer(
        set_gain=np.cumsum(rng.uniform(-0.2, 0.8, (*shape, LEVELS)), -1).astype(np.float32),
        refine_gain=np.cumsum(rng.uniform(0, 0.5, (*shape, LEVELS)), -1).astype(np.float32),
        move_gain=np.where(moving, rng.uniform(-0.5, 2, shape), 0).astype(np.float32),
        set_bits=rng.uniform(2, 60, (*shape, LEVELS)).astype(np.float32),
        depth=rng.integers(0, LEVELS + 1, shape).astype(np.uint8),
    )


def gain_and_bits(offer: Offer, bought: Bought, row: int, col: int) -> tuple[float, float]:
    """Of what was bought of a cell."""
    if bought.moved[row, col]:
        return float(offer.move_gain[row, col]), offer.move_bits
    levels = int(bought.set_to[row, col] or bought.refine_to[row, col])
    first = 0 if bought.set_to[row, col] else int(offer.depth[row, col])
    gains = offer.set_gain if bought.set_to[row, col] else offer.refine_gain
    return float(gains[row, col, levels - 1]), float(offer.set_bits[row, col, first:levels].sum()) + offer.edit_bits


def picked(bought: Bought) -> list[tuple[int, int]]:
    """The cells of which anything was bought."""
    return [(row, col) for row, col in np.argwhere((bought.set_to > 0) | (bought.refine_to > 0) | bought.moved)]


def spent(offer: Offer, bought: Bought) -> tuple[float, int]:
    """What a purchase costs in bits and tokens."""
    cells = picked(bought)
    return sum(gain_and_bits(offer, bought, *cell)[1] for cell in cells), len(cells)


allowances = st.builds(Allowance, st.one_of(st.floats(0, 4000), st.just(0.0)), st.integers(0, 60))
prices = st.sampled_from([0.0, 0.002, 0.01, 0.05])


@settings(max_examples=150)
@given(generators, allowances, prices)
def test_both_limits_hold_and_only_what_is_for_sale_is_bought(
    rng: np.random.Generator, allowance: Allowance, price: float
) -> None:
    offer = offer_of(rng)
    bought = buy(offer, allowance, Price(price))
    bits, tokens = spent(offer, bought)
    assert bits <= allowance.bits + 1e-2
    assert tokens <= allowance.tokens
    ways = np.stack([bought.set_to > 0, bought.refine_to > 0, bought.moved])
    assert ways.sum(0).max() <= 1
    assert max(bought.set_to.max(), bought.refine_to.max()) <= LEVELS
    refined = bought.refine_to > 0
    assert (offer.depth[refined] > 0).all()
    assert (bought.refine_to[refined] > offer.depth[refined]).all()
    nets = [gain - price * bits for gain, bits in (gain_and_bits(offer, bought, *cell) for cell in picked(bought))]
    assert min(nets, default=1.0) > -1e-5
    assert bought.surplus == pytest.approx(sum(nets), abs=1e-3)


@given(generators)
def test_nothing_is_bought_for_nothing(rng: np.random.Generator) -> None:
    for allowance in (Allowance(0.0, 10), Allowance(1000.0, 0), Allowance(0.0, 0)):
        bought = buy(offer_of(rng), allowance, Price(0.001))
        assert not picked(bought)
        assert bought.surplus == 0


@given(generators, prices)
def test_with_enough_to_spend_every_cell_gets_what_is_best_for_it(rng: np.random.Generator, price: float) -> None:
    offer = offer_of(rng)
    bought = buy(offer, AMPLE, Price(price))
    for row, col in np.ndindex(offer.depth.shape):
        to_set = np.cumsum(offer.set_bits[row, col])
        held = int(offer.depth[row, col])
        nets = [0.0, offer.move_gain[row, col] - price * offer.move_bits]
        nets += (offer.set_gain[row, col] - price * (to_set + offer.edit_bits)).tolist()
        if held:
            more = to_set[held:] - to_set[held - 1] + offer.edit_bits
            nets += (offer.refine_gain[row, col, held:] - price * more).tolist()
        gain, bits = gain_and_bits(offer, bought, row, col) if (row, col) in picked(bought) else (0.0, 0.0)
        assert gain - price * bits == pytest.approx(max(nets), abs=1e-4)


@given(generators, st.integers(1, 25), st.sampled_from([1e6, 1e9]))
def test_the_best_gain_for_its_share_of_both_caps_comes_first(
    rng: np.random.Generator, tokens: int, bits: float
) -> None:
    offer = offer_of(rng)
    everything, some = buy(offer, AMPLE, Price(0.002)), buy(offer, Allowance(bits, tokens), Price(0.002))
    told = {cell: gain_and_bits(offer, everything, *cell) for cell in picked(everything)}
    worth = {cell: gain / (cost / bits + 1 / tokens) for cell, (gain, cost) in told.items()}
    taken = set(picked(some))
    assert len(taken) == min(tokens, len(worth))
    assert taken <= set(worth)
    left = max((worth[cell] for cell in worth if cell not in taken), default=0.0)
    assert min((worth[cell] for cell in taken), default=left) >= left * (1 - 1e-5)


@given(generators, prices, prices)
def test_the_dearer_a_bit_the_fewer_are_bought(rng: np.random.Generator, one: float, two: float) -> None:
    offer = offer_of(rng)
    cheap, dear = (spent(offer, buy(offer, AMPLE, Price(price))) for price in sorted((one, two)))
    assert dear[0] <= cheap[0] + 1e-2
    assert dear[1] <= cheap[1]


@given(generators, st.integers(1, 12))
def test_more_tokens_to_spend_never_buy_less(rng: np.random.Generator, tokens: int) -> None:
    offer = offer_of(rng)
    less, more = (buy(offer, Allowance(1e9, count), Price(0.002)) for count in (tokens, 2 * tokens))
    assert set(picked(less)) <= set(picked(more))
    assert less.surplus <= more.surplus + 1e-6


def one_row(**changes: object) -> Offer:
    """Three cells; a level costs ten bits, and nothing is worth anything yet."""
    levels = np.zeros((1, 3, LEVELS), np.float32)
    offer = Offer(
        set_gain=levels,
        refine_gain=levels,
        move_gain=np.zeros((1, 3), np.float32),
        set_bits=levels + 10,
        depth=np.zeros((1, 3), np.uint8),
    )
    return replace(offer, **changes)  # type: ignore[arg-type]


def per_level(*gains: float) -> Floats:
    """Of 1, 2, ... levels; the same for three cells."""
    return np.tile(np.array(gains, np.float32), (1, 3, 1))


def test_levels_are_bought_as_long_as_each_is_worth_its_bits() -> None:
    offer = one_row(set_gain=per_level(5.0, 8.0, 9.0, 9.1))
    for price, levels in ((0.005, 4), (0.05, 3), (0.2, 2), (0.35, 0)):
        assert buy(offer, AMPLE, Price(price)).set_to.ravel().tolist() == [levels] * 3


def test_where_the_bits_run_out_a_cheaper_edit_does() -> None:
    offer = one_row(set_gain=per_level(5.0, 8.0, 10.0, 12.0))
    for bits, levels in (
        (3 * 48.0, [4, 4, 4]),
        (3 * 48.0 - 1, [4, 4, 3]),
        (2 * 48.0 + 18, [4, 4, 1]),
        (60.0, [4, 0, 0]),
    ):
        assert buy(offer, Allowance(bits, 10), Price(0.001)).set_to.ravel().tolist() == levels


def test_a_move_is_the_cheaper_buy() -> None:
    offer = one_row(set_gain=per_level(5.0, 5.0, 5.0, 5.0), move_gain=np.array([[0, 4.9, 0]], np.float32))
    bought = buy(offer, Allowance(8.0, 10), Price(0.02))
    assert bought.moved.ravel().tolist() == [False, True, False]
    assert not bought.set_to.any()
    assert buy(offer, AMPLE, Price(0.02)).set_to.ravel().tolist() == [1, 0, 1]
    assert buy(offer, AMPLE, Price(0.001)).set_to.ravel().tolist() == [1, 1, 1]


def test_a_refinement_costs_only_the_levels_that_are_missing() -> None:
    gains = per_level(0.0, 3.0, 6.0, 8.0)
    offer = one_row(refine_gain=gains, set_gain=gains, depth=np.array([[1, 2, 4]], np.uint8))
    bought = buy(offer, Allowance(38.0 + 28.0, 10), Price(0.05))
    assert bought.refine_to.ravel().tolist() == [4, 4, 0]
    assert bought.surplus == pytest.approx(2 * 8.0 - 0.05 * 66.0)


def test_what_spares_most_a_bit_comes_before_what_spares_most() -> None:
    gains = per_level(0.0, 0.0, 0.0, 10.0)
    gains[0, 1] = 4.0
    bought = buy(one_row(set_gain=gains), Allowance(18.0 + 48.0, 10), Price(0.001))
    assert bought.set_to.ravel().tolist() == [4, 1, 0]
    offer = one_row(set_gain=gains)
    assert buy(offer, Allowance(48.0, 1000), Price(0.001)).set_to.ravel().tolist() == [0, 1, 0]
    assert buy(offer, Allowance(1e6, 1), Price(0.001)).set_to.ravel().tolist() == [4, 0, 0], "tokens are what is scarce"


def test_a_token_has_a_price_too() -> None:
    offer = one_row(set_gain=per_level(1.0, 1.5, 2.0, 2.5))
    assert buy(offer, AMPLE, Price(0.0, 2.4)).set_to.ravel().tolist() == [4, 4, 4]
    assert not buy(offer, AMPLE, Price(0.0, 2.6)).set_to.any()


# The gist


EDGES = (0, 2, 5, 9)


def gist_offer(rng: np.random.Generator, held: int, ways: int = 3) -> GistOffer:
    """Any offer on a gist of which so many levels are held."""
    size = EDGES[-1]
    kept = rng.uniform(0.1, 1, (ways, size)).astype(np.float32)
    kept[:, EDGES[held] :] = 1e6
    gain = rng.normal(0.5, 1, size).astype(np.float32)
    return GistOffer(gain, rng.uniform(1, 4, (ways, size)).astype(np.float32), kept, EDGES)


@given(generators, st.integers(0, 3), st.floats(0, 60), st.sampled_from([0.01, 0.1, 0.5]))
def test_no_other_choice_of_numbers_and_levels_is_worth_more(
    rng: np.random.Generator, held: int, bits: float, price: float
) -> None:
    offer = gist_offer(rng, held)
    got = renew(offer, bits, Price(price))
    worth = []
    for way in range(len(offer.told_bits)):
        for levels in range(1, len(EDGES)):
            first = slice(EDGES[levels])
            gain, told, kept = offer.gain[first], offer.told_bits[way, first], offer.kept_bits[way, first]
            tell = gain - price * told > -price * kept
            cost = float(np.where(tell, told, kept).sum()) + 4.0
            if cost <= bits:
                worth.append(float(gain[tell].sum()) - price * cost)
    assert got.surplus == pytest.approx(max([0.0, *worth]), abs=1e-4)
    assert got.bits <= bits + 1e-4
    assert (got.levels > 0) == (got.surplus > 0)


@given(generators, st.integers(0, 3))
def test_a_number_that_is_not_held_is_told_with_its_level(rng: np.random.Generator, held: int) -> None:
    got = renew(gist_offer(rng, held), 1000.0, Price(0.01))
    assert got.told[EDGES[held] : EDGES[got.levels]].all()


def test_what_has_not_changed_is_not_told_again() -> None:
    offer = gist_offer(np.random.default_rng(0), 3)
    assert renew(replace(offer, gain=np.zeros(EDGES[-1], np.float32)), 1000.0, Price(0.01)).levels == 0


def test_it_can_be_told_why_each_cell_was_bought_or_not() -> None:
    gains = per_level(1.0, 2.0, 3.0, 4.0)
    gains[0, 0], gains[0, 1] = 0.0, 0.001
    offer = one_row(set_gain=gains)
    alert, seen = np.array([[0.0, 0.0, 3.5]], np.float32), np.ones((1, 3), bool)
    plenty = buy(offer, AMPLE, Price(0.01))
    assert explain(plenty, alert, seen).ravel().tolist() == [Why.NOTHING_NEW, Why.TOO_DEAR, Why.EVENT]
    assert explain(plenty, 0 * alert, seen)[0, 2] == Why.NEWS
    assert explain(buy(offer, Allowance(1e6, 0), Price(0.01)), alert, seen)[0, 2] == Why.NO_ROOM
    assert not explain(plenty, alert, ~seen).any()
    deeper = one_row(refine_gain=gains, depth=np.array([[1, 1, 1]], np.uint8))
    assert explain(buy(deeper, AMPLE, Price(0.01)), alert, seen)[0, 2] == Why.REFINED
    came = one_row(move_gain=np.array([[0, 0, 5.0]], np.float32))
    assert explain(buy(came, AMPLE, Price(0.01)), alert, seen)[0, 2] == Why.MOVED
