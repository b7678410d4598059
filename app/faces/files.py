"""Files of cards: bytes in, rows out; the same rows back with their answers. CSV (RFC 4180, and what spreadsheets write)."""

from __future__ import annotations

import codecs
import csv
import io
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, Final

from app.domain.errors import GatewayError, Invalid
from app.domain.identifiers import LENGTHS, Kind, normalise
from app.domain.services import RECORD_FIELDS, Rendered, Service

SEPARATORS: Final = (",", ";", "\t", "|")
SAMPLE: Final = 20  # records that are looked at to find the separator
RECORD_COLUMNS: Final = (*RECORD_FIELDS, "cards")

CALLED: Final[Mapping[Kind, tuple[str, ...]]] = {
    Kind.KPJ: ("kpj", "no kpj", "nomor kpj", "nomor peserta", "no peserta"),
    Kind.CARD_NUMBER: (
        "noka",
        "no kartu",
        "nomor kartu",
        "nomor kartu jkn",
        "no jkn",
        "no bpjs",
        "nomor bpjs",
        "card number",
        "card no",
        "bpjs",
    ),
    Kind.NIK: ("nik", "no nik", "nomor nik", "no ktp", "nomor ktp", "ktp", "nomor induk kependudukan"),
    Kind.NIP: ("nip", "no nip", "nomor nip", "nomor induk pegawai"),
}
"""What offices call their columns, beside a field's own name and label."""
REFERENCES: Final = ("reference", "referensi")
LONGEST_REFERENCE: Final = 200  # as for a single check

_LOOKS_LIKE: Final = (
    (b"PK\x03\x04", "a spreadsheet (XLSX) or another zip archive"),
    (b"\xd0\xcf\x11\xe0", "an old spreadsheet (XLS)"),
    (b"%PDF", "a PDF"),
    (b"\x89PNG", "a picture"),
    (b"\xff\xd8\xff", "a picture"),
    (b"\x1f\x8b", "a gzip archive"),
    (codecs.BOM_UTF16_LE, 'text in UTF-16 (a spreadsheet\'s "Unicode text")'),
    (codecs.BOM_UTF16_BE, "text in UTF-16"),
)
"""First bytes of what people send for a CSV, by each format's own specification."""
_SEND_CSV: Final = 'In the spreadsheet choose "Save as", "CSV UTF-8", and send that file.'


@dataclass(frozen=True, slots=True)
class Layout:
    """How the file was written, so that it goes back the same. `columns` maps fields (and `reference`) to cells."""

    encoding: str
    bom: bool
    separator: str
    newline: str
    columns: Mapping[str, int]

    @property
    def charset(self) -> str:
        """The encoding's name on the wire (IANA character sets)."""
        return {"cp1252": "windows-1252", "latin-1": "iso-8859-1"}.get(self.encoding, self.encoding)

    def as_dict(self) -> dict[str, Any]:
        """For keeping as JSON; it holds nothing of the rows."""
        return {
            "encoding": self.encoding,
            "bom": self.bom,
            "separator": self.separator,
            "newline": self.newline,
            "columns": dict(self.columns),
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Layout:
        return cls(data["encoding"], data["bom"], data["separator"], data["newline"], dict(data["columns"]))


@dataclass(frozen=True, slots=True)
class Sheet:
    """A file's heading and its rows, each with its number in the file (the heading is row 1, empty rows count)."""

    heading: list[str]
    rows: list[tuple[int, list[str]]]
    layout: Layout


@dataclass(frozen=True, slots=True)
class Answer:
    """What is written behind a row's own cells."""

    state: str
    outcome: str | None
    record: Mapping[str, Any]
    error: str | None


def read_csv(data: bytes, service: Service, column: str | None = None) -> Sheet:
    """Rows of a CSV: UTF-8 (with or without its mark) or Windows-1252; `,` `;` tab or `|`, found by looking.

    `column` names the subject's column, or counts it from 1, where its heading does not. Raises GatewayError
    `malformed` (empty, unreadable), `unsupported_type` (not a text at all), Invalid (no heading, no such column).
    """
    text, encoding, bom = _decode(data)
    separator, heading = _separator(text, service, column)
    columns = _columns(service, heading, column)
    rows: list[tuple[int, list[str]]] = []
    number = 0
    try:
        for number, cells in enumerate(_records(text, separator), start=1):
            if number > 1 and any(cell.strip() for cell in cells):
                rows.append((number, cells))
    except csv.Error as error:
        raise _malformed(
            f"Row {number + 1} cannot be read ({error}). Look for a quotation mark that is not closed there."
        ) from None
    if not rows:
        raise Invalid(
            f"The file has a heading ({_shown(heading)}) but no row under it. Put one card in each row."
        )
    width = max(len(heading), max(len(cells) for _, cells in rows))
    heading = heading + [""] * (width - len(heading))
    return Sheet(heading, rows, Layout(encoding, bom, separator or ",", _newline(text), columns))


def read_row(
    service: Service, columns: Mapping[str, int], number: int, cells: Sequence[str]
) -> Rendered | dict[str, Any]:
    """The request that a row asks for, or its fault: `{"row", "code", "detail"}`. Nothing is expanded or filled up."""
    values = {
        name: value
        for name, at in columns.items()
        if name in service.fields
        and ((value := _bare(cells[at]) if at < len(cells) else "") or service.fields[name].required)
    }
    reference = reference_of(columns, cells)
    if reference is not None and (len(reference) > LONGEST_REFERENCE or not reference.isprintable()):
        detail = (
            f"the reference has at most {LONGEST_REFERENCE} characters, all of them printable: shorten it"
        )
        return {"row": number, "code": "wrong_reference", "detail": detail}
    try:
        return service.render(values)
    except GatewayError as error:
        faults = error.faults or ({"code": error.code, "detail": error.detail},)
        details = [
            str(fault["detail"]) + _lost_zeros(service, str(fault.get("field", "")), fault["code"], values)
            for fault in faults
        ]
        return {"row": number, "code": str(faults[0]["code"]), "detail": "; ".join(details)}


def reference_of(columns: Mapping[str, int], cells: Sequence[str]) -> str | None:
    """The row's own reference, if the file has a column for it."""
    at = columns.get("reference")
    return (cells[at].strip() or None) if at is not None and at < len(cells) else None


def answer_columns(service: Service, seen: Iterable[str] = ()) -> list[str]:
    """The columns that are added: state, outcome, the record's fields in the design's order, error.

    Those that the service's wordings and examples tell of are always there, so that two files of one service look alike.
    """
    told = set(seen)
    for reply in service.replies:
        told.update(name.removesuffix("_") for name in re.compile(reply.pattern).groupindex)
        told.update(reply.require)
    for example in service.examples:
        told.update(example.record)
    return ["state", "outcome", *(name for name in RECORD_COLUMNS if name in told), "error"]


def write_csv(
    heading: Sequence[str],
    layout: Layout,
    added: Sequence[str],
    rows: Iterable[tuple[Sequence[str], Answer]],
) -> Iterator[bytes]:
    """The same rows in the same order, separator, encoding and line ends, with the `added` columns.

    A character that the file's encoding lacks becomes `?`. Cells that a spreadsheet would run are disarmed.
    """
    buffer = io.StringIO(newline="")
    plain = csv.writer(buffer, delimiter=layout.separator, lineterminator=layout.newline)
    # Before Python 3.13 the writer leaves a lone CR unquoted where lines end with LF.
    quoted = csv.writer(
        buffer, delimiter=layout.separator, lineterminator=layout.newline, quoting=csv.QUOTE_ALL
    )
    width = len(heading)

    def line(cells: Iterable[str]) -> bytes:
        buffer.seek(0)
        buffer.truncate()
        safe = [disarm(cell) for cell in cells]
        (quoted if any("\r" in cell for cell in safe) else plain).writerow(safe)
        return buffer.getvalue().encode(layout.encoding, errors="replace")

    yield (codecs.BOM_UTF8 if layout.bom else b"") + line([*heading, *added])
    for cells, answer in rows:
        own = [*cells, *[""] * (width - len(cells))]
        yield line([*own, *(_cell(answer, name) for name in added)])


_RUNS: Final = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
"""First characters that make a spreadsheet run a cell (OWASP, CSV Injection), with their full-width forms."""
_PLAIN_NUMBER: Final = re.compile(r"[+-]?\d+(?:[.,]\d+)*", re.ASCII)


def disarm(cell: str) -> str:
    """The cell, with an apostrophe in front if a spreadsheet would run it; a plain number, also a signed one, stays."""
    if cell.startswith(_RUNS) and not _PLAIN_NUMBER.fullmatch(cell):
        return "'" + cell
    return cell


def _cell(answer: Answer, name: str) -> str:
    if name == "state":
        return answer.state
    if name == "outcome":
        return answer.outcome or ""
    if name == "error":
        return answer.error or ""
    value = answer.record.get(name)
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


# -- reading ------------------------------------------------------------------------------------------------------


def _malformed(detail: str) -> GatewayError:
    return GatewayError("malformed", detail)


def _decode(data: bytes) -> tuple[str, str, bool]:
    for head, what in _LOOKS_LIKE:
        if data.startswith(head):
            raise GatewayError("unsupported_type", f"The file looks like {what}, not like a CSV. {_SEND_CSV}")
    if b"\0" in data:
        raise GatewayError(
            "unsupported_type",
            f"The file holds zero bytes, so it is no text: it is binary, or damaged. {_SEND_CSV}",
        )
    bom = data.startswith(codecs.BOM_UTF8)
    body = data[len(codecs.BOM_UTF8) :] if bom else data
    if not body.strip():
        raise _malformed("The file is empty. Send a heading and one card in each row.")
    for encoding in ("utf-8", "cp1252"):
        try:
            return body.decode(encoding), encoding, bom
        except UnicodeDecodeError:
            continue
    return body.decode("latin-1"), "latin-1", bom


def _newline(text: str) -> str:
    found = re.search(r"\r\n|\n|\r", text)
    return found[0] if found else "\r\n"  # RFC 4180 §2.1


def _records(text: str, separator: str) -> Iterator[list[str]]:
    return csv.reader(io.StringIO(text, newline=""), delimiter=separator or ",", strict=True)


def _sample(text: str, separator: str) -> list[list[str]]:
    found: list[list[str]] = []
    try:
        for cells in _records(text, separator):
            found.append(cells)
            if len(found) == SAMPLE:
                break
    except csv.Error:
        pass  # the whole reading tells it, with the row's number
    return found


def _separator(text: str, service: Service, column: str | None) -> tuple[str, list[str]]:
    """The separator that shows the wanted columns, then the one that most rows agree on; none in a file of one column."""
    best: tuple[tuple[int, float, int], str, list[str]] | None = None
    for separator in SEPARATORS:
        sample = _sample(text, separator)
        if not sample or len(sample[0]) < 2:
            continue
        heading = sample[0]
        found = len(_named(service, heading, column))
        filled = [cells for cells in sample if cells]
        alike = sum(len(cells) == len(heading) for cells in filled) / len(filled)
        score = (found, alike, len(heading))
        if best is None or score > best[0]:
            best = (score, separator, heading)
    if best is not None:
        return best[1], best[2]
    alone = _sample(text, "")
    if not alone:
        raise _malformed(
            "Row 1 cannot be read: a quotation mark is not closed, or a cell is too long. Mend the heading."
        )
    return "", alone[0]


def _columns(service: Service, heading: list[str], column: str | None) -> dict[str, int]:
    if not any(cell.strip() for cell in heading):
        raise Invalid(
            f'Row 1 is empty, where the heading should be. Write "{service.subject_field.name}" over the numbers there.'
        )
    subject = service.subject_field
    columns = _named(service, heading, column)
    if _is_data(subject.kind, heading):
        raise Invalid(
            f"Row 1 holds a number where the heading should be, so that card would be lost. "
            f'Put a row above it that names the columns, with "{subject.name}" over the numbers.'
        )
    faults: list[dict[str, object]] = []
    if column is not None and subject.name not in columns:
        near = get_close_matches(column.strip(), [cell.strip() for cell in heading], n=1)
        hint = f' Did you mean "{near[0]}"?' if near else ""
        raise Invalid(
            f'The file has no column "{column}".{hint} Its columns are {_shown(heading)}: '
            f"name one of them with &column=, or count it from 1."
        )
    for field in service.fields.values():
        if field.required and field.name not in columns:
            near = get_close_matches(_plain(field.name), [_plain(cell) for cell in heading], n=1, cutoff=0.5)
            nearest = next((cell for cell in heading if near and _plain(cell) == near[0]), None)
            hint = f' The nearest is "{nearest.strip()}".' if nearest else ""
            how = " or say which one it is with &column=NAME" if field.subject else ""
            faults.append(
                {
                    "field": field.name,
                    "code": "no_column",
                    "detail": f'No column is named "{field.name}" or "{field.label.id}"; the file has '
                    f"{_shown(heading)}.{hint} Name the column so{how}.",
                }
            )
    if faults:
        raise Invalid(" ".join(str(fault["detail"]) for fault in faults), faults=faults)
    return columns


def _named(service: Service, heading: Sequence[str], column: str | None) -> dict[str, int]:
    """Which cell holds which field, and the reference: by `column`, the field's name, its label, its usual names."""
    plain = [_plain(cell) for cell in heading]

    def place(names: Iterable[str]) -> int | None:
        return next((plain.index(name) for name in map(_plain, names) if name and name in plain), None)

    found: dict[str, int] = {}
    for field in service.fields.values():
        names = (field.name, field.label.id, field.label.en, *CALLED[field.kind])
        at = place((column,)) if field.subject and column is not None else place(names)
        if at is None and field.subject and column is not None and column.strip().isdecimal():
            at = int(column) - 1 if 0 < int(column) <= len(heading) else None
        if at is not None:
            found[field.name] = at
    if (at := place(REFERENCES)) is not None and at not in found.values():
        found["reference"] = at
    return found


def _is_data(kind: Kind, heading: Sequence[str]) -> bool:
    def is_number(cell: str) -> bool:
        try:
            normalise(kind, _bare(cell))
        except GatewayError:
            return False
        return True

    return any(is_number(cell) for cell in heading)


def _plain(name: str) -> str:
    return "".join(letter for letter in name.casefold() if letter.isalnum())


def _bare(cell: str) -> str:
    """Without the blanks around it and the apostrophe by which spreadsheets mark text."""
    return cell.strip().removeprefix("'").strip()


def _shown(heading: Sequence[str]) -> str:
    names = [f'"{cell.strip()[:40]}"' for cell in heading[:20]]
    return ", ".join(names) + (", …" if len(heading) > 20 else "")


def _lost_zeros(service: Service, name: str, code: object, values: Mapping[str, str]) -> str:
    if code != "wrong_length" or name not in service.fields:
        return ""
    digits = re.sub(r"\D", "", values[name])
    if 0 < LENGTHS[service.fields[name].kind] - len(digits) <= 4:
        return " (a spreadsheet drops zeros at the front: format the column as text)"
    return ""
