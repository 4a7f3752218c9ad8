"""What marks an Azure VM: its chassis, its NICs, its agents, its virtual network."""

from __future__ import annotations

from typing import Optional

from ..facts import PLATFORM_ADDRESSES, Cidr, Machine, contains

AZURE_ASSET_TAG = "7783-7084-3265-9085-8269-3286-77"
AZURE_MAC_PREFIXES = (
    "00-0D-3A",
    "00-22-48",
    "60-45-BD",
    "7C-1E-52",
    "7C-ED-8D",
    "00-17-FA",
    "00-12-5A",
)
# What stands in an asset tag that nobody has set, in lower case.
NO_TAG = (
    "",
    "none",
    "no asset tag",
    "not specified",
    "default string",
    "to be filled by o.e.m.",
    "asset tag",
    "n/a",
    "null",
)
# The virtual switch answers ARP with it for every next hop.
AZURE_ARP_MAC = "12-34-56-78-9A-BC"
AZURE_EDITIONS = ("ServerTurbine", "ServerTurbineCor")  # EditionID
GUEST_AGENTS = ("WindowsAzureGuestAgent", "RdAgent", "walinuxagent", "waagent")
PROXY_AGENTS = ("GuestProxyAgent", "azure-proxy-agent")
# How the Server header of IMDS begins; that of older hosts.
IMDS_SERVERS = ("IMDS/", "Microsoft-IIS/")


def is_azure_mac(mac: Optional[str]) -> bool:
    """Whether a MAC has one of the prefixes that Azure assigns."""
    return bool(mac and mac.startswith(AZURE_MAC_PREFIXES))


def is_azure_edition(machine: Optional[Machine]) -> bool:
    """Whether this is Windows Server's Azure Edition, which the attested document activates."""
    if machine is None:
        return False
    return machine.edition in AZURE_EDITIONS or "Azure Edition" in (machine.os_name or "")


def matches_platform(cidr: Cidr) -> bool:
    """Whether an IPv4 network contains the address of IMDS or of the WireServer."""
    return any(contains(cidr, address) for address in PLATFORM_ADDRESSES)
