"""The official services played on the simulated network. All wording here is synthetic: no real reply text is public."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta, timezone
from hashlib import sha256
from pathlib import Path
from string import Formatter

from modem.simulated import Dongle, Knobs, Menu, Network, Reply, Sim
from modem.simulated.pty import serve

STATUS_ADDRESS = "087775500400"  # bpjskes-status; the service answers from the international form
STATUS_SENDER = "+6287775500400"
BALANCE_ADDRESS = "2757"  # bpjstk-balance
_STATUS_ASKED = re.compile(r"STATUS BPKS(\d{13})#", re.IGNORECASE)
_BALANCE_ASKED = re.compile(r"BALANCE#(\d{11})#", re.IGNORECASE)
_WIB = timezone(timedelta(hours=7))
_PART_GAP = timedelta(milliseconds=50)
PRICE = 350  # rupiah a part; what 2757 costs at one operator
CREDIT_CODE = "*888#"
_INTERIM_FACTOR = 3  # the answer after an interim text takes so many times the usual delay


@dataclass(frozen=True, slots=True)
class OutcomeCard:
    """What a card number ending in `ending` provokes, said in both languages, and the name of its case."""

    ending: str
    case: str
    id: str
    en: str


OUTCOME_CARDS: tuple[OutcomeCard, ...] = (
    OutcomeCard("90", "not_found", "nomor tidak ditemukan", "the number is not found"),
    OutcomeCard("91", "unknown", "kalimat yang tidak dikenal", "a wording that no pattern reads"),
    OutcomeCard("92", "late", "jawaban datang terlambat", "the answer comes after its deadline"),
    OutcomeCard("93", "silent", "tidak pernah dijawab", "no answer ever"),
    OutcomeCard(
        "94",
        "several",
        "KPJ: beberapa kartu; kartu JKN: tiga bagian, tidak berurutan",
        "KPJ: several cards; JKN card: a long text in three parts, out of order",
    ),
    OutcomeCard("95", "doubled", "jawaban datang dua kali", "the answer comes twice"),
    OutcomeCard("96", "garbled", "teks rusak", "a garbled text"),
    OutcomeCard("97", "no_card", "jawaban tanpa nomor kartu", "an answer that does not name the card"),
    OutcomeCard("98", "busy", "layanan sedang sibuk", "the service is busy"),
    OutcomeCard("99", "interim", "tunggu dulu, lalu jawaban", "first a text to wait, then the answer"),
)
"""Every other ending is found."""

_CASES = {card.ending: card.case for card in OUTCOME_CARDS}

WORDING: Mapping[str, Mapping[str, str]] = {
    "bpjstk-balance": {
        "found": "Yth {name}, Saldo JHT KPJ {number} per {as_of} Rp {balance}. Iuran terakhir {last_paid}.",
        "no_card": "Yth {name}, Saldo JHT Anda per {as_of} Rp {balance}. Iuran terakhir {last_paid}.",
        "not_found": "Maaf, KPJ {number} tidak ditemukan. Periksa kembali nomor Anda.",
        "not_found_no_card": "Maaf, nomor KPJ tidak ditemukan. Periksa kembali nomor Anda.",
        "several": "Saldo JHT Anda: 1) KPJ {number} Rp {balance} AKTIF; 2) KPJ {second} Rp {second_balance}"
        " TIDAK AKTIF. Per {as_of}.",
        "unknown": "Info KPJ {number}: kini cek iuran lebih mudah lewat kantor cabang terdekat.",
        "unknown_no_card": "Kini cek iuran lebih mudah lewat kantor cabang terdekat.",
        "garbled": "S#ld% J?T ;; kP~ 9x//: R. --{noise}",
        "busy": "Maaf, sistem sedang sibuk. Silakan coba beberapa saat lagi.",
        "interim": "Permintaan Anda sedang diproses. Mohon tunggu.",
        "format": "Format salah. Ketik BALANCE#nomor KPJ 11 angka# kirim ke 2757.",
    },
    "bpjskes-status": {
        "found": "No Kartu {number} a.n. {name} Status {status} Kelas {class} Faskes {clinic}.",
        "no_card": "Peserta a.n. {name} Status {status} Kelas {class} Faskes {clinic}.",
        "not_found": "No Kartu {number} tidak terdaftar sebagai peserta JKN-KIS.",
        "not_found_no_card": "Nomor tersebut tidak terdaftar sebagai peserta JKN-KIS.",
        "several": "No Kartu {number} a.n. {name} Status {status} Kelas {class} Faskes {clinic}. Peserta lain dalam"
        " keluarga ini: 1. ISTRI CONTOH status sama; 2. ANAK CONTOH SATU status sama; 3. ANAK CONTOH DUA status"
        " sama. Perubahan data keluarga dapat diajukan di kantor cabang atau lewat aplikasi dengan membawa kartu"
        " keluarga dan kartu tanda penduduk asli. Terima kasih telah menjadi peserta yang tertib membayar iuran.",
        "unknown": "Info No Kartu {number}: kini layanan lebih mudah lewat kantor cabang terdekat.",
        "unknown_no_card": "Kini layanan lebih mudah lewat kantor cabang terdekat.",
        "garbled": "N? K#rt% ;; St~t/s A;;f K:: --{noise}",
        "busy": "Maaf, layanan sedang sibuk. Silakan coba beberapa saat lagi.",
        "interim": "Permintaan Anda sedang diproses. Mohon tunggu.",
        "format": "Format salah. Ketik STATUS BPKS nomor kartu 13 angka# kirim ke 087775500400.",
    },
}
"""What each service says in each case. `{…}` are the members of `Member` and `Account`."""

_NAMES = ("SITI CONTOH", "BUDI CONTOH", "DEWI CONTOH", "AGUS CONTOH", "RINA CONTOH", "JOKO CONTOH")
_CLINICS = ("PUSKESMAS CONTOH", "KLINIK CONTOH SEHAT", "DR CONTOH")
_STATUSES = ("AKTIF", "AKTIF", "AKTIF", "TIDAK AKTIF", "NONAKTIF")


def _draw(number: str, what: str) -> int:
    return int.from_bytes(sha256(f"{what}/{number}".encode()).digest()[:8])


def case_of(number: str) -> str:
    """The case that a card provokes: `found`, or one of OUTCOME_CARDS by its last two digits."""
    return _CASES.get(number[-2:], "found")


def balance_of(kpj: str) -> int:
    """The JHT balance of a KPJ in rupiah; a pure function of the number, so that a referee can tell whose answer it is."""
    return 100_000 + _draw(kpj, "balance") % 900_000_000


def member_of(number: str) -> dict[str, str]:
    """The member behind a JKN card number: `number name status class clinic`; a pure function of the number."""
    return {
        "number": number,
        "name": _NAMES[_draw(number, "name") % len(_NAMES)],
        "status": _STATUSES[_draw(number, "status") % len(_STATUSES)],
        "class": str(1 + _draw(number, "class") % 3),
        "clinic": _CLINICS[_draw(number, "clinic") % len(_CLINICS)],
    }


def _rupiah(amount: int) -> str:
    return f"{amount:,}".replace(",", ".")


def _account_of(kpj: str, today: date) -> dict[str, str]:
    end = today.replace(day=1) - timedelta(days=1)
    second = "99" + f"{_draw(kpj, 'second') % 10**9:09d}"
    return {
        "number": kpj,
        "name": _NAMES[_draw(kpj, "name") % len(_NAMES)],
        "balance": _rupiah(balance_of(kpj)),
        "as_of": f"{end:%d-%m-%Y}",
        "last_paid": f"{end:%m-%Y}",
        "second": second,
        "second_balance": _rupiah(balance_of(second)),
    }


@dataclass(frozen=True, slots=True)
class _Service:
    """One service: what it understands, whom it knows, what it says and how fast."""

    asked: re.Pattern[str]
    facts: Callable[[str, date], dict[str, str]]
    wording: Mapping[str, str]
    sender: str | None
    late: timedelta
    reply_after: timedelta
    names_card: bool

    def answer(self, sender: str, text: str, now: datetime) -> Sequence[Reply]:
        match = self.asked.fullmatch(text.strip())
        if match is None:
            return [self._say("format", {})]
        number = match[1]
        case = case_of(number)
        facts = self.facts(number, now.astimezone(_WIB).date())
        if case == "silent":
            return []
        if case == "late":
            return [self._say("found", facts, after=self.late)]
        if case == "doubled":
            return [self._say("found", facts, copies=2)]
        if case == "interim":
            return [
                self._say("interim", facts),
                self._say("found", facts, after=self.reply_after * _INTERIM_FACTOR),
            ]
        if case == "several":
            return [self._say("several", facts, part_order=(3, 1, 2))]
        return [self._say(case, facts)]

    def _say(
        self,
        case: str,
        facts: dict[str, str],
        *,
        after: timedelta | None = None,
        copies: int = 1,
        part_order: Sequence[int] | None = None,
    ) -> Reply:
        if not self.names_card:
            case = "no_card" if case == "found" else case
            case = f"{case}_no_card" if f"{case}_no_card" in self.wording else case
        template = self.wording[case]
        noise = "".join(chr(ord("!") + _draw(str(facts), f"noise{place}") % 14) for place in range(12))
        text = Formatter().vformat(template, (), facts | {"noise": noise})
        return Reply(
            text,
            after=self.reply_after if after is None else after,
            sender=self.sender,
            copies=copies,
            part_order=part_order,
            part_gap=_PART_GAP if part_order else timedelta(0),
        )


def official_services(
    network: Network, *, late: timedelta, reply_after: timedelta, names_card: bool = True
) -> None:
    """Let the two official services answer on this network.

    `late` is when a late card's answer comes, `reply_after` the usual delay; without `names_card` found and not-found
    texts do not say which card they are about.
    """

    def member(number: str, today: date) -> dict[str, str]:
        return member_of(number)

    for address, name, asked, facts, sender in (
        (STATUS_ADDRESS, "bpjskes-status", _STATUS_ASKED, member, STATUS_SENDER),
        (BALANCE_ADDRESS, "bpjstk-balance", _BALANCE_ASKED, _account_of, None),
    ):
        service = _Service(asked, facts, WORDING[name], sender, late, reply_after, names_card)
        network.subscriber(address, service.answer)


@dataclass(frozen=True, slots=True)
class World:
    """A network with its dongles, by lane name."""

    network: Network
    dongles: dict[str, Dongle]


def imei_of(place: int) -> str:
    """An IMEI of a reporting body that does not exist, with its check digit (3GPP TS 23.003 annex B)."""
    body = f"99{place:012d}"
    doubled = [int(digit) * (1 + at % 2) for at, digit in enumerate(body)]
    return body + str(-sum(one // 10 + one % 10 for one in doubled) % 10)


def operator_menus(network: Network) -> None:
    """Let the operator tell the credit by USSD, at once and from a menu."""
    credit = Menu("Pulsa Anda Rp {credit}, aktif s.d. 31-12-2027")
    network.price = PRICE
    network.ussd[CREDIT_CODE] = credit
    network.ussd["*123#"] = Menu(
        "Menu contoh: 1 Pulsa, 2 Nomor saya", {"1": credit, "2": Menu("Nomor Anda {number}")}
    )


def build_world(
    n_lanes: int,
    *,
    late: timedelta,
    reply_after: timedelta,
    seed: int = 0,
    radio: timedelta = timedelta(0),
    names_card: bool = True,
    kinds: Sequence[str] = ("huawei",),
    credit: int | None = None,
    chaos: float = 0.0,
) -> World:
    """Simulated lanes `xl-1`, `xl-2`, … with made-up SIMs, and the official services. Nothing runs until it is attached.

    The dongles are of these `kinds` in turn (ValueError for an unknown one), `credit` is what each SIM has in rupiah, and `chaos`
    the chance of every fault at each of its occasions.
    """
    network = Network(seed)
    official_services(network, late=late, reply_after=reply_after, names_card=names_card)
    operator_menus(network)
    dongles = {}
    for place in range(1, n_lanes + 1):
        sim = Sim(
            iccid=f"8999{place:015d}",
            imsi=f"51011{place:010d}",
            own_number=f"+628170000{place:04d}",
            credit=credit,
        )
        dongles[f"xl-{place}"] = Dongle(
            network,
            sim,
            imei=imei_of(place),
            personality=kinds[(place - 1) % len(kinds)],
            knobs=Knobs(radio=radio, chaos=chaos),
        )
    return World(network, dongles)


def run_pty(folder: Path, world: World, stop: threading.Event) -> None:
    """Serve a world's lanes on ptys in a folder until `stop` is set, with their control socket and ledger."""
    serve(folder, world.network, world.dongles, stop)
