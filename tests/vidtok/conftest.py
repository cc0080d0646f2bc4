"""The JavaScript twins, started once a module."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.vidtok.fakes import GOLDEN, tables
from tests.vidtok.twin import Twin, based


@contextmanager
def running(driver: str) -> Iterator[Twin]:
    node = shutil.which("node")
    if node is None:
        why = "node is not on the PATH: install Node.js 20 or newer to test edge_gate/web"
        (pytest.fail if os.environ.get("CI") else pytest.skip)(why)
    started = Twin(node, driver)
    try:
        yield started
    finally:
        started.close()


@pytest.fixture(scope="module")
def twin() -> Iterator[Twin]:
    with running("twin.mjs") as started:
        assert started.ask("tables", bytes=based((GOLDEN / "tables.bin").read_bytes())) == based(tables().digest)
        yield started


@pytest.fixture(scope="module")
def session_twin() -> Iterator[Twin]:
    with running("session_twin.mjs") as started:
        yield started
