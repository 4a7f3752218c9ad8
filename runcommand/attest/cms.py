"""CMS SignedData with one signer (RFC 5652): parsed, and its signature verified. No I/O.

It needs the standard library alone.
"""

from __future__ import annotations

import hashlib
from typing import Dict, List, Optional, Tuple

from ..frozen import dataclass
from . import der
from .der import Element, Malformed, Reader, Unsupported
from .x509 import (
    DIGESTS,
    RSA_ENCRYPTION,
    WITH_RSA,
    X509,
    Algorithm,
    NotVerified,
    algorithm,
    readable,
)

SIGNED_DATA, DATA = "1.2.840.113549.1.7.2", "1.2.840.113549.1.7.1"
CONTENT_TYPE, MESSAGE_DIGEST = "1.2.840.113549.1.9.3", "1.2.840.113549.1.9.4"
SIGNING_TIME, COUNTERSIGNATURE = "1.2.840.113549.1.9.5", "1.2.840.113549.1.9.6"
SINGLE = (CONTENT_TYPE, MESSAGE_DIGEST, SIGNING_TIME)  # of one value
CONSTRUCTED = 0x20  # of an identifier octet (X.690, 8.1.2.5)
CONTENT_LIMIT = 64 * 1024  # bytes of what is signed
CERTIFICATES = 32  # in one message; beyond, it is none
ATTRIBUTES = 32
NO_SIGNER = "the signer's certificate is not in it"
DIGEST_NAMES = {"sha256": "SHA-256", "sha384": "SHA-384", "sha512": "SHA-512"}


@dataclass(frozen=True)
class Message:
    """A SignedData with one signer, taken apart and not yet verified."""

    content_type: str
    content: bytes
    certificates: Tuple[X509, ...]  # the signer's first
    digest: Algorithm
    algorithm: Algorithm
    signature: bytes
    attributes: Optional[Element]  # the signed ones


def digest_of(message: Message) -> Optional[str]:
    """The signer's digest, as ``hashlib`` names it; None for one that is not verified here.

    IMDS names its digest by the signature algorithm that has it.
    """
    return DIGESTS.get(message.digest.oid) or WITH_RSA.get(message.digest.oid)


def take_apart(encoded: bytes) -> Message:
    """A SignedData in its ContentInfo.

    Raises ``Malformed``, or ``Unsupported`` for what is legal and not read here.

    Versions, algorithm identifiers and what stands beside the signed parts are held to the letter
    of RFC 5652: a signature does not cover them, so that nothing else would notice a change there.
    """
    outer = Reader(encoded, "the document")
    info = outer.enter(der.SEQUENCE, "the document")
    outer.end()
    if der.object_identifier(info.take(der.OID).content) != SIGNED_DATA:
        raise Malformed("the document is not signed data")
    explicit = info.enter(0xA0, "the signed data")
    info.end()
    data = explicit.enter(der.SEQUENCE, "the signed data")
    explicit.end()
    version = data.take(der.INTEGER).content
    digests = _algorithms(data.take(der.SET).content)
    content_type, content = _content(data.enter(der.SEQUENCE, "the content"))
    held = data.take_if(0xA0)
    if data.next_tag() == 0xA1:
        raise Unsupported("it contains revocation lists")
    signers = data.enter(der.SET, "the signers")
    data.end()
    signer = signers.enter(der.SEQUENCE, "the signer")
    if signers.next_tag() is not None:
        raise Unsupported("it has more than one signer")
    message, signer_version = _signer(signer, _certificates(held), content_type, content)
    expected = b"\3"
    if content_type == DATA and signer_version == b"\1":
        expected = b"\1"
    if version != expected:
        raise Unsupported("the version of the signed data does not match its parts")
    if message.digest.oid not in [digest.oid for digest in digests]:
        raise Unsupported("the signer's digest is not among those announced")
    return message


def _algorithms(content: bytes) -> List[Algorithm]:
    reader = Reader(content, "the digests")
    found: List[Algorithm] = []
    while reader.next_tag() is not None and len(found) < 8:
        found.append(algorithm(reader))
    reader.end()
    return found


def _content(parts: Reader) -> Tuple[str, bytes]:
    """The type and the bytes of what is signed."""
    content_type = der.object_identifier(parts.take(der.OID).content)
    if parts.next_tag() is None:
        raise Malformed("the signed content is not in it")
    explicit = parts.enter(0xA0, "the content")
    parts.end()
    if explicit.next_tag() == der.OCTET_STRING | CONSTRUCTED:
        raise Unsupported("its content is in pieces, so it is not DER")
    content = explicit.take(der.OCTET_STRING).content
    explicit.end()
    if len(content) > CONTENT_LIMIT:
        raise Malformed(f"the signed content is larger than {CONTENT_LIMIT >> 10} KiB")
    return content_type, content


def _certificates(held: Optional[Element]) -> List[X509]:
    if held is None:
        raise Malformed("it contains no certificate")
    listed = der.elements(held.content, "the certificates", CERTIFICATES)
    if any(item.tag != der.SEQUENCE for item in listed):
        raise Unsupported("it contains certificates other than X.509")
    return readable(item.whole for item in listed)


def _signer(
    parts: Reader, certificates: List[X509], content_type: str, content: bytes
) -> Tuple[Message, bytes]:
    """The message, and the signer's version (RFC 5652, 5.3)."""
    version, named = parts.take(der.INTEGER).content, parts.take(der.SEQUENCE, 0x80)
    if named.tag == 0x80:
        expected, own = (
            b"\3",
            [item for item in certificates if item.subject_key_id == named.content],
        )
    else:
        reader = Reader(named.content, "the signer")
        issuer, serial = reader.take(der.SEQUENCE).whole, reader.take(der.INTEGER).content
        reader.end()
        expected, own = (
            b"\1",
            [item for item in certificates if (item.issuer, item.serial) == (issuer, serial)],
        )
    if version != expected:
        raise Unsupported("the signer's version does not match its name")
    if not own:
        raise Malformed(NO_SIGNER)
    digest, attributes, method = algorithm(parts), parts.take_if(0xA0), algorithm(parts)
    signature = parts.take(der.OCTET_STRING).content
    if parts.next_tag() == 0xA1:
        raise Unsupported("it has unsigned attributes")
    parts.end()
    ordered = (own[0], *(item for item in certificates if item is not own[0]))
    return Message(content_type, content, ordered, digest, method, signature, attributes), version


def verify(message: Message) -> None:
    """The signature over the content, with the key of the signer's certificate (RFC 5652, 5.4 and
    5.6).

    Whose key that is, the chain of the certificate must tell. Raises ``NotVerified``,
    ``Malformed``, or ``Unsupported`` for algorithms and key sizes that are not verified here.
    """
    digest = digest_of(message)
    if digest is None:
        raise Unsupported(f"its digest is {message.digest.name}")
    if message.algorithm.oid != RSA_ENCRYPTION and message.algorithm.oid not in WITH_RSA:
        raise Unsupported(f"its signature is {message.algorithm.name}")
    if WITH_RSA.get(message.algorithm.oid, digest) != digest:
        raise NotVerified("the signature's digest is not the signer's")
    key = message.certificates[0].key
    if key.rsa is None:
        raise Unsupported(f"its key is {key.name}")
    if message.attributes is None:
        if message.content_type != DATA:
            raise Unsupported("its content is of a type that needs signed attributes")
        key.rsa.verify(digest, message.signature, hashlib.new(digest, message.content).digest())
        return
    _check_attributes(
        message.attributes.content,
        message.content_type,
        hashlib.new(digest, message.content).digest(),
    )
    signed = bytes([der.SET]) + message.attributes.whole[1:]
    key.rsa.verify(digest, message.signature, hashlib.new(digest, signed).digest())


def _check_attributes(content: bytes, content_type: str, digest: bytes) -> None:
    """The two required attributes, with one value each (RFC 5652, 11.1 and 11.2).

    All must be in DER's order, each once.
    """
    values: Dict[str, List[Element]] = {}
    listed = der.elements(content, "the signed attributes", ATTRIBUTES, der.SEQUENCE)
    for element in listed:
        inner = Reader(element.content, "a signed attribute")
        kind = der.object_identifier(inner.take(der.OID).content)
        found = der.elements(inner.take(der.SET).content, "a signed attribute", ATTRIBUTES)
        inner.end()
        if kind in values or not found or (len(found) > 1 and kind in SINGLE):
            raise Malformed("a signed attribute occurs twice, or does not have exactly one value")
        if kind == COUNTERSIGNATURE or not _is_sorted(found):
            raise Unsupported("its signed attributes are not as DER and RFC 5652 have them")
        values[kind] = found
    if not _is_sorted(listed):
        raise Unsupported("its signed attributes are not in the order of DER")
    if not {CONTENT_TYPE, MESSAGE_DIGEST} <= set(values):
        raise Malformed("a required signed attribute is missing")
    (named,), (signed,) = values[CONTENT_TYPE], values[MESSAGE_DIGEST]
    if named.tag != der.OID or der.object_identifier(named.content) != content_type:
        raise NotVerified("the signed content type does not match")
    if signed.tag != der.OCTET_STRING or signed.content != digest:
        raise NotVerified("the content is not what was signed")


def _is_sorted(members: List[Element]) -> bool:
    """Whether the members of a SET OF are in the order of DER (X.690, 11.6)."""
    return all(one.whole <= other.whole for one, other in zip(members, members[1:]))
