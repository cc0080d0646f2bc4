"""The judges: what is equal scores one, what is held scores what holding scores, each moment stands alone."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from experiments.films import Film
from experiments.judges import MOST_DB, Bench, Look, Scorer, compare, cosine, luma, psnr_db, truths
from experiments.rate_quality import measure
from experiments.systems import Clip, System, all_systems, follow
from tests.experiments.toys import as_clip, clip, hold, identity, pictures

FILM = Film("toy", "toy", (64, 64), 10.0, 6.0)
ONE = ("feature_cosine", "feature_cosine_unseen", "top1_agreement", "ssim")


@cache
def bench() -> Bench:
    return Bench((64, 64))


def scored(run: Any, frames: Clip, params: Any = None) -> dict[str, Any]:
    system = System("toy", "", run, {"one": params})
    return measure(system, "one", frames, truths(bench(), frames), bench(), FILM)


def shipped(name: str, frames: Clip, true: list[Look]) -> dict[str, Any]:
    system = all_systems()[name]
    return measure(system, list(system.settings)[-1], frames, true, bench(), FILM)


def test_a_codec_that_changes_nothing_scores_one() -> None:
    row = scored(identity, clip(6))
    assert all(row[name] == pytest.approx(1, abs=1e-9) for name in ONE)
    assert row["psnr_db"] == MOST_DB
    assert row["feature_cosine_tokens"] is None


def test_holding_scores_what_the_held_picture_is_worth_at_each_moment() -> None:
    frames = clip(9)
    true = truths(bench(), frames)
    row = scored(hold, frames, 4)
    expected = [compare(true[n - n % 4], true[n]) for n in range(9)]
    for name in expected[0]:
        assert row[name] == pytest.approx(np.mean([e[name] for e in expected]), abs=1e-8)
    assert row["feature_cosine"] < 0.999


def test_a_frozen_clip_loses_nothing_by_holding() -> None:
    frozen = as_clip([pictures(1)[0]] * 7)
    row = scored(hold, frozen, 100)
    assert all(row[name] == pytest.approx(1, abs=1e-9) for name in ONE)


def test_whoever_froze_knows_less_and_less_the_more_changes() -> None:
    calm, busy = as_clip([pictures(1)[0]] * 8), clip(8)
    half = as_clip([f.pixels for f in [*calm][:4]] + [f.pixels for f in [*busy][4:]])
    known = [scored(hold, frames, 100)["psnr_db"] for frames in (calm, half, busy)]
    assert known == sorted(known, reverse=True)
    assert known[2] < known[0]


def test_the_order_of_systems_changes_nothing() -> None:
    frames = clip(8)
    true = truths(bench(), frames)
    names = ["vidtok", "x264", "rlt", "jpeg-1fps", "raw-ids"]
    forward = {name: shipped(name, frames, true) for name in names}
    backward = {name: shipped(name, frames, true) for name in reversed(names)}
    assert forward == backward


def test_ours_is_judged_through_tokens_and_viewer_and_the_better_counts() -> None:
    frames = clip(6)
    row = shipped("vidtok", frames, truths(bench(), frames))
    assert row["feature_cosine"] == max(row["feature_cosine_tokens"], row["feature_cosine_viewer"])
    assert row["top1_agreement"] in (row["top1_agreement_tokens"], row["top1_agreement_viewer"])
    assert 0 < row["kbps"] < row["wire_kbps"]


def test_policies_about_tokens_alone_have_neither_bits_nor_pictures() -> None:
    frames = clip(6)
    row = shipped("dtd", frames, truths(bench(), frames))
    assert row["feature_cosine"] == row["feature_cosine_tokens"]
    assert all(row[name] is None for name in ("kbps", "wire_kbps", "psnr_db", "ssim", "feature_cosine_unseen"))


def test_what_has_not_changed_is_not_looked_at_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    frames = as_clip([pictures(1)[0]] * 3 + [pictures(2)[1]] * 3)
    true = truths(bench(), frames)
    looks: list[int] = []
    look = bench().look
    monkeypatch.setattr(bench(), "look", lambda pixels: looks.append(1) or look(pixels))
    assert len(truths(bench(), frames)) == 6
    scorer = Scorer(bench())
    for (_, known), moment in zip(follow(System("x", "", identity, {}), None, frames), true, strict=True):
        scorer.take(known, moment)
    assert len(looks) == 2 + 2


@given(st.integers(0, 2**32 - 1), st.integers(1, 60))
@settings(max_examples=30, deadline=None)
def test_psnr_is_the_textbook_s(seed: int, spread: int) -> None:
    rng = np.random.default_rng(seed)
    a = rng.integers(0, 256, (16, 24, 3), dtype=np.uint8)
    b = np.clip(a + rng.integers(-spread, spread + 1, a.shape), 0, 255).astype(np.uint8)
    error = np.square(a.astype(float) - b).mean()
    expected = MOST_DB if error == 0 else 10 * np.log10(255**2 / error)
    assert psnr_db(a, b) == pytest.approx(expected, abs=1e-6)
    assert psnr_db(a, b) == psnr_db(b, a)


def test_cosine_of_equal_and_opposite_vectors() -> None:
    vector = np.arange(1, 9, dtype=np.float32)
    assert cosine(vector, vector) == pytest.approx(1, abs=1e-12)
    assert cosine(vector, -vector) == pytest.approx(-1, abs=1e-12)
    assert cosine(vector, 0 * vector) == 0


def test_luma_keeps_gray_as_it_is() -> None:
    gray = np.repeat(np.arange(256, dtype=np.uint8).reshape(16, 16, 1), 3, -1)
    assert np.array_equal(luma(gray), gray[..., 0])


def test_the_unseen_judge_knows_things_when_it_sees_them() -> None:
    rng = np.random.default_rng(1)
    noise = rng.integers(0, 256, (64, 64, 3), dtype=np.uint8)
    first, second = bench().look(pictures(1)[0]), bench().look(noise)
    assert first.unseen.shape == first.pooled.shape == (1280,)
    assert cosine(first.unseen, second.unseen) < 0.9
