"""Which everyday category each of the thousand ImageNet classes belongs to; `categories.tsv` is the table.

    probabilities (T, 1000) --table--> (T, len(CATEGORIES)); what belongs to none counts for none

A line of the table is a category, a tab, and its labels with semicolons between; `A..B` is every label from A to B in
the network's order.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vidtok.model.reader import label_names

TABLE = Path(__file__).with_name("categories.tsv")


@cache
def table() -> dict[str, list[int]]:
    """The classes of each category, by number."""
    lines = (line.split("\t") for line in TABLE.read_text().splitlines())
    return {name: [i for part in parts.split(";") for i in _classes(part.strip())] for name, parts in lines}


def _classes(part: str) -> list[int]:
    names = label_names()
    first, _, last = part.partition("..")
    found = [number for number, name in enumerate(names) if name == first]
    if not found or (last and last not in names):
        raise ValueError(f"{TABLE.name}: {part!r} is no label of the network")
    return list(range(found[0], names.index(last) + 1)) if last else found


def categories() -> tuple[str, ...]:
    """Their names, in the table's order."""
    return tuple(table())


@cache
def _members() -> NDArray[np.float32]:
    out = np.zeros((1000, len(table())), np.float32)
    for column, classes in enumerate(table().values()):
        out[classes, column] = 1
    return out


def by_category(classes: NDArray[np.float32]) -> NDArray[np.float32]:
    """(..., 1000) probabilities -> (..., categories)."""
    return classes @ _members()


def category_of(label: int) -> str | None:
    """The category of one class."""
    return next((name for name, classes in table().items() if label in classes), None)
