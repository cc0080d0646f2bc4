"""What the model's state makes the server wish."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from edge_gate.wishes import Wishes
from vidtok.live import wishing
from vidtok.live.wishing import ASKED, FEWEST, HEEDED_S, LEAST_S, NOBODY, QUIET_S, SOON_S, STEP_S, State

BASE = Wishes()
LOOKED = np.array([[0.0, 0.1, 0.0], [0.0, 0.0, 0.7]], np.float32)


def wished(state: State, now: float, base: Wishes = BASE) -> Wishes | None:
    """What is stated."""
    return wishing.wishes(state, base, now)[1]


def test_interest_follows_who_asks() -> None:
    state = State(idle_s=0.0)
    assert wished(state, 1.0) == BASE
    assert wished(state, QUIET_S + 1) == Wishes(interest=NOBODY)
    asking = wishing.asked(state, 100.0)
    assert wished(asking, 100.0 + QUIET_S + 1) == Wishes(interest=ASKED)
    done = wishing.dropped(asking, 200.0)
    assert wished(done, 201.0) == Wishes(interest=ASKED)
    assert wished(done, 200.0 + SOON_S + 1) == BASE
    assert wished(done, 200.0 + QUIET_S + 1) == Wishes(interest=NOBODY)
    assert wished(State(idle_s=math.inf), 1e6) == BASE


def test_an_answer_s_look_goes_back_and_fades() -> None:
    state = wishing.answered(wishing.asked(State(0.0), 1.0), LOOKED, (40, -10), 0.9, 2.0)
    told = wished(state, 2.5)
    assert told is not None
    assert told.attention is not None
    assert (told.attention.at, told.attention.cols) == ((40, -10), 3)
    assert told.attention.weights[5] == 255
    assert told.detail == ()
    assert wished(state, 3.0 + HEEDED_S) == BASE


def test_an_unsure_answer_wishes_for_detail_where_it_looked() -> None:
    state = wishing.answered(wishing.asked(State(0.0), 1.0), LOOKED, (40, -10), 0.2, 2.0)
    told = wished(state, 2.5)
    assert told is not None
    assert told.detail == ((32 + 64, -32 + 32, 32, 32), (32 + 32, -32, 32, 32))


def test_an_answer_without_a_look_is_an_end_only() -> None:
    state = wishing.answered(wishing.asked(State(0.0), 1.0), np.zeros((2, 3), np.float32), (0, 0), 0.1, 2.0)
    assert (state.asking, state.attention, state.detail) == (0, None, ())


def test_nothing_is_stated_twice_nor_too_often() -> None:
    state, first = wishing.wishes(State(0.0), BASE, 1.0)
    assert first == BASE
    assert wished(state, 50.0) is None
    asking = wishing.asked(state, 1.0 + LEAST_S / 2)
    assert wished(asking, 1.0 + LEAST_S / 2) is None
    assert wished(asking, 1.0 + LEAST_S) is not None


def test_who_falls_behind_gets_less_and_slowly_more_again() -> None:
    state, now = State(0.0), 10.0
    caps = []
    for _ in range(3):
        state = wishing.read(state, 1.0, 100.0, now)
        caps.append(state.cap)
        now += STEP_S
    assert caps == sorted(caps, reverse=True)
    assert caps[0] == 70.0
    told = wished(state, now)
    assert told is not None
    assert told.tokens_per_s == state.cap
    assert wishing.read(state, 0.5, 30.0, now) is state
    while state.cap < math.inf:
        before, state = state.cap, wishing.read(state, 0.0, 30.0, now)
        assert state.cap > before
        now += STEP_S
    assert wished(state, now) == BASE


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1e4), st.floats(0, 3)), max_size=60))
def test_a_cap_is_never_below_what_a_scene_needs_nor_changed_too_often(steps: list[tuple[float, float, float]]) -> None:
    state, now, changed = State(0.0), 0.0, -math.inf
    for behind, rate, passed in steps:
        now += passed
        after = wishing.read(state, behind, rate, now)
        if after.cap != state.cap:
            assert now - changed >= STEP_S
            changed = now
        assert after.cap >= FEWEST
        state = after
