"""What is said of pages that are read, and of those that are not."""

from __future__ import annotations

from experiments.text_figures import summarise


def test_what_has_not_been_reached_is_said() -> None:
    base = {"setting": "a", "kbps": 1.0, "hold": "still", "seconds_to_90": None, "bits_to_90": None}
    rows = [
        {**base, "system": system, "clip": f"{px} px, still", "cap_height_px": px, "char_accuracy": accuracy}
        for system, told in {"true-picture": (0.5, 0.95, 1.0), "fake": (0.95, 0.2, 0.9)}.items()
        for px, accuracy in zip((10, 20, 40), told, strict=True)
    ]
    summary = summarise(rows)
    assert summary["ceiling_too_low"] == ["10 px, still"]
    assert summary["systems"]["fake"]["a"]["smallest_read_px"] == 40  # 10 px by chance is not 20
    assert summary["systems"]["fake"]["a"]["smallest_read_px_hand"] is None
