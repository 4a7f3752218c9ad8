"""How Linux judges a certificate: the distribution's trusted roots, and ``openssl verify``."""

from __future__ import annotations

import os
import re
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Iterator, List, Sequence, Tuple

from ...attest import chain
from ...attest.der import Malformed, Unsupported
from ...attest.x509 import X509, from_pem, readable, to_pem
from ...collect import NoFact
from ...facts import CertificateChain, ChainError, ChainFault, Instant, parse_instant
from ..program import Programs
from .files import read

# The first that is there: Debian, Ubuntu, Alpine; Red Hat, Azure Linux; SUSE.
BUNDLES = (
    Path("/etc/ssl/certs/ca-certificates.crt"),
    Path("/etc/pki/tls/certs/ca-bundle.crt"),
    Path("/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem"),
    Path("/etc/ssl/ca-bundle.pem"),
)
BUNDLE_LIMIT, BUNDLE_SIZE = 5000, 16 * 1024 * 1024  # certificates, bytes
VERIFY_S = 1.5
# X509_V_ERR_* (openssl/x509_vfy.h), as ``openssl verify`` prints them.
FAULTS = {
    **dict.fromkeys((2, 20, 21), ChainFault.ISSUER_MISSING),
    **dict.fromkeys((18, 19), ChainFault.ROOT_UNTRUSTED),
    **dict.fromkeys((9, 10, 13, 14), ChainFault.OUTSIDE_DATES),
    **dict.fromkeys((4, 6, 7), ChainFault.SIGNATURE),
    **dict.fromkeys((23, 27, 28), ChainFault.DISTRUSTED),
}
# Whether a blank follows the last colon depends on the version of OpenSSL.
VERIFY_ERROR = re.compile(r"^error (\d{1,4}) at (\d{1,4}) depth lookup: ?(.*)$", re.MULTILINE)


def judge(programs: Programs, certificates: Sequence[bytes], at: Instant) -> CertificateChain:
    """The path of the first certificate to a trusted root of the bundle. Raises ``NoFact``.

    :param certificates: in DER, the leaf first; the others are not trusted, but may be issuers
    :param at: the time to judge it for
    """
    bundle, held = _bundle()
    known = {item.thumbprint: (str(bundle),) for item in held}
    try:
        own = chain.judge(certificates, held, frozenset(known), known, at)
    except (Malformed, Unsupported) as error:
        raise NoFact(f"the certificates cannot be read: {error}") from None
    try:
        errors = _openssl(programs, certificates, held, own, at)
    except NoFact as missing:
        return replace(own, engine=f"{own.engine} ({missing})")
    # what openssl accepts is trusted, whatever our own walk found
    if errors:
        errors += own.errors
    return replace(own, engine="openssl verify", trusted=not errors, errors=errors)


def _bundle() -> Tuple[Path, List[X509]]:
    """The bundle, and what it holds. Raises ``NoFact``."""
    for path in BUNDLES:
        content = read(path, BUNDLE_SIZE)
        if content:
            return path, readable(from_pem(content.encode("utf-8", "replace"), BUNDLE_LIMIT))
    raise NoFact("no bundle of trusted certificates: " + ", ".join(map(str, BUNDLES)))


def _openssl(
    programs: Programs,
    certificates: Sequence[bytes],
    held: Sequence[X509],
    own: CertificateChain,
    at: Instant,
) -> Tuple[ChainError, ...]:
    """The errors of ``openssl verify``; none where it accepts the certificate. Raises ``NoFact``.

    The bundle's roots are given as trusted. As issuers only those of the path that our own walk
    found are given: openssl takes the first that fits, and tries no other where that one leads
    nowhere. Without such a path, all are given.
    """
    roots = [item.encoded for item in held if item.is_self_signed]
    path = {item.thumbprint for item in own.certificates}
    others = [
        item.encoded
        for item in (*readable(certificates[1:]), *held)
        if item.encoded not in roots and (not own.trusted or item.thumbprint in path)
    ]
    with _as_file(certificates[:1]) as leaf, _as_file(others) as untrusted, _as_file(
        roots
    ) as trusted:
        when = str(int(parse_instant(at).timestamp()))
        arguments = ["verify", "-attime", when, "-no-CApath", "-CAfile", trusted]
        if others:
            arguments += ["-untrusted", untrusted]
        done = programs.complete("openssl", [*arguments, leaf], VERIFY_S)
    said = done.errors + done.output[:4096].decode("utf-8", "replace")
    found = [
        ChainError(
            FAULTS.get(int(match.group(1)), ChainFault.OTHER),
            f"{match.group(3)[:120]} (error {match.group(1)})",
            int(match.group(2)),
        )
        for match in VERIFY_ERROR.finditer(said)
    ]
    # before OpenSSL 1.1.0 the status is always 0
    is_accepted = done.status == 0 and ": OK" in said
    if not found and not is_accepted:
        raise NoFact(f"openssl verify: exit status {done.status}: {said.strip()[:120]}")
    return tuple(dict.fromkeys(found))


@contextmanager
def _as_file(certificates: Sequence[bytes]) -> Iterator[str]:
    """Certificates as a file in memory that a program of this user can open by its name.

    Raises ``NoFact``.
    """
    create = getattr(os, "memfd_create", None)
    if create is None:
        raise NoFact("this system has no files in memory")
    try:
        file = os.fdopen(create("imds-check"), "wb")
    except OSError as error:
        raise NoFact(f"no file in memory: {error.strerror}") from None
    with file:
        file.write(b"".join(map(to_pem, certificates)))
        file.flush()
        yield f"/proc/{os.getpid()}/fd/{file.fileno()}"
