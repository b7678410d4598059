"""What may be set at a simulated dongle while it runs."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from datetime import timedelta

from modem.simulated.faults import FAULTS

NONE = timedelta(0)
_OPTIONAL = ("report_status", "operator", "operator_code")


@dataclass(slots=True)
class Knobs:
    """Faults and delays; the defaults are a dongle that is quick and does everything right.

    latency: of every command line · radio: time on the air of a submit · late_cmgs: the SMS is out, +CMGS comes so much
    later · answers_while_sending: whether other commands are answered meanwhile · silence: so many next submits get no
    answer at all after Ctrl-Z · silence_chance: any does, this likely · silent_sends: whether those go out · submit_errors:
    so many next submits end in +CMS ERROR `submit_error`, nothing sent · prompt_errors: the same in place of the prompt ·
    no_prompt: so many next prompts are lost, the dongle waits for text all the same · bare_prompt: `>` without the space ·
    lose_cmti: chance that an indication is not given · split: chance that output is cut in pieces `split_gap` apart ·
    noise: chance of line noise (0x00, 0x80 to 0xFF) before output · storm: chance of the maker's unasked lines between the
    lines of an answer · registration: the `stat` of +CREG (1 home, 5 roaming; others cannot send) · signal: +CSQ ·
    operator, operator_code: of the network that it is in, None for the SIM's own · report_status: the TP-ST of status
    reports, None for no reports · boot: how long it takes to start, with the lines of its personality at the end; 0 for at
    once and without them · sim_after: the SIM is not ready so long after that · stuck: answers nothing at all ·
    chatter_every: the maker's unasked lines come so often; 0 for never · refuse: commands by name, such as `+CPMS`, with the
    final result that they always get; an empty one for silence.

    next: faults by name, on how many of their next occasions they fire · chances: faults by name, how likely on each
    occasion · chaos: the chance of every fault that `chances` does not name · late_by: how late what is late comes ·
    back_after: how long what goes away stays away.
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
    operator: str | None = None
    operator_code: str | None = None
    report_status: int | None = 0
    boot: timedelta = NONE
    sim_after: timedelta = NONE
    stuck: bool = False
    chatter_every: timedelta = NONE
    refuse: dict[str, str] = field(default_factory=dict)
    next: dict[str, int] = field(default_factory=dict)
    chances: dict[str, float] = field(default_factory=dict)
    chaos: float = 0.0
    late_by: timedelta = timedelta(seconds=2)
    back_after: timedelta = timedelta(seconds=2)

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
            elif name == "refuse":
                value = _refused(value)
            elif isinstance(now, dict):
                value = _faults(name, value)
            wanted: type | tuple[type, ...] = type(now)
            if name in _OPTIONAL:
                wanted = (int if name == "report_status" else str, type(None))
            if not isinstance(value, wanted) or (isinstance(value, bool) and wanted is not bool):
                raise ValueError(f"the knob {name!r} takes no {value!r}")
            ready[name] = value
        for name, value in ready.items():
            setattr(self, name, value)


def _refused(value: object) -> dict[str, str]:
    """Commands with what they are refused with."""
    if not isinstance(value, dict) or not all(
        isinstance(part, str) for pair in value.items() for part in pair
    ):
        raise ValueError(f"the knob 'refuse' takes an object of commands and results, no {value!r}")
    return {command.upper().removeprefix("AT"): result for command, result in value.items()}


def _faults(knob: str, value: object) -> dict[str, int] | dict[str, float]:
    """Faults by name with their count (`next`) or chance (`chances`)."""
    if not isinstance(value, dict):
        raise ValueError(f"the knob {knob!r} takes an object of faults, no {value!r}")
    kinds = (int,) if knob == "next" else (int, float)
    for name, much in value.items():
        if name not in FAULTS:
            raise ValueError(f"there is no fault {name!r}; there are {', '.join(FAULTS)}")
        if not isinstance(much, kinds) or isinstance(much, bool) or much < 0:
            raise ValueError(f"the fault {name!r} takes no {much!r}")
    return dict(value)
