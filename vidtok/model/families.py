"""Open vision-language models as `transformers` holds them: what the adapter needs of each family, and no more.

    family        eye gives a cell           place and time of a visual token
    qwen2_5_vl    merged patch               (t, h, w): seconds * tokens_per_second, row, column of one open video
    qwen3_vl      merged patch + deepstack   (p, p + row, p + column) of a moment; its time stands in text before it
    llava         patch after the projector  row * columns + column of one picture that is kept up to date; no time

Deepstack: such a model adds what several layers of its eye gave to its own first layers, at the visual places. Here it
is more outputs of the projector, handed on in the same way.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from vidtok.errors import MissingExtra, ModelError

CLIP_MEAN, CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
HALF = (0.5, 0.5, 0.5)


class Order(Enum):
    """How a family is told where and when."""

    VIDEO = "one video that stays open"
    MOMENTS = "moments, each after its time in text"
    PICTURE = "one picture, kept up to date"


@dataclass(frozen=True)
class Family:
    """What differs from one kind of model to the next."""

    order: Order
    item: str  # what its chat template calls what we show
    mean: tuple[float, float, float]  # of its eye's input
    std: tuple[float, float, float]


FAMILIES = {
    "qwen2_5_vl": Family(Order.VIDEO, "video", CLIP_MEAN, CLIP_STD),
    "qwen3_vl": Family(Order.MOMENTS, "video", HALF, HALF),
    "llava": Family(Order.PICTURE, "image", CLIP_MEAN, CLIP_STD),
}


def transformers() -> Any:
    """The package, or the line that installs it."""
    try:
        import transformers as package
    except ImportError as error:
        raise MissingExtra("transformers", "open") from error
    return package


class LanguageModel:
    """An open model, frozen, with one way in for text and for what its eye would have given."""

    def __init__(self, model: Any, name: str) -> None:
        kind = model.config.model_type
        if kind not in FAMILIES:
            raise ModelError(f"hf:{name}: is a {kind}; what is known here is {', '.join(FAMILIES)}")
        self.family, self.name, self.config = FAMILIES[kind], name, model.config
        self.model = model.eval().requires_grad_(False)
        self._text = model.model.language_model
        self.width = int(model.config.text_config.hidden_size)
        self.outs = 1 + len(getattr(model.config.vision_config, "deepstack_visual_indexes", ()))
        self.most_positions = int(model.config.text_config.max_position_embeddings)
        self.tokens_per_second = float(getattr(model.config.vision_config, "tokens_per_second", 0))

    @property
    def device(self) -> torch.device:
        """Where it runs."""
        return torch.device(self.model.device)

    @property
    def placeholder(self) -> int:
        """The token that stands for what is shown, in text that a chat template gives."""
        return int(self.config.video_token_id if self.family.item == "video" else self.config.image_token_id)

    def ends(self) -> set[int]:
        """Tokens that end an answer."""
        given = self.model.generation_config.eos_token_id, self.config.text_config.eos_token_id
        found = next((ids for ids in given if ids is not None), ())
        return set(found) if isinstance(found, list | tuple | set) else {int(found)}

    def new_cache(self) -> Any:
        """An empty KV cache. Raises ModelError where the model's cache cannot forget single tokens."""
        cache = transformers().DynamicCache(config=self.config.text_config)
        if any(getattr(layer, "is_sliding", False) for layer in cache.layers) or not cache.is_croppable:
            raise ModelError(f"hf:{self.name}: has layers with a sliding window or a running state; take one without")
        return cache

    @torch.inference_mode()
    def embed(self, ids: list[int]) -> Tensor:
        """Token ids -> (L, outs, width); a word has nothing to add at deeper layers."""
        out = torch.zeros(len(ids), self.outs, self.width, dtype=self.model.dtype, device=self.device)
        if ids:
            out[:, 0] = self._text.embed_tokens(torch.tensor(ids, device=self.device))
        return out

    @torch.inference_mode()
    def run(self, embeds: Tensor, positions: Tensor, visual: Tensor, cache: Any, last: int = 1) -> Tensor:
        """Add tokens to the cache; scores of the word after each of the `last` ones.

        embeds (L, outs, width), positions (3, L) of time, row and column (all equal for words), visual (L,) which of
        them are no words -> (last, words).
        """
        more: dict[str, Any] = {}
        if self.outs > 1:
            deep = embeds[visual, 1:].unbind(1)
            more = {"visual_pos_masks": visual[None], "deepstack_visual_embeds": list(deep)}
        at = positions[0][None] if self.family.order is Order.PICTURE else positions[:, None]
        hidden = self._text(
            inputs_embeds=embeds[None, :, 0], position_ids=at.to(self.device), past_key_values=cache, use_cache=True,
            **more,
        ).last_hidden_state  # fmt: skip
        return self.model.lm_head(hidden[0, -last:])

    @torch.inference_mode()
    def picture(self, pixels: Tensor, cells: int) -> Tensor:
        """What its own eye gives for square pictures uint8 (B, S, S, 3) -> (B, outs, width, h, w).

        Eyes that take any size are shown pictures in which a merged patch is one of `cells` x `cells`.
        """
        vision, family = self.config.vision_config, self.family
        merge = int(getattr(vision, "spatial_merge_size", 1))
        qwen = family.order is not Order.PICTURE
        side = cells * merge * _whole(vision.patch_size) if qwen else _whole(vision.image_size)
        x = pixels.permute(0, 3, 1, 2).to(self.device).float() / 255
        x = F.interpolate(x, (side, side), mode="bicubic", antialias=True, align_corners=False).clamp(0, 1)
        mean, std = (torch.tensor(n, device=x.device)[:, None, None] for n in (family.mean, family.std))
        x = ((x - mean) / std).to(self.model.dtype)
        if not qwen:
            seen = torch.stack(list(self.model.get_image_features(x, return_dict=True).pooler_output))
            places = round(seen.shape[1] ** 0.5)
            return seen.transpose(1, 2).reshape(len(seen), 1, -1, places, places).float()
        patches, grid = patchify(x, _whole(vision.patch_size), merge, _whole(vision.temporal_patch_size))
        found = self.model.model.visual(patches, grid_thw=grid, return_dict=True)
        outs = torch.stack([found.pooler_output, *getattr(found, "deepstack_features", ())])
        return outs.reshape(self.outs, len(pixels), cells, cells, -1).permute(1, 0, 4, 2, 3).float()


def patchify(x: Tensor, patch: int, merge: int, frames: int) -> tuple[Tensor, Tensor]:
    """Pictures (B, 3, S, S) -> what Qwen's eyes take: patches (B * n, 3 * frames * patch^2) and grids (B, 3).

    The patches that are merged into one stand together; a still picture is as many equal frames as a patch is long.
    """
    batch, colours, side, _ = x.shape
    count = side // patch
    x = x.reshape(batch, colours, count // merge, merge, patch, count // merge, merge, patch)
    x = x.permute(0, 2, 5, 3, 6, 1, 4, 7)[:, :, :, :, :, :, None]  # (B, rows, cols, m, m, colours, 1, patch, patch)
    x = x.expand(*x.shape[:6], frames, patch, patch)
    grid = torch.tensor([[1, count, count]], device=x.device).expand(batch, 3)
    return x.reshape(batch * count * count, colours * frames * patch * patch), grid


def _whole(size: Any) -> int:
    """A size that some configurations give for each axis."""
    return int(size[0] if isinstance(size, list | tuple) else size)


def load_model(name: str, device: str = "cpu", dtype: str = "auto") -> LanguageModel:
    """A model from a folder, or by its name from the hub. Code that comes with weights is never run."""
    package = transformers()
    try:
        model = package.AutoModelForImageTextToText.from_pretrained(name, dtype=dtype, use_safetensors=True)
        model = model.to(device)
    except (OSError, ValueError, RuntimeError) as error:
        said = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ModelError(f"hf:{name}: cannot be loaded ({said}); give a folder with config.json and weights") from None
    return LanguageModel(model, name)


def load_words(name: str) -> Any:
    """The tokenizer of a model, with its chat template."""
    try:
        words = transformers().AutoTokenizer.from_pretrained(name)
    except (OSError, ValueError, KeyError) as error:
        said = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ModelError(f"hf:{name}: has no tokenizer ({said}); put its tokenizer.json into the folder") from None
    if not words.chat_template:
        raise ModelError(f"hf:{name}: its tokenizer has no chat template; put chat_template.jinja into the folder")
    return words
