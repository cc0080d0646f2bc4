"""Networks in several threads: nets_worker.js and its helpers, in node, make bit for bit what one thread makes."""

from __future__ import annotations

import json
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from vidtok.tokenizer.edge import WEIGHTS

TWIN = Path(__file__).parent / "twin_threads.mjs"
THREADS = {"some": 2, "missing": 1, "mortal": 2}  # that it says it has


@cache
def made(node: str, helpers: str) -> dict[str, Any]:
    """Encoder and gist for several sizes: digests of what they give, how many threads there were, calls by helpers."""
    ran = subprocess.run([node, TWIN, WEIGHTS, helpers], check=True, capture_output=True, text=True, timeout=120)
    told: dict[str, Any] = json.loads(ran.stdout)
    return told


@pytest.mark.parametrize("helpers", THREADS)
def test_values_are_the_same_whoever_makes_them(node: str, helpers: str) -> None:
    alone, told = made(node, "none"), made(node, helpers)
    assert (alone["threads"], alone["helped"]) == (1, 0)
    assert told["threads"] == THREADS[helpers]
    assert (told["helped"] > 0) == (helpers != "missing")
    assert told["made"] == alone["made"]
    assert len(set(told["made"])) == 9  # three sizes: what the encoder gives, the gist of all of it and of less
