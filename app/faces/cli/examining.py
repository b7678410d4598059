"""What `doctor` does: look at the host, ask held lanes through their gateway and free ports itself, read the tables."""

from __future__ import annotations

import re
import shutil
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from app.domain.errors import GatewayError, Invalid, SettingsError
from app.faces.cli.doctor_texts import fault, lane_called, said, warning
from app.faces.cli.gateway_findings import DOWN, NOT_WORKING, imei_findings, lane_findings
from app.faces.cli.lanes_asked import ask_lane, read_credit
from app.faces.cli.ports_asked import (
    Asked,
    Place,
    PortSeen,
    ask_port,
    file_of,
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
from app.store import diagnosis
from app.store.diagnosis import Exchange, LaneSeen
from app.store.engine import Store, database_path, open_store
from modem import PortSettings
from modem.discovery import Stick, sticks
from modem.doctor import (
    SEVERITIES,
    Both,
    Finding,
    PortFacts,
    control_port,
    data_findings,
    held_finding,
    held_ports,
    host_findings,
)

T = TypeVar("T")

AT_ONCE = 8
"""Modems that are asked at the same time: each takes seconds, a pool has dozens, and a hub's wires carry so many."""

Progress = Callable[[Both], None]
_Ask = Callable[[], Callable[[], None]]
"""Asks, on a thread of its own; what it returns writes down what came of it, on ours."""


@dataclass(slots=True)
class Examined:
    """Everything that was found; ports in the order of the settings.

    free: ports that answered the doctor itself, and how · answering: lanes that answered through a running gateway.
    """

    findings: list[Finding] = field(default_factory=list)
    ports: list[PortSeen] = field(default_factory=list)
    settings_lines: list[str] = field(default_factory=list)
    exchanges: list[Exchange] = field(default_factory=list)
    free: dict[str, PortSettings] = field(default_factory=dict)
    answering: set[str] = field(default_factory=set)
    unseen: list[Both] = field(default_factory=list)

    def as_json(self, language: str = "en") -> dict[str, Any]:
        return {
            "findings": [finding.told(language).as_json() for finding in self.findings],
            "ports": [port.as_json(language) for port in self.ports],
            "settings": self.settings_lines,
            "not_seen": [thing.told(language) for thing in self.unseen],
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
    language: str = "en",
) -> Examined:
    """Look at everything, or at one lane's modem only. Invalid, in that language, for a lane that neither settings nor a running gateway have."""
    examined = Examined()
    with _store(settings, examined) as store:
        visit = _Visit(settings, store, place or Place(), progress, examined, language)
        visit.choose(only)
        if only is None:
            visit.look_at_host()
        visit.look_at_settings()
        visit.look_at_modems(strays=only is None)
        if store is not None:
            visit.look_at_tables(store, credit_code)
        examined.findings += imei_findings(visit.imeis())
        if only is None:
            examined.findings += _data(settings, store, visit.place)
    examined.findings = in_order(examined.findings)
    return examined


def in_order(findings: Sequence[Finding]) -> list[Finding]:
    """The worst first; within that, what lies beneath before what stands on it: host, ports, lanes, files. Each once."""
    return sorted(dict.fromkeys(findings), key=lambda finding: SEVERITIES.index(finding.severity))


def at_once(asks: Sequence[Callable[[], T]], limit: int) -> list[T]:
    """Call them all, so many at a time, and return what they returned, in their order; raises what the first that failed raised.

    The threads are daemons: Ctrl-C does not wait for a modem.
    """
    free, ended = threading.Semaphore(limit), [threading.Event() for _ in asks]
    results: list[T | BaseException | None] = [None] * len(asks)

    def call(place: int) -> None:
        with free:
            try:
                results[place] = asks[place]()
            except BaseException as error:
                results[place] = error
        ended[place].set()

    for place in range(len(asks)):
        threading.Thread(target=call, args=(place,), daemon=True).start()
    for event in ended:
        event.wait()
    for result in results:
        if isinstance(result, BaseException):
            raise result
    return results  # type: ignore[return-value]


def confirm_key_copy(settings: Settings) -> None:
    """Remember that the keys in use have a copy. SettingsError and GatewayError as `open_store` raises them."""
    with closing(open_store(settings.database, settings.sealing.keys_file, serving=False)) as store:
        store.write(lambda tx: diagnosis.confirm_keys_copied(tx, store.keys.fingerprint))


class _Visit:
    """One look around, from the host to the tables; what it finds goes into `examined`."""

    def __init__(
        self,
        settings: Settings,
        store: Store | None,
        place: Place,
        progress: Progress,
        examined: Examined,
        language: str,
    ) -> None:
        self._settings = settings
        self._language = language
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
        held = sorted(
            (name for name, row in self._rows.items() if row.held), key=lambda name: (len(name), name)
        )
        self._ours += self._holding(held)
        known = list(dict.fromkeys([*self._written, *held]))
        if only is not None and only not in known:
            names = ", ".join(known) or said("words.none")
            raise Invalid(said("screen.no_such_lane", name=only, names=names).told(self._language))
        self.names = known if only is None else [only]

    def _holding(self, lanes: Sequence[str]) -> list[int]:
        """Processes that have the ports of held lanes open: the gateway's, of which PostgreSQL knows no process number."""
        files = []
        for name in lanes:
            lane, row = self._written.get(name), self._rows[name]
            stick, port = (None, row.port) if lane is None else place_of(lane, row, self._plugged, self.place)
            files += [usb.device for usb in stick.ports] if stick is not None else []
            files += [file_of(port, self.place)] if port is not None and port.startswith("/") else []
        return [held.pid for held in held_ports(self.place.root, files)] if files else []

    def _read_rows(self) -> None:
        if self._store is not None:
            self._rows = {
                row.name: row for row in self._store.read(lambda tx: diagnosis.lanes_seen(tx, _now()))
            }

    def _seen(self) -> list[LaneSeen]:
        return [self._rows[name] for name in self.names if name in self._rows]

    def look_at_host(self) -> None:
        """USB, device files, processes, the kernel's log."""
        self._progress(said("progress.host"))
        ports = [
            self._written[name].port if name in self._written else self._rows[name].port
            for name in self.names
        ]
        files = [port for port in ports if port.startswith("/")]
        log = self.place.kernel_log()
        if log is None:
            self._examined.unseen.append(said("unseen.kernel_log"))
        if self.place.uid != 0:
            self._examined.unseen.append(said("unseen.holders"))
        self._examined.findings += host_findings(
            self.place.root,
            listed=files,
            uid=self.place.uid,
            groups=self.place.groups,
            ours=self._ours,
            kernel_log=log or "",
            needed=not ports or bool(files) or "auto" in ports,
        )

    def look_at_settings(self) -> None:
        """The PIN files, which a gateway reads before it does anything else."""
        for name in self.names:
            lane = self._written.get(name)
            if lane is None:
                continue
            try:
                lane.read_pin()
            except SettingsError as error:
                self._examined.findings.append(
                    fault("pin_file_unusable", lane_called(name), detail=error.detail, file=lane.pin_file)
                )

    def look_at_modems(self, strays: bool) -> None:
        """The lanes' modems, and with `strays` the sticks that no lane uses: asked several at a time, told in their order."""
        asks = [self._lane(name) for name in self.names]
        if strays:
            for stick in self._plugged:
                if stick.usb_path not in self._used and stick.known is not None and stick.ports:
                    asks.append(self._stray(stick))
        if asks:
            self._progress(said("progress.modems" if len(asks) > 1 else "progress.modem", count=len(asks)))
        for tell in at_once(asks, AT_ONCE):
            tell()

    def _lane(self, name: str) -> _Ask:
        """How to ask a lane's modem: through the gateway that holds it, or by itself."""
        lane, row = self._written.get(name), self._rows.get(name)
        held = row is not None and row.held
        stick, port = (None, None) if lane is None else place_of(lane, row, self._plugged, self.place)
        if stick is not None:
            self._used.add(stick.usb_path)

        def seen(port: str | None, facts: PortFacts | None) -> None:
            self._homes[name] = facts.home if facts else None
            shown_port = port or (lane.port if lane else row.port if row else "")
            self._examined.ports.append(seen_port(shown_port, stick, name, facts))

        if held and row is not None and row.state not in NOT_WORKING and self._store is not None:
            return self._through_gateway(self._store, name, lambda facts: seen(port, facts))
        if lane is None or port is None or port.startswith("simulated:"):
            return lambda: lambda: seen(port, None)
        here = port

        def ask() -> Callable[[], None]:
            asked = self._ask(lane, here, stick)

            def tell() -> None:
                if isinstance(asked, Finding):
                    self._examined.findings.append(asked)
                    seen(here, None)
                elif held and asked.facts.refusal is not None and asked.facts.refusal[0] == "port_busy":
                    seen(here, None)  # the gateway has just got it
                elif asked.facts.refusal is not None and (late := self._late(here, asked.facts.refusal[0])):
                    self._examined.findings.append(late)
                    seen(here, None)
                else:
                    self._keep(asked, name)
                    seen(asked.port, asked.facts)

            return tell

        return ask

    def _late(self, port: str, refusal: str) -> Finding | None:
        """That a gateway has a port whose lane it does not hold by the tables, as where it cannot write them."""
        if refusal != "port_busy" or not port.startswith("/"):
            return None
        holding = held_ports(self.place.root, [file_of(port, self.place)])
        pid = next((held.pid for held in holding if held.pid in self._ours), None)
        return None if pid is None else warning("port_held_by_gateway", port, port=port, pid=pid)

    def _through_gateway(self, store: Store, name: str, seen: Callable[[PortFacts | None], None]) -> _Ask:
        def ask() -> Callable[[], None]:
            told = ask_lane(store, name)

            def tell() -> None:
                self._examined.findings += told.findings
                if told.facts is not None:
                    self._examined.answering.add(name)
                seen(told.facts)

            return tell

        return ask

    def _stray(self, stick: Stick) -> _Ask:
        """How to find out which port of a stick that no lane uses takes commands, and which lines to write."""
        examined = self._examined

        def seen(control: str | None, facts: PortFacts | None) -> None:
            for usb in stick.ports:
                name = plain(usb.device, self.place)
                examined.ports.append(seen_port(name, stick, None, facts if name == control else None))

        right = control_port(stick)
        if right is None or not may_open(right.device):
            return lambda: lambda: seen(None, None)
        port = plain(right.device, self.place)

        def ask() -> Callable[[], None]:
            asked = self._ask(None, port, stick)

            def tell() -> None:
                if isinstance(asked, Finding):
                    examined.findings.append(asked)
                    seen(None, None)
                    return
                self._keep(asked, port)
                seen(asked.port, asked.facts)
                if asked.facts.answers:
                    examined.settings_lines += settings_for(
                        stick, asked.port, self._written, examined.settings_lines, self._language
                    )

            return tell

        return ask

    def _ask(self, lane: LaneSettings | None, port: str, stick: Stick | None) -> Asked | Finding:
        """A finding where another program has the port."""
        other = holder(port, self.place, self._ours)
        if other is not None:
            return held_finding(port, other, stick)
        return ask_port(lane, port, stick, self.place, self._ours)

    def _keep(self, asked: Asked, name: str) -> None:
        self._examined.findings += news(asked.findings, self._examined.findings)
        if asked.facts.opened:
            self._examined.free[name] = asked.settings

    def look_at_tables(self, store: Store, credit_code: str | None) -> None:
        """What the gateway's own tables tell of lanes and SIMs; with a code, the operator is asked for the credit before."""
        if credit_code is not None:
            self._progress(said("progress.credit"))
            held = [lane for lane in self._seen() if lane.held and lane.sim_id is not None]
            asks = [partial(read_credit, store, lane, credit_code) for lane in held]
            for found in at_once(asks, AT_ONCE):
                self._examined.findings += found
            self._read_rows()
        exchanges = [one for one in store.read(diagnosis.exchanges) if one.lane in self.names]
        self._examined.exchanges = exchanges
        told = {finding.about for finding in self._examined.findings}
        found = lane_findings(
            self._seen(), load_catalogue(self._settings), self._homes, exchanges, _now().date()
        )
        ports = {lane_called(port.lane).en: port.port for port in self._examined.ports if port.lane}
        for finding in found:
            # That a lane is down says nothing new where its port was found to be at fault.
            if not (finding.code in DOWN and told & {finding.about, ports.get(finding.about)}):
                self._examined.findings.append(finding)

    def imeis(self) -> list[tuple[str | Both, str]]:
        """Where each IMEI is: of the ports that were asked, and of lanes by the tables (a gateway's answer has it masked)."""
        asked = {
            port.lane or port.port: (port.port, port.imei)
            for port in self._examined.ports
            if port.imei is not None
        }
        found: list[tuple[str | Both, str]] = [(place, imei) for place, imei in asked.values()]
        found += [
            (lane_called(r.name), r.imei) for r in self._seen() if r.imei and r.held and r.name not in asked
        ]
        return found


# -- tables and files ---------------------------------------------------------------------------------------------


@contextmanager
def _store(settings: Settings, examined: Examined) -> Iterator[Store | None]:
    """The database beside whoever serves it; None where there is none yet, or where it cannot be used, which is a finding."""
    path = database_path(settings.database)
    if path is not None and not path.is_file():
        if not path.parent.is_dir():
            examined.findings.append(
                fault("database_unusable.no_folder", said("words.database"), path=path, folder=path.parent)
            )
        yield None
        return
    try:
        store = open_store(settings.database, settings.sealing.keys_file, serving=False)
    except (GatewayError, SettingsError) as error:
        examined.findings.append(fault("database_unusable", said("words.database"), detail=error.detail))
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


def _now() -> datetime:
    return datetime.now(UTC)
