"""The simulated host's certificates and signatures, all made here.

The hierarchy is like the one that signs Azure's attested documents.

TEST MATERIAL. The private keys below are public: nothing that they sign may ever be trusted. Names
and addresses are those of Azure's hierarchy, so that what is said of it applies; the organization
tells that it is not.
"""

from __future__ import annotations

import hashlib
import json
from datetime import datetime, timedelta, timezone
from functools import lru_cache
from typing import Callable, Dict, Sequence, Tuple
from urllib.parse import unquote, urlsplit

from ..attest.cms import DATA, SIGNED_DATA
from ..attest.x509 import DIGEST_INFO, RSA_ENCRYPTION, WITH_RSA

# TEST PRIVATE KEYS, RSA 2048 with the exponent 65537: the two primes of each, in hexadecimal.
TEST_PRIVATE_KEYS = {
    "root": (
        (
            "f86375bec049dd5bcc59099efcdd1fcd41963223c135bb74cc7347403d3eb8edabcd5a44935e148135240fae5adfacfa1d0c"
            "b2cdb168aa8d81916a6496c90b90c5796959e28a3751c3855c9c201a9ad3b0c4775f891c30f7bed90a4a8e5d593b4205332d"
            "288946af43e45332d4801187951b4d828b774f99e2a6ff002c95fb93"
        ),
        (
            "dc2f30e31a7598e51357d720aa4f15474c9bddaeb8ffea7cbec43abdfae9ee04d81322c3a325ecf0eb26ff184ea9e409092a"
            "3d6b6f053c41e533f1930c1226d9670d981c0741d248472dd8299a5a52778404c49acb11d5eae682714562bcfb81c760fdf7"
            "0f9b9b37ef1088dda991fe1550a4250d5b520c9944e868128acbea4f"
        ),
    ),
    "tls": (
        (
            "e4362805a96ac79bf7d229bcca25cca2d0494c0097bf86ccbfc37532cc702673f8d8ada606c80b3112eaf4209386ca7a418e"
            "a814b61b357a58ba3d311428fc889741e62ad91c496daa44ffb7f8acfe1a79fb94ac1c0e03829ef827eb5947aa4c90851f21"
            "014775236c69afb4dee43ccf65583798336544c0bd98a0c33262d873"
        ),
        (
            "bc39c0e642efdef4422d8d663e059fc1fe0878dc164dcec011ac02f2037bc5a18afed49eac92d64842817a4b0f5ecdf65d06"
            "79550266c37e737e1303eb702add7967fb521b998895ddf85bacc260c3b36334912fdc4f9eea623389ff81be0e73ca95875b"
            "7b9421b1ed49f06c8cce7532430a5a37d96c7b9089390f3e571f88ab"
        ),
    ),
    "issuing": (
        (
            "e781247e91609beed4fc772f3f5712987f930d2baa751c0a1b7971abf589e421ff42c42d5d442d4a483684723ee373a17530"
            "f630b82946f12bc1e6b36755a5a86c3b1b3ba9be06d2f8307d16b82181181131c127a33fbc2b9eb65e428b0cc778b0c9018a"
            "9443e6f7d617acd918af49ac5d00e0c9259eff91a2beddf388f097d9"
        ),
        (
            "c6ae638e2d4090f1a9b422d3361d60756b0660cbd42e413686e963436e80ba8784e08fd0a6b426e7d0d7564c93c8d2ffcd27"
            "4d63c785258e15e7671da1b2f86b0c702f24f9df5443c2fa3079d692e22a2ef1ea0aba7e6c1a4cfff7f6ba06c63f59ca0d25"
            "27428def6ad561ecd7ba57454ce3400233b00ba7447b3259e574307d"
        ),
    ),
    "leaf": (
        (
            "f80216c9a68e63ca380ec054c305ef1b3931bbc74714f0ae5e817ac46055b5d14ad98d876f5fbc503b3accfe84dacd4f03da"
            "72f9fe627679b86001e47a52443cbbfad6000662d2cabfca91d4ef697499e42d200798a94baa48052be8ad3cca0465cebe94"
            "165a89a7907f8146020f72665b1df5319445fa8a6173d4a5023f8e05"
        ),
        (
            "db7330a8ec950ff490bbd03eac7cdd9936165ca44c0dc898b21e5c12daceba9c249b358e32a2b7124234725f02e83162a42e"
            "b9521d562a1aa8be7b6aeafde03f3242606457a2ed911a39d884fbce78643680da0aaac30bdb8794754fadb4c599dafc5dec"
            "601e25bcb2f9e0f093a0d3961fd6c29803a3ca91fe7275d1482506f7"
        ),
    ),
}
EXPONENT = 65537
ORGANIZATION = "imds-check TEST MATERIAL"
ROOT, TLS_ROOT, ISSUING = (
    "imds-check Test Global Root",
    "Microsoft TLS RSA Root G2",
    "Microsoft TLS G2 RSA CA OCSP 04",
)
AIA = "http://caissuers.microsoft.com/pkiops/certs/"
SECOND_AIA = "http://www.microsoft.com/pkiops/certs/"
ROOT_URL = "http://cacerts.digicert.com/imds-check%20Test%20Global%20Root.crt"
CROSS_URL = f"{AIA}Microsoft%20TLS%20RSA%20Root%20G2%20-%20xsign.crt"
ISSUING_FILE = "Microsoft%20TLS%20G2%20RSA%20CA%20OCSP%2004.crt"
CRL = "http://www.microsoft.com/pkiops/crl/Microsoft%20TLS%20G2%20RSA%20CA%20OCSP%2004.crl"
OCSP = "http://oneocsp.microsoft.com/ocsp"
VALID = (datetime(2020, 1, 1, tzinfo=timezone.utc), datetime(2055, 1, 1, tzinfo=timezone.utc))
EXPIRED = (datetime(2024, 1, 1, tzinfo=timezone.utc), datetime(2025, 1, 1, tzinfo=timezone.utc))
SHA256, SHA384, _ = WITH_RSA
SHA1 = "1.2.840.113549.1.1.5"
_PREFIXES = {**DIGEST_INFO, "sha1": bytes.fromhex("3021300906052b0e03021a05000414")}


# --- DER ---


def tlv(tag: int, *contents: bytes) -> bytes:
    content = b"".join(contents)
    size = len(content)
    if size < 0x80:
        return bytes([tag, size]) + content
    octets = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes([tag, 0x80 | len(octets)]) + octets + content


def sequence(*contents: bytes) -> bytes:
    return tlv(0x30, *contents)


def integer(value: int) -> bytes:
    return tlv(0x02, value.to_bytes(value.bit_length() // 8 + 1, "big"))


def oid(dotted: str) -> bytes:
    first, second, *rest = map(int, dotted.split("."))
    encoded = b""
    for number in (40 * first + second, *rest):
        octets = [number & 0x7F]
        while number > 0x7F:
            number >>= 7
            octets.insert(0, number & 0x7F | 0x80)
        encoded += bytes(octets)
    return tlv(0x06, encoded)


def algorithm(dotted: str) -> bytes:
    return sequence(oid(dotted), b"\5\0")


def bit_string(content: bytes) -> bytes:
    return tlv(0x03, b"\0", content)


def name(common_name: str) -> bytes:
    parts = (
        ("2.5.4.6", 0x13, "US"),
        ("2.5.4.10", 0x0C, ORGANIZATION),
        ("2.5.4.3", 0x0C, common_name),
    )
    return sequence(
        *(tlv(0x31, sequence(oid(kind), tlv(tag, text.encode()))) for kind, tag, text in parts)
    )


def _time(when: datetime) -> bytes:
    """UTCTime, and GeneralizedTime from 2050 on (RFC 5280, 4.1.2.5)."""
    if when.year < 2050:
        return tlv(0x17, when.strftime("%y%m%d%H%M%SZ").encode())
    return tlv(0x18, when.strftime("%Y%m%d%H%M%SZ").encode())


# --- keys ---


class Key:
    """One of the test keys."""

    def __init__(self, name: str) -> None:
        p, q = (int(prime, 16) for prime in TEST_PRIVATE_KEYS[name])
        self.modulus = p * q
        self._private = (p, q, pow(EXPONENT, -1, p - 1), pow(EXPONENT, -1, q - 1), pow(q, -1, p))

    def sign(self, data: bytes, method: str) -> bytes:
        """RSASSA-PKCS1-v1_5 (RFC 8017, 8.2.1), by the Chinese remainder theorem."""
        digest = WITH_RSA.get(method, "sha1")
        end = _PREFIXES[digest] + hashlib.new(digest, data).digest()
        padded = int.from_bytes(b"\0\1" + b"\xff" * (256 - 3 - len(end)) + b"\0" + end, "big")
        p, q, by_p, by_q, q_inverse = self._private
        one, other = pow(padded, by_p, p), pow(padded, by_q, q)
        return (other + q * ((one - other) * q_inverse % p)).to_bytes(256, "big")

    @property
    def public(self) -> bytes:
        """SubjectPublicKeyInfo (RFC 5280, 4.1.2.7)."""
        key = sequence(integer(self.modulus), integer(EXPONENT))
        return sequence(algorithm(RSA_ENCRYPTION), bit_string(key))

    @property
    def identifier(self) -> bytes:
        return hashlib.sha1(self.public).digest()


@lru_cache(maxsize=None)
def key(name: str) -> Key:
    return Key(name)


# --- certificates ---


def _extension(dotted: str, content: bytes, critical: bool = False) -> bytes:
    return sequence(oid(dotted), b"\1\1\xff" if critical else b"", tlv(0x04, content))


def certificate(
    subject: str,
    own: str,
    issuer: str,
    signer: str,
    serial: int,
    is_ca: bool = True,
    names: Sequence[str] = (),
    urls: Sequence[str] = (),
    valid: Tuple[datetime, datetime] = VALID,
) -> bytes:
    """A certificate in DER.

    :param own: whose key it holds, as ``TEST_PRIVATE_KEYS`` names it
    :param signer: whose key signs it
    :param names: of the SAN
    :param urls: where the issuer can be fetched
    """
    extensions = [
        _extension("2.5.29.19", sequence(b"\1\1\xff") if is_ca else sequence(), critical=True),
        _extension("2.5.29.14", tlv(0x04, key(own).identifier)),
        _extension("2.5.29.35", sequence(tlv(0x80, key(signer).identifier))),
    ]
    if names:
        extensions.append(
            _extension("2.5.29.17", sequence(*(tlv(0x82, item.encode()) for item in names)))
        )
    if urls:
        places = [sequence(oid("1.3.6.1.5.5.7.48.2"), tlv(0x86, url.encode())) for url in urls]
        places.append(sequence(oid("1.3.6.1.5.5.7.48.1"), tlv(0x86, OCSP.encode())))
        extensions.append(_extension("1.3.6.1.5.5.7.1.1", sequence(*places)))
        point = sequence(tlv(0xA0, tlv(0xA0, tlv(0x86, CRL.encode()))))
        extensions.append(_extension("2.5.29.31", sequence(point)))
    signed = sequence(
        tlv(0xA0, integer(2)),
        integer(serial),
        algorithm(SHA384),
        name(issuer),
        sequence(*map(_time, valid)),
        name(subject),
        key(own).public,
        tlv(0xA3, sequence(*extensions)),
    )
    return sequence(signed, algorithm(SHA384), bit_string(key(signer).sign(signed, SHA384)))


@lru_cache(maxsize=None)
def root() -> bytes:
    """The root that VMs trust."""
    return certificate(ROOT, "root", ROOT, "root", 1)


@lru_cache(maxsize=None)
def tls_root() -> bytes:
    """The second root, signed by itself: most VMs do not trust it."""
    return certificate(TLS_ROOT, "tls", TLS_ROOT, "tls", 2)


@lru_cache(maxsize=None)
def cross() -> bytes:
    """The same name and key, signed by the first root."""
    return certificate(TLS_ROOT, "tls", ROOT, "root", 3, urls=[ROOT_URL])


@lru_cache(maxsize=None)
def issuing() -> bytes:
    return certificate(ISSUING, "issuing", TLS_ROOT, "tls", 4, urls=[CROSS_URL])


LEAF_SERIALS = {False: 5, True: 6}  # by whether it has expired


@lru_cache(maxsize=None)
def leaf(domain: str, location: str, is_expired: bool = False) -> bytes:
    """The certificate that signs documents."""
    return certificate(
        domain,
        "leaf",
        ISSUING,
        "issuing",
        LEAF_SERIALS[is_expired],
        is_ca=False,
        names=[f"{location}.{domain}", domain],
        urls=[f"{SECOND_AIA}{ISSUING_FILE}", f"{AIA}{ISSUING_FILE}"],
        valid=EXPIRED if is_expired else VALID,
    )


@lru_cache(maxsize=None)
def files() -> Dict[str, bytes]:
    """What the hosts of certificates serve, by path (without its escapes)."""
    served = {ROOT_URL: root(), CROSS_URL: cross(), f"{AIA}{ISSUING_FILE}": issuing()}
    return {unquote(urlsplit(url).path): content for url, content in served.items()}


# --- documents ---


DOMAINS = {
    "AzureUSGovernmentCloud": "metadata.azure.us",
    "AzureChinaCloud": "metadata.azure.cn",
    "AzureGermanCloud": "metadata.microsoftazure.de",
}
LIFE = timedelta(hours=6)
ISSUERS: Dict[str, Callable[[], bytes]] = {
    "issuing": issuing,
    "cross": cross,
    "tls_root": tls_root,
    "root": root,
}
# What is wrong with a document, by name.
DOCUMENTS = (
    "genuine",
    "tampered",  # the content is not what was signed
    "garbage",  # no signed data at all
    "stale",  # signed seven hours ago
    "other-nonce",
    "other-vm",
    "other-subscription",
    "wrong-name",  # the certificate is another service's
    "expired-certificate",
    "sha1",  # of a kind that is not verified
)


def document(
    kind: str,
    what: Dict[str, str],
    nonce: str,
    now: datetime,
    environment: str,
    location: str,
    embedded: Sequence[str],
) -> bytes:
    """What IMDS signs: SignedData around JSON.

    :param kind: one of ``DOCUMENTS``
    :param what: the VM's own part of the content
    :param now: the host's time
    :param environment: the cloud, as IMDS names it
    :param embedded: the certificates in it beside the signer's, as ``ISSUERS`` names them
    """
    if kind not in DOCUMENTS:
        raise ValueError(f"no kind of document: {kind}")
    if kind == "garbage":
        return b"not signed"
    created = now
    if kind == "stale":
        created -= timedelta(hours=7)
    content = {
        **what,
        "nonce": {"other-nonce": "20260101-000000"}.get(kind, nonce),
        "plan": {"name": "", "product": "", "publisher": ""},
        "timeStamp": {"createdOn": _stamp(created), "expiresOn": _stamp(created + LIFE)},
    }
    if kind == "other-vm":
        content["vmId"] = "00000000-1111-2222-3333-444444444444"
    if kind == "other-subscription":
        content["subscriptionId"] = "00000000-5555-6666-7777-888888888888"
    domain = DOMAINS.get(environment, "metadata.azure.com")
    if kind == "wrong-name":
        domain = "portal.contoso.com"
    is_expired = kind == "expired-certificate"
    own = leaf(domain, location, is_expired)
    encoded = json.dumps(content, separators=(",", ":")).encode()
    certificates = [own, *(ISSUERS[name]() for name in embedded)]
    method = {"sha1": SHA1}.get(kind, SHA256)
    signed = sign(
        encoded,
        certificates,
        LEAF_SERIALS[is_expired],
        method,
    )
    if kind == "tampered":
        return signed.replace(b'"vmId":"', b'"vmID":"')
    return signed


def _stamp(when: datetime) -> str:
    return when.strftime("%m/%d/%y %H:%M:%S -0000")


def sign(content: bytes, certificates: Sequence[bytes], serial: int, method: str = SHA256) -> bytes:
    """SignedData over the content, as IMDS makes it: no signed attributes, the digest named by the
    signature algorithm.
    """
    info = sequence(
        integer(1),
        sequence(name(ISSUING), integer(serial)),
        algorithm(method),
        algorithm(RSA_ENCRYPTION),
        tlv(0x04, key("leaf").sign(content, method)),
    )
    data = sequence(
        integer(1),
        tlv(0x31, algorithm(method)),
        sequence(oid(DATA), tlv(0xA0, tlv(0x04, content))),
        tlv(0xA0, *certificates),
        tlv(0x31, info),
    )
    return sequence(oid(SIGNED_DATA), tlv(0xA0, data))
