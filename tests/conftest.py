"""For all tests: Hypothesis judges what we compute, never how fast this machine happens to be; one thread a process.

Pictures here are small: threads that wait for one another, on cores that others use as well, take many times as long.
"""

import os

from hypothesis import HealthCheck, settings

os.environ["OMP_NUM_THREADS"] = "1"  # before anything loads torch, and for the processes that tests start

settings.register_profile("vidtok", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("vidtok")
