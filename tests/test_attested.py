"""The attested document: what ``openssl`` signs verifies here, what it refuses does not, and no
bytes at all do any harm.
"""

import base64
import hashlib
import json
import random
import shutil
import subprocess
from dataclasses import replace

import pytest

from runcommand.attest import cms, der, document as attested
from runcommand.attest.chain import judge
from runcommand.attest.x509 import X509
from runcommand.cli import main
from runcommand.collect import now
from runcommand.diagnosis import diagnose
from runcommand.facts import SignatureState
from runcommand.redaction import redacted
from runcommand.report.json_report import as_json
from runcommand.simulator import pki
from runcommand.simulator.host import Behaviour, attested_document, instance_document
from runcommand.simulator.scenarios import LINUX_VM, WINDOWS_VM

from .clock import LITTLE, Work
from .facts_of import WINDOWS

VALID, INVALID, MALFORMED, UNVERIFIABLE = (
    SignatureState.VALID,
    SignatureState.INVALID,
    SignatureState.MALFORMED,
    SignatureState.UNVERIFIABLE,
)
CONTENT = (
    b'{"nonce":"1234567890","vmId":"02aab8a4-74ef-476e-8182-f6d2ba4166a6","timeStamp":'
    b'{"createdOn":"11/28/18 00:16:17 -0000","expiresOn":"11/28/18 06:16:17 -0000"}}'
)


def read(encoded, nonce="1234567890"):
    return attested.read("pkcs7", base64.b64encode(encoded).decode(), nonce).document


def state(encoded):
    return read(encoded).signature


def genuine(kind="genuine", embedded=("issuing", "cross"), vm=WINDOWS_VM):
    answer = attested_document(vm, "1234567890", Behaviour(document=kind, embedded=embedded))
    return base64.b64decode(answer["signature"])


# --- documents made by openssl ---

NEEDS_OPENSSL = pytest.mark.skipif(not shutil.which("openssl"), reason="openssl is not installed")


class Maker:
    """Makes keys, certificates and documents with openssl, each key once."""

    def __init__(self, folder):
        self.folder = folder
        (folder / "content").write_bytes(CONTENT)
        (folder / "extensions").write_text(
            "subjectKeyIdentifier=hash\nsubjectAltName=DNS:metadata.azure.com\n"
        )
        self.openssl(
            "req",
            "-x509",
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-keyout",
            "ca.key",
            "-out",
            "ca.crt",
            "-days",
            "30",
            "-subj",
            "/CN=Test CA",
        )

    def openssl(self, *arguments, check=True):
        return subprocess.run(
            ["openssl", *map(str, arguments)],
            cwd=self.folder,
            capture_output=True,
            check=check,
        )

    def signer(self, kind):
        """A key of ``rsa:BITS`` or of an elliptic curve, with a certificate of the test CA."""
        name = kind.replace(":", "-")
        if not (self.folder / f"{name}.crt").exists():
            new = (
                ["-newkey", kind]
                if kind.startswith("rsa")
                else ["-newkey", "ec", "-pkeyopt", f"ec_paramgen_curve:{kind}"]
            )
            self.openssl(
                "req",
                *new,
                "-nodes",
                "-keyout",
                f"{name}.key",
                "-out",
                f"{name}.csr",
                "-subj",
                f"/CN=metadata.azure.com/O={name}",
            )
            self.openssl(
                "x509",
                "-req",
                "-in",
                f"{name}.csr",
                "-CA",
                "ca.crt",
                "-CAkey",
                "ca.key",
                "-CAcreateserial",
                "-out",
                f"{name}.crt",
                "-days",
                "30",
                "-sha384",
                "-extfile",
                "extensions",
            )
        return name

    def sign(self, kind, tool, *options, content="content"):
        name, out = self.signer(kind), "document.der"
        self.openssl(
            tool,
            "-sign",
            "-binary",
            "-nodetach",
            "-in",
            content,
            "-signer",
            f"{name}.crt",
            "-inkey",
            f"{name}.key",
            "-outform",
            "DER",
            "-out",
            out,
            *options,
        )
        return (self.folder / out).read_bytes()

    def accepts(self, encoded):
        """Whether ``openssl cms -verify`` verifies the signature (not the chain)."""
        (self.folder / "asked.der").write_bytes(encoded)
        done = self.openssl(
            "cms",
            "-verify",
            "-inform",
            "DER",
            "-in",
            "asked.der",
            "-noverify",
            "-binary",
            "-out",
            "read",
            check=False,
        )
        return done.returncode == 0


@pytest.fixture(scope="module")
def maker(tmp_path_factory):
    return Maker(tmp_path_factory.mktemp("openssl"))


# key, tool, options, what is said here. Where openssl verifies and this does not, it says that it
# cannot.
TABLE = [
    ("rsa:2048", "cms", ["-md", "sha256"], VALID),
    ("rsa:2048", "cms", ["-md", "sha256", "-noattr"], VALID),
    ("rsa:2048", "cms", ["-md", "sha384"], VALID),
    ("rsa:2048", "cms", ["-md", "sha512"], VALID),
    ("rsa:2048", "cms", ["-md", "sha512", "-noattr"], VALID),
    ("rsa:2048", "cms", ["-md", "sha256", "-keyid"], VALID),
    ("rsa:2048", "cms", ["-md", "sha256", "-certfile", "ca.crt"], VALID),
    ("rsa:2048", "cms", ["-md", "sha256", "-nosmimecap"], VALID),
    ("rsa:2048", "cms", ["-md", "sha256", "-econtent_type", "1.2.3.4.5"], VALID),
    ("rsa:2048", "cms", ["-md", "sha256", "-noattr", "-econtent_type", "1.2.3.4.5"], UNVERIFIABLE),
    ("rsa:2048", "cms", ["-md", "sha256", "-cades"], VALID),
    ("rsa:2048", "cms", ["-md", "sha256", "-keyopt", "rsa_padding_mode:pss"], UNVERIFIABLE),
    ("rsa:2048", "cms", ["-md", "sha1"], UNVERIFIABLE),
    ("rsa:2048", "cms", ["-md", "sha224"], UNVERIFIABLE),
    ("rsa:2048", "cms", ["-md", "sha256", "-stream"], UNVERIFIABLE),
    ("rsa:2048", "cms", ["-md", "sha256", "-nocerts"], MALFORMED),
    ("rsa:2048", "smime", ["-md", "sha256"], VALID),
    ("rsa:2048", "smime", ["-md", "sha256", "-noattr"], VALID),
    ("rsa:2048", "smime", ["-md", "sha384"], VALID),
    ("rsa:2056", "cms", ["-md", "sha256"], VALID),
    ("rsa:3072", "cms", ["-md", "sha256"], VALID),
    ("rsa:3072", "smime", ["-md", "sha512", "-noattr"], VALID),
    ("rsa:4096", "cms", ["-md", "sha256"], VALID),
    ("rsa:4096", "cms", ["-md", "sha512", "-noattr"], VALID),
    ("rsa:1024", "cms", ["-md", "sha256"], UNVERIFIABLE),
    ("rsa:4104", "cms", ["-md", "sha256"], UNVERIFIABLE),
    ("prime256v1", "cms", ["-md", "sha256"], UNVERIFIABLE),
    ("secp384r1", "cms", ["-md", "sha384", "-noattr"], UNVERIFIABLE),
]
IDS = [" ".join((kind, tool, *options)) for kind, tool, options, _ in TABLE]


@NEEDS_OPENSSL
@pytest.mark.parametrize("kind, tool, options, expected", TABLE, ids=IDS)
def test_a_document_made_by_openssl(maker, kind, tool, options, expected):
    encoded = maker.sign(kind, tool, *options)
    found = read(encoded)
    assert found.signature is expected, found.reason
    assert (found.reason is None) == (expected is VALID)
    assert maker.accepts(encoded) == (expected is not MALFORMED)
    if expected is VALID:
        assert (found.nonce, found.created_on, found.expires_on) == (
            "1234567890",
            "2018-11-28T00:16:17Z",
            "2018-11-28T06:16:17Z",
        )
        assert found.algorithm.startswith(
            f"RSA {kind[4:]}, SHA-{options[1][3:]}"
        ) and found.signer.subject.startswith("O=rsa-")


def changed(encoded, old, new):
    assert encoded.count(old) >= 1
    return encoded.replace(old, new, 1)


def last_byte(encoded):
    return encoded[:-1] + bytes([encoded[-1] ^ 1])


# what is done to a document with signed attributes and to one without; whether openssl still
# verifies it
TAMPERINGS = {
    "the vmId": lambda d: changed(d, b"02aab8a4", b"02aab8a5"),
    "the nonce": lambda d: changed(d, b"1234567890", b"1234567891"),
    "expiresOn": lambda d: changed(d, b"06:16:17", b"07:16:17"),
    "the last byte of the signature": last_byte,
    "a byte in the middle of the signature": lambda d: d[:-100] + bytes([d[-100] ^ 0x80]) + d[-99:],
    "the signature is zero": lambda d: d[:-256] + bytes(256),
    "the signature is the largest number": lambda d: d[:-256] + b"\xff" * 256,
}


@NEEDS_OPENSSL
@pytest.mark.parametrize("options", [[], ["-noattr"]], ids=["signed attributes", "none"])
@pytest.mark.parametrize("what", TAMPERINGS)
def test_tampering_is_caught_as_by_openssl(maker, what, options):
    encoded = TAMPERINGS[what](maker.sign("rsa:2048", "cms", "-md", "sha256", *options))
    assert state(encoded) is INVALID and not maker.accepts(encoded)


@NEEDS_OPENSSL
def test_the_signed_digest_is_what_counts_where_there_are_attributes(maker):
    """The signature is over the attributes: their digest must be the content's, and their type the
    content's.
    """
    encoded = maker.sign("rsa:2048", "cms", "-md", "sha256")
    digest = hashlib.sha256(CONTENT).digest()
    forged = changed(
        changed(encoded, b"1234567890", b"1234567891"),
        digest,
        hashlib.sha256(CONTENT.replace(b"1234567890", b"1234567891")).digest(),
    )
    assert state(forged) is INVALID and not maker.accepts(forged)


@NEEDS_OPENSSL
def test_two_signers_are_not_verified_here(maker):
    other = maker.signer("rsa:3072")
    encoded = maker.sign(
        "rsa:2048", "cms", "-md", "sha256", "-signer", f"{other}.crt", "-inkey", f"{other}.key"
    )
    assert state(encoded) is UNVERIFIABLE and maker.accepts(encoded)


@NEEDS_OPENSSL
def test_the_simulators_documents_verify_with_openssl(maker, tmp_path):
    document = genuine()
    assert maker.accepts(document) and state(document) is VALID
    tampered = genuine("tampered")
    assert not maker.accepts(tampered) and state(tampered) is INVALID
    (tmp_path / "root.der").write_bytes(pki.root())
    (tmp_path / "document").write_bytes(document)
    maker.openssl(
        "x509", "-inform", "DER", "-in", tmp_path / "root.der", "-out", tmp_path / "root.pem"
    )
    done = maker.openssl(
        "cms",
        "-verify",
        "-inform",
        "DER",
        "-in",
        tmp_path / "document",
        "-CAfile",
        tmp_path / "root.pem",
        "-purpose",
        "any",
        "-binary",
    )
    assert json.loads(done.stdout)["nonce"] == "1234567890"


# --- what is read ---


def test_the_document_says_what_the_instance_says():
    found, compute = read(genuine()), instance_document(WINDOWS_VM)["compute"]
    assert (found.vm_id, found.sku, found.subscription_id) == (
        compute["vmId"],
        compute["sku"],
        compute["subscriptionId"],
    )
    assert found.asked_nonce == found.nonce == "1234567890" and found.embedded == 3
    assert found.signer.names == ("eastus.metadata.azure.com", "metadata.azure.com")
    assert found.algorithm == "RSA 2048, SHA-256"


def test_the_digest_may_be_named_by_its_signature_algorithm():
    """As IMDS does: 1.2.840.113549.1.1.11 where SHA-256 belongs."""
    document = genuine(embedded=())
    assert document.count(pki.algorithm(pki.SHA256)) == 2 and state(document) is VALID


@pytest.mark.parametrize(
    "encoding, text, expected",
    [
        ("pkcs7", "", MALFORMED),
        ("pkcs7", "no base64!", MALFORMED),
        ("pkcs7", "\u20ac", MALFORMED),
        ("pkcs7", "AAA", MALFORMED),
        ("PKCS7", base64.b64encode(genuine()).decode(), VALID),
        ("pkcs7", base64.encodebytes(genuine()).decode(), VALID),
        ("jws", base64.b64encode(genuine()).decode(), UNVERIFIABLE),
    ],
    ids=[
        "empty",
        "no base64",
        "not ASCII",
        "cut base64",
        "capitals",
        "with line ends",
        "another encoding",
    ],
)
def test_encodings(encoding, text, expected):
    found = attested.read(encoding, text, "1").document
    assert found.signature is expected and (expected is VALID or found.reason)


@pytest.mark.parametrize(
    "content",
    [b"", b"[]", b"null", b"hello", b"\xff\xfe", b'{"nonce": NaN}', b"[" * 50000],
    ids=["empty", "list", "null", "text", "not UTF-8", "NaN", "deep"],
)
def test_signed_content_that_is_no_document(content):
    encoded = pki.sign(content, [pki.leaf("metadata.azure.com", "eastus")], 5)
    found = read(encoded)
    assert found.signature is MALFORMED and "JSON" in found.reason and found.vm_id is None


@pytest.mark.parametrize(
    "stamp",
    [
        None,
        [],
        "x",
        {"createdOn": 5, "expiresOn": "tomorrow"},
        {"expiresOn": "13/45/18 00:00:00 -0000"},
    ],
)
def test_times_and_values_of_other_types_are_left_out(stamp):
    content = json.dumps({"nonce": 5, "vmId": ["x"], "sku": None, "timeStamp": stamp}).encode()
    found = read(pki.sign(content, [pki.leaf("metadata.azure.com", "eastus")], 5))
    assert found.signature is VALID
    assert (found.nonce, found.vm_id, found.sku, found.created_on, found.expires_on) == (
        None,
        None,
        None,
        None,
        None,
    )


# --- any bytes at all ---


def outcome(encoded):
    """What is said of a document as a whole: its signature, and then its certificate's, up to the
    root of the tests.
    """
    read = attested.read("pkcs7", base64.b64encode(encoded).decode(), "1234567890")
    if read.document.signature is not VALID:
        return read.document.signature
    root = X509(pki.root())
    chain = judge(read.certificates, [root], frozenset([root.thumbprint]), {}, now())
    return VALID if chain.trusted else INVALID


def test_the_outcome_of_a_whole_document_is_valid():
    assert outcome(genuine()) is VALID and outcome(genuine(embedded=())) is INVALID


def test_every_byte_flipped(is_exhaustive):
    """The signature does not cover the certificates: what is changed there, their own signatures
    show. Every fifth byte, but in an exhaustive run.
    """
    document = genuine(embedded=("issuing", "cross"))
    step = 1 if is_exhaustive else 5
    for at in range(0, len(document), step):
        flipped = document[:at] + bytes([document[at] ^ 0xFF]) + document[at + 1 :]
        assert outcome(flipped) is not VALID, at


def test_every_bit_flipped_beside_the_certificates():
    document = genuine(embedded=())
    leaf = pki.leaf("metadata.azure.com", "eastus")
    begin = document.index(leaf)
    places = [at for at in range(len(document)) if not begin <= at < begin + len(leaf)]
    for at in places:
        for bit in range(8):
            flipped = document[:at] + bytes([document[at] ^ 1 << bit]) + document[at + 1 :]
            assert state(flipped) is not VALID, (at, bit)


@NEEDS_OPENSSL
def test_every_bit_flipped_in_a_document_with_signed_attributes(maker):
    encoded = maker.sign("rsa:2048", "cms", "-md", "sha256")
    leaf = (maker.folder / "rsa-2048.crt").read_bytes()
    (leaf,) = [base64.b64decode(b"".join(leaf.split(b"-----")[2].split()))]
    begin = encoded.index(leaf)
    for at in [at for at in range(len(encoded)) if not begin <= at < begin + len(leaf)]:
        for bit in range(8):
            flipped = encoded[:at] + bytes([encoded[at] ^ 1 << bit]) + encoded[at + 1 :]
            assert state(flipped) is not VALID, (at, bit)


def test_truncated_at_every_length():
    document = genuine()
    assert all(state(document[:length]) is MALFORMED for length in range(len(document)))


def test_something_after_its_end():
    assert state(genuine() + b"\0") is MALFORMED


def lies(document):
    """The document with each of its lengths replaced by others."""
    for at in range(len(document) - 4):
        if document[at] in (0x02, 0x04, 0x06, 0x30, 0x31, 0xA0) and document[at + 1] in (
            0x81,
            0x82,
        ):
            for length in (
                b"\x80",
                b"\x81\x00",
                b"\x84\x3f\xff\xff\xff",
                b"\x84\xff\xff\xff\xff",
                b"\x88" + b"\x7f" * 8,
                b"\xff",
                b"\x00",
            ):
                yield document[: at + 1] + length + document[at + 2 :]


def test_lengths_that_lie():
    tried = 0
    for forged in lies(genuine()):
        work = Work()
        assert outcome(forged) is not VALID
        assert work.loops() < LITTLE
        tried += 1
    assert tried > 100


def test_indefinite_lengths():
    found = read(b"\x30\x80" * 5000 + b"\0\0" * 5000)
    assert found.signature is UNVERIFIABLE and "indefinite" in found.reason


def test_nested_without_end():
    assert state(b"\x30\x83\xff\xff\xff" * 100000) is MALFORMED
    assert state(b"\x30\x84\x00\xff\xff\xff" * 100000) is UNVERIFIABLE
    nested = b""
    for _ in range(3000):
        nested = pki.sequence(nested)
    assert state(nested) is MALFORMED


@pytest.mark.parametrize(
    "each", [pki.sequence(), pki.leaf("metadata.azure.com", "eastus")], ids=["small", "whole"]
)
def test_a_bomb_of_ten_thousand_certificates(each):
    bomb = pki.sign(CONTENT, [each] * 10000, 5)
    work = Work()
    found = attested.read("pkcs7", base64.b64encode(bomb).decode(), "1").document
    assert found.signature is MALFORMED and work.loops() < LITTLE


def test_a_certificate_of_ten_thousand_names_and_addresses():
    many = [f"n{number}.metadata.azure.com" for number in range(10000)]
    leaf = pki.certificate(
        "metadata.azure.com",
        "leaf",
        pki.ISSUING,
        "issuing",
        5,
        is_ca=False,
        names=many,
        urls=[f"http://h{n}/x.crt" for n in range(50)],
    )
    work = Work()
    found = read(pki.sign(CONTENT, [leaf], 5))
    assert found.signature is MALFORMED and work.loops() < LITTLE


@pytest.mark.parametrize("exponent", [1, 2, 65536, 2**64 + 1, 2**2047 + 1])
def test_keys_that_are_none(exponent, mocker):
    real = pki.key("leaf")
    mocker.patch.object(pki.Key, "public", property(lambda self: _public(self.modulus, exponent)))
    pki.leaf.cache_clear()
    try:
        leaf = pki.leaf("metadata.azure.com", "eastus")
    finally:
        pki.leaf.cache_clear()
    assert real is pki.key("leaf")
    work = Work()
    assert state(pki.sign(CONTENT, [leaf], 5)) is UNVERIFIABLE and work.loops() < LITTLE


def _public(modulus, exponent):
    return pki.sequence(
        pki.algorithm(pki.RSA_ENCRYPTION),
        pki.bit_string(pki.sequence(pki.integer(modulus), pki.integer(exponent))),
    )


def test_random_bytes_and_random_changes():
    source, document = random.Random(7), genuine(embedded=())
    for _ in range(2000):
        assert state(bytes(source.randrange(256) for _ in range(source.randrange(64)))) is not VALID
        changed = bytearray(document)
        for _ in range(source.randrange(1, 6)):
            changed[source.randrange(len(changed))] = source.randrange(256)
        assert bytes(changed) == document or outcome(bytes(changed)) is not VALID


def test_the_padding_is_compared_whole():
    """A forged signature whose padding is shorter, with garbage behind the digest, opens to what a
    lax reader takes.
    """
    key, good = pki.key("leaf"), pki.key("leaf").sign(CONTENT, pki.SHA256)
    opened = pow(int.from_bytes(good, "big"), 65537, key.modulus).to_bytes(256, "big")
    end, digest = opened[opened.index(b"\0", 2) + 1 :], hashlib.sha256(CONTENT).digest()
    bare = (
        bytes.fromhex("302f300b06096086480165030402010420") + digest
    )  # the algorithm without its NULL
    p, q = (int(prime, 16) for prime in pki.TEST_PRIVATE_KEYS["leaf"])
    private = pow(65537, -1, (p - 1) * (q - 1))
    forms = {
        "genuine": opened,
        "short padding, garbage behind": b"\0\1"
        + b"\xff" * 8
        + b"\0"
        + end
        + bytes(256 - 11 - len(end)),
        "another block type": b"\0\2" + opened[2:],
        "padding of another byte": opened[:5] + b"\xfe" + opened[6:],
        "no NULL": b"\0\1" + b"\xff" * (256 - 3 - len(bare)) + b"\0" + bare,
    }
    leaf = pki.leaf("metadata.azure.com", "eastus")
    for name, block in forms.items():
        assert len(block) == 256
        forged = pow(int.from_bytes(block, "big"), private, key.modulus).to_bytes(256, "big")
        document = pki.sign(CONTENT, [leaf], 5).replace(good, forged)
        assert (state(document) is VALID) == (name == "genuine"), name


def test_the_version_and_the_type_are_held_to_the_letter():
    document = genuine(embedded=())
    data = document.index(b"\x02\x01\x01")
    assert state(document[: data + 2] + b"\x03" + document[data + 3 :]) is UNVERIFIABLE
    assert (
        state(document.replace(pki.oid(cms.DATA), pki.oid("1.2.840.113549.1.7.3"))) is UNVERIFIABLE
    )


def test_a_signer_that_is_not_among_the_certificates():
    assert state(pki.sign(CONTENT, [pki.issuing()], 5)) is MALFORMED
    assert (
        state(pki.sign(CONTENT, [pki.leaf("metadata.azure.com", "eastus", True)], 5)) is MALFORMED
    )


def test_another_vms_key_does_not_verify():
    other = pki.certificate("metadata.azure.com", "issuing", pki.ISSUING, "issuing", 5, is_ca=False)
    assert state(pki.sign(CONTENT, [other], 5)) is INVALID


def test_der_of_other_forms_is_refused():
    assert der.Reader(b"\x02\x01\x05", "x").take().content == b"\5"
    for wrong in (
        b"",
        b"\x02",
        b"\x02\x02\x05",
        b"\x02\x81\x01\x05",
        b"\x02\x82\x00\x80",
        b"\x02\x85\0\0\0\0\1\5",
    ):
        with pytest.raises((der.Malformed, der.Unsupported)):
            der.Reader(wrong, "x").take()


def test_a_linux_vms_document_too():
    assert replace(read(genuine(vm=LINUX_VM)), signer=None).vm_id == LINUX_VM.vm_id


def test_an_object_identifier_in_a_longer_form_is_refused():
    """openssl refuses it too; decoded, it would pass for the right one."""
    document = genuine(embedded=())
    padded = pki.oid(cms.SIGNED_DATA)
    padded = pki.tlv(0x06, b"\x80" + padded[2:])
    body = der.Reader(document, "x").take().content
    assert state(pki.sequence(padded, body[len(pki.oid(cms.SIGNED_DATA)) :])) is MALFORMED


def with_attributes(*attributes):
    """A document with these signed attributes beside the two that must be there, as a signer that
    holds the key would make it.
    """
    leaf = pki.leaf("metadata.azure.com", "eastus")
    usual = [
        pki.sequence(pki.oid(cms.CONTENT_TYPE), pki.tlv(0x31, pki.oid(cms.DATA))),
        pki.sequence(
            pki.oid(cms.MESSAGE_DIGEST),
            pki.tlv(0x31, pki.tlv(0x04, hashlib.sha256(CONTENT).digest())),
        ),
    ]
    return leaf, sorted([*usual, *attributes], key=bytes)


def signed_with(leaf, attributes):
    content = b"".join(attributes)
    signature = pki.key("leaf").sign(pki.tlv(0x31, content), pki.SHA256)
    signer = pki.sequence(
        pki.integer(1),
        pki.sequence(pki.name(pki.ISSUING), pki.integer(5)),
        pki.algorithm(pki.SHA256),
        pki.tlv(0xA0, content),
        pki.algorithm(pki.RSA_ENCRYPTION),
        pki.tlv(0x04, signature),
    )
    data = pki.sequence(
        pki.integer(1),
        pki.tlv(0x31, pki.algorithm(pki.SHA256)),
        pki.sequence(pki.oid(cms.DATA), pki.tlv(0xA0, pki.tlv(0x04, CONTENT))),
        pki.tlv(0xA0, leaf),
        pki.tlv(0x31, signer),
    )
    return pki.sequence(pki.oid(cms.SIGNED_DATA), pki.tlv(0xA0, data))


TIME = pki.tlv(0x17, b"261123014405Z")


@pytest.mark.parametrize(
    "attributes, expected",
    [
        ([], VALID),
        ([pki.sequence(pki.oid(cms.SIGNING_TIME), pki.tlv(0x31, TIME))], VALID),
        ([pki.sequence(pki.oid(cms.SIGNING_TIME), pki.tlv(0x31, TIME))] * 2, MALFORMED),
        ([pki.sequence(pki.oid(cms.SIGNING_TIME), pki.tlv(0x31, TIME, TIME))], MALFORMED),
        ([pki.sequence(pki.oid(cms.SIGNING_TIME))], MALFORMED),
        ([pki.sequence(pki.oid("1.2.3"), pki.tlv(0x31))], MALFORMED),
        ([pki.tlv(0x31, pki.oid("1.2.3"), pki.tlv(0x31, TIME))], MALFORMED),
        (
            [pki.sequence(pki.oid("1.2.3"), pki.tlv(0x31, pki.integer(2), pki.integer(1)))],
            UNVERIFIABLE,
        ),
        ([pki.sequence(pki.oid(cms.COUNTERSIGNATURE), pki.tlv(0x31, TIME))], UNVERIFIABLE),
    ],
    ids=[
        "the two",
        "a time",
        "two times",
        "a time of two values",
        "no set",
        "no value",
        "another tag",
        "values out of order",
        "a countersignature",
    ],
)
def test_signed_attributes_are_held_to_the_letter(attributes, expected):
    assert state(signed_with(*with_attributes(*attributes))) is expected


def test_signed_attributes_out_of_order_are_not_verified_here():
    leaf, attributes = with_attributes()
    assert state(signed_with(leaf, attributes[::-1])) is UNVERIFIABLE


def test_a_certificate_that_nobody_needs_may_be_unreadable():
    leaf = pki.leaf("metadata.azure.com", "eastus")
    found = attested.read(
        "pkcs7",
        base64.b64encode(pki.sign(CONTENT, [leaf, pki.sequence(pki.integer(1))], 5)).decode(),
        "1",
    )
    assert found.document.signature is VALID and found.certificates == (leaf,)


def test_a_document_of_any_size_is_read_in_no_time():
    nested = b'{"a":[' + b"[[1]]," * 300_000 + b"1]}"
    many = pki.sign(nested, [pki.leaf("metadata.azure.com", "eastus")], 5, pki.SHA1)
    for encoded in (many, b"\x30" * 10_000_000):
        text = base64.b64encode(encoded).decode()
        work = Work()
        assert attested.read("pkcs7", text, "1").document.signature is MALFORMED
        assert work.loops() < LITTLE


def test_a_name_of_a_million_characters_is_cut():
    leaf = pki.certificate("x" * 100_000, "leaf", pki.ISSUING, "issuing", 5, is_ca=False)
    assert len(read(pki.sign(CONTENT, [leaf], 5)).signer.subject) < 700


# --- what is kept of it ---


def recorded(document):
    """Facts of a run whose IMDS gave this document."""
    facts = WINDOWS.healthy()
    return replace(facts, imds=replace(facts.imds, document=document, attested_document=True))


def as_an_older_version_judged(document):
    old = replace(document, signature=SignatureState.UNVERIFIABLE, reason="its digest is SHA-256")
    return replace(old, vm_id=None, nonce=None, created_on=None, expires_on=None)


def test_the_document_is_kept_as_it_was_signed():
    signed = genuine()
    document = read(signed)
    assert base64.b64decode(document.pkcs7) == signed
    assert document.pkcs7_length == len(document.pkcs7)


@pytest.mark.parametrize("kind", ["tampered", "sha1", "garbage"])
def test_a_document_that_does_not_verify_is_kept_too(kind):
    signed = genuine(kind)
    document = read(signed)
    assert document.signature is not SignatureState.VALID
    assert base64.b64decode(document.pkcs7) == signed


def test_a_document_that_is_too_long_is_not_kept_and_its_length_says_so():
    longest = attested.KEPT_LIMIT // 4 * 3
    kept = read(bytes(longest))
    assert (len(kept.pkcs7), kept.pkcs7_length) == (attested.KEPT_LIMIT, attested.KEPT_LIMIT)
    cut = read(bytes(longest + 1))
    assert (cut.pkcs7, cut.pkcs7_length) == ("", attested.KEPT_LIMIT + 4)


@pytest.mark.parametrize("encoding, text", [("pkcs7", "Bearer eyJ.x.y"), ("jws", "aGVsbG8=")])
def test_what_is_no_document_at_all_is_not_kept(encoding, text):
    document = attested.read(encoding, text, "1").document
    assert (document.pkcs7, document.pkcs7_length) == ("", 0)


def test_a_newer_version_judges_a_recorded_document_again():
    document = read(genuine())
    facts = recorded(as_an_older_version_judged(document))
    again = attested.read_again(facts)
    assert again.imds.document == document
    assert attested.read_again(again) == again
    forged = replace(facts.imds.document, signature=SignatureState.VALID)
    forged = replace(forged, pkcs7=read(genuine("tampered")).pkcs7)
    found = attested.read_again(recorded(forged)).imds.document
    assert found.signature is SignatureState.INVALID


def test_a_report_without_the_bytes_keeps_its_judgement():
    document = replace(as_an_older_version_judged(read(genuine())), pkcs7="")
    for facts in (recorded(document), recorded(None), replace(recorded(None), imds=None)):
        assert attested.read_again(facts) == facts


def test_replay_judges_the_recorded_document_again(tmp_path, capsys):
    report = tmp_path / "report.json"
    report.write_text(as_json(diagnose(recorded(as_an_older_version_judged(read(genuine()))))))
    assert (
        json.loads(report.read_text())["facts"]["imds"]["document"]["signature"] == "unverifiable"
    )
    for arguments in ([], ["--redact"]):
        main(["replay", str(report), "--format", "json", *arguments])
        document = json.loads(capsys.readouterr().out)["facts"]["imds"]["document"]
        assert document["signature"] == "valid"
        assert (document["pkcs7"] == "") is (arguments == ["--redact"])


def test_the_bytes_are_dropped_under_redact_and_their_length_stays():
    document = redacted(recorded(read(genuine()))).imds.document
    assert document.pkcs7 == "" and document.pkcs7_length > 4000
