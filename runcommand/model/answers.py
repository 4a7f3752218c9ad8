"""What the platform answered.

IMDS, the WireServer, the differential, and the attested document with its chain.
"""

from __future__ import annotations

from functools import cached_property
from typing import List, Optional, Tuple

from ..facts import (
    PLATFORM_ADDRESSES,
    Adapter,
    AttestedDocument,
    CertificateChain,
    ChainError,
    Connection,
    Exchange,
    Facts,
    ImdsInterface,
    Instance,
    Outcome,
    SignatureState,
    Trial,
    is_from_imds,
)
from ..frozen import dataclass
from .adapters import Adapters
from .azure import IMDS_SERVERS
from .sentences import exchange_in_words


@dataclass(frozen=True)
class PlatformAnswer:
    """An answer that only Azure gives, and where it came to.

    ``adapter`` and ``address`` are both None where something on the VM stood between: the guest
    proxy agent, which asks in the client's place, or whatever holds the platform's address itself.
    """

    by: str  # "IMDS", "the WireServer"
    adapter: Optional[Adapter] = None
    address: Optional[str] = None


class Answers:
    """Each answer, and what it shows."""

    def __init__(self, facts: Facts, adapters: Adapters) -> None:
        self._facts = facts
        self._adapters = adapters

    # --- IMDS ---

    @cached_property
    def imds(self) -> Optional[Exchange]:
        """The last plain request for the instance metadata; None when it was not made."""
        attempts = self._attempts
        if attempts:
            return attempts[-1]
        return None

    @property
    def _attempts(self) -> Tuple[Exchange, ...]:
        if self._facts.imds:
            return self._facts.imds.attempts
        return ()

    @cached_property
    def imds_gives_metadata(self) -> bool:
        """Whether the plain, unproxied request got this VM's metadata."""
        return self.imds is not None and self.imds.instance is not None

    @cached_property
    def imds_is_genuine(self) -> bool:
        """Whether the answer, metadata or an error, is of the form that IMDS gives."""
        return self.imds is not None and is_from_imds(self.imds)

    @cached_property
    def imds_is_silent(self) -> bool:
        """Whether the plain request was sent and brought nothing back."""
        if self.imds is None:
            return False
        return self.imds.outcome not in (Outcome.HTTP, Outcome.GARBLED, Outcome.FAILED)

    # --- the differential ---

    @cached_property
    def trials(self) -> Tuple[Trial, ...]:
        """The requests from each local address; empty where the differential was not made."""
        return self._facts.differential or ()

    @cached_property
    def proof(self) -> Optional[Trial]:
        """The first trial of the differential in which IMDS gave this VM's metadata."""
        for trial in self.trials:
            if trial.exchange and trial.exchange.instance:
                return trial
        return None

    # --- what IMDS says of the VM ---

    @cached_property
    def metadata(self) -> Optional[Exchange]:
        """The exchange that brought this VM's metadata: the plain one or the differential's."""
        if self.imds_gives_metadata:
            return self.imds
        if self.proof:
            return self.proof.exchange
        return None

    @cached_property
    def instance(self) -> Optional[Instance]:
        """What IMDS said of this VM."""
        if self.metadata:
            return self.metadata.instance
        return None

    def reported_interface(self, adapter: Adapter) -> Optional[ImdsInterface]:
        """What IMDS says of a NIC of the guest."""
        if self.instance is None:
            return None
        for interface in self.instance.interfaces:
            if interface.mac and interface.mac == adapter.mac:
                return interface
        return None

    # --- the WireServer ---

    @cached_property
    def wireserver_gives_versions(self) -> bool:
        """Whether port 80 answers as only the WireServer does."""
        return bool(self._facts.wireserver and self._facts.wireserver.http.versions)

    @property
    def wireserver_is_conclusive(self) -> bool:
        """Whether its silence says anything.

        On Linux the agent's own firewall rule restricts the WireServer to root.
        """
        machine = self._facts.machine
        is_unprivileged = machine is not None and machine.elevated is False
        return self._facts.wireserver is not None and not is_unprivileged

    @cached_property
    def wireserver_is_silent(self) -> bool:
        """Whether the WireServer would have to answer, and does on neither port."""
        server = self._facts.wireserver
        if server is None or not self.wireserver_is_conclusive:
            return False
        return (
            server.http.outcome is not Outcome.HTTP
            and server.host_plugin.outcome is not Outcome.ANSWERED
        )

    # --- the attested document ---

    @cached_property
    def document(self) -> Optional[AttestedDocument]:
        """The attested document of this VM; None where IMDS gave none, or does not answer."""
        if self._facts.imds and self.imds_gives_metadata:
            return self._facts.imds.document
        return None

    @cached_property
    def readable_document(self) -> Optional[AttestedDocument]:
        """The same, where its signature does not fail, and what it says is known."""
        document = self.signed_document
        if document is None or not (document.algorithm or document.embedded or document.vm_id):
            return None
        return document

    @cached_property
    def signed_document(self) -> Optional[AttestedDocument]:
        """The same, where its signer is known and its signature does not fail."""
        document = self.document
        if document is None or document.signer is None:
            return None
        if document.signature in (SignatureState.INVALID, SignatureState.MALFORMED):
            return None
        return document

    @cached_property
    def chain(self) -> Optional[CertificateChain]:
        """The final result for the chain of the document's signer.

        From what is on the VM, or with fetching where that was needed.

        It has no word (``trusted`` is None) where the system's own fetching did not end, and this
        program's was not in vain.
        """
        chains = self._facts.certificate_chains
        if not chains or not self.signed_document:
            return None
        is_undecided = chains[-1].trusted is None
        if is_undecided and len(chains) > 1 and not chains[-2].trusted:
            return chains[-2]
        return chains[-1]

    @cached_property
    def chain_errors(self) -> Tuple[ChainError, ...]:
        """What is said against the chain; nothing where it is trusted."""
        if self.chain is None or self.chain.trusted is not False:
            return ()
        return self.chain.errors

    # --- whom the platform answered ---

    @cached_property
    def from_platform(self) -> Tuple[PlatformAnswer, ...]:
        """The platform's answers, the surest first; empty where it gave none.

        Azure answers the primary address of the primary NIC and no other, so the address that the
        metadata came to leaves nothing for the other answers to say.
        """
        found: List[PlatformAnswer] = []
        if self.metadata:
            found.append(self._answered("IMDS", self.metadata.connection))
            if found[0].adapter:
                return tuple(found)
        server = self._facts.wireserver
        if server and self.wireserver_gives_versions:
            found.append(self._answered("the WireServer", server.http.connection))
        elif server and server.host_plugin.outcome is Outcome.ANSWERED:
            found.append(self._answered("the WireServer", server.host_plugin))
        if self.metadata is None:
            for exchange in self._refusals():
                refusal = self._answered("IMDS", exchange.connection)
                if refusal.adapter:  # else it is the guest proxy agent's own
                    found.append(refusal)
        return tuple(sorted(found, key=lambda item: item.adapter is None))

    def _refusals(self) -> List[Exchange]:
        """IMDS's answers that are no metadata (429, 503, ...).

        To the plain requests and in the differential.
        """
        tried = list(self._attempts)
        for trial in self.trials:
            if trial.exchange:
                tried.append(trial.exchange)
        return [
            exchange
            for exchange in tried
            if is_from_imds(exchange) and (exchange.server or "").startswith(IMDS_SERVERS)
        ]

    def _answered(self, by: str, connection: Connection) -> PlatformAnswer:
        owner = self.nic_of(connection)
        if owner is None:
            return PlatformAnswer(by)
        return PlatformAnswer(by, owner, connection.local_address)

    def nic_of(self, connection: Connection) -> Optional[Adapter]:
        """The NIC that a connection left by; None where it did not leave the VM."""
        if connection.local_address in PLATFORM_ADDRESSES:
            return None
        return self._adapters.holding(connection.local_address)

    def in_words(self, exchange: Exchange, with_source: bool = True) -> str:
        """How an exchange ended: ``timed out after 3.0 s from 10.1.0.5``."""
        return exchange_in_words(exchange, self._facts.system, with_source)
