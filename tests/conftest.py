"""For all tests: Hypothesis judges what we compute, never how fast this machine happens to be."""

from hypothesis import HealthCheck, settings

settings.register_profile("vidtok", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("vidtok")
