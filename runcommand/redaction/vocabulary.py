"""Common words and names.

Where only few words are expected, any other word may be a customer's own name.
"""

from __future__ import annotations

import re
from http.client import responses

# Beside those of HTTP's statuses: of answers, of firewalls, of paths and programs, of certificates,
# of what the systems' own programs print; in lower case, and no shorter than three letters: shorter
# ones name nobody.
WORDS = (
    frozenset(
        """
    about accept access account ack action adapter address addresses addrtype administrator after
    again agent all allow allowlist altname amazon and any apache api appdata application are arp
    arr authority authorization authroot available azure baltimore been before bin blackhole block
    blocked blocking blocklist bluecoat bluetooth boot brd bridge broadcast bundle but bytes cali
    calico canary cannot carrier centos cer cert certificate certificates chain charset cilium
    client closed cloudflare cmd code codel comment common compute conf config configuration connect
    connection conntrack contact corporation could crl cross crt crypt32 curl cybertrust dead debian
    default defaultgateway dell denied deprecated der dev dhcp digicert disallowed dll dnat docker
    document does domain dormant dotnet down drop dropped dst dynamic ec2 ecc edge elements
    enterprise entrust environment envoy errors established etc ether ethernet exceeded exe expired
    expr exthdr fast fetched fib file files filter fin firewall firewalld forcepoint forever
    fortinet forward from geotrust global globalsign gmbh google goto group guest haproxy has
    hashlimit hat have headers hewlett home host html httpapi https icmp icmpx identity igmp iis
    imds inbound inc inet innotek input interface intermediate internet invalid ipconfig iprange
    iptables isatap isolation issuing istio java json jump kernel kube kvm lan later lenovo lft lib
    libvirt limit limited link linkdown llc local localmachine localsubnet log logging login lookup
    loopback lower ltd mac machine main management mangle mark masquerade master match material
    message meta metadata metric microsoft missing mitmproxy mtu multicast multiport must name names
    nat netdev netplan netsh netskope networkmanager new nexthop nfqueue nftables nginx noarp
    nodeports none noop noprefixroute noqueue notrack nutanix object ocsp octet offload onlink only
    openssl openstack opt oracle out outbound output owner packard packets page paloalto password
    payload peer pem permaddr permission permitted pfifo pkix plain platform please pointopoint
    policy port ports postrouting powershell ppp preferred prerouting process profile program
    programdata programfiles prohibit prohibited promisc proto providers pseudo psh public python
    qdisc qemu qlen query queue rate raw recent red redmond refused reject related reply resolv
    resource resourcegroups retry return roaming root route rsa rst rule rules run sbin scope sec
    secondary secure secured security sep services session set settings sign site skip slave snat
    socket sophos source specified squid src ssl stage standard start state static stream string
    subscriptions support svc svchost syn sys system system32 systemd systemroot syswow64 table tcp
    tcpmss temp temporarily tentative teredo test text that the this throttled throw time timed
    tinyproxy tls token tomcat tproxy track traefik traffic try tunnel tunneling ubuntu udp ufw
    unable unicast unix unknown unreachable untracked urg user users usr utf valid value var varnish
    vethernet via virtual virtualbox virtualmachines virtualmachinescalesets vmap vmid vmware
    waagent was web websense weight windir windows windowspowershell winhttp wireless wireserver
    with wrong x86 xen xml xsign xtables you your zone zones zscaler
    """.split()
    )
    | frozenset(  # of systems, their editions and images, of adapters, of folders
        """
    almalinux almalinuxos alpine amd64 amzn arch arm64 avx aws azurelinux babel bgp bionic bird
    bookworm bullseye canonical cbl cluster codename connectx container core coreos credativ
    datacenter daily debug defender desktop devel dhclient dhclient6 documents dom drm dmi dummy
    edition eigrp enet essentials ethtool evaluation family fedora filtering fips flatcar focal
    folder found generic gnu hardened hotpatch hpc hyper ipsec isis jammy keepalived kali kinvolk
    knl ldp leap leases lib64 linux lowlatency lts maipo mariner mellanox microsoftwindowsdesktop
    microsoftwindowsserver mint miniport minimal mrouted msvm multi netif netmgmt netvsc nic nics
    noble ntk ootpa openlogic opensuse ospf photon plow prefix preview printed proc professional
    redhat release resf rhel rip rocky rockylinux server serverless sevsp shared sles smalldisk
    software sol suse tag tap tmp trixie tumbleweed uek upgrade valve virtio vmbus vmxnet3 vpn wan
    wireguard workstation wsl xenial zebra zesty x64 21h2 22h2 23h2 24h2 6to4
    """.split()
    )
    | frozenset(re.findall("[a-z]{3,}", " ".join(responses.values()).lower()))
)

# What ``ID`` says in /etc/os-release of what everybody can have.
DISTRIBUTIONS = frozenset(
    """
    almalinux alpine amzn arch azurelinux centos cloudlinux coreos debian fedora flatcar gentoo kali
    linuxmint mariner nixos ol opensuse photon pop raspbian redhat rhel rocky sles ubuntu virtuozzo
    void
    """.split()
)
# Of Azure: "westeurope", "usgovvirginia", "eastus2".
REGION = re.compile(
    r"(?:north|south|east|west|central|southeast|northeast|us|gov|dod|"
    r"europe|asia|japan|korea|india|jio|"
    r"australia|brazil|canada|china|france|germany|italy|norway|poland|spain|sweden|switzerland|"
    r"uae|uk|qatar|israel|mexico|newzealand|africa|austria|chile|indonesia|malaysia|taiwan|"
    r"denmark|belgium|arizona|texas|virginia|iowa|euap|stg|stage|[0-9]){2,8}",
    re.IGNORECASE,
)

# Of hosts: those at and below these names are Microsoft's own or a public authority's.
PUBLIC = (
    "microsoft.com", "windows.com", "windowsupdate.com", "msftconnecttest.com", "msftncsi.com",
    "digicert.com", "digicert.cn", "geotrust.com", "globalsign.com", "globalsign.net",
    "entrust.net", "verisign.com", "symcb.com", "symcd.com", "sectigo.com", "usertrust.com",
    "comodoca.com", "letsencrypt.org", "lencr.org", "identrust.com", "metadata.azure.com",
    "metadata.azure.us", "metadata.azure.cn", "metadata.microsoftazure.de", "management.azure.com",
    "portal.azure.com", "aka.ms", "localhost.localdomain", "localdomain",
)  # fmt: skip
# What a customer's own names stand before.
SHARED = (
    "internal.cloudapp.net", "cloudapp.net", "cloudapp.azure.com", "onmicrosoft.com",
    "azurewebsites.net", "vault.azure.net", "core.windows.net", "database.windows.net",
    "trafficmanager.net", "azureedge.net", "azurefd.net",
)  # fmt: skip
SERVICES = ("blob", "file", "queue", "table", "dfs", "web")  # of core.windows.net

# Adapters as the systems themselves name them.
NIC = re.compile(
    r"lo|(?:eth|ens|eno|enp|ib|bond|team|br|virbr|docker|podman|cni|flannel\.|tun|tap|wg|ppp|"
    r"wlan|wwan|dummy|ifb|sit|gre|gretap|"
    r"erspan|ip6tnl|tunl|ip_vti|ip6_vti|vxlan|vlan|nerdctl|lxcbr|lxdbr|vnet|hsn)"
    r"\d{1,5}(?:s\d{1,4}|f\d{1,4}|d\d{1,4}|n?p\d{1,4})*"
    r"(?:[.:]\d{1,4})?|enP\d{1,6}(?:[spfdn]\d{1,4})*|"
    r"(?:veth|azv|cali|lxc|tap|br-)[0-9a-f]{4,13}|cilium_(?:net|host|vxlan)|"
    r"kube-(?:ipvs0|bridge)|vxlan\.calico|nodelocaldns|"
    r"(?:Ethernet|Wi-Fi|WLAN|Wireless Network Connection|Local Area Connection\*?|"
    r"Bluetooth Network Connection|Network Bridge)(?: \d{1,4})?|"
    r"Loopback Pseudo-Interface \d{1,4}|Teredo Tunneling Pseudo-Interface|6TO4 Adapter|"
    r"vEthernet \((?:nat|Default Switch|WSL)\)",
    re.ASCII,
)
