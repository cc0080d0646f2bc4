"""The token head, run again only where the canvas changed: an edit touches few cells, and each of the head's layers
looks only one cell further than the one before, so most of what they gave last time still holds.

    what is read   . . . . o o # o o . . . .    #  changed, of the box around all cells that differ from last time
    layer 1        . . . o o + + + o o . . .    +  run again: in layer k the box and k cells around it, as far as the
    layer 2        . . o o + + + + + o o . .       change can reach; then pasted into what was kept
    layer 3        . . . + + + + + + + . . .    o  kept, and read by the next layer; all else is kept unread
    features       . . . + + + + + + + . . .

Where a layer is given a part it sees zeros instead of the cells around; that spoils the part's rim, which is dropped.
At the grid's border there is no rim: there the whole sees zeros too.
"""

from __future__ import annotations

from itertools import accumulate

import torch
from torch import Tensor, nn

from vidtok.tokenizer.networks import SIDE, Residual, TokenHead

WORTH_CUTTING = 0.8  # of the cells of all layers; larger parts cost about what the whole does

Box = tuple[slice, slice]  # rows, cols


class IncrementalHead:
    """A token head that remembers its last run. Anything may be read after anything; likeness only saves time."""

    def __init__(self, network: TokenHead) -> None:
        self._network = network
        self._last: list[Tensor] = []  # what was read, what each layer gave, the features; never written to

    @torch.inference_mode()
    def read(self, cells: Tensor) -> Tensor:
        """What cells hold (1, SEEN_CONTEXT, rows, cols) -> features (1, 112, 2 rows, 2 cols).

        Both are remembered as they are, so nobody may write to them.
        """
        last = self._last
        if not last or last[0].shape != cells.shape:
            last = self._run_on_all(cells)
        else:
            changed = (cells != last[0]).any(1)[0]
            if changed.any():
                last = self._brought_up(last, cells, _box_around(changed))
        self._last = last
        return last[-1]

    def _run_on_all(self, cells: Tensor) -> list[Tensor]:
        given: list[Tensor] = list(accumulate(self._network.layers(), lambda x, layer: layer(x), initial=cells))
        return [*given, self._network.features(cells, given[-1])]

    def _brought_up(self, last: list[Tensor], cells: Tensor, changed: Box) -> list[Tensor]:
        """What a run on all cells gives, made of what the last run gave and of runs on parts."""
        layers, grid = self._network.layers(), cells.shape[2:]
        boxes = [_grown(changed, margin, grid) for margin in range(len(layers) + 2)]
        if sum(map(_area, boxes[1:-1])) > WORTH_CUTTING * len(layers) * grid.numel():
            return self._run_on_all(cells)
        given = [cells]
        for k, layer in enumerate(layers, 1):
            box, cut = boxes[k], boxes[k + 1]
            part = _run(layer, given[-1][:, :, *cut], _within(cut, box))
            given.append(_pasted(last[k], box, part))
        box = boxes[-2]  # what the last layer was run on; the features look no further
        features = self._network.features(cells[:, :, *box], given[-1][:, :, *box])
        return [*given, _pasted(last[-1], _places(box), features)]


def _run(layer: nn.Module, part: Tensor, inside: Box) -> Tensor:
    """What the layer gives inside the part. Only a block's first step looks at the rim; the others are spared it."""
    if isinstance(layer, Residual):
        return part[:, :, *inside] + layer.each(layer.mix(part)[:, :, *inside])
    given: Tensor = layer(part)
    return given[:, :, *inside]


def _pasted(before: Tensor, box: Box, part: Tensor) -> Tensor:
    """What was there before, but with the part in the box."""
    after = before.clone()
    after[:, :, *box] = part
    return after


def _box_around(changed: Tensor) -> Box:
    """The smallest box that holds the cells (rows, cols) that changed."""
    rows, cols = (changed.any(axis).nonzero() for axis in (1, 0))
    return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(cols[0]), int(cols[-1]) + 1)


def _grown(box: Box, margin: int, grid: torch.Size) -> Box:
    """The box and so many cells around it, as far as the grid goes."""
    rows, cols = (
        slice(max(0, part.start - margin), min(side, part.stop + margin)) for part, side in zip(box, grid, strict=True)
    )
    return rows, cols


def _within(outer: Box, inner: Box) -> Box:
    """Where the inner box stands in the outer one."""
    rows, cols = (slice(i.start - o.start, i.stop - o.start) for o, i in zip(outer, inner, strict=True))
    return rows, cols


def _places(cells: Box) -> Box:
    """The places on the feature map that the cells cover."""
    rows, cols = (slice(SIDE * part.start, SIDE * part.stop) for part in cells)
    return rows, cols


def _area(box: Box) -> int:
    rows, cols = box
    return int((rows.stop - rows.start) * (cols.stop - cols.start))
