"""What a modem keeps: its storages, how it says that an SMS came, and reading and removing by storage, index and content."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from datetime import timedelta

from modem import at, verdicts
from modem.port import ModemError, ModemLost, Observer, Stored, Usage
from modem.session import Session

_LIST_TIMES = 6  # the usual patience, 60 s: a full SIM of 50 slots takes some sticks half a minute
_SMS_SECONDS = (
    20.0  # SIMCom's say `SMS Ready` or `SMS DONE` 5 to 15 s after their start, and refuse SMS commands before
)
_STARTING_PAUSE = 1.0
_CHANCES = 3  # for a modem that refused every indication while it started; each costs a dozen commands
_MOST_HANGS = 2  # of +CMGL one after the other, each as long as its patience; then slots are read one by one
_MOST_BAD_SLOTS = 3  # that can never be read, of one storage; each costs its patience three times
_SLOT_TRIES = 2
_STORAGES = ("SM", "ME", "SR")  # 3GPP TS 27.005 §3.1; MT is SM and ME together
_MOST_ODD = 2  # lists one after the other that the slots belie; then it is read slot by slot
_REMOVALS = 2  # of one SMS; what then is still there cannot be removed
_UNNAMED = "SM"  # for a modem without +CPMS: its only storage, whatever it is

# 3GPP TS 27.005 §3.4.1, best first: mode, mt, bm, ds, and bfr for those that want all five. In mode 3 a hint comes also within an answer.
_INDICATIONS = (
    (2, 1, 0, 2),
    (2, 1, 0, 1),
    (2, 1, 0, 0),
    (1, 1, 0, 2),
    (1, 1, 0, 1),
    (1, 1, 0, 0),
    (2, 1, 0, 0, 0),
    (1, 1, 0, 0, 0),
    (3, 1, 0, 2),
    (3, 1, 0, 1),
    (3, 1, 0, 0),
    (3, 1, 0, 0, 0),
)
# The whole SMS in the URC: only where it is acknowledged, so that the network keeps it until then.
_DIRECTLY = (
    (2, 2, 0, 1),
    (2, 2, 0, 0),
    (1, 2, 0, 0),
)


class Inbox:
    """The storages of one session. `hear` runs in the reader's thread, under the session's condition; all else in the owner's."""

    def __init__(self, session: Session, tell: Observer, port: str) -> None:
        self._session = session
        self._tell = tell
        self._port = port
        self._list_seconds = _LIST_TIMES * session.answer_seconds
        self._memories: list[str] = []
        self._storages: tuple[str, ...] = ()
        self._readable: set[str] = set()
        self._hangs = 0
        self._chances = _CHANCES
        self._way = 0
        self._used: dict[str, int] = {}
        self._uncounted: dict[str, int] = {}
        self._deaf_slots = False
        self._numbered: set[str] = set()
        self._odd: dict[str, int] = {}
        self._guessed = False
        self._indicated: tuple[int, ...] | None = None
        self._acknowledges = False
        # Below: guarded by the session's condition.
        self.hints: set[tuple[str, int]] = set()
        self._direct: list[Stored] = []

    # setting up

    def set_up(self, patience: timedelta = timedelta()) -> None:
        """PDU mode, storages and indications, each chosen from what the modem offers. Raises ModemError where it cannot be used.

        patience: what a modem that has just started needs until it knows of SMS (SIMCom: `SMS Ready`, `SMS DONE`).
        """
        self._await_sms(min(patience.total_seconds(), _SMS_SECONDS))
        session = self._session
        session.attempt("AT+COPS=3,0")
        if not session.attempt("AT+CSMS=0"):
            self._acknowledges = any(
                body.split(",")[0].strip() == "1" for body in at.bodies("+CSMS", session.attempt("AT+CSMS?"))
            )
        self._choose_storages()
        offered = at.values_offered("+CNMI", session.attempt("AT+CNMI=?"))
        if self._indicate(_INDICATIONS, offered):
            return
        if session.attempt("AT+CNMI=2,1"):
            self._indicated = (2, 1)
            return
        self._acknowledges = self._acknowledges or bool(session.attempt("AT+CSMS=1"))
        if self._acknowledges and self._indicate(_DIRECTLY, offered):
            return
        # What is stored is found by its count, without a hint; what is not stored and not acknowledged is lost.
        if self._routing() in (2, 3):
            raise ModemError(
                "no_indications",
                "the modem hands SMS over without keeping them and cannot be told otherwise (AT+CNMI): use another stick",
            )

    def _await_sms(self, patience: float) -> None:
        """PDU mode, which some refuse until they know of SMS. Raises ModemError for a modem that has no such mode."""
        session, waited = self._session, 0.0
        while True:
            try:
                session.command("AT+CMGF=0")
                return
            except ModemLost:
                raise
            except ModemError:
                offered = at.values_offered("+CMGF", session.attempt("AT+CMGF=?"))
                if waited >= patience or (offered and 0 not in offered[0]):
                    raise
            session.pause(_STARTING_PAUSE)
            session.check()
            waited += _STARTING_PAUSE

    def verify(self) -> bool:
        """Ask whether PDU mode, storages and indications are as they were set; set all anew if one differs. False: they were not."""
        session = self._session
        mode = at.bodies("+CMGF", session.query("AT+CMGF?"))
        memories = [name for name, _, _ in at.memories(session.query("AT+CPMS?"))]
        wanted = self._indicated
        again = (wanted is None or self._guessed) and self._chances > 0
        routing = at.numbers("+CNMI", session.query("AT+CNMI?"))
        if (
            not again
            and (not mode or mode[-1] == "0")
            and (not memories or memories[: len(self._memories)] == self._memories)
            and (wanted is None or not routing or routing[: len(wanted)] == wanted)
        ):
            return True
        self._chances -= again
        session.attempt("AT+CMEE=1")
        self._indicated = None
        self.set_up()
        with session.changed:
            self.hints.add(("", 0))  # nothing was said meanwhile
        return False

    def _routing(self) -> int | None:
        """<mt> of +CNMI: where an SMS goes."""
        numbers = at.numbers("+CNMI", self._session.attempt("AT+CNMI?"))
        return numbers[1] if len(numbers) > 1 else None

    def _indicate(self, choices: Sequence[tuple[int, ...]], offered: Sequence[frozenset[int]]) -> bool:
        """Set the first of these that the modem offers and takes."""
        for wanted in choices:
            if wanted[3] == 2 and "SR" not in self._storages:
                continue
            if offered and not all(value in values for value, values in zip(wanted, offered, strict=False)):
                continue
            if self._session.attempt("AT+CNMI=" + ",".join(map(str, wanted))):
                # As it says it, for some leave out or change what they took.
                self._indicated = at.numbers("+CNMI", self._session.attempt("AT+CNMI?")) or wanted
                return True
        return False

    def _choose_storages(self) -> None:
        # Asked twice: a name in which a character was lost would be left out as long as the session lasts.
        offered = _all_of(*(at.memories_offered(self._session.attempt("AT+CPMS=?")) for _ in range(2)))
        self._guessed = not offered or not offered[0]
        if self._guessed:
            # A modem that does not tell which storages it has.
            taken = tuple(name for name in _STORAGES if self._surely(_cpms([name])))
            offered = [taken, taken, taken]
        if not offered[0]:
            self._keep_the_current_one()
            return
        first, second, third = (*offered, offered[-1], offered[-1])[:3]
        receiving = dict.fromkeys(name for name in (*_STORAGES[:2], *third) if name in third)
        refused: list[str] = []
        for received in receiving or (first[0],):
            # mem2 is not used: it holds the other storage, so that one query counts both.
            others = (name for name in _STORAGES[:2] if name in second and name not in (received, *refused))
            other = next(others, received)
            storages = tuple(name for name in _STORAGES if name in first and name not in refused)
            self._storages = storages or (received,)
            read = received if received in first else self._storages[0]
            for choice in ([read, other, received], [read, received, received], [read], [read] * 3):
                if self._surely(_cpms(choice)):
                    self._memories = choice
                    self._drop_reports_that_cannot_be_read()
                    return
            refused.append(received)  # it is only offered; or not ready, and looked for again
            self._guessed = True
        raise ModemError("no_storage", "the modem refuses every storage for SMS (AT+CPMS): use another stick")

    def _surely(self, command: str) -> list[str]:
        """Like `attempt`, twice: a storage that is left out for one lost answer would not be read as long as the session lasts."""
        return self._session.attempt(command) or self._session.attempt(command)

    def _drop_reports_that_cannot_be_read(self) -> None:
        """Some offer SR and refuse it, or have no room there: nothing may be sent there."""
        if "SR" in self._storages and self._storages != ("SR",):
            try:
                room = at.numbers("+CPMS", self._select("SR"))[1:2]
            except ModemLost:
                raise
            except ModemError:
                room = (0,)
            if room == (0,):
                self._storages = tuple(name for name in self._storages if name != "SR")

    def _keep_the_current_one(self) -> None:
        """For a modem without +CPMS, or whose +CPMS can only be asked."""
        said = [name for name, _, _ in at.memories(self._session.attempt("AT+CPMS?"))]
        if not said and not self._session.attempt("AT+CMGL=4", self._list_seconds):
            raise ModemError(
                "no_storage", "the modem keeps no SMS that can be read (AT+CPMS): use another stick"
            )
        self._memories = said or [_UNNAMED]
        self._storages = (self._memories[0],)

    # reading

    def usage(self) -> list[Usage]:
        """Used and total of each storage; a modem that counts nothing is listed, and its total is 0: not known."""
        missing = [name for name in self._storages if name not in self._memories]
        if missing and (missing[0] in self._readable or not self._readable):
            self._select(missing[0])
        counts = {name: (used, total) for name, used, total in at.memories(self._session.query("AT+CPMS?"))}
        if not counts:
            return [Usage(name, len(self._list(name)), 0) for name in self._storages]
        self._used = {name: used for name, (used, _) in counts.items()}
        return [Usage(name, *counts[name]) for name in self._storages if name in counts]

    def inbox(self, storage: str | None = None) -> list[Stored]:
        found: list[Stored] = []
        for name in self._storages if storage is None else (storage,):
            if name.startswith("+"):
                continue
            try:
                # Where two names are one memory, each SMS lies in the same slot of both.
                known = {(stored.index, stored.pdu) for stored in found}
                found += [one for one in self._list(name) if (one.index, one.pdu) not in known]
            except ModemLost:
                raise
            except ModemError:
                # One that was never read is only offered: it keeps nobody from the others.
                if storage is not None or name in self._readable or self._storages == (name,):
                    raise
            else:
                self._readable.add(name)
        with self._session.changed:
            direct = list(self._direct)
        return found + [stored for stored in direct if storage in (None, stored.storage)]

    def _list(self, storage: str) -> list[Stored]:
        self._select(storage)
        if self._hangs >= _MOST_HANGS or self._odd.get(storage, 0) >= _MOST_ODD:
            return self._list_one_by_one(storage)
        try:
            entries = at.listed(self._session.command("AT+CMGL=4", self._list_seconds))
        except ModemLost:
            raise
        except ModemError as no:
            self._hangs += no.code == "no_answer"
            return self._list_one_by_one(storage)
        self._hangs = 0
        if (better := self._doubted(storage, entries)) is not None:
            slots = self._perhaps_one_by_one(storage)
            if slots is not None and len(slots) >= better:
                self._odd[storage] = self._odd.get(storage, 0) + 1
                return slots
            if slots is not None and better == len(entries):
                self._numbered.add(storage)  # the list says more
        self._odd.pop(storage, None)
        found = []
        for entry in entries:
            stored = Stored(storage, entry.index, entry.pdu, entry.stat)
            # A PDU that noise fell into is read again; what stays odd is kept as it is.
            found.append(stored if entry.whole else self._read_again(stored))
        return found

    def _doubted(self, storage: str, entries: Sequence[at.Listed]) -> int | None:
        """How much its slots must show to be believed before this list, None where the list is in order.

        Some list less than they count, some number what they list from 1 on, wherever it lies.
        """
        # A count is good for one list; and what the slots did not show either, reports for example, stays so.
        missing = self._used.pop(storage, 0) - len(entries)
        if missing > self._uncounted.get(storage, 0):
            return len(entries) + 1
        if entries and storage not in self._numbered:
            last = entries[-1]
            if not self._is_there(storage, last):
                return len(entries)
            if last.index not in (len(entries) - 1, len(entries)):
                self._numbered.add(storage)  # else its index may be its place by chance
        return None

    def _is_there(self, storage: str, entry: at.Listed) -> bool:
        """Whether it lies in the slot by which it was listed; believed where that cannot be read, or is read otherwise."""
        try:
            there = self.read(storage, entry.index)
        except ModemLost:
            raise
        except ModemError:
            return True
        return not entry.whole or (there is not None and there.pdu == entry.pdu.upper())

    def _read_again(self, stored: Stored) -> Stored:
        try:
            return self.read(stored.storage, stored.index) or stored
        except ModemLost:
            raise
        except ModemError:
            return stored

    def _perhaps_one_by_one(self, storage: str) -> list[Stored] | None:
        """The same, or None where that fails: there is a list already."""
        try:
            return self._list_one_by_one(storage)
        except ModemLost:
            raise
        except ModemError:
            return None

    def _list_one_by_one(self, storage: str) -> list[Stored]:
        used, total = {
            name: (used, total) for name, used, total in at.memories(self._session.command("AT+CPMS?"))
        }.get(storage, (0, 0))
        found = self._slots(storage, used, total)
        self._uncounted[storage] = max(0, used - len(found))
        return found

    def _slots(self, storage: str, used: int, total: int) -> list[Stored]:
        found: list[Stored] = []
        tried: set[int] = set()
        ways: tuple[Callable[[], Collection[int]], ...] = (
            lambda: range(total + 1),  # some count from 0, others from 1
            self._indices_that_may_be_removed,
        )
        for indices in ways:
            failed = []
            for index in sorted(set(indices()) - tried):
                if len(found) == used:
                    return found
                tried.add(index)
                try:
                    stored = self.read(storage, index)
                except ModemLost:
                    raise
                except ModemError:
                    failed.append(index)
                    if len(failed) > _MOST_BAD_SLOTS:
                        raise  # it is not the slots
                    continue
                if stored is not None:
                    found.append(stored)
            found += self._at_last(storage, failed)
        return found

    def _at_last(self, storage: str, indices: Iterable[int]) -> Iterator[Stored]:
        """Slots that could not be read, tried again: one that never can be hinders the others no longer."""
        for index in indices:
            for _ in range(_SLOT_TRIES):
                try:
                    stored = self.read(storage, index)
                except ModemLost:
                    raise
                except ModemError:
                    continue
                if stored is not None:
                    yield stored
                break

    def _indices_that_may_be_removed(self) -> Collection[int]:
        """Those of `AT+CMGD=?`, which are the ones in use (3GPP TS 27.005 §3.5.4), for a modem that counts from elsewhere."""
        offered = at.values_offered("+CMGD", self._session.attempt("AT+CMGD=?"))
        return offered[0] if offered else ()

    def read(self, storage: str, index: int) -> Stored | None:
        """One slot; None if it is empty. Raises ModemError `garbled` for an answer that noise fell into.

        A PDU that noise fell into is asked for again; one that is odd each time is handed out as it is.
        """
        odd: Stored | None = None
        for _ in range(_SLOT_TRIES + 1):
            try:
                entry = self._entry(storage, index)
            except ModemLost:
                raise
            except ModemError:
                if odd is None:
                    raise
                continue
            if entry is None:
                return odd
            odd = Stored(storage, index, entry.pdu, entry.stat)
            if entry.whole:
                break
        return odd

    def _entry(self, storage: str, index: int) -> at.Listed | None:
        self._select(storage)
        try:
            lines = self._session.command(f"AT+CMGR={index}")
        except ModemError as no:
            # Old firmware has no other word for an empty slot than ERROR.
            if no.code in verdicts.EMPTY_SLOT or no.code == "error":
                return None
            raise
        entry = at.read(index, lines)
        if entry is not None:
            return entry
        if any(at.is_hex(line) or line.startswith("+CMGR:") for line in lines) and not at.is_empty_slot(
            lines
        ):
            raise ModemError(
                "garbled", "noise fell into what the modem said: it is asked again", retryable=True
            )
        return None

    def forget(self, stored: Stored) -> bool:
        if stored.storage.startswith("+"):
            return self._acknowledge(stored)
        if not at.is_hex(stored.pdu):
            raise ModemError(
                "garbled",
                "noise falls into this SMS whenever it is read: it stays where it is",
                retryable=True,
            )
        if not self._holds(stored):
            return False
        self._tell("cmgd", self._port)
        self._used.pop(stored.storage, None)
        for _ in range(_REMOVALS):
            self._session.command(f"AT+CMGD={stored.index}")
            if not self._still_holds(stored):
                return True
            with self._session.changed:
                if (stored.storage, stored.index) in self.hints:
                    return True  # the slot was filled anew, with the same
        raise ModemError("not_removed", "the modem says that it removed an SMS, and has it still")

    def _holds(self, stored: Stored) -> bool:
        there = self.read(stored.storage, stored.index)
        return there is not None and there.pdu == stored.pdu.upper()

    def _still_holds(self, stored: Stored) -> bool:
        """Some say OK and remove nothing. One that cannot be asked of an empty slot is believed."""
        if self._deaf_slots:
            return False
        try:
            there = at.read(stored.index, self._session.glance(f"AT+CMGR={stored.index}"))
        except ModemLost:
            raise
        except ModemError:
            self._deaf_slots = True
            return False
        return there is not None and there.pdu == stored.pdu.upper()

    def _acknowledge(self, stored: Stored) -> bool:
        with self._session.changed:
            if stored not in self._direct:
                return False
        if self._acknowledges:
            self._tell("cnma", self._port)
            self._session.attempt("AT+CNMA")
        with self._session.changed:
            self._direct.remove(stored)
        return True

    def _select(self, storage: str) -> list[str]:
        """Make it mem1, by which +CMGL, +CMGR and +CMGD go, unless it is; what was answered to that."""
        memories = self._memories
        if memories[:1] == [storage]:
            return []
        # Some take all of them or none (Huawei's E3372-325), some only the same one everywhere (Samsung, Sony Ericsson).
        ways = ([storage], [storage, *memories[1:]], [storage] * len(memories))
        for way, names in enumerate(ways):
            if way < self._way:
                continue
            try:
                said = self._session.command(_cpms(names))
            except ModemLost:
                raise
            except ModemError:
                if way == len(ways) - 1 or len(memories) == 1:
                    raise
            else:
                self._way = way
                self._memories = [*names, *memories[len(names) :]]
                return said
        return []

    # hearing

    def hear(self, lines: list[str]) -> None:
        """A URC; the PDU is the second line where there is one."""
        line = lines[0]
        if line.startswith(at.DIRECT) and len(lines) > 1:
            self._direct.append(Stored(line.split(":")[0], 0, lines[1].upper()))
            self.hints.add(("", 0))
        elif line.startswith(("+CMTI:", "+CDSI:")):
            self.hints.add(at.slot(line) or ("", 0))
        elif line.startswith((*at.DIRECT, "^SMMEMFULL:")):
            self.hints.add(("", 0))

    def take_hints(self) -> set[tuple[str, int]]:
        """The slots that were named; the session's condition is held. A storage by another name says only that something came."""
        hints, self.hints = self.hints, set()
        return {hint if hint[0] in self._storages else ("", 0) for hint in hints}


def _all_of(*answers: Sequence[tuple[str, ...]]) -> list[tuple[str, ...]]:
    """Each group with the names that any of the answers has there."""
    groups = max(map(len, answers))
    return [
        tuple(dict.fromkeys(name for one in answers if place < len(one) for name in one[place]))
        for place in range(groups)
    ]


def _cpms(names: Sequence[str]) -> str:
    return "AT+CPMS=" + ",".join(f'"{name}"' for name in names)
