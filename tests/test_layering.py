"""Who imports whom: DESIGN's rules, held by reading the sources and by taking packages away."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
OURS = {"transport", "edge_gate", "vidtok", "experiments", "tests"}


def modules(*folders: str) -> list[Path]:
    found = sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))
    assert found
    return found


def imports(path: Path) -> Iterator[str]:
    """Every module that a file imports, wherever in it, in full."""
    package = path.relative_to(ROOT).parent.parts
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            up = package[: len(package) - node.level + 1] if node.level else ()
            yield ".".join([*up, *([node.module] if node.module else [])])
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith(("import_module", "__import__")):
            assert node.args
            assert isinstance(node.args[0], ast.Constant), f"{path}: nobody can tell what this imports"
            yield str(node.args[0].value)


def roots(path: Path) -> set[str]:
    return {name.split(".")[0] for name in imports(path)}


def within(path: Path, *places: str) -> bool:
    name = path.relative_to(ROOT).as_posix()
    return any(name == place or name.startswith(place.rstrip("/") + "/") for place in places)


@pytest.mark.parametrize("path", modules("transport"), ids=lambda path: path.stem)
def test_transport_needs_msgpack_only(path: Path) -> None:
    if not within(path, "transport/adapters"):
        assert roots(path) <= sys.stdlib_module_names | {"msgpack", "transport"}


def test_transport_and_edge_gate_know_nobody() -> None:
    for path in modules("transport", "edge_gate"):
        assert roots(path) & OURS <= {path.relative_to(ROOT).parts[0]}, path


def test_only_live_and_the_command_line_join_the_packages() -> None:
    for path in modules("vidtok"):
        allowed = OURS if within(path, "vidtok/live", "vidtok/cli.py") else {"vidtok"}
        assert roots(path) & OURS <= allowed, path
        assert not roots(path) & {"experiments", "tests"}, path


@pytest.mark.parametrize(
    ("packages", "places"),
    [
        ({"aiortc"}, ("transport/adapters",)),
        ({"aiohttp"}, ("transport/adapters", "vidtok/live/ask.py", "vidtok/live/asking.py", "vidtok/model/closed.py")),
        ({"av", "cv2"}, ("edge_gate/source.py",)),
        ({"onnxruntime"}, ("edge_gate/network.py", "vidtok/tokenizer/edge.py")),
        ({"ray"}, ("vidtok/live/ray_cluster.py",)),
        (
            {"torch", "safetensors"},
            (
                "vidtok/model",
                "vidtok/tokenizer/networks.py",
                "vidtok/tokenizer/store.py",
                "vidtok/tokenizer/student.py",
            ),
        ),
    ],
    ids=["webrtc", "http", "pictures", "onnxruntime", "ray", "torch"],
)
def test_heavy_packages_are_imported_in_one_place(packages: set[str], places: tuple[str, ...]) -> None:
    elsewhere = [
        path
        for path in modules("transport", "edge_gate", "vidtok")
        if roots(path) & packages and not within(path, *places)
    ]
    assert elsewhere == []


def test_the_reader_of_imports_reads_them_all(tmp_path: Path) -> None:
    here = Path(__file__)
    assert {"ast", "pytest", "subprocess"} <= roots(here)
    assert "vidtok.tokenizer.fsq" in set(imports(ROOT / "vidtok" / "canvas.py"))


def test_every_folder_of_tests_is_a_package() -> None:
    folders = {path.parent for path in (ROOT / "tests").rglob("test_*.py")}
    assert all((folder / "__init__.py").exists() for folder in folders)


def without(package: str, code: str, *args: str) -> None:
    """Run code in a process where a package is not installed."""
    blocked = f"import sys; sys.modules[{package!r}] = None\n{code}"
    out = subprocess.run(
        [sys.executable, "-c", blocked, *args], capture_output=True, text=True, timeout=120, cwd=ROOT, check=False
    )
    assert out.returncode == 0, out.stderr


@pytest.mark.parametrize(
    "module",
    ["transport", *(f"transport.adapters.{name}" for name in ("file", "connection", "registry", "udp", "replay"))],
)
def test_transport_needs_no_numpy(module: str) -> None:
    without("numpy", f"import {module}")


def test_transport_brings_nothing_heavy() -> None:
    heavy = "{'numpy', 'torch', 'cv2', 'av', 'aiortc', 'aiohttp', 'onnxruntime', 'vidtok', 'edge_gate'}"
    code = f"import transport\nassert not {heavy} & set(sys.modules)"
    without("nothing_at_all", code)


@pytest.mark.parametrize("module", ["vidtok.live.edge", "vidtok.live.recording", "vidtok.cli"])
def test_the_edge_needs_no_torch(module: str) -> None:
    without("torch", f"import {module}")


ENCODE = """
from pathlib import Path
from edge_gate.scene import Scene
from vidtok.live.recording import Replay, encode

out = Path(sys.argv[1])
steps = list(encode(Scene((96, 64), duration_s=0.3), out))
assert len(steps) == 3
assert sum(1 for _ in Replay(out)) > 0
"""


def test_encoding_needs_no_torch(tmp_path: Path) -> None:
    without("torch", ENCODE, str(tmp_path / "out.vtk"))
    assert [path.name for path in tmp_path.iterdir()] == ["out.vtk"]


def test_the_edge_without_its_runtime_says_what_to_install() -> None:
    code = (
        "from vidtok.errors import MissingExtra\nfrom vidtok.tokenizer.edge import EdgeEncoder\n"
        "try:\n    EdgeEncoder()\nexcept MissingExtra as error:\n    assert 'vidtok[edge]' in str(error)\n"
        "else:\n    raise SystemExit('no error')"
    )
    without("onnxruntime", code)
