"""Every reader of text from a VM or the network is linear: what it takes grows with the text, not
with its square.

Each reader is fed hostile texts of growing size. At four times the size it may take eight times as
long (a square takes sixteen times as long), and for each character no more than so many times what
a plain loop takes: ten times what the slowest reader takes, as this is about orders of magnitude
(tests/bench has the figures). The time is the process's own, and a measurement counts only if it is
repeated: a busy machine fails nothing.
"""

from __future__ import annotations

import ast
import base64
import gc
import json
import re
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Callable, Dict, Iterator, List, Optional, Tuple

import pytest

from runcommand import facts, redaction
from runcommand.attest import document as attested, x509
from runcommand.facts import (
    Certificate,
    Connection,
    Firewall,
    FirewallMatch,
    FirewallPlace,
    FirewallRule,
    MatchField,
    Outcome,
    Proxy,
    ProxyKind,
    RawText,
    RuleVerdict,
    Scope,
    confidential,
    urls,
)
from runcommand.firewall import matching, record
from runcommand.firewall.packet import REQUESTS
from runcommand.firewall.reachable import reachable
from runcommand.operator import block, decode, material
from runcommand.probes import (
    certificates as probed_certificates,
    http,
    imds,
    proxy,
    web,
    wireserver,
)
from runcommand.probes.tcp import Endpoint
from runcommand.proxy import bypass, settings as proxies
from runcommand.redaction.addresses import Addresses
from runcommand.redaction.key import Key
from runcommand.redaction.texts import Texts
from runcommand.simulator import pki, scenarios
from runcommand.system import listed
from runcommand.system.program import RAW_LIMIT
from runcommand.system.windows import (
    firewall as windows_firewall,
    machine as windows_machine,
    proxies as windows_proxies,
    routes as windows_routes,
    wfp,
)

from .command import ROOT

if not sys.platform.startswith("linux"):
    pytest.skip("the readers of Linux are among them", allow_module_level=True)

import contextlib

from runcommand.system.linux import (
    adapters,
    certificates as linux_certificates,
    files,
    iproute,
    iptables,
    leases,
    nftables,
    proxies as linux_proxies,
    routes,
    services,
    sockets,
)

KIB = 1024
SIZES = (4 * KIB, 16 * KIB, 64 * KIB, 256 * KIB, 1024 * KIB)
# Texts are no larger unless the run is exhaustive: a square that takes less than FLOOR_S here, or
# hides in PATIENCE_S, takes 16 times that at 1 MiB, where a reader has 0.3 s.
USUAL = 256 * KIB
LARGEST = 8.0  # of the time at 4n over the time at n
FLOOR_S = 0.002  # a time below it says nothing
COST = 1000.0  # what a character may take, over what it takes to look at it in a plain loop
TELLING = 64 * KIB  # of a shorter text, what is done once for any text may be the most
PATIENCE_S = 0.03  # for what is made for one reader
LEAST_S = FLOOR_S / 16  # a time below it counts as this
REPEATED, ENOUGH_S = (
    5,
    0.1,
)  # how often a bad ratio is measured before it counts, and for how long at most

MANY = 5  # faults of one reader: no more are looked for

# What nearly every language has: each is repeated, some also in lines of nearly 16,384 characters.
UNITS = (
    " ",
    "\n",
    "a",
    "0",
    "=",
    '"',
    "'",
    "\\",
    "\0",
    "{",
    "(",
    "<",
    "a=b ",
    "a=\n",
    ",",
    ";",
    "|",
    "/",
    ":",
    ".",
    "@",
    "%",
    "$a",
    "#",
    "-",
    "a.",
    "1.",
    "\u00e9",
    "\r\n",
    "}",
)
SOME = (" ", "a", "=", "a=b ", "\\", "/", ":", ".", "-")
SLOW = 6 * COST  # redaction looks at every word in a dozen ways
TAIL = "\x01 y"  # fits nothing: what was matched until here was in vain
LINE = 16000


def ignore(text: str) -> None:
    """A note that nobody wants."""


def repeated(unit: str, size: int) -> str:
    return unit * (size // len(unit)) + TAIL


def in_lines(unit: str, size: int) -> str:
    line = repeated(unit, LINE) + "\n"
    return line * (size // len(line)) + repeated(unit, size % len(line))


def spaced(unit: str, size: int) -> str:
    """The unit before many blanks, in lines."""
    line = unit + " " * LINE + TAIL + "\n"
    return line * (size // len(line)) + unit + " " * (size % len(line))


def endless(unit: str, size: int) -> str:
    """The unit once, and one token that does not end."""
    return unit + "a" * size


@dataclass(frozen=True)
class Reader:
    """:param openers: what begins something in what it reads
    :param made: further hostile texts, of a size each
    :param units: what is repeated beside the openers
    :param cost: what a character may take; a reader that is known to be slow has a higher one
    """

    name: str
    modules: Tuple[str, ...]  # that it stands for, below runcommand/
    read: Callable[[str], object]
    openers: Tuple[str, ...] = ()
    made: Tuple[Callable[[int], str], ...] = ()
    units: Tuple[str, ...] = UNITS
    cost: float = COST

    def inputs(self) -> Iterator[Tuple[str, Callable[[int], str]]]:
        for unit in (*self.units, *self.openers):
            yield f"{unit!r} repeated", lambda size, unit=unit: repeated(unit, size)
        for unit in (*SOME, *self.openers):
            yield f"{unit!r} in lines", lambda size, unit=unit: in_lines(unit, size)
        for unit in self.openers:
            yield f"{unit!r} before blanks", lambda size, unit=unit: spaced(unit, size)
            yield f"{unit!r} before one token", lambda size, unit=unit: endless(unit, size)
        for number, make in enumerate(self.made):
            yield f"made text {number}", make


class Sent:
    """A socket that has a whole answer ready."""

    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    def recv_into(self, buffer: memoryview) -> int:
        piece = self._data[self._at : self._at + len(buffer)]
        buffer[: len(piece)] = piece
        self._at += len(piece)
        return len(piece)

    def settimeout(self, seconds: float) -> None:
        pass

    def sendall(self, data: bytes) -> None:
        pass

    def close(self) -> None:
        pass


CONNECTION = Connection(
    facts.Address("127.0.0.1"), 80, Outcome.ANSWERED, None, None, None, None, 0.0, 1.0
)
HEALTHY = scenarios.BY_NAME["healthy"].facts
LEAF = pki.certificate("metadata.azure.com", "leaf", pki.ISSUING, "issuing", 5, is_ca=False)
CHILD: Certificate = x509.X509.read(LEAF).fact
ARGUMENTS = ("-4", "route", "show")


def of_http(text: str) -> None:
    body = text.encode("utf-8", "replace")
    http.get(Sent(body), "h", "/", {}, 60.0)
    http.get(Sent(b"HTTP/1.1 200 OK\r\n" + body), "h", "/", {}, 60.0)
    http.http_date(text)


def of_imds(text: str) -> None:
    for content_type, body in (
        ("text/html", f"<html>{text}"),
        ("application/json", text),
        (
            "application/json",
            json.dumps({"error": {"message": text}, "newest-versions": text.split("\n")}),
        ),
        (
            "application/json",
            json.dumps({"compute": {"vmId": CHILD.thumbprint, "name": text, "tags": text}}),
        ),
    ):
        head = {"content-type": content_type, "server": text, "location": text, "date": text}
        answer = http.Answer(
            Outcome.HTTP, None, 200, head, None, body.encode("utf-8", "replace"), True
        )
        imds.exchange_of("/metadata/instance", CONNECTION, answer)


def of_wireserver(text: str) -> None:
    body = b"HTTP/1.1 200 OK\r\n\r\n<Versions>" + text.encode("utf-8", "replace")
    wireserver.ask_over(Sent(body), CONNECTION, Endpoint(facts.Address("127.0.0.1")), 60.0)


def of_issuer(text: str) -> None:
    answer = http.Answer(Outcome.HTTP, None, 200, {}, None, text.encode("utf-8", "replace"), True)
    probed_certificates._read(CHILD, text, None, web.Fetched(Outcome.HTTP, CONNECTION, answer))
    probed_certificates._split(text)
    web.names_a_host(text)


def of_der(text: str) -> None:
    raw = text.encode("latin-1", "replace")
    attested.read("pkcs7", text, "1")
    attested.read("pkcs7", base64.b64encode(raw).decode(), "1")
    x509.readable([raw, long_form(raw), long_form(long_form(raw))])
    list(x509.from_pem(raw, 5000))
    list(x509.from_pem(b"-----BEGIN CERTIFICATE-----" + raw, 5000))


def long_form(content: bytes) -> bytes:
    """A SEQUENCE of some contents (DER), with a length of three bytes."""
    return b"\x30\x83" + len(content).to_bytes(3, "big") + content


def of_block(text: str) -> None:
    with contextlib.suppress(block.Damaged):
        block.unpack(text)
    with contextlib.suppress(block.Damaged):
        block.unpack(f"RAW 1 9 01234567\n{text}\nRAW END\n")


def of_material(text: str) -> None:
    """Each kind of record with the text in its place; two of them behind each other."""
    tried = (
        "imds",
        "169.254.169.254",
        "80",
        "",
        "",
        "0",
        "0.1",
        "/x",
        "whole",
        "0.1",
        "",
        "H",
        "1",
    )
    kinds = (
        ("adapter", "7", "{}", "a", "a", "6", "", "1", text),
        ("try", *tried, text),
        ("try", *tried[:-2], text, "1", "{}"),
        ("key", "HKLM", "A\\B", "a", "MultiString", text),
        ("key", "HKLM", text, "a", "String", text),
        ("rule", "A", text, text),
        ("document", "1", text),
        ("chain", "hand", "0", "0", text, text, text, "", ""),
        (text, text, text),
    )
    for kind in kinds:
        with contextlib.suppress(ValueError):
            material.facts_of([kind, kind])


def of_bypass(text: str) -> None:
    for kind, separators in (
        (ProxyKind.ENVIRONMENT, ","),
        (ProxyKind.WINHTTP, r";\s"),
        (ProxyKind.INTERNET_SETTINGS, ";"),
    ):
        entries = proxies.read_bypass(text, separators)
        made = Proxy(
            "here", kind, Scope.MACHINE, server="p:1", variable="http_proxy", bypass=entries
        )
        bypass.through(made, facts.IMDS_ADDRESS)


def of_addresses(text: str) -> None:
    parsers = (
        facts.parse_mac,
        facts.parse_cidr,
        facts.parse_address,
        facts.parse_next_hop,
        facts.parse_instant,
        facts.parse_json,
        facts.UUID.fullmatch,
    )
    for parse in parsers:
        facts.if_valid(parse, text)  # type: ignore[arg-type]


def of_conditions(text: str) -> None:
    for field in MatchField:
        matching.could_match(
            [FirewallMatch(field, (text,)), FirewallMatch(field, tuple(text.split(",")[:1000]))],
            REQUESTS,
        )


def of_redaction(text: str) -> None:
    """What redaction does with the text of a program, of which ``RAW_LIMIT`` characters are
    kept.
    """
    raw = [
        RawText(command, text[:RAW_LIMIT])
        for command in ("ip -4 addr show", "ipconfig /all", "route print")
    ]
    redaction.redacted(replace(HEALTHY, raw=tuple(raw)))


def of_texts(text: str) -> None:
    key = Key(b"k" * 32)
    made = Texts(key, Addresses(key))
    made.rewrite(text)
    made.rewrite(text, strict=True)
    for way in (made.host, made.url, made.authority, made.sid, made.learn):
        way(text[: 2 * KIB])  # names: what a fact may hold of one


def of_iptables(text: str) -> None:
    found = iptables.parse(text, FirewallPlace.IPTABLES)
    rules = f"*filter\n:OUTPUT ACCEPT [0:0]\n[1:2] -A OUTPUT -m comment --comment {text}"
    found = iptables.parse(rules, FirewallPlace.IPTABLES)
    reachable(found.chains, found.rules)


def of_nftables(text: str) -> None:
    tables = (
        {"table": {"family": "ip", "name": "f"}},
        {"chain": {"family": "ip", "table": "f", "name": "o", "hook": "output"}},
    )
    left = {"payload": {"protocol": "ip", "field": "daddr"}}
    values = text.split(",")[:20_000]
    expressions = [
        {"match": {"op": "==", "left": left, "right": right}}
        for right in (text, {"set": values}, "@s")
    ]
    rule = {
        "rule": {
            "family": "ip",
            "table": "f",
            "chain": "o",
            "handle": 1,
            "comment": text,
            "expr": [*expressions, {"drop": None}],
        }
    }
    held = {"set": {"family": "ip", "table": "f", "name": "s", "elem": values}}
    for output in (text, json.dumps({"nftables": [*tables, held, rule]})):
        try:
            found = nftables.parse(output.encode("utf-8", "replace"))
            reachable(found.chains, found.rules)
        except nftables.NoFact:
            pass


def many_rules(size: int) -> str:
    """Rules that all look into one set, and jump by one verdict map, with as many elements as there
    are rules.
    """
    number = size // 250
    elements = [f"169.254.{n >> 8 & 255}.{n & 255}-169.254.255.255" for n in range(number)]
    named = {"family": "ip", "table": "f"}
    left = {"payload": {"protocol": "ip", "field": "daddr"}}
    looks = {"match": {"op": "==", "left": left, "right": "@s"}}
    jumps = {"vmap": {"key": left, "data": "@m"}}
    objects: List[Dict[str, object]] = [
        {"chain": {**named, "name": "o", "hook": "output"}},
        {"set": {**named, "name": "s", "elem": elements}},
        {
            "map": {
                **named,
                "name": "m",
                "elem": [[element, {"drop": None}] for element in elements[:50]],
            }
        },
    ]
    objects += [
        {"rule": {**named, "chain": "o", "handle": n, "expr": [looks, {"drop": None}]}}
        for n in range(number)
    ]
    objects += [
        {"rule": {**named, "chain": "o", "handle": n, "expr": [jumps]}} for n in range(number // 50)
    ]
    return json.dumps({"nftables": objects})


def nested(opening: str, closing: str) -> Callable[[int], str]:
    def make(size: int) -> str:
        number = size // (len(opening) + len(closing))
        return opening * number + closing * number

    return make


def of_ip(text: str) -> None:
    try:
        rows = iproute.parse(text.encode("utf-8", "replace"), ARGUMENTS)
    except iproute.NoFact:
        rows = []
    for row in [
        *rows,
        {
            "dst": text,
            "gateway": text,
            "dev": text,
            "ifname": text,
            "ifindex": 1,
            "src": text,
            "address": text,
        },
    ]:
        list(routes.parse_routes(row, {}))
        routes._is_readable(row)
        routes.parse_rule(row)
        adapters.parse_adapter(row)


def many_rows(size: int) -> str:
    return json.dumps(
        [
            {"dst": f"10.{n >> 8 & 255}.{n & 255}.0/24", "gateway": "10.0.0.1", "dev": "eth0"}
            for n in range(size // 60)
        ]
    )


def assigned_again(size: int) -> str:
    """A script that carries a long value through as many lines as there is room for."""
    line = "no_proxy=$no_proxy\n"
    return f'no_proxy="{"a " * min(4000, size // 4)}"\n' + line * (size // (2 * len(line)))


def of_lease(parse: Callable[[Path, str], Iterator[object]], name: str) -> Callable[[str], object]:
    return lambda text: list(parse(Path(name), text))


def of_linux_settings(text: str) -> None:
    linux_proxies.of_file(text, ignore)
    linux_proxies.of_agent(text, ignore)
    linux_proxies.parse_shown(text)
    for name in linux_proxies.VARIABLES:
        linux_proxies.of_file(f"{name}={text[:8000]}", ignore)


def of_servers(text: str) -> None:
    for read in (proxies.read_server, proxies.read_servers):
        facts.if_valid(read, text)  # type: ignore[arg-type]
    proxies.of_environment({name: text for name in linux_proxies.VARIABLES}, "here", ignore)


def of_lines(text: str) -> None:
    """A recorded run: the text as a line, and within the lines of a rule and of a chain."""
    made = FirewallRule(text, FirewallPlace.NFTABLES, RuleVerdict.DROP, text)
    begin = "\t1\tnftables\tdrop\t\t\t\t\t\t"
    for line in (text, f"{begin}{text}", f"{begin}user\n{text}", f"chain{text}"):
        record.all_rules(Firewall(lines=(line,)))
    everything = record.Everything((), (made,))
    record.all_rules(record.recorded(Firewall(), everything, []))


def of_windows_rule(text: str) -> None:
    """One value is at most ``RULE_LIMIT`` characters: a longer text is many of them."""
    step = windows_firewall.RULE_LIMIT - 200
    for at in range(0, len(text), step):
        for value in (
            text[at : at + step],
            f"v2.31|Action=Block|Active=TRUE|Dir=Out|Name=x|{text[at : at + step]}|",
        ):
            fields = windows_firewall.split(value)
            rule = windows_firewall.parse("x", fields, FirewallPlace.LOCAL) if fields else None
            if rule:
                matching.could_match(rule.matches, REQUESTS)


def of_windows_settings(text: str) -> None:
    raw = (
        b"\x46\0\0\0\7\0\0\0\x07\0\0\0"
        + len(text).to_bytes(4, "little")
        + text.encode("latin-1", "replace")
    )
    blob = windows_proxies.parse_blob(raw)
    values = {"ProxyEnable": 1, "ProxyServer": text, "ProxyOverride": text, "AutoConfigURL": text}
    windows_proxies.of_settings("here", Scope.SYSTEM, None, values, blob, ignore)
    windows_routes.parse_stored(text)


def of_listed(text: str) -> None:
    """Both programs' lines, beside a route for each of them."""
    row = listed.Row("0.0.0.0", "0.0.0.0", "10.0.0.1", "10.0.0.4")
    lines = text.split("\n")
    listed.adapters(lines, [row] * len(lines), {}, lambda guid: {})


def listed_nics(size: int) -> str:
    """Many NICs that have one address."""
    return "".join(f"Interface {number}: x\n10.0.0.4\n" for number in range(size // 26))


def of_wfp(text: str) -> None:
    for document in (
        text,
        f"<?xml version='1.0'?><wfpdiag>{text}</wfpdiag>",
        f"<a>{text.translate(XML)}</a>",
    ):
        with contextlib.suppress(wfp.NoFact):
            wfp.parse(document)


XML = {ord(c): " " for c in "<&\0\1\x0b\x0c"}
FILTER = (
    f"<item><layerKey>{wfp.LAYERS[0]}</layerKey><action><type>{wfp.BLOCK}</type></action><filterCondition><item>"
    "<fieldKey>x</fieldKey><matchType>FWP_MATCH_EQUAL</matchType><conditionValue><rangeValue><valueLow>"
)
FILTER_END = (
    "</valueLow><valueHigh><uint8>1</uint8></valueHigh></rangeValue></conditionValue></item>"
    "</filterCondition></item>"
)


READERS = (
    Reader(
        "secrets in a text",
        ("facts/confidential.py",),
        confidential.without_secrets,
        (
            "//",
            "u:p@h",
            "password=",
            'key="',
            '\\"token\\":\\"',
            "basic ",
            "eyJaaaaa.",
            "%3D",
            "Cookie: a;",
            "<key>",
            "aB3/",
            "-----BEGIN PRIVATE KEY-----",
            "--password ",
            "Authorization: Digest ",
            "a%3D",
            "%26sig%3D",
            "key=[",
            'key=["',
            "key={'",
            "key=a,",
            "key=a&",
            'a"',
            '"u:',
            "'http://u:p ",
            "<key a ",
            "<key>a ",
            "&lt;key&gt;",
            "&lt;key a",
            "<key><![CDATA[",
            "-u 'a:",
            "sshpass -p",
            "key => ",
            "pass-",
            "key=&quot;",
            "&quot;key&quot;:",
            "key=\\'a",
        ),
    ),
    Reader(
        "secrets in an address",
        ("facts/urls.py",),
        urls.without_query,
        ("//", "http://u:", "?", "@"),
    ),
    Reader(
        "a bypass list",
        ("proxy/bypass.py", "proxy/settings.py", "facts/addresses.py"),
        of_bypass,
        ("*", "*a", "<local>;", "10.0.0.0/8,", "http://"),
    ),
    Reader(
        "addresses, times and JSON",
        (
            "facts/addresses.py",
            "facts/times.py",
            "facts/untrusted.py",
            "facts/kinds.py",
            "facts/run.py",
        ),
        of_addresses,
        ("1.", "::", "[", '{"a":', "00-", "2026-"),
        (nested("[", "]"), nested('{"a":', "}")),
    ),
    Reader(
        "conditions of a firewall rule",
        ("firewall/matching.py",),
        of_conditions,
        ("O:a", "D:(A;;CC;;;WD)", "1-", "10.0.0.0/8,", "::,"),
    ),
    Reader(
        "rules as lines",
        ("firewall/record.py",),
        of_lines,
        ("\t", "\t1\tnftables\tdrop\t\t\t\t\t\n", "\tuser", "#1\n", "!"),
    ),
    Reader(
        "DER, CMS, X.509 and PEM",
        ("attest/der.py", "attest/x509.py", "attest/cms.py", "attest/document.py"),
        of_der,
        ("0\x80", "\x30\x83\x01\x00\x00", "-----BEGIN CERTIFICATE-----", "-----BEGIN ", "\x06\x01"),
    ),
    Reader(
        "an HTTP answer",
        ("probes/http.py",),
        of_http,
        (
            "a: b\r\n",
            "HTTP/1.1 100 Continue\r\n\r\n",
            "Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n",
            " a",
        ),
    ),
    Reader(
        "IMDS's answer",
        ("probes/imds.py",),
        of_imds,
        ("<title", "<title>", "[", '{"a":', "2026-01-01\n"),
        (nested("[", "]"),),
    ),
    Reader(
        "the WireServer's answer",
        ("probes/wireserver.py",),
        of_wireserver,
        ("<Version>", "<Version>2012-11-30</Version>"),
    ),
    Reader(
        "an issuer that was fetched",
        ("probes/certificates.py", "probes/web.py", "attest/x509.py"),
        of_issuer,
        ("http://a.", "a-", "-----BEGIN CERTIFICATE-----", "http://h:"),
    ),
    Reader(
        "a PAC file and its address",
        ("probes/proxy.py",),
        lambda text: (
            proxy._searched("http://h/p.pac", text.encode("utf-8", "replace")),
            proxy.FILE_URL.fullmatch(text),
        ),
        ("169.254.", "file:///c:/", "file:/"),
    ),
    Reader(
        "redaction of facts",
        ("redaction/__init__.py", "redaction/addresses.py", "redaction/vocabulary.py"),
        of_redaction,
        ("host:", "dns ", "1.1.1.1/", "a::", "eth0s1", "host.name."),
        units=SOME,
        cost=SLOW,
    ),
    Reader(
        "redaction of a text",
        ("redaction/texts.py", "redaction/addresses.py", "redaction/vocabulary.py"),
        of_texts,
        (
            "a://",
            "a.b.",
            "a@",
            "S-1-5-21",
            "00-",
            "::",
            "/Users/",
            "-a ",
            "_a",
            "contoso ",
            "10-0-0-4 ",
            "10-0-0-",
            "1_",
            " /home/a",
            "a@b.c ",
        ),
        units=SOME,
        cost=SLOW,
    ),
    Reader(
        "what Run Command gave back",
        ("operator/decode.py", "operator/run_command.py"),
        lambda text: decode.decode(text.encode("utf-8", "replace")),
        (
            "[stdout]\n",
            "[stderr]\n",
            "WARNING: a\n",
            "(a",
            "IMDS-CHECK 1  a\n",
            "END IMDS-CHECK verdict=a cause=b exit=1 \n",
            "END IMDS-CHECK verdict=",
            "[",
            '{"a":',
        ),
        (
            nested("[", "]"),
            lambda size: json.dumps([{"code": "a/StdOut/b", "message": "m"}] * (size // 45)),
        ),
    ),
    Reader(
        "the block of raw material",
        ("operator/block.py",),
        of_block,
        ("RAW 1 100 01234567\n", "RAW END\n", "> RAW 1 ", "RAW 1 9"),
    ),
    Reader(
        "raw material of a Windows VM",
        ("operator/material.py", "system/recorded.py", "probes/recorded.py"),
        of_material,
        ("\n", "a: b\r\n", "1/2/3/4 ", "10.0.0.4/24/3/4 ", "\0", "AAAA"),
        units=SOME,
        cost=SLOW,
    ),
    Reader(
        "a proxy's address",
        ("proxy/settings.py",),
        of_servers,
        ("http=", "http://", "a:", "[", "?", "u:p@"),
    ),
    Reader(
        "KEY=VALUE lines",
        ("system/linux/files.py", "system/linux/services.py"),
        lambda text: (files.key_values(text), list(services.parse_units(text))),
        ("Id=a\nLoadState=loaded\n\n", "\n\n", '"'),
    ),
    Reader(
        "scripts in profile.d",
        ("system/linux/proxies.py", "system/linux/shell.py"),
        lambda text: linux_proxies.of_profiles([("a.sh", text)], ignore),
        (
            "a=b",
            "export ",
            "export a=",
            "http_proxy=",
            "http_proxy='",
            'http_proxy="',
            'http_proxy="\\',
            "unset ",
            "$(",
            "${a",
            "${a:-",
            "no_proxy+=a\n",
            "a=$a$a\n",
            "if ",
            "(",
            "\\\n",
            "alias p='http_proxy=a' ",
        ),
        (
            lambda size: (
                "a0=xxxxxxxxxx\n"
                + "".join(f"a{n + 1}={f'$a{n}' * 1000}\n" for n in range(size // 4000))
            ),
            assigned_again,
        ),
    ),
    Reader(
        "/etc/environment, waagent.conf, systemd's environment",
        ("system/linux/proxies.py",),
        of_linux_settings,
        (
            "http_proxy=",
            "http_proxy=#",
            "http_proxy=$'\\x",
            "\\\n",
            "http_proxy=a#@\n",
            "HttpProxy.Host=#",
        ),
    ),
    Reader(
        "leases of dhclient",
        ("system/linux/leases.py",),
        of_lease(lambda path, text: leases._dhclient(path, text), "dhclient.leases"),
        (
            "lease {",
            "lease",
            'interface "',
            "lease { interface",
            "fixed-address ",
            "option routers ",
            'lease { interface "a"; } ',
        ),
    ),
    Reader(
        "leases of systemd and NetworkManager",
        ("system/linux/leases.py",),
        of_lease(
            lambda path, text: [*leases._networkd(path, text), *leases._networkmanager(path, text)],
            "2",
        ),
        ("ADDRESS=", "ROUTER=", "dhcp4.routers=", "dhcp4.dhcp_server_identifier=1\n"),
    ),
    Reader(
        "leases of wicked",
        ("system/linux/leases.py",),
        of_lease(lambda path, text: leases._wicked(path, text), "lease-eth0-dhcp-ipv4.xml"),
        ("<local>", "<gateway>", "<server-id>1", "<address>1."),
    ),
    Reader(
        "iptables-save",
        (
            "system/linux/iptables.py",
            "system/linux/shell.py",
            "firewall/reachable.py",
            "system/linux/firewall.py",
        ),
        of_iptables,
        (
            "-A OUTPUT ",
            "-A OUTPUT -j DROP\n",
            "[1:2] ",
            "[1",
            ":A -\n",
            "*a\n",
            "! ",
            "-d 1,",
            '-m comment --comment "',
        ),
        (
            lambda size: "*filter\n-A OUTPUT" + "".join(f" --o{n}" for n in range(size // 8)),
            lambda size: (
                "*filter\n"
                + "".join(f":C{n} - [0:0]\n[0:0] -A C{n} -j C{n + 1}\n" for n in range(size // 45))
            ),
        ),
    ),
    Reader(
        "nft -j list ruleset",
        ("system/linux/nftables.py", "firewall/reachable.py"),
        of_nftables,
        ("[", '{"a":', "169.254.0.0/16,", "1-"),
        (
            many_rules,
            nested("[", "]"),
            nested('{"elem":{"val":', "}}"),
            lambda size: json.dumps(
                {
                    "nftables": [
                        {
                            "rule": {
                                "family": "ip",
                                "expr": [
                                    {
                                        "match": {
                                            "op": "==",
                                            "left": {"meta": {"key": "mark"}},
                                            "right": json.loads("[" * 400 + "]" * 400),
                                        }
                                    }
                                ]
                                * (size // 900),
                            }
                        }
                    ]
                }
            ),
        ),
    ),
    Reader(
        "ip -j",
        ("system/linux/iproute.py", "system/linux/routes.py", "system/linux/adapters.py"),
        of_ip,
        ("[", '[{"a":1},', "1."),
        (nested("[", "]"), many_rows),
    ),
    Reader(
        "/proc/net/route and /proc/net/tcp",
        ("system/linux/routes.py", "system/linux/sockets.py", "system/linux/procfs.py"),
        lambda text: (list(routes._proc_routes(text, ignore)), list(sockets.parse(text, ignore))),
        (
            "eth0\t00000000\t0100000A\t0003\t0\t0\t100\t00000000\n",
            "0: 0100007F:0050 00000000:0000 0A\n",
            "0 1:1 0 0A\n",
        ),
    ),
    Reader(
        "openssl verify",
        ("system/linux/certificates.py",),
        lambda text: list(linux_certificates.VERIFY_ERROR.finditer(text)),
        ("error 1 at 1 depth lookup: a\n", "error 1 at ", "error 2 at 1 depth lookup:"),
    ),
    Reader(
        "a rule of the Windows firewall",
        ("system/windows/firewall.py",),
        of_windows_rule,
        ("ra4=", "RPort2_10=", "2_1", "LA6=", "a=b|", "v2.31|", "LUAuth2_24="),
    ),
    Reader(
        "Internet Settings, stored routes",
        ("system/windows/proxies.py", "system/windows/routes.py", "system/windows/registry.py"),
        of_windows_settings,
        ("http=", "<local>;", "1.1.1.1,", "?", "//"),
    ),
    Reader(
        "SMBIOS",
        ("system/windows/machine.py",),
        lambda text: windows_machine.parse_smbios(bytes(8) + text.encode("latin-1", "replace")),
        ("\1\4\0\0", "\3\4\0\0a\0\0", "\1\4\0\0a\0"),
    ),
    Reader(
        "route print and netsh show ipaddresses",
        ("system/listed.py",),
        of_listed,
        ("I 7: x\n", " 10.0.0.4\n", "7...", "7...00 0d 3a 7f 20 04 ", "I 7: "),
        (listed_nics,),
    ),
    Reader(
        "netsh wfp show filters",
        ("system/windows/wfp.py",),
        of_wfp,
        (
            "<item>",
            "<?xml",
            "<?xml version='1.0'?>",
            "<!--",
            "&#1;",
            FILTER + "<uint8>1</uint8>" + FILTER_END,
        ),
        (
            nested("<item>", "</item>"),
            nested(FILTER, FILTER_END),
            nested("<valueLow>", "</valueLow>"),
        ),
    ),
)

# Modules in the folders of readers that use a means of reading and need no line above, with the
# reason.
EXEMPT = {
    "system/windows/iphlpapi.py": "structures of a fixed size, read by their index",
    "system/windows/guid.py": "identifiers of this program's own",
    "system/run_folder.py": "names of folders that this program has made: at most 255 bytes, by "
    "the file system",
}
FOLDERS = (
    "",
    "attest",
    "collect",
    "facts",
    "firewall",
    "operator",
    "probes",
    "proxy",
    "redaction",
    "system",
    "system/linux",
    "system/windows",
)
NOT_READERS = {  # of the top folder: what is typed by an operator, or printed
    "arguments.py": "arguments of the command line",
    "terminal.py": "the report, which is bounded",
    "attest/chain.py": "certificates that attest/x509.py has read",
}
MEANS = ("re", "shlex", "json", "xml", "struct", "urllib")


# --- measuring ---


def seconds(read: Callable[[str], object], text: str, best_of: int = 1) -> float:
    """The CPU time of one reading, the best of some."""
    best = float("inf")
    for _ in range(best_of):
        began = time.process_time()
        read(text)
        best = min(best, time.process_time() - began)
    return best


def looked_at(text: str) -> None:
    """The plain loop that costs are compared with."""
    for character in text:
        if character == "\2":
            break


def verdict(
    read: Callable[[str], object],
    make: Callable[[int], str],
    cost: float = COST,
    patience: float = 0.0,
    limit: int = SIZES[-1],
) -> Optional[str]:
    """What is wrong with a reader's time for a kind of text; None where nothing is.

    It grows until the time says something. A step that is too large once may lead to other paths of
    the reader: a square shows at the next one too.

    :param patience: seconds; what takes less is tried with a larger text, even where its time says
    something
    :param limit: bytes; no text is larger
    """
    small, took = SIZES[0], seconds(read, make(SIZES[0]))
    before: Optional[str] = None  # what was wrong with the last step
    for size in [size for size in SIZES[1:] if size <= limit]:
        larger = seconds(read, make(size))
        if larger > FLOOR_S:
            ratio, took, larger = growth(read, make, small, size, took, larger)
            wrong = None
            if ratio > LARGEST:
                wrong = (
                    f"{small >> 10} KiB take {took:.4f} s, {size >> 10} KiB {larger:.4f} s: "
                    f"{ratio:.1f} times as long"
                )
            if wrong and (before or larger > ENOUGH_S):
                return wrong
            if not wrong and (size >= TELLING or cost > COST):
                plain = seconds(looked_at, "a" * SIZES[1], 3) * (size // SIZES[1])
                if larger > cost * plain and seconds(read, make(size), REPEATED) > cost * plain:
                    return (
                        f"{size >> 10} KiB take {larger:.4f} s, {larger / plain:.0f} times what "
                        "a loop takes"
                    )
                if larger > patience:
                    return None
            before = wrong
        small, took = size, larger
    return before if took > ENOUGH_S else None


def growth(
    read: Callable[[str], object],
    make: Callable[[int], str],
    small: int,
    large: int,
    took: float,
    longer: float,
) -> Tuple[float, float, float]:
    """How many times as long the larger text takes, and both times: measured again while that is
    too many.
    """
    spent = 0.0
    for _ in range(REPEATED):
        if longer <= LARGEST * max(took, LEAST_S) or spent > ENOUGH_S:
            break
        again = seconds(read, make(large))
        spent += again
        took, longer = min(took, seconds(read, make(small))), min(longer, again)
    return longer / max(took, LEAST_S), took, longer


@pytest.mark.parametrize("reader", READERS, ids=lambda reader: reader.name)
def test_a_reader_takes_time_in_proportion_to_the_text(reader, request):
    limit = SIZES[-1] if request.config.getoption("--exhaustive") else USUAL
    bad: List[str] = []
    gc.collect()
    gc.disable()
    try:
        for name, make in reader.inputs():
            is_special = not any(name.startswith(repr(unit)) for unit in UNITS)
            patience = PATIENCE_S if is_special else 0.0
            wrong = verdict(reader.read, make, reader.cost, patience, limit)
            bad += [f"{name}: {wrong}"] if wrong else []
            if len(bad) == MANY:
                break
    finally:
        gc.enable()
    assert bad == []


# --- and the measuring itself ---


def old_leases(text: str) -> object:
    return re.findall(r"lease\s*\{([^}]*)\}", text)


def old_script(text: str) -> object:
    """In a line of less than 16,384 characters the time grows with the square; with the number of
    lines it does not.
    """
    return [
        re.fullmatch(r"\s*a=b(?:\s+a=b)*\s*(?:;\s*export)?;?(?:\s*|\s+#.*)", line)
        for line in text.splitlines()
    ]


@pytest.mark.parametrize(
    "read, make",
    [
        (old_leases, lambda size: repeated("lease {", size)),
        (old_script, lambda size: spaced("a=b", size)),
    ],
    ids=["text", "lines"],
)
def test_a_reader_with_a_square_in_it_is_found(read, make):
    assert verdict(read, make) is not None


def test_a_linear_reader_is_not_accused():
    assert (
        verdict(lambda text: text.split("\n"), lambda size: repeated("a\n", size), patience=10.0)
        is None
    )


def test_every_module_that_reads_is_covered():
    package = ROOT / "runcommand"
    covered = {module for reader in READERS for module in reader.modules}
    missing = []
    for folder in FOLDERS:
        for path in sorted((package / folder).glob("*.py")):
            name = str(path.relative_to(package))
            if (
                means(path)
                and name not in covered
                and not EXEMPT.get(name)
                and not NOT_READERS.get(name)
            ):
                missing.append(name)
    assert missing == [], "add a Reader to READERS, or the reason why none is needed to EXEMPT"
    assert [name for name in covered if not (package / name).is_file()] == []


def means(path: Path) -> List[str]:
    """The modules for reading that a module imports."""
    found: List[str] = []
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [node.module or ""] if isinstance(node, ast.ImportFrom) and not node.level else []
        found += [name for name in names if name.partition(".")[0] in MEANS]
    return found
