"""From file, environment and command line to one checked whole: what each value came from, and what is said of a wrong one."""

from __future__ import annotations

import difflib
import json
import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal, get_args

from pydantic import BaseModel, SecretStr, ValidationError
from pydantic_settings import EnvSettingsSource

from app.domain.durations import format_duration
from app.domain.errors import SettingsError
from app.settings.sections import PREFIX, LaneSettings, ServiceOverride, Settings, read_secret, reason

CONFIG_VARIABLE = "BPJS_SMS_CONFIG"
HERE, HOSTS = Path("bpjs-sms.toml"), Path("/etc/bpjs-sms/bpjs-sms.toml")
MASKED = "********"
_PLAIN_LISTS = ("ports",)
"""Lists of texts at the top; in the environment they are JSON."""
_BY_FILE = ("database", "lanes")
"""May hold secrets and have no key for a file of their own, so `BPJS_SMS_…_FILE` names one."""


def load_settings(
    config: Path | None = None,
    environ: Mapping[str, str] | None = None,
    overrides: Mapping[str, Any] | None = None,
) -> Settings:
    """The settings in force: overrides over the environment over the first TOML file found. All faults in one SettingsError.

    Relative paths are taken from the TOML file's folder, without one from the current folder; a missing folder of services is None.
    """
    environ = os.environ if environ is None else environ
    file = find_config(config, environ)
    base = (file.parent if file else Path()).absolute()
    written = _read_toml(file) if file else {}
    faults: list[str] = []
    surrounding, names = _read_environment(environ, base, faults)
    merged = _over(_over(written, surrounding), overrides or {})
    origins = [(path, f"{name} (environment)") for path, name in names.items()]
    origins += [(path, "command line") for path in _leaves(overrides or {})]
    try:
        settings = Settings(**merged)
    except ValidationError as error:
        faults += [_sentence(fault, origins, file) for fault in error.errors(include_url=False)]
        settings = Settings()
    if not faults and settings.services is not None and (base / settings.services).is_file():
        faults.append(
            f"{_origin(('services',), origins, file)}: services = {str(settings.services)!r} is a file, write a folder"
        )
    if faults:
        raise SettingsError("\n".join(faults))
    return _with_absolute_paths(settings, base)


def find_config(config: Path | None, environ: Mapping[str, str]) -> Path | None:
    """The TOML file in force, None where there is none. SettingsError when one was named that is not there, or may not be looked at."""
    for named, by in ((config, "--config"), (environ.get(CONFIG_VARIABLE), CONFIG_VARIABLE)):
        if named:
            if not _is_file(Path(named)):
                raise SettingsError(
                    f"{by} names {named}, and there is no such file. Write it, or name another."
                )
            return Path(named)
    return HERE if _is_here() else HOSTS if _is_file(HOSTS) else None


def _is_here() -> bool:
    try:
        return HERE.is_file()
    except OSError:  # root's home, say, from where root runs a command as the gateway's user
        return False


def _is_file(file: Path) -> bool:
    try:
        return file.is_file()
    except OSError as error:  # its folder may belong to the gateway's own user
        raise SettingsError(
            f"{file} cannot be read by this user ({error.strerror}). Run this as the gateway's user "
            "(`runuser -u bpjs-sms -- bpjs-sms …`), or name another file with --config."
        ) from None


def masked(settings: Settings) -> dict[str, Any]:
    """The settings as plain values under their written names, durations as text, secrets masked, unset ones left out."""
    plain: dict[str, Any] = _plain(settings.model_dump(exclude_none=True, by_alias=True))
    plain["database"] = re.sub(r"(://[^:/@]*:)[^@]*@", rf"\1{MASKED}@", settings.database)
    return plain


def merged(settings: Settings) -> str:
    """The settings as TOML text that `load_settings` reads, but that secrets are masked."""
    values = masked(settings)
    plain = {key: value for key, value in values.items() if isinstance(value, str) or key in _PLAIN_LISTS}
    lines = [f"{key} = {_toml(value)}" for key, value in plain.items()]
    for key, value in values.items():
        if key == "service":
            for name, override in value.items():
                lines += _table(f"[service.{_toml_key(name)}]", override)
        elif isinstance(value, dict):
            lines += _table(f"[{key}]", value)
        elif isinstance(value, list) and key not in plain:
            for item in value:
                lines += _table(f"[[{key}]]", item)
    return "\n".join(lines) + "\n"


def _read_toml(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text("utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(
            f"{file} cannot be read ({reason(error)}). Correct it, or name another with --config."
        ) from None
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(
            f"{file} is not TOML: {error}. Texts stand in quotes, sections in brackets."
        ) from None


def _read_environment(
    environ: Mapping[str, str], base: Path, faults: list[str]
) -> tuple[dict[str, Any], dict[tuple[str, ...], str]]:
    """The environment's values, and which variable each came from."""
    values: dict[str, str] = {}
    names: dict[tuple[str, ...], str] = {}
    for name, value in sorted(environ.items()):
        if not name.startswith(PREFIX) or name == CONFIG_VARIABLE:
            continue
        path = tuple(name.removeprefix(PREFIX).lower().split("__"))
        if len(path) == 1 and path[0].removesuffix("_file") in _BY_FILE and path[0].endswith("_file"):
            path = (path[0].removesuffix("_file"),)
            if PREFIX + path[0].upper() in environ:
                faults.append(
                    f"{name} (environment): {PREFIX}{path[0].upper()} is set too; keep one of the two"
                )
                continue
            try:
                value = read_secret(base / value, name)
            except SettingsError as error:
                faults.append(error.detail)
                continue
        known, near = _known(path)
        if not known:
            faults.append(
                f"{name} (environment) is not a setting"
                + (f": did you mean {near}?" if near else "; unset it")
            )
            continue
        if known == "section":
            try:
                json.loads(value)
            except ValueError as error:
                faults.append(f"{name} (environment) must be JSON, and is not: {error}")
                continue
        values[(PREFIX + "__".join(path)).lower()] = value
        names[
            (path[0], path[1].replace("_", "-"), *path[2:]) if path[0] == "service" and path[1:] else path
        ] = name
    source = EnvSettingsSource(Settings)
    source.env_vars = values
    found = source()
    if isinstance(found.get("service"), dict):
        found["service"] = {name.replace("_", "-"): override for name, override in found["service"].items()}
    return found, names


def _known(path: tuple[str, ...]) -> tuple[Literal["", "value", "section"], str]:
    """Whether a variable's path is a value or a section (written as JSON); if neither, the nearest variable."""
    here: type[BaseModel] | None = Settings
    way: list[str] = []
    for part in path:
        if here is None:
            return "", PREFIX + "__".join(way).upper()
        inner = _fields(here)
        if part not in inner:
            near = difflib.get_close_matches(part, list(inner), 1)
            return "", PREFIX + "__".join([*way, near[0], *path[len(way) + 1 :]]).upper() if near else ""
        way.append(part)
        here = inner[part]
        if part == "service" and len(way) == 1 and len(path) > 1:
            way.append(path[1])
            return _known_override(path, way)
    return "section" if here is not None or path in (
        ("lanes",),
        *((name,) for name in _PLAIN_LISTS),
    ) else "value", ""


def _known_override(path: tuple[str, ...], way: list[str]) -> tuple[Literal["", "value", "section"], str]:
    if len(path) == 2:
        return "section", ""
    near = difflib.get_close_matches(path[2], list(_fields(ServiceOverride)), 1, 0)
    known = path[2] in _fields(ServiceOverride) and len(path) == 3
    return ("value", "") if known else ("", PREFIX + "__".join([*way, *near]).upper())


def _fields(model: type[BaseModel]) -> dict[str, type[BaseModel] | None]:
    """A model's written names, with the model of those that are sections."""
    inner: dict[str, type[BaseModel] | None] = {}
    for name, field in model.model_fields.items():
        kinds = [field.annotation, *get_args(field.annotation)]
        models = [kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)]
        inner[field.alias or name] = models[0] if models else None
    return inner


def _over(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    both = dict(below)
    for key, value in above.items():
        under = both.get(key)
        both[key] = (
            _over(under, value) if isinstance(value, Mapping) and isinstance(under, Mapping) else value
        )
    return both


def _leaves(values: Mapping[str, Any], way: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, (*way, key))
        else:
            yield (*way, key)


def _origin(loc: tuple[int | str, ...], origins: list[tuple[tuple[str, ...], str]], file: Path | None) -> str:
    """Who said it: the last of the origins that lies on the way to `loc` or below it."""
    for path, name in reversed(origins):
        if path == loc[: len(path)] or loc == path[: len(loc)]:
            return name
    return str(file) if file else "settings"


def _sentence(fault: Any, origins: list[tuple[tuple[str, ...], str]], file: Path | None) -> str:
    loc: tuple[int | str, ...] = fault["loc"]
    name = _written_name(loc)
    secret = loc[-1:] in (("pin",), ("key",)) or loc == ("database",)
    # A section is not repeated, and a secret never.
    value = (
        ""
        if secret or isinstance(fault["input"], Mapping | BaseModel | list | tuple)
        else f" = {_shown(fault['input'])}"
    )
    context = fault.get("ctx", {})
    match fault["type"]:
        case "extra_forbidden":
            value, wrong = "", f"is not a setting{_nearest(loc)}"
        case "missing":
            value, wrong = "", f"is missing: write {loc[-1]} = …"
        case "value_error":
            wrong = str(context["error"])
        case "int_type" | "int_parsing" | "int_from_float":
            wrong = "must be a whole number"
        case "greater_than_equal":
            wrong = f"must be at least {context['ge']}"
        case "less_than_equal":
            wrong = f"must be at most {context['le']}"
        case "bool_type" | "bool_parsing":
            wrong = "must be true or false"
        case "literal_error":
            wrong = f"must be {context['expected']}"
        case "string_too_short":
            wrong = "must not be empty"
        case "string_type" | "path_type":
            wrong = "must be text, in quotes"
        case "model_type" | "model_attributes_type" | "dict_type":
            wrong = "must be a section of its own" + (
                "" if isinstance(loc[-1], int) else f": write [{name}] above its keys"
            )
        case "tuple_type":
            lanes = loc == ("lanes",)
            wrong = "must be a list: " + (
                "write [[lanes]] above the keys of each lane" if lanes else 'write ["…"]'
            )
        case _:
            wrong = str(fault["msg"])
    return f"{_origin(loc, origins, file)}: {name}{value} {wrong}"


def _written_name(loc: tuple[int | str, ...]) -> str:
    if loc[:1] == ("lanes",) and len(loc) > 1 and isinstance(loc[1], int):
        return f"[[lanes]] number {loc[1] + 1}" + "".join(f", {part}" for part in loc[2:])
    return ".".join(str(part) for part in loc)


def _shown(value: object) -> str:
    return (
        json.dumps(value, ensure_ascii=False) if isinstance(value, str | bool | int | float) else str(value)
    )


def _nearest(loc: tuple[int | str, ...]) -> str:
    """The nearest known name on the same level, else the section where that name belongs."""
    last = str(loc[-1])
    tree = _fields(Settings)
    levels = {name: list(_fields(model)) for name, model in tree.items() if model is not None}
    levels |= {"lanes": list(_fields(LaneSettings)), "service": list(_fields(ServiceOverride))}
    level = list(tree) if len(loc) == 1 else levels[str(loc[0])]
    near = difflib.get_close_matches(last.lower(), level, 1)
    if near:
        return f": did you mean {near[0]}?"
    written = {"lanes": "[[lanes]]", "service": "[service.NAME]"}
    homes = [written.get(section, f"[{section}]") for section, names in levels.items() if last in names]
    if homes:
        return f" here: it belongs under {' or '.join(homes)}"
    if last in tree:
        return f" here: {last} belongs at the top of the file, above every section"
    return f": take it out; known here are {', '.join(level)}"


def _with_absolute_paths(settings: Settings, base: Path) -> Settings:
    folder = None if settings.services is None else base / settings.services
    lanes = tuple(
        lane.model_copy(update={"pin_file": None if lane.pin_file is None else base / lane.pin_file})
        for lane in settings.lanes
    )
    client, sealing = settings.client, settings.sealing
    key_file = None if client.key_file is None else base / client.key_file
    database = settings.database
    if database.startswith("sqlite:///") and not database.startswith(("sqlite:////", "sqlite:///:memory:")):
        database = f"sqlite:///{base / database.removeprefix('sqlite:///')}"
    return settings.model_copy(
        update={
            "database": database,
            "services": folder if folder is not None and folder.is_dir() else None,
            "sealing": sealing.model_copy(update={"keys_file": base / sealing.keys_file}),
            "lanes": lanes,
            "client": client.model_copy(update={"key_file": key_file}),
        }
    )


def _plain(value: Any) -> Any:
    match value:
        case dict():
            return {key: _plain(inner) for key, inner in value.items()}
        case list() | tuple():
            return [_plain(inner) for inner in value]
        case timedelta():
            return format_duration(value)
        case SecretStr():
            return MASKED
        case Path():
            return str(value)
        case _:
            return value


def _table(heading: str, values: Mapping[str, Any]) -> list[str]:
    return ["", heading, *(f"{_toml_key(key)} = {_toml(value)}" for key, value in values.items())]


def _toml_key(key: str) -> str:
    return key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else _toml(key)


def _toml(value: str | int | bool) -> str:
    # JSON's strings, numbers and truth are TOML's too, but that TOML wants U+007F escaped.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
