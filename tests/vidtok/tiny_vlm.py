"""Open vision-language models of a few thousand numbers, with random weights, and a tokenizer of a few words."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from transformers import (
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    PreTrainedTokenizerFast,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen3VLConfig,
    Qwen3VLForConditionalGeneration,
)

from vidtok.canvas import Canvas, Grid, blank
from vidtok.model.families import LanguageModel
from vidtok.model.open_vlm import OpenVlm
from vidtok.model.projector import Projector, ProjectorConfig
from vidtok.tokenizer.fsq import CHANNELS, EDGES, GIST, GIST_LEVELS, SEEN_LEVELS

KINDS = ("qwen2_5_vl", "qwen3_vl", "llava")
WIDTH = 64
GRID = Grid(96, 64)  # 3 x 2 cells
SPECIAL = ("[PAD]", "[EOS]", "<IMAGE>", "<VIDEO>", "<START>", "<END>", "<TURN>")
WORDS = ("what", "is", "there", "a", "cat", "dog", "now", "?", ".", "<", ">", "seconds", *map(str, range(100)))
CHAT = """
{%- for message in messages -%}<TURN> user
{%- for part in message.content -%}
{%- if part.type == 'video' -%}<START><VIDEO><END>
{%- elif part.type == 'image' -%}<IMAGE>
{%- else -%} {{ part.text }}
{%- endif -%}{%- endfor -%} [EOS]{%- endfor -%}
{%- if add_generation_prompt -%}<TURN> assistant{%- endif -%}
"""


def words() -> Any:
    """A tokenizer of whole words, with a chat template of its own."""
    table = {word: number for number, word in enumerate((*SPECIAL, "[UNK]", *WORDS))}
    inner = Tokenizer(WordLevel(table, unk_token="[UNK]"))
    inner.pre_tokenizer = Whitespace()
    out = PreTrainedTokenizerFast(
        tokenizer_object=inner, eos_token="[EOS]", pad_token="[PAD]", unk_token="[UNK]",
        extra_special_tokens=list(SPECIAL[2:]),
    )  # fmt: skip
    out.chat_template = CHAT
    return out


def _text(**more: Any) -> dict[str, Any]:
    return {
        "vocab_size": len(words()), "hidden_size": WIDTH, "intermediate_size": 96, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 2048, "eos_token_id": 1,
        "bos_token_id": None, "pad_token_id": 0, **more,
    }  # fmt: skip


def model(kind: str, **text: Any) -> Any:
    """A model as transformers makes it, in evaluation mode."""
    torch.manual_seed(0)
    of_signs = {"image_token_id": 2, "video_token_id": 3, "vision_start_token_id": 4, "vision_end_token_id": 5}
    rope = {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [2, 3, 3]}
    eye = {"depth": 2, "num_heads": 2, "patch_size": 8, "spatial_merge_size": 2, "out_hidden_size": WIDTH}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what the library says of its own code
        match kind:
            case "qwen2_5_vl":
                vision = eye | {"hidden_size": 32, "intermediate_size": 48, "tokens_per_second": 4,
                                "window_size": 32, "fullatt_block_indexes": [1]}  # fmt: skip
                config = Qwen2_5_VLConfig(
                    text_config=_text(rope_parameters=rope, **text), vision_config=vision, **of_signs
                )
                out = Qwen2_5_VLForConditionalGeneration(config)
            case "qwen3_vl":
                vision = eye | {"hidden_size": 32, "intermediate_size": 48, "num_position_embeddings": 64,
                                "deepstack_visual_indexes": [0]}  # fmt: skip
                config = Qwen3VLConfig(
                    text_config=_text(rope_parameters={**rope, "mrope_interleaved": True}, head_dim=16, **text),
                    vision_config=vision, **of_signs,
                )  # fmt: skip
                out = Qwen3VLForConditionalGeneration(config)
            case _:
                sight = CLIPVisionConfig(
                    hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=2, image_size=24,
                    patch_size=8, projection_dim=32,
                )  # fmt: skip
                out = LlavaForConditionalGeneration(
                    LlavaConfig(vision_config=sight, text_config=LlamaConfig(**_text(**text)), image_token_index=2)
                )
    return out.eval()


def projector(of: LanguageModel) -> Projector:
    """One with random weights; its outputs are about as large as words."""
    torch.manual_seed(1)
    return Projector(ProjectorConfig(of.width, of.outs, width=16, blocks=1)).eval().requires_grad_(False)


def tiny(kind: str, **text: Any) -> OpenVlm:
    """The adapter around such a model."""
    inner = LanguageModel(model(kind, **text), f"tiny-{kind}")
    return OpenVlm(inner, projector(inner), words())


def save(kind: str, folder: Path) -> Path:
    """A folder as one would download it."""
    model(kind).save_pretrained(folder)
    words().save_pretrained(folder)
    return folder


def a_canvas(seed: int, like: Canvas | None = None, cells: int | None = None) -> Canvas:
    """A canvas that holds something everywhere; or `like`, with so many cells told anew."""
    rng, base = np.random.default_rng(seed), like or blank(GRID)
    shape = (GRID.rows, GRID.cols)
    chosen = np.zeros(shape, bool)
    rows, cols = GRID.rows - 1, GRID.cols - 1
    places = rng.permutation(rows * cols)[: rows * cols if cells is None else cells]
    chosen[places // cols, places % cols] = True
    values = rng.integers(0, 8, (*shape, CHANNELS), dtype=np.uint8)
    values[..., EDGES[SEEN_LEVELS] :] = 0
    told = base.gist_depth == 0
    return replace(
        base,
        version=base.version + 1,
        values=np.where(chosen[..., None], values, base.values),
        depth=np.where(chosen, SEEN_LEVELS, base.depth).astype(np.uint8),
        changed=np.where(chosen, base.version + 1, base.changed).astype(np.uint32),
        gist=rng.integers(0, 8, GIST, dtype=np.uint8) if told else base.gist,
        gist_depth=GIST_LEVELS,
    )
