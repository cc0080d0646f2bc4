"""A tab that sleeps for longer than the server waits for it: it is another stream then, and goes on as one."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from tests.browser.served import Served, until
from tests.browser.test_recovers import asleep, filming
from vidtok.live.link import LIVE

if TYPE_CHECKING:
    from tests.browser.tab import Tab

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(600)]

Tabs = Callable[..., "Tab"]


def test_a_tab_that_slept_for_too_long_begins_anew(server: Served, tabs: Tabs) -> None:
    tab, name = filming(server, tabs)
    with asleep(tab):
        tab.lose_path()
        until(lambda: server.of("closed", name), "the server gives it up", LIVE.resume_within + 20)
    tab.wait(lambda: tab.stream() not in (None, "", name), "another stream begins")
    other = tab.stream()
    tab.wait(lambda: len(server.of("update", other)) > 3, "tokens flow")
    tab.wait(lambda: (last := tab.told("steps")[-1])["hash"] == server.hashes(other).get(last["version"]), "one canvas")
    assert not server.of("resumed", name)
    assert [each for each in tab.problems if "404" not in each] == []  # the picture of a stream that is no more
    tab.page.context.close()
