"""All rules, in order of weight: of several findings that explain a run, the first in this list is its cause."""

from __future__ import annotations

from typing import Dict, Tuple

from . import imds, nic, platform, route
from .finding import Rule

RULES: Tuple[Rule, ...] = (
    platform.not_azure,
    # on the VM, before the packet leaves it
    nic.nic_down,
    nic.nic_mac_mismatch,
    nic.nic_ip_mismatch,
    route.address_claimed_locally,
    route.route_missing,
    route.route_link_local_shadow,
    route.route_wrong_interface,
    route.source_not_primary_ip,
    imds.guest_proxy_agent_failing,
    route.route_wrong_gateway,
    # what came back
    imds.imds_access_denied,
    imds.imds_rejects_request,
    imds.imds_throttled,
    imds.imds_unavailable,
    imds.imds_not_imds,
    imds.firewall_unknown,
    # looked everywhere on the VM
    platform.tool_failed,
    imds.platform_unreachable,
    imds.imds_refused,
    imds.imds_no_answer,
    # IMDS answers, but some client or feature will fail
    platform.clock_skew,
    platform.wireserver_unreachable,
    platform.attested_unavailable,
    # never the cause
    route.route_stale_persistent,
    nic.nic_dhcp_disabled,
    route.route_not_specific,
)

BY_CAUSE: Dict[str, Rule] = {rule.cause: rule for rule in RULES}
