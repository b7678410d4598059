"""The simulated dongle: the stick and its SIM, between the ports (`channel.py`) and the network."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta

from modem.pdu import StoredSubmit, encode_deliver
from modem.simulated import commands, indicators, odd, sending, texts
from modem.simulated.channel import Channel, Profile
from modem.simulated.composing import TextParameters
from modem.simulated.dice import Dice
from modem.simulated.grammar import cms
from modem.simulated.knobs import NONE, Knobs
from modem.simulated.menus import Menu
from modem.simulated.network import Network
from modem.simulated.personality import CONTROL, Personality, of_maker, personality
from modem.simulated.sim import Joined, Sim, Storage
from modem.simulated.traffic import Taken

SR_SLOTS = 20
ACK_WAIT = timedelta(
    seconds=15
)  # 3GPP TS 27.005 §3.4.4 leaves it to the network; sticks wait about this long
RING_EVERY = timedelta(seconds=3)  # 3GPP TS 27.007 leaves it to the network; about so often
RESET_DELAY = timedelta(milliseconds=100)  # between the OK of AT+CFUN=1,1 and leaving the bus
UNANSWERED = timedelta(seconds=30)  # so long networks let a phone ring, about
_STRANGER = "+628990000099"  # who calls by the fault `ring`


class Dongle:
    """One stick with one SIM. Not thread-safe by itself: every call holds the network's lock.

    `channels` are its ports by role; `feed`, `drain` and `profile` are the control port's. `fired` counts the faults that
    happened, `hidden` the submits whose verdict nobody at the port could read. `spare` is the SIM that the fault
    `sim_changed` puts in. `on_plug(True)` and `on_plug(False)` tell that the stick was put in or pulled out.
    """

    def __init__(
        self,
        network: Network,
        sim: Sim,
        *,
        imei: str,
        personality: str | Personality | None = None,
        maker: str | None = None,
        model: str | None = None,
        revision: str | None = None,
        me_slots: int | None = None,
        knobs: Knobs | None = None,
    ) -> None:
        self.network: Network = network
        self.sim: Sim = sim
        self.imei: str = imei
        self.personality: Personality = _chosen(personality, maker)
        self.maker: str = maker or self.personality.maker
        self.model: str = model or self.personality.model
        self.revision: str = revision or self.personality.revision
        self.knobs = Knobs() if knobs is None else knobs
        self.on_plug: Callable[[bool], None] | None = None
        self.random = network.random(imei)
        self.dice = Dice(self.knobs, self.random)
        self.fired = self.dice.fired
        self.hidden = 0
        self.calls = 0
        self.spare: Sim | None = None
        first = self.personality.first_index
        self.me = Storage("ME", self.personality.me_slots if me_slots is None else me_slots, first)
        self.sr = Storage("SR", SR_SLOTS, first)
        self.indications = [0, 0, 0, 0, 0]
        self.settings: dict[str, str] = {}
        self.contexts = {1: '"IP","internet","",0,0'}
        self.attached = True
        self.saved: tuple[TextParameters, tuple[int, str, str]] | None = None
        self.clock_ahead = NONE
        self.zone = 28  # quarters of an hour, western Indonesian time
        self.channels: dict[str, Channel] = {}
        self.channels = {role: Channel(self, role) for role in self.personality.ports}
        self.control = self.channels[CONTROL]
        self.plugged = False
        self._power = 0
        self._chats = 0
        self.plug(network.now)

    @property
    def profile(self) -> Profile:
        """The control port's session."""
        return self.control.profile

    # -- power --------------------------------------------------------------------------------------

    def plug(self, now: datetime) -> None:
        """Put the stick in: everything volatile is as after power-on. Nothing if it is in."""
        with self.network.lock:
            if self.plugged:
                return
            self.plugged = True
            for channel in self.channels.values():
                channel.drain()
            self.boot(now)
            self.network.plug(self.sim, self, now)
            self._tell_plugged()
            self.network.step(now)

    def boot(self, now: datetime) -> None:
        """Forget the session, as a reset does; plans of before come to nothing."""
        for channel in self.channels.values():
            self.hide(channel)
        self._power += 1
        self.function = 1
        self.deregistered = self.chosen_by_hand = False
        self.active: set[int] = set()
        self.indications = [0, 0, 0, 0, 0]
        self.service = 0
        self.settings = {self._bare(key): value for key, value in self.personality.settings.items()}
        self.unlocked = self.sim.pin is None
        self.memories = [self.personality.storages[0][0]] * 3
        if "SM" in self.personality.storages[0]:
            self.memories = ["SM", "SM", "SM"]
        self.urc_port = self.control
        self.menu: Menu | None = None
        self.dialogue = 0
        self.caller: str | None = None
        self.called: str | None = None
        self._call = 0
        self._kept: list[str] = []
        self._unacknowledged = 0
        self._stuck = False
        self._lost = False
        self.sim.storage.begin_at(self.personality.first_index)
        for channel in self.channels.values():
            channel.reset()
        boot, sim_after = self.knobs.boot, self.knobs.sim_after
        self._booting = boot > NONE
        self.sim_ready = not self._booting and sim_after <= NONE
        if self._booting:
            self.plan(now + boot, self._booted)
        self._chat(now)
        if not self.sim_ready:
            self.plan(now + boot + sim_after, self._sim_is_ready)

    def _chat(self, now: datetime) -> None:
        """Plan the next unasked line of the maker's, where the knob wants some."""
        self._chats += 1
        every, mark, told = self.knobs.chatter_every, self._chats, self.personality.chatter

        def chat(at: datetime) -> None:
            if mark == self._chats:
                if self.urc_port.profile.vendor_urcs:
                    self.urc(self.as_it_is(self.random.choice(told)))
                self._chat(at)

        if every > NONE and told:
            self.plan(now + every, chat)

    def _booted(self, now: datetime) -> None:
        self._booting = False
        for line in self.personality.boot:
            self.urc(self.as_it_is(line))

    def _sim_is_ready(self, now: datetime) -> None:
        self.sim_ready = True
        self.announce_registration(now)

    def unplug(self, now: datetime, duration: timedelta | None = None) -> None:
        """Pull the stick out, for a while or until `plug`. SIM and own memory keep what they hold."""
        with self.network.lock:
            if not self.plugged:
                return
            self.plugged = False
            self._power += 1
            for channel in self.channels.values():
                self.hide(channel)
                channel.drain()
            self.network.plug(self.sim, None, now)
            self._tell_plugged()
            if duration is not None:
                self.network.plan(now + duration, self.plug)

    def _tell_plugged(self) -> None:
        for tell in (self.on_plug, *(channel.on_plug for channel in self.channels.values())):
            if tell is not None:
                tell(self.plugged)

    def drop_out(self, now: datetime) -> None:
        """Lose contact for `back_after`."""
        self.unplug(now, self.knobs.back_after)

    def start_anew(self, now: datetime) -> None:
        """Reset without leaving the bus, as sticks do whose power is weak."""
        with self.network.lock:
            if self.plugged:
                self.boot(now)
                self.network.plug(self.sim, self, now)

    def restart(self, now: datetime) -> None:
        """What AT+CFUN=1,1 does after its OK: off the bus and back, or in place."""
        if self.personality.reset == "away":
            self.plan(now + RESET_DELAY, lambda at: self.unplug(at, self.knobs.back_after))
        else:
            self.start_anew(now)

    @property
    def sim_off(self) -> bool:
        """Whether the SIM has no power: at +CFUN=0, but not at 4 (3GPP TS 27.007 §8.2)."""
        return self.function == 0

    def work_at(self, function: int, now: datetime) -> None:
        """AT+CFUN=: without the radio calls and dialogues end; the SIM wants its PIN again after it had no power."""
        before, self.function = self.function, function
        if function == before:
            return
        if function != 1:
            self.caller, self.called, self.menu = None, None, None
            self._call += 1
        if self.sim_off or before == 0:
            self.unlocked = self.sim.pin is None
            if any(line.startswith("+CPIN:") for line in self.personality.boot):
                self.urc(f"+CPIN: {'NOT READY' if self.sim_off else self.pin_state}")
        self.announce_registration(now)

    def insert(self, sim: Sim, now: datetime) -> None:
        """Put another SIM in, under power; the stick says nothing of it."""
        with self.network.lock:
            if self.plugged:
                self.network.plug(self.sim, None, now)
            self.sim = sim
            self.unlocked = sim.pin is None
            sim.storage.begin_at(self.personality.first_index)
            if self.plugged:
                self.network.plug(sim, self, now)
            self.network.step(now)

    def turn(self, now: datetime, **changes: object) -> None:
        """Set knobs by name; a change of registration is told, and what waited is delivered. Raises ValueError."""
        with self.network.lock:
            before = self.registration
            self.knobs.turn(changes)
            if "chatter_every" in changes and self.plugged:
                self._chat(now)
            if self.plugged and self.registration != before:
                self.announce_registration(now)
            if self.plugged:
                indicators.tell(self)
            self.network.step(now)

    def schedule(self, now: datetime, steps: Sequence[tuple[timedelta, Mapping[str, object]]]) -> None:
        """Turn knobs at these times from now: a network that comes and goes, or one fault after another. Raises ValueError."""
        for _, changes in steps:
            Knobs().turn(dict(changes))
        with self.network.lock:
            for after, changes in steps:
                self.network.plan(now + after, lambda at, changes=changes: self.turn(at, **changes))  # type: ignore[misc]
            self.network.step(now)

    def fill(self, now: datetime) -> int:
        """Fill the SIM's storage with old advertisements; how many."""
        with self.network.lock:
            count = 0
            advert = encode_deliver("PROMO", "Paket data murah, hubungi *123#", now, centre=self.sim.centre)
            while self.sim.storage.put(advert, 1) is not None:
                count += 1
            return count

    # -- faults -------------------------------------------------------------------------------------

    @property
    def deaf(self) -> bool:
        """Whether it neither listens nor speaks."""
        return self.knobs.stuck or self._stuck or self._booting or not self.plugged

    def disturbed(self, channel: Channel, now: datetime) -> bool:
        """The faults that come with any command; True where it gets no answer."""
        dice, knobs = self.dice, self.knobs
        if dice.fires("network_lost"):
            self._lost = True
            self.announce_registration(now)
            self.plan(now + knobs.back_after, self._network_found)
        if self.spare is not None and dice.fires("sim_changed"):
            taken, self.spare = self.spare, self.sim
            self.insert(taken, now)
        if dice.fires("ring"):
            self.call(_STRANGER, now)
        if dice.fires("echo_on"):
            channel.profile.echo = True
        if dice.fires("reset_idle"):
            self.start_anew(now)
        if dice.fires("stuck"):
            self._stuck = True
            self.plan(now + knobs.back_after, self._unstuck)
        if dice.fires("unplug_idle"):
            self.drop_out(now)
        return self.deaf

    def _network_found(self, now: datetime) -> None:
        self._lost = False
        self.announce_registration(now)

    def _unstuck(self, now: datetime) -> None:
        self._stuck = False

    def hide(self, channel: Channel) -> None:
        """The verdict of a submit on this port will not be known there; one in progress is counted once."""
        if channel.verdict_due:
            channel.verdict_due = False
            self.hidden += 1

    # -- the network's side -------------------------------------------------------------------------

    @property
    def pin_state(self) -> str:
        """What +CPIN? says of the SIM (3GPP TS 27.007 §8.3)."""
        return "READY" if self.unlocked else "SIM PIN" if self.sim.pin_left else "SIM PUK"

    def as_it_is(self, line: str) -> str:
        """A maker's line with the present state in its places."""
        for place, value in (
            ("{signal}", self.knobs.signal if self.registered else 99),
            ("{registration}", self.registration),
            ("{pin}", self.pin_state),
        ):
            line = line.replace(place, str(value))
        return line

    @property
    def registration(self) -> int:
        """The `stat` of +CREG (3GPP TS 27.007 §7.2)."""
        if self.function != 1 or self.deregistered or not self.unlocked or not self.sim_ready:
            return 0
        return 2 if self._lost else self.knobs.registration

    @property
    def registered(self) -> bool:
        return self.registration in (1, 5)

    @property
    def ringing(self) -> bool:
        return self.caller is not None

    @property
    def reachable(self) -> bool:
        """Whether the centre can deliver: not while it rings on 2G, nor before the last one was acknowledged."""
        blocked = self.ringing and self.personality.generation == 2
        return self.plugged and self.registered and not self._unacknowledged and not blocked

    @property
    def report_status(self) -> int | None:
        return self.knobs.report_status

    def announce_registration(self, now: datetime) -> None:
        """Tell the sessions of a new registration, and the network that the stick may be reached."""
        for channel in self.channels.values():
            for name, wanted in channel.profile.registration_urcs.items():
                if wanted:
                    channel.urc(f"{name}: {self.registration}{commands.cell(self, wanted)}")
        if not self.registered:
            self.active.clear()
        indicators.tell(self)
        self.network.available(self.sim, now)

    def receive(self, pdu: str, report: bool, now: datetime) -> Taken:
        """Take a TPDU from the network and route it as +CNMI says (3GPP TS 27.005 §3.4.1)."""
        kind = self.indications[3 if report else 1]
        grade = None if report else odd.message_class(pdu)
        direct = kind == 1 if report else kind == 2 or (kind > 0 and grade == 0) or (kind == 3 and grade == 3)
        if not report:
            pdu = self._altered(pdu)
        if direct:
            self.indicate(texts.direct(self.urc_port, pdu, report))
            if self.service == 0 or grade == 0:
                return Taken.YES
            self._unacknowledged += 1
            mark = (self._power, self._unacknowledged)
            self.plan(now + ACK_WAIT, lambda at: self._ack_missed(mark, at))
            return Taken.PENDING
        if report and kind == 0:
            return Taken.YES
        storage = self.storage("SR" if report else "SM" if grade == 2 else self.memories[2])
        index = storage.put(pdu, 0)
        if index is None:
            return Taken.FULL
        indicators.tell(self)
        name = storage.name
        if isinstance(storage, Joined):  # the indication names the storage that it is really in
            name, index = (
                ("SM", index) if self.sim.storage.holds(index) else ("ME", index - self.sim.storage.size)
            )
        if not report:
            index = self._misplace(storage, index, now)
        if not kind or (self.knobs.lose_cmti and self.random.random() < self.knobs.lose_cmti):
            return Taken.YES
        if self.dice.fires("cmti_lost"):
            return Taken.YES
        if self.dice.fires("cmti_misplaced"):
            name = "ME" if name == "SM" else "SM"
        for _ in range(2 if self.dice.fires("cmti_doubled") else 1):
            self.indicate(f'{"+CDSI" if report else "+CMTI"}: "{name}",{index}')
        return Taken.YES

    def _altered(self, pdu: str) -> str:
        if self.dice.fires("stamp_zero"):
            pdu = odd.with_stamp(pdu, bytes(7))
        if self.dice.fires("stamp_bad"):
            pdu = odd.with_bad_stamp(pdu, self.random)
        if self.dice.fires("sender_empty"):
            pdu = odd.without_sender(pdu)
        return pdu

    def _misplace(self, storage: Storage | Joined, index: int, now: datetime) -> int:
        """The faults of a storage that a message has just come into; where it lies then."""
        if isinstance(storage, Storage):
            # What was read already may be about to be deleted, by its slot.
            older = next(
                (place for place, slot in storage.listed() if place != index and slot.stat == 0), None
            )
            if older is not None and self.dice.fires("slot_moved"):
                storage.slots[older], storage.slots[index] = storage.slots[index], storage.slots[older]
                index = older
        if not storage.full and self.dice.fires("junk_stored"):
            storage.put(self.random.choice(odd.JUNK), 0)
        if self.dice.fires("storage_filled"):
            self.fill(now)
        return index

    @property
    def acknowledgeable(self) -> bool:
        """Whether a message that was handed over waits for +CNMA."""
        return self._unacknowledged > 0

    def acknowledge(self, good: bool, now: datetime) -> None:
        """+CNMA. Raises Refused where nothing waits for it."""
        if not self._unacknowledged:
            raise cms(340)
        self._unacknowledged = 0
        self.network.acknowledged(self.sim, good, now)

    def _ack_missed(self, mark: tuple[int, int], now: datetime) -> None:
        if self._unacknowledged and mark == (self._power, self._unacknowledged):
            # 3GPP TS 27.005 §3.4.4: without an acknowledgement direct routing is switched off.
            self.indications[1] = self.indications[3] = 0
            self.acknowledge(False, now)

    def storage(self, name: str) -> Storage | Joined:
        """One of the storages. Raises Refused for a name that is none."""
        if name == "SM":
            return self.sim.storage
        if name == "ME":
            return self.me
        if name == "SR":
            return self.sr
        if name == "MT":
            return Joined(self.sim.storage, self.me)
        raise cms(302)

    # -- calls --------------------------------------------------------------------------------------

    def call(self, number: str, now: datetime, *, rings: int = 8) -> bool:
        """Let somebody call: RING until it is hung up or answered; False where it cannot be reached, or bars calls."""
        with self.network.lock:
            if not self.plugged or not self.registered or self.ringing or self.sim.barred & {"AI", "IR"}:
                return False
            self.caller = number
            self.calls += 1
            self._call += 1
            self._ring(self._call, rings, now)
            self.network.step(now)
            return True

    def _ring(self, call: int, left: int, now: datetime) -> None:
        if self.caller is None or call != self._call:
            return
        if not left:
            self.hang_up(now)
            return
        indicators.tell(self)
        every = self.personality.rings == "every"
        for channel in self.channels.values() if every else (self.urc_port,):
            channel.urc("+CRING: VOICE" if channel.profile.call_type_shown else "RING")
            if channel.profile.caller_shown:
                channel.urc(f'+CLIP: "{self.caller}",{145 if self.caller[:1] == "+" else 129},"",,"",0')
        self.plan(now + RING_EVERY, lambda at: self._ring(call, left - 1, at))

    def call_out(self, channel: Channel, number: str, now: datetime) -> None:
        """Let it ring at the other end, until it is hung up or the network has enough of it."""
        self.called = number
        self._call += 1
        call = self._call
        indicators.tell(self)

        def give_up(at: datetime) -> None:
            if call == self._call and self.called is not None:
                self.hang_up(at)
                channel.urc("NO CARRIER")

        self.plan(now + UNANSWERED, give_up)

    def take_call(self) -> None:
        """Answer: it rings no more, and lasts until `hang_up`."""
        self._call += 1

    def hang_up(self, now: datetime) -> None:
        """End the call; what waited meanwhile is delivered."""
        self.caller = self.called = None
        indicators.tell(self)
        self.network.available(self.sim, now)

    # -- time and sending ---------------------------------------------------------------------------

    def feed(self, data: bytes, now: datetime) -> bytes:
        """Bytes that the host writes to the control port; what it says to them at once."""
        return self.control.feed(data, now)

    def step(self, now: datetime) -> bytes:
        """Do what is due; what the control port says. `network.due` tells when to come again."""
        with self.network.lock:
            self.network.step(now)
            return self.control.drain()

    def drain(self) -> bytes:
        """Take what the control port has said and nobody has read."""
        return self.control.drain()

    def plan(self, due: datetime, action: Callable[[datetime], None]) -> None:
        """Call `action` in the first step at or after `due`, unless the stick was pulled out or started anew."""
        power = self._power

        def unless_reset(at: datetime) -> None:
            if power == self._power and self.plugged:
                action(at)

        self.network.plan(due, unless_reset)

    def send(self, channel: Channel, name: str, submit: StoredSubmit, now: datetime) -> None:
        """Put one SMS on the air, and answer `name` with its reference when its radio time is over."""
        sending.send(self, channel, name, submit, now)

    # -- what it says unasked -----------------------------------------------------------------------

    def indicate(self, line: str) -> None:
        """An SMS indication; +CNMI mode 0 keeps it until the mode changes."""
        if self.indications[0] == 0:
            self._kept.append(line)
        else:
            self.urc(line)

    def urc(self, line: str) -> None:
        """An unsolicited line, on the port that is for such."""
        self.urc_port.urc(line)

    def release(self, *, forget: bool) -> None:
        """Say the indications that +CNMI mode 0 kept, or forget them (the bfr of AT+CNMI)."""
        kept, self._kept = self._kept, []
        for line in () if forget else kept:
            self.urc(line)

    @staticmethod
    def _bare(key: str) -> str:
        return key.rstrip(": ")


def _chosen(wanted: str | Personality | None, maker: str | None) -> Personality:
    if isinstance(wanted, Personality):
        return wanted
    if wanted is not None:
        return personality(wanted)
    return of_maker(maker or "huawei")
