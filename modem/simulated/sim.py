"""SIM cards and message storages: what is kept when a stick is pulled out."""

from __future__ import annotations

from dataclasses import dataclass, field

PIN_TRIES = 3  # 3GPP TS 31.101 §9.5: three tries, then the PUK
PUK_TRIES = 10


@dataclass(slots=True)
class Slot:
    """One stored PDU, hex with the service centre in front, and its `stat` (3GPP TS 27.005 §3.1)."""

    pdu: str
    stat: int

    @property
    def length(self) -> int:
        """Octets of the TPDU, without the service centre (3GPP TS 27.005 §3.1, `<length>`)."""
        return len(self.pdu) // 2 - 1 - int(self.pdu[:2], 16)


@dataclass(slots=True)
class Storage:
    """A message storage of a fixed number of slots. The first index is `first`."""

    name: str
    size: int
    first: int = 0
    slots: dict[int, Slot] = field(default_factory=dict)

    @property
    def full(self) -> bool:
        return len(self.slots) >= self.size

    @property
    def used(self) -> int:
        return len(self.slots)

    def holds(self, index: int) -> bool:
        """True if the index exists, whether or not a message is there."""
        return self.first <= index < self.first + self.size

    def put(self, pdu: str, stat: int) -> int | None:
        """Store in the lowest free slot; its index, or None if all are taken."""
        if self.full:
            return None
        index = self.first
        while index in self.slots:
            index += 1
        self.slots[index] = Slot(pdu, stat)
        return index

    def get(self, index: int) -> Slot | None:
        return self.slots.get(index)

    def remove(self, index: int) -> None:
        """Free a slot, if it is not free already."""
        self.slots.pop(index, None)

    def listed(self) -> list[tuple[int, Slot]]:
        return sorted(self.slots.items())

    def begin_at(self, first: int) -> None:
        """Count the slots from `first`, as the stick does that the SIM is in now."""
        shift = first - self.first
        if shift:
            self.slots = {index + shift: slot for index, slot in self.slots.items()}
            self.first = first


@dataclass(frozen=True, slots=True)
class Joined:
    """The storage `MT`: the SIM's slots and behind them the stick's own (3GPP TS 27.005 §3.2.2)."""

    sim: Storage
    own: Storage
    name: str = "MT"

    @property
    def size(self) -> int:
        return self.sim.size + self.own.size

    @property
    def full(self) -> bool:
        return self.sim.full and self.own.full

    @property
    def used(self) -> int:
        return self.sim.used + self.own.used

    def _behind(self, index: int) -> tuple[Storage, int]:
        return (
            (self.sim, index) if index < self.sim.first + self.sim.size else (self.own, index - self.sim.size)
        )

    def holds(self, index: int) -> bool:
        storage, place = self._behind(index)
        return storage.holds(place)

    def put(self, pdu: str, stat: int) -> int | None:
        index = self.sim.put(pdu, stat)
        if index is None:
            behind = self.own.put(pdu, stat)
            index = None if behind is None else behind + self.sim.size
        return index

    def get(self, index: int) -> Slot | None:
        storage, place = self._behind(index)
        return storage.get(place)

    def remove(self, index: int) -> None:
        storage, place = self._behind(index)
        storage.remove(place)

    def listed(self) -> list[tuple[int, Slot]]:
        return self.sim.listed() + [(index + self.sim.size, slot) for index, slot in self.own.listed()]


@dataclass(slots=True)
class Sim:
    """One SIM: identity, PIN, storage, last message reference. `own_number` begins with `+`.

    credit: rupiah left, None where nobody counts · barred: facilities of +CLCK that are on, of `AO OI AI IR` (calls) and
    `FD` (fixed dialling, 3GPP TS 27.007 §7.4) · phonebook: what +CPBR reads, number and name · own_entry: the number that
    it calls its own, with a name, which anybody may write (EF-MSISDN) · former_pin: the one that holds again when the lock
    that is off now is put on.
    """

    iccid: str
    imsi: str
    own_number: str
    pin: str | None = None
    operator: str = "XL"
    mcc_mnc: str = "51011"
    sm_slots: int = 30
    centre: str = "+6281700000999"
    puk: str = "99999999"
    pin_left: int = PIN_TRIES
    puk_left: int = PUK_TRIES
    reference: int = 0
    credit: int | None = None
    barred: set[str] = field(default_factory=set)
    bar_password: str = "0000"
    phonebook: dict[int, tuple[str, str]] = field(default_factory=dict)
    own_entry: tuple[str, str] = field(init=False)
    former_pin: str | None = field(init=False, default=None)
    storage: Storage = field(init=False)

    def __post_init__(self) -> None:
        self.storage = Storage("SM", self.sm_slots)
        self.own_entry = (self.own_number, "")

    def next_reference(self) -> int:
        """The TP-MR of the next submit, 0 to 255 (3GPP TS 23.040 §9.2.3.6)."""
        self.reference = (self.reference + 1) % 256
        return self.reference

    def try_pin(self, pin: str) -> bool:
        """Offer the PIN; a wrong one costs a try. False also when the PUK is wanted."""
        if self.pin_left == 0:
            return False
        if pin == self.pin:
            self.pin_left = PIN_TRIES
            return True
        self.pin_left -= 1
        return False

    def try_puk(self, puk: str, pin: str) -> bool:
        """Offer the PUK with a new PIN; ten wrong ones end the card."""
        if self.puk_left == 0:
            return False
        if puk == self.puk:
            self.pin, self.pin_left, self.puk_left = pin, PIN_TRIES, PUK_TRIES
            return True
        self.puk_left -= 1
        return False
