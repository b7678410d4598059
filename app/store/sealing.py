"""Sealing of what names a person: AES-GCM for values, a keyed HMAC for look-up, keys in a file of mode 0600."""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import secrets
import tomllib
from contextlib import suppress
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from app.domain.errors import GatewayError, SettingsError

NONCE = 12  # octets, NIST SP 800-38D §5.2.1.1
INDEX = 16  # octets kept of the HMAC-SHA256: 128 bits make a chance match impossible in practice

HEAD = (
    "# Sealing keys of bpjs-sms. Whoever has this file and the database can read every card number;\n"
    "# whoever loses it loses the data. Keep a copy in another place. Hosts on one PostgreSQL share it.\n"
)


class Keyring:
    """The sealing keys: new values with the newest, old ones with the key whose id they carry."""

    def __init__(self, keys: dict[int, bytes], index_key: bytes) -> None:
        if not keys or any(not 0 < number < 256 for number in keys):
            raise SettingsError("The keys file needs at least one key, numbered 1 to 255.")
        self._ciphers = {number: AESGCM(key) for number, key in keys.items()}
        self._newest = max(keys)
        self._index_key = index_key

    @property
    def fingerprint(self) -> str:
        """Names the index key without telling it: a database remembers it and refuses another."""
        return hmac.new(self._index_key, b"fingerprint", hashlib.sha256).hexdigest()[:16]

    def seal(self, column: str, text: str) -> bytes:
        """Encrypt for one `table.column`: key id, nonce, ciphertext with its tag."""
        nonce = os.urandom(NONCE)
        sealed = self._ciphers[self._newest].encrypt(nonce, text.encode(), column.encode())
        return bytes((self._newest,)) + nonce + sealed

    def unseal(self, column: str, blob: bytes) -> str:
        """Decrypt; SettingsError if no key fits."""
        cipher = self._ciphers.get(blob[0])
        if cipher is None:
            raise SettingsError(
                f"A value in {column} was sealed with key {blob[0]}, which is not in the keys file."
            )
        try:
            return cipher.decrypt(blob[1 : 1 + NONCE], blob[1 + NONCE :], column.encode()).decode()
        except InvalidTag as error:
            raise SettingsError(
                f"A value in {column} does not open with key {blob[0]}: the keys file belongs to another database."
            ) from error

    def index(self, purpose: str, value: str) -> bytes:
        """A blind index: equal values give equal octets within one purpose."""
        return hmac.new(self._index_key, f"{purpose}\0{value}".encode(), hashlib.sha256).digest()[:INDEX]


def make_keys() -> Keyring:
    """A ring with one fresh key, kept nowhere: for tests and trials."""
    return Keyring({1: AESGCM.generate_key(256)}, secrets.token_bytes(32))


def load_keys(path: Path, *, may_make: bool) -> Keyring:
    """Read the keys file; make it (mode 0600) where `may_make`. SettingsError says what to do otherwise."""
    try:
        return _parse(path)
    except FileNotFoundError:
        if not may_make:
            raise SettingsError(
                f"The sealing keys {path} are missing and the database already holds sealed data. "
                "Put the keys file back (from your copy), or name it in [sealing] keys_file."
            ) from None
    text = (
        HEAD + f'index = "{_b64(secrets.token_bytes(32))}"\n[keys]\n1 = "{_b64(AESGCM.generate_key(256))}"\n'
    )
    partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        with suppress(FileExistsError):  # another process was first: its keys hold
            os.link(partial, path)
    except OSError as error:
        raise GatewayError(
            "unreachable",
            f"The sealing keys {path} cannot be made: {error.strerror}. Let this user write there, free space, "
            "or name another file in [sealing] keys_file.",
        ) from None
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
    return _parse(path)


def _parse(path: Path) -> Keyring:
    try:
        data = tomllib.loads(path.read_text())
        keys = {int(number): base64.b64decode(key, validate=True) for number, key in data["keys"].items()}
        return Keyring(keys, base64.b64decode(data["index"], validate=True))
    except FileNotFoundError:
        raise
    except PermissionError:
        raise SettingsError(
            f"The keys file {path} may not be read by this user: mend its owner (mode 0600)."
        ) from None
    except OSError as error:
        raise SettingsError(
            f"The keys file {path} cannot be read: {error.strerror}. Name the right file in [sealing] keys_file."
        ) from None
    except (ValueError, KeyError, AttributeError) as error:
        why = f"{error} is missing" if isinstance(error, KeyError) else str(error)
        raise SettingsError(f"The keys file {path} is damaged ({why}). Put it back from your copy.") from None


def _b64(octets: bytes) -> str:
    return base64.b64encode(octets).decode()
