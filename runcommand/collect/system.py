"""What a run asks of an operating system. ``runcommand.system`` has an implementation for each."""

from __future__ import annotations

from pathlib import Path
from typing import Mapping, Optional, Protocol, Sequence

from ..facts import CertificateChain, Instant
from .board import Collector


class RunFolder(Protocol):
    """The folder of one run. Files in it are new, and only administrators can read them."""

    path: str

    def write(self, name: str, content: bytes) -> None:
        """A new file. Raises ``OSError``."""


class System(Protocol):
    """What a run asks of an operating system."""

    name: str  # as in ``Facts.system``
    by_device: bool  # can a socket be bound to a device?
    fetches_itself: bool  # does its certificate engine fetch issuers?

    def collectors(self) -> Mapping[str, Collector]:
        """One function for each field of ``Facts`` that this system can fill."""

    def cleanup(self) -> None:
        """Ends what is still running of the programs that the collectors started."""

    def judge_chain(
        self, certificates: Sequence[bytes], at: Instant, fetch: bool, seconds: float
    ) -> CertificateChain:
        """What the system makes of the chain of the first certificate. Raises ``NoFact``.

        :param certificates: in DER, the leaf first; the others may be its issuers, and are not
            trusted
        :param at: the time for which it is judged
        :param fetch: whether it may fetch issuers, where ``fetches_itself``
        :param seconds: for one fetch
        """


class LocalSystem(System, Protocol):
    """The system that this process runs on."""

    def host(self) -> str:
        """The host name."""

    def run_folder(self, base: Optional[Path], name: str) -> RunFolder:
        """Makes the folder ``name`` under ``base`` (None: the usual place) and prunes old ones
        beside it.

        Raises ``OSError`` where the folder cannot be made, or not safely.
        """
