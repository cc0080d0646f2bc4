"""Virtual time costs none, is exact, keeps its order and says when nothing could ever happen again."""

from __future__ import annotations

import asyncio
import time
from types import ModuleType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.virtual_time import VirtualTimeError, clock, replaced, run


def now() -> float:
    return asyncio.get_running_loop().time()


def test_sleeps_cost_no_time_and_keep_their_order() -> None:
    woken: list[tuple[float, str]] = []

    async def sleeper(name: str, *naps: float) -> None:
        for nap in naps:
            await asyncio.sleep(nap)
            woken.append((now(), name))

    async def main() -> str:
        await asyncio.gather(sleeper("a", 3600, 7200), sleeper("b", 1800, 1800, 86400 * 30), sleeper("c", 0))
        return "done"

    began = time.perf_counter()
    assert run(main()) == "done"
    assert time.perf_counter() - began < 5
    assert woken == [(0, "c"), (1800, "b"), (3600, "a"), (3600, "b"), (10800, "a"), (3600 + 86400 * 30, "b")]


@given(st.lists(st.floats(0, 1e7), max_size=20))
def test_timers_run_at_exactly_their_time_and_in_order(delays: list[float]) -> None:
    rung: list[tuple[float, int]] = []

    def ring(number: int) -> None:
        rung.append((now(), number))

    async def main() -> None:
        for number, delay in enumerate(delays):
            asyncio.get_running_loop().call_later(delay, ring, number)
        await asyncio.sleep(max(delays, default=0.0))
        await asyncio.sleep(1e-9)

    run(main())
    assert rung == sorted((delay, number) for number, delay in enumerate(delays))


def test_a_cancelled_timer_does_not_move_the_clock() -> None:
    async def main() -> float:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(5):
                await asyncio.sleep(100)
        async with asyncio.timeout(50):
            await asyncio.sleep(1)
        return now()

    assert run(main()) == 6


def test_a_deadlock_names_the_time_and_who_waits() -> None:
    async def forever() -> None:
        await asyncio.sleep(2.5)
        await asyncio.Event().wait()

    with pytest.raises(VirtualTimeError, match=r"deadlock at 2\.5 s.*forever"):
        run(forever())


def test_an_error_in_a_task_that_nobody_awaits_is_not_lost() -> None:
    async def fails() -> None:
        raise KeyError("lost")

    async def main() -> None:
        task = asyncio.ensure_future(fails())
        await asyncio.sleep(1)
        del task

    with pytest.raises(VirtualTimeError) as error:
        run(main())
    assert isinstance(error.value.__cause__, KeyError)


def test_a_module_reads_the_virtual_clock_and_then_its_own_again() -> None:
    module = ModuleType("module")
    vars(module)["time"] = time

    async def main() -> float:
        with replaced(module, time=clock()):
            await asyncio.sleep(42)
            return float(module.time.time())

    assert run(main()) == 42
    assert module.time is time


def test_runs_follow_one_another_and_each_starts_at_nought() -> None:
    async def main() -> tuple[float, float]:
        start = now()
        await asyncio.sleep(3)
        return start, now()

    assert run(main()) == run(main()) == (0, 3)
