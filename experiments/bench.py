"""What every experiment shares: its command line, rows that survive an interruption, workers, machine and report.

jobs (a key each) --minus the rows already in results.json--> worker processes --rows--> results.json
                                                                                --> summary.json, PNGs, report.md
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.metadata
import json
import os
import platform
import sys
import time
import traceback
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from datetime import date
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from tqdm import tqdm

from experiments.pictures import VIDEOS

Row = dict[str, Any]
Key = tuple[Any, ...]


class BenchError(Exception):
    """An experiment cannot be run as asked. One line: what, and what to do about it."""


# Command line


def parser(name: str, doc: str | None, *, clips: bool | None = True) -> argparse.ArgumentParser:
    """The flags that experiments share; --clips is needed (True), may be left out (False) or isn't there (None)."""
    head = (doc or "").strip().splitlines()[0]
    out = argparse.ArgumentParser(prog=f"python -m experiments.{name}", description=head)
    if clips is not None:
        out.add_argument("--clips", type=Path, required=clips, help="folder of videos, searched with its subfolders")
    out.add_argument("--out", type=Path, required=True, help="folder for rows, summary, plots and report")
    out.add_argument("--quick", action="store_true", help="fewer clips and settings: does it work, roughly how good")
    out.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="worker processes (default: every core)")
    return out


def main(run: Callable[[Sequence[str] | None], None]) -> None:
    """Run an experiment's command; errors that the user can mend end in one line."""
    import signal

    from edge_gate.source import SourceError

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that workers are ended, whoever ends us
    try:
        run(None)
    except (BenchError, SourceError) as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    except KeyboardInterrupt:
        print("\ninterrupted: finished rows are kept, the same command goes on from here", file=sys.stderr)
        raise SystemExit(130) from None


def find_clips(folder: Path) -> list[Path]:
    """Every video below a folder, in order of name."""
    if not folder.is_dir():
        raise BenchError(f"--clips {folder}: not a folder")
    found = sorted(p for p in folder.rglob("*") if p.suffix.lower() in VIDEOS and not p.name.startswith("."))
    if not found:
        raise BenchError(f"--clips {folder}: no video in it ({', '.join(sorted(VIDEOS))})")
    return found


# Rows


class Rows:
    """The rows of results.json, one a key; each is on disk as soon as it is added.

    `run` holds what is the same for every row of a run (size, seconds, ...); every row says it. A file of another run
    is refused, so that nobody averages over both.
    """

    def __init__(self, out: Path, key: Sequence[str], run: Mapping[str, Any] | None = None) -> None:
        out.mkdir(parents=True, exist_ok=True)
        self.run = dict(run or {})
        self._path, self._key = out / "results.json", tuple(key)
        self._rows: dict[Key, Row] = {}
        for row in self._read():
            for name, value in self.run.items():
                if row.get(name) != value:
                    raise BenchError(
                        f"{self._path}: holds rows with {name} {row.get(name)}, this run has {value}; "
                        "give another --out, or move the file away"
                    )
            self._rows[self._of(row)] = row

    def has(self, **wanted: Any) -> bool:
        """Whether the row of a key is there, and is as wanted in the columns besides the key (of this build, say)."""
        row = self._rows.get(self._of(wanted))
        return row is not None and all(row.get(name) == value for name, value in wanted.items())

    def all(self) -> list[Row]:
        """Every row that there is."""
        return list(self._rows.values())

    def add(self, rows: Iterable[Row]) -> None:
        """Take rows in and write the file; a row with the same key is replaced."""
        for row in rows:
            self._rows[self._of(row)] = {**row, **self.run}
        write_json(self._path, list(self._rows.values()))

    def keep(self, keys: Sequence[Mapping[str, Any]]) -> list[Row]:
        """The rows of these keys, in their order; the file then holds them in that order and others after them."""
        wanted = [self._of(key) for key in keys]
        chosen = {key: self._rows[key] for key in wanted if key in self._rows}
        self._rows = chosen | {key: row for key, row in sorted(self._rows.items(), key=str) if key not in chosen}
        write_json(self._path, list(self._rows.values()))
        return list(chosen.values())

    def _of(self, row: Mapping[str, Any]) -> Key:
        return tuple(row.get(name) for name in self._key)

    def _read(self) -> list[Row]:
        if not self._path.exists():
            return []
        try:
            rows = json.loads(self._path.read_text())
        except ValueError as error:
            raise BenchError(f"{self._path}: not readable ({error}); move it away to start afresh") from None
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise BenchError(f"{self._path}: not a list of rows; move it away to start afresh")
        return rows


def write_json(path: Path, value: Any) -> None:
    """Write a file whole or not at all; NaN is not JSON and refused."""
    part = path.with_suffix(path.suffix + ".part")
    part.write_text(json.dumps(value, indent=1, allow_nan=False) + "\n")
    part.replace(path)


# Work


def run_jobs(
    jobs: Sequence[Any],
    work: Callable[[Any], list[Row]],
    rows: Rows,
    *,
    start: Callable[..., None],
    start_args: tuple[Any, ...] = (),
    workers: int,
    label: str,
) -> float:
    """Run `work` on every job in processes that called `start` first; rows are kept as they come. Seconds it took.

    Each worker is one thread of every library, so that rows are the same whatever else runs and in whatever order.
    """
    began = time.perf_counter()
    if not jobs:
        return 0.0
    pool = ProcessPoolExecutor(
        min(workers, len(jobs)), mp_context=get_context("spawn"), initializer=_begin, initargs=(start, start_args)
    )
    try:
        futures = [pool.submit(work, job) for job in jobs]
        for future in tqdm(as_completed(futures), label, total=len(futures), unit="run"):
            rows.add(future.result())
    except BaseException as error:
        for process in (getattr(pool, "_processes", None) or {}).values():
            process.terminate()
        pool.shutdown(wait=False, cancel_futures=True)
        if isinstance(error, BrokenProcessPool):
            raise BenchError("a worker was killed, perhaps for want of memory: go on with fewer, --jobs 1") from error
        raise
    pool.shutdown()
    return time.perf_counter() - began


@contextlib.contextmanager
def naming(*what: str) -> Iterator[None]:
    """Whatever goes wrong within becomes one line: what was being done, the error, and the place that raised it."""
    try:
        yield
    except BenchError:
        raise
    except Exception as error:
        place = traceback.extract_tb(error.__traceback__)[-1]
        where = f"{Path(place.filename).name}, line {place.lineno}"
        raise BenchError(f"{', '.join(what)}: {error!r} in {where}") from error


def _begin(start: Callable[..., None], args: tuple[Any, ...]) -> None:
    import signal

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent hears it and ends us
    one_thread()
    start(*args)


def one_thread() -> None:
    """Hold every library in this process to one thread."""
    os.environ["OMP_NUM_THREADS"] = "1"
    import cv2
    import torch

    cv2.setNumThreads(1)
    torch.set_num_threads(1)


# What is said of a run


def machine() -> dict[str, Any]:
    """What the figures were taken on."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [line.split(":", 1)[1].strip() for line in cpuinfo.read_text().splitlines() if "model name" in line]
        model = names[0] if names else model
    return {
        "cpu": model,
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        **{name: _version(name) for name in ("torch", "onnxruntime", "av", "opencv-python-headless", "numpy")},
    }


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def write_report(out: Path, title: str, lines: Sequence[str]) -> None:
    """report.md: a title, the date, the command, the machine, and what the experiment has to say."""
    told = machine()
    command = f"python -m {_module()} {' '.join(sys.argv[1:])}".strip()
    head = [
        f"# {title}",
        "",
        f"{date.today().isoformat()} · `{command}`",
        "",
        f"{told['cpu']}, {told['cores']} cores, {told['system']}; Python {told['python']}, torch {told['torch']}, "
        f"onnxruntime {told['onnxruntime']}, PyAV {told['av']}.",
        "",
    ]
    (out / "report.md").write_text("\n".join([*head, *lines]).rstrip() + "\n")


def _module() -> str:
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    return spec.name if spec is not None else Path(sys.argv[0]).stem


def digest(*paths: Path) -> str:
    """Eight letters that name what is in the files."""
    whole = 0
    for path in paths:
        if not path.is_file():
            raise BenchError(f"{path}: no such file")
        whole = zlib.crc32(path.read_bytes(), whole)
    return f"{whole:08x}"


def table(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> list[str]:
    """Rows as a Markdown table; numbers as short as they are useful."""
    lines = ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    return lines + ["| " + " | ".join(short(row.get(column)) for column in columns) + " |" for row in rows]


def short(value: Any) -> str:
    """A value for people."""
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{value:.4g}" if abs(value) < 1000 else f"{value:,.0f}"
    return str(value)
