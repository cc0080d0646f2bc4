"""The JavaScript twins, started once a module."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.vidtok.fakes import GOLDEN, tables
from tests.vidtok.tagging import Tagged
from tests.vidtok.twin import Twin, based
from vidtok.entropy import load_tables


@pytest.fixture(scope="session")
def node() -> str:
    """Where Node.js is."""
    found = shutil.which("node")
    if found is None:
        why = "node is not on the PATH: install Node.js 20 or newer to test edge_gate/web"
        (pytest.fail if os.environ.get("CI") else pytest.skip)(why)
    return found


@contextmanager
def running(node: str, driver: str) -> Iterator[Twin]:
    started = Twin(node, driver)
    try:
        yield started
    finally:
        started.close()


@pytest.fixture(scope="module")
def twin(node: str) -> Iterator[Twin]:
    with running(node, "twin.mjs") as started:
        assert started.ask("tables", bytes=based((GOLDEN / "tables.bin").read_bytes())) == based(tables().digest)
        yield started


@pytest.fixture(scope="module")
def session_twin(node: str) -> Iterator[Twin]:
    with running(node, "session_twin.mjs") as started:
        yield started


@pytest.fixture(scope="module")
def sender_twin(node: str) -> Iterator[Tagged]:
    """The gate and the sender, with the tables that ship."""
    with running(node, "twin_sender.mjs") as started:
        tagged = Tagged(started)
        tagged.ask("tables", bytes=load_tables().to_bytes())
        yield tagged
