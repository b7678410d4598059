"""Modems that we never met: what each does otherwise than the standard's example, with the public source that tells it."""

from __future__ import annotations

import re
from collections.abc import Sequence

from stranger_modems import IMEI, IMSI, Kind, lines
from stranger_modems_rules import (
    asleep,
    but_the_first,
    by_pairs,
    empty_is_an_error,
    glued,
    hints_again,
    hurried,
    late_delete,
    listing_lists,
    lost_once,
    lost_prompt,
    mark_pdu,
    no_delete,
    not_yet,
    octets,
    ok_first,
    once,
    only_new,
    raw,
    read_and_remove,
    reading_reads,
    refused_once,
    restarts_once,
    sequential,
    sticks_once,
    stuck,
    twice,
    unreadable_me,
    unstuck,
    without,
)

_CIEV = '+CIEV: "MESSAGE",1'
ONE_STORAGE = ("SM",)
UNSOURCED = "told among users of modems, no public source found; harmless to stand"

KINDS: Sequence[Kind] = (
    # -- opening, identity, registration
    Kind(
        "sim-pin2-asked",
        "mmcli shows `lock: sim-pin2` of a connected RM520N (Ysurac/openmptcprouter issue 3979)",
        {r"AT\+CPIN\?": "+CPIN: SIM PIN2\nOK"},
    ),
    Kind(
        "sim-puk2-asked",
        "3GPP TS 27.007 §8.3: SIM PUK2 is said after error 18 only; the SIM works",
        {r"AT\+CPIN\?": "+CPIN: SIM PUK2\nOK"},
    ),
    Kind(
        "cpin-in-quotes",
        'smstools3 initmodem: "some modems include quotation marks", some no space',
        {r"AT\+CPIN\?": '+CPIN:"READY"\nOK'},
    ),
    Kind(
        "motorola-v3",
        "gammu atgen.c: `+CGSN: IMEI…`; gammu/wammu issue 16: +CGMI in quotes, no +CREG=2; MotorolaSMS uses MT",
        {
            r"AT\+CGSN": f"+CGSN: IMEI{IMEI}\nOK",
            r"AT\+CGMI": '+CGMI: "Motorola CE, Copyright 2004"\nOK',
            r"AT\+CGMM": '+CGMM: "GSM900","GSM1800","MODEL=V3"\nOK',
            r"AT\+C(G|E)REG\?": "ERROR",
            r"AT\+CCID": "ERROR",
        },
        storages=("MT",),
        incoming="MT",
    ),
    Kind(
        "huawei-e1550-spaces",
        'vSlipenchuk/gmodem, gmodem_device.c: `+CREG: 1, "0EE3", "2CE3"`',
        {r"AT\+CREG\?": '+CREG: 2,1, "0EE3", "2CE3"\nOK', r"AT\+CGREG\?": "ERROR"},
    ),
    Kind(
        "cpin-loses-a-byte",
        "babca/python-gsmmodem issue 65: one answer in ten is odd",
        {r"AT\+CPIN\?": once(without(b"Y"))},
    ),
    Kind("cpin-doubles-a-byte", "the same", {r"AT\+CPIN\?": once(twice(b"Y"))}),
    Kind(
        "iccid-loses-a-digit",
        "a UART without flow control drops bytes: SIM800L on a Raspberry Pi's mini UART",
        {r"AT\+CCID": once(without(b"9"))},
    ),
    Kind(
        "iccid-doubles-a-digit",
        UNSOURCED,
        {r"AT\+CCID": once(twice(b"1"))},
    ),
    Kind(
        "imsi-loses-a-digit",
        "the same, of a SIM that tells no ICCID",
        {
            r"AT\+C?CID|AT\+CICCID|AT\^ICCID\?|AT\+CRSM.*|AT\+QCCID|AT#CCID|AT\+ICCID": "ERROR",
            r"AT\+CIMI": once(without(b"5")),
        },
    ),
    Kind(
        "cimi-twice",
        UNSOURCED,
        {r"AT\+CIMI": f"{IMSI}\n{IMSI}\nOK"},
    ),
    Kind(
        "serial-number-behind-imei",
        "ModemManager, test-modem-helpers.c: IMEI and serial number in one answer",
        {r"AT\+CGSN": f"{IMEI},EB125D1P8F\nOK"},
    ),
    # -- lines
    Kind(
        "a6-ff-before-result",
        'skorokithakis/A6lib waits for "\\xff\\r\\nOK\\r\\n"',
        wire=lambda said: said.replace(b"\r\nOK", b"\xff\r\nOK"),
    ),
    Kind(
        "no-blank-lines",
        UNSOURCED,
        wire=lambda said: re.sub(rb"(?<=\r\n)\r\n", b"", said),
    ),
    Kind(
        "spaces-behind",
        "faucamp/python-gsmmodem issue 19: `OK              `",
        wire=lambda said: said.replace(b"OK\r\n", b"OK              \r\n"),
    ),
    Kind(
        "telnet-server",
        "Digi and Moxa in telnet mode negotiate first, and send CR NUL (RFC 854)",
        banner=b"\xff\xfd\x18\xff\xfb\x01\xff\xfb\x03\xff\xfd\x27",
        wire=lambda said: said.replace(b"\r\r", b"\r\0"),
        on_socket=True,
    ),
    Kind(
        "terminal-server-banner",
        "Moxa NPort and ser2net greet who connects; old output of the line comes with it",
        banner=b"ser2net port tcp,2000 device serialdev, /dev/ttyS0\r\n\r\n+CMGS: 77\r\n\r\nOK\r\n",
        on_socket=True,
    ),
    # -- what is stored
    Kind(
        "cmgl-glued-headers",
        "gammu atgen.c: some phones do not put a new line before +CMGL",
        {r"AT\+CMGL=4": glued},
        storages=ONE_STORAGE,
    ),
    Kind(
        "cmgl-other-numbers",
        "gammu F_BROKEN_CMGL (Samsung P900): CMGL does not list real locations",
        {r"AT\+CMGL=4": sequential},
        storages=ONE_STORAGE,
        slots=range(4, 20),
    ),
    Kind(
        "cmgl-lists-nothing",
        'forums.quectel.com 38460 (EC200A): CPMS counts, CMGL says only OK; gammu: "Expect problems!"',
        {r"AT\+CMGL=4": "OK"},
        storages=ONE_STORAGE,
    ),
    Kind(
        "cmgl-lists-fewer",
        "gammu atgen.c: used according to CPMS and returned by CMGL differ",
        {r"AT\+CMGL=4": but_the_first},
        storages=ONE_STORAGE,
    ),
    Kind(
        "cmgl-lists-new-only",
        UNSOURCED,
        {r"AT\+CMGL=4": only_new},
        storages=ONE_STORAGE,
    ),
    Kind(
        "ok-before-the-list",
        UNSOURCED,
        {r"AT\+CMGL=4": ok_first},
        storages=ONE_STORAGE,
    ),
    Kind(
        "quectel-ep06-text-values",
        "forums.quectel.com 7820 (EP06-A): CMGL=4 is CMS ERROR 303 in PDU mode",
        {
            r"AT\+CMGL=4": "+CMS ERROR: 303",
            r"AT\+CMGL=\?": '+CMGL: ("REC UNREAD","REC READ","STO UNSENT","STO SENT","ALL")\nOK',
        },
    ),
    Kind(
        "quectel-ec200a-me",
        "forums.quectel.com 38460: what lies in ME is counted, and neither listed nor read",
        {
            r"AT\+CMGL=4": unreadable_me,
            r"AT\+CMGR=\d+": unreadable_me,
            r'AT\+CPMS="ME".*': lambda stick, found: stick.memory.update(me=True),
        },
    ),
    Kind(
        "samsung-pairs",
        'manongdao.com/article-1845743 (Galaxy S): CPMS="SM" is error 321, mem1 and mem2 must be the same',
        {r"AT\+CPMS=\".*": by_pairs},
    ),
    Kind(
        "sm-and-me-are-one",
        "gammu issue 378 (Neoway M590): every SMS is read twice, from SM and from ME",
        same=True,
    ),
    Kind(
        "sagem-from-900",
        "gammu F_SMSME900: locations in ME start from 900",
        storages=("ME",),
        incoming="ME",
        slots=range(900, 920),
    ),
    Kind(
        "from-0-without-cmgl",
        "gammu F_SMS_LOCATION_0 and F_DISABLE_CMGL",
        {r"AT\+CMGL=4": "ERROR"},
        slots=range(20),
    ),
    Kind(
        "hint-comes-early",
        "mudita/MuditaOS pull 3512, zabsalahid/serialport-gsm issue 92: CMGR right after CMTI finds nothing",
        {r"AT\+CMGR=(\d+)": not_yet},
        storages=ONE_STORAGE,
    ),
    Kind(
        "a-storage-loses-its-name",
        "espressif/arduino-esp32 issue 2198, babca/python-gsmmodem issue 65: one byte of one answer in ten is odd",
        {r"AT\+CPMS=\?": once(raw(lambda said: said.replace(b'"SM"', b'"S\xcd"', 1)))},
    ),
    Kind("hint-names-mt", UNSOURCED, hint='+CMTI: "MT",{index}'),
    Kind(
        "hint-mms-push",
        'zabsalahid/serialport-gsm issue 60 (SIM900): +CMTI: "SM",1,"MMS PUSH",2,1',
        hint='+CMTI: "{storage}",{index},"MMS PUSH",2,1',
    ),
    Kind("hint-without-number", UNSOURCED, hint='+CMTI: "{storage}",-1'),
    Kind(
        "hint-of-another-slot",
        UNSOURCED,
        hint='+CMTI: "{storage}",255',
    ),
    Kind("hint-is-ciev", 'Ai-Thinker A6, A9: +CIEV: "MESSAGE",1 and no +CMTI', hint=_CIEV),
    Kind("no-hint-at-all", "gammu: phones that refuse every +CNMI", {r"AT\+CNMI.*": "ERROR"}),
    Kind(
        "dlink-dwm222",
        "gammu pull 823: a line of garbage before the reply to +CMGL",
        {
            r"AT\+CMGL=4": lambda stick, found: (
                b"\r\n\x02\x7f\xe9zq 17\x01\r\n" + lines("\n".join([*stick.listing(), "OK"]))
            )
        },
    ),
    Kind(
        "motorola-ezx",
        "fso-frameworkd, freescale_neptune notes: +CMGL, +CMGR and +CMT miss a comma; +COPS of noise",
        {r"AT\+COPS\?": b'\r\n+COPS: 0,2,"\x10*Zd\x12\x04I\xdc"\r\n\r\nOK\r\n'},
        listed="+CMGL: {index},{stat},{length}",
        read="+CMGR: {stat},{length}",
    ),
    Kind(
        "list-with-names",
        UNSOURCED,
        listed='+CMGL: {index},{stat},"Kantor, 2757",{length}',
        read='+CMGR: {stat},"Kantor, 2757",{length}',
    ),
    Kind(
        "list-with-three-fields",
        "forums.quectel.com 38460: `+CMGL: 0,1,160`",
        listed="+CMGL: {index},{stat},{length}",
        read="+CMGR: {stat},{length}",
        slots=range(20),
    ),
    Kind(
        "length-counts-the-centre",
        UNSOURCED,
        {r"AT\+CMGL=4": listing_lists(octets), r"AT\+CMGR=(\d+)": reading_reads(octets)},
    ),
    Kind("length-is-zero", UNSOURCED, {r"AT\+CMGL=4": listing_lists(lambda pdu: 0)}),
    Kind(
        "pdu-in-lower-case",
        UNSOURCED,
        wire=lambda said: re.sub(rb"[0-9A-F]{20,}", lambda hexes: hexes[0].lower(), said),
    ),
    Kind(
        "cpms-in-two-groups",
        UNSOURCED,
        {
            r"AT\+CPMS=\?": '+CPMS: ("SM","ME"),("SM","ME")\nOK',
            r"AT\+CPMS\?": lambda stick, found: (
                "+CPMS: "
                + ",".join(
                    f'"{name}",{len(stick.storages[name])},20' for name in (stick.current, stick.current)
                )
                + "\nOK"
            ),
            r'AT\+CPMS="\w+","\w+",.*': "+CMS ERROR: 304",
        },
    ),
    Kind(
        "cpms-without-quotes",
        UNSOURCED,
        {
            r"AT\+CPMS=\?": "+CPMS: (SM,ME),(SM,ME),(SM,ME)\nOK",
            r"AT\+CPMS\?": lambda stick, found: (
                f"+CPMS: {stick.current},{len(stick.storages[stick.current])},20\nOK"
            ),
        },
    ),
    Kind(
        "sony-ericsson-w880i",
        "babca/python-gsmmodem issue 119: +CPMS counts 0 while +CMGL lists",
        {r"AT\+CPMS\?": '+CPMS: "ME",0,1000,"ME",0,1000,"ME",0,1000\nOK'},
        storages=("ME",),
        incoming="ME",
    ),
    Kind(
        "deletes-late",
        "SIM800 AT manual: +CMGD may take 5 s, 25 s for all",
        {r"AT\+CMGD=(\d+).*": once(late_delete)},
        patience=1.0,
    ),
    Kind(
        "deletes-at-the-second-try",
        "gammu issues 217, 590: deleted OK, and there again",
        {r"AT\+CMGD=(\d+).*": once("OK")},
        storages=ONE_STORAGE,
    ),
    Kind(
        "never-deletes",
        "gammu issue 217: CMGD says OK and removes nothing",
        {r"AT\+CMGD=(\d+|\?).*": no_delete},
        storages=ONE_STORAGE,
        keeps=True,
    ),
    # -- sending
    Kind("fibocom-g510-prompt", "Fibocom G510 manual p. 118: prompt without a space", prompt=b"\r\n>"),
    Kind(
        "fibocom-g510-error",
        "Fibocom G510 manual p. 118: `+CMGS ERROR: <err>`",
        takes=refused_once("+CMGS ERROR: 38"),
    ),
    Kind("prompt-alone-on-its-line", UNSOURCED, prompt=b"\r\n>\r\n"),
    Kind(
        "prompt-twice",
        "Telit manual +CMGS: each CR in what is entered brings one more",
        prompt=b"\r\n> \r\n> ",
    ),
    Kind(
        "ok-without-cmgs",
        "gammu issue 89: `> 0791…`, OK, and no +CMGS",
        verdict="OK",
        doubt=True,
        patience=0.6,
    ),
    Kind(
        "siemens-says-ok-to-a-failure",
        "MC35i manual p. 302, AT^SM20=1 (factory default): a failure is answered OK",
        takes=lost_once,
        doubt=True,
        patience=1.0,
    ),
    Kind("cmgs-behind-ok", UNSOURCED, verdict="OK\n+CMGS: {n}"),
    Kind("cmgs-without-ok", UNSOURCED, verdict="+CMGS: {n}", patience=0.6),
    Kind("cmgs-and-two-oks", UNSOURCED, verdict="+CMGS: {n}\nOK\nOK"),
    Kind(
        "cms-error-in-words",
        "Siemens MC35i with +CMEE=2",
        takes=refused_once("+CMS ERROR: Unknown error"),
        doubt=True,
        patience=1.0,
    ),
    Kind(
        "takes-32-octets",
        "gammu F_SLOWWRITE, smstools3 send_delay, zabsalahid/serialport-gsm issue 66 (SIM800L): a PDU in one piece loses some of it",
        {r"AT\+CMGS=.*": mark_pdu},
        ear=hurried,
    ),
    Kind(
        "wakes-at-the-second-line",
        "smstools3 needs_wakeup_at (BenQ M32): the first line after a pause is not heard",
        ear=asleep,
    ),
    Kind(
        "m590-restarts-before",
        "vshymanskyy/TinyGSM, TinyGsmClientM590.h: MODEM:STARTUP, +PBREADY",
        takes=restarts_once(b"\r\nMODEM:STARTUP\r\n\r\n+PBREADY\r\n", sent=False),
        doubt=True,
        patience=1.0,
    ),
    Kind(
        "a7-restarts-after",
        "skorokithakis/A6lib: ^CINIT lines at a start",
        takes=restarts_once(b"\r\n^CINIT: 1, 0, 0\r\n^CINIT: 2, 32, 41891\r\n", sent=True),
        doubt=True,
        patience=1.0,
    ),
    Kind(
        "sierra-mc7455",
        "forum.sierrawireless.com 9324: an OK behind the prompt, the SMS goes, and no +CMGS",
        prompt=b"\r\n> \r\nOK\r\n",
        verdict=b"",
        doubt=True,
        patience=0.6,
    ),
    Kind(
        "prompt-loses-its-sign",
        "ARMmbed/mbed-os issue 10957 (SIM800C): `+CTTS: 0` came as `+CTTS0`; any byte may be the one",
        {r"AT\+CMGS=(\d+)": once(lost_prompt)},
        patience=1.0,
    ),
    Kind(
        "nokia-130",
        "gammu issue 834: SM is offered and refused, every slot must be tried, an empty one is an ERROR",
        {r'AT\+CPMS="SM".*': "ERROR", r"AT\+CMGL=4": "ERROR", r"AT\+CMGR=(\d+)": empty_is_an_error},
        incoming="ME",
    ),
    Kind(
        "cme-100",
        "3GPP TS 27.007 §9.2: `unknown`, for all that a modem does not know",
        {r"AT\+C(E|G)REG\?|AT\+CSMS.*|AT\+CNUM|AT\+CGMR|AT\+COPS=.*|AT\+CMEE=.*": "+CME ERROR: 100"},
    ),
    Kind(
        "storage-is-full-and-empty",
        "gammu issue 680: used and total are one number, whatever lies there",
        {r"AT\+CPMS\?": '+CPMS: "SM",20,20,"SM",20,20,"SM",20,20\nOK'},
        storages=ONE_STORAGE,
    ),
    Kind(
        "reads-and-removes",
        UNSOURCED,
        {r"AT\+CMGR=(\d+)": read_and_remove},
        storages=ONE_STORAGE,
    ),
    Kind(
        "says-its-hint-again",
        UNSOURCED,
        hint='+CMTI: "{storage}",{index}',
        rules={r"AT\+CPMS\?": hints_again},
        storages=ONE_STORAGE,
    ),
    Kind(
        "sony-ericsson-w880i-deaf",
        "babca/python-gsmmodem issue 119: +CPMS counts 0 while +CMGL lists, and nothing is said of what comes",
        {r"AT\+CPMS\?": '+CPMS: "ME",0,1000,"ME",0,1000,"ME",0,1000\nOK', r"AT\+CNMI=.*": "ERROR"},
        storages=("ME",),
        incoming="ME",
    ),
    Kind(
        "sim300-stuck-in-its-outbox",
        "stackguides.com 5462709 (SIM300D): no verdict, then 515 to every +CMGS while other commands work",
        {r"AT\+CMGS=.*": stuck, r"AT\+CFUN=1,1": unstuck},
        takes=sticks_once,
        doubt=True,
        patience=1.0,
    ),
    Kind(
        "nmea-on-the-port",
        "forum.sierrawireless.com 9324, SIM7600 +CGPSINFOCFG: NMEA lines between everything",
        wire=lambda said: (
            b"\r\n$GPRMC,123519,A,0612.000,S,10649.000,E,0.0,0.0,241126,,,A*6A\r\n" + said
            if b"\r\n" in said
            else said
        ),
    ),
)

GATEWAY_ONLY = frozenset({"sim300-stuck-in-its-outbox", "sony-ericsson-w880i-deaf"})
"""What only a lane can do something about."""
