"""How often one SIM can ask a service: the price of never guessing which card a reply is for."""

from __future__ import annotations

from datetime import timedelta

from app.domain.services import Service

USUAL = timedelta(seconds=30)  # from submitting to an answer, sending and slow replies included
SILENT = 0.05  # share of questions that get no answer in time
NEGATIVE = 0.5  # share of answers whose hold is three times `settle`
# USUAL, SILENT and NEGATIVE are chosen so that the shipped durations give what the design's simulation
# gave (section 4.1): some 80 an hour where every reply names the card, some 10 where none does.


def per_hour(service: Service) -> int:
    """Questions an hour that one SIM can ask, one after another, as its conversation lets it."""
    timing = service.timing
    settle = timing.settle * (1 - NEGATIVE) + 3 * timing.settle * NEGATIVE
    match service.echo:
        case "always":
            hold, silence = timedelta(0), timing.timeout
        case "some":
            hold, silence = 3 * timing.settle * NEGATIVE, timing.late
        case "never":
            hold, silence = settle, timing.late
    each = (USUAL + hold) * (1 - SILENT) + silence * SILENT
    return int(timedelta(hours=1) / each)
