"""What a packet filter does with a packet: nftables and iptables, or Windows Firewall.

``Netfilter.verdict`` and ``WindowsFirewall.verdict`` take a ``Packet`` and give a
``PacketVerdict``. The package knows packets and rules, and nothing else of a run.
"""
