"""The shared screen: both ends in step over a bad link, in virtual time and as a command."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from experiments import shared_screen, virtual_time

ROOT = Path(__file__).parent.parent.parent


@pytest.mark.parametrize(("loss", "delay"), [(0.0, 0.0), (0.2, 0.15), (0.5, 0.3)])
def test_both_screens_are_equal(loss: float, delay: float, capsys: pytest.CaptureFixture[str]) -> None:
    virtual_time.run(shared_screen.play("loopback://screen", loss, delay, 5.0))
    out = capsys.readouterr().out
    found = re.fullmatch(
        r"equal: (\d+) bytes in \d+ packets\n([\d.]+) s old in the median .* ([\d.]+) s at worst\n", out
    )
    assert found, out
    assert int(found[1]) < 30_000
    assert delay <= float(found[2]) <= float(found[3]) < 4.0


def test_the_command() -> None:
    line = [sys.executable, "-m", "experiments.shared_screen", "--loss", "0.1", "--delay", "0.02", "--seconds", "0.5"]
    out = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, timeout=60, check=True).stdout
    assert out.startswith("equal: ")


def test_it_is_short_and_needs_nothing_heavy() -> None:
    source = Path(shared_screen.__file__).read_text()
    assert len(source.splitlines()) < 60
    assert set(re.findall(r"^(?:import|from) (\w+)", source, re.MULTILINE)) == {
        "argparse",
        "asyncio",
        "transport",
        "zlib",
    }
