"""The filters of the Windows Filtering Platform, from XML of the form that netsh writes; only where
a connect was forbidden.
"""

from dataclasses import replace

import pytest

from runcommand.collect import Board, NoFact
from runcommand.diagnosis import diagnose
from runcommand.facts import MatchField, Outcome, RuleVerdict
from runcommand.firewall.packet import request
from runcommand.firewall.windows import suspects
from runcommand.report import text
from runcommand.system.windows import wfp

from .facts_of import WINDOWS, imds, metadata, no_answer

IMDS = "169.254.169.254"


def condition(field, how, value):
    return (
        f"<item><fieldKey>FWPM_CONDITION_{field}</fieldKey><matchType>FWP_MATCH_{how}</matchType>"
        f"<conditionValue>{value}</conditionValue></item>"
    )


def uint(value, bits=32):
    return f"<type>FWP_UINT{bits}</type><uint{bits}>{value}</uint{bits}>"


def filter_(
    *conditions,
    name="Contoso Shield block",
    provider="{11111111-0000-4000-8000-000000000001}",
    layer="ALE_AUTH_CONNECT_V4",
    action="FWP_ACTION_BLOCK",
):
    own = (
        f'<filterCondition numItems="{len(conditions)}">{"".join(conditions)}</filterCondition>'
        if conditions
        else "<filterCondition/>"
    )
    key = f"<providerKey>{provider}</providerKey>" if provider else "<providerKey/>"
    return (
        f"<item><filterKey>{{e62a1a22-c80a-4518-a7f8-e7d1ef3a9ff6}}</filterKey><displayData><name>{name}</name><description/>"
        f"</displayData><flags/>{key}<layerKey>FWPM_LAYER_{layer}</layerKey><subLayerKey>FWPM_SUBLAYER_UNIVERSAL</subLayerKey>"
        f"<weight><type>FWP_EMPTY</type></weight>{own}<action><type>{action}</type><filterType/></action>"
        "<filterId>121180</filterId><effectiveWeight><type>FWP_UINT64</type><uint64>274877906944</uint64></effectiveWeight></item>"
    )


def document(*filters):
    return (
        '<?xml version="1.0" encoding="utf-16"?>\r\n<wfpdiag><timeStamp>2026-11-23T01:44:05.000Z</t'
        "imeStamp>"
        f'<filters numItems="{len(filters)}">{"".join(filters)}</filters></wfpdiag>\r\n'
    )


ADDRESS = condition("IP_REMOTE_ADDRESS", "EQUAL", uint(IMDS))
MASKED = (
    "<type>FWP_V4_ADDR_MASK</type><v4AddrMask><addr>{}</addr><mask>255.255.0.0</mask></v4AddrMask>"
)
RANGE = (
    "<type>FWP_RANGE_TYPE</type>"
    "<rangeValue><valueLow>{}</valueLow><valueHigh>{}</valueHigh></rangeValue>"
)


def suspected(*filters):
    return suspects(wfp.parse(document(*filters)), request(IMDS))


@pytest.mark.parametrize(
    "conditions, found",
    [
        ((), True),
        ((ADDRESS,), True),
        (
            (
                ADDRESS,
                condition("IP_PROTOCOL", "EQUAL", uint(6, 8)),
                condition("IP_REMOTE_PORT", "EQUAL", uint(80, 16)),
            ),
            True,
        ),
        ((condition("IP_REMOTE_ADDRESS", "EQUAL", uint(2852039166)),), True),
        ((condition("IP_REMOTE_ADDRESS", "EQUAL", uint("10.0.0.1")),), False),
        ((condition("IP_REMOTE_ADDRESS", "EQUAL", uint("10.0.0.1")), ADDRESS), True),
        ((condition("IP_REMOTE_ADDRESS", "NOT_EQUAL", uint(IMDS)),), False),
        ((condition("IP_REMOTE_ADDRESS", "EQUAL", MASKED.format("169.254.0.0")),), True),
        ((condition("IP_REMOTE_ADDRESS", "EQUAL", MASKED.format("10.0.0.0")),), False),
        (
            (
                condition(
                    "IP_REMOTE_ADDRESS",
                    "RANGE",
                    RANGE.format(uint("169.254.0.0"), uint("169.254.255.255")),
                ),
            ),
            True,
        ),
        (
            (condition("IP_REMOTE_PORT", "RANGE", RANGE.format(uint(81, 16), uint(65535, 16))),),
            False,
        ),
        ((condition("IP_REMOTE_PORT", "EQUAL", uint(443, 16)),), False),
        ((condition("IP_PROTOCOL", "EQUAL", uint(17, 8)),), False),
        ((condition("FLAGS", "FLAGS_ALL_SET", uint(1)),), True),
        (
            (
                condition(
                    "ALE_APP_ID",
                    "EQUAL",
                    "<type>FWP_BYTE_BLOB_TYPE</type><byteBlob><data>00</data><asString>\\curl.exe</asString></byteBlob>",
                ),
            ),
            True,
        ),
        (
            (condition("ALE_PACKAGE_ID", "NOT_EQUAL", "<type>FWP_SID</type><sid>S-1-0-0</sid>"),),
            False,
        ),
        ((condition("IP_REMOTE_ADDRESS", "EQUAL", "<type>FWP_NEW</type><new>1</new>"),), True),
    ],
)
def test_the_filters_that_may_have_forbidden_it(conditions, found):
    assert bool(suspected(filter_(*conditions))) is found


@pytest.mark.parametrize(
    "more",
    [
        {"action": "FWP_ACTION_PERMIT"},
        {"layer": "INBOUND_IPPACKET_V4"},
        {"layer": "ALE_AUTH_CONNECT_V6"},
    ],
)
def test_what_permits_or_stands_elsewhere_is_kept_and_not_suspected(more):
    assert suspected(filter_(ADDRESS, **more)) == []
    (rule,) = wfp.parse(document(filter_(ADDRESS, **more)))
    is_block = "action" not in more
    assert (rule.action is RuleVerdict.BLOCK, bool(rule.chain)) == (is_block, "layer" in more)


def test_suspects_come_first_and_what_is_not_kept_of_the_others_is_counted():
    others = [filter_(ADDRESS, action="FWP_ACTION_PERMIT")] * (wfp.OTHER_FILTERS + 3)
    notes = []
    found = wfp.parse(document(*others, filter_(ADDRESS)), notes.append)
    assert found[0].action is RuleVerdict.BLOCK and len(found) == wfp.OTHER_FILTERS + 1
    assert notes == ["3 filters that cannot concern IMDS are not kept"]


def test_a_report_shows_only_the_suspects():
    facts = WINDOWS.dark(outcome=Outcome.FORBIDDEN, proof=False)
    permit = filter_(ADDRESS, name="Permit", action="FWP_ACTION_PERMIT")
    for own in ((filter_(ADDRESS),), (filter_(ADDRESS), permit)):
        full = text.full(diagnose(replace(facts, wfp_filters=wfp.parse(document(*own)))))
        assert full.count("Contoso Shield block") == 2 and "Permit" not in full
    assert (
        "Nor does a filter"
        in diagnose(replace(facts, wfp_filters=wfp.parse(document(permit)))).main.detail
    )


def test_name_provider_and_conditions_are_kept():
    (rule,) = wfp.parse(document(filter_(ADDRESS)))
    assert (rule.name, rule.provider) == (
        "Contoso Shield block",
        "{11111111-0000-4000-8000-000000000001}",
    )
    assert [(match.field, match.values) for match in rule.matches] == [
        (MatchField.DESTINATION, (IMDS,))
    ]


def test_text_around_it_does_not_matter_and_the_list_is_bounded():
    printed = "Wrote filters.\r\n" + document(*[filter_(ADDRESS)] * 500) + "\r\nOk.\r\n"
    notes = []
    assert len(wfp.parse(printed, notes.append)) == wfp.FILTERS
    assert len(notes) == 1 and notes[0].endswith(
        f"filters are left out: more than {wfp.FILTERS} could have forbidden the connect"
    )


@pytest.mark.parametrize(
    "text",
    [
        "",
        "The operation requires elevation.",
        "<wfpdiag><filters>",
        "<a></b>",
        '<!DOCTYPE x [<!ENTITY a "b">]><wfpdiag/>',
        "<" * 100000,
    ],
)
def test_what_is_no_such_xml_is_no_fact(text):
    with pytest.raises(NoFact):
        wfp.parse(text)


class Netsh:
    asked = 0

    def __call__(self):
        Netsh.asked += 1
        return document(filter_(ADDRESS))


def test_it_is_asked_only_where_the_connect_was_forbidden():
    Netsh.asked = 0
    for exchange in (metadata("172.16.69.7", WINDOWS.vm), no_answer("172.16.69.7"), None):
        board = Board(1)
        board.post("imds", exchange and imds(exchange))
        assert wfp.collect(Netsh(), board) is None
    assert Netsh.asked == 0
    board = Board(1)
    board.post("imds", imds(no_answer("172.16.69.7", Outcome.FORBIDDEN)))
    assert len(wfp.collect(Netsh(), board)) == 1


def test_the_finding_says_may_and_names_filter_and_provider():
    facts = WINDOWS.dark(outcome=Outcome.FORBIDDEN, proof=False)
    facts = replace(facts, wfp_filters=wfp.parse(document(filter_(ADDRESS))))
    diagnosis = diagnose(facts)
    assert diagnosis.cause == "firewall-unknown"
    assert (
        'It may be the filter "Contoso Shield block", provider {11111111-' in diagnosis.main.detail
    )
