"""Which SIM it is however a stick tells it, whether its stick had another one, and which PIN it was offered."""

from __future__ import annotations

from sqlalchemy import delete, insert, select, update

from app.store import tables as t
from app.store.engine import Tx

_l = t.lanes.c


def known_sim(tx: Tx, iccid: str, imsi: str | None) -> tuple[str | None, str]:
    """The SIM that sticks have told in one of these ways before, and in which; by its IMSI where this or that one tells no ICCID."""
    m = t.sims.c
    for reading in (*_readings(iccid), *([f"imsi {imsi}"] if imsi else [])):
        found = tx.execute(select(m.id).where(m.iccid_index == tx.index("iccid", reading))).scalar()
        if found is not None:
            return str(found), reading
    if imsi and iccid.startswith("imsi "):
        of_imsi = select(m.id).where(m.imsi_index == tx.index("imsi", imsi)).order_by(m.id.desc()).limit(1)
        found = tx.execute(of_imsi).scalar()
        return (None if found is None else str(found)), ""
    return None, ""


def _readings(iccid: str) -> list[str]:
    """One ICCID as sticks tell it: whole, without its check digit, or with the filler (ITU-T E.118 §4.1, ETSI TS 102 221 §13.2)."""
    if not (iccid.isdigit() and 18 <= len(iccid) <= 20):
        return [iccid]
    return [iccid, f"{iccid}F", iccid + _check_digit(iccid), *([iccid[:-1]] if len(iccid) > 18 else [])]


def _check_digit(digits: str) -> str:
    """The one that makes the number right (ISO/IEC 7812-1 Annex B)."""
    doubled = [int(digit) * (2 - place % 2) for place, digit in enumerate(reversed(digits))]
    return str(-sum(value - 9 if value > 9 else value for value in doubled) % 10)


def was_another(tx: Tx, lane: str, sim_id: str | None, imei: str | None, usb_path: str | None) -> bool:
    """Did this stick, as far as it can be told, have another SIM when a lane opened it last? Cheap ones share an IMEI."""
    rows = tx.execute(select(_l.name, _l.sim_id, _l.imei, _l.usb_path).where(_l.sim_id.is_not(None))).all()
    own = next((row for row in rows if row.name == lane), None)
    if own is not None and own.sim_id != sim_id:
        return True
    if own is not None and own.imei == imei and own.usb_path == usb_path:
        return False
    if own is not None and own.imei != imei and own.imei is not None:
        return True
    return imei is not None and any(row.imei == imei and row.sim_id != sim_id for row in rows)


def offered_pin(tx: Tx, lane: str, pin: str, iccid: str | None) -> bool:
    """Remember that this PIN is offered to this SIM, or on this lane where its SIM does not say who it is. False if it was before."""
    of_lane = tx.index("pin", f"{lane}\0{pin}")
    of_sim = [] if iccid is None else [tx.index("pin", f"{reading}\0{pin}") for reading in _readings(iccid)]
    index = of_sim[0] if of_sim else of_lane
    known = select(t.meta.c.name).where(t.meta.c.name.in_(map(_pin_mark, of_sim or [of_lane])))
    last = tx.execute(select(_l.pin_tried).where(_l.name == lane)).scalar()
    if last == of_lane or tx.execute(known).first() is not None:
        return False
    tx.execute(insert(t.meta), {"name": _pin_mark(index), "value": lane})
    tx.execute(update(t.lanes).where(_l.name == lane).values(pin_tried=index))
    return True


def pin_was_right(tx: Tx, lane: str) -> None:
    """The PIN that was offered last on this lane opened the SIM: it may be offered again next time."""
    tried = tx.execute(select(_l.pin_tried).where(_l.name == lane)).scalar()
    if tried is not None:
        tx.execute(delete(t.meta).where(t.meta.c.name == _pin_mark(tried)))
    pin_not_needed(tx, lane)


def pin_not_needed(tx: Tx, lane: str) -> None:
    """Its SIM is open; what another one was offered stays known."""
    tx.execute(update(t.lanes).where(_l.name == lane).values(pin_tried=None))


def _pin_mark(index: bytes) -> str:
    return f"pin {index.hex()}"
