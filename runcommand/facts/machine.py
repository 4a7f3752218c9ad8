"""The operating system, the chassis, and what runs on this machine."""

from __future__ import annotations

from enum import Enum
from typing import Optional

from ..frozen import dataclass
from .addresses import Address
from .kinds import AssetTag, Distribution, Id, Phrase, Term


@dataclass(frozen=True)
class Machine:
    """The operating system and the chassis. ``asset_tag`` is the SMBIOS chassis asset tag."""

    os_name: Optional[Phrase] = None  # "Windows Server 2022 Datacenter", "Ubuntu 24.04.1 LTS"
    os_id: Optional[Distribution] = None  # "ubuntu", "rhel"
    os_version: Optional[Phrase] = None
    edition: Optional[Term] = None  # Windows EditionID: "ServerTurbine" is Azure Edition
    build: Optional[Term] = None  # Windows: "20348.2402"
    kernel: Optional[Phrase] = None
    architecture: Optional[Term] = None
    vendor: Optional[Phrase] = None
    product: Optional[Phrase] = None
    asset_tag: Optional[AssetTag] = None
    smbios_uuid: Optional[Id] = None
    elevated: Optional[bool] = None  # root, or an elevated administrator or SYSTEM


class ServiceState(str, Enum):
    RUNNING = "running"
    STOPPED = "stopped"
    FAILED = "failed"
    STARTING = "starting"
    STOPPING = "stopping"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Service:
    name: Term
    state: ServiceState
    start: Optional[Term] = None  # auto, demand, disabled, or systemd's UnitFileState


@dataclass(frozen=True)
class Listener:
    """A local TCP endpoint that accepts connections (only the ports that matter here are kept)."""

    address: Address
    port: int
    # the file name of the program, without its folder; None: not known
    process: Optional[Phrase] = None
    pid: Optional[int] = None


@dataclass(frozen=True)
class ProcessConnection:
    """A TCP connection of a process of this machine to IMDS."""

    process: Phrase
    pid: int
    local_port: int
    state: Term
