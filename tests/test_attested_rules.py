"""What is said of the attested document and its certificates: every cause, and what must not be
taken for one.
"""

import re
from dataclasses import replace
from datetime import timedelta

import pytest

from runcommand.attest import document as attested
from runcommand.attest.x509 import X509
from runcommand.diagnosis import diagnose
from runcommand.facts import (
    CertificateChain,
    ChainError,
    ChainFault,
    Connection,
    EndpointTrial,
    IssuerFetch,
    Outcome,
    ProxyReach,
    instant,
    parse_instant,
)
from runcommand.report import text
from runcommand.rules.certificates import is_under
from runcommand.simulator import pki
from runcommand.simulator.host import Behaviour, attested_document

from .facts_of import BOTH, LINUX, NOW, WINDOWS

LEAF = pki.leaf("metadata.azure.com", "eastus")
_HOUR = timedelta(hours=1)
FOLDER = "C:\\Program Files\\imds-check"
TEMP = f"{FOLDER}\\"
MADE = f'mkdir "{FOLDER}"'  # only administrators can write there
WWW, CAISSUERS = f"{pki.SECOND_AIA}{pki.ISSUING_FILE}", f"{pki.AIA}{pki.ISSUING_FILE}"
MISSING = ChainError(ChainFault.ISSUER_MISSING, "an issuer is not found (PARTIAL_CHAIN)")
UNTRUSTED = ChainError(ChainFault.ROOT_UNTRUSTED, "the root is not trusted (UNTRUSTED_ROOT)", 3)


def fact(encoded, *stores):
    return replace(X509.read(encoded).fact, stores=stores)


def document(side, kind="genuine", at=NOW, **more):
    """The fact of a document that the host signs at a time."""
    answer = attested_document(side.vm, "1234567890", Behaviour(document=kind))
    found = attested.read("pkcs7", answer["signature"], "1234567890").document
    shift = parse_instant(at) - parse_instant(found.created_on) if found.created_on else None
    if shift is not None:
        hours = 7 if kind == "stale" else 0
        created = parse_instant(at) - hours * _HOUR
        found = replace(found, created_on=instant(created), expires_on=instant(created + 6 * _HOUR))
    return replace(found, **more)


def with_document(side, found, *chains, **more):
    facts = side.healthy(**{key: more.pop(key) for key in ("machine",) if key in more})
    return replace(
        facts, imds=replace(facts.imds, document=found), certificate_chains=chains or None, **more
    )


def chain(*certificates, errors=(), fetched=False, **more):
    return CertificateChain(
        fetched, "crypt32", not errors, tuple(errors), certificates, NOW, **more
    )


def causes(facts):
    return [finding.cause for finding in diagnose(facts).findings]


def only(facts, cause):
    """The diagnosis, whose cause must be this one, and degraded."""
    diagnosis = diagnose(facts)
    assert (diagnosis.cause, diagnosis.verdict.value) == (cause, "degraded"), diagnosis.findings
    report = text.portal(diagnosis)
    assert len(report) + report.count("\n") <= 3900 and report.isascii()
    return diagnosis


@pytest.mark.parametrize("side", BOTH, ids=["windows", "linux"])
@pytest.mark.parametrize(
    "kind, cause",
    [
        ("tampered", "attested-signature-invalid"),
        ("garbage", "attested-signature-invalid"),
        ("stale", "attested-document-expired"),
        ("other-nonce", "attested-nonce-mismatch"),
        ("other-vm", "attested-vm-mismatch"),
        ("expired-certificate", "cert-expired"),
        ("wrong-name", "cert-san-mismatch"),
    ],
)
def test_each_fault_of_the_document(side, kind, cause):
    diagnosis = only(with_document(side, document(side, kind)), cause)
    assert causes(diagnosis.facts).count(cause) == 1 and len(diagnosis.findings) == 1


@pytest.mark.parametrize("side", BOTH, ids=["windows", "linux"])
@pytest.mark.parametrize("kind", ["genuine", "other-subscription"])
def test_what_is_no_fault(side, kind):
    diagnosis = diagnose(with_document(side, document(side, kind)))
    assert diagnosis.cause is None and not diagnosis.findings
    summary = next(check.summary for check in diagnosis.checks if check.id == "imds.attested")
    assert ("subscription" in summary) == (kind == "other-subscription")


def test_a_document_that_fails_is_judged_no_further():
    found = document(WINDOWS, "tampered", nonce="x", vm_id="y", expires_on="2020-01-01T00:00:00Z")
    facts = with_document(WINDOWS, found, chain(fact(LEAF), errors=[MISSING]))
    assert causes(facts) == ["attested-signature-invalid"]


def test_a_document_of_an_unverifiable_kind_is_judged_all_the_same():
    facts = with_document(
        WINDOWS, document(WINDOWS, "sha1", vm_id="00000000-0000-0000-0000-000000000000")
    )
    assert causes(facts) == ["attested-vm-mismatch", "attested-unverifiable"]
    assert causes(with_document(WINDOWS, document(WINDOWS, "sha1"))) == ["attested-unverifiable"]


def test_the_vm_is_compared_without_regard_to_case():
    found = document(WINDOWS)
    assert not causes(with_document(WINDOWS, replace(found, vm_id=found.vm_id.upper())))


def test_a_document_without_values():
    bare = document(
        WINDOWS,
        nonce=None,
        vm_id=None,
        created_on=None,
        expires_on=None,
        sku=None,
        subscription_id=None,
    )
    assert causes(with_document(WINDOWS, bare)) == [
        "attested-nonce-mismatch",
        "attested-vm-mismatch",
    ]


@pytest.mark.parametrize(
    "environment, name, right",
    [
        ("AzurePublicCloud", "metadata.azure.com", True),
        ("AzurePublicCloud", "westeurope.metadata.azure.com", True),
        ("AzurePublicCloud", "a.b.METADATA.azure.com", True),
        ("AzurePublicCloud", "*.metadata.azure.com", True),
        ("AzurePublicCloud", "metadata.azure.us", False),
        ("AzurePublicCloud", "metadata.azure.com.contoso.com", False),
        ("AzurePublicCloud", "notmetadata.azure.com", False),
        ("AzurePublicCloud", "contoso.com\0.metadata.azure.com", False),
        ("AzurePublicCloud", "azure.com", False),
        ("AzureUSGovernmentCloud", "usgovvirginia.metadata.azure.us", True),
        ("AzureUSGovernmentCloud", "metadata.azure.com", False),
        ("AzureChinaCloud", "chinaeast2.metadata.azure.cn", True),
        ("AzureGermanCloud", "metadata.microsoftazure.de", True),
        ("AzureNowhere", "contoso.com", True),
    ],
)
def test_names_of_the_metadata_service_by_cloud(environment, name, right):
    found = document(WINDOWS)
    facts = with_document(WINDOWS, replace(found, signer=replace(found.signer, names=(name,))))
    exchange = facts.imds.attempts[-1]
    exchange = replace(exchange, instance=replace(exchange.instance, az_environment=environment))
    facts = replace(facts, imds=replace(facts.imds, attempts=(exchange,)))
    assert (causes(facts) == []) == right and (right or causes(facts) == ["cert-san-mismatch"])


def test_without_alternative_names_the_common_name_counts():
    found = document(WINDOWS)
    assert not causes(
        with_document(WINDOWS, replace(found, signer=replace(found.signer, names=())))
    )
    assert is_under("metadata.azure.com", "metadata.azure.com") and not is_under(
        "", "metadata.azure.com"
    )


# --- the chain ---

LEAF_FACT, ISSUING, CROSS = fact(LEAF, "the document"), fact(pki.issuing()), fact(pki.cross())
ROOT, TLS_ROOT = fact(pki.root()), fact(pki.tls_root())
REFUSED = IssuerFetch(WWW, Outcome.REFUSED, error="ECONNREFUSED (connection refused)")


def judged(side, *certificates, errors, fetches=(), endpoints=None, **more):
    at_hand = chain(LEAF_FACT, errors=[MISSING])
    facts = with_document(
        side,
        document(side),
        at_hand,
        chain(*certificates, errors=errors, fetched=True, fetches=fetches),
        **more,
    )
    return replace(facts, endpoints=endpoints)


def commands(diagnosis):
    return [fix.text for fix in diagnosis.main.fix if fix.kind.value == "command"]


def open_host(name, outcome=Outcome.ANSWERED, *proxies):
    return EndpointTrial(name, ("AIA",), Connection("192.0.2.1", 80, outcome), proxies=proxies)


def test_the_missing_issuer_is_named_with_its_address_and_its_own_issuer_too():
    diagnosis = only(
        judged(WINDOWS, LEAF_FACT, errors=[MISSING], fetches=[REFUSED]), "cert-intermediate-missing"
    )
    detail = diagnosis.main.detail
    for word in (
        pki.ISSUING,
        "issued by Microsoft TLS RSA Root G2",
        LEAF_FACT.authority_key_id,
        "www.microsoft.com: refused",
        "PARTIAL_CHAIN",
        "Azure Edition",
    ):
        assert word in detail
    assert commands(diagnosis) == [
        MADE,
        f'certutil -addstore CA "{TEMP}Microsoft TLS RSA Root G2 - xsign.crt"',
        f'certutil -addstore CA "{TEMP}Microsoft TLS G2 RSA CA OCSP 04.crt"',
        "fclip.exe",
    ]
    assert WWW in diagnosis.main.fix[3].text and "-addstore Root" not in str(diagnosis.main.fix)


def test_a_root_that_is_known_by_its_cross_certificate_is_no_untrusted_root():
    facts = judged(WINDOWS, LEAF_FACT, ISSUING, TLS_ROOT, errors=[UNTRUSTED])
    diagnosis = only(facts, "cert-intermediate-missing")
    assert "issued by DigiCert Global Root G2" in diagnosis.main.detail
    assert f"key identifier {TLS_ROOT.subject_key_id}" in diagnosis.main.detail
    assert commands(diagnosis)[:2] == [
        MADE,
        f'certutil -addstore CA "{TEMP}Microsoft TLS RSA Root G2 - xsign.crt"',
    ]


def test_another_root_that_is_not_trusted():
    diagnosis = only(
        judged(WINDOWS, LEAF_FACT, ISSUING, CROSS, ROOT, errors=[UNTRUSTED]), "cert-root-untrusted"
    )
    assert ROOT.thumbprint in diagnosis.main.detail
    assert commands(diagnosis) == [], "whoever answers in IMDS's place brings a root of his own"
    assert "Install it only if its thumbprint is in Azure's list" in diagnosis.main.fix[0].text


def test_a_root_in_a_users_store_only():
    root = replace(ROOT, stores=("S-1-5-21-1-2-3-1001\\Root",))
    diagnosis = only(
        judged(WINDOWS, LEAF_FACT, ISSUING, CROSS, root, errors=[UNTRUSTED]), "cert-root-untrusted"
    )
    assert "only in S-1-5-21-1-2-3-1001\\Root" in diagnosis.main.detail


def test_a_root_that_only_has_a_known_name_is_not_to_be_trusted():
    forged = replace(
        ROOT, subject="CN=DigiCert Global Root G2, O=x", issuer="CN=DigiCert Global Root G2, O=x"
    )
    diagnosis = only(
        judged(WINDOWS, LEAF_FACT, ISSUING, CROSS, forged, errors=[UNTRUSTED]),
        "cert-root-untrusted",
    )
    assert not commands(diagnosis) and "Do not trust it" in diagnosis.main.fix[0].text
    real = replace(forged, thumbprint="DF3C24F9BFD666761B268073FE06D1CC8D4F82A4")
    diagnosis = only(
        judged(WINDOWS, LEAF_FACT, ISSUING, CROSS, real, errors=[UNTRUSTED]), "cert-root-untrusted"
    )
    assert any("-addstore Root" in command for command in commands(diagnosis))


def test_a_missing_root_goes_to_the_store_of_roots():
    cross = replace(
        CROSS, issuer="CN=DigiCert Global Root G2, OU=www.digicert.com, O=DigiCert Inc, C=US"
    )
    diagnosis = only(
        judged(WINDOWS, LEAF_FACT, ISSUING, cross, errors=[MISSING]), "cert-intermediate-missing"
    )
    (line,) = [command for command in commands(diagnosis) if "-addstore Root" in command]
    assert (
        line.startswith("if ((Get-FileHash") and "DF3C24F9BFD666761B268073FE06D1CC8D4F82A4" in line
    )


def test_the_download_is_printed_where_a_host_answers():
    there = (open_host("caissuers.microsoft.com"), open_host("www.microsoft.com", Outcome.REFUSED))
    facts = judged(WINDOWS, LEAF_FACT, errors=[MISSING], fetches=[REFUSED], endpoints=there)
    diagnosis = only(facts, "cert-intermediate-missing")
    assert commands(diagnosis)[3] == (
        "Invoke-WebRequest -UseBasicParsing 'http://caissuers.microsoft.com/pkiops/certs/Microsoft "
        "TLS G2 RSA CA OCSP 04.crt' "
        f"-OutFile '{TEMP}Microsoft TLS G2 RSA CA OCSP 04.crt'"
    )
    on_linux = only(
        judged(LINUX, LEAF_FACT, errors=[MISSING], fetches=[REFUSED], endpoints=there),
        "cert-intermediate-missing",
    )
    target = "/usr/local/share/ca-certificates/microsoft-tls-g2-rsa-ca-ocsp-04.crt"
    key = ":".join(re.findall("..", LEAF_FACT.authority_key_id))
    assert commands(on_linux)[2:] == [
        f"[ -e {target} ] || {{ curl -fsS '{CAISSUERS}' | openssl x509 -inform DER -out {target} "
        f"&& openssl verify {target} && "
        f"openssl x509 -in {target} -noout -text | grep -A1 'Subject Key Id' | grep -q {key} || ! "
        f"rm -f {target}; }}",
        "update-ca-certificates",
    ]


def test_the_download_goes_through_the_proxy_where_only_that_works():
    way = ProxyReach("proxy.contoso.com:8080", Outcome.HTTP, 200)
    there = (open_host("caissuers.microsoft.com", Outcome.TIMED_OUT, way),)
    on_linux = only(
        judged(LINUX, LEAF_FACT, errors=[MISSING], endpoints=there), "cert-intermediate-missing"
    )
    assert "{ curl -fsS -x http://proxy.contoso.com:8080 'http://" in commands(on_linux)[0]
    on_windows = only(
        judged(WINDOWS, LEAF_FACT, errors=[MISSING], endpoints=there), "cert-intermediate-missing"
    )
    assert "-Proxy http://proxy.contoso.com:8080" in commands(on_windows)[1]


@pytest.mark.parametrize(
    "os_id, folder, again",
    [
        ("ubuntu", "/usr/local/share/ca-certificates", "update-ca-certificates"),
        ("debian", "/usr/local/share/ca-certificates", "update-ca-certificates"),
        ("rhel", "/etc/pki/ca-trust/source/anchors", "update-ca-trust"),
        ("azurelinux", "/etc/pki/ca-trust/source/anchors", "update-ca-trust"),
        ("almalinux", "/etc/pki/ca-trust/source/anchors", "update-ca-trust"),
        ("sles", "/etc/pki/trust/anchors", "update-ca-certificates"),
        ("opensuse-leap", "/etc/pki/trust/anchors", "update-ca-certificates"),
    ],
)
def test_each_distribution_has_its_own_folder_and_command(os_id, folder, again):
    facts = judged(LINUX, LEAF_FACT, errors=[MISSING])
    facts = replace(facts, machine=replace(facts.machine, os_id=os_id))
    found = commands(only(facts, "cert-intermediate-missing"))
    assert folder in found[0] and found[-1] == again


@pytest.mark.parametrize(
    "url",
    [
        "http://w/'; rm -rf ~;'.crt",
        'http://w/a"b.crt',
        "http://w/$(id).crt",
        "http://w/x",
        "http://w/%0a.crt",
        "http://w/../../etc/x.exe",
        "ldap:///x",
    ],
)
@pytest.mark.parametrize("side", BOTH, ids=["windows", "linux"])
def test_no_address_gets_into_a_command_that_could_do_harm(side, url):
    leaf = replace(LEAF_FACT, issuer="CN=Evil", issuer_urls=(url,))
    diagnosis = only(judged(side, leaf, errors=[MISSING]), "cert-intermediate-missing")
    assert all("w/" not in command for command in commands(diagnosis))
    assert "\n" not in str([fix.text for fix in diagnosis.main.fix])


@pytest.mark.parametrize(
    "build, told",
    [
        ("20348.2340", True),
        ("20348.2402", False),
        ("20348.3000", False),
        ("26100.1", False),
        (None, False),
        ("x", False),
    ],
)
def test_an_old_build_of_windows_server_2022_is_told_to_update(build, told):
    facts = judged(WINDOWS, LEAF_FACT, errors=[MISSING])
    facts = replace(facts, machine=replace(facts.machine, build=build))
    assert ("KB5036909" in str(only(facts, "cert-intermediate-missing").main.fix)) == told


def test_a_fetched_chain_is_healthy_and_told():
    facts = judged(
        WINDOWS,
        LEAF_FACT,
        replace(ISSUING, stores=("fetched",)),
        replace(CROSS, stores=("fetched",)),
        ROOT,
        errors=[],
        fetches=[IssuerFetch(WWW, Outcome.HTTP, status=200, certificate=ISSUING)],
    )
    diagnosis = diagnose(facts)
    assert diagnosis.verdict.value == "healthy" and causes(facts) == ["cert-fetched-from-aia"]
    assert (
        "www.microsoft.com" in diagnosis.findings[0].detail
        and pki.ISSUING in diagnosis.findings[0].detail
    )


def test_windows_has_the_last_word_where_it_does_not_fetch_what_could_be_fetched():
    fetched = IssuerFetch(WWW, Outcome.HTTP, status=200, certificate=ISSUING)
    facts = with_document(
        WINDOWS,
        document(WINDOWS),
        chain(LEAF_FACT, errors=[MISSING]),
        chain(LEAF_FACT, ISSUING, CROSS, ROOT, fetched=True, fetches=(fetched,)),
        chain(LEAF_FACT, errors=[MISSING], fetched=True),
    )
    diagnosis = only(facts, "cert-intermediate-missing")
    assert (
        "Windows does not fetch it" in diagnosis.main.detail
        and pki.ISSUING in diagnosis.main.detail
    )
    assert any(
        command.startswith("Invoke-WebRequest -UseBasicParsing 'http://www.microsoft.com/")
        for command in commands(diagnosis)
    )
    assert [command for command in commands(diagnosis) if "-addstore" in command] == [
        f'certutil -addstore CA "{TEMP}Microsoft TLS RSA Root G2 - xsign.crt"',
        f'certutil -addstore CA "{TEMP}Microsoft TLS G2 RSA CA OCSP 04.crt"',
    ]


def test_a_chain_that_was_not_judged_is_an_error_and_no_fault():
    diagnosis = diagnose(with_document(WINDOWS, document(WINDOWS)))
    assert diagnosis.cause is None
    assert (
        next(check.status.value for check in diagnosis.checks if check.id == "cert.chain")
        == "error"
    )


def test_a_forged_certificate_of_the_chain_is_a_signature_that_does_not_verify():
    forged = ChainError(
        ChainFault.SIGNATURE, "its signature does not verify (NOT_SIGNATURE_VALID)", 0
    )
    only(
        judged(WINDOWS, LEAF_FACT, ISSUING, CROSS, ROOT, errors=[forged]),
        "attested-signature-invalid",
    )


def test_a_distrusted_certificate_is_taken_out_of_its_store_and_no_other():
    banned = replace(
        ISSUING,
        stores=(
            "LocalMachine\\CA",
            "LocalMachine\\Disallowed",
            "Group Policy\\Disallowed",
            "S-1-5-18\\Disallowed",
        ),
    )
    error = ChainError(ChainFault.DISTRUSTED, "explicitly distrusted (EXPLICIT_DISTRUST)", 1)
    diagnosis = only(
        judged(WINDOWS, LEAF_FACT, banned, CROSS, ROOT, errors=[error]), "cert-chain-rejected"
    )
    assert commands(diagnosis) == [
        f"certutil -delstore Disallowed {banned.thumbprint}",
        "fclip.exe",
    ]
    assert (
        "Group Policy\\Disallowed" in diagnosis.main.detail
        and "S-1-5-18" not in diagnosis.main.detail
    )


@pytest.mark.parametrize("fault", [ChainFault.OTHER, ChainFault.DISTRUSTED])
def test_what_the_engine_rejects_for_another_reason(fault):
    error = ChainError(fault, "its algorithms are too weak (HAS_WEAK_SIGNATURE)", 1)
    diagnosis = only(
        judged(WINDOWS, LEAF_FACT, ISSUING, CROSS, ROOT, errors=[error]), "cert-chain-rejected"
    )
    assert "HAS_WEAK_SIGNATURE" in diagnosis.main.detail and not commands(diagnosis)


def test_an_issuer_of_the_vm_that_has_expired():
    old = replace(ISSUING, not_after="2026-01-01T00:00:00Z", stores=("LocalMachine\\CA",))
    error = ChainError(ChainFault.OUTSIDE_DATES, "expired or not yet valid (NOT_TIME_VALID)", 1)
    diagnosis = only(judged(WINDOWS, LEAF_FACT, old, CROSS, ROOT, errors=[error]), "cert-expired")
    assert commands(diagnosis)[:3] == [
        f"certutil -delstore CA {old.thumbprint}",
        MADE,
        f'certutil -addstore CA "{TEMP}Microsoft TLS G2 RSA CA OCSP 04.crt"',
    ]
    assert "LocalMachine\\CA" in diagnosis.main.detail


def test_certificates_in_the_wrong_stores_are_told():
    odd = replace(ISSUING, stores=("LocalMachine\\Root",))
    diagnosis = diagnose(
        with_document(
            WINDOWS,
            document(WINDOWS),
            chain(LEAF_FACT, odd, CROSS, replace(ROOT, stores=("S-1-5-18\\Root",))),
        )
    )
    summary = next(check.summary for check in diagnosis.checks if check.id == "cert.chain")
    assert (
        "an intermediate, is in LocalMachine\\Root" in summary
        and "only in a user's store" in summary
        and diagnosis.cause is None
    )


# --- hosts ---


def test_hosts_that_cannot_be_reached_are_a_warning():
    trials = (
        open_host("a.contoso.com"),
        open_host("b.contoso.com", Outcome.TIMED_OUT),
        EndpointTrial(
            "c.contoso.com", ("CRL",), error="Name or service not known", is_name_unknown=True
        ),
        open_host("d.contoso.com", Outcome.REFUSED, ProxyReach("p:1", Outcome.HTTP, 404)),
        open_host("e.contoso.com", Outcome.REFUSED, ProxyReach("p:1", Outcome.HTTP, 403)),
        open_host("crl.digicert.cn", Outcome.TIMED_OUT),
    )
    diagnosis = diagnose(
        replace(with_document(WINDOWS, document(WINDOWS), chain(LEAF_FACT, ROOT)), endpoints=trials)
    )
    (finding,) = diagnosis.findings
    assert (finding.cause, finding.severity.value, diagnosis.verdict.value) == (
        "cert-endpoints-blocked",
        "warn",
        "healthy",
    )
    assert (
        finding.detail.startswith("3 of 5 certificate hosts")
        and "b.contoso.com (AIA): timed out" in finding.detail
    )
    assert (
        "c.contoso.com (CRL): no address for its name" in finding.detail
        and "DNS" in finding.fix[0].text
    )


# --- who cares ---


@pytest.mark.parametrize(
    "name, edition, words",
    [
        (
            "Windows Server 2022 Datacenter Azure Edition",
            "ServerTurbine",
            "whose activation (Windows reports: genuine) depends on",
        ),
        (
            "Windows Server 2025 Datacenter Azure Edition",
            None,
            "whose activation (Windows reports: genuine) depends on",
        ),
        (
            "Windows 10 Enterprise",
            "Enterprise",
            "Extended Security Updates for Windows 10 Enterprise depend on",
        ),
        ("Windows Server 2016 Datacenter", "ServerDatacenter", "Extended Security Updates"),
        ("Windows Server 2022 Datacenter", "ServerDatacenter", "does not depend on"),
        (None, None, "does not depend on"),
    ],
)
def test_who_depends_on_the_document(name, edition, words):
    facts = with_document(WINDOWS, document(WINDOWS, "tampered"), activation="genuine")
    facts = replace(facts, machine=replace(facts.machine, os_name=name, edition=edition))
    assert words in only(facts, "attested-signature-invalid").main.detail
    assert words in next(
        check.summary for check in diagnose(facts).checks if check.id == "vm.activation"
    )


# --- clocks ---


def skewed(by_header, by_document):
    """A VM whose clock is so many seconds ahead of the Date header, and of the document's own
    time.
    """
    facts = WINDOWS.healthy()
    date = instant(parse_instant(NOW) - timedelta(seconds=by_header))
    made = instant(parse_instant(NOW) - timedelta(seconds=by_document))
    answer = replace(facts.imds.attempts[-1], date=date)
    asked = replace(facts.imds.attested, date=date)
    found = document(WINDOWS, at=made)
    return replace(
        facts, imds=replace(facts.imds, attempts=(answer,), attested=asked, document=found)
    )


def test_the_vms_clock_is_wrong_where_header_and_document_agree():
    diagnosis = only(skewed(7200, 7200), "clock-skew")
    assert (
        "2.0 hours ahead of" in diagnosis.main.detail and "says the same" in diagnosis.main.detail
    )
    assert "w32tm /resync /force" in commands(diagnosis)


def test_the_header_is_wrong_where_document_and_vm_agree():
    diagnosis = diagnose(skewed(7200, 3))
    (finding,) = diagnosis.findings
    assert (finding.cause, finding.severity.value) == (
        "clock-skew",
        "warn",
    ) and "header is wrong" in finding.detail
    assert diagnosis.verdict.value == "healthy"


def test_three_clocks_that_all_differ():
    diagnosis = only(skewed(7200, 3600), "clock-skew")
    assert (
        "2.0 hours ahead of the host's" in diagnosis.main.detail
        and "60 minutes ahead of" in diagnosis.main.detail
    )


def test_a_document_that_is_not_fresh_is_no_clock():
    facts = skewed(7200, 3)
    facts = replace(
        facts, imds=replace(facts.imds, document=replace(facts.imds.document, nonce="old"))
    )
    assert diagnose(facts).cause == "clock-skew"


def test_a_certificate_that_has_expired_by_the_vms_clock_only():
    facts = skewed(3600, 3600)
    ended = replace(
        facts.imds.document.signer, not_after="2026-11-23T01:00:00Z"
    )  # the VM says 01:44, the host 00:44
    facts = replace(
        facts, imds=replace(facts.imds, document=replace(facts.imds.document, signer=ended))
    )
    assert causes(facts) == ["clock-skew"]
    in_time = skewed(0, 0)
    in_time = replace(
        in_time, imds=replace(in_time.imds, document=replace(in_time.imds.document, signer=ended))
    )
    assert causes(in_time) == ["cert-expired"]


def test_a_wrong_header_makes_nothing_expire():
    """The header is hours ahead; the VM and the document, made for this request, agree."""
    assert causes(skewed(-7 * 3600, 2)) == ["clock-skew"]
    assert diagnose(skewed(-7 * 3600, 2)).verdict.value == "healthy"


def test_without_a_header_the_document_tells_the_time():
    facts = skewed(0, 7 * 3600)
    answer, asked = (
        replace(item, date=None) for item in (facts.imds.attempts[-1], facts.imds.attested)
    )
    facts = replace(facts, imds=replace(facts.imds, attempts=(answer,), attested=asked))
    diagnosis = only(facts, "clock-skew")
    assert "7.0 hours ahead of" in diagnosis.main.detail and causes(facts) == ["clock-skew"]


# --- what did not come to its end ---


def status(facts, check):
    return next(item for item in diagnose(facts).checks if item.id == check)


def test_fetching_that_did_not_end_is_no_fault_of_the_vm():
    facts = with_document(WINDOWS, document(WINDOWS), chain(LEAF_FACT, errors=[MISSING]))
    assert causes(facts) == [] and status(facts, "cert.chain").status.value == "error"
    assert "did not finish in time" in status(facts, "cert.chain").summary


def test_the_systems_own_fetching_that_did_not_end_says_nothing():
    own = chain(LEAF_FACT, ISSUING, CROSS, ROOT, fetched=True)
    late = CertificateChain(True, "crypt32")
    facts = with_document(WINDOWS, document(WINDOWS), chain(LEAF_FACT, errors=[MISSING]), own, late)
    assert causes(facts) == [] and status(facts, "cert.chain").status.value == "error"
    failed = chain(LEAF_FACT, errors=[MISSING], fetched=True, fetches=(REFUSED,))
    facts = with_document(
        WINDOWS, document(WINDOWS), chain(LEAF_FACT, errors=[MISSING]), failed, late
    )
    only(facts, "cert-intermediate-missing")


# --- what must never go among the roots ---


def test_a_cross_certificate_never_goes_among_the_roots():
    """This program reached an untrusted root, and Windows' last word ends at the second root that
    signs itself.
    """
    digicert = replace(
        ROOT, subject="CN=DigiCert Global Root G2", issuer="CN=DigiCert Global Root G2"
    )
    facts = with_document(
        WINDOWS,
        document(WINDOWS),
        chain(LEAF_FACT, errors=[MISSING]),
        chain(LEAF_FACT, ISSUING, CROSS, digicert, errors=[UNTRUSTED], fetched=True),
        chain(LEAF_FACT, ISSUING, TLS_ROOT, errors=[UNTRUSTED], fetched=True),
    )
    diagnosis = only(facts, "cert-intermediate-missing")
    assert not any("-addstore Root" in command for command in commands(diagnosis))


def test_a_known_root_comes_from_its_documented_address_only():
    evil = replace(
        LEAF_FACT,
        issuer="CN=DigiCert Global Root G2, O=Evil",
        issuer_urls=("http://evil.contoso.com/x.crt",),
    )
    for side in BOTH:
        diagnosis = only(judged(side, evil, errors=[MISSING]), "cert-intermediate-missing")
        assert "evil" not in str(diagnosis.main.fix) and "DigiCertGlobalRootG2.crt" in str(
            diagnosis.main.fix
        )
        assert "df3c24f9bfd666761b268073fe06d1cc8d4f82a4" in str(diagnosis.main.fix).lower()


def test_a_certificate_that_signs_itself_is_a_strangers():
    own = replace(LEAF_FACT, issuer=LEAF_FACT.subject)
    diagnosis = only(judged(WINDOWS, own, errors=[UNTRUSTED]), "cert-root-untrusted")
    assert not commands(diagnosis) and "is self-signed" in diagnosis.main.detail
