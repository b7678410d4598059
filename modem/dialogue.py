"""USSD over one session: codes, menus and the network's own texts (3GPP TS 27.007 §7.15)."""

from __future__ import annotations

import re
from contextlib import suppress

from modem import at
from modem.port import ModemError, ModemLost, Ussd
from modem.session import Session
from modem.ussd import PACKED, TEXT, UCS2, decode, encode

_DCS = 15  # the default alphabet, language unspecified (3GPP TS 23.038 §5)
_MOST_PUSHED = 50  # texts of the network that nobody has fetched; advertising comes by the dozen
_CODE = re.compile(r"[^\"\x00-\x1f\x7f]{1,182}")  # 182 characters fill 160 octets (3GPP TS 24.080)
_CHARACTER_SETS = {TEXT: "GSM", PACKED: "GSM", UCS2: "UCS2"}
_NO = {
    2: ("ussd_refused", "the network ended the USSD dialogue without a word: check the code"),
    3: ("ussd_refused", "another program on this stick answered the network: stop it"),
    4: ("ussd_unsupported", "the network does not support this USSD code: check the code"),
    5: ("ussd_timeout", "the network did not answer the USSD code in time: try again"),
}  # by <m>


class Dialogue:
    """At most one dialogue of a session. `hear` runs in the reader's thread, under the session's condition."""

    def __init__(self, session: Session) -> None:
        self.form = TEXT
        """How this modem carries a string, as far as is known; what it took is remembered."""
        self._session = session
        self._character_set: str | None = None
        self._open = False
        # Below: guarded by the session's condition.
        self._waiting = False
        self._answer: at.Cusd | None = None
        self._pushed: list[at.Cusd] = []

    def dial(self, code: str, seconds: float) -> Ussd:
        """Send a code, or the answer to the open menu. Raises ModemError, also `ussd_timeout`, after which the dialogue is cancelled."""
        if not _CODE.fullmatch(code):
            raise ModemError(
                "ussd_invalid", "that is no USSD code: write it as on a phone, such as *123#", blame="gateway"
            )
        session = self._session
        try:
            self._send(code, seconds)
            with session.changed:
                session.changed.wait_for(
                    lambda: self._answer is not None or session.death is not None, seconds
                )
                session.check()
                answer = self._answer
        finally:
            with session.changed:
                self._waiting, self._answer = False, None
        if answer is None:
            self._open = True
            self.cancel()
            raise ModemError(_NO[5][0], _NO[5][1], blame="network", retryable=True)
        self._open = answer.state == 1
        if not self._open:
            self._back_to_gsm()
        if (answer.payload is None and answer.state in _NO) or answer.state > 2:
            wrong, detail = _NO[answer.state]
            raise ModemError(wrong, detail, blame="network", retryable=answer.state == 5)
        return Ussd(self._text(answer), more=self._open)

    def _send(self, code: str, seconds: float) -> None:
        """In the form that this modem usually takes, else in another."""
        session = self._session
        refusal: ModemError | None = None
        for form in dict.fromkeys((self.form, TEXT, PACKED, UCS2)):
            try:
                said = encode(code, form)
            except ValueError:
                continue
            self._use(_CHARACTER_SETS[form])
            with session.changed:
                self._waiting, self._answer = True, None
            try:
                session.command(f'AT+CUSD=1,"{said}",{_DCS}', seconds)
            except ModemLost:
                raise
            except ModemError as no:
                if no.blame in ("network", "sim") or no.code == "no_answer":
                    raise
                refusal = no
            else:
                self.form = form
                return
        self._back_to_gsm()
        why = f" ({refusal.detail})" if refusal else ""
        raise ModemError("ussd_refused", f"the modem takes this USSD code in no form{why}: check the code")

    def cancel(self) -> None:
        """End the open dialogue; nothing if there is none."""
        if not self._open:
            return
        self._open = False
        self._session.attempt("AT+CUSD=2")
        self._back_to_gsm()

    def pushed(self) -> list[str]:
        with self._session.changed:
            pushed, self._pushed = self._pushed, []
        return [self._text(said) for said in pushed if said.payload]

    def hear(self, line: str) -> None:
        said = at.cusd(line)
        if said is None:
            return
        if self._waiting and self._answer is None:
            self._answer = said
        else:
            self._pushed = [*self._pushed, said][-_MOST_PUSHED:]

    def _text(self, said: at.Cusd) -> str:
        return decode(said.payload or "", said.dcs, self.form)

    def _use(self, character_set: str) -> None:
        if self._character_set != character_set:
            self._session.attempt(f'AT+CSCS="{character_set}"')
            self._character_set = character_set

    def _back_to_gsm(self) -> None:
        """Names of operators and numbers are written in the character set too."""
        if self._character_set == _CHARACTER_SETS[UCS2]:
            with suppress(ModemError):
                self._use(_CHARACTER_SETS[TEXT])
