"""What Windows makes of a chain, as far as it can be shown without Windows: status bits, stores,
times, and the licence.
"""

import time

import pytest

from runcommand.collect import Board, NoFact
from runcommand.facts import Certificate, ChainError, ChainFault
from runcommand.system.windows import LIVE, activation, crypt32, registry
from runcommand.system.windows.guid import GUID

from .clock import Waiting


@pytest.mark.parametrize(
    "status, faults",
    [
        (0, []),
        (0x1, [ChainFault.OUTSIDE_DATES]),
        (0x10000, [ChainFault.ISSUER_MISSING]),
        (0x10001, [ChainFault.OUTSIDE_DATES, ChainFault.ISSUER_MISSING]),
        (0x20, [ChainFault.ROOT_UNTRUSTED]),
        (0x8, [ChainFault.SIGNATURE]),
        (0x4000004, [ChainFault.DISTRUSTED, ChainFault.DISTRUSTED]),
        (0x100000, [ChainFault.OTHER]),
        (0x40000000, [ChainFault.OTHER]),
        (0xFFFFFFFF, None),
    ],
)
def test_status_bits_in_words(status, faults):
    found = crypt32.in_words(status, 2)
    if faults is None:
        assert len(found) == len(crypt32.CERT_TRUST) + 1
    else:
        assert [error.fault for error in found] == faults
    assert all(error.text and error.certificate == 2 for error in found)


def test_each_bit_is_a_single_one():
    assert all(bit & bit - 1 == 0 for bit in crypt32.CERT_TRUST)


def test_a_time_as_filetime():
    found = crypt32._file_time("2026-11-23T01:44:05Z")
    ticks = found.dwHighDateTime << 32 | found.dwLowDateTime
    assert ticks == (1795398245 + 11644473600) * 10_000_000


def test_stores_are_told_by_place_and_user(mocker):
    keys = {
        (registry.Root.USERS, ""): ["S-1-5-18", "S-1-5-21-1", "S-1-5-21-1_Classes"],
        (registry.Root.MACHINE, "SOFTWARE\\Microsoft\\SystemCertificates\\CA\\Certificates"): [
            "AA11",
            "bb22",
        ],
        (
            registry.Root.MACHINE,
            "SOFTWARE\\Policies\\Microsoft\\SystemCertificates\\Disallowed\\Certificates",
        ): ["BB22"],
        (
            registry.Root.USERS,
            "S-1-5-21-1\\Software\\Microsoft\\SystemCertificates\\Root\\Certificates",
        ): ["AA11"],
    }

    def subkeys(key, root=registry.Root.MACHINE):
        if (root, key) not in keys:
            raise NoFact("no such key")
        return keys[root, key]

    mocker.patch.object(registry, "subkeys", subkeys)
    found = crypt32.stores_of(LIVE)
    assert found("AA11") == ("LocalMachine\\CA", "S-1-5-21-1\\Root")
    assert found("BB22") == ("LocalMachine\\CA", "Group Policy\\Disallowed") and found("CC33") == ()


def test_a_registry_that_cannot_be_read_costs_the_stores_only(mocker):
    mocker.patch.object(registry, "subkeys", side_effect=NoFact("access denied"))
    assert crypt32.stores_of(LIVE)("AA11") == ()


def test_what_the_machine_distrusts_counts_even_if_the_engine_does_not_say_so():
    banned = Certificate(
        "CN=a", "CN=b", "AA", stores=("LocalMachine\\CA", "LocalMachine\\Disallowed")
    )
    of_a_user = Certificate("CN=a", "CN=b", "AA", stores=("S-1-5-18\\Disallowed",))
    (error,) = crypt32._disallowed([of_a_user, banned], [])
    assert (error.fault, error.certificate) == (
        ChainFault.DISTRUSTED,
        1,
    ) and "LocalMachine" in error.text
    assert (
        crypt32._disallowed([banned], [ChainError(ChainFault.DISTRUSTED, "EXPLICIT_DISTRUST")])
        == []
    )


def test_a_guid_has_the_bytes_that_windows_expects():
    assert bytes(activation.WINDOWS_SLID) == bytes.fromhex("3427c95582d6714d983ed6ec3f16059f")
    assert len(bytes(GUID.of("98325047-c671-4174-8d81-defcd3f03186"))) == 16


def test_the_state_of_the_licence(mocker):
    mocker.patch.object(activation, "is_genuine_local", return_value="genuine")
    assert activation.collect(Board(20)) == "genuine"


def test_a_licence_service_that_fails_or_hangs(mocker):
    def fail():
        raise NoFact("error 2147942402")

    mocker.patch.object(activation, "is_genuine_local", fail)
    with pytest.raises(NoFact, match="SLIsGenuineLocal: error 2147942402"):
        activation.collect(Board(20))
    mocker.patch.object(activation, "is_genuine_local", side_effect=lambda: time.sleep(30))
    mocker.patch.object(activation, "WAIT_S", 0.2)
    clock = Waiting()
    with pytest.raises(NoFact, match="not done in time"):
        activation.collect(Board(20))
    assert clock.times(activation.WAIT_S) < 5
