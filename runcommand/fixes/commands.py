"""What a fix is made of: advice, and commands that hold validated words only.

A command is a template, which is a constant of this package's source, whose ``{name}`` are filled
with words. A word is of a kind (an address, a MAC, a thumbprint ...), and each kind says what its
words may be. A text that is not of that kind raises ``UnfitWord``: there is no way to put a text of
the VM, the network or the operator into a command without naming its kind.

No word holds a character that ``cmd``, PowerShell or ``sh`` reads anything into, apart from those
kinds that say so; a template puts quotes around the kinds that may hold blanks.
"""

from __future__ import annotations

import re
import shlex
import string
from enum import Enum
from typing import ClassVar, Iterable, Optional, Pattern, Union

from ..facts import UUID, parse_address, parse_cidr, parse_mac, parse_next_hop
from ..frozen import dataclass


class UnfitWord(ValueError):
    """A text that cannot stand in a command as a word of its kind."""


class Part:
    """What may stand in a command: a word, or a phrase of words."""

    @property
    def text(self) -> str:
        raise NotImplementedError


class Word(Part):
    """One argument of a command, valid for its kind.

    A kind is a subclass with a pattern, a check or both.
    """

    PATTERN: ClassVar[Pattern[str]] = re.compile(r"(?!)")  # of no word at all: a kind names its own

    def __init__(self, text: str) -> None:
        if not isinstance(text, str) or not self.fits(text):
            raise UnfitWord(f"not a {type(self).__name__}: {str(text)[:40]!r}")
        try:
            self._text = self.normal(text)
        except ValueError:
            raise UnfitWord(f"not a {type(self).__name__}: {text[:40]!r}") from None

    @classmethod
    def fits(cls, text: str) -> bool:
        """Whether a text has the form of this kind."""
        return bool(cls.PATTERN.fullmatch(text))

    @staticmethod
    def normal(text: str) -> str:
        """The form in which it stands in a command.

        Raises ``ValueError`` where it is invalid after all.
        """
        return text

    @property
    def text(self) -> str:
        return self._text


class Address(Word):
    """An IPv4 address in dotted form."""

    PATTERN = re.compile(r"[0-9.]{7,15}")
    normal = staticmethod(parse_address)


class NextHop(Word):
    """An IPv4 or IPv6 address, without a zone."""

    PATTERN = re.compile(r"[0-9a-fA-F.:]{2,39}")
    normal = staticmethod(parse_next_hop)


class Network(Word):
    """An IPv4 network, ``10.0.0.0/8``."""

    PATTERN = re.compile(r"[0-9.]{7,15}/[0-9]{1,2}")
    normal = staticmethod(parse_cidr)


class Remote(Word):
    """What a Windows firewall rule is for: an IPv4 or IPv6 address, or a range.

    A range is written ``10.0.0.1-10.0.0.9``.
    """

    PATTERN = re.compile(r"[0-9a-fA-F.:]{2,39}(-[0-9a-fA-F.:]{2,39})?")

    @staticmethod
    def normal(text: str) -> str:
        return "-".join(parse_next_hop(end) for end in text.split("-"))


class Mac(Word):
    """A MAC address, ``00-0D-3A-E5-1C-C0``."""

    PATTERN = re.compile(r"[0-9A-F]{2}(-[0-9A-F]{2}){5}")
    normal = staticmethod(parse_mac)


class Number(Word):
    """A decimal number of up to 12 digits.

    It is an interface index, a port, a metric, a priority or seconds.
    """

    PATTERN = re.compile(r"[0-9]{1,12}")

    def __init__(self, value: int) -> None:
        super().__init__(str(value))


class Interface(Word):
    """The name of a Linux interface."""

    PATTERN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,14}")


class TableName(Word):
    """The name or number of a Linux routing table (iproute2)."""

    PATTERN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,31}")


class Selector(Word):
    """A value of a Linux policy rule: a mark ``0x10/0xff``, a protocol, a port or a port range."""

    PATTERN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,31}(/0x[0-9a-fA-F]{1,8})?")


class NftName(Word):
    """The name of an nftables table or chain."""

    PATTERN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_./-]{0,63}")


class ChainName(Word):
    """The name of an iptables table or chain."""

    PATTERN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:-]{0,28}")


class DisplayName(Word):
    """A name that a person gave.

    Plain ASCII, without quotes and without what a shell reads inside double quotes.
    """

    PATTERN = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9 ._:@()#+-]{0,61}[A-Za-z0-9._:@()#+-])?")


class RuleId(Word):
    """The name of a Windows firewall rule in the registry: ``{GUID}`` or a plain name."""

    PATTERN = re.compile(r"[A-Za-z0-9{][A-Za-z0-9{}._-]{0,119}")


class ServiceName(Word):
    """The name of a Windows service or a systemd unit."""

    PATTERN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,79}")


class Uuid(Word):
    """A UUID, such as the one of a NetworkManager connection."""

    PATTERN = UUID


class Thumbprint(Word):
    """The SHA-1 thumbprint of a certificate, 40 hexadecimal digits."""

    PATTERN = re.compile(r"[0-9A-Fa-f]{40}")


class Store(Word):
    """A Windows certificate store that a command may remove something from.

    Neither roots nor private keys.
    """

    PATTERN = re.compile(r"CA|Disallowed")


class CertificateFile(Word):
    """The name of a certificate's file, without a folder."""

    PATTERN = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._-]{0,80}[.](crt|cer|der)")


class LinuxUrl(Word):
    """A plain HTTP address as it may stand between single quotes in ``sh``."""

    PATTERN = re.compile(r"http://[A-Za-z0-9:/._%~-]{1,300}")


class WindowsUrl(Word):
    """A plain HTTP address, as it may stand between single quotes in PowerShell.

    Its escapes are resolved, because ``cmd`` reads ``%``.
    """

    PATTERN = re.compile(r"http://[A-Za-z0-9:/._~ -]{1,300}")


class ProxyServer(Word):
    """A proxy as ``host:port``, perhaps with ``http://`` before it."""

    PATTERN = re.compile(r"(http://)?[A-Za-z0-9][A-Za-z0-9.-]{0,119}(:[0-9]{1,5})?")


class BypassEntry(Word):
    """An entry of a bypass list on Linux."""

    PATTERN = re.compile(r"[A-Za-z0-9.:/_-]{1,120}")


class WindowsBypassEntry(Word):
    """An entry of a bypass list on Windows, as it may stand between double quotes."""

    PATTERN = re.compile(r"[A-Za-z0-9.*:/_<>-]{1,120}")


class AccountKey(Word):
    """A key below HKEY_USERS: a security identifier, or ``.DEFAULT``."""

    PATTERN = re.compile(r"S-1-5(-[0-9]{1,10}){1,14}|[.]DEFAULT")


class IptablesWord(Word):
    """A value of an iptables option, in quotes where it holds blanks.

    ``iptables.py`` says which values an option takes.
    """

    PATTERN = re.compile(r"[A-Za-z0-9 ./:,_@%+=#()\[\]-]{0,255}")

    @staticmethod
    def normal(text: str) -> str:
        return shlex.quote(text)


@dataclass(frozen=True)
class Phrase(Part):
    """A template of this package with its words in it, or several in a row."""

    _text: str

    @property
    def text(self) -> str:
        return self._text


def phrase(template: str, **words: Part) -> Phrase:
    """Fills a template, ``"route delete {address}"``, with words.

    :param template: a constant of the source (a test holds every caller to that)
    """
    for name, word in words.items():
        if not isinstance(word, Part):
            raise TypeError(f"{name} is a {type(word).__name__}, and not a word of a command")
    texts = {name: word.text for name, word in words.items()}
    return Phrase(string.Formatter().vformat(template, (), texts))


def in_a_row(parts: Iterable[Part], separator: str = " ") -> Phrase:
    """Several parts, one after the other.

    :param separator: a constant of the source
    """
    return Phrase(separator.join(part.text for part in parts))


# --- Fixes ---


class FixKind(str, Enum):
    COMMAND = "command"
    ADVICE = "advice"


class Shell(str, Enum):
    CMD = "cmd"
    POWERSHELL = "powershell"
    SH = "sh"


class RunOn(str, Enum):
    VM = "vm"
    OPERATOR = "operator"  # the machine of whoever runs az


@dataclass(frozen=True)
class Fix:
    """One line of what mends a VM: a command for a shell, or advice for a person.

    ``harmless`` is what the command may answer without that being a fault: "not found".
    """

    kind: FixKind
    content: Union[str, Phrase]
    shell: Optional[Shell] = None
    run_on: Optional[RunOn] = None
    harmless: Optional[str] = None

    def __post_init__(self) -> None:
        if self.kind is FixKind.COMMAND and not isinstance(self.content, Phrase):
            raise TypeError("a command is made of words")

    @property
    def text(self) -> str:
        if isinstance(self.content, Phrase):
            return self.content.text
        return self.content


def command(
    shell: Shell, content: Phrase, run_on: RunOn = RunOn.VM, harmless: Optional[str] = None
) -> Fix:
    """A command to be pasted on the VM, or on the operator's own machine."""
    return Fix(FixKind.COMMAND, content, shell, run_on, harmless)


def advice(text: str) -> Fix:
    return Fix(FixKind.ADVICE, text)


def cmd(content: Phrase, harmless: Optional[str] = None) -> Fix:
    """For an elevated Command Prompt."""
    return command(Shell.CMD, content, harmless=harmless)


def powershell(content: Phrase, harmless: Optional[str] = None) -> Fix:
    """For PowerShell, without ``$`` and double quotes.

    The report passes it to ``powershell -Command`` in double quotes.
    """
    return command(Shell.POWERSHELL, content, harmless=harmless)


def sh(content: Phrase, harmless: Optional[str] = None) -> Fix:
    """For a root shell."""
    return command(Shell.SH, content, harmless=harmless)
