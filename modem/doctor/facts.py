"""What a modem answered to the doctor's questions, which change nothing in it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from modem import at
from modem.doctor.findings import masked
from modem.port import Modem
from modem.quirks import Quirks, quirks_for

SIM_QUERIES = ("AT+CPIN?", "AT+CPINR")  # 3GPP TS 27.007 §8.3; §8.65: tries left
MODEM_QUERIES = (
    "AT+CGMI",
    "AT+CGMM",
    "AT+CGMR",
    "AT+CGSN",
    "AT+CMGF=?",
    "AT+CPMS?",
    "AT+CNMI=?",
    "AT+CNMI?",
)
NETWORK_QUERIES = (
    "AT+CIMI",
    "AT+CREG?",
    "AT+CGREG?",
    "AT+CEREG?",
    "AT+CSQ",
    "AT+COPS?",
    "AT+CSCA?",
    "AT+CGSMS?",
    "AT+WS46?",  # 3GPP TS 27.007 §5.9
    "AT^SYSCFGEX?",  # Huawei
    "AT^SYSCFG?",
    "AT+CNMP?",  # SIMCom
    "AT+ZSNT?",  # ZTE
    'AT+CLCK="FD",2',  # 3GPP TS 27.007 §7.4: 2 asks
    'AT+CLCK="AO",2',
    'AT+CLCK="AI",2',
)
QUERIES = (*SIM_QUERIES, *MODEM_QUERIES, *NETWORK_QUERIES)
_ASKS_NETWORK = ('AT+CLCK="AO"', 'AT+CLCK="AI"')
"""These go out to the network, which takes its seconds: they say nothing of how quick the modem is."""


@dataclass(frozen=True, slots=True)
class Line:
    """What was heard on a serial line. `answers_at`: the baud at which AT was answered, None for none · `noise`: `ff`, `garbage` or none."""

    baud: int
    answers_at: int | None
    noise: str | None = None


@dataclass(frozen=True, slots=True)
class PortFacts:
    """One port. `answers`: the lines for each query, its result last; none at all where the time ran out.

    refusal: code and sentence of the error with which opening ended · opened: the gateway's own driver set the modem up ·
    seconds: how long each answer took, where a clock was given.
    """

    port: str
    answers: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    line: Line | None = None
    refusal: tuple[str, str] | None = None
    opened: bool = False
    seconds: Mapping[str, float] = field(default_factory=dict)

    def said(self, query: str) -> tuple[str, ...]:
        """The lines of an answer that ended in OK, without it; else nothing."""
        lines = self.answers.get(query, ())
        return lines[:-1] if lines and lines[-1] == "OK" else ()

    def refused(self, query: str) -> str | None:
        """The result line that said no; None for OK and for silence."""
        lines = self.answers.get(query, ())
        return None if not lines or lines[-1] == "OK" else lines[-1]

    @property
    def silent(self) -> tuple[str, ...]:
        """Local queries that were not answered in time."""
        return tuple(q for q, lines in self.answers.items() if not lines and not q.startswith(_ASKS_NETWORK))

    @property
    def slowest(self) -> tuple[str, float] | None:
        """The local query that took longest, and its seconds."""
        local = {q: s for q, s in self.seconds.items() if not q.startswith(_ASKS_NETWORK)}
        return max(local.items(), key=lambda item: item[1], default=None)

    @property
    def imei(self) -> str | None:
        return at.imei(self.said("AT+CGSN"))

    @property
    def home(self) -> str | None:
        """MCC and MNC of the SIM, five digits, the MNC taken as two (ITU-T E.212; so it is in Indonesia)."""
        imsi = next((line for line in self.said("AT+CIMI") if line[:5].isdigit()), None)
        return imsi[:5] if imsi else None

    @property
    def model(self) -> str | None:
        """Maker and model as the modem says them."""
        words = [at.plain(self.said(query)) for query in ("AT+CGMI", "AT+CGMM")]
        return " ".join(word for word in words if word) or None

    @property
    def quirks(self) -> Quirks:
        """What its maker does in its own way."""
        maker, model = (at.plain(self.said(query)) for query in ("AT+CGMI", "AT+CGMM"))
        return quirks_for(maker, model)

    @property
    def operator(self) -> str | None:
        return at.operator(self.said("AT+COPS?"))

    @property
    def signal(self) -> int | None:
        """<rssi> of +CSQ, 0 to 31."""
        return at.signal(self.said("AT+CSQ"))

    @property
    def registrations(self) -> dict[str, str]:
        """What +CREG, +CGREG and +CEREG say, by name, where the modem knows them."""
        return {
            f"+{name}": state
            for name in ("CREG", "CGREG", "CEREG")
            for line in self.said(f"AT+{name}?")
            if (state := at.registration(line)) is not None
        }

    def as_json(self) -> dict[str, Any]:
        """Plain values with every identifier masked: fit for the database, a screen, a stranger."""
        return {
            "port": self.port,
            "answers": {query: [masked(line) for line in lines] for query, lines in self.answers.items()},
            "refusal": list(self.refusal) if self.refusal else None,
            "opened": self.opened,
            "seconds": {query: round(seconds, 3) for query, seconds in self.seconds.items()},
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> PortFacts:
        """What `as_json` gave, its identifiers masked for good. Raises ValueError for anything else."""
        try:
            refusal = value["refusal"]
            return cls(
                port=str(value["port"]),
                answers={str(q): tuple(map(str, lines)) for q, lines in value["answers"].items()},
                refusal=(str(refusal[0]), str(refusal[1])) if refusal else None,
                opened=bool(value["opened"]),
                seconds={str(q): float(s) for q, s in value["seconds"].items()},
            )
        except (KeyError, TypeError, AttributeError, IndexError) as error:
            raise ValueError(f"no facts of a port: {error}") from None


def gather(modem: Modem, port: str = "", clock: Callable[[], float] | None = None) -> PortFacts:
    """Ask an open modem everything; with a monotonic clock also how long it takes. Raises ModemLost."""
    answers: dict[str, tuple[str, ...]] = {}
    seconds: dict[str, float] = {}
    for query in QUERIES:
        before = clock() if clock else 0.0
        answers[query] = tuple(modem.examine([query]).get(query, ()))
        if clock:
            seconds[query] = clock() - before
    return PortFacts(port, answers, opened=True, seconds=seconds)
