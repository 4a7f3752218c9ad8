"""Whether the hosts of certificates, revocation lists and OCSP can be reached."""

from __future__ import annotations

from typing import Optional, Tuple

from ..frozen import dataclass
from .connection import Connection
from .kinds import DnsName, Message, Term
from .proxy import ProxyReach


@dataclass(frozen=True)
class EndpointTrial:
    """Whether a host of certificates, revocation lists or OCSP can be reached on TCP 80."""

    host: DnsName
    purposes: Tuple[Term, ...]  # "AIA", "CRL", "OCSP"
    connection: Optional[Connection] = None  # None: not tried; ``error`` says why
    error: Optional[Message] = None
    is_name_unknown: bool = False
    proxies: Tuple[ProxyReach, ...] = ()
