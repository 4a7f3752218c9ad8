"""All rules, in order of weight: of several findings that explain a run, the first in this list is
its cause.
"""

from __future__ import annotations

from typing import Dict, FrozenSet, Tuple

from . import attested, azure, certificates, clock, firewall, imds, nic, proxy, route
from .finding import Rule

RULES: Tuple[Rule, ...] = (
    azure.not_azure,
    # on the VM, before the packet leaves it
    nic.nic_down,
    nic.nic_mac_mismatch,
    nic.nic_ip_mismatch,
    route.address_claimed_locally,
    route.route_missing,
    firewall.firewall_blocks_imds,
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
    firewall.firewall_unknown,
    proxy.proxy_intercepts_imds,
    # looked everywhere on the VM
    azure.tool_failed,
    imds.platform_unreachable,
    imds.imds_refused,
    imds.imds_no_answer,
    # IMDS answers, but some client or feature will fail
    clock.clock_skew,
    azure.wireserver_unreachable,
    attested.attested_unavailable,
    attested.attested_signature_invalid,
    attested.attested_nonce_mismatch,
    attested.attested_vm_mismatch,
    attested.attested_document_expired,
    certificates.cert_expired,
    certificates.cert_san_mismatch,
    certificates.cert_chain_rejected,
    certificates.cert_root_untrusted,
    certificates.cert_intermediate_missing,
    # never the cause
    firewall.firewall_blocks_wireserver,
    proxy.proxy_intercepts_wireserver,
    proxy.proxy_user_only,
    route.route_stale_persistent,
    nic.nic_dhcp_disabled,
    route.route_not_specific,
    proxy.proxy_pac_present,
    certificates.cert_endpoints_blocked,
    certificates.cert_fetched_from_aia,
    attested.attested_unverifiable,
)

BY_CAUSE: Dict[str, Rule] = {rule.cause: rule for rule in RULES}

# What a failure explains: the same fault seen from another side, which would only contradict it
# with a fix of its own.
_ANSWERS = frozenset(
    {"imds-not-imds", "imds-access-denied", "imds-rejects-request", "imds-unavailable"}
)
# What means "looked everywhere on the VM": every failure before it explains it.
RESIDUAL = frozenset({"firewall-unknown", "platform-unreachable", "imds-refused", "imds-no-answer"})
EXPLAINS: Dict[str, FrozenSet[str]] = {
    "nic-down": frozenset({"route-missing"}),
    "address-claimed-locally": _ANSWERS,
    "route-link-local-shadow": frozenset({"route-wrong-interface", "route-wrong-gateway"})
    | _ANSWERS,
    "route-wrong-interface": _ANSWERS,
    "source-not-primary-ip": _ANSWERS,
    "guest-proxy-agent-failing": _ANSWERS,
}
