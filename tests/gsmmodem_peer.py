"""python-gsmmodem-new as it is, told by JSON lines what to do: what a program of somebody else would do with it."""

from __future__ import annotations

import json
import sys
from queue import SimpleQueue
from typing import Any

from gsmmodem.modem import GsmModem, ReceivedSms, StatusReport

_WAIT = 20  # seconds for a text or a report to come


def main(port: str) -> None:
    """Connect to a port, then answer each line of stdin with one of stdout until it ends."""
    received: SimpleQueue[ReceivedSms] = SimpleQueue()
    reports: SimpleQueue[StatusReport] = SimpleQueue()
    modem = GsmModem(port, 115200, smsStatusReportCallback=reports.put)
    modem.smsReceivedCallback = None
    modem.connect()

    def act(request: dict[str, Any]) -> dict[str, Any]:
        match request["do"]:
            case "identify":
                return {
                    "imei": modem.imei,
                    "imsi": modem.imsi,
                    "maker": modem.manufacturer,
                    "model": modem.model,
                }
            case "send":
                return {"reference": modem.sendSms(request["to"], request["text"]).reference}
            case "report":  # it asks for one of every text
                while (report := reports.get(timeout=_WAIT)).reference != request["reference"]:
                    pass
                return {
                    "number": report.number,
                    "delivered": report.deliveryStatus == StatusReport.DELIVERED,
                }
            case "callback":
                modem.smsReceivedCallback = received.put if request["on"] else None
                return {}
            case "received":
                sms = received.get(timeout=_WAIT)
                return {"number": sms.number, "text": sms.text}
            case "list":
                return {"texts": [sms.text for sms in modem.listStoredSms()]}
            case "delete":
                modem.deleteMultipleStoredSms(delFlag=4)
                return {"texts": [sms.text for sms in modem.listStoredSms()]}
            case "ussd":
                return {"text": modem.sendUssd(request["code"], responseTimeout=_WAIT).message}
        raise ValueError(request)

    for line in sys.stdin:
        try:
            answer = act(json.loads(line))
        except Exception as error:  # whatever the library raises is its answer
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
