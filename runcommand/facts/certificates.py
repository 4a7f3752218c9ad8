"""Certificates, the attested document, and the chain of its signer."""

from __future__ import annotations

from dataclasses import field
from enum import Enum
from typing import Optional, Tuple

from ..frozen import dataclass
from .connection import Outcome
from .kinds import (
    JSON_ONLY,
    CertificateNumber,
    DnsName,
    Id,
    Message,
    Packed,
    Phrase,
    Server,
    Term,
    Url,
)
from .times import Instant


@dataclass(frozen=True)
class Certificate:
    """An X.509 certificate (RFC 5280).

    ``thumbprint`` is the SHA-1 of its DER form, as Windows shows it.
    """

    subject: Phrase
    issuer: Phrase
    thumbprint: CertificateNumber
    serial: Optional[CertificateNumber] = field(default=None, metadata=JSON_ONLY)
    not_before: Optional[Instant] = None
    not_after: Optional[Instant] = None
    subject_key_id: Optional[CertificateNumber] = None
    authority_key_id: Optional[CertificateNumber] = None
    names: Tuple[DnsName, ...] = ()
    issuer_urls: Tuple[Url, ...] = ()  # authority information access: CA issuers
    crl_urls: Tuple[Url, ...] = field(default=(), metadata=JSON_ONLY)
    ocsp_urls: Tuple[Url, ...] = field(default=(), metadata=JSON_ONLY)
    # where it was found: this machine's stores, "the document", "fetched"
    stores: Tuple[Phrase, ...] = ()
    key: Term = field(default="", metadata=JSON_ONLY)  # "RSA 2048"
    signature: Term = field(default="", metadata=JSON_ONLY)  # "SHA-384 with RSA"

    @property
    def is_self_issued(self) -> bool:
        """Whether it names itself as its issuer, as roots do."""
        return self.subject == self.issuer


def is_distrusting(store: str) -> bool:
    """Whether it is one of the Windows machine's stores for what is distrusted.

    A user's store counts for that user alone.
    """
    place, _, name = store.rpartition("\\")
    return name == "Disallowed" and place in ("LocalMachine", "Group Policy", "Enterprise")


class SignatureState(str, Enum):
    """What came of verifying the attested document's signature."""

    VALID = "valid"
    INVALID = "invalid"
    MALFORMED = "malformed"  # it cannot be read at all
    UNVERIFIABLE = "unverifiable"  # of a kind that is not verified here


@dataclass(frozen=True)
class AttestedDocument:
    """What ``/metadata/attested/document`` signs.

    What is None is not in it, or could not be read.
    """

    signature: SignatureState
    reason: Optional[Message] = None  # why it is not valid
    algorithm: Optional[Term] = None  # "RSA 2048, SHA-256"
    signer: Optional[Certificate] = None
    embedded: int = field(default=0, metadata=JSON_ONLY)  # certificates in the document
    asked_nonce: Message = ""
    nonce: Optional[Message] = None
    created_on: Optional[Instant] = None
    expires_on: Optional[Instant] = None
    vm_id: Optional[Id] = None
    subscription_id: Optional[Id] = None
    sku: Optional[Phrase] = None
    # The signed message itself, in base64, so that a newer version can judge it again; empty where
    # it was too long to keep, and in a redacted report: it names the VM and its subscription.
    pkcs7: Packed = field(default="", metadata=JSON_ONLY)
    # characters of it that IMDS gave; 0: no base64, or an older version
    pkcs7_length: int = field(default=0, metadata=JSON_ONLY)


@dataclass(frozen=True)
class IssuerFetch:
    """One try to fetch an issuer's certificate.

    A certificate says where its issuer's is (authority information access).
    """

    url: Url
    outcome: Outcome  # ``http``: there was an answer
    proxy: Optional[Server] = None  # through which it was asked: ``Proxy.server``
    status: Optional[int] = field(default=None, metadata=JSON_ONLY)
    error: Optional[Message] = None
    is_name_unknown: bool = False  # the host's name has no address
    certificate: Optional[Certificate] = None  # the issuer, where it came


class ChainFault(str, Enum):
    """What can be wrong with a chain."""

    ISSUER_MISSING = "issuer-missing"
    ROOT_UNTRUSTED = "root-untrusted"
    OUTSIDE_DATES = "outside-dates"
    SIGNATURE = "signature"  # a certificate's own does not verify
    DISTRUSTED = "distrusted"  # explicitly, or revoked
    OTHER = "other"


# what another certificate may fix
LACKING = frozenset({ChainFault.ISSUER_MISSING, ChainFault.ROOT_UNTRUSTED})


@dataclass(frozen=True)
class ChainError:
    """What an engine says against a chain."""

    fault: ChainFault
    text: Message  # in its words
    # counted from the leaf, 0; None: not of one
    certificate: Optional[int] = field(default=None, metadata=JSON_ONLY)


@dataclass(frozen=True)
class CertificateChain:
    """What this machine makes of the attested document's signer, with or without fetching issuers.

    The leaf comes first.
    """

    fetched: bool
    engine: Message = ""  # "crypt32", "openssl verify", ...
    trusted: Optional[bool] = None  # None: could not be found out
    errors: Tuple[ChainError, ...] = ()
    certificates: Tuple[Certificate, ...] = ()
    # the time at which it was validated
    judged_at: Optional[Instant] = field(default=None, metadata=JSON_ONLY)
    fetches: Tuple[IssuerFetch, ...] = ()  # that this program made
