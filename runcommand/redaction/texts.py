"""Names, ids and addresses wherever they stand in a text, each replaced by its pseudonym."""

from __future__ import annotations

import re
from typing import Any, Callable, Dict, List, Match, Optional, Tuple

from ..facts import PLATFORM_ADDRESSES
from ..model.words import to_ascii
from .addresses import Addresses, in_form_of, parse
from .key import Key
from .vocabulary import NIC, PUBLIC, SERVICES, SHARED, WORDS

TOKEN = re.compile(r"[^\W_]+")
NEXT_TOKEN = re.compile(r"[^\w\r\n]{0,3}_?(?P<word>[^\W_]+)")  # of a name of several words
TOKENS = 12  # words of a name that count
SHORTEST = 3  # letters of a name that is looked for
NAMES = 20_000  # that are looked for
LABELS = 20  # of a host's name
STEM, STEMS = 4, 50  # letters of a word that is looked for in longer ones; such words
# "80", "10s", "v2", "of"; "el9", "gen2"
BARE = re.compile(
    r"[0-9]+[a-z]{0,3}|0x[0-9a-f]+|[a-z][0-9]{1,3}|(?:el|fc|gen|wsl|rc)[0-9]{1,3}|.{1,2}",
    re.IGNORECASE,
)
HOST = r"\w[\w-]{0,62}(?:\.\w[\w-]{0,62}){0,9}\.[^\W\d_][\w-]{1,62}"  # with a dot
HOME_FOLDER = (
    r"""[\\/](?P<home>(?:Users|Documents[ ]and[ ]Settings|home)[\\/]"""
    r"""(?:[^\\/\r\n"':;,<>|]{1,64}(?=[\\/])|[^\\/\s"':;,<>|]{1,64}))"""
)
HOME = re.compile(rf"(?<![\w.-]){HOME_FOLDER}", re.IGNORECASE)  # not in the path of a URL
OCTET = "(?:0|[1-9][0-9]{0,2})"
# An address as it stands in the name of a host: ip-10-0-0-4
DASHED = (
    rf"(?<![0-9A-Za-z])(?<![0-9][-_])(?:(?:{OCTET}-){{3}}{OCTET}|(?:{OCTET}_){{3}}{OCTET})"
    r"(?![0-9A-Za-z]|[-_][0-9])"
)
IN_A_NAME = re.compile(DASHED)
# Bounded, and begun only where a word begins: the time is linear in the text.
PATTERN = re.compile(
    rf"""(?<!\w)(?P<url>[A-Za-z][A-Za-z0-9+.-]{{1,15}}://[^\s"'<>|)\]]{{0,2000}})
    |(?<![0-9A-Za-z])(?P<guid>[0-9a-f]{{8}}-?(?:[0-9a-f]{{4}}-?){{3}}[0-9a-f]{{12}})(?![0-9A-Za-z])
    |(?P<sid>\bS-1-[0-9]{{1,2}}(?:-[0-9]{{1,10}}){{1,15}})
    |(?<![0-9A-Za-z:-])(?P<mac>[0-9a-f]{{2}}
        (?:(?:-[0-9a-f]{{2}}){{5,19}}|(?::[0-9a-f]{{2}}){{5}}(?:(?::[0-9a-f]{{2}}){{3,14}})?)
    )(?![0-9A-Za-z:-])
    |(?<=\.\.\.)(?P<row>[0-9a-f]{{2}}(?:[ ][0-9a-f]{{2}}){{5,19}})(?=[ ]?\.\.)
    |(?<![0-9A-Za-z.])(?P<dotted>[0-9a-f]{{4}}\.[0-9a-f]{{4}}\.[0-9a-f]{{4}})(?![0-9A-Za-z.])
    |(?<![\w:.])(?P<six>(?:[0-9a-f]{{0,4}}:){{2,7}}
        (?:[0-9]{{1,3}}(?:\.[0-9]{{1,3}}){{3}}|[0-9a-f]{{0,4}})(?:/[0-9]{{1,3}})?
    )(?![\w:])
    |(?<![0-9.])(?P<four>[0-9]{{1,3}}(?:\.[0-9]{{1,3}}){{3}}
        (?:/[0-9]{{1,3}}(?:\.[0-9]{{1,3}}){{0,3}})?)(?!\w|\.[0-9])
    |{HOME_FOLDER}
    |(?P<dashed>{DASHED})
    |(?<!\w)(?<!\w[-.])(?P<file>[a-z0-9_]{{1,40}}\.py:[0-9]+)
    |(?<!\w)(?<!\w[-.])(?P<host>{HOST})(?![\w-])
    |(?<![\w-])-{{0,2}}(?:[ug]id-owner|uidrange|sk[ug]id|user[ _-]?id|[ug]id)
        [ \t=:"]{{1,3}}(?P<owner>[0-9]{{1,10}}(?:[-:][0-9]{{1,10}})?)(?!\w)
    |(?<![\w.-])(?P<bridge>br-[0-9a-f]{{12}})(?![\w.-])
    |(?<!\S)(?P<option>--?[a-z][a-z0-9-]{{1,30}})(?!\S)
    |(?P<word>[^\W_]+)""",
    re.IGNORECASE | re.VERBOSE,
)
# Free text of whoever made a firewall rule: iptables' options, nft's words.
FREE = re.compile(
    r"""((?:--(?:log|nflog|ulog)-prefix|--comment|(?<![\w-])(?:prefix|comment)(?=[ ]"))"""
    r"""[ \t=]{1,3})("(?:[^"\\]|\\.){0,300}"?|[^\s"]{1,300})"""
)
PATH = re.compile(
    r"(?<![\w./\\])(?:/[\w.+@-]{1,80}){1,20}|"
    r"(?<!\w)[A-Za-z]:(?:\\[^\s\\:;,\"'<>|]{1,80}){1,20}|(?<=exit status )[0-9]{1,3}: .*"
)
# below it numbers are the system's own: of accounts on Linux, of what every Windows domain has
FIRST_USER = 1000
EVERYBODYS_NUMBERS = (65534, 65535, 2**32 - 2, 2**32 - 1)  # nobody, none, the end of a range
MAILBOX = re.compile(r"(?<![\w.%+-])[\w.%+-]{1,64}@(?=[\w-]{1,63}\.)")
EVERYBODYS_FOLDERS = ("public", "default", "default user", "all users", "administrator")
AUTHORITY = re.compile(r"(\[[^\]]*\]|[^:]*)(:[0-9]{0,5})?.*", re.DOTALL)
EXTENSIONS = re.compile(r"\.(?:crt|cer|der|crl|p7[bc]|pac|dat|js)$", re.IGNORECASE)
LAST_PARTS = ("cn", "sh", "py")  # that stay: rules look for the first, people for the others
# SIDs that a machine, a domain or a tenant has given, or that are a digest of a name: of a service,
# a pool, an app.
OF_PEOPLE = re.compile(
    r"(S-1-5-21|S-1-5-8[0-9]|S-1-5-5|S-1-11-96|S-1-12-1|S-1-15-[23]|S-1-22-[12])((?:-[0-9]+)+)",
    re.IGNORECASE,
)
# Of these, the short ones are everybody's: all services, all apps.
OF_NAMES = ("S-1-5-80", "S-1-15-2", "S-1-15-3")
TRUSTED_INSTALLER = "S-1-5-80-956008885-3418522649-1831038044-1853292631-2271478464"


class Texts:
    """The pseudonyms of one report."""

    def __init__(self, key: Key, addresses: Addresses) -> None:
        self._key, self._addresses = key.derived("texts"), addresses
        self._given: Dict[str, str] = {}  # a name in lower case: its pseudonym
        self._counts: Dict[str, int] = {}
        # A tree of names: by the next word the rest of them, by "" the pseudonym of the one that
        # ends there.
        self._names: Dict[str, Any] = {}
        self._stems: Dict[str, None] = {}
        self._macs: Dict[str, str] = {}  # without separators
        self._owners: Dict[int, int] = {}
        self._handlers: Dict[str, Callable[[str], str]] = {
            "url": self.url,
            "guid": self.guid,
            "sid": self.sid,
            "mac": self.mac,
            "row": self.mac,
            "dotted": self.mac,
            "six": self.address,
            "four": self.address,
            "dashed": self._dashed,
            "home": self._home,
            "owner": self.owner,
            "file": lambda text: text,
            "bridge": lambda text: text,
            "option": self._option,
            "host": self.host,
        }

    # --- names ---

    def name(self, value: str, kind: str = "name", end: str = "") -> str:
        """The pseudonym of a whole value, in capitals where it is."""
        plain = value.lower()
        if plain not in self._given:
            self._counts[kind] = self._counts.get(kind, 0) + 1
            self._given[plain] = f"{kind}-{self._counts[kind]}{end}"
        return _as_written(value, self._given[plain])

    def learn(self, value: str, kind: str = "name", is_stem: bool = False) -> str:
        """The same, for a name that is to be replaced wherever it stands.

        Its words are replaced too, unless they are common ones.

        :param is_stem: and longer words that hold one of them
        """
        made = self.name(value, kind)
        for spelled in dict.fromkeys((value, to_ascii(value))):
            words = [word.lower() for word in TOKEN.findall(spelled)]
            if any(map(_is_own, words)):
                self._enter(words, self._given[value.lower()])
            for word in filter(_is_own, words):
                if len(word) > SHORTEST:
                    self._enter([word], self.name(word).lower())
                    if is_stem and len(word) > STEM and len(self._stems) < STEMS:
                        self._stems[word] = None
        return made

    def _enter(self, words: List[str], pseudonym: str) -> None:
        if len(self._names) < NAMES:
            node = self._names
            for word in words[:TOKENS]:
                node = node.setdefault(word, {})
            node.setdefault("", pseudonym)

    def know_mac(self, mac: str) -> None:
        """A MAC address that is to be replaced also where it has no separators."""
        self._macs[re.sub("[^0-9a-f]", "", mac.lower())] = re.sub(
            "[^0-9a-f]", "", self.mac(mac).lower()
        )

    def digest(self, value: str) -> str:
        """64 hexadecimal digits that only who has the key can make of a value."""
        return self._key.digest(value.lower().encode("utf-8", "surrogatepass")).hex()

    # --- texts ---

    def learn_people(self, text: str) -> None:
        """Learns the users whose folders and mailboxes a text names.

        They are replaced wherever else they stand.
        """
        for home in HOME.finditer(text):
            self._home(home.group("home"))
        if "@" in text:
            for mailbox in MAILBOX.finditer(text):
                self.learn(mailbox.group()[:-1], "user")

    def rewrite(self, text: str, strict: bool = False, strict_paths: bool = False) -> str:
        """A text with everything replaced that is a customer's own.

        :param strict: every word is, that is not everybody's
        :param strict_paths: every such word of a path is, and of what another program said
        """
        made: List[str] = []
        at = 0
        self.learn_people(text)
        if "prefix" in text or "comment" in text:
            text = FREE.sub(self._free, text)
        if "@" in text:
            text = MAILBOX.sub(lambda match: f"{self.name(match.group()[:-1], 'user')}@", text)
        paths: List[Tuple[int, int]] = []  # where they begin and end, the first one last
        if strict_paths:
            paths = [path.span() for path in PATH.finditer(text)][::-1]
        while True:
            match = PATTERN.search(text, at)
            if match is None:
                break
            start, end = match.span(match.lastgroup or 0)
            if match.lastgroup == "word":
                while paths and paths[-1][1] <= start:
                    paths.pop()
                is_in_path = bool(paths) and paths[-1][0] <= start
                replaced, end = self._word(match, strict or is_in_path)
            else:
                replaced = self._handlers[str(match.lastgroup)](match.group(str(match.lastgroup)))
            made += [text[at:start], replaced]
            at = end
        return "".join([*made, text[at:]])

    def _word(self, match: Match[str], strict: bool) -> Tuple[str, int]:
        """A word, or the known name that begins with it; and where that ends."""
        word, end = match.group("word"), match.end("word")
        plain, node, at = word.lower(), self._names, end
        found: Tuple[str, int] = ("", end)
        follows: Optional[Match[str]] = match
        while follows and follows.group("word").lower() in node:
            node, at = node[follows.group("word").lower()], follows.end()
            if "" in node:
                found = (node[""], at)
            follows = NEXT_TOKEN.match(match.string, at)
        if found[0]:
            return _as_written(match.string[match.start() : found[1]], found[0]), found[1]
        if len(plain) == 12 and plain in self._macs:
            return _in_case_of(word, self._macs[plain]), end
        if re.fullmatch("enx[0-9a-f]{12}", plain):  # systemd names a NIC by its MAC address
            return word[:3] + self.mac(plain[3:]), end
        if not _is_own(word) or (not strict and not any(stem in plain for stem in self._stems)):
            return word, end
        return self.learn(word), end

    def address(self, text: str) -> str:
        if "/" in text:
            return self._addresses.network(text)
        return self._addresses(text)

    def _dashed(self, text: str) -> str:
        """An address whose four numbers stand between dashes or underscores."""
        (separator,) = set(re.findall("[-_]", text))
        return self._addresses(text.replace(separator, ".")).replace(".", separator)

    def mac(self, text: str) -> str:
        """A MAC address in any notation.

        Nothing stays of longer link-layer addresses and of DHCP identifiers.
        """
        if len(re.sub("[^0-9A-Fa-f]", "", text)) == 12:
            return self._addresses.mac(text)
        digits = self.digest(re.sub("[^0-9a-f]", "", text.lower()))
        return _in_case_of(text, in_form_of(text, digits))

    def guid(self, text: str) -> str:
        """A UUID.

        SMBIOS has the bytes of the first three parts in the other order; so has the pseudonym then.
        """
        digits = text.replace("-", "").lower()
        if len(set(digits)) == 1:
            return text
        other = _as_in_smbios(digits)
        made = self.digest(min(digits, other))[:32]
        if digits > other:
            made = _as_in_smbios(made)
        return in_form_of(text, _in_case_of(text, made))

    def sid(self, text: str) -> str:
        """A security identifier, with the machine, domain or tenant replaced.

        A number below 1000 in it stays (500: the administrator).
        """
        match = OF_PEOPLE.fullmatch(text)
        if not match or text.upper() == TRUSTED_INSTALLER:
            return text
        parts = match.group(2)[1:].split("-")
        if match.group(1).upper() in OF_NAMES and len(parts) < 3:
            return text
        size = len(parts)
        if match.group(1).endswith("-21"):
            size = 3
        digest = self.digest("-".join(parts[:size]))
        made = [str(int(digest[i * 8 : i * 8 + 8], 16)) for i in range(min(len(parts), size, 8))]
        rest = [str(self._owner(int(part))) for part in parts[size:]]
        return "-".join([match.group(1), *made, *rest])

    def owner(self, text: str) -> str:
        """The number of a user or group, or a range, as in firewall and policy rules."""
        if not re.search("[-:]", text):
            return str(self._owner(int(text)))
        first, mark, last = re.split("([-:])", text)
        return mark.join(map(str, self.owners(int(first), int(last))))

    def owners(self, first: int, last: int) -> Tuple[int, int]:
        """A range of them; what its ends' pseudonyms would turn round is a range again."""
        made = self._owner(first), self._owner(last)
        if first <= last:
            return min(made), max(made)
        return made

    def _owner(self, number: int) -> int:
        if number < FIRST_USER or number in EVERYBODYS_NUMBERS:
            return number
        return self._owners.setdefault(number, FIRST_USER + 1 + len(self._owners))

    def _free(self, match: Match[str]) -> str:
        """A comment or a prefix of the log: all of it is its author's, in one word or in quotes."""
        value = match.group(2)
        plain = value.strip('"')
        if not plain.strip():
            return match.group()
        mark = ""
        if value.startswith('"'):
            mark = '"'
        return f"{match.group(1)}{mark}{self.learn(plain, 'comment').lower()}{mark}"

    def sentence(self, text: str) -> str:
        """A sentence of this program.

        In a path in it, and in what another program said, every word is replaced that is not
        common.
        """
        return self.rewrite(text, strict_paths=True)

    def learn_paths(self, text: str) -> None:
        """The words of the paths in a sentence: they are replaced wherever else they stand."""
        for path in PATH.finditer(text):
            self.rewrite(path.group(), strict=True)

    def _home(self, text: str) -> str:
        folder, user = re.split(r"[\\/]", text, maxsplit=1)
        separator = text[len(folder)]
        if user.lower() not in EVERYBODYS_FOLDERS:
            user = self.learn(user, "user", True)
        return f"{folder}{separator}{user}"

    def _option(self, text: str) -> str:
        """Of a command line: iptables' own, unless a name stands in it."""
        if any(stem in text.lower() for stem in self._stems):
            return self.learn(text)
        return text

    # --- hosts ---

    def host(self, name: str) -> str:
        """A host by name or address, a domain, or a pattern of such (``*.contoso.com``)."""
        made = self._host(name)
        if made == name:  # no word in it is a customer's own; an address may be
            return IN_A_NAME.sub(lambda match: self._dashed(match.group()), name)
        return made

    def _host(self, name: str) -> str:
        if parse(name.strip("[]"))[0] is not None:
            if name.startswith("["):
                return f"[{self._addresses(name[1:-1])}]"
            return self._addresses(name.strip("[]"))
        mark = next((mark for mark in ("*.", ".") if name.startswith(mark)), "")
        plain = name[len(mark) :]
        lower = plain.lower().rstrip(".")
        words = TOKEN.findall(lower)
        if not words or lower == "localhost" or _is_below(lower, PUBLIC):
            return name
        if "." not in lower or lower in self._given:
            return mark + self.learn(plain, is_stem=True)
        if not any(map(_is_own, words)):  # route.exe, waagent.conf
            return name
        for domain in SHARED:
            if _is_below(lower, (domain,)):
                return mark + self._below(domain, plain)
        first, _, rest = lower.partition(".")
        if first in self._given and 0 < rest.count(".") < LABELS:
            return f"{mark}{self.name(first)}.{self.host(rest)}"
        for label in lower.split(".")[:-1]:
            if len(label) > SHORTEST:
                self.learn(label, is_stem=True)
        last = lower.rpartition(".")[2]
        if last not in WORDS and last not in LAST_PARTS:
            last = "example"
        return mark + self.name(plain, end=f".{last}")

    def _below(self, domain: str, name: str) -> str:
        """A host below a domain of Azure: the service in it stays (``blob.core.windows.net``)."""
        rest = name.lower().rstrip(".")[: -len(domain)].strip(".")
        kept = next((f"{service}." for service in SERVICES if rest.endswith(f".{service}")), "")
        own = rest[: len(rest) - len(kept)]
        if not own:
            return name
        return f"{self.learn(own)}.{kept}{domain}"

    def authority(self, text: str) -> str:
        """``host:port``"""
        match = AUTHORITY.fullmatch(text.rpartition("@")[2])
        if not match:
            return self.name(text)
        return self.host(match.group(1)) + (match.group(2) or "")

    def url(self, text: str) -> str:
        """An address without its query.

        Of the path only the kind of file stays, unless the host is a public one.
        """
        end = len(text.rstrip(".,;:"))
        scheme, _, rest = text[:end].partition("://")
        at = next((i for i, c in enumerate(rest) if c in "/?#\\"), len(rest))
        where = self.authority(rest[:at])
        path = re.split("[?#]", rest[at:])[0]
        host = rest[:at].lower().rpartition("@")[2].partition(":")[0]
        if path not in ("", "/") and not _is_below(host, PUBLIC) and host not in PLATFORM_ADDRESSES:
            extension = EXTENSIONS.search(path)
            path = f"/{self.name(path, 'path').lower()}"
            if extension:
                path += extension.group().lower()
        return f"{scheme}://{where}{path}{text[end:]}"


def _is_own(word: str) -> bool:
    """Whether a word is none of everybody's, and long enough to name anybody."""
    return word.lower() not in WORDS and not BARE.fullmatch(word) and not NIC.fullmatch(word)


def _as_written(value: str, made: str) -> str:
    if value.isupper():
        return made.upper()
    if value.istitle():
        return made.capitalize()
    return made


def _is_below(name: str, domains: Tuple[str, ...]) -> bool:
    return name in domains or name.endswith(tuple(f".{domain}" for domain in domains))


def _in_case_of(text: str, made: str) -> str:
    """Hexadecimal digits in capitals where the text has them so."""
    if text.isupper():
        return made.upper()
    return made


def _as_in_smbios(digits: str) -> str:
    """A UUID's digits with the bytes of its first three parts in the other order."""
    parts = digits[:8], digits[8:12], digits[12:16]
    return "".join(map(_reversed, parts)) + digits[16:]


def _reversed(digits: str) -> str:
    """Hexadecimal digits with their bytes in the other order."""
    return "".join(digits[i : i + 2] for i in range(len(digits) - 2, -1, -2))
