"""What is compared: every system is causal and says what it costs; a system that cheats is refused."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterator
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import av.logging
import numpy as np
import pytest

from experiments.bench import BenchError
from experiments.judges import luma, psnr_db
from experiments.systems import HOSTED_TOKENS, Clip, Known, System, all_systems, follow, load, pick
from experiments.systems.video import SVT_AV1, X264, Coder, code, open_beside_others
from tests.experiments.toys import as_clip, clip, identity, pictures
from vidtok.tokenizer.fsq import GIST

EXAMPLE = Path(__file__).parents[2] / "experiments/systems/third_party_example.py"
EVERY = {**all_systems(), **{s.name: s for s in load(EXAMPLE)}}


def told(system: System, frames: Clip, setting: str | None = None) -> list[Known]:
    label = setting or list(system.settings)[-1]
    return [known for _, known in follow(system, system.settings[label], frames)]


def ends(system: System) -> tuple[str, str]:
    """The cheapest and the dearest setting."""
    first, *_, last = system.settings
    return first, last


def alike(a: Known, b: Known) -> bool:
    same_picture = a.picture is b.picture or np.array_equal(a.picture, b.picture)
    same_canvas = a.canvas is b.canvas or a.canvas == b.canvas
    return same_picture and same_canvas and (a.bytes, a.packets, a.tokens) == (b.bytes, b.packets, b.tokens)


@pytest.mark.parametrize("name", EVERY)
def test_the_future_never_changes_what_was_known(name: str) -> None:
    past, future = pictures(7), pictures(9, seed=3)[-4:]
    short, long = told(EVERY[name], as_clip(past)), told(EVERY[name], as_clip([*past, *future]))
    assert all(map(alike, short, long))


@pytest.mark.parametrize("name", EVERY)
def test_a_system_says_what_it_costs_and_never_takes_it_back(name: str) -> None:
    known = told(EVERY[name], clip(13))
    assert len(known) == 13
    assert known[0].picture is not None or known[0].canvas is not None
    assert known[-1].tokens > 0
    for before, after in pairwise(known):
        assert after.tokens >= before.tokens
        assert after.packets >= before.packets
        assert (after.bytes is None) == (before.bytes is None)
        assert (after.bytes or 0) >= (before.bytes or 0)


@pytest.mark.parametrize("name", EVERY)
def test_every_system_has_several_settings_and_says_what_it_is(name: str) -> None:
    system = EVERY[name]
    assert len(system.settings) >= 2
    assert len(system.about) > 20
    assert 1 <= len(system.chosen(quick=True)) <= 3
    assert set(system.chosen(quick=True)) <= set(system.chosen(quick=False))


def peeks(_: Any, frames: Clip) -> Iterator[Known]:
    seen = list(frames)
    for frame in seen:
        yield Known(picture=frame.pixels)


def guesses(_: Any, frames: Clip) -> Iterator[Known]:
    yield Known()
    for frame in frames:
        yield Known(picture=frame.pixels)


def falls_silent(_: Any, frames: Clip) -> Iterator[Known]:
    for number, frame in enumerate(frames):
        if number < 3:
            yield Known(picture=frame.pixels)


@pytest.mark.parametrize(
    ("run", "what"),
    [(peeks, "looked at frame 1 .* before telling of 0"), (guesses, "before looking"), (falls_silent, "told of 3 of")],
)
def test_a_system_that_cheats_is_refused_by_name(run: Any, what: str) -> None:
    with pytest.raises(BenchError, match=f"cheat: .*{what}"):
        told(System("cheat", "", run, {"one": None}), clip(5))


def test_x264_says_the_same_psnr_of_itself() -> None:
    coder = Coder(X264.encoder, X264.decoder, {**X264.options, "x264-params": "psnr=1"})
    frames = clip(12, size=(128, 96), gray=True)
    av.logging.set_level(av.logging.INFO)
    try:
        with av.logging.Capture() as logs:
            known = list(code(coder, 40, frames))
    finally:
        av.logging.set_level(None)
    *_, said = re.findall(r"PSNR Mean Y:([0-9.]+)", "".join(text for _, _, text in logs))  # I frames, P frames, all
    ours = np.mean(
        [psnr_db(luma(k.picture), luma(f.pixels)) for k, f in zip(known, frames, strict=True) if k.picture is not None]
    )
    narrow = 20 * np.log10(255 / 219)  # x264 measures on video levels, 16 to 235
    assert abs(float(said) - (ours + narrow)) < 0.1


def test_video_costs_the_dense_grid_and_its_packets_bytes() -> None:
    x264 = all_systems()["x264"]
    cheap, dear = (told(x264, clip(10), label)[-1] for label in ends(x264))
    assert cheap.tokens == dear.tokens == 10 * 4
    assert (cheap.bytes or 0) < (dear.bytes or 0)


def test_a_keyframe_every_two_seconds_costs_more() -> None:
    both = all_systems()
    frames = clip(45)
    once, often = (told(both[name], frames, "crf 36")[-1].bytes or 0 for name in ("x264", "x264-gop2s"))
    assert often > once * 1.1


def test_pictures_at_one_a_second_are_held() -> None:
    known = told(all_systems()["jpeg-1fps"], clip(25))
    assert len({id(k.picture) for k in known}) == 3
    assert known[-1].tokens == 3 * HOSTED_TOKENS
    assert known[9].picture is known[0].picture is not known[10].picture


def test_the_frame_filter_sends_a_still_picture_once_and_a_cut_at_once() -> None:
    still, cut = pictures(1)[0], 255 - pictures(1)[0]
    known = told(all_systems()["frame-filter"], as_clip([still] * 5 + [cut] * 5), "q75 0.95")
    assert [k.tokens // HOSTED_TOKENS for k in known] == [1] * 5 + [2] * 5
    assert [bool(k.news is not None and k.news.any()) for k in known] == [n in (0, 5) for n in range(10)]


@pytest.mark.parametrize(("size", "cells"), [((64, 64), 4), ((80, 48), 6)])
def test_raw_ids_cost_three_bits_a_value(size: tuple[int, int], cells: int) -> None:
    known = told(all_systems()["raw-ids"], clip(20, size=size), "5 fps, 2 levels")
    assert known[-1].bytes == 10 * math.ceil((cells * (6 + 8) + GIST) * 3 / 8)
    assert known[-1].tokens == 10 * (cells + 1)


@pytest.mark.parametrize(("size", "cells"), [((128, 128), 16), ((80, 112), 12)])
@pytest.mark.parametrize("name", ["rlt", "dtd"])
def test_token_policies_drop_what_does_not_change_and_keep_what_does(
    name: str, size: tuple[int, int], cells: int
) -> None:
    still = pictures(1, size=size)[0]
    system = all_systems()[name]
    moved = still.copy()
    moved[:32, :32] = 255 - moved[:32, :32]
    for label in system.settings:
        known = told(system, as_clip([still] * 4 + [moved]), label)
        assert [k.tokens for k in known[:4]] == [cells + 1] * 4  # and the gist
        assert all(k.bytes is None for k in known)
    strict = told(system, as_clip([still] * 4 + [moved]))[-1]
    assert strict.news is not None
    assert strict.news[0, 0]


def test_ours_sends_less_where_less_may_be_sent() -> None:
    ours = all_systems()["vidtok"]
    first, last = (told(ours, clip(20), label)[-1] for label in ends(ours))
    assert first.tokens < last.tokens
    assert (first.bytes or 0) < (last.bytes or 0)


def test_systems_are_picked_by_name_prefix_and_file(tmp_path: Path) -> None:
    assert [s.name for s in pick("x264,jpeg-1fps")] == ["x264", "jpeg-1fps"]
    assert {s.name for s in pick("vidtok*")} == {n for n in all_systems() if n.startswith("vidtok")}
    assert [s.name for s in pick(str(EXAMPLE))] == ["webp-thumbnails"]
    assert len(EXAMPLE.read_text().splitlines()) < 60
    with pytest.raises(BenchError, match="no such system; there are vidtok, "):
        pick("x266")
    with pytest.raises(BenchError, match="no such file"):
        pick("nowhere.py")
    (tmp_path / "empty.py").write_text("")
    with pytest.raises(BenchError, match=r"has no function systems"):
        pick(str(tmp_path / "empty.py"))


def test_identity_is_what_it_says() -> None:
    frames = clip(3)
    assert all(np.array_equal(k.picture, f.pixels) for k, f in zip(identity(None, frames), frames, strict=True))


@pytest.mark.skipif(not hasattr(os, "sched_getscheduler"), reason="no such priorities here")
def test_no_codec_takes_this_process_above_all_others() -> None:
    """What runs beside a benchmark or a test must get its turn; SVT-AV1 run by root would not let it."""
    before = os.sched_getscheduler(0)
    for coder in (X264, SVT_AV1):
        encoder = av.CodecContext.create(coder.encoder, "w")
        encoder.width, encoder.height, encoder.pix_fmt = 64, 64, "yuv420p"
        encoder.time_base, encoder.framerate = Fraction(1, 10), Fraction(10)
        encoder.options = dict(coder.options)
        open_beside_others(encoder)
        assert os.sched_getscheduler(0) == before
