"""The double cap: law 4 at its root, and what is bought first."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from edge_gate.budget import LATE_S, TICK_S, WINDOW_S, Allowance, Caps, Ledger, Offer, buy

LEVELS = 4
generators = st.integers(0, 2**32 - 1).map(np.random.default_rng)
numbers = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5), st.lists(st.integers()))


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


@given(st.lists(st.dictionaries(st.sampled_from(["kbps", "tokens_per_s", "other"]), numbers), max_size=5))
def test_the_receivers_limits_only_lower(feedbacks: list[dict[str, object]]) -> None:
    asked = Caps(30.0, 300.0)
    ledger = Ledger(asked)
    for feedback in feedbacks:
        ledger.honour(feedback)
        assert 0 < ledger.caps.kbps <= asked.kbps
        assert 0 < ledger.caps.tokens_per_s <= asked.tokens_per_s


def test_a_limit_holds_until_the_next_feedback() -> None:
    ledger = Ledger(Caps(30.0, 300.0))
    ledger.honour({"kbps": 5, "tokens_per_s": 1000})
    assert ledger.caps == Caps(5.0, 300.0)
    ledger.honour({"kbps": 12.5})
    assert ledger.caps == Caps(12.5, 300.0)
    ledger.honour({})
    assert ledger.caps == Caps(30.0, 300.0)


# Buying


def offer_of(rng: np.random.Generator, rows: int = 5, cols: int = 6) -> Offer:
    shape = (rows, cols)
    return Offer(
        gain=(rng.random(shape) * (rng.random(shape) < rng.random())).astype(np.float32),
        set_bits=rng.uniform(2, 16, (*shape, LEVELS)).astype(np.float32),
        quiet=rng.uniform(-1, 2, shape).astype(np.float32),
        depth=rng.integers(0, LEVELS + 1, shape).astype(np.uint8),
        moving=rng.random(shape) < 0.1,
    )


def cost_of(offer: Offer, set_to: NDArray[np.uint8], refine_to: NDArray[np.uint8]) -> tuple[float, int]:
    """What a purchase costs in bits and tokens."""
    bits, tokens = 0.0, 0
    for row, col in np.argwhere((set_to > 0) | (refine_to > 0)):
        tokens += 1
        if set_to[row, col]:
            moved = bool(offer.moving[row, col])
            levels = offer.set_bits[row, col, : set_to[row, col]].sum() + offer.edit_bits
            bits += offer.move_bits if moved else float(levels)
        else:
            new = slice(int(offer.depth[row, col]), int(refine_to[row, col]))
            bits += float(offer.set_bits[row, col, new].sum()) + offer.edit_bits
    return bits, tokens


allowances = st.builds(Allowance, st.one_of(st.floats(0, 2000), st.just(0.0)), st.integers(0, 60))


@settings(max_examples=150)
@given(generators, allowances, st.integers(1, LEVELS), st.floats(0, 1))
def test_both_limits_hold_and_only_what_is_for_sale_is_bought(
    rng: np.random.Generator, allowance: Allowance, news_levels: int, quiet_s: float
) -> None:
    offer = offer_of(rng)
    set_to, refine_to = buy(offer, allowance, news_levels=news_levels, quiet_s=quiet_s)
    bits, tokens = cost_of(offer, set_to, refine_to)
    assert bits <= allowance.bits + 1e-2
    assert tokens <= allowance.tokens
    assert set_to.max(initial=0) <= news_levels
    assert not ((set_to > 0) & (refine_to > 0)).any()
    assert (offer.gain[set_to > 0] > 0).all()
    refined = refine_to > 0
    assert (offer.quiet[refined] >= quiet_s - TICK_S).all()
    assert not offer.moving[refined].any()
    assert (offer.depth[refined] > 0).all()
    assert (refine_to[refined] > offer.depth[refined]).all()
    assert refine_to.max(initial=0) <= LEVELS


@given(generators)
def test_nothing_is_bought_for_nothing(rng: np.random.Generator) -> None:
    for allowance in (Allowance(0.0, 10), Allowance(1000.0, 0), Allowance(0.0, 0)):
        set_to, refine_to = buy(offer_of(rng), allowance, news_levels=2, quiet_s=0.3)
        assert not set_to.any()
        assert not refine_to.any()


@given(generators, st.floats(20, 400))
def test_the_best_gain_per_bit_comes_first(rng: np.random.Generator, bits: float) -> None:
    offer = replace(offer_of(rng), quiet=np.full((5, 6), -1, np.float32))
    set_to, _ = buy(offer, Allowance(bits, 100), news_levels=1, quiet_s=0.3)
    cost = np.where(offer.moving, offer.move_bits, offer.set_bits[..., 0] + offer.edit_bits)
    worth = offer.gain / cost
    bought, left = worth[set_to > 0], worth[(set_to == 0) & (offer.gain > 0)]
    assert min(bought, default=1.0) >= max(left, default=0.0) - 1e-6


@given(generators, st.floats(20, 400), st.integers(1, 12))
def test_more_to_spend_never_buys_less_news(rng: np.random.Generator, bits: float, tokens: int) -> None:
    offer = offer_of(rng)
    less, _ = buy(offer, Allowance(bits, tokens), news_levels=1, quiet_s=0.3)
    more, _ = buy(offer, Allowance(bits * 2, tokens * 2), news_levels=1, quiet_s=0.3)
    assert ((more > 0) >= (less > 0)).all()


def one_row(**changes: object) -> Offer:
    offer = Offer(
        gain=np.zeros((1, 3), np.float32),
        set_bits=np.full((1, 3, LEVELS), 10, np.float32),
        quiet=np.full((1, 3), -1, np.float32),
        depth=np.zeros((1, 3), np.uint8),
        moving=np.zeros((1, 3), bool),
    )
    return replace(offer, **changes)  # type: ignore[arg-type]


def test_all_news_gets_all_its_levels_or_all_get_fewer() -> None:
    offer = one_row(gain=np.ones((1, 3), np.float32))
    for bits, levels in ((3 * 28.0, [2, 2, 2]), (3 * 28.0 - 1, [1, 1, 1]), (36.0, [1, 1, 0])):
        set_to, _ = buy(offer, Allowance(bits, 10), news_levels=2, quiet_s=0.3)
        assert set_to.ravel().tolist() == levels


def test_a_move_is_the_cheaper_buy() -> None:
    offer = one_row(gain=np.ones((1, 3), np.float32), moving=np.array([[False, True, False]]))
    set_to, _ = buy(offer, Allowance(8.0, 10), news_levels=1, quiet_s=0.3)
    assert set_to.ravel().tolist() == [0, 1, 0]


def test_the_shallowest_and_longest_quiet_is_refined_first() -> None:
    offer = one_row(quiet=np.array([[1.0, 2.0, 3.0]], np.float32), depth=np.array([[1, 1, 2]], np.uint8))
    bought = [buy(offer, Allowance(bits, 10), news_levels=2, quiet_s=0.3)[1].ravel().tolist() for bits in (39, 78, 999)]
    assert bought == [[0, 4, 0], [4, 4, 0], [4, 4, 4]]
    deep_as_it_goes = buy(offer, Allowance(30.0, 10), news_levels=2, quiet_s=0.3)[1]
    assert deep_as_it_goes.ravel().tolist() == [0, 3, 0]


def test_news_comes_before_refinement() -> None:
    offer = one_row(
        gain=np.array([[0.3, 0, 0]], np.float32),
        quiet=np.array([[-1, 5.0, 5.0]], np.float32),
        depth=np.array([[1, 1, 1]], np.uint8),
    )
    set_to, refine_to = buy(offer, Allowance(28.0 + 38.0, 10), news_levels=2, quiet_s=0.3)
    assert set_to.ravel().tolist() == [2, 0, 0]
    assert Counter(refine_to.ravel().tolist()) == {0: 2, 4: 1}
