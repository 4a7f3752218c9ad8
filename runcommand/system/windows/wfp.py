"""The filters of the Windows Filtering Platform that concern IMDS: ``netsh wfp show filters``.

They may be of any program, not of the Windows firewall alone.
https://learn.microsoft.com/windows-server/administration/windows-commands/netsh-wfp
"""

from __future__ import annotations

import ipaddress
import re
from typing import TYPE_CHECKING, Callable, Dict, List, Optional, Tuple

from ...collect import Board, NoFact
from ...facts import (
    IMDS_ADDRESS,
    FirewallMatch,
    FirewallPlace,
    FirewallRule,
    Imds,
    MatchField,
    Outcome,
    RuleVerdict,
)
from ...firewall.packet import HTTP_PORT, request
from ...firewall.windows import suspects

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

ARGUMENTS = (
    "wfp", "show", "filters", "file=-", "protocol=6", f"remoteaddr={IMDS_ADDRESS}",
    f"remoteport={HTTP_PORT}", "dir=out", "verbose=on",
)  # fmt: skip
IMDS_S = 6.0  # how long the outcome of the connect is waited for
DECLARATION = re.compile(r"\A<\?xml[^>]{0,200}\?>")
# How many are kept of the filters that may have forbidden the connection, and of all others.
FILTERS, OTHER_FILTERS = 50, 200
LAYERS = (
    "FWPM_LAYER_ALE_AUTH_CONNECT_V4",
    "FWPM_LAYER_ALE_RESOURCE_ASSIGNMENT_V4",
    "FWPM_LAYER_OUTBOUND_TRANSPORT_V4",
)
BLOCK = "FWP_ACTION_BLOCK"
ACTIONS = {BLOCK: RuleVerdict.BLOCK, "FWP_ACTION_PERMIT": RuleVerdict.ALLOW}
FIELDS = {
    "FWPM_CONDITION_IP_REMOTE_ADDRESS": MatchField.DESTINATION,
    "FWPM_CONDITION_IP_REMOTE_PORT": MatchField.DESTINATION_PORT,
    "FWPM_CONDITION_IP_LOCAL_ADDRESS": MatchField.SOURCE,
    "FWPM_CONDITION_IP_LOCAL_PORT": MatchField.SOURCE_PORT,
    "FWPM_CONDITION_IP_PROTOCOL": MatchField.PROTOCOL,
    "FWPM_CONDITION_ALE_APP_ID": MatchField.PROGRAM,
    "FWPM_CONDITION_ALE_USER_ID": MatchField.USER,
    "FWPM_CONDITION_ALE_PACKAGE_ID": MatchField.PACKAGE,
}
COMPARISONS = ("FWP_MATCH_EQUAL", "FWP_MATCH_RANGE", "FWP_MATCH_NOT_EQUAL")
ADDRESS_FIELDS = (MatchField.DESTINATION, MatchField.SOURCE)


def collect(shown: Callable[[], str], board: Board) -> Optional[Tuple[FirewallRule, ...]]:
    """The filters, first those that may have forbidden the connection.

    None where it was not forbidden: then they are not read.

    :param shown: gives what netsh prints of the filters
    """
    imds: Optional[Imds] = board.wait("imds", IMDS_S, or_draft=True)
    if imds is None or imds.attempts[-1].outcome is not Outcome.FORBIDDEN:
        return None
    return parse(shown(), lambda note: board.note("wfp_filters", note))


def parse(text: str, note: Callable[[str], None] = lambda text: None) -> Tuple[FirewallRule, ...]:
    """The filters, first those that may have forbidden TCP 80 to IMDS. Raises ``NoFact``.

    :param note: is called where there are more than are kept
    """
    # imported here: a run needs it only where a connection was forbidden
    import xml.etree.ElementTree as ElementTree

    document = text[text.find("<") : text.rfind(">") + 1]
    if not document:
        raise NoFact("netsh wfp show filters printed nothing")
    if "<!DOCTYPE" in document or "<!ENTITY" in document:
        raise NoFact("netsh wfp show filters: its XML declares entities")
    try:
        root = ElementTree.fromstring(DECLARATION.sub("", document, count=1))
    except ElementTree.ParseError as error:
        raise NoFact(f"netsh wfp show filters: {error}") from None
    found = [_filter(item) for item in root.iter("item") if item.find("layerKey") is not None]
    likely = suspects(found, request(IMDS_ADDRESS))
    numbers = set(map(id, likely))
    others = [rule for rule in found if id(rule) not in numbers]
    if len(likely) > FILTERS:
        more = f"more than {FILTERS} could have forbidden the connect"
        note(f"{len(likely) - FILTERS} filters are left out: {more}")
    if len(others) > OTHER_FILTERS:
        note(f"{len(others) - OTHER_FILTERS} filters that cannot concern IMDS are not kept")
    return (*likely[:FILTERS], *others[:OTHER_FILTERS])


def _filter(item: Element) -> FirewallRule:
    """One filter. Conditions of one field are alternatives."""
    values: Dict[MatchField, List[str]] = {}
    negated: List[FirewallMatch] = []
    for condition in item.iterfind("filterCondition/item"):
        key, how = condition.findtext("fieldKey") or "?", condition.findtext("matchType") or "?"
        field, value = FIELDS.get(key, MatchField.OTHER), _value(condition.find("conditionValue"))
        if value and field in ADDRESS_FIELDS and re.fullmatch(r"\d{1,10}(-\d{1,10})?", value):
            value = "-".join(map(_dotted, value.split("-")))
        if value is None or how not in COMPARISONS:
            field, value = MatchField.OTHER, key
        if field is MatchField.OTHER:
            negated.append(FirewallMatch(field, (key,)))
        elif how == "FWP_MATCH_NOT_EQUAL":
            negated.append(FirewallMatch(field, (value,), negated=True))
        else:
            values.setdefault(field, []).append(value)
    matches = [FirewallMatch(field, tuple(own)) for field, own in values.items()]
    chain = item.findtext("layerKey")
    # outgoing connections pass these layers
    if chain in LAYERS:
        chain = None
    return FirewallRule(
        id=item.findtext("filterKey") or item.findtext("filterId") or "?",
        place=FirewallPlace.WFP,
        action=ACTIONS.get(item.findtext("action/type") or "", RuleVerdict.OTHER),
        name=(item.findtext("displayData/name") or "").strip(),
        chain=chain,
        matches=(*matches, *negated),
        provider=item.findtext("providerKey") or None,
    )


def _dotted(number: str) -> str:
    """An address that netsh prints as a number."""
    return str(ipaddress.IPv4Address(int(number) % 2**32))


def _value(value: Optional[Element]) -> Optional[str]:
    """The value of a condition, in the form of a ``FirewallMatch``; None where it is not known."""
    if value is None:
        return None
    low, high = value.find("rangeValue/valueLow"), value.find("rangeValue/valueHigh")
    if low is None or high is None:
        return _single(value)
    first, last = _single(low), _single(high)
    if not first or not last:
        return None
    return f"{first}-{last}"


def _single(value: Element) -> Optional[str]:
    """The value of a condition that is not a range; None where it is not known."""
    masked = value.find("v4AddrMask")
    if masked is not None:
        return f"{masked.findtext('addr')}/{masked.findtext('mask')}"
    for name in ("uint8", "uint16", "uint32", "uint64", "asString", "sd", "sid"):
        text = value.findtext(name) or value.findtext(f"*/{name}")
        if text:
            return text.strip()
    return None
