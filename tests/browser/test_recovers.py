"""The page where something goes wrong, is slow, or ends: each a sentence, and the stream goes on where it can."""

from __future__ import annotations

import base64
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from edge_gate.scene import Scene
from tests.browser.conftest import CLIP_SIZE
from tests.browser.served import Served, until
from tests.browser.slow import WORDS, SlowModel
from vidtok.live.pictures import webm

if TYPE_CHECKING:
    from tests.browser.tab import Tab

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(600)]

Tabs = Callable[..., "Tab"]
FILM_FPS, FILM_FRAMES = 10, 40
MOST_TOKENS = 60
SETTLED_S, SLEPT_S = 0.5, 2.0
DROP = """([name, type, base64]) => {
  const dropped = new DataTransfer();
  dropped.items.add(new File([Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0))], name, {type}));
  document.body.dispatchEvent(new DragEvent("drop", {dataTransfer: dropped, bubbles: true, cancelable: true}));
}"""


def drop(tab: Tab, name: str, kind: str, data: bytes) -> None:
    """Let a file fall on the page."""
    tab.page.evaluate(DROP, [name, kind, base64.b64encode(data).decode()])


def same_hashes(tab: Tab, server: Served) -> int:
    """How many versions both ends have; they must have the same canvas at each."""
    ours = {step["version"]: step["hash"] for step in tab.told("steps") if step["tokens"]}
    theirs = server.hashes(tab.stream())
    both = ours.keys() & theirs.keys()
    assert {version: ours[version] for version in both} == {version: theirs[version] for version in both}
    return len(both)


@pytest.fixture(scope="module")
def film() -> bytes:
    """The built-in scene as a WebM file."""
    scene = Scene(CLIP_SIZE, FILM_FPS, variant="tour")
    return webm((scene.frame(k).pixels for k in range(FILM_FRAMES)), CLIP_SIZE, FILM_FPS)


def test_a_film_dropped_on_the_page_is_played_once_from_its_beginning(server: Served, tabs: Tabs, film: bytes) -> None:
    tab = tabs(server.url, camera=False)
    drop(tab, "tour.webm", "video/webm", film)
    tab.wait_says("Playing tour.webm")
    tab.picture("12-film")
    tab.wait_says("tour.webm is over")
    tab.picture("13-film-over")
    name = tab.stream()
    assert server.of("connected", name)[0]["source"] == "tour.webm"
    until(lambda: tab.page.wait_for_timeout(100) or same_hashes(tab, server) > 1, "versions at both ends")
    assert server.of("closed", name) == []
    tab.page.fill("#question", "what is in the picture?")
    tab.page.press("#question", "Enter")
    tab.wait(lambda: "first word after" in tab.page.inner_text("#log"), "an answer about what was played")
    version = tab.version()
    tab.page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    assert tab.page.evaluate("video.ended"), "who comes back to the tab does not begin it again"
    tab.page.click("#start")
    tab.page.click("#start")
    tab.wait(lambda: tab.stream() not in ("", name), "another stream, played from its beginning")
    tab.wait(lambda: 1 < tab.version() != version, "tokens of it")
    assert tab.problems == []
    tab.page.context.close()


def test_what_is_no_film_is_told_so(server: Served, tabs: Tabs) -> None:
    tab = tabs(server.url, camera=False)
    drop(tab, "letter.mp4", "video/mp4", b"Dear reader, this is no film.")
    tab.wait_says("letter.mp4 cannot be played by this browser")
    assert tab.page.inner_text("#start") == "Start"
    drop(tab, "letter.vtk", "", b"nor is it a recording")
    tab.wait_says("This is no vidtok recording")
    assert tab.problems == []
    tab.page.context.close()


@pytest.fixture(scope="module")
def slow() -> Iterator[tuple[SlowModel, Served]]:
    """A model that answers late, and a server that asks it and takes few tokens."""
    model = SlowModel()
    served = Served("--model", model.name, "--tokens-per-s", str(MOST_TOKENS))
    yield model, served
    served.kill()
    model.close()


def test_a_slow_model_is_said_and_the_stream_goes_on(slow: tuple[SlowModel, Served], tabs: Tabs) -> None:
    model, served = slow
    tab = tabs(served.url)
    tab.start("camera", fps="5")
    tab.wait(lambda: tab.version() > 3 and tab.page.is_visible("#seen"), "tokens flow")
    tab.wait_says(f"The server takes {MOST_TOKENS} tokens a second at most")
    hows = lambda: [each.inner_text() for each in tab.page.query_selector_all(".said .how")]  # noqa: E731

    def ask(text: str) -> None:
        tab.page.fill("#question", text)
        tab.page.press("#question", "Enter")

    ask("what is in the picture?")
    tab.wait(lambda: "takes its time" in hows()[-1], "the page says that the model is slow")
    tab.picture("14-slow-model")
    version = tab.version()
    tab.wait(lambda: tab.version() > version + 2, "the stream goes on meanwhile")
    tab.page.click("#stop")
    tab.wait(lambda: hows() == ["interrupted"], "stopped")
    until(lambda: tab.page.wait_for_timeout(100) or model.left == 1, "the model is told at once")
    assert tab.page.is_hidden("#stop")
    ask("is anyone there?")
    tab.wait(lambda: model.asked == 2, "the second question")
    ask("what came in?")
    tab.wait(lambda: model.asked == 3 and hows()[1] == "interrupted", "asking again interrupts")
    until(lambda: tab.page.wait_for_timeout(100) or model.left == 2, "the model is told so")
    model.ready.set()
    tab.wait(lambda: "first word after" in hows()[-1], "an answer at last")
    rows = served.of("update", tab.stream())
    for first in rows[1:]:  # the first were told before the wish had come
        window = [row["tokens"] for row in rows if 0 <= row["capture_ms"] - first["capture_ms"] < 999]
        assert sum(window) <= MOST_TOKENS or first["capture_ms"] < rows[0]["capture_ms"] + 3000
    assert tab.page.query_selector_all(".said .a")[-1].inner_text() == "".join(WORDS)
    assert tab.problems == []
    tab.page.context.close()


@contextmanager
def asleep(tab: Tab) -> Iterator[None]:
    """No code of any page runs: what browsers do to tabs that nobody looks at, and lids to laptops."""
    browser = tab.page.context.browser
    assert browser is not None
    processes = browser.new_browser_cdp_session().send("SystemInfo.getProcessInfo")["processInfo"]
    renderers = [process["id"] for process in processes if process["type"] == "renderer"]
    assert renderers
    for each in renderers:
        os.kill(each, signal.SIGSTOP)
    try:
        yield
    finally:
        for each in renderers:
            os.kill(each, signal.SIGCONT)


def filming(server: Served, tabs: Tabs) -> tuple[Tab, str]:
    """A tab whose tokens flow, and its stream's name."""
    tab = tabs(server.url)
    tab.start("camera", fps="5")
    tab.wait(lambda: tab.version() > 3 and tab.stream(), "tokens flow")
    return tab, tab.stream()


def test_a_tab_that_slept_goes_on(server: Served, tabs: Tabs) -> None:
    """Meanwhile its path was lost."""
    tab, name = filming(server, tabs)
    with asleep(tab):
        time.sleep(SETTLED_S)  # what was under way arrives
        told = len(server.of("update", name))
        time.sleep(SLEPT_S)
        assert len(server.of("update", name)) == told
        tab.lose_path()
        until(lambda: server.of("suspended", name), "the server notices")
    tab.wait_says("The network is back")
    tab.wait(lambda: len(server.of("update", name)) > told + 3, "it goes on")
    assert server.of("resumed", name)
    assert tab.stream() == name
    assert same_hashes(tab, server) > 3
    assert tab.problems == []
    tab.page.context.close()


def test_a_browser_that_gives_no_frames_of_a_track_films_the_video(server: Served, tabs: Tabs) -> None:
    lacks = "delete window.MediaStreamTrackProcessor; delete HTMLVideoElement.prototype.requestVideoFrameCallback;"
    tab = tabs(server.url, before=lacks)
    tab.start("camera", fps="5")
    tab.wait(lambda: tab.version() > 5, "tokens flow")
    tab.wait(lambda: same_hashes(tab, server) > 2, "the same at both ends")
    assert tab.problems == []
    tab.page.context.close()


@pytest.mark.parametrize("lacks", ["OffscreenCanvas", "Worker"])
def test_an_older_browser_is_told_what_it_lacks(server: Served, tabs: Tabs, lacks: str) -> None:
    tab = tabs(server.url, before=f"delete window.{lacks};")
    assert f"lacks {lacks}" in tab.page.inner_text("#too-old")
    assert tab.page.is_disabled("#start")
    tab.page.context.close()


def test_a_worker_that_does_not_start_is_said(server: Served, tabs: Tabs) -> None:
    """As before browsers had workers of modules."""
    tab = tabs(server.url, before="window.Worker = class extends Worker { constructor(url) { super(url); } };")
    tab.wait_says("The networks do not run in this tab")
    assert "newer browser" in tab.says()
    tab.picture("15-no-module-workers")
    tab.page.context.close()


def test_a_page_that_is_not_secure_says_how_it_would_be(server: Served, tabs: Tabs) -> None:
    before = "Object.defineProperty(navigator, 'mediaDevices', {value: undefined});"
    tab = tabs(server.url, before=before + "Object.defineProperty(window, 'isSecureContext', {value: false});")
    tab.start("camera")
    tab.wait_says("secure pages only")
    tab.page.context.close()
