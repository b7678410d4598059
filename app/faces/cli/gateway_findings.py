"""What is wrong with lanes and SIMs by the gateway's own tables. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date, datetime, timedelta

from app.domain.operators import operator_of
from app.domain.services import Service
from app.faces.cli.output import rupiah
from app.store.diagnosis import Exchange, LaneSeen
from modem.doctor import Finding, advice, fault, masked, warning

CREDIT_FOR = 20
"""So many of the dearest questions must be paid for, else the credit is called low: a day of a quiet office."""
ACTIVE_LEFT = timedelta(days=14)
"""How long before its end of validity a SIM is named: time enough to buy credit."""
SILENT = 5
"""So many questions in a row without a reply are named: chosen so that one bad hour of a service is not."""
CLOCK_BEHIND = timedelta(minutes=2)
"""A text cannot come before it was sent: the stamp may lead by the clocks' difference alone."""
CLOCK_AHEAD = timedelta(minutes=30)
"""The quickest of the last texts was under way for seconds, so so much is the clocks' difference."""
NOT_WORKING = ("locked", "failed", "offline")
"""States of a lane whose modem is not open, so that the gateway cannot ask it."""
DOWN = tuple(f"lane_{state}" for state in NOT_WORKING)
"""Findings that only say so."""


def lane_findings(
    lanes: Sequence[LaneSeen],
    services: Iterable[Service],
    homes: Mapping[str, str | None],
    exchanges: Sequence[Exchange],
    today: date,
) -> list[Finding]:
    """Every finding about lanes. `homes`: MCC and MNC of each lane's SIM, where its modem told them."""
    wanted = [service for service in services if service.enabled]
    found = [finding for lane in lanes for finding in _lane(lane, wanted, homes.get(lane.name), today)]
    return [*found, *_doubled(lanes), *_silent(lanes, exchanges)]


def imei_findings(imeis: Iterable[tuple[str, str]]) -> list[Finding]:
    """Sticks that call themselves by one IMEI, each by where it is; zero is told elsewhere."""
    places: dict[str, set[str]] = defaultdict(set)
    for place, imei in imeis:
        if int(imei or "0"):
            places[imei].add(place)
    return [
        warning(
            "imei_doubled",
            ", ".join(sorted(where)),
            "Several sticks have one IMEI, as cheap copies do: a network may refuse them, and by the IMEI they cannot be told apart.",
            f"AT+CGSN answers {masked(imei)} on each",
            'bind each lane to its SIM or its socket (port = "auto" with iccid = "…" or usb = "…"); replace the copies when you can',
        )
        for imei, where in places.items()
        if len(where) > 1
    ]


def _lane(lane: LaneSeen, services: Sequence[Service], home: str | None, today: date) -> Iterator[Finding]:
    about = f"lane {lane.name}"
    if lane.pin_offered and lane.state == "locked":
        yield fault(
            "pin_refused",
            about,
            "The SIM refused the PIN of the settings; the third wrong one locks it.",
            lane.reason or "the PIN was offered once, and the SIM did not open",
            "put the PIN right in this lane's pin_file and restart the gateway: the same PIN is never offered twice",
        )
    elif lane.held and lane.state in NOT_WORKING:
        yield fault(
            f"lane_{lane.state}",
            about,
            f"The running gateway cannot work with this lane: {lane.reason or 'it does not say why'}.",
            f"the lane's state is {lane.state}",
            "see the findings of its port; the gateway tries again by itself once the cause is gone"
            if lane.state != "locked"
            else "put the PIN right (pin_file), or unlock the SIM in a phone, then restart the gateway",
        )
    if lane.sim_id is None:
        return
    yield from _credit(lane, about, services)
    yield from _validity(lane, about, today)
    yield from _operator(about, services, home)
    yield from _clock(lane, about)


def _credit(lane: LaneSeen, about: str, services: Sequence[Service]) -> Iterator[Finding]:
    enough = CREDIT_FOR * max((service.price.request for service in services), default=0)
    if lane.credit is None:
        yield advice(
            "credit_unknown",
            about,
            "Nobody knows how much credit this SIM has; without credit it cannot ask.",
            "no credit was read yet",
            "`bpjs-sms doctor --credit-code '*888#'` asks by Telkomsel's code and keeps the answer; the other operators' codes stand on "
            "their web pages, and --lane NAME asks for one SIM",
        )
    elif lane.credit < enough:
        say = fault if lane.credit == 0 else warning
        yield say(
            "credit_low",
            about,
            f"The SIM's credit is low: {rupiah(lane.credit)}.",
            f"{CREDIT_FOR} questions of the dearest service cost {rupiah(enough)}",
            "buy credit for this SIM's number",
        )


def _validity(lane: LaneSeen, about: str, today: date) -> Iterator[Finding]:
    try:
        until = date.fromisoformat(lane.active_until or "")
    except ValueError:
        return
    if until - today > ACTIVE_LEFT:
        return
    say, verb = (fault, "ended") if until < today else (warning, "ends")
    yield say(
        "sim_expires",
        about,
        f"The SIM's validity {verb} on {until.isoformat()}; after that it neither sends nor receives, and is lost some weeks later.",
        "the operator's own date (active_until)",
        "buy credit for this SIM's number: that prolongs it",
    )


def _operator(about: str, services: Sequence[Service], home: str | None) -> Iterator[Finding]:
    operator = operator_of(home) if home else None
    if operator is None:
        return
    closed = [s.name for s in services if s.operators and operator.name not in s.operators]
    if closed:
        yield warning(
            "operator_not_served",
            about,
            f"No public source says that {', '.join(closed)} can be asked from a SIM of {operator.shown}.",
            f"the SIM's IMSI begins with {home}, and the operators in the service's file are other ones",
            f"ask from a SIM of another operator, or switch it off: [service.{closed[0]}] enabled = false",
        )


def _clock(lane: LaneSeen, about: str) -> Iterator[Finding]:
    if lane.delay is None or -CLOCK_BEHIND <= lane.delay <= CLOCK_AHEAD:
        return
    off = abs(lane.delay)
    behind = lane.delay < timedelta(0)
    yield warning(
        "clock_off",
        about,
        f"This host's clock and the service centre's differ by {_span(off)}: windows and deadlines are judged wrongly.",
        f"even the quickest of the last texts came {_span(off)} {'before' if behind else 'after'} the service centre's stamp",
        "`timedatectl` shows the clock, `sudo timedatectl set-ntp true` lets it follow the time servers",
    )


def _span(span: timedelta) -> str:
    minutes = round(span.total_seconds() / 60)
    return f"{minutes} minutes" if minutes < 120 else f"{minutes // 60} hours"


def _doubled(lanes: Sequence[LaneSeen]) -> Iterator[Finding]:
    by_sim: dict[str, list[str]] = defaultdict(list)
    for lane in lanes:
        if lane.sim_id is not None and lane.held:
            by_sim[lane.sim_id].append(lane.name)
    for names in by_sim.values():
        if len(names) > 1:
            yield fault(
                "sim_in_two_lanes",
                " and ".join(f"lane {name}" for name in names),
                "These lanes have one SIM: its replies are read by both, and its pace and budget count twice.",
                "they found the same ICCID in their modems",
                "keep one of the lanes, or put a SIM of its own into each stick",
            )


def _silent(lanes: Sequence[LaneSeen], exchanges: Sequence[Exchange]) -> Iterator[Finding]:
    known = {lane.name for lane in lanes}
    for one in exchanges:
        if one.lane in known and one.unanswered >= SILENT:
            last = (
                f"the last reply came {_when(one.last_reply)}"
                if one.last_reply
                else "there never was a reply"
            )
            yield warning(
                "silent",
                f"lane {one.lane}",
                f"{one.service} has not answered this lane's last {one.unanswered} questions.",
                last,
                f"send its text by hand from a phone with a SIM of the same operator; `bpjs-sms doctor --loop --lane {one.lane}` "
                "proves that this SIM receives",
            )


def _when(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%d %H:%M UTC")
