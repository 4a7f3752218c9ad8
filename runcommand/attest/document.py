"""The attested document: what IMDS signs, read from its CMS message. No I/O.

https://learn.microsoft.com/azure/virtual-machines/instance-metadata-service#attested-data
"""

from __future__ import annotations

import base64
from dataclasses import replace
from datetime import datetime
from typing import Any, Optional, Tuple

from ..facts import (
    AttestedDocument,
    Facts,
    Imds,
    Instant,
    SignatureState,
    dict_of,
    if_valid,
    instant,
    parse_instant,
    parse_json,
)
from ..frozen import dataclass
from .cms import DIGEST_NAMES, Message, digest_of, take_apart, verify
from .der import Malformed, Unsupported
from .x509 import NotVerified

ENCODING = "pkcs7"  # the only one that IMDS has
SIZE_LIMIT = 2 * 1024 * 1024  # characters of base64
# Characters of base64 that are kept. A document of Azure has 4,000 to 12,000; a longer one is not
# kept at all, because a part of it cannot be read.
KEPT_LIMIT = 64 * 1024
AGREE_S = 300.0  # so far apart two clocks are the same
TEXT_LIMIT = 128  # characters of a value


@dataclass(frozen=True)
class Read:
    """What was read: the fact, and the certificates in the document.

    The signer's comes first.
    """

    document: AttestedDocument
    certificates: Tuple[bytes, ...] = ()


def read(encoding: str, text: str, asked_nonce: str) -> Read:
    """The document of an answer, whatever is in it.

    :param encoding: as the answer names it
    :param text: the signature of the answer, in base64
    :param asked_nonce: that was asked for
    """
    document = AttestedDocument(SignatureState.UNVERIFIABLE, asked_nonce=asked_nonce)
    if encoding not in (ENCODING, ENCODING.upper()):
        reason = f"its encoding is {encoding[:40]}, not {ENCODING}"
        return Read(replace(document, reason=reason))
    try:
        message = _decoded(text)
    except Malformed as reason:
        return Read(replace(document, signature=SignatureState.MALFORMED, reason=str(reason)))
    pkcs7 = base64.b64encode(message).decode("ascii")
    document = replace(document, pkcs7_length=len(pkcs7))
    if len(pkcs7) <= KEPT_LIMIT:
        document = replace(document, pkcs7=pkcs7)
    return _judged(document, message)


def read_again(facts: Facts) -> Facts:
    """Recorded facts with the attested document as this version reads it.

    Unchanged where its bytes were not kept.
    """
    imds = facts.imds
    if imds is None or imds.document is None or not imds.document.pkcs7:
        return facts
    again = read(ENCODING, imds.document.pkcs7, imds.document.asked_nonce)
    return replace(facts, imds=replace(imds, document=again.document))


def _judged(document: AttestedDocument, encoded: bytes) -> Read:
    try:
        message = take_apart(encoded)
        certificates = tuple(item.encoded for item in message.certificates)
        signer = message.certificates[0].fact
    except Unsupported as reason:
        return Read(replace(document, reason=str(reason)))
    except Malformed as reason:
        return Read(replace(document, signature=SignatureState.MALFORMED, reason=str(reason)))
    state, why = _verified(message)
    found = replace(
        document,
        signature=state,
        reason=why,
        algorithm=_algorithm(message),
        signer=signer,
        embedded=len(certificates),
    )
    # what is not signed says nothing
    if state in (SignatureState.VALID, SignatureState.UNVERIFIABLE):
        found = _with_content(found, message.content)
    return Read(found, certificates)


def _verified(message: Message) -> Tuple[SignatureState, Optional[str]]:
    """How the signature stands, and why where it is not valid."""
    try:
        verify(message)
    except Unsupported as reason:
        return SignatureState.UNVERIFIABLE, str(reason)
    except NotVerified as reason:
        return SignatureState.INVALID, str(reason)
    except Malformed as reason:
        return SignatureState.MALFORMED, str(reason)
    return SignatureState.VALID, None


def _decoded(text: str) -> bytes:
    if len(text) > SIZE_LIMIT:
        raise Malformed(f"it is larger than {SIZE_LIMIT >> 20} MiB")
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except ValueError:  # binascii.Error is one
        raise Malformed("it is not base64") from None


def _algorithm(message: Message) -> str:
    digest = DIGEST_NAMES.get(digest_of(message) or "", message.digest.name)
    return f"{message.certificates[0].key.name}, {digest}"


# --- what is signed ---


def _with_content(found: AttestedDocument, content: bytes) -> AttestedDocument:
    try:
        document = parse_json(content.decode("utf-8"))
    except ValueError:
        document = None
    if not isinstance(document, dict):
        return replace(
            found,
            signature=SignatureState.MALFORMED,
            reason="the signed content is not a JSON object",
        )
    stamp = dict_of(document.get("timeStamp"))
    return replace(
        found,
        nonce=_text(document.get("nonce")),
        created_on=if_valid(_time, stamp.get("createdOn")),
        expires_on=if_valid(_time, stamp.get("expiresOn")),
        vm_id=_text(document.get("vmId")),
        subscription_id=_text(document.get("subscriptionId")),
        sku=_text(document.get("sku")),
    )


def is_fresh(document: AttestedDocument) -> bool:
    """Whether it is proven to be made for this very request."""
    return document.signature is SignatureState.VALID and document.nonce == document.asked_nonce


def host_time(imds: Imds) -> Optional[datetime]:
    """The time by the host's clock when it gave the document; None: unknown.

    It is that of its Date header, which two others may contradict.

    A fresh document tells the time once more. Where it agrees with the VM's clock and not with the
    header, the header is wrong; where there is no header, it is what there is.
    """
    answer, document = imds.attested, imds.document
    header, read, made = None, None, None
    if answer:
        header, read = _instant(answer.date), _instant(answer.read_at)
    if document and is_fresh(document):
        made = _instant(document.created_on)
    if header is None or made is None or read is None:
        return header or made
    contradicted = (
        abs((header - made).total_seconds()) > AGREE_S
        and abs((read - made).total_seconds()) <= AGREE_S
    )
    if contradicted:
        return read
    return header


def _instant(text: Optional[Instant]) -> Optional[datetime]:
    if not text:
        return None
    return parse_instant(text)


def _text(value: Any) -> Optional[str]:
    if not isinstance(value, str):
        return None
    return value[:TEXT_LIMIT]


def _time(text: str) -> Instant:
    """A time as IMDS writes it: ``11/28/18 00:16:17 -0000``. Raises ``ValueError``."""
    return instant(datetime.strptime(text, "%m/%d/%y %H:%M:%S %z"))
