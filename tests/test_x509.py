"""Certificates are read as ``openssl`` reads them, whatever certificates: those of this machine's
bundle, and bad ones.
"""

import contextlib
import hashlib
import re
import shutil
import subprocess
from datetime import datetime, timezone
from pathlib import Path

import pytest

from runcommand.attest import der
from runcommand.attest.chain import build, judge
from runcommand.attest.x509 import X509, from_pem, name, readable, to_pem
from runcommand.facts import ChainFault
from runcommand.rules.issuers import common_name
from runcommand.simulator import pki

from .clock import LITTLE, Work

BUNDLE = Path("/etc/ssl/certs/ca-certificates.crt")
NOW = datetime(2026, 11, 23, tzinfo=timezone.utc)


def openssl(encoded, *arguments):
    done = subprocess.run(
        ["openssl", "x509", "-inform", "DER", "-noout", *arguments],
        input=encoded,
        stdout=subprocess.PIPE,
        check=True,
    )
    return done.stdout.decode("utf-8", "replace")


@pytest.mark.skipif(
    not (BUNDLE.exists() and shutil.which("openssl")), reason="no bundle, or no openssl"
)
def test_every_certificate_of_the_bundle_is_read_as_openssl_reads_it(is_exhaustive):
    """Every third, but in an exhaustive run."""
    certificates = list(from_pem(BUNDLE.read_bytes(), 5000))
    assert len(certificates) == BUNDLE.read_text().count("BEGIN CERTIFICATE") > 50
    step = 1 if is_exhaustive else 3
    for encoded in certificates[::step]:
        fact = X509.read(encoded).fact
        told = openssl(
            encoded,
            "-serial",
            "-dates",
            "-fingerprint",
            "-sha1",
            "-ext",
            "subjectKeyIdentifier",
            "-dateopt",
            "iso_8601",
        )
        values = dict(re.findall(r"^([^=\n]+?)\s*=\s*(.+)$", told, re.MULTILINE))
        assert fact.thumbprint == values["sha1 Fingerprint"].replace(":", "")
        assert int(fact.serial, 16) == int(values["serial"], 16)
        assert fact.not_before == values["notBefore"].replace(
            " ", "T"
        ) and fact.not_after == values["notAfter"].replace(" ", "T")
        key = re.search(r"Identifier: \n\s+([0-9A-F:]+)", told)
        assert fact.subject_key_id == (key.group(1).replace(":", "") if key else None)
        subject = openssl(
            encoded, "-subject", "-nameopt", "sep_comma_plus_space,dn_rev,sname,utf8,-esc_msb"
        )
        for part in re.findall(r"(?:^|, )(CN|O|C)=([A-Za-z0-9 .-]+)(?=, |$)", subject.strip()[8:]):
            assert "=".join(part) in fact.subject


def test_a_whole_bundle_is_read_in_no_time():
    encoded = [pki.issuing()[:-1] + bytes([number % 256]) for number in range(256)] * 4
    work = Work()
    assert len(readable(encoded)) == 256
    assert work.loops() < LITTLE


def test_the_details_of_the_signing_certificate():
    fact = X509.read(pki.leaf("metadata.azure.com", "eastus")).fact
    assert fact.subject == "CN=metadata.azure.com, O=imds-check TEST MATERIAL, C=US"
    assert fact.issuer == "CN=Microsoft TLS G2 RSA CA OCSP 04, O=imds-check TEST MATERIAL, C=US"
    assert fact.issuer_urls == (
        f"{pki.SECOND_AIA}{pki.ISSUING_FILE}",
        f"{pki.AIA}{pki.ISSUING_FILE}",
    )
    assert (fact.crl_urls, fact.ocsp_urls) == ((pki.CRL,), (pki.OCSP,))
    assert (fact.key, fact.signature) == ("RSA 2048", "SHA-384 with RSA")
    assert (
        fact.thumbprint
        == hashlib.sha1(pki.leaf("metadata.azure.com", "eastus")).hexdigest().upper()
    )
    assert (fact.not_before, fact.not_after) == ("2020-01-01T00:00:00Z", "2055-01-01T00:00:00Z")


@pytest.mark.skipif(not shutil.which("openssl"), reason="openssl is not installed")
def test_other_curves_and_names(tmp_path):
    for curve, kind in (("prime256v1", "EC"), ("ed25519", "Ed25519")):
        new = (
            ["ed25519"] if curve == "ed25519" else ["ec", "-pkeyopt", f"ec_paramgen_curve:{curve}"]
        )
        subprocess.run(
            [
                "openssl",
                "req",
                "-x509",
                "-newkey",
                *new,
                "-nodes",
                "-keyout",
                "k",
                "-out",
                "c.der",
                "-outform",
                "DER",
                "-utf8",
                "-subj",
                "/CN=Stra\u00dfe/O=x",
            ],
            cwd=tmp_path,
            check=True,
            stderr=subprocess.DEVNULL,
        )
        fact = X509.read((tmp_path / "c.der").read_bytes()).fact
        assert fact.key == kind and fact.subject == "O=x, CN=Stra\u00dfe"


def test_a_bundle_with_comments_and_garbage():
    text = (
        b"# a comment\n"
        + to_pem(pki.root())
        + b"-----BEGIN CERTIFICATE-----\n!!!\n-----END CERTIFICATE-----\n"
    )
    text += b"-----BEGIN CERTIFICATE-----\nAAA\n-----END CERTIFICATE-----\n" + to_pem(
        pki.cross()
    ).replace(b"\n", b"\r\n")
    assert list(from_pem(text, 10)) == [pki.root(), pki.cross()] and list(from_pem(text, 1)) == [
        pki.root()
    ]
    assert len(readable(from_pem(text, 10))) == 2


def test_a_changed_certificate_is_refused_or_read():
    encoded = pki.root()
    for place in range(len(encoded)):
        for mask in (0x01, 0x80, 0xFF):
            changed = encoded[:place] + bytes([encoded[place] ^ mask]) + encoded[place + 1 :]
            with contextlib.suppress(der.Malformed, der.Unsupported):
                assert X509.read(changed).fact.thumbprint != X509(encoded).thumbprint


# --- paths ---


def certificates(*names):
    return [X509(pki.ISSUERS[name]()) for name in names]


LEAF = X509(pki.leaf("metadata.azure.com", "eastus"))
ROOT = frozenset([X509(pki.root()).thumbprint])
SECOND = frozenset([X509(pki.tls_root()).thumbprint])


def shown(path):
    return [name(item.subject).partition(",")[0][3:] for item in path.certificates], {
        error.fault for error in path.errors
    }


CHAIN = ["metadata.azure.com", pki.ISSUING, pki.TLS_ROOT]


@pytest.mark.parametrize(
    "pool, trusted, names, faults",
    [
        (["issuing", "cross", "root"], ROOT, [*CHAIN, pki.ROOT], set()),
        (["root", "tls_root", "cross", "issuing"], ROOT, [*CHAIN, pki.ROOT], set()),
        (["issuing", "tls_root"], SECOND, CHAIN, set()),
        (["issuing", "cross", "root", "tls_root"], SECOND, CHAIN, set()),
        (["issuing", "tls_root"], ROOT, CHAIN, {ChainFault.ROOT_UNTRUSTED}),
        (
            ["issuing", "cross", "root"],
            frozenset(),
            [*CHAIN, pki.ROOT],
            {ChainFault.ROOT_UNTRUSTED},
        ),
        (["issuing", "root"], ROOT, CHAIN[:2], {ChainFault.ISSUER_MISSING}),
        (["cross", "root"], ROOT, CHAIN[:1], {ChainFault.ISSUER_MISSING}),
        ([], ROOT, CHAIN[:1], {ChainFault.ISSUER_MISSING}),
    ],
    ids=[
        "by the cross-certificate",
        "in any order",
        "by the second root",
        "either root",
        "the wrong root",
        "no root",
        "no cross-certificate",
        "no intermediate",
        "nothing",
    ],
)
def test_paths_over_both_roots(pool, trusted, names, faults):
    assert shown(build(LEAF, certificates(*pool), trusted, NOW)) == (names, faults)


def test_an_intermediate_that_is_trusted_is_no_root():
    issuing = X509(pki.issuing())
    assert build(LEAF, [issuing], frozenset([issuing.thumbprint]), NOW).errors


def test_dates_are_judged_at_the_time_that_is_given():
    expired = X509(pki.leaf("metadata.azure.com", "eastus", True))
    pool = certificates("issuing", "cross", "root")
    assert shown(build(expired, pool, ROOT, NOW))[1] == {ChainFault.OUTSIDE_DATES}
    assert not build(expired, pool, ROOT, datetime(2024, 6, 1, tzinfo=timezone.utc)).errors
    assert len(build(LEAF, pool, ROOT, datetime(2010, 6, 1, tzinfo=timezone.utc)).errors) == 4


def test_a_forged_issuer_is_passed_over_for_the_real_one():
    """The same names and key identifiers, and another key."""
    forged = X509(pki.issuing().replace(pki.key("issuing").public, pki.key("leaf").public))
    assert (
        shown(build(LEAF, [forged, *certificates("issuing", "cross", "root")], ROOT, NOW))[1]
        == set()
    )
    alone = build(LEAF, [forged, *certificates("cross", "root")], ROOT, NOW)
    assert ChainFault.SIGNATURE in {error.fault for error in alone.errors}


def test_circles_and_crowds_end():
    one = X509(pki.certificate("A", "root", "B", "tls", 1))
    other = X509(pki.certificate("B", "tls", "A", "root", 2))
    leaf = X509(pki.certificate("leaf", "leaf", "A", "root", 3, is_ca=False))
    assert shown(build(leaf, [one, other], frozenset(), NOW))[1] == {ChainFault.ISSUER_MISSING}
    crowd = [
        X509(
            pki.certificate(
                pki.TLS_ROOT, "tls", pki.TLS_ROOT if n % 2 else pki.ISSUING, "tls", 100 + n
            )
        )
        for n in range(60)
    ]
    crowd += [
        X509(pki.certificate(pki.ISSUING, "issuing", pki.TLS_ROOT, "tls", 300 + n))
        for n in range(60)
    ]
    work = Work()
    assert build(LEAF, crowd, frozenset(), NOW).errors
    assert work.loops() < LITTLE


def test_a_chain_says_where_each_certificate_was_found():
    held = certificates("root", "issuing")
    stores = {held[0].thumbprint: ("here",), held[1].thumbprint: ("there",)}
    chain = judge([LEAF.encoded, pki.cross()], held, ROOT, stores, "2026-11-23T00:00:00Z")
    assert chain.trusted and [item.stores for item in chain.certificates] == [
        (),
        ("there",),
        (),
        ("here",),
    ]


def test_the_right_issuer_is_found_among_hundreds_of_decoys():
    """The same name and key identifier, and another key: each costs one look at a signature."""
    decoys = [
        X509(
            pki.certificate(pki.ISSUING, "issuing", pki.TLS_ROOT, "tls", 1000 + number).replace(
                pki.key("issuing").public, pki.key("leaf").public
            )
        )
        for number in range(300)
    ]
    work = Work()
    assert not build(LEAF, [*decoys, *certificates("issuing", "cross", "root")], ROOT, NOW).errors
    assert work.loops() < LITTLE
    mesh = [
        X509(pki.certificate(a, b, c, d, number))
        for number in range(15)
        for a, b, c, d in (("A", "root", "B", "tls"), ("B", "tls", "A", "root"))
    ]
    leaf = X509(pki.certificate("leaf", "leaf", "A", "root", 3, is_ca=False))
    work = Work()
    assert build(leaf, mesh, frozenset(), NOW).errors
    assert work.loops() < LITTLE


@pytest.mark.parametrize(
    "algorithm", ["1.2.840.113549.1.1.5", "1.2.840.10045.4.3.2", "1.2.840.113549.1.1.10", "1.2.3.4"]
)
def test_a_signature_of_an_unknown_kind_is_never_trusted(algorithm):
    """Whoever forges may name any algorithm."""
    real = pki.certificate("metadata.azure.com", "leaf", pki.ROOT, "root", 5, is_ca=False)
    forged = X509(resized(real, pki.algorithm(pki.SHA384), pki.algorithm(algorithm)))
    found = judge([forged.encoded], [X509(pki.root())], ROOT, {}, "2026-11-23T00:00:00Z")
    assert found.trusted is None and len(found.certificates) == 2


def resized(certificate, old, new):
    """The certificate with an element replaced wherever it stands, in its signed part and beside
    it.
    """
    parts = der.Reader(der.Reader(certificate, "x").take().content, "x")
    signed, _, signature = parts.take(), parts.take(), parts.take()
    return pki.sequence(pki.sequence(signed.content.replace(old, new)), new, signature.whole)


def test_a_root_that_changed_its_key_leads_on():
    """Subject and issuer are one name, and the key identifiers differ: signed by the old root."""
    rollover = X509(pki.certificate(pki.ROOT, "tls", pki.ROOT, "root", 77))
    leaf = X509(pki.certificate("leaf", "leaf", pki.ROOT, "tls", 78, is_ca=False))
    assert not rollover.is_self_signed
    assert not build(leaf, [rollover, X509(pki.root())], ROOT, NOW).errors


def test_an_issuer_that_cannot_be_read_is_passed_over():
    broken = X509(
        pki.certificate(pki.ISSUING, "issuing", pki.TLS_ROOT, "tls", 9, urls=["x"]).replace(
            pki.oid("1.3.6.1.5.5.7.48.2"), pki.oid("1.3.6.1.5.5.7.48.2")[:-1] + b"\xff"
        )
    )
    chain = judge(
        [LEAF.encoded, broken.encoded, pki.issuing(), pki.cross()],
        certificates("root"),
        ROOT,
        {},
        "2026-11-23T00:00:00Z",
    )
    assert chain.trusted


def test_a_comma_in_a_name_makes_no_second_part():
    leaf = X509(
        pki.certificate("evil, CN=metadata.azure.com", "leaf", pki.ROOT, "root", 5, is_ca=False)
    )
    assert common_name(leaf.fact.subject) == "evil\\, CN=metadata.azure.com"


def test_a_verified_path_is_preferred_to_one_that_is_not():
    """The same issuer once more, signed with an algorithm that is not verified here."""
    unknown = X509(
        resized(pki.issuing(), pki.algorithm(pki.SHA384), pki.algorithm("1.2.840.10045.4.3.2"))
    )
    path = build(LEAF, [unknown, *certificates("issuing", "cross", "root")], ROOT, NOW)
    assert path.is_verified and not path.errors and path.certificates[1].encoded == pki.issuing()
