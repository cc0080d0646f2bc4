"""Two processes over real WebRTC: what `make demo` shows, and that live sending and encoding are the same bits."""

from __future__ import annotations

import json
import signal
import subprocess
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from edge_gate.scene import Scene
from tests.vidtok.command import VIDTOK, serving_once, vidtok
from vidtok.live.pictures import FilmWriter
from vidtok.live.recording import Replay


@pytest.mark.slow
def test_the_demo_shows_the_whole_path(tmp_path: Path) -> None:
    out = vidtok("demo", "--seconds", "4", "--out", tmp_path / "demo")
    assert out.returncode == 0, out.stderr
    words = ("kbps", "tokens", "cells sent", "glass to token", "agreement", "index.html", "demo.mp4", "then open http")
    assert all(word in out.stdout for word in words), out.stdout
    figures = json.loads((tmp_path / "demo" / "figures.json").read_text())
    assert 0 < figures["kbps"] <= 35
    assert 0 < figures["tokens_per_s"] <= 2 * 300
    assert figures["tokens_per_s"] < figures["dense_tokens_per_s"]
    assert 0 < figures["feature_cosine"] <= 1
    assert 0 < figures["glass_to_token_p50_ms"] < 60_000
    names = {p.name for p in (tmp_path / "demo").iterdir()}
    assert names == {"demo.mp4", "demo.png", "demo.vtk", "figures.json", "index.html"}


@pytest.mark.slow
def test_the_demo_serves_the_page_until_it_is_told_to_end() -> None:
    command = [*VIDTOK, "demo", "browser", "--port", "0"]
    demo = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert demo.stdout is not None
        url = next(line for line in demo.stdout if line.startswith("open http")).split()[1]
        with urllib.request.urlopen(url, timeout=20) as page:
            assert "<title>vidtok" in page.read().decode()
        demo.send_signal(signal.SIGINT)
        assert demo.wait(30) == 0
    finally:
        demo.kill()
        demo.wait()
        demo.stdout.close() if demo.stdout else None
    refused = vidtok("demo", "browser", "--no-page")
    assert (refused.returncode, len(refused.stderr.splitlines())) == (1, 1)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three seconds at 640x480: something moves, something stands still."""
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    scene = Scene(size=(640, 480), fps=10, variant="tour", noise=False)
    with FilmWriter(path, 10) as film:
        for k in range(70, 100):
            film.write(scene.frame(k).pixels)
    return path


def sent_live(clip: Path, trace: Path, *options: str) -> list[dict[str, Any]]:
    """What a server tells of a clip that is sent to it."""
    with serving_once() as (url, told):
        sent = vidtok("send", clip, "--to", url, "--trace", trace, *options)
        assert sent.returncode == 0, sent.stderr
        assert "kbps" in sent.stdout
        return told()


def kept_up(rows: list[dict[str, Any]], trace: Path, fps: int) -> bool:
    """Whether this machine was as fast as the clip: every frame in its time, every patch upon the one before."""
    captures = [row["capture_ms"] * fps / 1000 for row in rows if row["event"] == "update"]
    beats = [after - before for before, after in pairwise(captures)]
    sent = [event for line in trace.read_text().splitlines() if (event := json.loads(line))["name"] == "sent"]
    return all(abs(beat - round(beat)) < 0.02 for beat in beats) and all(
        event["base"] == event["version"] - 1 for event in sent if event["lane"] == "delta"
    )


@pytest.mark.slow
def test_live_sending_and_encoding_give_the_same_canvases_bit_for_bit(clip: Path, tmp_path: Path) -> None:
    """Frames that come late are other frames to the gate: a busy machine tries until it has kept up."""
    options = ("--size", "256", "--fps", "3")
    encoded = vidtok("encode", clip, tmp_path / "clip.vtk", *options)
    assert encoded.returncode == 0, encoded.stderr
    expected = [(u.canvas.version, u.canvas.state_hash()) for _, u in Replay(tmp_path / "clip.vtk")]
    for attempt in range(5):
        trace = tmp_path / f"{attempt}.jsonl"
        rows = sent_live(clip, trace, *options)
        if kept_up(rows, trace, 3):
            break
    else:
        pytest.fail("this machine is too busy to play a small clip")
    got = [(row["version"], row["state_hash"]) for row in rows if row["event"] == "update"]
    assert len(expected) > 5
    assert got == expected
    assert any(row["event"] == "sight" and row["labels"] for row in rows)


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["ws", "udp"])
def test_a_stream_over_another_adapter(clip: Path, scheme: str) -> None:
    command = [*VIDTOK, "serve", "--port", "0", "--json", "--once", "--also", f"{scheme}://127.0.0.1:0"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        urls = [json.loads(server.stdout.readline())["url"] for _ in range(2)]
        assert urls[1].startswith(f"{scheme}://127.0.0.1:")
        sent = vidtok("send", clip, "--to", urls[1], "--size", "256", "--fps", "3")
        assert sent.returncode == 0, sent.stderr
        rows = [json.loads(line) for line in server.stdout]
        assert server.wait(30) == 0
    finally:
        server.kill()
        server.wait()
        server.stdout.close() if server.stdout else None
    assert [row["event"] for row in rows if row["event"] in ("connected", "closed")] == ["connected", "closed"]
    assert sum(row["event"] == "update" for row in rows) > 3


def read(url: str, token: str) -> tuple[int, str]:
    """The answer of a server to a GET."""
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {token}"})
    try:
        with urllib.request.urlopen(request, timeout=20) as response:
            return response.status, response.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


@pytest.mark.slow
def test_both_ends_write_traces_and_the_server_tells_its_metrics(clip: Path, tmp_path: Path) -> None:
    options = ("--token", "sesame", "--trace", tmp_path / "served.jsonl", "--metrics")
    command = [*VIDTOK, "serve", "--port", "0", "--json", "--once", *map(str, options)]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    seen: list[str] = []
    try:
        assert server.stdout is not None
        url = json.loads(server.stdout.readline())["url"]
        assert read(f"{url}/metrics", "wrong")[0] == 401
        status, text = read(f"{url}/metrics", "sesame")
        assert (status, "transport_" in text, "vidtok_model_streams 0" in text) == (200, False, True)
        told = ("--token", "sesame", "--trace", tmp_path / "sent.jsonl", "--size", "256", "--fps", "5")
        with ThreadPoolExecutor(1) as pool:
            sending = pool.submit(vidtok, "send", clip, "--to", url, *told)
            for line in server.stdout:
                if not seen and json.loads(line)["event"] == "update":
                    seen.append(read(f"{url}/metrics", "sesame")[1])
        assert sending.result().returncode == 0, sending.result().stderr
        assert server.wait(30) == 0
    finally:
        server.kill()
        server.wait()
        server.stdout.close() if server.stdout else None
    assert 'transport_state{session="stream 1",role="receiver",state="open"} 1' in seen[0]
    assert "vidtok_model_streams 1" in seen[0]
    for name, words in (("sent", ("sent ", "lost ")), ("served-1", ("arrived", "delay"))):
        out = vidtok("trace", tmp_path / f"{name}.jsonl")
        assert out.returncode == 0, out.stderr
        assert all(word in out.stdout for word in (*words, "drops", "closed", f"{name}.png")), out.stdout


@pytest.mark.slow
def test_a_recording_decodes_to_a_film(clip: Path, tmp_path: Path) -> None:
    assert vidtok("encode", clip, tmp_path / "a.vtk", "--size", "256", "--seconds", "1").returncode == 0
    out = vidtok("decode", tmp_path / "a.vtk", tmp_path / "a.mp4", "--hashes")
    assert out.returncode == 0, out.stderr
    assert "version 1 " in out.stdout
    assert (tmp_path / "a.mp4").stat().st_size > 1000
    data = (tmp_path / "a.vtk").read_bytes()
    (tmp_path / "cut.vtk").write_bytes(data[: len(data) // 2])
    bad = vidtok("decode", tmp_path / "cut.vtk", tmp_path / "cut.mp4")
    assert bad.returncode != 0
    assert bad.stderr.startswith("vidtok: ")
    assert len(bad.stderr.splitlines()) == 1
    assert not list(tmp_path.glob("cut.mp4*"))


@pytest.mark.slow
def test_sending_to_nobody_is_one_line(clip: Path) -> None:
    out = vidtok("send", clip, "--to", "http://127.0.0.1:9", "--size", "256", "--seconds", "1")
    assert out.returncode == 1
    assert out.stderr.startswith("vidtok: ")
    assert "127.0.0.1:9" in out.stderr
    assert len(out.stderr.splitlines()) == 1
