"""What a field of the facts says of itself: what its text is, and whether it is shown.

The annotation of a field names its kind, as it names an ``Address`` or a ``Mac``. To a type checker
all of these are ``str``; at run time each is a type of its own, by which ``redaction/`` decides
what becomes of the text.

The text reports show each field, or what follows from it, except those whose metadata is
``JSON_ONLY``.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NewType

UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
JSON_ONLY = {"json_only": True}  # recorded for the ticket: in report.json alone

if TYPE_CHECKING:
    Term = str
    Message = str
    Reason = str
    Phrase = str
    Output = str
    MatchValue = str
    CertificateNumber = str
    Id = str
    ResourceId = str
    VmName = str
    GroupName = str
    RuleName = str
    RuleLine = str
    Packed = str
    TableName = str
    NicName = str
    AssetTag = str
    Account = str
    Distribution = str
    Region = str
    DnsName = str
    Server = str
    Url = str
    BypassEntry = str
else:
    # Texts, from what is never a name to what may hold several.
    Term = NewType("Term", str)  # of this program, of Azure or of the system: kept
    Message = NewType("Message", str)  # of a library or a peer: what is recognised is replaced
    Reason = NewType("Reason", str)  # of this program, with paths or others' words in it
    Phrase = NewType("Phrase", str)  # every word that is not everybody's is replaced
    Output = NewType("Output", str)  # of a command, which says how it is read
    MatchValue = NewType("MatchValue", str)  # of a firewall rule, whose ``MatchField`` says what
    CertificateNumber = NewType("CertificateNumber", str)  # kept with a public certificate's names

    # Names and numbers of one thing.
    Id = NewType("Id", str)  # a GUID, or what stands in its place
    ResourceId = NewType("ResourceId", str)  # "/subscriptions/.../resourceGroups/..."
    VmName = NewType("VmName", str)  # perhaps with its domain
    GroupName = NewType("GroupName", str)  # of a resource group
    RuleName = NewType("RuleName", str)  # as Windows displays it
    RuleLine = NewType("RuleLine", str)  # a rule or a chain as firewall/record.py writes it
    Packed = NewType("Packed", str)  # signed or packed: it cannot be rewritten, so it is dropped
    TableName = NewType("TableName", str)  # of a routing table: its name or number
    NicName = NewType("NicName", str)
    AssetTag = NewType("AssetTag", str)  # of the chassis
    Account = NewType("Account", str)  # a user or group: its name, number, SID, or an SDDL text
    Distribution = NewType("Distribution", str)  # ``ID`` of os-release(5)
    Region = NewType("Region", str)  # of Azure
    DnsName = NewType("DnsName", str)
    Server = NewType("Server", str)  # "10.1.2.3:3128", "socks5://10.1.2.3:1080"
    Url = NewType("Url", str)
    BypassEntry = NewType("BypassEntry", str)  # of the list of what goes past a proxy
