"""Services as data: a TOML file made a Service, a folder of them a Catalogue, fields made a request text."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from difflib import get_close_matches
from importlib.resources.abc import Traversable
from pathlib import Path
from string import Formatter
from typing import Annotated, Any, Final, Literal, NoReturn

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    StrictBool,
    StrictInt,
    ValidationError,
    model_validator,
)
from pydantic import Field as Limited

from app.domain.durations import parse_duration
from app.domain.errors import Invalid, SettingsError
from app.domain.identifiers import FieldError, Kind, normalise, normalise_address
from app.domain.states import Outcome

RECORD_FIELDS: Final[Mapping[str, Literal["text", "number", "status", "class", "money", "count", "date"]]] = {
    "name": "text",
    "member_type": "text",
    "clinic": "text",
    "employer": "text",
    "programme": "text",
    "card_number": "number",
    "nik": "number",
    "kpj": "number",
    "nip": "number",
    "status": "status",
    "class": "class",
    "balance": "money",
    "bill": "money",
    "arrears": "money",
    "arrears_months": "count",
    "as_of": "date",
    "active_until": "date",
    "last_paid": "date",
    "birth_date": "date",
}
"""The members of a record that a pattern may capture, and how each is read."""

_GSM_BASIC: Final = frozenset(
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§"
    "¿abcdefghijklmnopqrstuvwxyzäöñüà"
)
_GSM_EXTENDED: Final = frozenset("^{}\\[~]|€\f")


def parts_of(text: str) -> int:
    """How many SMS the text takes (3GPP TS 23.038 §6.2.1, TS 23.040 §9.2.3.24.1): 160 or 153 septets, 70 or 67 UCS2 units."""
    if all(c in _GSM_BASIC or c in _GSM_EXTENDED for c in text):
        size, one, more = sum(2 if c in _GSM_EXTENDED else 1 for c in text), 160, 153
    else:
        size, one, more = len(text.encode("utf-16-be")) // 2, 70, 67
    return 1 if size <= one else -(-size // more)


def nearest(word: str, known: Sequence[str]) -> str:
    """` (did you mean "…"?)` for the nearest known word, else the list of all."""
    close = get_close_matches(word, known, n=1)
    return f' (did you mean "{close[0]}"?)' if close else f" (known: {', '.join(known)})"


def _duration(value: object) -> object:
    if isinstance(value, str):
        return parse_duration(value)
    if not isinstance(value, timedelta):
        raise ValueError(f'a duration is text with a unit, such as "5m", not {value!r}')
    return value


def _positive(value: timedelta) -> timedelta:
    if value <= timedelta():
        raise ValueError("must be longer than nothing")
    return value


def _sender(pattern: str) -> str:
    name = pattern.removesuffix("*")
    if "*" in name or not name:
        raise ValueError(f'"{pattern}": a * may stand at the end of a name only')
    if name != pattern and not any(c.isalpha() for c in name):
        raise ValueError(f'"{pattern}": numbers are written in full, * is for names')
    return pattern


def _compiled(pattern: str) -> str:
    try:
        names = re.compile(pattern, _PATTERN_FLAGS).groupindex
    except re.error as error:
        raise ValueError(f"the pattern is not a regular expression: {error}") from None
    for name in names:
        member = name.removesuffix("_")
        if member not in RECORD_FIELDS:
            raise ValueError(
                f'the pattern captures "{name}", which no record has{nearest(member, list(RECORD_FIELDS))}'
            )
    return pattern


_PATTERN_FLAGS: Final = re.IGNORECASE | re.DOTALL
Duration = Annotated[timedelta, BeforeValidator(_duration)]
Wait = Annotated[timedelta, BeforeValidator(_duration), AfterValidator(_positive)]
Word = Annotated[str, Limited(min_length=1)]


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Bilingual(_Table):
    id: Word
    en: Word


class Field(_Table):
    """One value that a request needs. `kind` decides how it is checked, masked and found in a reply."""

    name: str
    kind: Kind
    label: Bilingual
    required: StrictBool = True
    subject: StrictBool = False


class Request(_Table):
    text: Word


class Timing(_Table):
    """`timeout` from submitting to `no_reply`; `late`: so long it may still cause a text; `settle`: after an answer that
    named no card; `ask_again`: how many more submissions at the deadline."""

    timeout: Wait = timedelta(minutes=5)
    late: Wait = timedelta(hours=1)
    settle: Duration = timedelta(seconds=60)
    ask_again: Annotated[StrictInt, Limited(ge=0, le=5)] = 0

    @model_validator(mode="after")
    def _ordered(self) -> Timing:
        if self.late < self.timeout:
            raise ValueError("late must be at least timeout: both are counted from submitting")
        return self


class Price(_Table):
    """Rupiah an SMS. `confirmed_on` empty: a guess."""

    request: Annotated[StrictInt, Limited(ge=0)] = 0
    reply: Annotated[StrictInt, Limited(ge=0)] = 0
    confirmed_on: date | Literal[""] = ""


class Provenance(_Table):
    trust: Literal["seed", "documented", "reported", "probed"]
    source: Word
    checked: date


class Reply(_Table):
    """A wording. With `echo` it only matches a text that holds a number of the subject's own kind."""

    name: Word
    outcome: Outcome
    echo: StrictBool = False
    require: tuple[str, ...] = ()
    pattern: Annotated[str, AfterValidator(_compiled)]

    def search(self, text: str) -> re.Match[str] | None:
        """Case does not count and `.` matches line ends."""
        return re.compile(self.pattern, _PATTERN_FLAGS).search(text)


class Example(_Table):
    """A text, the wording that must read it (empty: none) and the record that must come out. Runs as a test."""

    reply: str
    text: Word
    record: dict[str, Any] = {}
    provenance: Literal["synthetic", "reported", "probed"] = "synthetic"


@dataclass(frozen=True, slots=True)
class Rendered:
    """A request ready to go on the air; `fields` are normalised."""

    fields: dict[str, str]
    subject: str
    subject_kind: Kind
    text: str


class Service(_Table):
    """One official SMS service; see `templates_sms/README.md` for every member."""

    name: Annotated[str, Limited(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$")]
    agency: Word
    title: Bilingual
    address: Annotated[str, Limited(pattern=r"^\+?[0-9]{2,15}$")]
    senders: Annotated[tuple[Annotated[str, AfterValidator(_sender)], ...], Limited(min_length=1)]
    phone: tuple[Word, ...] = ()
    conversation: Word
    enabled: StrictBool = True
    operators: tuple[str, ...] = ()
    provenance: Provenance
    require_evidence: Literal["any", "echo"] = "any"
    request: Request
    fields: Annotated[dict[str, Field], Limited(min_length=1)]
    timing: Timing = Timing()
    price: Price = Price()
    replies: Annotated[tuple[Reply, ...], Limited(min_length=1)]
    examples: tuple[Example, ...] = ()

    @model_validator(mode="before")
    @classmethod
    def _named(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        data = {**({"conversation": data["name"]} if "name" in data else {}), **data}
        if isinstance(data.get("fields"), dict):
            data["fields"] = {
                name: {"name": name, **table} if isinstance(table, dict) else table
                for name, table in data["fields"].items()
            }
        return data

    @model_validator(mode="after")
    def _coherent(self) -> Service:
        subjects = [f.name for f in self.fields.values() if f.subject]
        if len(subjects) != 1:
            raise ValueError(
                "exactly one field needs the line `subject = true`: the one whose number a reply names"
            )
        if not self.fields[subjects[0]].required:
            raise ValueError(f'the subject "{subjects[0]}" cannot be optional')
        if odd := [name for name in self.fields if not name.isidentifier()]:
            raise ValueError(f'"{odd[0]}" is not a field name: letters, digits and _')
        used = set()
        for _, placed, form, conversion in Formatter().parse(self.request.text):
            if placed is None:
                continue
            if placed not in self.fields or form or conversion:
                raise ValueError(f'request.text uses "{{{placed}}}"{nearest(placed, list(self.fields))}')
            used.add(placed)
        if unused := [name for name in self.fields if name not in used]:
            raise ValueError(f'request.text never uses the field "{unused[0]}"')
        names = [reply.name for reply in self.replies]
        if doubled := {name for name in names if names.count(name) > 1}:
            raise ValueError(f'two replies are named "{min(doubled)}"')
        for reply in self.replies:
            for member in reply.require:
                if member not in RECORD_FIELDS:
                    raise ValueError(
                        f'reply "{reply.name}" requires "{member}"{nearest(member, list(RECORD_FIELDS))}'
                    )
        for example in self.examples:
            if example.reply and example.reply not in names:
                raise ValueError(
                    f'an example names the reply "{example.reply}"{nearest(example.reply, names)}'
                )
        return self

    @property
    def request_text(self) -> str:
        return self.request.text

    @property
    def subject_field(self) -> Field:
        return next(f for f in self.fields.values() if f.subject)

    @property
    def echo(self) -> Literal["always", "some", "never"]:
        """Whether replies name the card; wordings that answer nothing (interim, unrecognised) do not count."""
        named = {r.echo for r in self.replies if r.outcome not in (Outcome.INTERIM, Outcome.UNRECOGNISED)}
        return "some" if len(named) == 2 else "always" if named == {True} else "never"

    @property
    def needs_echo(self) -> bool:
        """True if a text that names no card can never be given to a question of this service (design, 4.1 rule 2)."""
        return self.require_evidence == "echo" or self.echo == "always"

    def render(self, fields: Mapping[str, object]) -> Rendered:
        """The request for these values. Raises Invalid with every fault at once, as `{"field", "code", "detail"}`."""
        faults: list[dict[str, object]] = []
        values: dict[str, str] = {}

        def fault(field: str, code: str, detail: str) -> None:
            faults.append({"field": field, "code": code, "detail": detail})

        for name, raw in fields.items():
            if name not in self.fields:
                fault(
                    name,
                    "unknown_field",
                    f'{self.name} has no field "{name}"{nearest(name, list(self.fields))}',
                )
            elif not isinstance(raw, str):
                fault(name, "not_text", f'fields are text, always: write "{name}" in quotes')
            else:
                try:
                    values[name] = normalise(self.fields[name].kind, raw)
                except FieldError as error:
                    fault(name, error.code, error.detail)
        for name, field in self.fields.items():
            if field.required and name not in fields:
                fault(name, "missing", f'"{name}" is missing: {field.label.en}')
        if faults:
            raise Invalid("; ".join(str(f["detail"]) for f in faults), faults=faults)
        subject = self.subject_field
        text = self.request.text.format(**{name: values.get(name, "") for name in self.fields})
        return Rendered(values, values[subject.name], subject.kind, text)

    def key(self, fields: Mapping[str, str]) -> str:
        """One text for every set of normalised fields that asks exactly the same."""
        return json.dumps([self.name, sorted(fields.items())], ensure_ascii=False, separators=(",", ":"))

    def accepts_sender(self, address: str) -> bool:
        """True if a text from this address may be a reply of this service."""
        address = normalise_address(address)
        return any(
            address.startswith(p[:-1].upper()) if p.endswith("*") else address == normalise_address(p)
            for p in self.senders
        )


class Override(_Table):
    """What a settings file may change of a service: `[service.NAME]`."""

    timeout: Wait | None = None
    late: Wait | None = None
    settle: Duration | None = None
    ask_again: Annotated[StrictInt, Limited(ge=0, le=5)] | None = None
    require_evidence: Literal["any", "echo"] | None = None
    enabled: StrictBool | None = None


def parse_service(text: str, where: str, override: Mapping[str, object] | None = None) -> Service:
    """A service from the text of its file. Raises SettingsError that names `where`, the member and what to write."""
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{where}: not TOML: {error}") from None
    try:
        service = Service.model_validate(data)
    except ValidationError as error:
        _refuse(where, error, Service)
    if not override:
        return service
    section = f"[service.{service.name}]"
    try:
        wanted = Override.model_validate(override).model_dump(exclude_none=True)
    except ValidationError as error:
        _refuse(section, error, Override)
    timing = {k: wanted.pop(k) for k in tuple(wanted) if k in Timing.model_fields}
    try:
        timed = Timing.model_validate({**service.timing.model_dump(), **timing})
    except ValidationError as error:
        _refuse(section, error, Timing)
    return service.model_copy(update={**wanted, "timing": timed})


def _refuse(where: str, error: ValidationError, model: type[BaseModel]) -> NoReturn:
    """A sentence for every fault; an unknown member gets the nearest name that its table has."""
    sentences = []
    for fault in error.errors(include_url=False):
        *path, last = fault["loc"] or ("",)
        place = ".".join(str(step) for step in fault["loc"])
        if fault["type"] == "extra_forbidden":
            known = _members(model, path)
            sentences.append(f'"{place}" is unknown{nearest(str(last), known)}')
        elif fault["type"] == "missing":
            sentences.append(f'"{place}" is missing')
        else:
            message = fault["msg"].removeprefix("Value error, ")
            sentences.append(f"{place}: {message}" if place else message)
    raise SettingsError(f"{where}: " + "; ".join(sentences))


_TABLES: Final[Mapping[str, type[BaseModel]]] = {
    "title": Bilingual,
    "label": Bilingual,
    "provenance": Provenance,
    "request": Request,
    "timing": Timing,
    "price": Price,
    "fields": Field,
    "replies": Reply,
    "examples": Example,
}


def _members(model: type[BaseModel], path: Sequence[int | str]) -> list[str]:
    table = next(
        (_TABLES[step] for step in reversed(path) if isinstance(step, str) and step in _TABLES), model
    )
    return [name for name in table.model_fields if not (table is Field and name == "name")]


class Catalogue:
    """Every service by name: the shipped files, the operator's own in front of them, the settings' overrides on top."""

    def __init__(self, services: Sequence[Service]) -> None:
        self._services = {service.name: service for service in sorted(services, key=lambda s: s.name)}

    @classmethod
    def load(
        cls,
        shipped: Path | Traversable,
        own: Path | None = None,
        overrides: Mapping[str, Mapping[str, object]] | None = None,
    ) -> Catalogue:
        """Read both folders; a missing own folder is none. Raises SettingsError for a wrong file or override."""
        overrides = overrides or {}
        services: dict[str, Service] = {}
        for folder in [shipped] + ([own] if own is not None and own.is_dir() else []):
            here: dict[str, str] = {}
            for file in sorted(folder.iterdir(), key=lambda f: f.name):
                if not file.name.endswith(".toml"):
                    continue
                try:
                    text = file.read_text(encoding="utf-8")
                except (OSError, UnicodeDecodeError) as error:
                    raise SettingsError(f"{file.name}: cannot be read: {error}") from None
                name = parse_service(text, file.name).name
                if name in here:
                    raise SettingsError(
                        f'{file.name}: "{name}" is in {here[name]} already; one file a service'
                    )
                here[name] = file.name
                services[name] = parse_service(text, file.name, overrides.get(name))
        for name in overrides:
            if name not in services:
                raise SettingsError(
                    f"[service.{name}]: there is no such service{nearest(name, list(services))}. "
                    "Correct the name, or take that section out."
                )
        return cls(list(services.values()))

    def __getitem__(self, name: str) -> Service:
        """Raises Invalid with code `unknown_service`, naming the nearest one."""
        if name not in self._services:
            raise Invalid(
                f'there is no service "{name}"{nearest(name, list(self._services))}', code="unknown_service"
            )
        return self._services[name]

    def __contains__(self, name: object) -> bool:
        return name in self._services

    def __iter__(self) -> Iterator[Service]:
        return iter(self._services.values())

    def __len__(self) -> int:
        return len(self._services)

    @property
    def conversations(self) -> dict[str, tuple[Service, ...]]:
        """Services by conversation."""
        names = sorted({service.conversation for service in self})
        return {name: tuple(s for s in self if s.conversation == name) for name in names}

    def by_sender(self, address: str) -> list[Service]:
        """Services that this address may answer for, disabled ones too: they may still be owed answers."""
        return [service for service in self if service.accepts_sender(address)]

    def conversation_of(self, address: str) -> str | None:
        """The conversation that a text from this address belongs to, None for a stranger."""
        return next((service.conversation for service in self.by_sender(address)), None)
