"""How Windows judges a certificate (crypt32.dll): the chain engine's path, its errors, stores."""

from __future__ import annotations

from ctypes import POINTER, Structure, byref, c_char_p, c_void_p, cast, sizeof, string_at
from ctypes.wintypes import BOOL, DWORD, FILETIME
from dataclasses import replace
from datetime import datetime, timezone
from typing import Callable, Dict, Iterator, List, Optional, Sequence, Tuple

from ...attest.x509 import readable
from ...collect import NoFact
from ...facts import (
    Certificate,
    CertificateChain,
    ChainError,
    ChainFault,
    Instant,
    is_distrusting,
    parse_instant,
)
from . import registry
from .dll import failed, function, last_error
from .source import Live, Source

# wincrypt.h
X509_ASN_ENCODING, PKCS_7_ASN_ENCODING = 0x1, 0x10000
CERT_STORE_PROV_MEMORY, CERT_STORE_ADD_ALWAYS = 2, 4
CERT_CHAIN_CACHE_ONLY_URL_RETRIEVAL = 0x4
HCCE_LOCAL_MACHINE = 1  # the engine of services, which ignores the user's own stores
# The status bits that a chain without revocation checks can have.
CERT_TRUST: Dict[int, Tuple[ChainFault, str]] = {
    0x1: (ChainFault.OUTSIDE_DATES, "expired or not yet valid (NOT_TIME_VALID)"),
    0x4: (ChainFault.DISTRUSTED, "revoked (IS_REVOKED)"),
    0x8: (ChainFault.SIGNATURE, "its signature does not verify (NOT_SIGNATURE_VALID)"),
    0x10: (ChainFault.OTHER, "not for this usage (NOT_VALID_FOR_USAGE)"),
    0x20: (ChainFault.ROOT_UNTRUSTED, "the root is not trusted (UNTRUSTED_ROOT)"),
    0x40: (ChainFault.OTHER, "its revocation status is not known (REVOCATION_STATUS_UNKNOWN)"),
    0x80: (ChainFault.OTHER, "the chain is a circle (CYCLIC)"),
    0x100: (ChainFault.OTHER, "an extension is not valid (INVALID_EXTENSION)"),
    0x200: (ChainFault.OTHER, "a policy constraint is violated (INVALID_POLICY_CONSTRAINTS)"),
    0x400: (ChainFault.OTHER, "a basic constraint is violated (INVALID_BASIC_CONSTRAINTS)"),
    0x800: (ChainFault.OTHER, "a name constraint is violated (INVALID_NAME_CONSTRAINTS)"),
    0x1000: (
        ChainFault.OTHER,
        "a name constraint is not supported (HAS_NOT_SUPPORTED_NAME_CONSTRAINT)",
    ),
    0x2000: (
        ChainFault.OTHER,
        "a name constraint is not defined (HAS_NOT_DEFINED_NAME_CONSTRAINT)",
    ),
    0x4000: (ChainFault.OTHER, "no name constraint permits it (HAS_NOT_PERMITTED_NAME_CONSTRAINT)"),
    0x8000: (ChainFault.OTHER, "a name constraint excludes it (HAS_EXCLUDED_NAME_CONSTRAINT)"),
    0x10000: (ChainFault.ISSUER_MISSING, "an issuer is not found (PARTIAL_CHAIN)"),
    0x100000: (ChainFault.OTHER, "its algorithms are too weak (HAS_WEAK_SIGNATURE)"),
    0x1000000: (ChainFault.OTHER, "the revocation server is offline (IS_OFFLINE_REVOCATION)"),
    0x2000000: (ChainFault.OTHER, "it has no issuance policy (NO_ISSUANCE_CHAIN_POLICY)"),
    0x4000000: (ChainFault.DISTRUSTED, "explicitly distrusted (EXPLICIT_DISTRUST)"),
    0x8000000: (
        ChainFault.OTHER,
        "a critical extension is not supported (HAS_NOT_SUPPORTED_CRITICAL_EXT)",
    ),
}
ELEMENTS = 32  # elements of a chain that are read
EPOCH = datetime(1601, 1, 1, tzinfo=timezone.utc)
STORES = ("Root", "AuthRoot", "CA", "Disallowed")
# Where crypt32 keeps the machine's stores
# (https://learn.microsoft.com/windows/win32/seccrypto/system-store-locations).
MACHINE_PLACES = (
    ("LocalMachine", "SOFTWARE\\Microsoft\\SystemCertificates"),
    ("Group Policy", "SOFTWARE\\Policies\\Microsoft\\SystemCertificates"),
    ("Enterprise", "SOFTWARE\\Microsoft\\EnterpriseCertificates"),
)


class CERT_CONTEXT(Structure):
    _fields_ = [
        ("dwCertEncodingType", DWORD),
        ("pbCertEncoded", c_void_p),
        ("cbCertEncoded", DWORD),
        ("pCertInfo", c_void_p),
        ("hCertStore", c_void_p),
    ]


class CERT_TRUST_STATUS(Structure):
    _fields_ = [("dwErrorStatus", DWORD), ("dwInfoStatus", DWORD)]


class CERT_CHAIN_ELEMENT(Structure):
    _fields_ = [
        ("cbSize", DWORD),
        ("pCertContext", POINTER(CERT_CONTEXT)),
        ("TrustStatus", CERT_TRUST_STATUS),
        ("pRevocationInfo", c_void_p),
        ("pIssuanceUsage", c_void_p),
        ("pApplicationUsage", c_void_p),
        ("pwszExtendedErrorInfo", c_void_p),
    ]


class CERT_SIMPLE_CHAIN(Structure):
    _fields_ = [
        ("cbSize", DWORD),
        ("TrustStatus", CERT_TRUST_STATUS),
        ("cElement", DWORD),
        ("rgpElement", POINTER(POINTER(CERT_CHAIN_ELEMENT))),
        ("pTrustListInfo", c_void_p),
        ("fHasRevocationFreshnessTime", BOOL),
        ("dwRevocationFreshnessTime", DWORD),
    ]


class CERT_CHAIN_CONTEXT(Structure):
    # up to the last member that is read
    _fields_ = [
        ("cbSize", DWORD),
        ("TrustStatus", CERT_TRUST_STATUS),
        ("cChain", DWORD),
        ("rgpChain", POINTER(POINTER(CERT_SIMPLE_CHAIN))),
    ]


class CTL_USAGE(Structure):
    _fields_ = [("cUsageIdentifier", DWORD), ("rgpszUsageIdentifier", c_void_p)]


class CERT_USAGE_MATCH(Structure):
    _fields_ = [("dwType", DWORD), ("Usage", CTL_USAGE)]


class CERT_CHAIN_PARA(Structure):
    _fields_ = [
        ("cbSize", DWORD),
        ("RequestedUsage", CERT_USAGE_MATCH),
        ("RequestedIssuancePolicy", CERT_USAGE_MATCH),
        ("dwUrlRetrievalTimeout", DWORD),  # milliseconds
        ("fCheckRevocationFreshnessTime", BOOL),
        ("dwRevocationFreshnessTime", DWORD),
        ("pftCacheResync", c_void_p),
    ]


def judge(
    certificates: Sequence[bytes], at: Instant, fetch: bool, seconds: float
) -> CertificateChain:
    """The engine's chain of the first certificate, as this machine's services get it.

    Raises ``NoFact``.

    :param certificates: in DER, the leaf first; the engine may use the others as issuers
    :param at: the time to judge it for
    :param fetch: whether the engine may fetch issuers from the network; else only cached ones count
    :param seconds: for each fetch
    """
    flags = 0
    if not fetch:
        flags = CERT_CHAIN_CACHE_ONLY_URL_RETRIEVAL
    elements, errors = _chain(certificates, at, flags, seconds)
    in_stores = stores_of(Live())
    facts = [
        replace(parsed.fact, stores=in_stores(parsed.thumbprint)) for parsed in readable(elements)
    ]
    return chain_of(facts, errors, at, fetch)


def chain_of(
    facts: Sequence[Certificate], errors: Sequence[ChainError], at: Instant, fetched: bool
) -> CertificateChain:
    """The fact of a chain that the engine built.

    :param facts: its certificates, the leaf first, each with the stores that have it
    :param errors: that the engine reports
    """
    faults = (*errors, *_disallowed(facts, errors))
    return CertificateChain(fetched, "crypt32", not faults, faults, tuple(facts), at)


def _disallowed(
    certificates: Sequence[Certificate], errors: Sequence[ChainError]
) -> List[ChainError]:
    """Certificates in the machine's stores of distrusted ones that the engine does not report.

    (Wine's engine does not.)
    """
    if any(error.fault is ChainFault.DISTRUSTED for error in errors):
        return []
    return [
        ChainError(ChainFault.DISTRUSTED, f"explicitly distrusted (in {place})", number)
        for number, item in enumerate(certificates)
        for place in item.stores
        if is_distrusting(place)
    ]


def _chain(
    certificates: Sequence[bytes], at: Instant, flags: int, seconds: float
) -> Tuple[List[bytes], List[ChainError]]:
    """The elements of the engine's chain in DER, leaf first, and the errors that it reports."""
    get = function(
        "crypt32", "CertGetCertificateChain", BOOL,
        c_void_p, c_void_p, POINTER(FILETIME), c_void_p, POINTER(CERT_CHAIN_PARA), DWORD, c_void_p,
        POINTER(c_void_p),
    )  # fmt: skip
    free = function("crypt32", "CertFreeCertificateChain", None, c_void_p)
    parameters = CERT_CHAIN_PARA(
        cbSize=sizeof(CERT_CHAIN_PARA), dwUrlRetrievalTimeout=max(1, int(seconds * 1000))
    )
    chain = c_void_p()
    context, store = _context(certificates[0]), _memory_store(certificates[1:])
    try:
        if not get(
            HCCE_LOCAL_MACHINE,
            context,
            byref(_file_time(at)),
            store,
            byref(parameters),
            flags,
            None,
            byref(chain),
        ):
            raise failed("CertGetCertificateChain", last_error())
        try:
            return _read(cast(chain, POINTER(CERT_CHAIN_CONTEXT)).contents)
        finally:
            free(chain)
    finally:
        function("crypt32", "CertFreeCertificateContext", BOOL, c_void_p)(context)
        function("crypt32", "CertCloseStore", BOOL, c_void_p, DWORD)(store, 0)


def _context(encoded: bytes) -> int:
    create = function("crypt32", "CertCreateCertificateContext", c_void_p, DWORD, c_char_p, DWORD)
    context = create(X509_ASN_ENCODING | PKCS_7_ASN_ENCODING, encoded, len(encoded))
    if not context:
        raise failed("CertCreateCertificateContext", last_error())
    return int(context)


def _memory_store(certificates: Sequence[bytes]) -> int:
    """A store in memory with these certificates; what the engine cannot read is left out."""
    open_store = function(
        "crypt32", "CertOpenStore", c_void_p, c_void_p, DWORD, c_void_p, DWORD, c_void_p
    )
    store = open_store(CERT_STORE_PROV_MEMORY, 0, None, 0, None)
    if not store:
        raise failed("CertOpenStore", last_error())
    add = function(
        "crypt32", "CertAddEncodedCertificateToStore", BOOL,
        c_void_p, DWORD, c_char_p, DWORD, DWORD, c_void_p,
    )  # fmt: skip
    for encoded in certificates:
        add(store, X509_ASN_ENCODING, encoded, len(encoded), CERT_STORE_ADD_ALWAYS, None)
    return int(store)


def _file_time(at: Instant) -> FILETIME:
    ticks = int((parse_instant(at) - EPOCH).total_seconds()) * 10_000_000
    return FILETIME(ticks & 0xFFFFFFFF, ticks >> 32)


def _read(chain: CERT_CHAIN_CONTEXT) -> Tuple[List[bytes], List[ChainError]]:
    if not chain.cChain:
        return [], [ChainError(ChainFault.OTHER, "no chain was built")]
    simple = chain.rgpChain[0].contents
    encoded: List[bytes] = []
    errors: List[ChainError] = []
    explained = 0
    for number in range(min(simple.cElement, ELEMENTS)):
        element = simple.rgpElement[number].contents
        context, status = element.pCertContext.contents, element.TrustStatus.dwErrorStatus
        encoded.append(string_at(context.pbCertEncoded, context.cbCertEncoded))
        errors += in_words(status, number)
        explained |= status
    return encoded, errors + in_words(chain.TrustStatus.dwErrorStatus & ~explained, None)


def in_words(status: int, certificate: Optional[int]) -> List[ChainError]:
    """The bits of a ``dwErrorStatus``, one by one."""
    found = [
        ChainError(fault, words, certificate)
        for bit, (fault, words) in CERT_TRUST.items()
        if status & bit
    ]
    unknown = status & ~sum(CERT_TRUST)
    if unknown:
        found.append(ChainError(ChainFault.OTHER, f"status {unknown:#x}", certificate))
    return found


# --- stores ---


def stores_of(source: Source) -> Callable[[str], Tuple[str, ...]]:
    """A function that names the stores with the certificate of a thumbprint.

    It names them ``LocalMachine\\\\CA``, ``S-1-5-18\\\\Root``.
    """
    held: Dict[str, List[str]] = {}
    for where, root in MACHINE_PLACES:
        for store in STORES:
            key = f"{root}\\{store}\\Certificates"
            held[f"{where}\\{store}"] = _thumbprints(source, registry.Root.MACHINE, key)
    for user in _users(source):
        for store in STORES:
            key = f"{user}\\Software\\Microsoft\\SystemCertificates\\{store}\\Certificates"
            held[f"{user}\\{store}"] = _thumbprints(source, registry.Root.USERS, key)
    return lambda thumbprint: tuple(place for place, known in held.items() if thumbprint in known)


def _users(source: Source) -> Iterator[str]:
    """The SIDs whose hives are loaded; ``.DEFAULT`` is another name of S-1-5-18."""
    try:
        for name in source.subkeys("", registry.Root.USERS):
            if name.startswith("S-1-") and not name.endswith("_Classes"):
                yield name
    except NoFact:
        return


def _thumbprints(source: Source, root: registry.Root, key: str) -> List[str]:
    try:
        return [name.upper() for name in source.subkeys(key, root)]
    except NoFact:
        return []
