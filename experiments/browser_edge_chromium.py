"""Chromium without a window, its camera a film: started by Playwright, watched from outside.

film.y4m --> Chromium --> page, with `web/browser_edge_tap.js` in it
CPU of its processes <-- DevTools' protocol;  of any other process <-- /proc
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from experiments.bench import BenchError

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
TAP = Path(__file__).parent / "web" / "browser_edge_tap.js"
FLAGS = (
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
    "--autoplay-policy=no-user-gesture-required",
)
INSTALL = "pip install playwright"


def find_chromium() -> str:
    """Where this machine's Chromium is."""
    for name in NAMES:
        if path := shutil.which(name):
            return path
    raise BenchError("there is no Chromium here: install it (Debian: apt-get install chromium)")


def playwright() -> Any:
    """What starts Playwright."""
    try:
        from playwright.async_api import async_playwright
    except ImportError:
        raise BenchError(f"Playwright is not installed: {INSTALL}") from None
    return async_playwright()


def wall_ahead_s() -> float:
    """What the time of day is ahead of CLOCK_MONOTONIC."""
    return time.time() - time.monotonic()


@dataclass
class Chromium:
    """A running one."""

    browser: Any
    version: str

    @asynccontextmanager
    async def tab(self) -> AsyncIterator[Any]:
        """A page of a context of its own: with its own cache, empty. What goes wrong in it is kept in `page.wrong`."""
        context = await self.browser.new_context()
        try:
            await context.add_init_script(path=TAP)
            page = await context.new_page()
            page.wrong = []
            page.on("pageerror", lambda error: page.wrong.append(str(error)))
            page.on("console", lambda said: page.wrong.append(said.text) if said.type == "error" else None)
            yield page
        finally:
            await context.close()

    async def cpu_s(self) -> Mapping[str, float]:
        """CPU seconds so far: of all tabs' processes (`tab`), and of the whole browser (`browser`)."""
        session = await self.browser.new_browser_cdp_session()
        try:
            found = (await session.send("SystemInfo.getProcessInfo"))["processInfo"]
        finally:
            await session.detach()
        tabs = sum(one["cpuTime"] for one in found if one["type"] == "renderer")
        return {"tab": tabs, "browser": sum(one["cpuTime"] for one in found)}


@asynccontextmanager
async def chromium(film: Path) -> AsyncIterator[Chromium]:
    """Chromium with this film as its only camera."""
    from_root = ["--no-sandbox"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []
    arguments = [*FLAGS, f"--use-file-for-fake-video-capture={film}", *from_root]
    path = find_chromium()
    async with playwright() as playing:
        try:
            browser = await playing.chromium.launch(executable_path=path, args=arguments)
        except Exception as error:  # Playwright's own error says much more than one line
            raise BenchError(f"{path} does not start: {str(error).splitlines()[0]}") from None
        try:
            yield Chromium(browser, browser.version)
        finally:
            await browser.close()


def process_cpu_s(pid: int) -> float:
    """CPU seconds of a process so far, all of its threads."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        raise BenchError(f"/proc/{pid}/stat: cannot be read; a server's CPU is only known on Linux") from None
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
