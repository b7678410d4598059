"""What may go wrong with a simulated dongle, all changeable while it runs."""

from __future__ import annotations

from dataclasses import dataclass, fields
from datetime import timedelta

NONE = timedelta(0)


@dataclass(slots=True)
class Knobs:
    """Faults and delays; the defaults are a dongle that is quick and does everything right.

    latency: of every command line · radio: time on the air of a submit · late_cmgs: the SMS is out, +CMGS comes so much
    later · answers_while_sending: whether other commands are answered meanwhile · silence: so many next submits get no
    answer at all after Ctrl-Z · silence_chance: any does, this likely · silent_sends: whether those go out · submit_errors:
    so many next submits end in +CMS ERROR `submit_error`, nothing sent · prompt_errors: the same in place of the prompt ·
    no_prompt: so many next prompts are lost, the dongle waits for text all the same · bare_prompt: `>` without the space ·
    lose_cmti: chance that an indication is not given · split: chance that output is cut in pieces `split_gap` apart ·
    noise: chance of line noise (0x00, 0x80 to 0xFF) before output · storm: chance of ^RSSI lines within an answer ·
    registration: the `stat` of +CREG (1 home, 5 roaming; others cannot send) · signal: +CSQ · report_status: the TP-ST of
    status reports, None for no reports.
    """

    latency: timedelta = NONE
    radio: timedelta = NONE
    late_cmgs: timedelta = NONE
    answers_while_sending: bool = False
    silence: int = 0
    silence_chance: float = 0.0
    silent_sends: bool = True
    submit_errors: int = 0
    submit_error: int = 500
    prompt_errors: int = 0
    no_prompt: int = 0
    bare_prompt: bool = False
    lose_cmti: float = 0.0
    split: float = 0.0
    split_gap: timedelta = timedelta(milliseconds=3)
    noise: float = 0.0
    storm: float = 0.0
    registration: int = 1
    signal: int = 20
    report_status: int | None = 0

    def turn(self, changes: dict[str, object]) -> None:
        """Set knobs by name, durations also in seconds. Raises ValueError with a sentence, and then changes nothing."""
        known = {one.name: getattr(self, one.name) for one in fields(self)}
        ready: dict[str, object] = {}
        for name, value in changes.items():
            if name not in known:
                raise ValueError(f"there is no knob {name!r}; there are {', '.join(known)}")
            now = known[name]
            if isinstance(now, timedelta) and isinstance(value, int | float) and not isinstance(value, bool):
                value = timedelta(seconds=value)
            elif isinstance(now, float) and isinstance(value, int) and not isinstance(value, bool):
                value = float(value)
            wanted = (int, type(None)) if name == "report_status" else type(now)
            if not isinstance(value, wanted) or (isinstance(value, bool) and wanted is not bool):
                raise ValueError(f"the knob {name!r} takes no {value!r}")
            ready[name] = value
        for name, value in ready.items():
            setattr(self, name, value)
