"""What is wrong with lanes and SIMs by the gateway's own tables. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date, timedelta

from app.domain.operators import operator_of
from app.domain.services import Service
from app.faces.cli.doctor_texts import advice, day, fault, lane_called, moment, said, warning
from app.faces.cli.output import rupiah
from app.store.diagnosis import Exchange, LaneSeen
from modem.doctor import Both, Finding, joined, masked

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


def imei_findings(imeis: Iterable[tuple[str | Both, str]]) -> list[Finding]:
    """Sticks that call themselves by one IMEI, each by where it is; zero is told elsewhere."""
    places: dict[str, set[str | Both]] = defaultdict(set)
    for place, imei in imeis:
        if int(imei or "0"):
            places[imei].add(place)
    return [
        warning("imei_doubled", joined(sorted(where, key=_in_english)), imei=masked(imei))
        for imei, where in places.items()
        if len(where) > 1
    ]


def _in_english(text: str | Both) -> str:
    return text.en if isinstance(text, Both) else text


def _lane(lane: LaneSeen, services: Sequence[Service], home: str | None, today: date) -> Iterator[Finding]:
    about = lane_called(lane.name)
    told = said("words.told", detail=lane.reason) if lane.reason else None
    if lane.pin_offered and lane.state == "locked":
        yield fault("pin_refused", about, reason=told or said("words.pin_offered"))
    elif lane.held and lane.state in NOT_WORKING:
        yield fault(f"lane_{lane.state}", about, state=lane.state, reason=told or said("words.no_reason"))
    elif lane.held and lane.paused:
        yield warning("lane_paused", about, name=lane.name)
    if lane.sim_id is None:
        return
    yield from _credit(lane, about, services)
    yield from _validity(lane, about, today)
    yield from _operator(about, services, home)
    yield from _clock(lane, about)


def _credit(lane: LaneSeen, about: Both, services: Sequence[Service]) -> Iterator[Finding]:
    enough = CREDIT_FOR * max((service.price.request for service in services), default=0)
    if lane.credit is None:
        yield advice("credit_unknown", about)
    elif lane.credit < enough:
        say = fault if lane.credit == 0 else warning
        yield say("credit_low", about, credit=rupiah(lane.credit), count=CREDIT_FOR, enough=rupiah(enough))


def _validity(lane: LaneSeen, about: Both, today: date) -> Iterator[Finding]:
    try:
        until = date.fromisoformat(lane.active_until or "")
    except ValueError:
        return
    if until < today:
        yield fault("sim_expires.ended", about, until=day(until))
    elif until - today <= ACTIVE_LEFT:
        yield warning("sim_expires", about, until=day(until))


def _operator(about: Both, services: Sequence[Service], home: str | None) -> Iterator[Finding]:
    operator = operator_of(home) if home else None
    if operator is None:
        return
    closed = [s.name for s in services if s.operators and operator.name not in s.operators]
    if closed:
        yield warning(
            "operator_not_served",
            about,
            services=joined(closed),
            operator=operator.shown,
            home=home,
            first=closed[0],
        )


def _clock(lane: LaneSeen, about: Both) -> Iterator[Finding]:
    if lane.delay is None or -CLOCK_BEHIND <= lane.delay <= CLOCK_AHEAD:
        return
    behind = lane.delay < timedelta(0)
    yield warning("clock_off.behind" if behind else "clock_off", about, span=_span(abs(lane.delay)))


def _span(span: timedelta) -> Both:
    minutes = round(span.total_seconds() / 60)
    if minutes < 120:
        return said("words.minutes", count=minutes)
    return said("words.hours", count=minutes // 60)


def _doubled(lanes: Sequence[LaneSeen]) -> Iterator[Finding]:
    by_sim: dict[str, list[str]] = defaultdict(list)
    for lane in lanes:
        if lane.sim_id is not None and lane.held:
            by_sim[lane.sim_id].append(lane.name)
    for names in by_sim.values():
        if len(names) > 1:
            yield fault("sim_in_two_lanes", joined([lane_called(name) for name in names], said("words.and")))


def _silent(lanes: Sequence[LaneSeen], exchanges: Sequence[Exchange]) -> Iterator[Finding]:
    known = {lane.name for lane in lanes}
    for one in exchanges:
        if one.lane in known and one.unanswered >= SILENT:
            yield warning(
                "silent" if one.last_reply else "silent.always",
                lane_called(one.lane),
                service=one.service,
                count=one.unanswered,
                last=moment(one.last_reply) if one.last_reply else said("words.never"),
                lane=one.lane,
            )
