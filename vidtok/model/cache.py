"""What an open model keeps of a stream: its KV cache, and what each place in it is.

    tokens --run--> cache [ before | visual tokens and what stands between them ........ ] <-- question, then cropped
                                     superseded ones leave when there are too many of them

A place's newer token supersedes the older one. The older stays for a while, so that the model sees what changed; then
its keys and values are taken out of the cache. Tokens that came after it have seen it, and keep what they made of it:
that is memory, not an error, and costs nothing. `again` makes the cache anew from what still counts.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from vidtok.model.families import LanguageModel

Place = tuple[int, int] | None  # row and column in the scene; None is the whole frame


@dataclass(frozen=True, eq=False)
class Entry:
    """One visual token."""

    place: Place
    time_s: float
    embed: Tensor  # (outs, width)


@dataclass(eq=False)
class Slot:
    """One token in the cache: a word, or an entry."""

    entry: Entry | None
    moment: int  # which moment it belongs to; words outside of all have -1
    gone: bool = field(default=False)  # superseded


class Memory:
    """A cache with a name for each of its places."""

    def __init__(self, model: LanguageModel) -> None:
        self._model = model
        self.reset()

    def reset(self) -> None:
        """Nothing at all."""
        self.cache: Any = self._model.new_cache()
        self.slots: list[Slot] = []
        self.next = 0  # the first position after all that are taken
        self._live: dict[Place, Slot] = {}
        self._gone: deque[Slot] = deque()
        self._waiting: list[tuple[Tensor, Tensor, Tensor]] | None = None  # embeddings, positions, which are visual

    def __len__(self) -> int:
        return len(self.slots)

    @property
    def superseded(self) -> int:
        """Tokens whose place has a newer one."""
        return len(self._gone)

    def live(self) -> list[Entry]:
        """The newest token of each place, in the order in which they came."""
        return [slot.entry for slot in self.slots if slot.entry is not None and not slot.gone]

    def add(self, embeds: Tensor, positions: Tensor, slots: Sequence[Slot]) -> None:
        """Run tokens (L, outs, width) at positions (3, L) through the model and keep them."""
        visual = torch.tensor([slot.entry is not None for slot in slots], device=embeds.device)
        if self._waiting is None:
            self._model.run(embeds, positions, visual, self.cache)
        else:
            self._waiting.append((embeds, positions, visual))
        self.slots += slots
        self.next = max(self.next, int(positions.max()) + 1)
        for slot in slots:
            if slot.entry is not None:
                if (older := self._live.get(slot.entry.place)) is not None:
                    self._leave(older)
                self._live[slot.entry.place] = slot

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """What is added within goes through the model in one run: a run costs about the same for one token and many."""
        if self._waiting is not None:
            yield
            return
        waiting = self._waiting = []
        try:
            yield
        finally:
            self._waiting = None
        if waiting:
            embeds, positions, visual = zip(*waiting, strict=True)
            self._model.run(torch.cat(embeds), torch.cat(positions, 1), torch.cat(visual), self.cache)

    def forget(self, place: Place) -> None:
        """A place is out of sight: its token counts as superseded."""
        if (slot := self._live.pop(place, None)) is not None:
            self._leave(slot)

    def evict(self, most: int) -> int:
        """Take the oldest superseded tokens out of the cache until so many are left; how many left it."""
        leaving = {id(self._gone.popleft()) for _ in range(len(self._gone) - most)}
        if not leaving:
            return 0
        alive = {slot.moment for slot in self.slots if slot.entry is not None and id(slot) not in leaving}
        newest = max((slot.moment for slot in self.slots), default=-1)
        keep = [
            number
            for number, slot in enumerate(self.slots)
            if id(slot) not in leaving and (slot.moment in alive or slot.moment in (-1, newest))
        ]
        count = len(self.slots) - len(keep)
        self.slots = [self.slots[number] for number in keep]
        chosen = torch.tensor(keep, device=self._model.device)
        for layer in self.cache.layers:
            layer.keys, layer.values = layer.keys[:, :, chosen], layer.values[:, :, chosen]
        return count

    def crop(self, count: int, next_position: int) -> None:
        """Forget all tokens after the first `count`, which were followed by `next_position`."""
        if (more := self.cache.get_seq_length() - count) > 0:
            self.cache.crop(-more)
        self.next = next_position

    def _leave(self, slot: Slot) -> None:
        slot.gone = True
        self._gone.append(slot)
