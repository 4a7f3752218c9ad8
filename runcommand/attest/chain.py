"""The path from a certificate up to a trusted root, by names, key identifiers, dates and RSA
signatures. No I/O.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Dict, FrozenSet, Iterator, List, Mapping, Optional, Sequence, Tuple

from ..facts import CertificateChain, ChainError, ChainFault, Instant, parse_instant
from ..frozen import dataclass
from .der import Malformed, Unsupported
from .x509 import X509, NotVerified, readable

ENGINE = "imds-check's own reader (dates, names, key identifiers), no proof"
LONGEST_PATH = 8  # certificates
STEPS = 2000  # that a search may take
# modular multiplications that it may cost: a signature takes as many as its key's exponent has bits
WORK = 20_000


@dataclass(frozen=True)
class CertificationPath:
    """A path from a certificate up (RFC 5280, 6).

    ``errors`` are empty where it ends at a trusted root and nothing is wrong.
    """

    certificates: Tuple[X509, ...]
    errors: Tuple[ChainError, ...]
    is_verified: bool  # False: a signature on the way is of a kind that is not verified here


def build(
    leaf: X509, pool: Sequence[X509], trusted: FrozenSet[str], when: datetime
) -> CertificationPath:
    """The best path from ``leaf`` to a trusted root: the first that is verified without errors, or
    else the one that comes furthest.

    :param pool: the certificates that may be issuers, roots included; the first of them are tried
        first
    :param trusted: the thumbprints of the trusted ones; only a self-signed one of them ends a path
    :param when: the time at which all must be valid
    """
    search = _Search(pool)
    best: Optional[CertificationPath] = None
    for certificates in search.paths((leaf,)):
        path = search.validated(certificates, trusted, when)
        if not path.errors and path.is_verified:
            return path
        if best is None or _rank(path) > _rank(best):
            best = path
    gave_up = (ChainError(ChainFault.OTHER, "the search for issuers was abandoned"),)
    return best or CertificationPath((leaf,), gave_up, False)


def _rank(path: CertificationPath) -> Tuple[bool, bool, int, int]:
    return (
        not path.errors,
        path.certificates[-1].is_self_signed,
        -len(path.errors),
        len(path.certificates),
    )


class _Search:
    """A search through a pool of issuers that looks at each signature once, and leads over no bad
    one where there is a good one.
    """

    def __init__(self, pool: Sequence[X509]) -> None:
        self._by_subject: Dict[bytes, List[X509]] = {}
        for item in pool:
            self._by_subject.setdefault(item.subject, []).append(item)
        self._signatures: Dict[Tuple[bytes, bytes], Optional[bool]] = {}
        self._steps, self._work = STEPS, WORK

    def paths(self, so_far: Tuple[X509, ...]) -> Iterator[Tuple[X509, ...]]:
        """All paths that begin so, each as far as it leads."""
        last = so_far[-1]
        if last.is_self_signed or len(so_far) == LONGEST_PATH:
            yield so_far
            return
        used = {item.encoded for item in so_far}
        fitting = [
            i
            for i in self._by_subject.get(last.issuer, ())
            if i.encoded not in used and _fits(last, i)
        ]
        good = [item for item in fitting if self.signature(last, item) is not False]
        for issuer in good or fitting[:1]:
            if self._steps <= 0:
                return
            self._steps -= 1
            yield from self.paths((*so_far, issuer))
        if not fitting:
            yield so_far

    def signature(self, certificate: X509, issuer: X509) -> Optional[bool]:
        """Whether a certificate's signature is its issuer's; None where it is of a kind that is not
        verified here.
        """
        edge = (certificate.encoded, issuer.encoded)
        if edge not in self._signatures:
            self._signatures[edge] = self._verify(certificate, issuer)
        return self._signatures[edge]

    def _verify(self, certificate: X509, issuer: X509) -> Optional[bool]:
        try:
            if issuer.key.rsa:
                cost = issuer.key.rsa.exponent.bit_length()
                if cost > self._work:
                    return None
                self._work -= cost
            certificate.verify_with(issuer)
            return True
        except NotVerified:
            return False
        except (Malformed, Unsupported):
            return None

    def validated(
        self, path: Tuple[X509, ...], trusted: FrozenSet[str], when: datetime
    ) -> CertificationPath:
        signatures = [
            self.signature(certificate, issuer) for certificate, issuer in zip(path, path[1:])
        ]
        return CertificationPath(
            path, tuple(_errors(path, signatures, trusted, when)), None not in signatures
        )


def _fits(certificate: X509, issuer: X509) -> bool:
    try:
        return certificate.may_be_issued_by(issuer) and bool(issuer.fact.subject)
    except (Malformed, Unsupported):
        return False


def _errors(
    path: Tuple[X509, ...],
    signatures: Sequence[Optional[bool]],
    trusted: FrozenSet[str],
    when: datetime,
) -> Iterator[ChainError]:
    last, top = path[-1], len(path) - 1
    if not last.is_self_signed:
        yield ChainError(ChainFault.ISSUER_MISSING, "its issuer was not found", top)
    elif last.thumbprint not in trusted:
        yield ChainError(ChainFault.ROOT_UNTRUSTED, "the root is not trusted", top)
    for number, certificate in enumerate(path):
        if not certificate.is_valid_at(when):
            yield ChainError(ChainFault.OUTSIDE_DATES, "expired or not yet valid", number)
    for number, is_good in enumerate(signatures):
        if is_good is False:
            yield ChainError(ChainFault.SIGNATURE, "its signature does not verify", number)


def judge(
    certificates: Sequence[bytes],
    held: Sequence[X509],
    trusted: FrozenSet[str],
    stores: Mapping[str, Tuple[str, ...]],
    at: Instant,
) -> CertificateChain:
    """What this makes of the first certificate. Raises ``Malformed`` or ``Unsupported`` where that
    cannot be read.

    It is trusted, or not, or (None) a signature on the way is of a kind that is not verified here.

    :param certificates: in DER, the leaf first; the others may be its issuers
    :param held: what the machine holds
    :param trusted: the thumbprints of its trusted roots
    :param stores: where it holds what, by thumbprint
    """
    path = build(
        X509.read(certificates[0]), [*held, *readable(certificates)], trusted, parse_instant(at)
    )
    facts = tuple(
        replace(item.fact, stores=stores.get(item.thumbprint, ())) for item in path.certificates
    )
    trusted_now = None
    if path.errors:
        trusted_now = False
    elif path.is_verified:
        trusted_now = True
    return CertificateChain(False, ENGINE, trusted_now, path.errors, facts, at)
