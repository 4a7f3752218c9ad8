"""What IMDS and the WireServer answered."""

from __future__ import annotations

from dataclasses import field
from enum import Enum
from typing import Optional, Tuple

from ..frozen import dataclass
from .addresses import Address, Cidr, Mac
from .certificates import AttestedDocument
from .connection import Connection, Outcome
from .kinds import JSON_ONLY, GroupName, Id, Phrase, Region, ResourceId, Term, VmName
from .times import Instant


class Body(str, Enum):
    """What the body of an HTTP answer turned out to be."""

    JSON = "json"
    HTML = "html"
    TEXT = "text"
    EMPTY = "empty"
    BROKEN = "broken"  # announced or begun as JSON, and it does not parse
    ENDLESS = "endless"  # past 1 MiB, or not finished in time
    CUT = "cut"  # the connection ended before the announced length


@dataclass(frozen=True)
class ImdsInterface:
    """One NIC as IMDS reports it.

    IMDS gives them in no particular order and marks none as primary.
    """

    mac: Optional[Mac]
    addresses: Tuple[Address, ...] = ()
    subnet: Optional[Cidr] = None


@dataclass(frozen=True)
class Instance:
    """What ``/metadata/instance`` says of this VM.

    Secrets (customData, userData, publicKeys, tags) are never read.
    """

    vm_id: Id
    az_environment: Term = ""
    location: Region = ""
    name: VmName = ""
    offer: Phrase = ""
    sku: Phrase = ""
    publisher: Phrase = field(default="", metadata=JSON_ONLY)
    version: Phrase = field(default="", metadata=JSON_ONLY)
    license_type: Phrase = ""
    is_host_compatibility_layer_vm: Term = ""
    os_type: Term = field(default="", metadata=JSON_ONLY)
    vm_size: Term = field(default="", metadata=JSON_ONLY)
    zone: Term = field(default="", metadata=JSON_ONLY)
    subscription_id: Id = ""
    resource_group_name: GroupName = ""
    resource_id: ResourceId = ""
    interfaces: Tuple[ImdsInterface, ...] = ()


@dataclass(frozen=True)
class Exchange:
    """One HTTP GET, from its connect to the end of its body (or to where it failed)."""

    path: Term = field(metadata=JSON_ONLY)
    connection: Connection
    outcome: Outcome
    status: Optional[int] = None
    server: Optional[Phrase] = None
    via: Optional[Phrase] = None
    content_type: Optional[Phrase] = field(default=None, metadata=JSON_ONLY)
    location: Optional[Phrase] = None  # of a redirect, without its query
    date: Optional[Instant] = None  # the host's clock, from the Date header
    read_at: Optional[Instant] = None  # this machine's clock when the head had been read
    body: Optional[Body] = None
    body_bytes: int = 0
    # the error text of the answer, or the title of its page; never metadata
    says: Optional[Phrase] = None
    # api-versions, or WireServer protocol versions, that the answer names
    versions: Tuple[Term, ...] = ()
    instance: Optional[Instance] = None  # set when the answer is IMDS's metadata of this VM
    elapsed_s: float = 0.0
    allowed_s: float = 0.0  # that request and answer could have taken, after the connect


@dataclass(frozen=True)
class Imds:
    """The plain, unproxied requests to IMDS.

    The last of ``attempts`` (``/metadata/instance``) decides.
    """

    attempts: Tuple[Exchange, ...]
    api_version: Optional[Term] = None
    versions: Optional[Exchange] = None
    attested: Optional[Exchange] = None
    attested_document: Optional[bool] = None  # the answer holds an encoding and a signature
    document: Optional[AttestedDocument] = None  # what it holds
    identity: Optional[Exchange] = None
    identity_present: Optional[bool] = None
    # HTTP requests sent to IMDS, up to the end of these
    requests: int = field(default=0, metadata=JSON_ONLY)


@dataclass(frozen=True)
class WireServer:
    http: Exchange  # port 80, /?comp=versions
    host_plugin: Connection  # port 32526


@dataclass(frozen=True)
class Trial:
    """One attempt of the differential: from one local address, perhaps bound to its device."""

    connection: Connection
    exchange: Optional[Exchange] = None


def refuses_version(exchange: Exchange) -> bool:
    """Whether IMDS says that it does not know the api-version that was asked for."""
    return exchange.status == 400 and (
        bool(exchange.versions) or "api-version" in (exchange.says or "")
    )


def is_transient(exchange: Exchange) -> bool:
    """Whether the answer is one that IMDS asks its clients to retry: 410, 429 and 5xx."""
    return exchange.status in (410, 429) or 500 <= (exchange.status or 0) <= 599


def is_from_imds(exchange: Exchange) -> bool:
    """Whether IMDS itself gave this answer to ``/metadata/instance``.

    It is the metadata, or one of its documented errors.

    A page for people (HTML) is IMDS's only with a status that a web server's own error page has,
    and never from a proxy.
    """
    if exchange.instance:
        return True
    if exchange.outcome is not Outcome.HTTP or exchange.via:
        return False
    if is_transient(exchange):
        return exchange.body is not Body.ENDLESS
    return exchange.status in (400, 401, 403) and exchange.body in (
        Body.JSON,
        Body.TEXT,
        Body.EMPTY,
    )
