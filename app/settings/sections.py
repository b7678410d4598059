"""What can be set, section by section, each with its own checks."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from app.domain.durations import format_duration, parse_duration
from app.domain.errors import SettingsError

PREFIX = "BPJS_SMS_"
LEAST_CMGS = timedelta(
    minutes=2
)  # makers' manuals give +CMGS 120 s; giving up earlier makes sent SMS look lost


def _duration(value: object) -> object:
    if isinstance(value, str):
        return parse_duration(value)
    if isinstance(value, timedelta):
        if value < timedelta():
            raise ValueError("must not be negative")
        return value
    raise ValueError('must be text with a unit: "20s", "10m", "1h30m"')


def _empty_is_none(value: object) -> object:
    return None if value == "" else value


Duration = Annotated[timedelta, BeforeValidator(_duration)]
Text = Annotated[str, Field(min_length=1)]
OptionalText = Annotated[str | None, BeforeValidator(_empty_is_none)]
OptionalPath = Annotated[Path | None, BeforeValidator(_empty_is_none)]
OptionalSecret = Annotated[SecretStr | None, BeforeValidator(_empty_is_none)]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)


class Server(_Section):
    """Where HTTP is served. Sizes in bytes: `max_body` of a check, `max_batch` of a batch's file."""

    host: Text = "127.0.0.1"
    port: int = Field(default=8000, ge=0, le=65535)
    max_body: int = Field(default=1_048_576, ge=1024)
    max_batch: int = Field(default=33_554_432, ge=1024)
    open_metrics: bool = False


class Sealing(_Section):
    keys_file: Path = Path("bpjs-sms.keys")


class LaneSettings(_Section):
    """One modem with one SIM. `port` is any pyserial URL, or `auto` with `iccid` or `usb`; a cap of 0 is none.

    `iccid` binds the lane to that SIM, with any port · `network_mode` and `sms_over` None: as the stick has it · `number_type`:
    how short codes are announced to the network (3GPP TS 23.040 §9.1.2.5) · `urcs`: further lines that a stick sends unasked.
    """

    name: Text
    port: Text
    baud: int = Field(default=115200, ge=300)
    pin: OptionalSecret = None
    pin_file: OptionalPath = None
    iccid: OptionalText = None
    usb: OptionalText = None
    pace: Duration = timedelta(seconds=20)
    per_hour: int = Field(default=60, ge=0)
    per_day: int = Field(default=200, ge=0)
    status_reports: bool = True
    flow_control: bool = False
    network_mode: Annotated[Literal["auto", "2g", "3g", "4g"] | None, BeforeValidator(_empty_is_none)] = None
    sms_over: Annotated[
        Literal["ps", "cs", "ps_first", "cs_first"] | None, BeforeValidator(_empty_is_none)
    ] = None
    number_type: Literal["unknown", "national"] = "unknown"
    bar_calls: bool = False
    urcs: tuple[Text, ...] = ()
    cmgs_timeout: Duration = timedelta(minutes=2)
    boot_timeout: Duration = timedelta(minutes=1)

    @field_validator("name")
    @classmethod
    def _name(cls, name: str) -> str:
        if not re.fullmatch(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?", name):
            raise ValueError(
                "may hold lower case letters, digits and hyphens between them: write for example xl-1"
            )
        return name

    @field_validator("pin")
    @classmethod
    def _pin(cls, pin: SecretStr | None) -> SecretStr | None:
        if pin is not None:
            _check_pin(pin.get_secret_value())
        return pin

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if self.iccid is not None and not re.fullmatch(r"[0-9]{18,22}[Ff]?", self.iccid):
            raise ValueError(
                "has an iccid that is none: write the 19 or 20 digits that are printed on the SIM"
            )
        if self.cmgs_timeout < LEAST_CMGS:
            raise ValueError(
                f'has cmgs_timeout = "{format_duration(self.cmgs_timeout)}": a network may take two minutes for an SMS, '
                'so write at least "2m"'
            )
        if self.usb is not None and self.port != "auto":
            raise ValueError('has usb beside a port of its own: write port = "auto", or leave usb out')
        if self.port == "auto" and not (self.iccid or self.usb):
            raise ValueError(
                'has port = "auto", which needs iccid = "…" of its SIM or usb = "1-1.2" of its socket'
            )
        if self.pin is not None and self.pin_file is not None:
            raise ValueError("has pin and pin_file: keep one, better pin_file")
        return self

    def read_pin(self) -> str | None:
        """The SIM's PIN, from `pin` or the file; None without one. SettingsError for a file that holds none."""
        if self.pin is not None:
            return self.pin.get_secret_value()
        if self.pin_file is None:
            return None
        pin = read_secret(self.pin_file, f"pin_file of lane {self.name}")
        try:
            _check_pin(pin)
        except ValueError as error:
            raise SettingsError(f"The PIN in {self.pin_file} (lane {self.name}) {error}.") from None
        return pin


class ServiceOverride(_Section):
    """What the operator sets otherwise than a service's file; None leaves the file's word."""

    timeout: Duration | None = None
    late: Duration | None = None
    settle: Duration | None = None
    require_evidence: Literal["any", "echo"] | None = None
    enabled: bool | None = None
    ask_again: int | None = Field(default=None, ge=0, le=5)

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if self.timeout is not None and self.timeout <= timedelta():
            raise ValueError('has timeout = "0s": no answer could ever come in time, write for example "5m"')
        if self.timeout is not None and self.late is not None and self.late < self.timeout:
            raise ValueError(
                f'has late = "{format_duration(self.late)}", less than timeout = "{format_duration(self.timeout)}": '
                "write a late that is at least as long, for late answers come after the timeout"
            )
        return self


class Webhooks(_Section):
    allow_private: bool = False


class Phone(_Section):
    """Answering people who text our SIMs. `per_day` is how often one number may ask."""

    enabled: bool = False
    open: bool = False
    per_day: int = Field(default=10, ge=1)


class Client(_Section):
    """The gateway that `check`, `batch`, `lanes`, `messages` and `phone` talk to."""

    url: Text = "http://127.0.0.1:8000"
    key: OptionalSecret = None
    key_file: OptionalPath = None

    @field_validator("url")
    @classmethod
    def _url(cls, url: str) -> str:
        if not re.match(r"https?://[^/]", url):
            raise ValueError("must begin with http:// or https:// and name a host")
        return url.rstrip("/")

    def read_key(self) -> str | None:
        """The key, from `key` or the file; None without one. SettingsError for a file that cannot be read."""
        if self.key is not None:
            return self.key.get_secret_value()
        return None if self.key_file is None else read_secret(self.key_file, "client.key_file")


class Retention(_Section):
    texts: Duration = timedelta(days=30)
    records: Duration = timedelta(days=365)


class Log(_Section):
    level: Literal["debug", "info", "warning", "error"] = "info"
    as_json: bool = Field(default=False, alias="json")


class Settings(BaseSettings):
    """Everything that can be set. Built by `load_settings`; by itself it holds the defaults and reads nothing.

    `ports`: where a lane with port = "auto" may look for its SIM beside the sticks that are known by their USB ids.
    """

    model_config = SettingsConfigDict(
        frozen=True, extra="forbid", env_prefix=PREFIX, env_nested_delimiter="__", populate_by_name=True
    )

    database: Text = "sqlite:///bpjs-sms.db"
    services: OptionalPath = Path("services.d")
    server: Server = Server()
    sealing: Sealing = Sealing()
    ports: tuple[Text, ...] = ()
    lanes: tuple[LaneSettings, ...] = ()
    service: dict[str, ServiceOverride] = Field(default_factory=dict)
    webhooks: Webhooks = Webhooks()
    phone: Phone = Phone()
    client: Client = Client()
    retention: Retention = Retention()
    log: Log = Log()

    @field_validator("lanes")
    @classmethod
    def _lanes(cls, lanes: tuple[LaneSettings, ...]) -> tuple[LaneSettings, ...]:
        names = [lane.name for lane in lanes]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"has the name {', '.join(twice)} more than once: give every lane its own")
        ports = [lane.port for lane in lanes if lane.port != "auto"]
        twice = sorted({port for port in ports if ports.count(port) > 1})
        if twice:
            raise ValueError(
                f"has the port {', '.join(twice)} more than once: every lane is a modem of its own"
            )
        for what in ("iccid", "usb"):
            bound = [value for lane in lanes if (value := getattr(lane, what)) is not None]
            if twice := sorted({value for value in bound if bound.count(value) > 1}):
                raise ValueError(
                    f"has {what} = {', '.join(twice)} more than once: every lane is a modem and a SIM of its own"
                )
        return lanes

    @field_validator("database")
    @classmethod
    def _database(cls, url: str) -> str:
        if not url.startswith(("sqlite:///", "postgresql+psycopg://")):
            raise ValueError("must be sqlite:///FILE or postgresql+psycopg://USER@HOST/NAME")
        return url

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return (init_settings,)  # load_settings merges the others, for it says where each value came from

    def overrides(self) -> dict[str, dict[str, Any]]:
        """What `[service.NAME]` sets, by service; durations as timedelta."""
        return {name: override.model_dump(exclude_none=True) for name, override in self.service.items()}


def _check_pin(pin: str) -> None:
    if not re.fullmatch(r"[0-9]{4,8}", pin):  # 3GPP TS 31.101 §9.5.1: four to eight digits
        raise ValueError("must be 4 to 8 digits")


def read_secret(file: Path, what: str) -> str:
    """A file's one secret. SettingsError for a file that cannot be read or is empty."""
    try:
        secret = file.read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(
            f"{what} names {file}, which cannot be read ({reason(error)}). Write it, or name another."
        ) from None
    if not secret:
        raise SettingsError(f"{what} names {file}, which is empty. Write the secret into it, on one line.")
    return secret


def reason(error: Exception) -> str:
    """Why a file could not be read, in a few words."""
    return (error.strerror or str(error)) if isinstance(error, OSError) else "it is not UTF-8 text"
