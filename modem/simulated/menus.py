"""USSD menus of the simulated network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Menu:
    """What the network says to a USSD code, and what it says to each answer; without `choices` the dialogue ends.

    `{credit}` and `{number}` in the text are the SIM's.
    """

    text: str
    choices: Mapping[str, Menu] = field(default_factory=dict)
