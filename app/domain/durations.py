"""Durations as people write them: `20s`, `10m`, `3h`, `1h30m`, `7d`, `500ms`, `0s`."""

from __future__ import annotations

import re
from datetime import timedelta

_UNITS = {
    "d": timedelta(days=1),
    "h": timedelta(hours=1),
    "m": timedelta(minutes=1),
    "s": timedelta(seconds=1),
    "ms": timedelta(milliseconds=1),
}
_FORM = re.compile(r"(?:(\d{1,9})d)?(?:(\d{1,9})h)?(?:(\d{1,9})m)?(?:(\d{1,9})s)?(?:(\d{1,9})ms)?", re.ASCII)


def parse_duration(text: str) -> timedelta:
    """A duration of whole units, greatest first, each at most once. ValueError with a sentence for anything else."""
    match = _FORM.fullmatch(text.strip().lower())
    if match is None or not any(match.groups()):
        raise ValueError(f'"{text}" is no duration: write for example "20s", "10m", "1h30m", "7d" or "500ms"')
    try:
        counts = zip(match.groups(), _UNITS.values(), strict=True)
        return sum((int(count) * unit for count, unit in counts if count), timedelta())
    except OverflowError:
        raise ValueError(f'"{text}" is longer than any wait can be: write for example "365d"') from None


def format_duration(duration: timedelta) -> str:
    """The shortest text that `parse_duration` reads back; rounded down to milliseconds, ValueError below zero."""
    if duration < timedelta():
        raise ValueError("a duration is never negative")
    written = ""
    for name, unit in _UNITS.items():
        count, duration = divmod(duration, unit)
        written += f"{count}{name}" if count else ""
    return written or "0s"
