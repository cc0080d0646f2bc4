"""One tab of a browser with the page in it: what it says, and everything that leaves it."""

from __future__ import annotations

import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from playwright.sync_api import BrowserContext, Page, Request, Response

from tests.browser.served import PATIENCE_S

LISTEN = """
window.told = {steps: [], events: [], sent: []};
const Plain = Worker;
window.Worker = class extends Plain {
  constructor(...all) {
    super(...all);
    this.addEventListener("message", ({data}) => {
      if (data.is === "step") told.steps.push({version: data.version, hash: data.hash, tokens: data.tokens});
      if (data.is === "event") told.events.push(data.event);
    });
  }
};
const send = RTCDataChannel.prototype.send;
RTCDataChannel.prototype.send = function (data) {
  told.sent.push([...new Uint8Array(data.buffer ?? data)]);
  return send.call(this, data);
};
"""


class Tab:
    """The page as somebody uses it."""

    def __init__(self, context: BrowserContext, url: str, pictures: Path, before: str = "") -> None:
        self.url, self._pictures = url, pictures
        self.problems: list[str] = []  # on the console, and errors that nobody caught
        self.requests: list[Request] = []
        self.places: list[str] = []  # of the sessions that were opened
        self.page: Page = context.new_page()
        self.page.set_default_timeout(PATIENCE_S * 1000)
        self.page.add_init_script(LISTEN + before)
        self.page.on("console", lambda said: self.problems.append(said.text) if said.type == "error" else None)
        self.page.on("pageerror", lambda error: self.problems.append(str(error)))
        self.page.on("request", lambda request: self.requests.append(request))
        self.page.on("response", self._answered)
        self.page.goto(url)

    def _answered(self, response: Response) -> None:
        if response.request.method == "POST" and response.status == 201 and response.url.endswith("/offer"):
            self.places.append(response.headers["location"])

    def start(self, kind: str, **choices: str) -> None:
        """Choose what to film, and begin."""
        for name, value in {"kind": kind, **choices}.items():
            self.page.select_option(f"#{name}", value)
        self.page.click("#start")

    def lose_path(self) -> None:
        """Have the server end the connection of its newest session, as a network would that is gone."""
        place = self.url.rstrip("/") + self.places[-1]
        urllib.request.urlopen(urllib.request.Request(place, method="DELETE"), timeout=20).close()

    def says(self) -> str:
        """The sentences about its state."""
        return self.page.inner_text("#says")

    def wait(self, happens: Callable[[], Any], what: str) -> Any:
        """Wait for a true value while the page goes on."""
        end = time.monotonic() + PATIENCE_S
        while not (value := happens()):
            assert time.monotonic() < end, f"in {PATIENCE_S:g} s not: {what}; the page says {self.says()!r}"
            self.page.wait_for_timeout(50)
        return value

    def wait_says(self, words: str) -> None:
        """Wait for a sentence."""
        self.wait(lambda: words in self.says(), words)

    def told(self, name: str) -> list[Any]:
        """What was heard of the worker, or what left."""
        out: list[Any] = self.page.evaluate(f"told.{name}")
        return out

    def version(self) -> int:
        """The newest version that was handed to the network."""
        newest: int = self.page.evaluate("told.steps.at(-1)?.version ?? 0")
        return newest

    def stream(self) -> str:
        """The server's name for what is sent."""
        said = self.page.inner_text("#version")
        return said.removeprefix("The server calls this ").removesuffix(".")

    def picture(self, name: str, **options: Any) -> None:
        """Keep a screenshot."""
        self._pictures.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=self._pictures / f"{name}.png", **options)
