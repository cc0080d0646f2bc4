"""A browser with a film as its camera, and a server; both once a module. Screenshots go to out/browser."""

from __future__ import annotations

import os
import shutil
import threading
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import suppress
from http.client import HTTPException
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge_gate.scene import Scene
from tests.browser.served import Served

PICTURES = Path(__file__).parents[2] / "out" / "browser"
CLIP_SIZE, CLIP_FPS, CLIP_FRAMES = (320, 240), 10, 120


def absent(why: str) -> None:
    (pytest.fail if os.environ.get("CI") else pytest.skip)(why)


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built-in scene as a camera plays it: raw frames in a .y4m file."""
    path = tmp_path_factory.mktemp("camera") / "camera.y4m"
    scene = Scene(CLIP_SIZE, CLIP_FPS, variant="tour")
    width, height = CLIP_SIZE
    with path.open("wb") as file:
        file.write(f"YUV4MPEG2 W{width} H{height} F{CLIP_FPS}:1 Ip A1:1 C420jpeg\n".encode())
        for k in range(CLIP_FRAMES):
            planes = cv2.cvtColor(np.ascontiguousarray(scene.frame(k).pixels), cv2.COLOR_RGB2YUV_I420)
            file.write(b"FRAME\n" + planes.tobytes())
    return path


def drawn(url: str) -> None:
    """Have the server draw its scene before it is wanted; that may be cut off."""
    with suppress(OSError, HTTPException), urllib.request.urlopen(url) as film:
        film.read()


@pytest.fixture(scope="module")
def server() -> Iterator[Served]:
    served = Served()
    try:
        threading.Thread(target=drawn, args=(served.url + "scene.webm",), daemon=True).start()
        yield served
    finally:
        served.kill()


@pytest.fixture(scope="module")
def browser(clip: Path) -> Iterator[object]:
    """Chromium, whose camera plays the clip and asks for leave."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        absent("there is no chromium on the PATH: apt-get install chromium to test the page")
    try:
        from playwright import sync_api as api
    except ImportError:
        absent("playwright is not installed: pip install 'vidtok[dev]'")
    args = ["--use-fake-device-for-media-stream", f"--use-file-for-fake-video-capture={clip}"]
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        args.append("--no-sandbox")
    with api.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=chromium, args=args)
        yield started
        started.close()


@pytest.fixture(scope="module")
def tabs(browser: object) -> Iterator[Callable[..., object]]:
    """Makes tabs, each in a context of its own: `tabs(url, camera=True, before=SCRIPT, ...)`."""
    from tests.browser.tab import Tab

    contexts = []

    def tab(url: str, *, camera: bool = True, before: str = "", **options: object) -> Tab:
        context = browser.new_context(viewport={"width": 1280, "height": 900}, **options)  # type: ignore[attr-defined]
        contexts.append(context)
        if camera:
            context.grant_permissions(["camera"])
        return Tab(context, url, PICTURES, before)

    yield tab
    for context in contexts:
        context.close()
