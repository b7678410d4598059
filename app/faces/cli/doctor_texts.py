"""What the doctor says of lanes, tables and itself: the texts of `doctor_texts.toml`, and how it writes dates."""

from __future__ import annotations

from datetime import date, datetime

from modem.doctor import Both, Texts

TEXTS = Texts("app.faces.cli", "doctor_texts.toml")
said, fault, warning, advice = TEXTS.said, TEXTS.fault, TEXTS.warning, TEXTS.advice


def lane_called(name: str) -> Both:
    """A lane by its name."""
    return said("words.lane", name=name)


def day(at: date) -> Both:
    """A date as either language writes it."""
    return Both(at.isoformat(), at.strftime("%d-%m-%Y"))


def moment(at: datetime) -> Both:
    """A UTC time to the minute, as either language writes it."""
    return Both(at.strftime("%Y-%m-%d %H:%M UTC"), at.strftime("%d-%m-%Y %H.%M UTC"))
