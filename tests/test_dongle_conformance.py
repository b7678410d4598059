"""The simulated dongle, of every kind, as ITU-T V.250 and 3GPP TS 27.005 and 27.007 have it: written from their clauses alone."""

from __future__ import annotations

import re

import pytest
from stick_playing import OWN, START, new_dongle, ready, say

from modem.simulated import Dongle, Network
from modem.simulated.personality import personalities

PERSON, OTHER = "+6289900000001", "+628170000002"
REFUSED = r"(?:ERROR|COMMAND NOT SUPPORT|\+CM[ES] ERROR: \d+)"
CME, CMS = r"\+CME ERROR: {}", r"\+CMS ERROR: {}"
KINDS = tuple(personalities())

Exchange = tuple[str, ...]
"""What is said, then the lines of the answer as patterns; one pattern may span several lines."""


def stick(kind: str) -> Dongle:
    network = Network()
    network.person(PERSON)
    return ready(network=network, personality=kind)


def fed(dongle: Dongle, data: str) -> str:
    return dongle.feed(data.encode("latin-1"), START).decode("latin-1")


def wrong_in(dongle: Dongle, exchanges: list[Exchange]) -> list[tuple[str, list[str]]]:
    """The exchanges that did not go as they should, with what was said."""
    wrong = []
    for said, *wanted in exchanges:
        lines = [line for line in say(dongle, said).split("\r\n") if line]
        if re.fullmatch("\n".join(wanted), "\n".join(lines)) is None:
            wrong.append((said, lines))
    return wrong


# What a group says is said to one stick, one line after another. Each belongs to the clause that its name has.
GROUPS: dict[str, list[Exchange]] = {
    "V.250 5.2 command lines": [
        ("AT", "OK"),
        ("at", "OK"),
        ("AT ", "OK"),
        ("  AT", "OK"),
        ("AT E 0 V 1", "OK"),
        ("ATE0;V1", "OK"),
        ("ATE0V1Q0X4&C1&D2S0=0", "OK"),
        ("A",),
        ("XYZ",),
        ("ATE2", "ERROR"),
        ("ATQ2", "ERROR"),
        ("ATV7", "ERROR"),
        ("ATX9", "ERROR"),
        ("ATE0+CSQ", r"\+CSQ: \d+,\d+", "OK"),
    ],
    "V.250 5.4 extended syntax": [
        ("AT+CSQ;+CREG?", r"\+CSQ: \d+,\d+", r"\+CREG: 0,1", "OK"),
        ("AT + CMEE = 1 ; + CMEE ?", r"\+CMEE: 1", "OK"),
        ("AT+CMEE = ?", r"\+CMEE: \(0[-,].*2\)", "OK"),
        ("at+cmee?", r"\+CMEE: 1", "OK"),
        ("AT+CMEE?;", r"\+CMEE: 1", "OK"),
        ("AT+CMEE?+CSQ", REFUSED),
        ("AT+CSQ;+NOSUCH;+CSQ", r"\+CSQ: \d+,\d+", REFUSED),
        ('AT+CPBW=1,"0899;0",129,"a;b";+CPBR=1', CME.format(27)),
        ('AT+CPBW=1,"08990",129,"a;b";+CPBR=1', r'\+CPBR: 1,"08990",129,"a;b"', "OK"),
        ('AT+CPBW=1,"08990,129', CME.format(50)),
        ("AT+CPBW=1", "OK"),
        ("AT+CSQ=1", REFUSED),
        ("AT+CSQ?", REFUSED),
        ("AT+CGMI?", REFUSED),
        ("AT+CIMI=1", REFUSED),
        ("AT+CREG", REFUSED),
        ("AT+CFUN", REFUSED),
        ("AT+COPS", REFUSED),
        ("AT+CPIN", REFUSED),
        ("AT+CUSD", REFUSED),
    ],
    "V.250 5.3.2 registers": [
        ("ATS0?", "000", "OK"),
        ("ATS3?", "013", "OK"),
        ("ATS4?", "010", "OK"),
        ("ATS5?", "008", "OK"),
        ("ATS6?", "002", "OK"),
        ("ATS8?", "002", "OK"),
        ("ATS7=60S7?", "060", "OK"),
        ("ATS0=3S0?S0=0S0?", "003", "000", "OK"),
        ("ATS0=256", "ERROR"),
        ("ATS3=128", "ERROR"),
        ("ATS999?", "ERROR"),
    ],
    "V.250 6.1 identity and profile": [
        ("AT+GMI", r"\S.*", "OK"),
        ("AT+GMM", r"\S.*", "OK"),
        ("AT+GMR", r"\S.*", "OK"),
        ("AT+GSN", r"\d{15}", "OK"),
        ("AT+GMI=?", "OK"),
        ("AT+GCAP", r"\+GCAP: \+CGSM.*", "OK"),
        ("ATI", r"(?s:\S.*)", "OK"),
        ("ATI0", r"(?s:\S.*)", "OK"),
        ("AT&V", r"(?s:.*E0 V1 Q0.*S0:000 S3:013.*)", "OK"),
        ("ATZ5", "ERROR"),
        ("AT&F7", "ERROR"),
        ("AT&W", "OK"),
    ],
    "V.250 6.2 the line": [
        ("AT+IPR=?", r"\+IPR: \([\d,]*\),\([\d,]+\)", "OK"),
        ("AT+IPR?", r"\+IPR: \d+", "OK"),
        ("AT+IPR=9600;+IPR?", r"\+IPR: 9600", "OK"),
        ("AT+IPR=7", REFUSED),
        ("AT+ICF=?", r"\+ICF: \([\d,-]+\),\([\d,-]+\)", "OK"),
        ("AT+ICF=3,3;+ICF?", r"\+ICF: 3,3", "OK"),
        ("AT+ICF=9", REFUSED),
        ("AT+IFC=?", r"\+IFC: \([\d,-]+\),\([\d,-]+\)", "OK"),
        ("AT+IFC=2,2;+IFC?", r"\+IFC: 2,2", "OK"),
        ("AT+IFC=0;+IFC?", r"\+IFC: 0,2", "OK"),
        ("AT+IFC=,1;+IFC?", r"\+IFC: 0,1", "OK"),
        ("AT+IFC=7,0", REFUSED),
        ("AT+IFC=0,0,0", REFUSED),
        ("AT+ILRR=1;+ILRR?", r"\+ILRR: 1", "OK"),
        ("AT+DS?", r"\+DS: \d,\d,\d+,\d+", "OK"),
        ("AT+ES=?", r"\+ES: \([\d,-]+\),\([\d,-]+\),\([\d,-]+\)", "OK"),
    ],
    "V.250 6.3 calls": [
        ("ATO", "NO CARRIER"),
        ("ATP", "OK"),
        ("ATT", "OK"),
        ("ATH", "OK"),
        ("ATH0", "OK"),
        ("ATH9", "ERROR"),
        ("ATL0M0", "OK"),
        ("ATL9", "ERROR"),
        ("ATA", "NO CARRIER"),
        ("ATDT*99#", "NO CARRIER"),
        ("AT+CHUP", "OK"),
        ("AT+CEER", r"\+CEER: .+", "OK"),
    ],
    "27.007 5 identity and alphabet": [
        ("AT+CGMI", r"\S.*", "OK"),
        ("AT+CGMM", r"\S.*", "OK"),
        ("AT+CGMR", r"\S.*", "OK"),
        ("AT+CGSN", r"\d{15}", "OK"),
        ("AT+CGSN=?", "OK"),
        ("AT+CIMI", r"\d{15}", "OK"),
        ("AT+CIMI=?", "OK"),
        ("AT+CSCS=?", r'\+CSCS: \(.*"UCS2".*\)', "OK"),
        ('AT+CSCS="GSM";+CSCS?', r'\+CSCS: "GSM"', "OK"),
        ('AT+CSCS="NOSUCH"', REFUSED),
    ],
    "27.007 6 calls": [
        ("AT+CLIP=?", r"\+CLIP: \(0[,-]1\)", "OK"),
        ("AT+CLIP=1;+CLIP?", r"\+CLIP: 1,[012]", "OK"),
        ("AT+CLIP=2", REFUSED),
        ("AT+CLIR=?", r"\+CLIR: \(0[,-].*2\)", "OK"),
        ("AT+CLIR=1;+CLIR?", r"\+CLIR: 1,[0-4]", "OK"),
        ("AT+COLP=1;+COLP?", r"\+COLP: 1,[012]", "OK"),
        ("AT+CRC=1;+CRC?", r"\+CRC: 1", "OK"),
        ("AT+CRC=5", REFUSED),
        ("AT+CSTA?", r"\+CSTA: 129", "OK"),
        ("AT+CMOD=0;+CMOD?", r"\+CMOD: 0", "OK"),
        ("AT+CMOD=3", REFUSED),
        ("AT+CRLP?", r"\+CRLP: \d+,\d+,\d+,\d+", "OK"),
        ("AT+CBST?", r"\+CBST: \d+,\d,\d", "OK"),
        ("AT+CR=1;+CR?", r"\+CR: 1", "OK"),
        ("AT+CLCC", "OK"),
    ],
    "27.007 7 supplementary services": [
        ("AT+CCFC=?", r"\+CCFC: \([\d,-]+\)", "OK"),
        ("AT+CCFC=0,2", r"\+CCFC: 0,7", "OK"),
        ("AT+CCFC=9,2", REFUSED),
        ("AT+CCFC=0", REFUSED),
        ("AT+CCWA=?", r"\+CCWA: \(0[,-]1\)", "OK"),
        ("AT+CCWA=1;+CCWA?", r"\+CCWA: 1", "OK"),
        ("AT+CCWA=1,2", r"\+CCWA: [01],7", "OK"),
        ("AT+CSSN=1;+CSSN?", r"\+CSSN: 1,0", "OK"),
        ("AT+CSSN=,1;+CSSN?", r"\+CSSN: 1,1", "OK"),
        ("AT+CSSN=2", REFUSED),
        ("AT+CUSD=?", r"\+CUSD: \(0[,-].*2\)", "OK"),
        ("AT+CUSD=1;+CUSD?", r"\+CUSD: 1", "OK"),
        ("AT+CUSD=2", "OK"),
        ("AT+CUSD=9", REFUSED),
    ],
    "27.007 7.2 registration": [
        ("AT+CREG=?", r"\+CREG: \(0[,-].*2\)", "OK"),
        ("AT+CREG=1;+CREG?", r"\+CREG: 1,1", "OK"),
        ("AT+CREG=2;+CREG?", r'\+CREG: 2,1,"[0-9A-F]{4}","[0-9A-F]+"(,\d)?', "OK"),
        ("AT+CREG=0;+CREG?", r"\+CREG: 0,1", "OK"),
        ("AT+CREG=9", REFUSED),
        ("AT+CGREG=2;+CGREG?", r'\+CGREG: 2,1,"[0-9A-F]{4}","[0-9A-F]+".*', "OK"),
        ("AT+CSQ=?", r"\+CSQ: \(0-31,99\),\(.*99\)", "OK"),
    ],
    "27.007 7.3 operators": [
        ("AT+COPS=?", r'\+COPS: \(2,"XL","XL","51011"(,\d)?\).*,,\([\d,-]+\),\([\d,-]+\)', "OK"),
        ("AT+COPS?", r'\+COPS: 0,0,"XL"(,\d)?', "OK"),
        ("AT+COPS=3,1;+COPS?", r'\+COPS: 0,1,"XL"(,\d)?', "OK"),
        ("AT+COPS=3,2;+COPS?", r'\+COPS: 0,2,"51011"(,\d)?', "OK"),
        ("AT+COPS=3", "OK"),
        ("AT+COPS=3,7", REFUSED),
        ('AT+COPS=1,2,"51011";+COPS?', r'\+COPS: 1,0,"XL"(,\d)?', "OK"),
        ('AT+COPS=1,0,"XL"', "OK"),
        ("AT+COPS=1,2", REFUSED),
        ('AT+COPS=1,2,"51010"', CME.format(32)),
        ('AT+COPS=1,2,"99999"', CME.format(30)),
        ('AT+COPS=4,2,"99999";+COPS?', r'\+COPS: 0,0,"XL"(,\d)?', "OK"),
        ("AT+COPS=2;+COPS?;+CREG?", r"\+COPS: 2", r"\+CREG: 0,0", "OK"),
        ("AT+COPS=0;+CREG?", r"\+CREG: 0,1", "OK"),
        ("AT+COPS=9", REFUSED),
    ],
    "27.007 7.4 locks": [
        ("AT+CLCK=?", r'\+CLCK: \(.*"SC".*\)', "OK"),
        ('AT+CLCK="SC",2', r"\+CLCK: 0", "OK"),
        ('AT+CLCK="SC",1', REFUSED),
        ('AT+CLCK="SC",1,"1234"', "OK"),
        ('AT+CLCK="SC",2', r"\+CLCK: 1", "OK"),
        ('AT+CLCK="SC",0,"9999"', CME.format(16)),
        ('AT+CPWD="SC","1234","4321"', "OK"),
        ('AT+CLCK="SC",0,"1234"', CME.format(16)),
        ('AT+CLCK="SC",0,"4321"', "OK"),
        ('AT+CLCK="SC",1,"0000"', CME.format(16)),
        ('AT+CLCK="SC",2', r"\+CLCK: 0", "OK"),
        ('AT+CLCK="SC",1,"4321"', "OK"),
        ('AT+CPWD="SC","4321"', REFUSED),
        ("AT+CPWD=?", r'\+CPWD: \("SC",8\).*', "OK"),
        ('AT+CLCK="AO",1,"0000";+CLCK="AO",2', r"\+CLCK: 1,\d+", "OK"),
        ('AT+CLCK="AG",1,"0000"', REFUSED),
        ('AT+CLCK="AG",0,"9999"', CME.format(16)),
        ('AT+CLCK="AG",0,"0000";+CLCK="AO",2', r"\+CLCK: 0,\d+", "OK"),
        ('AT+CPWD="AB","0000","1111"', "OK"),
        ('AT+CLCK="AI",1,"0000"', CME.format(16)),
        ('AT+CLCK="AI",9,"1111"', REFUSED),
        ('AT+CLCK="ZZ",2', REFUSED),
    ],
    "27.007 8 the equipment": [
        ("AT+CPAS", r"\+CPAS: 0", "OK"),
        ("AT+CPAS=?", r"\+CPAS: \([\d,-]+\)", "OK"),
        ("AT+CFUN?", r"\+CFUN: 1", "OK"),
        ("AT+CFUN=?", r"\+CFUN: \([\d,-]+\),\(0[,-]1\)", "OK"),
        ("AT+CFUN=1,0", "OK"),
        ("AT+CFUN=1,2", REFUSED),
        ("AT+CFUN=4;+CFUN?;+CREG?", r"\+CFUN: 4", r"\+CREG: 0,0", "OK"),
        ("AT+CFUN=1;+CREG?", r"\+CREG: 0,1", "OK"),
        ("AT+CFUN=99", REFUSED),
        ("AT+CPIN?", r"\+CPIN: READY", "OK"),
        ("AT+CPIN=?", "OK"),
        ('AT+CPIN="1234"', CME.format(3)),
        ("AT+CBC", r"\+CBC: \d,\d+.*", "OK"),
        ("AT+CBC=?", r"\+CBC: \(.*\),\(.*\)", "OK"),
        ("AT+CCLK?", r'\+CCLK: "26/11/24,10:00:00\+28"', "OK"),
        ('AT+CCLK="27/01/02,03:04:05+08";+CCLK?', r'\+CCLK: "27/01/02,03:04:05\+08"', "OK"),
        ('AT+CCLK="27/13/02,03:04:05+08"', REFUSED),
        ("AT+CCLK=now", REFUSED),
        ("AT+CTZR=1;+CTZR?", r"\+CTZR: 1", "OK"),
        ("AT+CTZU=7", REFUSED),
        ("AT+CLAC", r"(?s:.*\+CMGS.*)", "OK"),
    ],
    "27.007 8.9 indicators": [
        ("AT+CIND=?", r'\+CIND: \("signal",\(0-5\)\).*', "OK"),
        ("AT+CIND?", r"\+CIND: [\d,]+", "OK"),
        ("AT+CMER=?", r"\+CMER: \([\d,-]+\)(,\([\d,-]+\))*", "OK"),
        ("AT+CMER?", r"\+CMER: 0,0,0,0,0", "OK"),
        ("AT+CMER=3,0,0,1;+CMER?", r"\+CMER: 3,0,0,1,0", "OK"),
        ("AT+CMER=9", REFUSED),
        ("AT+CMER=3,9", REFUSED),
        ("AT+CMER=0;+CMER?", r"\+CMER: 0,0,0,1,0", "OK"),
    ],
    "27.007 8.11 phonebooks": [
        ("AT+CPBS=?", r'\+CPBS: \(.*"SM".*\)', "OK"),
        ('AT+CPBS="SM";+CPBS?', r'\+CPBS: "SM",0,250', "OK"),
        ('AT+CPBS="ZZ"', REFUSED),
        ("AT+CPBR=?", r"\+CPBR: \(1-250\),\d+,\d+", "OK"),
        ("AT+CPBW=?", r"\+CPBW: \(1-250\),\d+,\(.*129.*\),\d+", "OK"),
        ("AT+CPBF=?", r"\+CPBF: \d+,\d+", "OK"),
        ("AT+CPBR=1,250", "OK"),
        ('AT+CPBW=3,"0899001",129,"Ani"', "OK"),
        ('AT+CPBW=,"62899002",145,"Budi"', "OK"),
        ('AT+CPBW=,"0899003",129,"Andi"', "OK"),
        ("AT+CPBS?", r'\+CPBS: "SM",3,250', "OK"),
        ("AT+CPBR=1", r'\+CPBR: 1,"\+62899002",145,"Budi"', "OK"),
        ("AT+CPBR=2,3", r'\+CPBR: 2,"0899003",129,"Andi"', r'\+CPBR: 3,"0899001",129,"Ani"', "OK"),
        ('AT+CPBF="an"', r'\+CPBF: 2,.*"Andi"', r'\+CPBF: 3,.*"Ani"', "OK"),
        ('AT+CPBF="zz"', CME.format(22)),
        ("AT+CPBW=2;+CPBR=2", "OK"),
        ("AT+CPBR=0", CME.format(21)),
        ('AT+CPBW=251,"0899"', CME.format(21)),
        ('AT+CPBW=5,"abc"', CME.format(27)),
        ('AT+CPBW=5,"' + "1" * 25 + '"', CME.format(26)),
        ('AT+CPBW=5,"0899",129,"' + "n" * 19 + '"', CME.format(24)),
        ('AT+CPBS="ON";+CPBS?', r'\+CPBS: "ON",1,1', "OK"),
        ("AT+CPBR=1", rf'\+CPBR: 1,"\{OWN}",145,""', "OK"),
        ('AT+CPBW=1,"+6289900000077",145,"Kantor"', "OK"),
        ("AT+CNUM", r'\+CNUM: "Kantor","\+6289900000077",145', "OK"),
        ("AT+CPBW=1;+CNUM", "OK"),
    ],
    "27.007 9 errors": [
        ("AT+CMEE=0;+CMEE?", r"\+CMEE: 0", "OK"),
        ("AT+CPBR=0", "ERROR"),
        ("AT+CMEE=2", "OK"),
        ("AT+CPBR=0", r"\+CME ERROR: invalid index"),
        ("AT+CMGR=9999", r"\+CMS ERROR: Invalid memory index"),
        ("AT+CMEE=1", "OK"),
        ("AT+CPBR=0", CME.format(21)),
        ("AT+CMEE=9", REFUSED),
        ("AT+CMEE=1,1", REFUSED),
    ],
    "27.007 10.1 packet data": [
        ("AT+CGATT?", r"\+CGATT: 1", "OK"),
        ("AT+CGDCONT?", r'\+CGDCONT: 1,"IP",.*', "OK"),
        ("AT+CGACT?", r"\+CGACT: 1,0", "OK"),
        ("AT+CGPADDR=1", r"\+CGPADDR: 1", "OK"),
        ("AT+CGACT=1,1;+CGACT?", r"\+CGACT: 1,1", "OK"),
        ("AT+CGPADDR", r'\+CGPADDR: 1,"\d+\.\d+\.\d+\.\d+"', "OK"),
        ("AT+CGACT=1,9", REFUSED),
        ("AT+CGATT=0;+CGATT?;+CGACT?", r"\+CGATT: 0", r"\+CGACT: 1,0", "OK"),
        ("AT+CGACT=1", CME.format(148)),
        ("AT+CGATT=1;+CGACT=1;+CGACT=0;+CGACT?", r"\+CGACT: 1,0", "OK"),
        ("AT+CGATT=7", REFUSED),
        ("AT+CGEREP=1;+CGEREP?", r"\+CGEREP: 1,0", "OK"),
    ],
    "27.005 3.2 general": [
        ("AT+CSMS=?", r"\+CSMS: \(0[,-]1\)", "OK"),
        ("AT+CSMS=1", r"\+CSMS: 1,1,1", "OK"),
        ("AT+CSMS?", r"\+CSMS: 1,1,1,1", "OK"),
        ("AT+CSMS=7", REFUSED),
        ("AT+CPMS=?", r"\+CPMS: (\(.*?\)),(\(.*?\)),(\(.*?\))", "OK"),
        ('AT+CPMS="SM"', r"\+CPMS: 0,30,0,30,0,30", "OK"),
        ('AT+CPMS="ME","SM","SM"', r"\+CPMS: 0,\d+,0,30,0,30", "OK"),
        ("AT+CPMS?", r'\+CPMS: "ME",0,\d+,"SM",0,30,"SM",0,30', "OK"),
        ('AT+CPMS="SM","NO"', REFUSED),
        ("AT+CPMS", REFUSED),
        ("AT+CPMS=", REFUSED),
        ('AT+CPMS="SM","SM","SM","SM"', REFUSED),
        ("AT+CMGF=?", r"\+CMGF: \(0[,-]1\)", "OK"),
        ("AT+CMGF=1;+CMGF?", r"\+CMGF: 1", "OK"),
        ("AT+CMGF=0;+CMGF?", r"\+CMGF: 0", "OK"),
        ("AT+CMGF=2", REFUSED),
    ],
    "27.005 3.3 what is set": [
        ("AT+CSCA?", r'\+CSCA: "\+6281700000999",145', "OK"),
        ('AT+CSCA="0817000";+CSCA?', r'\+CSCA: "0817000",129', "OK"),
        ('AT+CSCA="62817000",145;+CSCA?', r'\+CSCA: "\+62817000",145', "OK"),
        ('AT+CSCA=""', REFUSED),
        ("AT+CSMP?", r"\+CSMP: 17,167,0,0", "OK"),
        ("AT+CSMP=49,11,0,0", "OK"),
        ('AT+CSCB=0,"0-5","0-3";+CSCB?', r'\+CSCB: 0,"0-5","0-3"', "OK"),
        ("AT+CSCB=9", REFUSED),
        ('AT+CSCB=0,"abc"', REFUSED),
        ("AT+CSAS=?", r"\+CSAS: \(0\)", "OK"),
        ("AT+CSAS", "OK"),
        ('AT+CSMP=17,167,0,8;+CSCB=1,"",""', "OK"),
        ("AT+CRES", "OK"),
        ("AT+CSMP?;+CSCB?", r"\+CSMP: 49,11,0,0", r'\+CSCB: 0,"0-5","0-3"', "OK"),
        ("AT+CRES=9", REFUSED),
        ("AT+CSDH=1;+CSDH?", r"\+CSDH: 1", "OK"),
        ("AT+CSDH=5", REFUSED),
    ],
    "27.005 3.4 receiving": [
        ("AT+CNMI=?", r"\+CNMI: \([\d,-]+\),\([\d,-]+\),\([\d,-]+\),\([\d,-]+\),\([\d,-]+\)", "OK"),
        ("AT+CNMI=2,1;+CNMI?", r"\+CNMI: 2,1,\d,\d,\d", "OK"),
        ("AT+CNMI=9", REFUSED),
        ("AT+CNMI=2,1,0,0,0,0", REFUSED),
        ("AT+CNMA", CMS.format(340)),
        ("AT+CMGL=?", r"\+CMGL: \(0[,-].*4\)", "OK"),
        ("AT+CMGL=4", "OK"),
        ("AT+CMGL=7", REFUSED),
        ("AT+CMGR=?", "OK"),
        ("AT+CMGR=9999", CMS.format(321)),
        ("AT+CMGR", REFUSED),
        ("AT+CMGD=?", r"\+CMGD: \(.*\),\(0-4\)", "OK"),
        ("AT+CMGD=9999", CMS.format(321)),
        ("AT+CMGD=1,9", REFUSED),
        ("AT+CMGD=1,4", "OK"),
        ("AT+CMGF=1", "OK"),
        ("AT+CMGL=?", r'\+CMGL: \("REC UNREAD","REC READ","STO UNSENT","STO SENT","ALL"\)', "OK"),
        ("AT+CMGL", "OK"),
        ('AT+CMGL="NONE"', REFUSED),
    ],
    "27.005 3.5 sending": [
        ("AT+CMGS=?", "OK"),
        ("AT+CMGW=?", "OK"),
        ("AT+CMSS=?", "OK"),
        ("AT+CMSS=9999", CMS.format(321)),
        ("AT+CMGS=0", REFUSED),
        ("AT+CMGS=999", REFUSED),
        ("AT+CMGS=x", REFUSED),
        ("AT+CMMS=?", r"\+CMMS: \(0[,-].*2\)", "OK"),
        ("AT+CMMS=1;+CMMS?", r"\+CMMS: 1", "OK"),
        ("AT+CMMS=7", REFUSED),
        ("AT+CMGF=1", "OK"),
        ('AT+CMGS=""', REFUSED),
        ('AT+CMGS="not a number"', REFUSED),
        ("AT+CMGS=name", REFUSED),
        (f'AT+CMGW="{PERSON}",145,"NO STATE"', REFUSED),
        (f'AT+CMGS="{PERSON}",145,1', REFUSED),
    ],
}


def test_there_are_enough_of_them() -> None:
    assert sum(map(len, GROUPS.values())) > 300


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("group", GROUPS)
def test_what_it_answers(group: str, kind: str) -> None:
    assert not wrong_in(stick(kind), GROUPS[group])


# -- how the bytes stand -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_result_codes_are_digits_and_information_is_short_after_atv0(kind: str) -> None:
    """V.250 §5.7.1, §6.2.6: numbers end with S3 alone, information text ends with S3 and S4 and has nothing before it."""
    dongle = stick(kind)
    assert fed(dongle, "ATV0\r") == "0\r"
    assert fed(dongle, "AT+CIMI\r") == "510110000000001\r\n0\r"
    assert fed(dongle, "ATE9\r") == "4\r"
    assert fed(dongle, "ATO\r") == "3\r"
    assert fed(dongle, "ATV1\r") == "\r\nOK\r\n"


@pytest.mark.parametrize("kind", KINDS)
def test_atq1_hides_result_codes_and_no_information(kind: str) -> None:
    """V.250 §6.2.5."""
    dongle = stick(kind)
    assert fed(dongle, "ATQ1\r") == ""
    assert fed(dongle, "AT+CIMI\r") == "\r\n510110000000001\r\n"
    assert fed(dongle, "ATE9\r") == ""
    assert fed(dongle, "ATQ0\r") == "\r\nOK\r\n"


@pytest.mark.parametrize("kind", KINDS)
def test_other_characters_may_end_a_line_and_part_lines(kind: str) -> None:
    """V.250 §6.2.1 to §6.2.3: a line ends with the S3 of its beginning, and is answered with the one that it set."""
    dongle = stick(kind)
    assert fed(dongle, "ATS3=36\r") == "$\nOK$\n"
    assert fed(dongle, "ATS4=38$") == "$&OK$&"
    assert fed(dongle, "AT+CIMI$") == "$&510110000000001$&$&OK$&"
    assert fed(dongle, "ATS5=35$AT+CSQX#$") == "$&OK$&$&+CSQ: 20,99$&$&OK$&"
    assert fed(dongle, "ATS3=13S4=10S5=8$") == "\r\nOK\r\n"


@pytest.mark.parametrize("kind", KINDS)
def test_the_last_line_is_done_again_also_when_it_was_refused(kind: str) -> None:
    """V.250 §5.2.4: A/ wants no end of line."""
    dongle = stick(kind)
    refused = fed(dongle, "AT+CMGR=9999\r")
    assert fed(dongle, "A/") == refused == "\r\n+CMS ERROR: 321\r\n"
    assert fed(dongle, "AT+CIMI\ra/") == "\r\n510110000000001\r\n\r\nOK\r\n" * 2


@pytest.mark.parametrize("kind", KINDS)
def test_echo_is_on_after_a_reset_of_the_session(kind: str) -> None:
    """V.250 §6.1.1, §6.2.4."""
    dongle = stick(kind)
    assert fed(dongle, "AT&F\r") == "\r\nOK\r\n"
    assert fed(dongle, "AT\r") == "AT\r\r\nOK\r\n"
    assert fed(dongle, "ATE0\r") == "ATE0\r\r\nOK\r\n"
    assert fed(dongle, "AT\r") == "\r\nOK\r\n"


# -- what happens by itself ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_indicators_that_change_are_told_to_who_asked(kind: str) -> None:
    """3GPP TS 27.007 §8.10: <ind> 1, and a <mode> that does not keep them."""
    dongle = stick(kind)
    say(dongle, "AT+CNMI=2,0;+CMER=3,0,0,1")
    dongle.turn(START, signal=4)
    assert dongle.drain() == b"\r\n+CIEV: 1,1\r\n"
    dongle.turn(START, signal=5)
    assert dongle.drain() == b""
    dongle.turn(START, registration=5)
    assert dongle.drain() == b"\r\n+CIEV: 3,1\r\n"
    dongle.turn(START, registration=2)
    assert dongle.drain() == b"\r\n+CIEV: 1,0\r\n\r\n+CIEV: 2,0\r\n\r\n+CIEV: 3,0\r\n"
    dongle.turn(START, registration=1)
    dongle.drain()
    dongle.network.text(PERSON, OWN, "Halo", now=START)
    assert dongle.drain() == b"\r\n+CIEV: 4,1\r\n"
    assert say(dongle, "AT+CMGD=1,4") == "\r\n+CIEV: 4,0\r\n\r\nOK\r\n"
    assert dongle.call(PERSON, START)
    assert b"+CIEV: 5,1" in dongle.drain()
    assert say(dongle, "ATH") == "\r\n+CIEV: 5,0\r\n\r\nOK\r\n"
    say(dongle, "AT+CMER=0")
    dongle.turn(START, signal=31)
    assert dongle.drain() == b""


@pytest.mark.parametrize("kind", KINDS)
def test_a_call_is_told_as_clip_and_crc_want_it(kind: str) -> None:
    """3GPP TS 27.007 §6.11, §7.6."""
    dongle = stick(kind)
    say(dongle, "AT+CLIP=1;+CRC=1")
    assert dongle.call(PERSON, START)
    said = dongle.drain().decode()
    assert "\r\n+CRING: VOICE\r\n" in said
    assert f'\r\n+CLIP: "{PERSON}",145' in said
    assert re.search(r"\r\n\+CPAS: 3\r\n", say(dongle, "AT+CPAS"))
    assert re.search(rf'\r\n\+CLCC: 1,1,4,0,0,"\{PERSON}",145\r\n', say(dongle, "AT+CLCC"))
    say(dongle, "AT+CHUP")
    assert "\r\n+CPAS: 0\r\n" in say(dongle, "AT+CPAS")


@pytest.mark.parametrize("kind", KINDS)
def test_a_card_wants_its_pin_and_then_its_puk(kind: str) -> None:
    """3GPP TS 27.007 §8.3."""
    dongle = new_dongle(personality=kind, pin="1234")
    wrong = wrong_in(
        dongle,
        [
            ("ATE0", "ATE0\r", "OK"),
            ("AT+CMEE=1", "OK"),
            ("AT+CPIN?", r"\+CPIN: SIM PIN", "OK"),
            ("AT+CIMI", CME.format(11)),
            ("AT+CMGL=4", CMS.format(311)),
            ("AT+CNUM", CME.format(11)),
            ("AT+CFUN?", r"\+CFUN: 1", "OK"),
            ("AT+CGSN", r"\d{15}", "OK"),
            *(('AT+CPIN="0000"', CME.format(16)) for _ in range(3)),
            ("AT+CPIN?", r"\+CPIN: SIM PUK", "OK"),
            ("AT+CIMI", CME.format(12)),
            ("AT+CMGL=4", CMS.format(316)),
            ('AT+CPIN="1234"', CME.format(12)),
            ('AT+CPIN="00000000","5678"', CME.format(16)),
            ('AT+CPIN="99999999","5678"', "OK"),
            ("AT+CPIN?", r"\+CPIN: READY", "OK"),
            ('AT+CLCK="SC",0,"5678"', "OK"),
        ],
    )
    assert not wrong


# -- messages ------------------------------------------------------------------------------------------------------


def text_mode(kind: str) -> Dongle:
    dongle = stick(kind)
    say(dongle, "AT+CMGF=1")
    return dongle


@pytest.mark.parametrize("kind", KINDS)
def test_a_character_of_a_text_may_be_taken_back(kind: str) -> None:
    """3GPP TS 27.005 §3.5.1."""
    dongle = text_mode(kind)
    say(dongle, 'AT+CSCS="IRA"')
    say(dongle, f'AT+CMGS="{PERSON}"')
    assert "+CMGS: " in fed(dongle, "\b\bHalx\bo dunja\b\bia\x1a")
    say(dongle, f'AT+CSCS="GSM";+CMGS="{PERSON}"')
    fed(dongle, "Lunted\b\x1a")
    assert [one.text for one in dongle.network.ledger if one.kind == "submitted"] == ["Halo dunia", "Luntedò"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_text_of_nothing_is_a_line_of_its_own(kind: str) -> None:
    """3GPP TS 27.005 §3.4.2, §3.4.3: <data> stands behind the head, whatever it is."""
    dongle = text_mode(kind)
    first = dongle.personality.first_index
    dongle.network.text(PERSON, OWN, "", now=START)
    assert re.search(r"\r\n\+CMGR: [^\r]+\r\n\r\n\r\nOK\r\n$", say(dongle, f"AT+CMGR={first}"))
    assert re.search(r"\r\n\+CMGL: [^\r]+\r\n\r\n\r\nOK\r\n$", say(dongle, 'AT+CMGL="ALL"'))


@pytest.mark.parametrize("kind", KINDS)
def test_an_escape_and_a_wrong_length_send_nothing(kind: str) -> None:
    """3GPP TS 27.005 §4.3: the length is that of the TPDU."""
    dongle = stick(kind)
    good = "0001000481725700000161"
    for command in ("+CMGS", "+CMGW"):
        assert say(dongle, f"AT{command}=10") == "\r\n> "
        assert fed(dongle, f"{good}\x1b") == "\r\nOK\r\n"
        assert say(dongle, f"AT{command}=11") == "\r\n> "
        assert fed(dongle, f"{good}\x1a") == "\r\n+CMS ERROR: 304\r\n"
    assert dongle.network.ledger == []
    assert say(dongle, "AT+CMGL=4") == "\r\nOK\r\n"


@pytest.mark.parametrize("kind", KINDS)
def test_a_listing_reads_what_was_unread_and_flags_delete_by_state(kind: str) -> None:
    """3GPP TS 27.005 §3.4.2, §3.5.4."""
    dongle = text_mode(kind)
    first = dongle.personality.first_index
    for text in ("satu", "dua"):
        dongle.network.text(PERSON, OWN, text, now=START)
    assert '"REC UNREAD"' in say(dongle, f"AT+CMGR={first}")
    assert '"REC READ"' in say(dongle, f"AT+CMGR={first}")
    say(dongle, f'AT+CMGW="{PERSON}",145,"STO UNSENT"')
    fed(dongle, "nanti\x1a")
    say(dongle, f'AT+CMGW="{PERSON}",145,"STO SENT"')
    fed(dongle, "sudah\x1a")
    # In the order of the slots: 1 read, 0 unread, 2 unsent, 3 sent.
    for flag, left in ((1, [0, 2, 3]), (2, [0, 2]), (3, [0]), (4, [])):
        assert say(dongle, f"AT+CMGD={first},{flag}") == "\r\nOK\r\n"
        assert [slot.stat for _, slot in dongle.sim.storage.listed()] == left
    assert say(dongle, 'AT+CMGL="ALL"') == "\r\nOK\r\n"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("mode", [0, 1, 2, 3])
def test_indications_are_kept_or_told_as_the_mode_says(kind: str, mode: int) -> None:
    """3GPP TS 27.005 §3.4.1: only mode 0 keeps them while nothing else uses the line."""
    dongle = stick(kind)
    if say(dongle, f"AT+CNMI={mode},1") != "\r\nOK\r\n":
        assert mode not in dongle.personality.choices[0]
        return
    dongle.network.text(PERSON, OWN, "Halo", now=START)
    told = b"+CMTI: " in dongle.drain()
    assert told == (mode > 0)
    assert ("+CMTI: " in say(dongle, "AT+CNMI=2,1")) == (mode == 0)


@pytest.mark.parametrize("kind", KINDS)
def test_senders_and_texts_are_in_the_character_set_that_was_chosen(kind: str) -> None:
    """3GPP TS 27.007 §5.5, 27.005 §3.1."""
    dongle = text_mode(kind)
    first = dongle.personality.first_index
    dongle.network.text("PROMO", OWN, "a@b", now=START)
    dongle.drain()
    ucs2 = "".join(f"{ord(char):04X}" for char in "PROMO"), "006100400062"
    shown = {"GSM": ("PROMO", "a\x00b"), "IRA": ("PROMO", "a@b"), "UCS2": ucs2, "HEX": ("PROMO", "610062")}
    for name, (sender, text) in shown.items():
        if name not in dongle.personality.charsets:
            continue
        assert say(dongle, f'AT+CSCS="{name}"') == "\r\nOK\r\n"
        head, body = say(dongle, f"AT+CMGR={first}").split("\r\n")[1:3]
        assert (f'"{sender}"' in head, body) == (True, text)
