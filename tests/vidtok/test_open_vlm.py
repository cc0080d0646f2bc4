"""The adapter for open models against the library's own path, on tiny models with random weights."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

pytest.importorskip("transformers", reason="pip install 'vidtok[open]'")

from tests.vidtok.tiny_vlm import KINDS, WIDTH, a_canvas, model, projector, save, tiny, words
from vidtok.canvas import Canvas, Grid, blank
from vidtok.errors import MissingExtra, ModelError
from vidtok.model.cache import Slot
from vidtok.model.families import LanguageModel, load_words, patchify, transformers
from vidtok.model.open_vlm import OpenVlm, WatchConfig, changed_cells, open_vlm
from vidtok.model.projector import Projector, ProjectorConfig, load_projector, save_projector

QUESTION = "what is there now ?"
CLOSE = {"rtol": 1e-4, "atol": 1e-4}


class Towered(OpenVlm):
    """The same, but every canvas shows what the model's own eye sees in a picture."""

    def __init__(self, kind: str, side: int, **text: Any) -> None:
        inner = LanguageModel(model(kind, **text), kind)
        super().__init__(inner, projector(inner), words())
        self.pictures = torch.from_numpy(np.random.default_rng(3).integers(0, 256, (2, 96, 96, 3), np.uint8))
        self.seen = inner.picture(self.pictures, side)  # (2, outs, width, side, side)

    def embed(self, canvas: Canvas) -> tuple[Tensor, Tensor]:
        shown = self.seen[canvas.version - 1].permute(2, 3, 0, 1)
        return shown, shown[0, 0]

    def pixels(self, side: int) -> tuple[Tensor, Tensor]:
        """What the library itself is given: patches and their grids."""
        size = side * 2 * 8
        x = torch.nn.functional.interpolate(
            self.pictures.permute(0, 3, 1, 2).float() / 255, (size, size), mode="bicubic", antialias=True,
            align_corners=False,
        ).clamp(0, 1)  # fmt: skip
        mean, std = (torch.tensor(n)[:, None, None] for n in (self.model.family.mean, self.model.family.std))
        return patchify((x - mean) / std, 8, 2, 2)


def shown(side: int, version: int = 1) -> Canvas:
    """A canvas that holds something everywhere, and no gist."""
    base, rng = blank(Grid(32 * side, 32 * side)), np.random.default_rng(version)
    values = rng.integers(0, 8, base.values.shape, dtype=np.uint8)
    return replace(base, version=version, values=values, depth=np.ones_like(base.depth))


@torch.inference_mode()
def test_the_logits_of_qwen25_are_those_of_its_own_eye() -> None:
    vlm = Towered("qwen2_5_vl", 2)
    watching = vlm.watch()
    assert watching.see(shown(2), 7.0) == 4
    patches, grid = vlm.pixels(2)
    ids = [*vlm.prompt.before, *[2] * 4, *vlm.prompt.question(QUESTION)]
    kinds = torch.tensor([[int(i == 2) for i in ids]])
    theirs = vlm.model.model(
        input_ids=torch.tensor([ids]), pixel_values=patches[:16], image_grid_thw=grid[:1], mm_token_type_ids=kinds
    ).logits[0, -1]
    torch.testing.assert_close(watching.scores(QUESTION), theirs, **CLOSE)


@torch.inference_mode()
def test_the_logits_of_qwen25_are_those_of_a_video() -> None:
    vlm = Towered("qwen2_5_vl", 2)
    watching = vlm.watch()
    for version, time_s in ((1, 7.0), (2, 7.5)):
        assert watching.see(shown(2, version), time_s) == 4
    patches, _ = vlm.pixels(2)
    ids = [*vlm.prompt.before, *[3] * 8, *vlm.prompt.question(QUESTION)]
    given_ = {
        "input_ids": torch.tensor([ids]),
        "video_grid_thw": torch.tensor([[2, 4, 4]]),
        "mm_token_type_ids": torch.tensor([[2 * int(i == 3) for i in ids]]),
        "second_per_grid_ts": torch.tensor([0.5]),
    }
    positions, _ = vlm.model.model.model.get_rope_index(**given_)
    first = len(vlm.prompt.before) + 8
    after = int(positions[:, :, :first].max()) + 1  # the words go on after the largest, time included
    positions[:, :, first:] = torch.arange(after, after + len(ids) - first)
    theirs = vlm.model.model(**given_, pixel_values_videos=patches, position_ids=positions).logits[0, -1]
    torch.testing.assert_close(watching.scores(QUESTION), theirs, **CLOSE)


@torch.inference_mode()
def test_the_logits_of_qwen3_are_those_of_a_video_with_deepstack() -> None:
    vlm = Towered("qwen3_vl", 2)
    assert vlm.model.outs == 2
    watching = vlm.watch()
    for version, time_s in ((1, 0.0), (2, 3.5)):
        assert watching.see(shown(2, version), time_s) == 4
    patches, _ = vlm.pixels(2)
    ids = [*vlm.prompt.before]
    for time_s in (0.0, 3.5):
        ids += [*vlm.prompt.stamp(time_s), *[3] * 4, *vlm.prompt.closes]
    ids += vlm.prompt.question(QUESTION)
    theirs = vlm.model.model(
        input_ids=torch.tensor([ids]),
        pixel_values_videos=patches,
        video_grid_thw=torch.tensor([[2, 4, 4]]),
        mm_token_type_ids=torch.tensor([[2 * int(i == 3) for i in ids]]),
    ).logits[0, -1]
    torch.testing.assert_close(watching.scores(QUESTION), theirs, **CLOSE)
    vlm.seen[:, 1] = 0  # what is added at deeper layers does count
    bare = vlm.watch()
    for version, time_s in ((1, 0.0), (2, 3.5)):
        bare.see(shown(2, version), time_s)
    assert float((bare.scores(QUESTION) - theirs).abs().max()) > 1e-3


@torch.inference_mode()
def test_the_logits_of_llava_are_those_of_its_own_eye() -> None:
    vlm = Towered("llava", 3)
    watching = vlm.watch()
    assert watching.see(shown(3), 0.0) == 9
    x = torch.nn.functional.interpolate(
        vlm.pictures[:1].permute(0, 3, 1, 2).float() / 255, (24, 24), mode="bicubic", antialias=True,
        align_corners=False,
    ).clamp(0, 1)  # fmt: skip
    mean, std = (torch.tensor(n)[:, None, None] for n in (vlm.model.family.mean, vlm.model.family.std))
    ids = [*vlm.prompt.before, *[2] * 9, *vlm.prompt.question(QUESTION)]
    theirs = vlm.model.model(input_ids=torch.tensor([ids]), pixel_values=(x - mean) / std).logits[0, -1]
    torch.testing.assert_close(watching.scores(QUESTION), theirs, **CLOSE)


@pytest.mark.parametrize("kind", KINDS)
def test_text_alone_is_the_library_s_text(kind: str) -> None:
    vlm = tiny(kind)
    ids = vlm.prompt.question(QUESTION)
    places = torch.arange(len(ids))
    with torch.inference_mode():
        words_only, cache = torch.zeros(len(ids), dtype=torch.bool), vlm.model.new_cache()
        ours = vlm.model.run(vlm.model.embed(ids), places.expand(3, -1), words_only, cache, len(ids))
        theirs = vlm.model.model(input_ids=torch.tensor([ids])).logits[0]
    torch.testing.assert_close(ours, theirs, **CLOSE)


def test_patches_are_cut_as_the_library_cuts_them() -> None:
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    cut = Qwen2VLImageProcessorPil(
        patch_size=8, merge_size=2, temporal_patch_size=2, do_resize=False, do_rescale=False, do_normalize=False
    )(pixels, return_tensors="pt")
    ours, grid = patchify(torch.from_numpy(pixels).permute(2, 0, 1)[None].float(), 8, 2, 2)
    torch.testing.assert_close(ours, cut["pixel_values"].float())
    assert grid.tolist() == cut["image_grid_thw"].tolist()


# Memory


class Recorded:
    """All that a memory was given."""

    def __init__(self, watching: Any) -> None:
        self.parts: list[tuple[Tensor, Tensor, list[Slot]]] = []
        inner = watching.memory.add

        def add(embeds: Tensor, positions: Tensor, slots: list[Slot]) -> None:
            self.parts.append((embeds, positions, list(slots)))
            inner(embeds, positions, slots)

        watching.memory.add = add


def kept(watching: Any) -> list[Tensor]:
    return [part.clone() for layer in watching.memory.cache.layers for part in (layer.keys, layer.values)]


@pytest.mark.parametrize("kind", KINDS)
def test_told_in_pieces_is_told_at_once(kind: str) -> None:
    vlm = tiny(kind)
    watching = vlm.watch(WatchConfig(window=1000))
    recorded = Recorded(watching)
    watching.memory.evict = lambda most: 0  # LLaVA too keeps all, here
    canvas = None
    for number in range(4):
        canvas = a_canvas(number, canvas, None if canvas is None else 2)
        watching.see(canvas, 0.4 * number)
    first = vlm.model.embed(list(vlm.prompt.before))
    embeds = torch.cat([first, *(part for part, _, _ in recorded.parts)])
    places = torch.cat([torch.arange(len(first)).expand(3, -1), *(part for _, part, _ in recorded.parts)], 1)
    slots = [slot.entry is not None for _, _, part in recorded.parts for slot in part]
    cache = vlm.model.new_cache()
    vlm.model.run(embeds, places, torch.tensor([False] * len(first) + slots), cache)
    for layer, keys, values in zip(cache.layers, kept(watching)[::2], kept(watching)[1::2], strict=True):
        torch.testing.assert_close(layer.keys, keys, **CLOSE)
        torch.testing.assert_close(layer.values, values, **CLOSE)


@pytest.mark.parametrize("kind", KINDS)
def test_a_question_leaves_the_memory_as_it_was(kind: str) -> None:
    watching = tiny(kind).watch(WatchConfig(max_tokens=12))
    watching.see(a_canvas(0), 0.0)
    before, after, place = kept(watching), len(watching.memory), watching.memory.next
    first = watching.scores(QUESTION)
    words_told = list(watching.ask(QUESTION))
    cut = watching.ask(QUESTION)
    next(cut)
    cut.close()  # in the middle of an answer
    assert list(watching.ask(QUESTION, stop=lambda: True)) == []
    assert (len(watching.memory), watching.memory.next) == (after, place)
    assert all(torch.equal(a, b) for a, b in zip(before, kept(watching), strict=True))
    assert torch.equal(watching.scores(QUESTION), first)
    assert list(watching.ask(QUESTION)) == words_told


def test_what_comes_during_an_answer_is_told_before_the_next_question() -> None:
    watching = tiny("qwen3_vl").watch(WatchConfig(max_tokens=5))
    one = a_canvas(0)
    watching.see(one, 0.0)
    count, answer = len(watching.memory), watching.ask(QUESTION)
    next(answer)
    with pytest.raises(ModelError, match="is answering"):
        next(watching.ask(QUESTION))
    for number in (1, 2):
        assert watching.see(a_canvas(number, one), number) == 0
    answer.close()
    assert len(watching.memory) == count
    told = watching.scores(QUESTION)
    other = tiny("qwen3_vl").watch()
    other.see(one, 0.0)
    other.see(a_canvas(2, one), 2)
    assert torch.equal(told, other.scores(QUESTION))


@torch.inference_mode()
def test_what_is_evicted_is_not_seen_any_more() -> None:
    vlm = tiny("qwen2_5_vl")
    watching = vlm.watch()
    recorded = Recorded(watching)
    canvas = None
    for number in range(3):
        canvas = a_canvas(number, canvas, None if canvas is None else 2)
        watching.see(canvas, 0.5 * number)
    place = watching.memory.next
    gone = watching.memory.superseded
    assert gone == 4
    assert watching.memory.evict(0) == gone
    first, asked = vlm.model.embed(list(vlm.prompt.before)), vlm.model.embed(vlm.prompt.question(QUESTION))
    embeds = torch.cat([first, *(part for part, _, _ in recorded.parts), asked])
    places = torch.cat(
        [torch.arange(len(first)).expand(3, -1), *(part for _, part, _ in recorded.parts),
         torch.arange(place, place + len(asked)).expand(3, -1)], 1,
    )  # fmt: skip
    hidden = [False] * len(first) + [slot.gone for _, _, part in recorded.parts for slot in part]
    assert sum(hidden) == gone
    mask = torch.full((len(embeds), len(embeds)), -torch.inf).triu(1)
    mask[len(hidden) :, : len(hidden)][:, torch.tensor(hidden)] = -torch.inf
    inner = vlm.model.model
    out = inner.model.language_model(
        inputs_embeds=embeds[None, :, 0], position_ids=places[:, None], attention_mask=mask[None, None]
    ).last_hidden_state
    torch.testing.assert_close(watching.scores(QUESTION), inner.lm_head(out)[0, -1], **CLOSE)


@pytest.mark.parametrize("kind", KINDS)
def test_made_anew_is_as_if_only_the_newest_had_been_told(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    vlm = tiny(kind)
    axes = torch.randn(8, vlm.model.outs, WIDTH, generator=torch.Generator().manual_seed(0))

    def alone(canvas: Canvas) -> tuple[Tensor, Tensor]:  # the projector looks at a cell's neighbours as well
        seen = torch.einsum("rcn,now->rcow", torch.from_numpy(canvas.values[..., :8].astype(np.float32)), axes)
        return seen / 10, axes[0] * float(canvas.gist[0]) / 10

    monkeypatch.setattr(vlm, "embed", alone)
    one = a_canvas(0)
    values = one.values.copy()
    values[1, 2] = (values[1, 2] + 3) % 8  # the last cell in raster order
    other = replace(one, version=2, values=values)
    watching, fresh = vlm.watch(), vlm.watch()
    watching.see(one, 5.0)
    assert watching.see(other, 5.0) == 1
    watching.again()
    fresh.see(other, 5.0)
    assert len(watching.memory) == len(fresh.memory)
    assert watching.memory.superseded == 0
    torch.testing.assert_close(watching.scores(QUESTION), fresh.scores(QUESTION), **CLOSE)


VLMS: dict[str, OpenVlm] = {}


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=6)
@given(steps=st.lists(st.tuples(st.integers(0, 6), st.floats(0, 40), st.booleans()), min_size=1, max_size=14))
def test_memory_is_bounded_and_every_place_is_in_view(kind: str, steps: list[tuple[int, float, bool]]) -> None:
    vlm = VLMS.setdefault(kind, tiny(kind, max_position_embeddings=400))
    window = 8
    watching = vlm.watch(WatchConfig(window=window, max_tokens=3))
    canvas, now = a_canvas(99), 0.0
    watching.see(canvas, now)
    for number, (cells, later, asked) in enumerate(steps):
        now += later
        canvas = a_canvas(number, canvas, cells)
        watching.see(canvas, now)
        if asked:
            list(watching.ask("what"))
        memory = watching.memory
        live = memory.live()
        assert {entry.place for entry in live} == {None, *((r, c) for r in range(2) for c in range(3))}
        assert len(live) == 7
        assert memory.superseded <= (0 if kind == "llava" else window + window // 4)
        assert memory.cache.get_seq_length() == len(memory)
        assert memory.next <= 400
        tokens = len(live) + memory.superseded
        assert len(memory) <= tokens + (tokens + 2) * (len(vlm.prompt.stamp(now)) + 2) + len(vlm.prompt.before)


def test_a_pan_forgets_what_is_out_of_sight_and_keeps_the_rest() -> None:
    watching = tiny("qwen2_5_vl").watch()
    one = a_canvas(0)
    watching.see(one, 0.0)
    panned = one.panned(32, 0)
    assert not changed_cells(one, panned).any()  # nothing new is known there yet
    filled = replace(panned, values=panned.values.copy(), depth=np.maximum(panned.depth, 1), version=2)
    assert watching.see(filled, 1.0) == int(changed_cells(one, filled).sum()) > 0
    places = {entry.place for entry in watching.memory.live()}
    assert (0, 0) not in places
    assert {(0, 1), (0, 3), None} <= places


def test_signs_in_a_question_are_letters() -> None:
    vlm = tiny("qwen3_vl")
    inside = vlm.prompt.question("<END> what")[len(vlm.prompt.between) : -len(vlm.prompt.after)]
    assert 5 not in inside
    assert vlm.prompt.closes == (5,)


# Loading


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("models")
    for kind in KINDS:
        folder = save(kind, out / kind)
        save_projector(projector(LanguageModel(model(kind), kind)), folder / "projector.safetensors")
    return out


@pytest.mark.parametrize("kind", KINDS)
def test_a_model_is_loaded_from_a_folder(kind: str, folders: Path) -> None:
    vlm = open_vlm(f"hf:{folders / kind}")
    same = OpenVlm(LanguageModel(model(kind), kind), load_projector(folders / kind / "projector.safetensors"), words())
    found = []
    for one in (vlm, same):
        watching = one.watch()
        watching.see(a_canvas(0), 0.0)
        found.append(watching.scores(QUESTION))
    torch.testing.assert_close(*found)


def test_what_cannot_be_loaded_is_said_in_one_line(folders: Path, tmp_path: Path) -> None:
    with pytest.raises(
        ModelError, match=r"projector.safetensors is not there; make it with python -m experiments.align"
    ):
        open_vlm(f"hf:{tmp_path}")
    other = tmp_path / "other.safetensors"
    save_projector(Projector(ProjectorConfig(12, width=4, blocks=1)), other)
    with pytest.raises(ModelError, match=f"needs a projector with 2 outputs of {WIDTH} numbers, this one has 1 of 12"):
        open_vlm(f"hf:{folders / 'qwen3_vl'}", other)
    with pytest.raises(ModelError, match="cannot be loaded"):
        open_vlm(f"hf:{tmp_path}", other)
    other.write_bytes(b"nothing of the kind")
    with pytest.raises(ModelError, match="not a projector"):
        load_projector(other)
    plain = words()
    plain.chat_template = None
    plain.save_pretrained(tmp_path / "mute")
    with pytest.raises(ModelError, match="no chat template"):
        load_words(str(tmp_path / "mute"))
    strange = model("llava")
    strange.config.model_type = "strange"
    with pytest.raises(ModelError, match="is a strange; what is known here is qwen2_5_vl, qwen3_vl, llava"):
        LanguageModel(strange, "strange")


def test_frames_too_large_for_a_model_are_refused() -> None:
    watching = tiny("llava", max_position_embeddings=16).watch(WatchConfig(max_tokens=8))
    with pytest.raises(ModelError, match="has 16 positions, too few for such frames"):
        watching.see(a_canvas(0), 0.0)


def test_a_missing_package_is_answered_with_its_install_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(MissingExtra, match=r"pip install 'vidtok\[open\]'"):
        transformers()
