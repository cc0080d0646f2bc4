"""The page in a browser, as somebody uses it, before a real server: tokens flow, nothing else does, and it recovers."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.browser.served import Served, until
from transport.adapters.file import FileReader, FileWriter
from transport.errors import RemoteProtocolError
from transport.wire import Delta, pull_packet
from vidtok.live.recording import Replay

if TYPE_CHECKING:
    from tests.browser.tab import Tab

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(600)]

Tabs = Callable[..., "Tab"]
MOST_BODY = 64 * 1024  # of a request: an offer has a few thousand letters
REPLAYED_MS = 3000
LOW_KBPS, LOW_TOKENS = 3.0, 8
CONDITIONS = ("is the camera moving?", "is anyone there?", "does anything move?", "is there any text?", "is it a room?")


@pytest.fixture(scope="module")
def tab(server: Served, tabs: Tabs) -> Tab:
    """A tab that films its camera; the tests of this module use it one after the other."""
    opened = tabs(server.url)
    opened.picture("1-opened")
    opened.start("camera", fps="10")
    opened.wait(lambda: opened.version() > 8, "tokens flow")
    return opened


def deltas(tab: Tab) -> list[tuple[Delta, int]]:
    """Every delta that left, with its size."""
    packets = [bytes(each) for each in tab.told("sent")]
    return [(packet, len(data)) for data in packets if isinstance(packet := pull_packet(data), Delta)]


def test_the_camera_starts_and_tokens_flow(tab: Tab, server: Served) -> None:
    assert server.of("connected", tab.stream())[0]["source"] == "camera"
    tab.wait(lambda: tab.page.is_visible("#seen"), "the canvas as the model has it")
    tab.page.wait_for_timeout(1500)
    tab.picture("2-streaming", full_page=True)
    provider = tab.page.inner_text("#provider")
    assert "WebAssembly, SIMD" in provider
    assert ("threads" in provider) == (tab.page.evaluate("navigator.hardwareConcurrency") > 1)
    assert float(tab.page.inner_text("#plots .plot:nth-child(1) b")) > 0
    assert tab.page.inner_text("#ours-bytes") != "–"
    assert "JPEG" in tab.page.inner_text(".costs")


def test_every_version_hashes_alike_on_both_ends(tab: Tab, server: Served) -> None:
    tab.wait(lambda: tab.version() > 20, "twenty versions")
    ours = {step["version"]: step["hash"] for step in tab.told("steps") if step["tokens"]}
    theirs = until(lambda: len(hashes := server.hashes(tab.stream())) > 15 and hashes, "versions at the server")
    both = ours.keys() & theirs.keys()
    assert len(both) > 10
    assert {version: ours[version] for version in both} == {version: theirs[version] for version in both}


def test_a_question_is_answered_where_the_model_looked(tab: Tab) -> None:
    tab.page.fill("#question", "what is in the picture?")
    tab.page.press("#question", "Enter")
    tab.wait(lambda: "first word after" in tab.page.inner_text("#log"), "an answer")
    assert tab.page.inner_text(".said .a").strip()
    drawn = "[...attention.getContext('2d').getImageData(0, 0, attention.width, attention.height).data].some(Boolean)"
    assert tab.page.evaluate(drawn)
    tab.picture("3-answered")


def test_asking_again_interrupts(tab: Tab) -> None:
    tab.page.evaluate("for (const chip of [...chips.children].slice(0, 2)) chip.click()")
    tab.wait(lambda: not tab.page.query_selector(".said.waits"), "both are settled")
    ends = [each.inner_text() for each in tab.page.query_selector_all(".said .how")][-2:]
    assert ends[0] == "interrupted"
    assert "first word" in ends[1]


def test_a_condition_of_ones_own_is_told_of(tab: Tab, server: Served) -> None:
    """Which of these holds is the model's to say; that the page tells of the one that does is ours."""
    noticed = len(server.of("noticed"))
    tab.page.check("#alert")
    for condition in CONDITIONS * 3:
        tab.page.fill("#condition", condition)
        tab.page.press("#condition", "Enter")
        tab.page.wait_for_timeout(2500)
        if tab.page.query_selector(".noticed"):
            break
    tab.wait(lambda: tab.page.query_selector(".noticed"), "the page tells of it")
    told, held = tab.page.inner_text(".noticed"), [row["condition"] for row in server.of("noticed")[noticed:]]
    assert any(f"{condition} Yes, " in told for condition in held)
    tab.page.uncheck("#alert")


def test_the_sliders_caps_are_obeyed_at_once(tab: Tab, server: Served) -> None:
    slide = """([id, place]) => {
      const slider = document.getElementById(id);
      slider.value = place;
      slider.dispatchEvent(new Event("input"));
    }"""
    for name, low in (("kbps", LOW_KBPS), ("tokens", LOW_TOKENS)):
        for place in range(0, 1001, 4):  # up to the place that says so much
            tab.page.evaluate(slide, [name, place])
            if float(tab.page.inner_text(f"#{name}-now").split()[0]) >= low:
                break
    before = server.of("update", tab.stream())[-1]["capture_ms"]
    said = [float(tab.page.inner_text(f"#{name}-now").split()[0]) for name in ("kbps", "tokens")]
    enough = lambda: [r for r in server.of("update", tab.stream()) if r["capture_ms"] > before + 3000][-1:]  # noqa: E731
    until(lambda: tab.page.wait_for_timeout(100) or enough(), "updates under the low caps")
    rows = [row for row in server.of("update", tab.stream()) if row["capture_ms"] > before + 1500]
    assert sum(row["tokens"] for row in rows) > 0
    sizes = {packet.version: size for packet, size in deltas(tab)}
    for first in rows:
        window = [row for row in rows if 0 <= row["capture_ms"] - first["capture_ms"] < 999]
        assert sum(row["tokens"] for row in window) <= said[1]
        assert sum(sizes[row["version"]] for row in window) * 8 <= said[0] * 1000 + 1100 * 8
    tab.picture("4-low-caps")


def test_a_lost_connection_is_resumed(tab: Tab, server: Served) -> None:
    name, version = tab.stream(), tab.version()
    tab.page.context.set_offline(True)
    tab.lose_path()
    tab.wait_says("The network is gone")
    tab.wait_says("is tried again and again")
    tab.picture("5-network-gone")
    tab.page.context.set_offline(False)
    tab.wait_says("The network is back")
    tab.picture("6-network-back")
    tab.wait(lambda: tab.version() > version + 3, "it goes on")
    assert tab.stream() == name
    assert server.of("resumed", name)
    tab.problems[:] = [each for each in tab.problems if "ERR_INTERNET_DISCONNECTED" not in each]
    until(lambda: max(server.hashes(name)) > version + 2, "versions at the server")
    ours = {step["version"]: step["hash"] for step in tab.told("steps") if step["tokens"]}
    theirs = server.hashes(name)
    assert all(ours[each] == theirs[each] for each in ours.keys() & theirs.keys())


def test_a_recording_is_saved_and_replayed(tab: Tab, server: Served, tabs: Tabs, tmp_path: Path) -> None:
    tab.wait(lambda: tab.version() > 20, "twenty versions")
    with tab.page.expect_download() as saving:
        tab.page.click("#record")
    path = tmp_path / "saved.vtk"
    saving.value.save_as(path)
    replayed = {update.canvas.version: update.canvas.state_hash() for _, update in Replay(path)}
    ours = {step["version"]: step["hash"] for step in tab.told("steps") if step["tokens"]}
    both = replayed.keys() & ours.keys()
    assert len(both) > 10
    assert all(replayed[version] == ours[version] for version in both)
    beginning = tmp_path / "beginning.vtk"
    reader = FileReader(path)
    with FileWriter(beginning, reader.meta, reader.codec_hash) as writer:
        for record in reader:
            if record.time_ms < REPLAYED_MS:
                writer.write(record.time_ms, record.lane, record.data)
    player = tabs(server.url)
    with player.page.expect_file_chooser() as choosing:
        player.page.click("#replay")
    choosing.value.set_files(beginning)
    player.wait_says("beginning.vtk is over")
    player.wait(lambda: player.page.is_visible("#seen"), "the model's picture of it")
    player.picture("11-replayed")
    name = player.stream()
    assert name != tab.stream()
    recorded = {update.canvas.version: update.canvas.state_hash() for _, update in Replay(beginning)}
    until(lambda: server.hashes(name) == recorded, "the server has what was recorded")
    player.page.context.close()


def test_nothing_but_tokens_left_this_tab(tab: Tab, server: Served) -> None:
    """All that is sent: packets of the protocol and a few small texts, to the server and to nobody else."""
    kinds = set()
    for data in map(bytes, tab.told("sent")):
        assert len(data) <= 1100
        try:
            kinds.add(type(pull_packet(data)).__name__)
        except RemoteProtocolError as error:
            pytest.fail(f"no packet of the protocol left as one: {error}")
    assert kinds <= {"Hello", "Delta", "Heartbeat", "Close"}
    for packet, _ in deltas(tab):
        assert not any(
            mark in packet.payload for mark in (b"\xff\xd8\xff", b"\x89PNG", b"RIFF", b"ftyp", b"\x1aE\xdf\xa3")
        )
    frames = len(tab.told("steps"))
    assert sum(map(len, tab.told("sent"))) < frames * 2000  # a frame has 196,608 bytes
    for request in tab.requests:
        assert request.url.startswith((server.url, f"blob:{server.url}")), request.url
        body = request.post_data_buffer or b""
        assert len(body) < MOST_BODY
        if request.method == "POST" and not request.url.endswith("/offer"):
            asked = json.loads(body)
            assert set(asked) <= {"text", "stream", "ticket"}
            assert all(isinstance(value, str) and len(value) <= 400 for value in asked.values())
        else:
            assert not body or body.startswith(b"v=0")
    assert tab.problems == []


def test_an_unplugged_camera_and_a_hidden_tab_are_said(tab: Tab, server: Served) -> None:
    tab.page.evaluate("Object.defineProperty(document, 'hidden', {value: true, configurable: true})")
    tab.page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    tab.page.evaluate("delete document.hidden; document.dispatchEvent(new Event('visibilitychange'))")
    tab.wait_says("this tab was hidden")
    tab.page.evaluate("video.srcObject.getTracks()[0].dispatchEvent(new Event('ended'))")
    tab.wait_says("The camera was unplugged")
    tab.picture("7-unplugged")
    version = tab.version()
    tab.page.evaluate("navigator.mediaDevices.dispatchEvent(new Event('devicechange'))")
    tab.wait(lambda: "unplugged" not in tab.says(), "the camera is there again")
    tab.wait(lambda: tab.version() > version, "it goes on")
    closed = len(server.of("closed"))
    tab.page.click("#start")
    until(lambda: tab.page.wait_for_timeout(100) or len(server.of("closed")) > closed, "a goodbye")


@pytest.mark.parametrize(
    ("name", "words"),
    [("NotAllowedError", "was refused"), ("NotFoundError", "is not there"), ("NotReadableError", "another program")],
)
def test_a_camera_that_does_not_open_is_a_sentence(server: Served, tabs: Tabs, name: str, words: str) -> None:
    if name == "NotAllowedError":
        tab = tabs(server.url, camera=False)
        session = tab.page.context.new_cdp_session(tab.page)
        session.send("Browser.setPermission", {"permission": {"name": "camera"}, "setting": "denied"})
    else:
        fails = f"navigator.mediaDevices.getUserMedia = async () => {{ throw new DOMException('', '{name}'); }};"
        tab = tabs(server.url, before=fails)
    tab.start("camera")
    tab.wait_says(words)
    assert tab.page.inner_text("#start") == "Start"
    tab.picture(f"8-{name}")
    tab.page.context.close()


@pytest.mark.parametrize("lacks", ["RTCPeerConnection", "WebAssembly"])
def test_a_browser_without_what_it_takes_is_told_so(server: Served, tabs: Tabs, lacks: str) -> None:
    tab = tabs(
        server.url, before=f"delete window.{lacks};" if lacks != "WebAssembly" else "delete globalThis.WebAssembly;"
    )
    assert "lacks Web" in tab.page.inner_text("#too-old")
    assert tab.page.is_disabled("#start")
    tab.page.context.close()


def test_either_build_of_the_kernels_makes_the_same_values(server: Served, tabs: Tabs) -> None:
    tab = tabs(server.url)
    told = tab.page.evaluate(
        """async () => {
          const { build, Network } = await import("/nets.js");
          const bytes = async (path) => new Uint8Array(await (await fetch(path)).arrayBuffer());
          const model = await bytes("/weights/encoder.onnx");
          const data = Int8Array.from({ length: 64 * 96 * 3 }, (_, at) => (at * 7919) % 251 - 125);
          const made = [];
          for (const name of ["kernels", "relaxed"]) {
            const network = new Network(await WebAssembly.compile(await bytes(`/kernels/${name}.wasm`)), model);
            made.push([...network.run({ picture: { data, dims: [64, 96, 3] } }).latents.data]);
          }
          return { build: build(), made };
        }"""
    )
    assert told["build"] == "relaxed"
    assert told["made"][0] == pytest.approx(told["made"][1], abs=1e-6)
    assert len(set(told["made"][0])) > 100
    tab.page.context.close()


def test_however_many_threads_make_the_same_values(server: Served, tabs: Tabs) -> None:
    tab = tabs(server.url)
    make = """async () => {
      const { build, Network } = await import("/nets.js");
      const { Nets } = await import("/nets_port.js");
      const bytes = async (path) => new Uint8Array(await (await fetch(path)).arrayBuffer());
      const encoder = await bytes("/weights/encoder.onnx");
      const alone = new Network(await WebAssembly.compile(await bytes(`/kernels/${build()}.wasm`)), encoder);
      const nets = await Nets.open({ encoder: encoder.slice() });
      const same = [];
      for (const dims of [[64, 96, 3], [256, 192, 3], [64, 96, 3]]) {
        const data = Int8Array.from({ length: dims[0] * dims[1] * 3 }, (_, at) => (at * 7919) % 251 - 125);
        const wanted = alone.run({ picture: { data, dims } });
        for (let again = 0; again < 5; again++) {
          const made = await nets.network("encoder").run({ picture: { data, dims } });
          same.push(["latents", "features"].every((name) => `${made[name].data}` === `${wanted[name].data}`));
        }
      }
      return { same: same.every(Boolean), threads: nets.threads };
    }"""
    threads = 1 if tab.page.evaluate("navigator.hardwareConcurrency") == 1 else 2
    told = tab.page.evaluate(make)
    assert told["same"]
    assert threads <= told["threads"] <= 2 * threads
    tab.page.context.route("**/*-shared.wasm", lambda route: route.fulfill(status=404, body="no"))
    assert tab.page.evaluate(make) == {"same": True, "threads": 1}
    tab.page.context.close()


def test_a_server_that_lacks_the_networks_is_told_so(server: Served, tabs: Tabs) -> None:
    tab = tabs("about:blank", camera=False)
    tab.page.context.route("**/kernels/**", lambda route: route.fulfill(status=404, body="no"))
    tab.page.goto(server.url)
    tab.wait_says("relaxed.wasm")
    tab.picture("9-no-networks")
    tab.page.context.close()


def test_two_tabs_two_streams_and_a_phone_in_the_dark(server: Served, tabs: Tabs) -> None:
    streams = len(server.of("connected"))
    wide = tabs(server.url)
    wide.start("camera", fps="5")
    phone = tabs(server.url, color_scheme="dark", device_scale_factor=2)
    phone.page.set_viewport_size({"width": 390, "height": 844})
    phone.start("scene", fps="5")
    for tab in (wide, phone):
        tab.wait(lambda tab=tab: tab.version() > 3 and tab.stream(), "tokens flow")  # type: ignore[misc]
    assert wide.stream() != phone.stream()
    assert {row["source"] for row in server.of("connected")[streams:]} == {"camera", "scene"}
    phone.wait(lambda: phone.page.is_visible("#seen"), "the canvas as the model has it")
    phone.picture("10-phone-dark", full_page=True)
    assert phone.page.evaluate("document.documentElement.scrollWidth") <= 390
    for tab in (wide, phone):
        assert tab.problems == []
        tab.page.context.close()


def test_it_is_used_by_keyboard(server: Served, tabs: Tabs) -> None:
    tab = tabs(server.url)
    wanted = {"kind", "size", "fps", "start", "kbps", "tokens", "replay", "question", "send", "alert", "condition"}
    for _ in range(30):
        tab.page.keyboard.press("Tab")
        name, outline = tab.page.evaluate(
            "[document.activeElement.id, getComputedStyle(document.activeElement).outlineStyle]"
        )
        wanted -= {name}
        assert name == "" or outline != "none", f"{name} has the focus and does not show it"
    assert wanted == set(), "cannot be reached by keyboard"
    unnamed = """[...document.querySelectorAll("input, select, button")]
      .filter((each) => !each.labels?.length && !each.textContent.trim() && !each.ariaLabel)"""
    assert tab.page.evaluate(f"{unnamed}.map((e) => e.id)") == []
    tab.page.context.close()


def test_the_server_is_started_anew(server: Served, tabs: Tabs) -> None:
    tab = tabs(server.url)
    tab.start("camera", fps="5")
    tab.wait(lambda: tab.version() > 3, "tokens flow")
    server.kill()
    tab.wait(lambda: "is tried again" in tab.says() or "network is gone" in tab.says(), "it says so")
    begun = len(server.rows)
    server.begin()
    after = until(
        lambda: tab.page.wait_for_timeout(100) or [r for r in server.rows[begun:] if r["event"] == "update"],
        "tokens at the new server",
    )
    steps = {step["version"]: step["hash"] for step in tab.told("steps")}
    assert all(steps.get(row["version"], row["state_hash"]) == row["state_hash"] for row in after)
    closed = len(server.of("closed"))
    tab.page.click("#start")
    until(lambda: tab.page.wait_for_timeout(100) or len(server.of("closed")) > closed, "a goodbye")
