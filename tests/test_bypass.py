"""What each client makes of a bypass list: the expectation, and the page or the experiment that it
comes from.
"""

import os
import shutil
import subprocess
import sys
import textwrap
import urllib.request

import pytest

from runcommand.facts import Proxy, ProxyKind, Scope
from runcommand.proxy.bypass import Client, clients, through
from runcommand.proxy.settings import of_environment, read_bypass, read_server, read_servers

from .command import ROOT
from .lab.namespace import why_not

IMDS, WIRESERVER = "169.254.169.254", "168.63.129.16"
WININET = "https://learn.microsoft.com/windows/win32/wininet/enabling-internet-functionality"
IMPLICIT = (
    "https://chromium.googlesource.com/chromium/src/+/HEAD/net/docs/proxy.md#implicit-bypass-rules"
)
WINHTTP = "https://learn.microsoft.com/windows/win32/api/winhttp/ns-winhttp-winhttp_proxy_info"
FRAMEWORK = "https://referencesource.microsoft.com (System.Net, WebProxyDataBuilder)"
DOTNET = (
    "https://github.com/dotnet/runtime (System.Net.Http, HttpWindowsProxy and HttpEnvironmentProxy)"
)
CURL = "https://curl.se/libcurl/c/CURLOPT_NOPROXY.html; experiment: test_curl_itself"
URLLIB = "https://docs.python.org/3/library/urllib.request.html; experiment: test_urllib_itself"
REQUESTS = "https://github.com/psf/requests (requests.utils.should_bypass_proxies)"
GO = "https://pkg.go.dev/golang.org/x/net/http/httpproxy#Config"
DEPRECATE = "https://curl.se/libcurl/c/CURLOPT_NOPROXY.html (8.9.0: separated by commas only)"

INET, FX, NET, PY, HTTP = (
    Client.WININET,
    Client.DOTNET_FRAMEWORK,
    Client.DOTNET,
    Client.PYTHON,
    Client.WINHTTP,
)
CU, RE, G = Client.CURL, Client.REQUESTS, Client.GO
SETTINGS = {INET, FX, NET, PY}
ENVIRONMENT = {CU, PY, RE, G, NET}

# (ProxyOverride, the address, who goes around the proxy, where that is from)
OVERRIDES = [
    ("", IMDS, {INET}, IMPLICIT),
    ("", WIRESERVER, set(), IMPLICIT),
    ("<local>", IMDS, {INET}, WININET),
    ("<local>", WIRESERVER, set(), WININET),
    ("<-loopback>", IMDS, set(), IMPLICIT),
    ("<-loopback>;169.254.169.254", IMDS, SETTINGS, IMPLICIT),
    ("169.254.169.254;168.63.129.16", IMDS, SETTINGS, WININET),
    ("169.254.169.254;168.63.129.16", WIRESERVER, SETTINGS, WININET),
    ("169.254.169.254; 168.63.129.16", WIRESERVER, SETTINGS, DOTNET),
    ("169.254.*;168.63.*", WIRESERVER, SETTINGS, WININET),
    ("*.129.16", WIRESERVER, SETTINGS, WININET),
    ("168.6*.129.1*", WIRESERVER, SETTINGS, WININET),
    ("*", WIRESERVER, SETTINGS, WININET),
    ("169.254.169.254 168.63.129.16", WIRESERVER, {INET}, DOTNET),
    ("168.63.129.16 169.254.169.254", WIRESERVER, {INET, NET}, DOTNET),
    ("169.254.169.254,168.63.129.16", WIRESERVER, set(), DOTNET),
    ("168.63.129", WIRESERVER, set(), WININET),
    ("168.63.129.0/24", WIRESERVER, set(), WININET),
    ("168.63.129.16:80", WIRESERVER, {INET}, FRAMEWORK),
    ("168.63.129.16:32526", WIRESERVER, set(), WININET),
    ("http://168.63.129.16", WIRESERVER, {INET, FX, NET}, FRAMEWORK),
    ("https://168.63.129.16", WIRESERVER, {NET}, DOTNET),
    ("168.63.129.17;168.63.129.1", WIRESERVER, set(), WININET),
    ("<LOCAL>;*.contoso.com;10.*", IMDS, {INET}, WININET),
]

# (bypass-list of WinHTTP, the address, is it bypassed, where that is from)
DEFAULTS = [
    ("", IMDS, False, WINHTTP),
    ("<local>", IMDS, False, WINHTTP),
    ("169.254.169.254;168.63.129.16", IMDS, True, WINHTTP),
    ("169.254.169.254 168.63.129.16", WIRESERVER, True, WINHTTP),
    ("*.169.254", IMDS, True, WINHTTP),
    ("169.254.*", IMDS, True, WINHTTP),
    ("169.254.0.0/16", IMDS, False, WINHTTP),
    ("169.254.169.254,168.63.129.16", WIRESERVER, False, WINHTTP),
]

# (no_proxy, the address, who goes around the proxy, where that is from)
NO_PROXY = [
    ("", IMDS, set(), CURL),
    ("*", IMDS, {CU, PY, RE, G}, GO),
    ("localhost,*", IMDS, {G}, CURL),
    ("169.254.169.254", IMDS, ENVIRONMENT, CURL),
    ("169.254.169.254,168.63.129.16", WIRESERVER, ENVIRONMENT, CURL),
    ("localhost, 169.254.169.254 , 10.0.0.1", IMDS, ENVIRONMENT, CURL),
    ("169.254.169.253", IMDS, set(), CURL),
    ("169.254.0.0/16", IMDS, {CU, RE, G}, CURL),
    ("169.254.169.254/32", IMDS, {CU, RE, G}, CURL),
    ("168.63.129.0/28,10.0.0.0/8", WIRESERVER, set(), REQUESTS),
    ("0.0.0.0/0", IMDS, {G}, REQUESTS),
    ("169.254.*", IMDS, set(), CURL),
    ("169.254.", IMDS, set(), URLLIB),
    ("169.254", IMDS, {PY, RE, G}, URLLIB),
    (".254", IMDS, {PY, RE, G, NET}, DOTNET),
    (".169.254.169.254", IMDS, {PY, RE, NET}, GO),
    ("*.169.254", IMDS, {G}, GO),
    ("169.254.169.254:80", IMDS, {G}, GO),
    ("169.254.169.254:8080", IMDS, set(), GO),
    ("http://169.254.169.254", IMDS, set(), CURL),
    ("localhost;169.254.169.254", IMDS, set(), CURL),
    ("<local>", IMDS, set(), CURL),
    (".contoso.com,localhost,127.0.0.1,::1", IMDS, set(), CURL),
    ("10.0.0.1 169.254.169.254", IMDS, set(), DEPRECATE),
]


def proxy(kind, bypass, **more):
    separators = {
        ProxyKind.ENVIRONMENT: ",",
        ProxyKind.WINHTTP: r";\s",
        ProxyKind.INTERNET_SETTINGS: ";",
    }[kind]
    return Proxy(
        "here",
        kind,
        Scope.MACHINE,
        server="10.1.2.3:3128",
        bypass=read_bypass(bypass, separators),
        **more,
    )


def around(setting, address):
    return set(clients(setting)) - set(through(setting, address))


@pytest.mark.parametrize("bypass, address, expected, source", OVERRIDES)
def test_internet_settings(bypass, address, expected, source):
    assert around(proxy(ProxyKind.INTERNET_SETTINGS, bypass), address) == expected, source


@pytest.mark.parametrize("bypass, address, expected, source", DEFAULTS)
def test_winhttp(bypass, address, expected, source):
    assert around(proxy(ProxyKind.WINHTTP, bypass), address) == ({HTTP} if expected else set()), (
        source
    )


@pytest.mark.parametrize("bypass, address, expected, source", NO_PROXY)
def test_no_proxy(bypass, address, expected, source):
    assert (
        around(proxy(ProxyKind.ENVIRONMENT, bypass, variable="http_proxy"), address) == expected
    ), source


def test_the_tables_are_as_long_as_promised():
    assert len(OVERRIDES) + len(DEFAULTS) + len(NO_PROXY) >= 40


@pytest.mark.parametrize(
    "variable, expected, source",
    [
        ("http_proxy", ENVIRONMENT, CURL),
        ("HTTP_PROXY", ENVIRONMENT - {CU}, CURL),
        ("all_proxy", {CU, RE, NET}, URLLIB),
        ("ALL_PROXY", {CU, RE, NET}, CURL),
    ],
)
def test_who_reads_a_variable(variable, expected, source):
    assert set(clients(proxy(ProxyKind.ENVIRONMENT, "", variable=variable))) == expected, source


@pytest.mark.parametrize(
    "variables, expected, source",
    [
        (
            {"http_proxy": "a:1", "HTTP_PROXY": "b:2"},
            {"http_proxy": ENVIRONMENT - {G}, "HTTP_PROXY": {G}},
            GO,
        ),
        (
            {"HTTP_PROXY": "a:1", "ALL_PROXY": "b:2"},
            {"HTTP_PROXY": ENVIRONMENT - {CU}, "ALL_PROXY": {CU}},
            CURL,
        ),
        (
            {"http_proxy": "a:1", "all_proxy": "b:2"},
            {"http_proxy": ENVIRONMENT, "all_proxy": set()},
            CURL,
        ),
        (
            {"all_proxy": "a:1", "ALL_PROXY": "b:2"},
            {"all_proxy": {CU, RE, NET}, "ALL_PROXY": set()},
            CURL,
        ),
        ({"http_proxy": "a:1", "HTTP_PROXY": "a:1"}, {"http_proxy": ENVIRONMENT}, CURL),
    ],
)
def test_who_reads_which_of_several_variables(variables, expected, source):
    found = of_environment(variables, "here", lambda note: None)
    assert {item.variable: set(clients(item)) for item in found} == expected, source


def test_of_two_lists_that_differ_go_reads_the_one_in_capitals():
    both = {"http_proxy": "a:1", "no_proxy": f"{IMDS},{WIRESERVER}", "NO_PROXY": "localhost"}
    (found,) = of_environment(both, "here", lambda note: None)
    assert through(found, IMDS) == (G,) and not found.is_whole


def test_the_linux_agents_own_proxy_takes_nothing_for_the_platform():
    own = Proxy("/etc/waagent.conf", ProxyKind.GUEST_AGENT, Scope.SYSTEM, server="10.1.2.3:3128")
    assert not through(own, IMDS) and not through(own, WIRESERVER)


# --- the clients themselves ---


@pytest.mark.parametrize("bypass, address, expected, source", NO_PROXY)
def test_urllib_itself(monkeypatch, bypass, address, expected, source):
    monkeypatch.setenv("no_proxy", bypass)
    monkeypatch.setenv("http_proxy", "http://10.1.2.3:3128")
    assert bool(urllib.request.proxy_bypass_environment(address)) == (PY in expected)


CURLS = """
import http.server, json, os, subprocess, sys, threading
subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
for address in {addresses!r}:
    subprocess.run(["ip", "addr", "add", address + "/32", "dev", "lo"], check=True)

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = b"proxy" if self.path.startswith("http://") else b"direct"
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass

for place in [("127.0.0.1", 3128)] + [(address, 80) for address in {addresses!r}]:
    server = http.server.ThreadingHTTPServer(place, Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
for no_proxy, address in {lists!r}:
    env = {{"http_proxy": "http://127.0.0.1:3128", "no_proxy": no_proxy}}
    env["PATH"] = os.environ["PATH"]
    command = ["curl", "-s", "-m", "5", "http://" + address + "/"]
    done = subprocess.run(command, env=env, stdout=subprocess.PIPE)
    print(done.stdout.decode())
"""


@pytest.mark.skipif(why_not() is not None, reason=f"the lab cannot run: {why_not()}")
@pytest.mark.skipif(
    shutil.which("curl") is None, reason="the lab cannot run: curl is not installed"
)
def test_curl_itself():
    """In a namespace that has nothing but loopback, on which the platform's addresses and a proxy
    live.
    """
    asked = [
        (bypass, address, expected)
        for bypass, address, expected, source in NO_PROXY
        if source != DEPRECATE
    ]
    lists = [(bypass, address) for bypass, address, _ in asked]
    script = textwrap.dedent(CURLS).format(addresses=[IMDS, WIRESERVER], lists=lists)
    done = subprocess.run(
        ["unshare", "--net", sys.executable, "-c", script],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"]},
        stdout=subprocess.PIPE,
        text=True,
        timeout=120,
    )
    seen = done.stdout.split()
    assert seen == ["direct" if CU in expected else "proxy" for _, _, expected in asked]


# --- servers and lists ---


@pytest.mark.parametrize(
    "text, expected",
    [
        ("10.1.2.3:3128", "10.1.2.3:3128"),
        ("http://10.1.2.3:3128/", "10.1.2.3:3128"),
        ("http://user:pass@proxy.contoso.com:8080", "proxy.contoso.com:8080"),
        ("user:p%40ss@proxy:8080", "proxy:8080"),
        ("proxy.contoso.com", "proxy.contoso.com:80"),
        ("https://proxy", "https://proxy:443"),
        ("socks5h://10.0.0.1", "socks5h://10.0.0.1:1080"),
        ("HTTP://PROXY:1", "PROXY:1"),
        ("[fe80::1]:3128", "[fe80::1]:3128"),
        ("http://proxy:8080/path?token=secret#x", "proxy:8080"),
    ],
)
def test_a_server_is_host_and_port_without_credentials(text, expected):
    assert read_server(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "http://",
        ":3128",
        "a b:1",
        "proxy:99999",
        "proxy:0",
        "pr\u00f6xy:1",
        "x" * 300,
        "proxy:1;y",
        "-://x",
    ],
)
def test_what_is_no_server_is_refused(text):
    with pytest.raises(ValueError):
        read_server(text)


@pytest.mark.parametrize(
    "text, expected",
    [
        ("proxy:80", "proxy:80"),
        ("http=a:1;https=b:2", "a:1"),
        ("https=b:2;http=http://a:1", "a:1"),
        ("https=b:2 http=a:1", "a:1"),
        ("HTTP=a:1", "a:1"),
        ("https=b:2;ftp=c:3", None),
        ("socks=s:1080", "socks://s:1080"),
        ("https=b:2;d:4", "d:4"),
    ],
)
def test_a_list_names_the_proxy_for_http(text, expected):
    assert read_servers(text) == expected
