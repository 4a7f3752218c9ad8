"""Nothing secret is in any report, redacted or not: secrets are put wherever one could come from,
and every format is searched.
"""

import base64
import html
import json
import random
import subprocess
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from runcommand.attest.x509 import X509
from runcommand.diagnosis import diagnose
from runcommand.facts import Body, Outcome, ProxyKind, Scope
from runcommand.facts.confidential import without_secrets
from runcommand.facts.urls import beginning, without_query
from runcommand.probes import http, imds as imds_probe
from runcommand.proxy.settings import of_environment, read_bypass
from runcommand.redaction import redacted
from runcommand.report import json_report, text
from runcommand.simulator import pki, scenarios
from runcommand.simulator.host import TOKEN, Behaviour, instance_document
from runcommand.simulator.world import Scenario, simulate
from runcommand.system.linux import proxies as linux_proxies
from runcommand.system.windows.proxies import Blob, of_settings

from . import wine
from .facts_of import LINUX
from .lab.namespace import IMDS, Lab, why_not
from .lab.obstacles import PROXY
from .lab.registry import WITH_SECRETS
from .lab.windows import WindowsLab
from .wine.exe import current

METADATA = (
    "c2VjcmV0",
    "SECRETKEY",
    "secret-tag",
    "secret-value",
)  # customData, userData, publicKeys, tags, as the host has them
SECRETS = (*METADATA, TOKEN, "hunter2", "S3cret", "4711", "sig=", "token=")
HOST, PORT = PROXY.split(":")
# A proxy with credentials, in every notation; some with what is no address at all.
WITH_CREDENTIALS = (
    f"http://user:hunter2@{PROXY}",
    f"user:hunter2@{PROXY}",
    f"http://hunter2@{PROXY}/",
    f"http://us%40er:hunter2%2F@{PROXY}/?token=S3cret",
    f"http://user:hunter2@S3cret@{PROXY}",
    f"http://user:hunter2/S3cret?sig=hunter2@{PROXY}",
    "http://user:hunter2@",
    "http://user:hunter2@:99999",
    "http://user:hunter2@[bad",
    f"socks5://user:hunter2@{PROXY}",
    f"http://user:hun ter2 hunter2@{PROXY}",
    f"http://user:4711#hunter2@{PROXY}",
    f"user:4711#hunter2@{PROXY}",
    f"http://user:4711 #hunter2@{PROXY}",
    f"http://user:hunter2%23@{PROXY}",
)


def in_every_format(facts):
    """All that a run or a replay prints or writes of some facts, as they are and redacted."""
    made = []
    for some in (facts, redacted(facts)):
        diagnosis = diagnose(some)
        made += [text.portal(diagnosis), text.full(diagnosis), json_report.as_json(diagnosis)]
        made.append(text.last_resort(some, ValueError("x")))
    return made


def secrets_in(*reports):
    return sorted(
        {secret for report in reports for secret in SECRETS if secret.lower() in report.lower()}
    )


def test_the_search_finds_a_secret():
    assert secrets_in("a password: HUNTER2", f"{TOKEN}") == [TOKEN, "hunter2"]


# --- texts ---


@pytest.mark.parametrize(
    "said, kept",
    [
        (
            "see http://user:hunter2@host/path?sig=S3cret#x for more",
            "see http://host/path for more",
        ),
        ("http://user:hunter2@S3cret@host/x", "http://host/x"),
        ("http://user:hunter2/S3cret@host/x", "http://host/x"),
        (f"Authorization: Bearer {TOKEN}.{TOKEN}.", "Authorization: Bearer ..."),
        ("Basic aHVudGVyMjpTM2NyZXQ= was sent", "Basic ... was sent"),
        ('{"access_token": "hunter2", "x": 1}', '{"access_token": "...", "x": 1}'),
        ("AccountKey=S3cret+hunter2/S3cret==;x=1", "AccountKey=...;x=1"),
        (f"at /in/{TOKEN}/x", "at /in/.../x"),
        ("0123456789abcdef0123456789ABCDEF", "..."),
        ("the proxy user:hunter2@host:8080 refused", "the proxy ...@host:8080 refused"),
        ("http_proxy=user:hun=ter2@host", "http_proxy=...@host"),
        ("us%65r:hunter2@host", "...@host"),
        ("DOMAIN\\user:hunter2@host", "...@host"),
        (r'{"m": "{\"token\":\"hunter2\",\"x\":1}"}', r'{"m": "{\"token\":\"...\",\"x\":1}"}'),
        (r"\\\"password\\\": \\\"hunter2 S3cret\\\"", r"\\\"password\\\": \\\"...\\\""),
        (r'"password": "hunter2\"S3cret", "x": 1', '"password": "...", "x": 1'),
        ('"password": "hunter2', '"password": "...'),
        ("pass=hunter2 passphrase=hunter2 psk=hunter2", "pass=... passphrase=... psk=..."),
        ("wpa_psk: hunter2; pwd=hunter2; dbpass=hunter2", "wpa_psk: ...; pwd=...; dbpass=..."),
        ("secret: hunter2, password1=hunter2", "secret: ..., password1=..."),
        (
            "apikey=hunter2 api_key=hunter2 x-api-key: hunter2",
            "apikey=... api_key=... x-api-key: ...",
        ),
        ("Cookie: a=1; session=hunter2; b=S3cret\nServer: x", "Cookie: ...\nServer: x"),
        ("Set-Cookie: id=hunter2; Path=/; S3cret", "Set-Cookie: ..."),
        ('{"cookie": "a=1; b=hunter2", "x": 1}', '{"cookie": "...", "x": 1}'),
        ("a=1&%70assword=hunter2&b=2", "a=1&%70assword=...&b=2"),
        ("%2570%2561ss=hunter2", "%2570%2561ss=..."),
        ("to%3Fpassword%3Dhunter2", "to%3Fpassword%3D..."),
        ("<Password>hunter2</Password>", "<Password>...</Password>"),
        ('Authorization: Digest username="u", response="hunter2"', "Authorization: Digest ..."),
        ("Proxy-Authorization: Basic aHVudGVyMg==", "Proxy-Authorization: Basic ..."),
        (
            "SharedAccessKeyName=r;SharedAccessKey=S3cret/x+=;x=1",
            "SharedAccessKeyName=r;SharedAccessKey=...;x=1",
        ),
        (
            "x --password hunter2 --token S3cret -u root:hunter2",
            "x --password ... --token ... -u ...",
        ),
        ("got eyJhbGciOi.eyJzdWIiOi.c2ln back", "got ... back"),
        ("is abCD3f/Gh1jkLm+opQ4rs/TUvw5xyz== whole", "is ... whole"),
        ("is /bCD3f/Gh1jkLm9opQ4rs/TUvw5xyz whole", "is /... whole"),
        (
            "-----BEGIN RSA PRIVATE KEY-----\nS3cret\n-----END RSA PRIVATE KEY-----",
            "-----BEGIN RSA PRIVATE KEY-----...-----END RSA PRIVATE KEY-----",
        ),
        # names that are encoded, and are not the first ones
        ("x%3D1%26password%3Dhunter2", "x%3D1%26password%3D..."),
        (
            "next=http%3A%2F%2Fh%3Fuser%3Dx%26password%3Dhunter2%26x%3D1",
            "next=http%3A%2F%2Fh%3Fuser%3Dx%26password%3D...%26x%3D1",
        ),
        ("a%253D1%2526pwd%253Dhunter2%2526b%253D2 c", "a%253D1%2526pwd%253D...%2526b%253D2 c"),
        ("sv%3D1%26sig%3Dhunter2&x=1", "sv%3D1%26sig%3D...&x=1"),
        ("%7B%22token%22%3A%22hunter2%22%7D", "%7B%22token%22%3A..."),
        # base64 with slashes
        (
            "AWS_SECRET_ACCESS_KEY=wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
            "AWS_SECRET_ACCESS_KEY=...",
        ),
        ("at wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY now", "at ... now"),
        # credentials with quotes and blanks
        ('http_proxy=user:hun"ter2@host', "http_proxy=...@host"),
        ("http_proxy=http://user:hunt'er2@host/x", "http_proxy=http://host/x"),
        ('the proxy "user:hunter2 S3cret@host" refused', 'the proxy "...@host" refused'),
        ("'http://user:hunter2 S3cret@host:80/'", "'http://host:80/'"),
        ('"http_proxy=user:hunter2 S3cret@host"', '"http_proxy=...@host"'),
        ("curl -u 'bob:hunter 2' x", "curl -u ... x"),
        ('curl --user bob:"hunter 2" x', "curl --user ... x"),
        ('x --password "hunter2 S3cret" y', "x --password ... y"),
        (
            "sshpass -p hunter2 ssh x; sshpass -phunter2 ssh y",
            "sshpass -p ... ssh x; sshpass -p... ssh y",
        ),
        ("plink -pw hunter2 host", "plink -pw ... host"),
        # elements, arrows, names of several words
        ('<password type="x">hunter2</password>', '<password type="x">...</password>'),
        (
            "&lt;password type=1&gt;hunter2 S3cret&lt;/password&gt;",
            "&lt;password type=1&gt;...&lt;/password&gt;",
        ),
        ("<password><![CDATA[hunter2]]></password>", "<password>...</password>"),
        ("<a:Password>hunter2 S3cret</a:Password>", "<a:Password>...</a:Password>"),
        ('"password" => "hunter2", "x" => 1', '"password" => "...", "x" => 1'),
        (
            "pass-word=hunter2 MY_PASS_PHRASE=hunter2 dbpw=hunter2",
            "pass-word=... MY_PASS_PHRASE=... dbpw=...",
        ),
        (
            "secret_value=hunter2 SECRETID=hunter2 client.secret=hunter2",
            "secret_value=... SECRETID=... client.secret=...",
        ),
        ("secret-id: hunter2\npassword_text := hunter2", "secret-id: ...\npassword_text := ..."),
        # values that have separators in them
        ("password=hunter2,S3cret;4711 x", "password=... x"),
        ("password=hunter2&S3cret x", "password=... x"),
        ("password=hunt'er2 x", "password=... x"),
        ('password=hun"ter2, x', "password=..., x"),
        ("password=hunter2;S3cret;user=x,y=1", "password=...;user=x,y=1"),
        ('{"passwords": ["hunter2","S3cret"], "x": 1}', '{"passwords": ..., "x": 1}'),
        ('{"keys": [["hunter2]"], ["S3cret"]], "x": 1}', '{"keys": ..., "x": 1}'),
        (r"{\"keys\":[\"hunter2\",\"S3cret\"],\"x\":1}", r"{\"keys\":...,\"x\":1}"),
        ('{"secret": {"a": "hunter2", "b": {"c": "S3cret"}}, "x": 1}', '{"secret": ..., "x": 1}'),
        ("tokens=[hunter2, S3cret", "tokens=..."),
        (
            "&quot;password&quot;:&quot;hunter2 S3cret&quot;,&quot;x&quot;:1",
            "&quot;password&quot;:&quot;...&quot;,&quot;x&quot;:1",
        ),
        ("password=hunt\\'er2 x", "password=... x"),
        # and what is none
        (
            "bypass: localhost; compass: north, passive=1, passport=x, encompass=y, by-pass=1, "
            "passed=3",
            None,
        ),
        (
            "monkey=1 turkey: x passing: 2 compassed=3 secretary: Bob tokenizer=x keyboard=us "
            "pwned: no",
            None,
        ),
        (
            '-A OUTPUT -p tcp -m tcp --dport 80 -m comment --comment "block: all" -j REJECT '
            "--reject-with tcp-reset",
            None,
        ),
        (
            "[12:720] -A INPUT -s 10.0.0.0/8 -i eth0 -m conntrack --ctstate RELATED,ESTABLISHED -j "
            "ACCEPT",
            None,
        ),
        (
            "default via 10.0.0.1 dev eth0 proto dhcp src 10.0.0.4 metric 100; 168.63.129.16 via "
            "10.0.0.1 dev eth0",
            None,
        ),
        (
            "10.0.0.0/24 dev eth0 proto kernel scope link src 10.0.0.4 metric 100 nexthop via "
            "fe80::1 weight 1",
            None,
        ),
        ("0.0.0.0          0.0.0.0         10.0.0.1        10.0.0.4     10", None),
        (
            "see https://learn.microsoft.com/azure/virtual-machines/instance-metadata-service or "
            "http://h:80/a/b.html",
            None,
        ),
        ('{"error": "x", "mail": "admin@contoso.com", "url": "http://h/p"}', None),
        ("\"Note: mail admin@contoso.com\", 'at 10:30 by bob@contoso.com'", None),
        ("it's not what user's host said: don't mail admin@contoso.com", None),
        ("use <token> in the header <key>, then &lt;password&gt; as before", None),
        ("--bypass list --compass north -p tcp -u root --user root", None),
        ("a => b, c := d; x%3D1%26y%3D2", None),
        ("169.254.169.254 via 10.0.0.1 dev eth0 proto dhcp src 10.0.0.4 metric 100", None),
        (
            "2: eth0@if5: <BROADCAST,MULTICAST,UP,LOWER_UP> mtu 1500 qdisc noqueue state UP group "
            "default",
            None,
        ),
        ("link/ether 00:0d:3a:7f:20:04 brd ff:ff:ff:ff:ff:ff link-netnsid 0", None),
        ('lease { interface "eth0"; fixed-address 10.0.0.4; option routers 10.0.0.1; }', None),
        (
            "-A OUTPUT -d 169.254.169.254/32 -p tcp -m tcp --dport 80 -m owner --uid-owner 0 -m "
            "mark --mark 0x1/0xff -j DROP",
            None,
        ),
        (
            "v2.31|Action=Block|Active=TRUE|Dir=Out|Protocol=6|RPort=80|RA4=169.254.169.254|"
            "Name=Block IMDS|",
            None,
        ),
        (
            "/subscriptions/8d10da13-8125-4ba9-a717-bf7490507b3d/resourceGroups/rgProd01/providers/Microsoft.Compute/virtualMachines/vm01",
            None,
        ),
        (r"C:\Users\a@contoso.com\x; mail admin@contoso.com; bypass: localhost", None),
        ("route -p add 169.254.169.254 mask 255.255.255.255 172.16.69.1 if 7", None),
        ("CN=Microsoft Azure RSA TLS Issuing CA 03, O=Microsoft Corporation, C=US", None),
        ("Bad request. api-version is invalid or was not specified in the request.", None),
        ("The token has expired. Key not found. A basic metadata service", None),
        ("no federated identity for 8d10da13-8125-4ba9-a717-bf7490507b3d", None),
        ("Microsoft-IIS/10.0", None),
        ("http://proxy01.contoso.com:8080/wpad.dat", None),
    ],
)
def test_what_is_kept_of_a_text(said, kept):
    assert without_secrets(said) == (said if kept is None else kept)


def test_base64_is_removed_whole_whatever_is_in_it():
    draw = random.Random(14)
    left = []
    for length in [24, 32, 48, 64] * 500:
        encoded = base64.b64encode(bytes(draw.randrange(256) for _ in range(length))).decode()
        left.append(without_secrets(f"answer {encoded} end")[len("answer ") : -len(" end")])
    assert (
        sum(len(shown) > 8 for shown in left) <= 4
    )  # by chance one has no digit, or looks like a path


def test_half_a_text_shows_no_half_of_a_password():
    text = "x" * 20 + " http://user:hunter2@host"
    assert without_secrets(beginning(text, 40)) == "x" * 20
    assert beginning("user:hunter2@host", 12) == "" and beginning(text, 400) == text


PLANTED = (
    "user:hunter2@host",
    r"{\"token\":\"hunter2\"}",
    "pass=hunter2",
    "passphrase=hunter2",
    "psk=hunter2",
    "Cookie: a=1; b=hunter2",
    "%70assword=hunter2",
    f"x {'y' * 4000} http://user:hunter2@host",
    f"{'y' * 4070} http://user:hunter2@host/?{'z' * 50}",
    "Authorization: Digest a=b, c=hunter2",
    "AccountKey=hunter2/S3cret+x==",
    "<pwd>hunter2</pwd>",
    "--password hunter2",
)


@pytest.mark.parametrize("said", PLANTED, ids=range(len(PLANTED)))
@pytest.mark.parametrize("where", ["error", "title", "location", "server"])
def test_what_an_answer_says_is_in_no_report(said, where):
    head = {"content-type": "text/html" if where == "title" else "application/json", where: said}
    body = (
        f"<title>{html.escape(said, quote=False)}</title>"
        if where == "title"
        else json.dumps({"error": said})
    )
    facts = LINUX.healthy()
    last = facts.imds.attempts[-1]
    answer = http.Answer(Outcome.HTTP, None, 403, head, None, body.encode(), True)
    exchange, _ = imds_probe.exchange_of(last.path, last.connection, answer)
    facts = replace(facts, imds=replace(facts.imds, attempts=(exchange,)))
    assert secrets_in(*in_every_format(facts)) == []


@pytest.mark.parametrize(
    "url",
    [
        "hunter2@host/p.pac",
        "user:hunter2@host/p.pac",
        "http://host/p.pac?sig=S3cret",
        "http://user:hunter2@host/p.pac",
        "http://a:hunter2@S3cret@host/p",
        "http:\\\\u:hunter2@h/p",
        "file:///c:/p.pac#S3cret",
        "http://h/a?b@hunter2",
    ],
)
def test_what_is_kept_of_an_address(url):
    assert secrets_in(without_query(url)) == []


@pytest.mark.parametrize(
    "url",
    [
        "http://www.contoso.com/x.crt?sig=S3cret&sv=1",
        "http://user:hunter2@www.contoso.com/x.crt",
        "ldap:///CN=x?hunter2?base",
    ],
)
def test_an_address_in_a_certificate_is_kept_without_them(url):
    leaf = pki.certificate(
        "metadata.azure.com", "leaf", pki.ISSUING, "issuing", 5, is_ca=False, urls=[url]
    )
    fact = X509.read(leaf).fact
    assert len(fact.issuer_urls) == 1 and secrets_in(repr(fact)) == []


# --- settings of proxies ---


@pytest.mark.parametrize("value", WITH_CREDENTIALS)
def test_no_setting_of_a_proxy_keeps_credentials(value):
    notes = []
    environment = {
        "http_proxy": value,
        "HTTP_PROXY": value,
        "all_proxy": value,
        "no_proxy": f"{value},user:hunter2@x,y?sig=S3cret",
        "API_KEY": "S3cret",
    }
    found = of_environment(environment, "this process's environment", notes.append)
    lines = "".join(f'{name}="{text}"\n' for name, text in environment.items())
    found += linux_proxies.of_file(lines, notes.append)
    scripts = [
        ("/etc/profile.d/a.sh", f"PASS=hunter2\nexport {lines}"),
        ("/etc/profile.d/b.sh", f"if true; then\nexport http_proxy={value}\nfi\n"),
    ]
    found += linux_proxies.of_profiles(scripts, notes.append)
    found += linux_proxies.of_agent(f"HttpProxy.Host={value}\nHttpProxy.Port=3128\n", notes.append)
    for servers in (value, f"http={value};https={value}", f"socks={value}"):
        values = {
            "ProxyEnable": 1,
            "ProxyServer": servers,
            "ProxyOverride": f"<local>;{value};x?sig=S3cret",
        }
        found += of_settings(
            "Internet Settings",
            Scope.SYSTEM,
            "SYSTEM",
            values,
            Blob(servers + " ", value),
            notes.append,
        )
    assert secrets_in(repr(found), repr(notes)) == []
    facts = replace(
        scenarios.BY_NAME["healthy"].facts, proxies=tuple(replace(p, pac_url=None) for p in found)
    )
    assert secrets_in(*in_every_format(facts)) == []


def test_an_entry_of_a_bypass_list_that_had_a_query_matches_nothing_new():
    assert read_bypass("169.254.169.254?sig=S3cret,x", ",") == ("169.254.169.254?...", "x")


# --- the demo's world ---


def test_the_host_of_the_demo_has_all_the_secrets_of_the_metadata():
    held = repr(instance_document(scenarios.WINDOWS_VM))
    assert all(secret in held for secret in METADATA)


WORLDS = {
    "metadata": dict(),
    "token in an error of IMDS": dict(behaviour=Behaviour(instance="token-json")),
    "token in a page in IMDS's place": dict(behaviour=Behaviour(instance="token-html")),
    "token in the attested document's error": dict(behaviour=Behaviour(attested="token-json")),
    "token in the WireServer's answer": dict(behaviour=Behaviour(wireserver="token-html")),
    "a redirect with credentials": dict(behaviour=Behaviour(instance="redirect")),
    "a proxy that says a token": dict(web={HOST: "token-html"}),
}


@pytest.mark.parametrize("name", WORLDS)
def test_no_secret_of_the_simulated_world_is_in_a_report(name):
    server = of_environment(
        {"http_proxy": f"http://user:hunter2@{PROXY}"}, "the machine's environment", print
    )
    facts = replace(scenarios.BY_NAME["healthy"].facts, proxies=tuple(server))
    scenario = Scenario("secrets", None, "", scenarios.WINDOWS_VM, facts, **WORLDS[name])
    found = simulate(scenario).facts
    assert found.imds and found.proxies[0].kind is ProxyKind.ENVIRONMENT
    if "token-" in repr(WORLDS[name]):
        assert "... at https://portal" in repr(found) or Body.HTML.value in repr(
            found
        )  # the text itself did arrive
    assert secrets_in(*in_every_format(found)) == []


# --- a real VM ---

NOT_HERE = pytest.mark.skipif(why_not() is not None, reason=f"the lab cannot run: {why_not()}")
WAYS = [(format, redact) for format in ("portal", "full", "json") for redact in ((), ("--redact",))]


def everything(lab, environment, *folders):
    """What every way to call the program prints, and what is in the report folders after it."""

    def run(way):
        format, redact = way
        files = () if format == "full" else ("--no-files",)
        done = lab.tool("--format", format, *files, *redact, environment=environment)
        assert done.stdout and "Traceback" not in done.stdout + done.stderr
        return done.stdout + done.stderr

    with ThreadPoolExecutor(3) as pool:
        printed = list(pool.map(run, WAYS))
    return dict(zip(WAYS, printed))


@NOT_HERE
@pytest.mark.parametrize(
    "instance, cause",
    [
        ("metadata", "proxy-intercepts-imds"),
        ("token-json", "imds-access-denied"),
        ("token-html", "imds-not-imds"),
        ("redirect", "imds-not-imds"),
    ],
)
def test_no_secret_of_a_linux_vm_is_in_a_report(instance, cause):
    setting = f"http://user:hunter2@{PROXY}"
    environment = {
        "http_proxy": f"{setting}/?token=S3cret",
        "no_proxy": "user:hunter2@x.contoso.com",
        "AZURE_CLIENT_SECRET": "S3cret",
        "SAS": "sig=S3cret",
    }
    with Lab(Behaviour(instance=instance)) as lab:
        lab.web(HOST, int(PORT), "token-html")
        lab.write(
            "/etc/environment",
            f"http_proxy={setting}\nAPI_TOKEN=S3cret\nno_proxy=localhost,u:hunter2@y\n",
        )
        lab.write(
            "/etc/profile.d/proxy.sh",
            f"PASSWORD=hunter2\nexport all_proxy=http://user:$PASSWORD@{PROXY}\nexport X=S3cret\n",
        )
        lab.write("/run/lab/environment", f"HTTP_PROXY={setting}?sig=S3cret\nVAULT_TOKEN=S3cret\n")
        lab.write(
            "/etc/waagent.conf", f"HttpProxy.Host=user:hunter2@{HOST}\nHttpProxy.Port={PORT}\n"
        )
        other = subprocess.Popen(
            lab.enter(
                ["sh", "-c", f"exec 3<>/dev/null; sleep 60 # --password hunter2 {IMDS}", "S3cret"]
            )
        )
        try:
            printed = everything(lab, environment)
            files = lab.vm("sh -c 'cat /var/log/azure/imds-check/*/*'")
            folders = lab.vm("ls /var/log/azure/imds-check").split()
        finally:
            other.kill()
            other.wait()
    assert f"cause={cause}" in printed["portal", ()] and PROXY in printed["full", ()], printed[
        "portal", ()
    ]
    assert (
        files.count("END IMDS-CHECK") == len(folders)
        and files.count('"schema"') == len(folders) >= 1
    )
    assert {
        way: secrets_in(text) for way, text in printed.items() if secrets_in(text)
    } == {} and secrets_in(files) == []
    hidden = "".join(text for (_, redact), text in printed.items() if redact)
    assert hidden.count("REDACTED ") == 2 and '"redacted": true' in hidden
    for name in (
        "labvm",
        "10.0.0.4",
        "10.0.1.5",
        "00-0D-3A-7F-20-04",
        "00:0d:3a:7f:20:04",
        "02aab8a4",
        "8d10da13",
        "imds-demo",
        HOST,
        "contoso",
    ):
        assert name.lower() not in hidden.lower(), name


NO_WINE = why_not() or wine.why_not()


@pytest.mark.skipif(NO_WINE is not None, reason=f"the lab cannot run the exe: {NO_WINE}")
def test_no_secret_of_a_windows_vm_is_in_a_report():
    setting = f"http://user:hunter2@{PROXY}"
    with WindowsLab(current(), Behaviour()) as lab:
        lab.web(HOST, int(PORT), "proxy-503")
        lab.registry("\n".join(WITH_SECRETS))
        lab.warm_up()
        printed = [
            lab.tool(
                "--format",
                format,
                "--no-files",
                environment={"AZURE_CLIENT_SECRET": "S3cret", "all_proxy": setting},
            ).stdout
            for format in ("portal", "full", "json")
        ]
    assert (
        "cause=proxy-intercepts-imds" in printed[0]
        and "proxy.pac" in printed[2]
        and PROXY in printed[1]
    )
    assert secrets_in(*printed) == []
