"""X.509 certificates (RFC 5280): read, and their RSA signatures verified. No I/O."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from datetime import datetime
from functools import cached_property
from typing import Dict, Iterable, Iterator, List, NamedTuple, Optional, Tuple

from ..facts import Certificate, instant
from ..facts.urls import not_shown, without_query
from ..frozen import dataclass
from . import der
from .der import Element, Malformed, Reader, Unsupported

RSA_ENCRYPTION = "1.2.840.113549.1.1.1"
# RFC 8017, A.2.4: of each signature algorithm, its digest.
WITH_RSA = {
    "1.2.840.113549.1.1.11": "sha256",
    "1.2.840.113549.1.1.12": "sha384",
    "1.2.840.113549.1.1.13": "sha512",
}
DIGESTS = {
    "2.16.840.1.101.3.4.2.1": "sha256",
    "2.16.840.1.101.3.4.2.2": "sha384",
    "2.16.840.1.101.3.4.2.3": "sha512",
}
# DigestInfo up to the digest itself (RFC 8017, 9.2, note 1).
DIGEST_INFO = {
    "sha256": bytes.fromhex("3031300d060960864801650304020105000420"),
    "sha384": bytes.fromhex("3041300d060960864801650304020205000430"),
    "sha512": bytes.fromhex("3051300d060960864801650304020305000440"),
}
NAMES = {
    "1.2.840.113549.1.1.1": "RSA",
    "1.2.840.113549.1.1.5": "SHA-1 with RSA",
    "1.2.840.113549.1.1.10": "RSASSA-PSS",
    "1.2.840.113549.1.1.11": "SHA-256 with RSA",
    "1.2.840.113549.1.1.12": "SHA-384 with RSA",
    "1.2.840.113549.1.1.13": "SHA-512 with RSA",
    "1.2.840.10045.2.1": "EC",
    "1.2.840.10045.4.3.2": "ECDSA with SHA-256",
    "1.2.840.10045.4.3.3": "ECDSA with SHA-384",
    "1.2.840.10045.4.3.4": "ECDSA with SHA-512",
    "1.3.101.112": "Ed25519",
    "1.3.14.3.2.26": "SHA-1",
    "2.16.840.1.101.3.4.2.4": "SHA-224",
}
SMALLEST_KEY, LARGEST_KEY, LARGEST_EXPONENT = 2048, 4096, 2**64  # bits, bits, value
_ATTRIBUTES = {
    "2.5.4.3": "CN",
    "2.5.4.6": "C",
    "2.5.4.7": "L",
    "2.5.4.8": "ST",
    "2.5.4.10": "O",
    "2.5.4.11": "OU",
    "0.9.2342.19200300.100.1.25": "DC",
}
SUBJECT_KEY_ID, SUBJECT_NAMES, BASIC_CONSTRAINTS = "2.5.29.14", "2.5.29.17", "2.5.29.19"
CRL_POINTS, AUTHORITY_KEY_ID, AUTHORITY_INFO = "2.5.29.31", "2.5.29.35", "1.3.6.1.5.5.7.1.1"
OCSP, CA_ISSUERS = "1.3.6.1.5.5.7.48.1", "1.3.6.1.5.5.7.48.2"
_ENCODINGS = {
    der.BMP_STRING: "utf-16-be",
    der.UNIVERSAL_STRING: "utf-32-be",
    der.T61_STRING: "latin-1",
}
DNS_NAME, URI = 0x82, 0x86  # of a GeneralName
NAME_LIMIT = 600  # characters of a whole name
PARTS = 64  # of a name or list
NAMES_KEPT, URLS_KEPT = 50, 8  # of a certificate
TEXT_LIMIT = 300  # characters of each


class NotVerified(ValueError):
    """A signature that does not verify; the message says why."""


# --- RSA ---


@dataclass(frozen=True)
class RsaKey:
    modulus: int
    exponent: int

    def verify(self, digest: str, signature: bytes, digested: bytes) -> None:
        """Verifies RSASSA-PKCS1-v1_5 (RFC 8017, 8.2.2).

        Raises ``NotVerified``, or ``Unsupported`` where the key is not one for it.

        What the signature opens to is compared whole with what it must open to: nothing of it is
        parsed.

        :param digest: ``sha256``, ``sha384`` or ``sha512``
        :param digested: that digest of what is signed
        """
        bits = self.modulus.bit_length()
        if not SMALLEST_KEY <= bits <= LARGEST_KEY:
            raise Unsupported(
                f"an RSA key of {bits} bits; {SMALLEST_KEY} to {LARGEST_KEY} are verified here"
            )
        if not (self.modulus & 1 and self.exponent & 1 and 1 < self.exponent < LARGEST_EXPONENT):
            raise Unsupported("an invalid RSA key, or one with an unusual exponent")
        size, value = (bits + 7) // 8, int.from_bytes(signature, "big")
        if len(signature) != size or value >= self.modulus:
            raise NotVerified("the signature was not made with this key")
        end = DIGEST_INFO[digest] + digested
        expected = b"\0\1" + b"\xff" * (size - 3 - len(end)) + b"\0" + end
        if pow(value, self.exponent, self.modulus).to_bytes(size, "big") != expected:
            raise NotVerified("the signature does not match the signed content")


class Algorithm(NamedTuple):
    """An AlgorithmIdentifier (RFC 5280, 4.1.1.2)."""

    oid: str
    parameters: bytes

    @property
    def name(self) -> str:
        return NAMES.get(self.oid, self.oid)


def algorithm(reader: Reader) -> Algorithm:
    """The next element as an AlgorithmIdentifier.

    What is known to take no parameters has NULL or none.
    """
    inner = reader.enter(der.SEQUENCE, "an algorithm")
    oid = der.object_identifier(inner.take(der.OID).content)
    parameters = b""
    if inner.next_tag() is not None:
        parameters = inner.take().whole
    inner.end()
    if oid in (RSA_ENCRYPTION, *WITH_RSA, *DIGESTS) and parameters not in (b"", b"\5\0"):
        raise Malformed("an algorithm has parameters that it does not accept")
    return Algorithm(oid, parameters)


# --- certificates ---


class Public(NamedTuple):
    """A public key: an RSA key, or only its name."""

    name: str  # "RSA 2048", "EC"
    rsa: Optional[RsaKey]


class X509:
    """One certificate. Making one raises ``Malformed`` or ``Unsupported`` where it cannot be read.

    :param encoded: its DER form
    """

    def __init__(self, encoded: bytes) -> None:
        outer = Reader(encoded, "the certificate")
        parts = outer.enter(der.SEQUENCE, "the certificate")
        outer.end()
        signed = parts.take(der.SEQUENCE)
        self.encoded = encoded
        self._signed = signed.whole
        self._algorithm = algorithm(parts)
        self._signature = der.bits(parts.take(der.BIT_STRING).content)
        parts.end()
        fields = Reader(signed.content, "the certificate")
        version = fields.take_if(0xA0)
        if version and version.content not in (b"\2\1\0", b"\2\1\1", b"\2\1\2"):
            raise Malformed("the certificate has an invalid version")
        self.serial = fields.take(der.INTEGER).content
        if not self.serial or (
            len(self.serial) > 1 and self.serial[0] == 0 and self.serial[1] < 0x80
        ):
            raise Malformed("the certificate has an invalid serial number")
        if algorithm(fields) != self._algorithm:
            raise Malformed("the certificate names two signature algorithms")
        self.issuer = fields.take(der.SEQUENCE).whole  # a Name, as its bytes
        dates = fields.enter(der.SEQUENCE, "the certificate's validity")
        self._dates = (
            dates.take(der.UTC_TIME, der.GENERALIZED_TIME),
            dates.take(der.UTC_TIME, der.GENERALIZED_TIME),
        )
        dates.end()
        self.subject = fields.take(der.SEQUENCE).whole
        self._key = fields.take(der.SEQUENCE)
        for unique_id in (0x81, 0x82):
            fields.take_if(unique_id)
        self._extensions = fields.take_if(0xA3)
        fields.end()

    @classmethod
    def read(cls, encoded: bytes) -> X509:
        """A certificate, read to its last detail. Raises ``Malformed`` or ``Unsupported``."""
        made = cls(encoded)
        _ = made.fact  # cached: whoever gets the certificate can read it
        return made

    @cached_property
    def thumbprint(self) -> str:
        """SHA-1 of the DER form, as Windows shows it."""
        return hashlib.sha1(self.encoded).hexdigest().upper()

    @cached_property
    def not_before(self) -> datetime:
        return der.time(self._dates[0])

    @cached_property
    def not_after(self) -> datetime:
        return der.time(self._dates[1])

    def is_valid_at(self, when: datetime) -> bool:
        return self.not_before <= when <= self.not_after

    @cached_property
    def is_self_signed(self) -> bool:
        """Whether it is its own issuer, a root.

        Names are compared and, where it has both, key identifiers.
        """
        try:
            return self.subject == self.issuer and self.authority_key_id in (
                None,
                self.subject_key_id,
            )
        except (Malformed, Unsupported):
            return True

    @cached_property
    def key(self) -> Public:
        parts = Reader(self._key.content, "the public key")
        kind = algorithm(parts)
        bits = der.bits(parts.take(der.BIT_STRING).content)
        parts.end()
        if kind.oid != RSA_ENCRYPTION:
            return Public(kind.name, None)
        reader = Reader(bits, "the public key")
        numbers = reader.enter(der.SEQUENCE, "the public key")
        reader.end()
        modulus, exponent = (numbers.take(der.INTEGER).content for _ in range(2))
        numbers.end()
        rsa = RsaKey(int.from_bytes(modulus, "big"), int.from_bytes(exponent, "big"))
        return Public(f"RSA {rsa.modulus.bit_length()}", rsa)

    @cached_property
    def extensions(self) -> Dict[str, bytes]:
        """The extensions' contents by their identifiers."""
        if self._extensions is None:
            return {}
        reader = Reader(self._extensions.content, "the extensions")
        listed = reader.take(der.SEQUENCE)
        reader.end()
        found: Dict[str, bytes] = {}
        for element in der.elements(listed.content, "the extensions", PARTS, der.SEQUENCE):
            inner = Reader(element.content, "an extension")
            oid = der.object_identifier(inner.take(der.OID).content)
            critical = inner.take_if(der.BOOLEAN)
            if oid in found or (critical and len(critical.content) != 1):
                raise Malformed("an extension occurs twice, or has an invalid flag")
            found[oid] = inner.take(der.OCTET_STRING).content
            inner.end()
        return found

    @cached_property
    def is_ca(self) -> bool:
        """Whether it may sign certificates (basicConstraints)."""
        content = self.extensions.get(BASIC_CONSTRAINTS)
        if content is None:
            return False
        constraints = Reader(content, "the basic constraints")
        flag = constraints.enter(der.SEQUENCE, "the basic constraints").take_if(der.BOOLEAN)
        return flag is not None and flag.content == b"\xff"

    @cached_property
    def subject_key_id(self) -> Optional[bytes]:
        content = self.extensions.get(SUBJECT_KEY_ID)
        if not content:
            return None
        return Reader(content, "the key identifier").take(der.OCTET_STRING).content

    @cached_property
    def authority_key_id(self) -> Optional[bytes]:
        content = self.extensions.get(AUTHORITY_KEY_ID)
        if not content:
            return None
        reader = Reader(content, "the authority key identifier")
        found = reader.enter(der.SEQUENCE, "the identifier").take_if(0x80)
        return found.content if found else None

    def verify_with(self, issuer: X509) -> None:
        """Its signature by the issuer's key.

        Raises ``NotVerified``, or ``Unsupported`` for algorithms that are not verified here.
        """
        digest = WITH_RSA.get(self._algorithm.oid)
        if digest is None or issuer.key.rsa is None:
            raise Unsupported(f"{self._algorithm.name} with a key of {issuer.key.name}")
        issuer.key.rsa.verify(digest, self._signature, self._digested)

    @cached_property
    def _digested(self) -> bytes:
        return hashlib.new(WITH_RSA[self._algorithm.oid], self._signed).digest()

    def may_be_issued_by(self, other: X509) -> bool:
        """Whether names, and key identifiers where both have them, fit."""
        is_root = other.is_self_signed and not other.extensions  # of version 1
        if self.issuer != other.subject or not (other.is_ca or is_root):
            return False
        return (
            None in (self.authority_key_id, other.subject_key_id)
            or self.authority_key_id == other.subject_key_id
        )

    @cached_property
    def fact(self) -> Certificate:
        """What a report shows of it. Raises ``Malformed`` or ``Unsupported``."""
        issuers, ocsp = authority_info(self.extensions.get(AUTHORITY_INFO))
        return Certificate(
            subject=name(self.subject),
            issuer=name(self.issuer),
            thumbprint=self.thumbprint,
            serial=self.serial.hex().upper(),
            not_before=instant(self.not_before),
            not_after=instant(self.not_after),
            subject_key_id=_hex(self.subject_key_id),
            authority_key_id=_hex(self.authority_key_id),
            names=general_names(self.extensions.get(SUBJECT_NAMES), DNS_NAME, NAMES_KEPT),
            issuer_urls=issuers,
            crl_urls=_crl_urls(self.extensions.get(CRL_POINTS)),
            ocsp_urls=ocsp,
            key=self.key.name,
            signature=self._algorithm.name,
        )


def _hex(identifier: Optional[bytes]) -> Optional[str]:
    return identifier[:64].hex().upper() if identifier else None


def name(encoded: bytes) -> str:
    """A Name (RFC 5280, 4.1.2.4) as text, the most specific part first: ``CN=metadata.azure.com,
    O=Microsoft Corporation``.
    """
    parts = []
    content = Reader(encoded, "a name").take(der.SEQUENCE).content
    for relative in der.elements(content, "a name", PARTS, der.SET):
        for pair in der.elements(relative.content, "a name", PARTS, der.SEQUENCE):
            inner = Reader(pair.content, "a name")
            oid = der.object_identifier(inner.take(der.OID).content)
            value = _text(inner.take()).replace("\\", "\\\\").replace(",", "\\,")  # RFC 4514, 2.4
            parts.append(f"{_ATTRIBUTES.get(oid, oid)}={value}")
            inner.end()
    return ", ".join(reversed(parts))[:NAME_LIMIT]


def _text(element: Element) -> str:
    encoding = _ENCODINGS.get(element.tag, "utf-8")
    return element.content[: 4 * TEXT_LIMIT].decode(encoding, "replace")[:TEXT_LIMIT]


def general_names(content: Optional[bytes], tag: int, at_most: int) -> Tuple[str, ...]:
    """The names of one kind of a GeneralNames."""
    if content is None:
        return ()
    names = Reader(content, "the names").take(der.SEQUENCE).content
    found = [item.content for item in der.elements(names, "the names", 1000) if item.tag == tag]
    return tuple(item[:TEXT_LIMIT].decode("latin-1") for item in found[:at_most])


def _url(content: bytes) -> str:
    """An address in a certificate, without its query, which may be a secret.

    One with credentials is neither shown nor asked.
    """
    text = content.decode("latin-1")
    if "@" in text:
        return not_shown(text)
    return without_query(text)[:TEXT_LIMIT]


def authority_info(content: Optional[bytes]) -> Tuple[Tuple[str, ...], Tuple[str, ...]]:
    """The addresses of issuers and of OCSP responders (RFC 5280, 4.2.2.1)."""
    found: Dict[str, List[str]] = {CA_ISSUERS: [], OCSP: []}
    if content is not None:
        listed = Reader(content, "the authority information").take(der.SEQUENCE).content
        for element in der.elements(listed, "the authority information", PARTS):
            inner = Reader(element.content, "the authority information")
            method, where = der.object_identifier(inner.take(der.OID).content), inner.take()
            if where.tag == URI:
                found.setdefault(method, []).append(_url(where.content))
    return tuple(found[CA_ISSUERS][:URLS_KEPT]), tuple(found[OCSP][:URLS_KEPT])


def _crl_urls(content: Optional[bytes]) -> Tuple[str, ...]:
    """The addresses of revocation lists (RFC 5280, 4.2.1.13)."""
    found: List[str] = []
    if content is None:
        return ()
    listed = Reader(content, "the distribution points").take(der.SEQUENCE).content
    for point in der.elements(listed, "the distribution points", PARTS):
        place = Reader(point.content, "a distribution point").take_if(0xA0)
        full_name = place and Reader(place.content, "a distribution point").take_if(0xA0)
        if full_name:
            names = der.elements(full_name.content, "a distribution point", PARTS)
            found += [_url(item.content) for item in names if item.tag == URI]
    return tuple(found[:URLS_KEPT])


# --- files ---

_PEM = re.compile(rb"-----BEGIN (?:TRUSTED |X509 )?CERTIFICATE-----([A-Za-z0-9+/=\s]+)-----END")


def from_pem(content: bytes, at_most: int) -> Iterator[bytes]:
    """The DER forms in a bundle (RFC 7468); what is no certificate is passed over."""
    for number, match in enumerate(_PEM.finditer(content)):
        if number == at_most:
            return
        try:
            yield base64.b64decode(match.group(1))
        except binascii.Error:
            continue


def to_pem(encoded: bytes) -> bytes:
    text = base64.b64encode(encoded)
    lines = [text[at : at + 64] for at in range(0, len(text), 64)]
    return b"\n".join([b"-----BEGIN CERTIFICATE-----", *lines, b"-----END CERTIFICATE-----", b""])


def readable(encoded: Iterable[bytes]) -> List[X509]:
    """The certificates that can be read, each once."""
    found: Dict[bytes, X509] = {}
    for item in encoded:
        try:
            found.setdefault(item, X509(item))
        except (Malformed, Unsupported):
            continue
    return list(found.values())
