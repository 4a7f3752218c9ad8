"""Facts without what identifies their owner.

Names, ids and addresses become pseudonyms, the same ones everywhere in a report.

Who has only the report cannot undo that by trying values: each run draws a key of its own, which is
written nowhere. So the same facts have other pseudonyms each time. The diagnosis stays the same:
what rules compare comes out of the comparison as before, and the words that they look for stay.
"""

from __future__ import annotations

import dataclasses
import ipaddress
import re
from functools import lru_cache
from typing import (
    Any,
    Callable,
    Dict,
    Iterator,
    List,
    Mapping,
    Optional,
    Tuple,
    Union,
    get_type_hints,
)

from ..collect.errors import place
from ..facts import (
    PLATFORM_ADDRESSES,
    UUID,
    Address,
    Certificate,
    Cidr,
    Facts,
    FirewallChain,
    FirewallMatch,
    FirewallRule,
    Mac,
    MatchField,
    NextHop,
    Proxy,
    ProxyKind,
    RawText,
    RoutingRule,
    Scope,
    Unavailable,
    if_valid,
    kinds,
    parse_cidr,
)
from ..firewall.matching import ends
from ..firewall.record import CHAIN, chain_line, read_chain, read_rule, rule_line, shortened
from ..model.azure import AZURE_ASSET_TAG, NO_TAG
from ..model.route_table import MAIN_TABLES
from ..proxy.bypass import through
from .addresses import Addresses, parse
from .key import Key
from .texts import HOST, Texts
from .vocabulary import DISTRIBUTIONS, NIC, REGION

# that every system has
ACCOUNTS = ("", "root", "system", "local service", "network service", ".default")
TABLES = ("", *MAIN_TABLES, "local", "all", "?")
KEYWORDS = (  # of Windows, for addresses ([MS-FASP] 2.2.21)
    "any", "*", "localsubnet", "localsubnet6", "dns", "dhcp", "wins", "defaultgateway", "internet",
    "intranet", "rmtintranet", "ply2renders", "captiveportal",
)  # fmt: skip
BYPASS_WORDS = ("", "*", "<local>", "<-loopback>", "localhost")
NUMBERS = (bool, int, float, Optional[bool], Optional[int], Optional[float])
NETWORKS = 20_000  # whose first and last addresses stay so
ADDRESS_FIELDS = (MatchField.SOURCE, MatchField.DESTINATION)
NIC_FIELDS = (MatchField.INTERFACE_IN, MatchField.INTERFACE_OUT)
OWNER_FIELDS = (MatchField.USER, MatchField.GROUP)
WORD_FIELDS = (MatchField.PROGRAM, MatchField.SERVICE, MatchField.PACKAGE, MatchField.OTHER)
FOUR = r"[0-9]{1,3}(?:\.[0-9]{1,3}){3}"
IN_TEXT = re.compile(  # networks: 10.0.0.0/8, 10.0.0.0  255.0.0.0, fd00::/8
    rf"(?<![0-9.])({FOUR})(?:/([0-9]{{1,2}})|[ \t]{{1,20}}({FOUR}))(?![0-9.])"
    r"|(?<![\w:.])((?:[0-9a-f]{0,4}:){2,7}[0-9a-f]{0,4})/([0-9]{1,3})(?![0-9])",
    re.IGNORECASE,
)
HOSTS = re.compile(rf"(?<!\w)(?<!\w[-.])({HOST})(?![\w-])")
# Of ``ipconfig /all``: a line whose value is a name, the lines after it that have more of them, and
# a heading, which ends with one.
LABELLED = re.compile(
    r"([^\r\n:]{0,60}?(?:host|dns|suffix)[^\r\n:]{0,60}:[ \t]*)([^\r\n]*)(\s*)", re.IGNORECASE
)
MORE = re.compile(r"([ \t]{20,80})([^\s]+)(\s*)")
HEADING = re.compile(r"\S[^\r\n]*:\s*")
PATTERN_OF_NUMBERS = re.compile(r"[0-9.*?]+")
OCTETS = re.compile(r"((?:[0-9]{1,3}\.){1,3})((?:\*\.)*\*?)")
SOMEBODYS = {
    kind: Proxy("", kind, Scope.MACHINE, server="proxy:80", variable="http_proxy")
    for kind in ProxyKind
}

Rewrite = Callable[["_Redaction", str], str]  # gives the text under pseudonyms


# Of the firewall, that are redacted in the time there is.
RULE_LINES = 1000


def redacted(facts: Facts, key: Optional[Key] = None) -> Facts:
    """The same facts under pseudonyms; facts that are already redacted stay as they are.

    An error of this program costs the facts.

    :param key: for tests, which need the same pseudonyms twice; otherwise a new random one
    """
    if facts.redacted:
        return facts
    try:
        if facts.firewall:
            wall = shortened(facts.firewall, RULE_LINES)
            facts = dataclasses.replace(facts, firewall=wall)
        return _Redaction(facts, key or Key()).made()
    except Exception as error:
        return nothing_of(facts, error)


def nothing_of(facts: Facts, error: Exception) -> Facts:
    """What is left of facts that could not be redacted: the reason.

    The message of the error is left out, because it may hold a name.
    """
    kept = {
        name: getattr(facts, name)
        for name in ("system", "collected_at", "elapsed_s", "deadline_s", "tool_version")
    }
    missing = Unavailable(
        "imds", f"nothing could be redacted: {type(error).__name__}{place(error)}"
    )
    return Facts(host="-", redacted=True, unavailable=(missing,), **kept)


class _Redaction:
    """The redaction of one report.

    Fields that are names are read first, then the texts for more names; then all is rewritten.
    """

    def __init__(self, facts: Facts, key: Key) -> None:
        self._facts = facts
        self._addresses = Addresses(key)
        self._texts = Texts(key, self._addresses)
        self._to_read: List[str] = []
        self._is_reading = True

    def made(self) -> Facts:
        for address, length in self._networks():
            self._addresses.know(address, length)
        self._object(self._facts, Facts)
        for text in self._to_read:
            self._texts.learn_people(text)
            for match in HOSTS.finditer(text):
                self._texts.host(match.group(1))
        self._is_reading = False
        made: Facts = self._object(self._facts, Facts)
        return dataclasses.replace(made, redacted=True)

    def _networks(self) -> Iterator[Tuple[str, int]]:
        """This VM's networks: its NICs' own first, of which rules know the gateway by its place."""
        facts = self._facts
        for adapter in facts.adapters or ():
            yield from ((held.address, held.prefix) for held in adapter.addresses)
        exchanges = [trial.exchange for trial in facts.differential or ()]
        if facts.imds:
            exchanges = [*facts.imds.attempts, *exchanges]
        for exchange in exchanges:
            if not exchange or not exchange.instance:
                continue
            for interface in exchange.instance.interfaces:
                if interface.subnet:
                    yield _parts(interface.subnet)
        rows = [
            *(row.destination for row in facts.routes or ()),
            *(row.destination for row in facts.persistent_routes or ()),
        ]
        yield from map(_parts, rows[:NETWORKS])
        for text in facts.raw or ():
            for number, match in enumerate(IN_TEXT.finditer(text.text)):
                four, length, mask, six, six_length = match.groups()
                ones = int(length or six_length or _ones(mask))
                if number < NETWORKS:
                    yield four or six, ones

    # --- every value, by its type ---

    def _value(self, value: Any, kind: Any) -> Any:
        origin = getattr(kind, "__origin__", None)
        if value is None:
            return None
        if origin is Union:
            return self._value(value, kind.__args__[0])
        if origin is tuple:
            return tuple(self._value(item, kind.__args__[0]) for item in value)
        if dataclasses.is_dataclass(kind):
            return self._object(value, kind)
        if kind in (Address, NextHop):
            return self._addresses(value)
        if kind is Cidr:
            return self._addresses.network(value)
        if kind is Mac:
            self._texts.know_mac(value)
            return self._addresses.mac(value)
        if kind in REWRITES:
            return REWRITES[kind](self, value)
        if kind is str:
            return self.words(value)
        return value

    def _object(self, value: Any, kind: Any) -> Any:
        if isinstance(value, FirewallMatch):
            return self._match(value)
        if isinstance(value, RawText):
            return dataclasses.replace(value, text=self._output(value))
        new = {name: self._value(getattr(value, name), hint) for name, hint in _hints(kind).items()}
        if isinstance(value, RoutingRule):
            new.update(self._owners(value))
        made = dataclasses.replace(value, **new)
        if isinstance(value, Certificate):
            return self._certificate(value, made)
        return made

    def _owners(self, rule: RoutingRule) -> Dict[str, int]:
        """The range of users of a rule, where it has one."""
        if rule.uid_start is None or rule.uid_end is None:
            return {}
        first, last = self._texts.owners(rule.uid_start, rule.uid_end)
        return {"uid_start": first, "uid_end": last}

    # --- what becomes of a text ---

    def keep(self, text: str) -> str:
        """A word of this program's own, of Azure's or of the system's."""
        return text

    def drop(self, text: str) -> str:
        """What cannot be rewritten, because it is signed or packed."""
        return ""

    def text(self, text: str) -> str:
        """What is recognised in it is replaced."""
        if self._is_reading:
            self._to_read.append(text)
            return text
        return self._texts.rewrite(text)

    def words(self, text: str) -> str:
        """And every word that is not everybody's."""
        return self._texts.rewrite(text, strict=True)

    def sentence(self, text: str) -> str:
        """This program's own, in which a path or another program's words may stand."""
        if self._is_reading:
            self._texts.learn_paths(text)
            return self.text(text)
        return self._texts.sentence(text)

    def distribution(self, text: str) -> str:
        """The id of a Linux distribution; a customer's own image may have one of its own."""
        known = text.lower() in DISTRIBUTIONS or text.startswith(("sles", "opensuse"))
        if known or not text:
            return text
        return self._texts.learn(text, "os")

    def region(self, text: str) -> str:
        """A region of Azure; Azure Stack's are called as their owners please."""
        if not text or REGION.fullmatch(text):
            return text
        return self._texts.learn(text, "region")

    def vm(self, text: str) -> str:
        """A machine by its name, perhaps with its domain."""
        if parse(text)[0] is not None:
            return self._addresses(text)
        first, dot, domain = text.partition(".")
        if first:
            first = self._texts.learn(first, "vm", True)
        if domain:
            domain = self._texts.host(domain)
        return f"{first}{dot}{domain}"

    def group(self, text: str) -> str:
        if not text:
            return text
        return self._texts.learn(text, "group", True)

    def rule(self, text: str) -> str:
        """A display name; one that begins with @ is a resource of Windows."""
        if not text or text.startswith("@"):
            return text
        return self._texts.learn(text, "rule")

    def table(self, text: str) -> str:
        if text in TABLES or text.isdecimal():
            return text
        return self._texts.learn(text, "table")

    def tag(self, text: str) -> str:
        plain = text.strip()
        if plain == AZURE_ASSET_TAG or plain.lower() in NO_TAG:
            return text
        return self._texts.learn(text, "tag")

    def nic(self, text: str) -> str:
        if not text or NIC.fullmatch(text):
            return text
        if re.fullmatch("enx[0-9a-f]{12}", text):  # named by its MAC
            return self._texts.rewrite(text)
        return self._texts.learn(text, "nic")

    def account(self, text: str) -> str:
        """A user or a group: by name, by number, by SID, or who may by an SDDL text."""
        if text.lower() in ACCOUNTS:
            return text
        if re.fullmatch("[0-9]{1,10}([-:][0-9]{1,10})?", text):
            return self._texts.owner(text)
        if "S-1-" in text or "(" in text:
            return self._texts.rewrite(text)
        return self._texts.learn(text, "user", True)

    def identity(self, text: str) -> str:
        if not text:
            return text
        if UUID.fullmatch(text):
            return self._texts.guid(text)
        return self._texts.learn(text, "id")

    def resource(self, text: str) -> str:
        """``/subscriptions/.../resourceGroups/...``: every second part is a value."""
        made = []
        for number, part in enumerate(text.split("/")):
            if number % 2 or part.startswith("Microsoft."):
                made.append(self.words(part))
            elif part.isdecimal():
                made.append(part)
            else:
                made.append(self.identity(part))
        return "/".join(made)

    def host(self, text: str) -> str:
        return self._texts.host(text)

    def server(self, text: str) -> str:
        if "://" in text:
            return self._texts.url(text)
        return self._texts.authority(text)

    def url(self, text: str) -> str:
        if "://" in text:
            return self._texts.url(text)
        return self.words(text)

    def bypass(self, text: str) -> str:
        """An entry of a bypass list, which may be several for some clients."""
        return "".join(map(self._entry, re.split(r"(\s+)", text)))

    def _entry(self, entry: str) -> str:
        """One that makes a difference for the platform's addresses stays: it names nobody else."""
        if entry.isspace() or entry.lower() in BYPASS_WORDS:
            return entry
        if parse(entry)[0] is not None or if_valid(parse_cidr, entry) is not None:
            return self._addresses.network(entry)
        octets = OCTETS.fullmatch(entry)
        if octets:
            count = octets.group(1).count(".")
            whole = octets.group(1) + ".".join("0" * (4 - count))
            mapped = self._addresses(whole, 8 * count).split(".")[:count]
            return f"{'.'.join(mapped)}.{octets.group(2)}"
        if _matters(entry):
            return entry
        if PATTERN_OF_NUMBERS.fullmatch(entry):
            return self._texts.name(entry)
        scheme, colons, rest = entry.rpartition("://")
        return f"{scheme}{colons}{self._texts.authority(rest)}"

    # --- what is more than a text ---

    def rule_line(self, line: str) -> str:
        """A rule or a chain as a line (``firewall/record.py``)."""
        if line.startswith("#"):
            return line
        state = line.partition("\t")[0]
        try:
            if state == CHAIN:
                return chain_line(self._object(read_chain(line), FirewallChain))
            return rule_line(self._object(read_rule(line), FirewallRule), state)
        except ValueError:
            return ""

    def _match(self, match: FirewallMatch) -> FirewallMatch:
        if match.field in ADDRESS_FIELDS:
            made = [item for value in match.values for item in self._range(value)]
        elif match.field in NIC_FIELDS:
            made = [item for value in match.values for item in self._nics(value)]
        else:
            rewrite = self._rewrite_of(match.field)
            made = [rewrite(value) for value in match.values]
        return dataclasses.replace(match, values=tuple(made))

    def _rewrite_of(self, field: MatchField) -> Callable[[str], str]:
        if field in OWNER_FIELDS:
            return self.account
        if field in WORD_FIELDS:
            return self.words
        return self.text

    def _range(self, value: str) -> List[str]:
        """Addresses as a rule has them.

        A range becomes networks: those hold afterwards what they held before.
        """
        if value.lower() in KEYWORDS:
            return [value]
        if value.startswith("@"):
            return [f"@{self._texts.name(value[1:], 'set')}"]
        try:
            first, last = ends(value)
        except ValueError:
            return [self._texts.name(value)]
        if "-" not in value:
            return [self._addresses.network(value)]
        if first.version == 6 or first > last:  # type: ignore[operator]
            return ["-".join(map(self._addresses, (str(first), str(last))))]
        parts = [str(part) for part in ipaddress.summarize_address_range(first, last)]
        made = list(map(self._addresses.network, parts))
        if made == parts:
            return [value]
        return made

    def _nics(self, value: str) -> List[str]:
        """Interfaces as a rule has them: one by name, or all that begin alike."""
        if value[-1:] not in ("*", "+"):
            return [self.nic(value)]
        names = [adapter.name for adapter in self._facts.adapters or ()]
        made = {self.nic(name): name.startswith(value[:-1]) for name in names}
        is_usual = value[:-1] in ("", "e", "en") or NIC.fullmatch(f"{value[:-1]}0")
        if is_usual and all(name.startswith(value[:-1]) == begins for name, begins in made.items()):
            return [value]
        return [name for name, begins in made.items() if begins] or [self._texts.name(value, "nic")]

    def _certificate(self, old: Certificate, made: Certificate) -> Certificate:
        """Numbers of a certificate lead to it, unless its names are everybody's anyway."""

        def number(value: Any, is_public: bool) -> Any:
            if is_public or not value:
                return value
            return self._number(value)

        of_subject, of_issuer = made.subject == old.subject, made.issuer == old.issuer
        return dataclasses.replace(
            made,
            thumbprint=number(old.thumbprint, of_subject),
            serial=number(old.serial, of_subject),
            subject_key_id=number(old.subject_key_id, of_subject),
            authority_key_id=number(old.authority_key_id, of_issuer),
        )

    def _number(self, value: str) -> str:
        return (self._texts.digest(value) * 2)[: len(value)].upper()

    def _output(self, raw: RawText) -> str:
        """What a program printed.

        In ``ip``'s words there are few that are not its own; Windows' programs speak the user's
        language.
        """
        if raw.command == "route print":
            return self.text(raw.text)
        if raw.command != "ipconfig /all":
            return self.words(raw.text)
        made: List[str] = []
        is_list = False
        for line in raw.text.splitlines(keepends=True):
            named = LABELLED.fullmatch(line)
            if named is None and is_list:
                named = MORE.fullmatch(line)
            is_list = named is not None
            if named:
                made += [named.group(1), self._named(named.group(2)), named.group(3)]
            elif HEADING.fullmatch(line):
                made.append(self.words(line))
            else:
                made.append(self.text(line))
        return "".join(made)

    def _named(self, value: str) -> str:
        plain = value.strip().partition("%")[0]
        if not plain or parse(plain)[0] is not None:
            return self.text(value)
        return self._texts.host(value.strip())


def _parts(cidr: str) -> Tuple[str, int]:
    address, _, length = cidr.partition("/")
    return address, int(length)


def _ones(mask: str) -> int:
    """The length that a mask such as 255.255.0.0 says."""
    return bin(parse(mask)[0] or 0).count("1")


@lru_cache(maxsize=None)
def _matters(entry: str) -> bool:
    """Whether an entry of a bypass list affects a platform address, for any client."""
    return any(
        through(dataclasses.replace(proxy, bypass=(entry,)), address) != through(proxy, address)
        for proxy in SOMEBODYS.values()
        for address in PLATFORM_ADDRESSES
    )


@lru_cache(maxsize=None)
def _hints(cls: Any) -> Mapping[str, Any]:
    """The type of each field that may name somebody."""
    hints = get_type_hints(cls)
    names = [field.name for field in dataclasses.fields(cls)]
    return {name: hints[name] for name in names if hints[name] not in NUMBERS}


# What rewrites a text of each kind. (Of ``MatchValue`` and ``Output`` a neighbour decides.)
REWRITES: Dict[Any, Rewrite] = {
    kinds.Term: _Redaction.keep,
    kinds.CertificateNumber: _Redaction.keep,
    kinds.Message: _Redaction.text,
    kinds.Reason: _Redaction.sentence,
    kinds.Phrase: _Redaction.words,
    kinds.Distribution: _Redaction.distribution,
    kinds.Region: _Redaction.region,
    kinds.NicName: _Redaction.nic,
    kinds.TableName: _Redaction.table,
    kinds.VmName: _Redaction.vm,
    kinds.GroupName: _Redaction.group,
    kinds.RuleName: _Redaction.rule,
    kinds.Packed: _Redaction.drop,
    kinds.RuleLine: _Redaction.rule_line,
    kinds.AssetTag: _Redaction.tag,
    kinds.Account: _Redaction.account,
    kinds.Id: _Redaction.identity,
    kinds.ResourceId: _Redaction.resource,
    kinds.DnsName: _Redaction.host,
    kinds.Server: _Redaction.server,
    kinds.Url: _Redaction.url,
    kinds.BypassEntry: _Redaction.bypass,
}
