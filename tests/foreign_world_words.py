"""What the services of the foreign world say, and to whom: their files, their wordings, how they show a card, how late they are."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random

_HEAD = """
name = "{name}"
agency = "bpjs-ketenagakerjaan"
title = {{ id = "Dunia asing", en = "Foreign world" }}
address = "{address}"
senders = [{senders}]
conversation = "{address}"
provenance = {{ trust = "seed", source = "invented for a test", checked = 2026-11-24 }}
[request]
text = "{request}"
[fields.{field}]
kind = "{kind}"
label = {{ id = "Nomor", en = "Number" }}
subject = true
[price]
request = 350
"""

_REPLY = """
[[replies]]
name = "{name}"
outcome = "{outcome}"
echo = {echo}
require = [{require}]
pattern = '''{pattern}'''
"""

NEGATIVE = r"\b(?:tidak|belum)\W+(?:ditemukan|terdaftar)\b"
BUSY = r"\bsibuk\b"
INTERIM = r"\bsedang\W+diproses\b"


@dataclass(frozen=True, slots=True)
class Played:
    """One service of the world. `names`: which of its answers name the card; `per_hour`: questions an hour and lane."""

    name: str
    address: str
    field: str
    digits: int
    names: str
    per_hour: float
    senders: tuple[str, ...]
    found: tuple[str, ...]
    bare: tuple[str, ...]
    changed: str
    file: str = ""
    says_own: bool = False

    @property
    def request(self) -> str:
        return REQUESTS[self.name]

    def make(self, n: int) -> str:
        """The nth impossible number of this service's kind."""
        if self.digits == 16:
            return f"990101{1 + n % 28:02d}0190{n:04d}"
        return f"99{n:0{self.digits - 2}d}"


REQUESTS = {
    "always-kpj": "CEK#{}#",
    "bpjstk-balance": "BALANCE#{}#",
    "bpjskes-status": "STATUS BPKS{}#",
    "never-nik": "DATA {}",
    "pair-nik": "NIK {}",
    "pair-card": "NOKA {}",
}

_BALANCE = (
    "Saldo JHT KPJ {card} per 31-10-2026 Rp {amount}",
    "Yth. SITI CONTOH, saldo JHT No Peserta {card} posisi 31/12/2025 sebesar Rp{amount},00. Status AKTIF.",
    "KPJ: {card}\nSaldo: Rp. {amount},-\nIuran terakhir 11-2025",
    "INFO SALDO. Kartu {card} - saldo Rp {amount} s.d. 30/09/2026. Hubungi 175 bila ada pertanyaan.",
)
_STATUS = (
    "No Kartu {card} a.n. SITI CONTOH, Status AKTIF Kelas 2, tagihan Rp {amount}.",
    "NAMA: BUDI CONTOH\nNo.Kartu: {card}\nStatus: NON AKTIF KARENA PREMI\nKelas: III\nTunggakan Rp {amount}",
    "Kartu {card} AKTIF, iuran terakhir 11/2025 Rp {amount}",
)

SERVICES = (
    Played(
        "always-kpj", "3111", "kpj", 11, "always", 24, ("3111", "+3111", "JAWAB", "JAWAB7", "jawab"),
        _BALANCE, (), "Dana hari tua {card}: {amount} rupiah",
        _HEAD.format(name="always-kpj", address="3111", senders='"3111", "JAWAB*"', request="CEK#{kpj}#", field="kpj", kind="kpj")
        + _REPLY.format(name="ok", outcome="found", echo="true", require='"balance"', pattern=r"\bsaldo\b")
        + _REPLY.format(name="none", outcome="not_found", echo="true", require="", pattern=NEGATIVE)
        + _REPLY.format(name="wait", outcome="interim", echo="false", require="", pattern=INTERIM),
    ),
    Played(
        "bpjstk-balance", "2757", "kpj", 11, "found", 12, ("2757", "+2757", "BPJSTKU", "BPJSTKU1", "bpjstku"),
        _BALANCE, ("Saldo JHT Anda Rp {amount}. Terima kasih.",), "Dana hari tua {card}: {amount} rupiah",
    ),
    Played(
        "bpjskes-status", "087775500400", "number", 13, "always", 12,
        ("+6287775500400", "087775500400", "BPJSKES", "Bpjskes9"),
        _STATUS, (), "Peserta {card} terhitung baik, {amount}",
    ),
    Played(
        "never-nik", "3222", "nik", 16, "never", 6, ("3222", "+3222", "NEGERI", "Negeri2"),
        (), ("Peserta AKTIF kelas {n}.", "Kepesertaan Anda AKTIF, tagihan Rp {amount}"), "Anda baik, {amount}",
        _HEAD.format(name="never-nik", address="3222", senders='"3222", "NEGERI*"', request="DATA {nik}", field="nik", kind="nik")
        + _REPLY.format(name="ok", outcome="found", echo="false", require='"status"', pattern=r"\baktif\b")
        + _REPLY.format(name="none", outcome="not_found", echo="false", require="", pattern=NEGATIVE)
        + _REPLY.format(name="wait", outcome="interim", echo="false", require="", pattern=INTERIM)
        + _REPLY.format(name="busy", outcome="unavailable", echo="false", require="", pattern=BUSY),
    ),
    Played(
        "pair-nik", "3333", "nik", 16, "found", 6, ("3333", "PASANG"),
        ("NIK {card} terdata, peserta AKTIF kelas 1",), (), "NIK {card} baik-baik saja",
        _HEAD.format(name="pair-nik", address="3333", senders='"3333", "PASANG*"', request="NIK {nik}", field="nik", kind="nik")
        + _REPLY.format(name="ok", outcome="found", echo="true", require='"status"', pattern=r"\baktif\b")
        + _REPLY.format(name="none", outcome="not_found", echo="false", require="", pattern=NEGATIVE)
        + _REPLY.format(name="busy", outcome="unavailable", echo="false", require="", pattern=BUSY),
        says_own=True,
    ),
    Played(
        "pair-card", "3333", "number", 13, "found", 6, ("3333", "PASANG"),
        ("Tagihan kartu {card} Rp {amount}",), ("Tagihan Anda Rp {amount}",), "Kartu {card}: utang {amount}",
        _HEAD.format(name="pair-card", address="3333", senders='"3333", "PASANG*"', request="NOKA {number}", field="number", kind="card_number")
        + _REPLY.format(name="ok", outcome="found", echo="true", require='"bill"', pattern=r"\btagihan\b")
        + _REPLY.format(name="bare", outcome="found", echo="false", require='"bill"', pattern=r"\btagihan\b")
        + _REPLY.format(name="none", outcome="not_found", echo="false", require="", pattern=NEGATIVE)
        + _REPLY.format(name="busy", outcome="unavailable", echo="false", require="", pattern=BUSY),
        says_own=True,
    ),
)  # fmt: skip
BY_NAME = {played.name: played for played in SERVICES}


def write_files(folder: Path) -> Path:
    """The files of the services that are not shipped."""
    folder.mkdir(exist_ok=True)
    for played in SERVICES:
        if played.file:
            (folder / f"{played.name}.toml").write_text(played.file)
    return folder


# -- a card in a text -------------------------------------------------------------------------------------------------


def _spaced(card: str) -> str:
    return " ".join(card[at : at + 4] for at in range(0, len(card), 4))


def _hidden(card: str, first: int, last: int, mark: str) -> str:
    return card[:first] + mark * (len(card) - first - last) + card[len(card) - last :]


SHOWN: Mapping[str, Callable[[str], str]] = {
    "full": lambda card: card,
    "spaced": _spaced,
    "dotted": lambda card: _spaced(card).replace(" ", "."),
    "hyphens": lambda card: _spaced(card).replace(" ", "-"),
    "stars": lambda card: _hidden(card, 3, 4, "*"),
    "exes": lambda card: _hidden(card, 4, 4, "X"),
    "tail": lambda card: _hidden(card, 0, 5, "*"),
}
MASKED = ("stars", "exes", "tail")


def visible(card: str, form: str) -> str:
    """What of the card can be compared, `*` where it is hidden."""
    return SHOWN[form](card).replace("X", "*") if form in MASKED else card


def could_be(pattern: str, card: str) -> bool:
    return len(pattern) == len(card) and all(a in (b, "*") for a, b in zip(pattern, card, strict=True))


# -- what is texted ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Cause:
    """A question that reached a service: which text this SIM sent."""

    service: str
    card: str
    sim: str
    sent_at: float


@dataclass(frozen=True, slots=True)
class Said:
    """A text with the truth about it. `says`: what the patterns of each service of its sender read; absent: nothing."""

    text: str
    says: Mapping[str, str]
    names: tuple[str, ...] = ()
    kind: str = "answer"
    cause: Cause | None = None


@dataclass(slots=True)
class Temper:
    """How badly the services answer: chances, and the tail of their delays as (share, least, most) in seconds."""

    delays: tuple[tuple[float, float, float], ...]
    silent: float = 0.0
    negative: float = 0.12
    doubled: float = 0.01
    tripled: float = 0.0
    greeting: float = 0.01
    advert_behind: float = 0.01
    adverts_per_day: float = 2.0
    outages_per_day: float = 0.5
    interim: float = 0.0
    apology: float = 0.0
    changed: float = 0.0
    beside: float = 0.0
    forms: tuple[str, ...] = ("full",)
    odd_senders: bool = False
    spoofs_per_day: float = 0.0
    liars: float = 0.0
    long: float = 0.0
    parts_lost: float = 0.0
    odd_clocks: bool = False
    kills_per_day: float = 0.0
    swaps_per_day: float = 0.0
    jumps_per_day: float = 0.0
    unsure: float = 0.0
    pool: int = 4000
    phones_per_day: float = 0.0
    again: float = 0.0
    report_of: Mapping[int | None, float] = field(default_factory=lambda: {0: 1.0})

    @property
    def fair(self) -> bool:
        """Whether a service that names cards names the right one, in full, in each of its texts."""
        return not (self.apology or self.interim or self.liars) and not set(self.forms) & set(MASKED)

    def delay(self, dice: Random) -> float:
        """Seconds until an answer."""
        at = dice.random()
        for share, least, most in self.delays:
            if at < share:
                return least * float((most / least) ** dice.random())
            at -= share
        return 8 * float(dice.lognormvariate(0, 0.5))


ASSUMED = Temper(delays=((0.12, 45, 180), (0.027, 600, 1500), (0.003, 9000, 13000)))
FOREIGN = Temper(
    delays=((0.15, 30, 240), (0.05, 240, 3600), (0.02, 3600, 18000)),
    silent=0.03, negative=0.2, doubled=0.04, tripled=0.01, greeting=0.04, advert_behind=0.04, adverts_per_day=12.0,
    outages_per_day=3.0, interim=0.04, apology=0.05, changed=0.03, beside=0.15,
    forms=("full", "full", "full", "spaced", "dotted", "hyphens", "stars", "exes", "tail"), odd_senders=True,
    spoofs_per_day=12.0, liars=0.25, long=0.15, parts_lost=0.1, odd_clocks=True, kills_per_day=8.0, swaps_per_day=3.0,
    jumps_per_day=3.0, unsure=0.01, pool=150, phones_per_day=24.0, again=0.15,
    report_of={0: 0.85, None: 0.1, 0x46: 0.05},
)  # fmt: skip
HONEST = Temper(
    delays=FOREIGN.delays, silent=0.03, negative=0.2, doubled=0.04, tripled=0.01, outages_per_day=3.0, long=0.15, pool=4000,
    odd_senders=True, forms=("full", "spaced", "dotted", "hyphens"), kills_per_day=4.0, swaps_per_day=2.0, jumps_per_day=2.0,
    unsure=0.01, again=0.15,
)  # fmt: skip
HURRIED = replace(
    FOREIGN, delays=((0.2, 30, 240), (0.1, 240, 4000)), adverts_per_day=40.0, outages_per_day=15.0, spoofs_per_day=60.0,
    kills_per_day=200.0, swaps_per_day=60.0, jumps_per_day=60.0, unsure=0.02, pool=60, phones_per_day=80.0,
)  # fmt: skip
"""So much in an hour as else in a day."""
TEMPERS = {"assumed": ASSUMED, "foreign": FOREIGN, "honest": HONEST, "hurried": HURRIED}

_TAILS = (
    " Perusahaan PT CONTOH no. {other}.",
    " Kantor cabang telp 0899 0000 099.",
    " Dicetak 24-11-2026 08:15.",
    " Total gabungan Rp {looks}.",
    " Info lengkap: call center 175 atau aplikasi JMO.",
)
_LONG = (
    " Terima kasih telah memakai layanan SMS kami. Simpan pesan ini sebagai bukti, dan jangan berikan kode apa pun kepada"
    " siapa pun yang mengaku petugas kami. Kantor kami buka Senin sampai Jumat pukul 08.00 sampai 15.00."
)


def _rupiah(amount: int) -> str:
    return f"{amount:,}".replace(",", ".")


def grouped(card: str) -> str:
    """A card's digits as an amount is written."""
    return _rupiah(int(card))


def amount_of(card: str) -> int:
    """What the service knows about a card: of its own for each."""
    return 1_000_000 + int(card) * 7919 % 89_000_000


def _own(played: Played, outcome: str) -> dict[str, str]:
    if played.says_own and outcome == "found":
        return {played.name: outcome}
    return {other.name: outcome for other in SERVICES if other.address == played.address}


def answers(played: Played, cause: Cause, temper: Temper, dice: Random, others: list[str]) -> list[Said]:
    """What the service texts about one question, in the order it would: usually one text."""
    card, out = cause.card, list[Said]()
    form = dice.choice(temper.forms)
    shown, named = SHOWN[form](card), (visible(card, form),)
    always = played.names == "always"
    if dice.random() < temper.greeting:
        out.append(Said("Selamat datang di layanan SMS kami.", {}, kind="greeting", cause=cause))
    if dice.random() < temper.interim:
        out.append(Said("Permintaan Anda sedang diproses.", _interim(played), kind="interim", cause=cause))
    if dice.random() < temper.apology:
        words = "Maaf, sistem sedang sibuk. Silakan coba beberapa saat lagi."
        says = {} if played.name == "always-kpj" else _own(played, "unavailable")
        out.append(Said(words, says, kind="apology", cause=cause))
    changed = dice.random() < temper.changed
    bare = played.names == "never"
    if changed:
        words = played.changed.format(card=shown, amount=_rupiah(amount_of(card)))
        main = Said(words, {}, () if bare else named, "changed", cause)
    elif int(card) % 100 < temper.negative * 100:
        if always:
            words = f"Maaf, No {shown} tidak ditemukan. Periksa kembali nomor Anda."
            main = Said(words, _own(played, "not_found"), named, cause=cause)
        else:
            words = dice.choice(("MAAF, DATA TIDAK DITEMUKAN", "Nomor belum terdaftar"))
            main = Said(words, _own(played, "not_found"), cause=cause)
    else:
        words = dice.choice(played.bare if bare else played.found)
        words = words.format(card=shown, amount=_rupiah(amount_of(card)), n=1 + int(card) % 3)
        main = Said(words, _own(played, "found"), () if bare else named, cause=cause)
        main = _beside(main, temper, dice, others)
    if dice.random() < temper.long:
        main = Said(main.text + _LONG, main.says, main.names, main.kind, cause)
    out.append(main)
    if dice.random() < temper.advert_behind:
        out.append(Said("Unduh aplikasi kami dan menangkan undian!", {}, kind="advert", cause=cause))
    return out


def _interim(played: Played) -> dict[str, str]:
    return {} if played.says_own else _own(played, "interim")


def _beside(main: Said, temper: Temper, dice: Random, others: list[str]) -> Said:
    """The same text with another number beside it: an employer's, a phone's, a date, an amount."""
    if dice.random() >= temper.beside or not main.names:
        return main
    other = dice.choice(others)
    tail = dice.choice(_TAILS)
    text = main.text + tail.format(other=other, looks=grouped(other))
    if "{other}" in tail:  # of two numbers of one kind nobody can say whose the amount is: not read
        return Said(text, {}, (*main.names, other), main.kind, main.cause)
    return Said(text, main.says, main.names, main.kind, main.cause)


def advert(played: Played, dice: Random, temper: Temper, others: list[str]) -> Said:
    """An advertisement of the service's sender; some hold a number that looks like a card, or is one."""
    words = (
        "Kini cek saldo lebih mudah lewat JMO.",
        "Waspada penipuan! Petugas kami tidak pernah meminta kode.",
    )
    if dice.random() >= temper.liars:
        return Said(dice.choice(words), {}, kind="advert")
    other = dice.choice(others)
    if dice.random() < 0.5:
        return Said(f"Menangkan undian Rp {grouped(other)} untuk peserta setia!", {}, kind="advert")
    return Said(f"Undian: peserta nomor {other} menangkan hadiah utama!", {}, (other,), kind="advert")
