"""The path from a certificate up to a trusted root, by names, key identifiers, dates and RSA signatures. No I/O."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Dict, FrozenSet, Iterator, List, Mapping, Optional, Sequence, Set, Tuple

from .der import Malformed, Unsupported
from .facts import CertificateChain, ChainError, ChainFault, Instant, parse_instant
from .x509 import X509, NotVerified, readable

ENGINE = "names, dates and key identifiers, which is no proof"
IN_DOCUMENT = "the document"  # where a certificate was found
LONGEST_PATH, STEPS = 8, 200  # certificates; that a search may try


@dataclass(frozen=True)
class Path:
    """A path from a certificate up. ``errors`` are empty where it ends at a trusted root and nothing on the way is wrong."""

    certificates: Tuple[X509, ...]
    errors: Tuple[ChainError, ...]


def build(leaf: X509, pool: Sequence[X509], trusted: FrozenSet[str], when: datetime) -> Path:
    """The best path from ``leaf`` to a trusted root: the first without errors, or else the one that comes furthest.

    :param pool: the certificates that may be issuers, roots included
    :param trusted: the thumbprints of the trusted ones; only a self-issued one of them ends a path
    :param when: the time at which all must be valid
    """
    by_subject: Dict[bytes, List[X509]] = {}
    for item in pool:
        by_subject.setdefault(item.subject, []).append(item)
    budget = [STEPS]
    best: Optional[Path] = None
    for certificates in _paths((leaf,), by_subject, {leaf.encoded}, budget):
        path = Path(certificates, tuple(_errors(certificates, trusted, when)))
        if not path.errors:
            return path
        if best is None or _rank(path) > _rank(best):
            best = path
    return best or Path((leaf,), (ChainError(ChainFault.OTHER, "the search for issuers was given up"),))


def _rank(path: Path) -> Tuple[bool, int, int]:
    return path.certificates[-1].is_self_issued, -len(path.errors), len(path.certificates)


def _paths(
    so_far: Tuple[X509, ...], by_subject: Dict[bytes, List[X509]], used: Set[bytes], budget: List[int]
) -> Iterator[Tuple[X509, ...]]:
    last = so_far[-1]
    found = False
    if not last.is_self_issued and len(so_far) < LONGEST_PATH:
        for issuer in by_subject.get(last.issuer, ()):
            if issuer.encoded in used or budget[0] <= 0 or not _fits(last, issuer):
                continue
            budget[0] -= 1
            found = True
            yield from _paths((*so_far, issuer), by_subject, used | {issuer.encoded}, budget)
    if not found:
        yield so_far


def _fits(certificate: X509, issuer: X509) -> bool:
    try:
        return certificate.may_be_issued_by(issuer)
    except (Malformed, Unsupported):
        return False


def _errors(path: Tuple[X509, ...], trusted: FrozenSet[str], when: datetime) -> Iterator[ChainError]:
    last, top = path[-1], len(path) - 1
    if not last.is_self_issued:
        yield ChainError(ChainFault.ISSUER_MISSING, "its issuer is not found", top)
    elif last.thumbprint not in trusted:
        yield ChainError(ChainFault.ROOT_UNTRUSTED, "the root is not trusted", top)
    for number, certificate in enumerate(path):
        try:
            valid = certificate.is_valid_at(when)
        except Malformed:
            valid = False
        if not valid:
            yield ChainError(ChainFault.OUTSIDE_DATES, "outside its dates", number)
    for number, (certificate, issuer) in enumerate(zip(path, path[1:])):
        try:
            certificate.verify_with(issuer)
        except NotVerified:
            yield ChainError(ChainFault.SIGNATURE, "its signature does not verify", number)
        except Unsupported:
            continue
        except Malformed:
            yield ChainError(ChainFault.OTHER, "its key cannot be read", number + 1)


def judge(
    certificates: Sequence[bytes],
    held: Sequence[X509],
    trusted: FrozenSet[str],
    stores: Mapping[str, Tuple[str, ...]],
    at: Instant,
) -> CertificateChain:
    """What this makes of the first certificate. Raises ``Malformed`` or ``Unsupported`` where that cannot be read.

    :param certificates: in DER, the leaf first; the others may be its issuers
    :param held: what the machine holds
    :param trusted: the thumbprints of its trusted roots
    :param stores: where it holds what, by thumbprint
    """
    given = readable(certificates)
    path = build(X509(certificates[0]), [*held, *given], trusted, parse_instant(at))
    facts = []
    for item in path.certificates:
        at_hand = (IN_DOCUMENT,) if item.encoded in certificates else ()
        facts.append(replace(item.fact, stores=stores.get(item.thumbprint, ()) + at_hand))
    return CertificateChain(False, ENGINE, not path.errors, path.errors, tuple(facts), at)
