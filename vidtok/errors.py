"""What can go wrong in vidtok, in one line each.

VidtokError
├── PayloadError      bytes from a peer or a file that are not a patch to the canvas they claim to patch
├── WeightsError      shipped weights or tables that are missing or not the ones the code expects
├── TraceError        a file that is not the trace of a session
├── ModelError        a model that cannot be loaded, reached or asked
├── UsageError        an option of a command whose value makes no sense
└── MissingExtra      an optional package that this part needs; the message holds the install line
"""

from __future__ import annotations


class VidtokError(Exception):
    """Root of vidtok's own errors; the message is one line that says what to do."""


class PayloadError(VidtokError):
    """A payload does not decode against its base canvas."""


class WeightsError(VidtokError):
    """Weights or integer tables are missing, damaged or of another build."""


class TraceError(VidtokError):
    """A file cannot be read as a session's trace; the message names file, line and what to do."""


class ModelError(VidtokError):
    """A model cannot be loaded, reached or asked; the message names it and says what to do.

    `retry_after_s` is how long the model itself asks to be left alone, where it says so.
    """

    def __init__(self, message: str, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class UsageError(VidtokError):
    """An option's value makes no sense; the message names it."""


class MissingExtra(VidtokError):  # noqa: N818 - reads as what it says
    """An optional dependency is not installed."""

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(f"{package} is not installed: pip install 'vidtok[{extra}]'")
