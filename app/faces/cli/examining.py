"""What `doctor` does: look at the host, ask held lanes through their gateway and free ports itself, read the tables."""

from __future__ import annotations

import re
import secrets
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from app.domain.errors import GatewayError, Invalid, SettingsError
from app.faces.cli.gateway_findings import NOT_WORKING, imei_findings, lane_findings
from app.faces.cli.ports_asked import (
    Asked,
    Place,
    PortSeen,
    ask_port,
    holder,
    may_open,
    news,
    place_of,
    plain,
    seen_port,
    settings_for,
)
from app.runtime import load_catalogue
from app.settings import LaneSettings, Settings
from app.store import diagnosis, requests
from app.store.diagnosis import Exchange, LaneSeen
from app.store.engine import Store, Tx, database_path, open_store
from modem import ModemError, PortSettings, SerialModem
from modem.discovery import Stick, sticks
from modem.doctor import (
    Finding,
    PortFacts,
    control_port,
    credit_in,
    data_findings,
    fault,
    held_finding,
    host_findings,
    loop,
    masked,
    valid_until,
    warning,
)

ANSWER_WITHIN = 60.0
"""Seconds that a held lane may take: it sends first what it is sending (+CMGS: up to 120 s, then the doctor goes on without)."""
_LOOK = 0.2  # seconds between two looks for the answer

Progress = Callable[[str], None]


@dataclass(slots=True)
class Examined:
    """Everything that was found; ports in the order in which they were looked at."""

    findings: list[Finding] = field(default_factory=list)
    ports: list[PortSeen] = field(default_factory=list)
    settings_lines: list[str] = field(default_factory=list)
    exchanges: list[Exchange] = field(default_factory=list)
    free: dict[str, PortSettings] = field(default_factory=dict)
    held: set[str] = field(default_factory=set)
    unseen: list[str] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        return {
            "findings": [finding.as_json() for finding in self.findings],
            "ports": [port.as_json() for port in self.ports],
            "settings": self.settings_lines,
            "not_seen": self.unseen,
            "exchanges": [
                {
                    "lane": one.lane,
                    "service": one.service,
                    "last_reply": one.last_reply.isoformat().replace("+00:00", "Z")
                    if one.last_reply
                    else None,
                    "unanswered": one.unanswered,
                }
                for one in self.exchanges
            ],
        }


def examine(
    settings: Settings,
    only: str | None = None,
    credit_code: str | None = None,
    *,
    progress: Progress = lambda sentence: None,
    place: Place | None = None,
) -> Examined:
    """Look at everything, or at one lane's modem only. Invalid for a lane that neither settings nor a running gateway have."""
    examined = Examined()
    with _store(settings, examined) as store:
        visit = _Visit(settings, store, place or Place(), progress, examined)
        visit.choose(only)
        if only is None:
            visit.look_at_host()
        for name in visit.names:
            visit.look_at_lane(name)
        if only is None:
            visit.look_at_strays()
        if store is not None:
            visit.look_at_tables(store, credit_code)
        examined.findings += imei_findings(visit.imeis())
        if only is None:
            examined.findings += _data(settings, store, visit.place)
    examined.findings = sorted(dict.fromkeys(examined.findings), key=lambda finding: finding.severity)
    return examined


def confirm_key_copy(settings: Settings) -> None:
    """Remember that the keys in use have a copy. SettingsError and GatewayError as `open_store` raises them."""
    with closing(open_store(settings.database, settings.sealing.keys_file, serving=False)) as store:
        store.write(lambda tx: diagnosis.confirm_keys_copied(tx, store.keys.fingerprint))


def run_loop(
    examined: Examined,
    lane: str | None,
    number: str | None,
    credit_code: str | None,
    *,
    confirm: Callable[[str], bool],
    open_modem: Callable[[PortSettings], SerialModem] = SerialModem,
) -> dict[str, Any]:
    """One SMS from a SIM to itself, through a port that no gateway holds; what came of it, as JSON. Invalid where there is no such port."""
    if lane is not None and lane in examined.held:
        raise Invalid(
            f"The running gateway holds lane {lane}, and --loop needs its port: stop the gateway first (`sudo systemctl stop "
            "bpjs-sms`). Whether the lane receives, its last replies show."
        )
    if len(examined.free) != 1:
        there = (
            f"; there are {', '.join(examined.free)}: name one with --lane"
            if examined.free
            else ", and there is none"
        )
        raise Invalid(f"--loop needs one port that answers and that no gateway holds{there}.")
    ((port, settings),) = examined.free.items()
    try:
        with closing(open_modem(settings)) as modem:
            identity = modem.open()
            own = number or identity.own_number
            if own is None:
                raise Invalid("The SIM does not know its own number: name it with --number 08….")
            if not confirm(f"Send one SMS from {port} to its own number? It costs what an SMS costs."):
                raise Invalid("Nothing was sent: say yes, or --yes.")
            mark = f"bpjs-sms doctor {secrets.token_hex(4)}"
            return loop(modem, own, mark, _now, credit_code=credit_code).as_json()
    except ModemError as no:
        examined.findings.insert(0, _loop_failed(port, no))
        return {"error": {"code": no.code, "blame": no.blame, "detail": no.detail}}


def _loop_failed(port: str, no: ModemError) -> Finding:
    return fault(
        "loop_failed",
        port,
        "The SMS to itself went out, but did not come back."
        if no.code == "loop_not_received"
        else "The SMS to itself did not go well.",
        f"{no.code}: {no.detail}",
        "see the findings of this port; check credit and number in a phone; it is never sent again by itself",
    )


class _Visit:
    """One look around, from the host to the tables; what it finds goes into `examined`."""

    def __init__(
        self, settings: Settings, store: Store | None, place: Place, progress: Progress, examined: Examined
    ) -> None:
        self._settings = settings
        self._store = store
        self.place = place
        self._progress = progress
        self._examined = examined
        self._plugged = sticks(place.root)
        self._ours = _serving(settings)
        self._used: set[str] = set()
        self._homes: dict[str, str | None] = {}
        self._written = {lane.name: lane for lane in settings.lanes}
        self._rows: dict[str, LaneSeen] = {}
        self.names: list[str] = []

    def choose(self, only: str | None) -> None:
        """The lanes to look at: of the settings, and what a running gateway holds besides (simulated ones). Invalid."""
        self._read_rows()
        held = [name for name, row in self._rows.items() if row.held]
        self._examined.held = set(held)
        known = list(dict.fromkeys([*self._written, *held]))
        if only is not None and only not in known:
            raise Invalid(f"There is no lane {only!r}; there are: {', '.join(known) or 'none'}.")
        self.names = known if only is None else [only]

    def _read_rows(self) -> None:
        if self._store is not None:
            self._rows = {
                row.name: row for row in self._store.read(lambda tx: diagnosis.lanes_seen(tx, _now()))
            }

    def _seen(self) -> list[LaneSeen]:
        return [self._rows[name] for name in self.names if name in self._rows]

    def look_at_host(self) -> None:
        """USB, device files, processes, the kernel's log."""
        self._progress("Looking at USB, processes and disks …")
        ports = [
            self._written[name].port if name in self._written else self._rows[name].port
            for name in self.names
        ]
        files = [port for port in ports if port.startswith("/")]
        log = self.place.kernel_log()
        if log is None:
            self._examined.unseen.append("the kernel's log (power and cable faults)")
        if self.place.uid != 0:
            self._examined.unseen.append("which ports other users' programs have open")
        self._examined.findings += host_findings(
            self.place.root,
            listed=files,
            uid=self.place.uid,
            groups=self.place.groups,
            ours=self._ours,
            kernel_log=log or "",
            needed=not ports or bool(files) or "auto" in ports,
        )

    def look_at_lane(self, name: str) -> None:
        """Ask its modem: through the gateway that holds it, or by itself."""
        lane, row = self._written.get(name), self._rows.get(name)
        held = row is not None and row.held
        stick, port = (None, None) if lane is None else place_of(lane, row, self._plugged, self.place)
        if stick is not None:
            self._used.add(stick.usb_path)
        facts = None
        if held and row is not None and row.state not in NOT_WORKING and self._store is not None:
            self._progress(f"Asking lane {name} through the running gateway …")
            facts = _ask_lane(self._store, name, self._examined)
        elif lane is not None and port is not None and not port.startswith("simulated:"):
            asked = self._ask(lane, port, stick)
            lost = (
                asked is not None
                and asked.facts.refusal is not None
                and asked.facts.refusal[0] == "port_busy"
            )
            if asked is not None and not (held and lost):  # else the gateway has just got it
                port, facts = self._keep(asked, name)
        self._homes[name] = facts.home if facts else None
        shown_port = port or (lane.port if lane else row.port if row else "")
        self._examined.ports.append(seen_port(shown_port, stick, name, facts))

    def look_at_strays(self) -> None:
        """Sticks that no lane uses: which of their ports takes commands, and which lines to write."""
        for stick in self._plugged:
            if stick.usb_path not in self._used and stick.known is not None and stick.ports:
                self._stray(stick)

    def _stray(self, stick: Stick) -> None:
        examined = self._examined
        right = control_port(stick)
        if right is None or not may_open(right.device):
            examined.ports += [seen_port(plain(p.device, self.place), stick, None, None) for p in stick.ports]
            return
        name = plain(right.device, self.place)
        asked = self._ask(None, name, stick)
        port, facts = (name, None) if asked is None else self._keep(asked, name)
        for usb in stick.ports:
            other = plain(usb.device, self.place)
            examined.ports.append(seen_port(other, stick, None, facts if other == port else None))
        if facts is not None and facts.answers:
            examined.settings_lines += settings_for(stick, port, self._written, examined.settings_lines)

    def _ask(self, lane: LaneSettings | None, port: str, stick: Stick | None) -> Asked | None:
        """None, and a finding, where another program has the port."""
        other = holder(port, self.place, self._ours)
        if other is not None:
            self._examined.findings.append(held_finding(port, other, stick))
            return None
        self._progress(f"Asking {port} …")
        return ask_port(lane, port, stick, self.place, self._ours)

    def _keep(self, asked: Asked, name: str) -> tuple[str, PortFacts]:
        self._examined.findings += news(asked.findings, self._examined.findings)
        if asked.facts.opened:
            self._examined.free[name] = asked.settings
        return asked.port, asked.facts

    def look_at_tables(self, store: Store, credit_code: str | None) -> None:
        """What the gateway's own tables tell of lanes and SIMs; with a code, the operator is asked for the credit before."""
        if credit_code is not None:
            _read_credit(store, self._seen(), credit_code, self._examined, self._progress)
            self._read_rows()
        exchanges = [one for one in store.read(diagnosis.exchanges) if one.lane in self.names]
        self._examined.exchanges = exchanges
        self._examined.findings += lane_findings(
            self._seen(), load_catalogue(self._settings), self._homes, exchanges, _now().date()
        )

    def imeis(self) -> list[tuple[str, str]]:
        """Where each IMEI is: of the ports that were asked, and of lanes by the tables (a gateway's answer has it masked)."""
        asked = {
            port.lane or port.port: (port.port, port.imei)
            for port in self._examined.ports
            if port.imei is not None
        }
        held = [(f"lane {r.name}", r.imei) for r in self._seen() if r.imei and r.held and r.name not in asked]
        return [(where, imei) for where, imei in (*asked.values(), *held) if imei is not None]


def _ask_lane(store: Store, lane: str, examined: Examined) -> PortFacts | None:
    answer, why = _request(store, lane, "diagnosis", {})
    if answer is None:
        examined.findings.append(
            fault(
                "lane_does_not_answer",
                f"lane {lane}",
                "The running gateway holds this lane, but the lane did not answer the doctor.",
                why,
                f"`bpjs-sms lanes` shows its state; `bpjs-sms lanes restart {lane}` opens its modem anew",
            )
        )
        return None
    found = [Finding.from_json(one) for one in answer.get("findings", ())]
    examined.findings += [replace(one, about=f"lane {lane}") for one in found]
    return PortFacts.from_json(answer["facts"])


def _request(
    store: Store, lane: str, kind: str, arguments: Mapping[str, Any]
) -> tuple[Mapping[str, Any] | None, str]:
    """Let a running gateway's lane do something: its answer, or None and why there is none."""
    asked = store.write(lambda tx: requests.ask(tx, lane, kind, arguments, "doctor", _now()))
    until, still = time.monotonic() + ANSWER_WITHIN, threading.Event()
    while True:
        over = time.monotonic() >= until
        found = store.write(partial(requests.collect, request_id=asked, give_up=over))
        if found.state == "done" and found.answer is not None:
            return found.answer, ""
        if over or found.state == "refused":
            return None, str((found.answer or {}).get("detail", "it is still busy"))
        still.wait(_LOOK)


# -- tables and files ---------------------------------------------------------------------------------------------


@contextmanager
def _store(settings: Settings, examined: Examined) -> Iterator[Store | None]:
    """The database beside whoever serves it; None where there is none yet, or where it cannot be used, which is a finding."""
    path = database_path(settings.database)
    if path is not None and not path.is_file():
        yield None
        return
    try:
        store = open_store(settings.database, settings.sealing.keys_file, serving=False)
    except (GatewayError, SettingsError) as error:
        examined.findings.append(
            fault(
                "database_unusable",
                "database",
                "The database cannot be used.",
                error.detail,
                "do what the sentence says, then run `bpjs-sms db check`",
            )
        )
        yield None
        return
    try:
        yield store
    finally:
        store.close()


def _serving(settings: Settings) -> list[int]:
    """The process that serves the database, by its lock file."""
    path = database_path(settings.database)
    if path is None:
        return []
    try:
        said = path.with_name(f"{path.name}.lock").read_text("utf-8", "replace")
    except OSError:
        return []
    found = re.fullmatch(r"process (\d+)", said.strip())
    return [int(found[1])] if found else []


def _data(settings: Settings, store: Store | None, place: Place) -> list[Finding]:
    path = database_path(settings.database)
    if store is None:  # nothing to lose yet; where it will lie still matters
        return data_findings(place.root, path, settings.sealing.keys_file, free=_free(path), copied=True)
    copied = store.read(diagnosis.keys_copied) == store.keys.fingerprint
    return data_findings(place.root, path, settings.sealing.keys_file, free=_free(path), copied=copied)


def _free(path: Path | None) -> int | None:
    if path is None:
        return None
    folder = next((folder for folder in (path.parent, *path.parent.parents) if folder.is_dir()), Path("/"))
    return shutil.disk_usage(folder).free


def _read_credit(
    store: Store, seen: Sequence[LaneSeen], code: str, examined: Examined, progress: Progress
) -> None:
    """Ask the operator through each held lane, and keep what it said of credit and validity."""
    for lane in seen:
        if not lane.held or lane.sim_id is None:
            continue
        progress(f"Asking the operator for the credit of lane {lane.name} …")
        answer, why = _request(store, lane.name, "ussd", {"code": code})
        text = str((answer or {}).get("text", ""))
        credit, until = credit_in(text), valid_until(text)
        if credit is None:
            examined.findings.append(
                warning(
                    "credit_not_told",
                    f"lane {lane.name}",
                    f"The code {code} did not tell the credit.",
                    why or f"the answer names no amount in Rp: {masked(text)}",
                    "name the operator's own code for the credit with --credit-code; it stands on its web page",
                )
            )
        if credit is not None:
            sim, ends = lane.sim_id, until.isoformat() if until else None

            def note(tx: Tx, sim: str = sim, credit: int = credit, ends: str | None = ends) -> None:
                diagnosis.note_credit(tx, sim, credit, ends, _now())

            store.write(note)


def _now() -> datetime:
    return datetime.now(UTC)
