"""What Linux makes of a chain: the distribution's bundle, ``openssl verify`` of any version, and
neither.
"""

import shutil
import sys

import pytest

from runcommand.attest.x509 import to_pem
from runcommand.collect import NoFact
from runcommand.facts import ChainFault
from runcommand.simulator import pki
from runcommand.system.linux import DIRECTORIES, certificates
from runcommand.system.program import Programs

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="Linux' own")
LEAF = pki.leaf("metadata.azure.com", "eastus")
WHOLE = [LEAF, pki.issuing(), pki.cross()]
AT = "2026-11-23T01:44:05Z"


@pytest.fixture
def bundle(tmp_path, mocker):
    path = tmp_path / "bundle.crt"
    path.write_bytes(b"# roots\n" + to_pem(pki.root()))
    mocker.patch.object(certificates, "BUNDLES", (tmp_path / "absent.crt", path))
    return path


def programs(*directories):
    return Programs(directories, {"PATH": "/usr/bin:/bin"})


def fake(tmp_path, script):
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "openssl").write_text(f"#!/bin/sh\n{script}\n")
    (folder / "openssl").chmod(0o755)
    return programs(str(folder))


REAL = pytest.mark.skipif(not shutil.which("openssl"), reason="openssl is not installed")


@REAL
@pytest.mark.parametrize(
    "given, faults",
    [
        (WHOLE, set()),
        ([LEAF, pki.cross(), pki.issuing(), pki.tls_root()], set()),
        ([LEAF], {ChainFault.ISSUER_MISSING}),
        ([LEAF, pki.issuing()], {ChainFault.ISSUER_MISSING}),
        ([LEAF, pki.issuing(), pki.tls_root()], {ChainFault.ROOT_UNTRUSTED}),
        ([pki.leaf("metadata.azure.com", "eastus", True), *WHOLE[1:]], {ChainFault.OUTSIDE_DATES}),
        ([LEAF[:-1] + bytes([LEAF[-1] ^ 1]), *WHOLE[1:]], {ChainFault.SIGNATURE}),
    ],
    ids=[
        "whole",
        "both roots",
        "the leaf alone",
        "no cross-certificate",
        "the second root",
        "expired",
        "changed",
    ],
)
def test_openssl_and_our_own_path_agree(bundle, given, faults):
    found = certificates.judge(programs(*DIRECTORIES), given, AT)
    assert found.engine == "openssl verify" and found.trusted is not bool(faults)
    assert {error.fault for error in found.errors} == faults
    own = certificates.judge(programs(), given, AT)
    assert own.trusted is found.trusted and own.engine.startswith("imds-check's own reader")
    assert "openssl: not found" in own.engine and {error.fault for error in own.errors} == faults


@REAL
def test_it_is_judged_at_the_time_that_is_given(bundle):
    expired = [pki.leaf("metadata.azure.com", "eastus", True), *WHOLE[1:]]
    assert certificates.judge(programs(*DIRECTORIES), expired, "2024-06-01T00:00:00Z").trusted
    assert not certificates.judge(programs(*DIRECTORIES), WHOLE, "2000-06-01T00:00:00Z").trusted


@REAL
def test_where_each_was_found(bundle):
    bundle.write_bytes(to_pem(pki.root()) + to_pem(pki.issuing()))
    found = certificates.judge(programs(*DIRECTORIES), [LEAF, pki.cross()], AT)
    assert found.trusted
    assert [item.stores for item in found.certificates] == [(), (str(bundle),), (), (str(bundle),)]


@pytest.mark.parametrize(
    "script, faults",
    [
        ("echo 'x: OK'", set()),
        (
            "echo 'error 20 at 0 depth lookup:unable to get local issuer certificate' >&2; exit 2",
            {ChainFault.ISSUER_MISSING},
        ),
        (
            "echo 'error 20 at 0 depth lookup: unable to get local issuer certificate'; exit 0",
            {ChainFault.ISSUER_MISSING},
        ),
        (
            "echo 'CN = x\nerror 19 at 3 depth lookup: self signed certificate in certificate "
            "chain' >&2; exit 2",
            {ChainFault.ROOT_UNTRUSTED},
        ),
        (
            "echo 'error 10 at 1 depth lookup: certificate has expired' >&2; exit 2",
            {ChainFault.OUTSIDE_DATES},
        ),
        (
            "echo 'error 23 at 0 depth lookup: certificate revoked' >&2; exit 2",
            {ChainFault.DISTRUSTED},
        ),
        (
            "echo 'error 79 at 1 depth lookup: invalid CA certificate' >&2; exit 2",
            {ChainFault.OTHER},
        ),
    ],
    ids=["content", "1.0", "status 0", "3.0", "expired", "revoked", "other"],
)
def test_what_each_version_says(bundle, tmp_path, script, faults):
    found = certificates.judge(fake(tmp_path, script), WHOLE, AT)
    assert found.engine == "openssl verify" and found.trusted is not bool(faults)
    assert {error.fault for error in found.errors} == faults and all(
        error.text for error in found.errors
    )


@pytest.mark.parametrize(
    "script",
    [
        "exit 0",
        "exit 1",
        "echo 'verify: Option unknown option -attime' >&2; exit 1",
        "sleep 30",
        "yes",
        "kill -9 $$",
        "echo OK",
    ],
    ids=["silent", "fails", "too old", "hangs", "never ends", "crashes", "another OK"],
)
def test_an_openssl_that_is_of_no_use_leaves_our_own_path(bundle, tmp_path, script, mocker):
    mocker.patch.object(certificates, "VERIFY_S", 0.5)
    found = certificates.judge(fake(tmp_path, script), WHOLE, AT)
    assert found.trusted and "no proof" in found.engine and "openssl" in found.engine


def test_no_bundle_and_bad_bundles(bundle):
    bundle.write_bytes(
        b"\0\xff" * 1000 + b"-----BEGIN CERTIFICATE-----\n!!!\n-----END CERTIFICATE-----"
    )
    assert not certificates.judge(programs(), WHOLE, AT).trusted
    bundle.unlink()
    with pytest.raises(NoFact, match="no bundle"):
        certificates.judge(programs(), WHOLE, AT)


def test_a_leaf_that_cannot_be_read(bundle):
    with pytest.raises(NoFact, match="cannot be read"):
        certificates.judge(programs(), [b"\x30\x03\x02\x01\x05"], AT)


def test_no_files_in_memory(bundle, mocker):
    mocker.patch("os.memfd_create", None)
    found = certificates.judge(programs(*DIRECTORIES), WHOLE, AT)
    assert found.trusted and "no files in memory" in found.engine
