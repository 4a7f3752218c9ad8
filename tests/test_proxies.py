"""Proxies: where Windows keeps them, what comes back through them, and what is said of it."""

import contextlib
import socket
import threading
import time
from dataclasses import replace

import pytest

from runcommand.collect import Board, NoFact
from runcommand.collect.board import PAC_URLS
from runcommand.diagnosis import diagnose
from runcommand.facts import (
    Body,
    Connection,
    Outcome,
    PacFile,
    Proxy,
    ProxyKind,
    ProxyTrial,
    Scope,
)
from runcommand.probes import proxy
from runcommand.probes.imds import Asking, Pace
from runcommand.probes.tcp import Connector, Endpoint
from runcommand.proxy.settings import read_server
from runcommand.simulator.host import Behaviour, Host
from runcommand.simulator.scenarios import (
    ETC_PROXY,
    SYSTEM_PROXY,
    USER_PROXY,
    WINDOWS_VM,
    WINHTTP_PROXY,
)
from runcommand.system.windows import LIVE, proxies as windows, registry, winhttp

from .clock import Waiting
from .facts_of import LINUX, WINDOWS, http, wireserver

IMDS, WIRESERVER = "169.254.169.254", "168.63.129.16"


# --- Windows ---


def blob(flags, *texts):
    parts = b"".join(len(item).to_bytes(4, "little") + item.encode() for item in texts)
    return bytes([0x46, 0, 0, 0, 9, 0, 0, 0]) + flags.to_bytes(4, "little") + parts


@pytest.mark.parametrize(
    "raw, expected",
    [
        (blob(3, "p:1", "<local>", ""), ("p:1", "<local>", "", False)),
        (blob(1, "p:1", "x", ""), ("", "x", "", False)),
        (blob(5, "", "", "http://wpad/x.pac"), ("", "", "http://wpad/x.pac", False)),
        (blob(9, "", "", ""), ("", "", "", True)),
        (blob(15, "p:1", "", "http://w/p"), ("p:1", "", "http://w/p", True)),
        (b"", ("", "", "", False)),
        (blob(15)[:12], ("", "", "", True)),
        (blob(3) + b"\xff\xff\xff\xff", ("", "", "", False)),
        (blob(3, "p:1") + b"\x08\0\0\0<lo", ("p:1", "<lo", "", False)),
        ("text", ("", "", "", False)),
        (None, ("", "", "", False)),
    ],
)
def test_the_binary_value(raw, expected):
    assert windows.parse_blob(raw) == expected


def settings(values, raw=b"", notes=None):
    note = (notes if notes is not None else []).append
    found = windows.of_settings(
        "here", Scope.SYSTEM, "SYSTEM", values, windows.parse_blob(raw), note
    )
    return [(item.server, item.bypass, item.pac_url, item.auto_detect) for item in found]


@pytest.mark.parametrize(
    "values, raw, expected",
    [
        ({}, b"", []),
        ({"ProxyEnable": 0, "ProxyServer": "p:1"}, b"", []),
        (
            {"ProxyEnable": 1, "ProxyServer": "p:1", "ProxyOverride": "a;<local>"},
            b"",
            [("p:1", ("a", "<local>"), None, False)],
        ),
        ({"ProxyEnable": 1, "ProxyServer": "https=p:1"}, b"", []),
        ({"ProxyEnable": 1}, b"", []),
        ({}, blob(3, "q:2", "b", ""), [("q:2", ("b",), None, False)]),
        ({"ProxyEnable": 1, "ProxyServer": "p:1"}, blob(1), [("p:1", (), None, False)]),
        ({"AutoConfigURL": "http://w/p.pac"}, b"", [(None, (), "http://w/p.pac", False)]),
        ({}, blob(9, "", "", ""), [(None, (), None, True)]),
        ({"AutoDetect": 1}, b"", [(None, (), None, True)]),
    ],
)
def test_internet_settings(values, raw, expected):
    assert settings(values, raw) == expected


def test_values_of_other_types_are_told_and_nothing_is_lost():
    notes = []
    values = {"ProxyEnable": "1", "ProxyServer": 7, "ProxyOverride": ["x"], "AutoConfigURL": b"\0"}
    assert settings(values, notes=notes) == [] and len(notes) == 4
    assert (
        settings({"ProxyEnable": 1, "ProxyServer": "p\u00f6:1"}, notes=notes) == []
        and "no address of a proxy" in notes[4]
    )


def tree(mocker, keys, default=None):
    def values(key, root=registry.Root.MACHINE):
        name = f"{root.value}\\{key}".lower()
        if name not in keys:
            raise registry.NoKey("no such key")
        if isinstance(keys[name], Exception):
            raise keys[name]
        return keys[name]

    keys = {key.lower(): value for key, value in keys.items()}
    hives = sorted({key.split("\\")[1] for key in keys if key.startswith("hku\\")})
    mocker.patch.object(registry, "values", side_effect=values)
    mocker.patch.object(registry, "subkeys", return_value=[hive.upper() for hive in hives])
    mocker.patch.object(winhttp, "default_proxy", return_value=default)
    mocker.patch.dict("os.environ", {}, clear=True)


USER = "S-1-5-21-1-2-3-1001"
ON = {"ProxyEnable": 1, "ProxyServer": "p:1"}


def test_every_place_is_read_the_machines_before_the_users(mocker):
    inet = windows.SETTINGS
    keys = {
        f"HKU\\S-1-5-18\\{inet}": ON,
        f"HKU\\{USER}\\{inet}": {**ON, "AutoConfigURL": "http://w/p.pac?token=secret"},
        f"HKU\\{USER}\\Environment": {"HTTP_PROXY": "http://u:p@q:2"},
        f"HKU\\{USER}_Classes\\{inet}": ON,
        f"HKLM\\{windows.ENVIRONMENT}": {"http_proxy": "e:3", "Path": 7},
        f"HKLM\\{windows.PROFILES}\\{USER}": {"ProfileImagePath": "C:\\Users\\azureuser"},
    }
    tree(mocker, keys, winhttp.DefaultProxy("w:4", "<local> *.x"))
    board = Board(5)
    found = windows.collect(LIVE, board)
    assert [(item.scope.value, item.user, item.server) for item in found] == [
        ("machine", None, "w:4"),
        ("machine", None, "e:3"),
        ("system", "SYSTEM", "p:1"),
        ("user", "azureuser", "p:1"),
        ("user", "azureuser", "q:2"),
    ]
    assert found[3].pac_url == "http://w/p.pac"
    assert board.wait(PAC_URLS, 0) == ((Scope.USER, "http://w/p.pac?token=secret"),)


def test_the_machines_policy_puts_the_users_settings_aside(mocker):
    tree(
        mocker,
        {
            f"HKLM\\{windows.POLICY}": {"ProxySettingsPerUser": 0},
            f"HKLM\\{windows.SETTINGS}": {"ProxyEnable": 1, "ProxyServer": "m:1"},
            f"HKU\\{USER}\\{windows.SETTINGS}": ON,
        },
    )
    assert [(item.scope, item.server) for item in windows.collect(LIVE, Board(5))] == [
        (Scope.MACHINE, "m:1")
    ]


@pytest.mark.parametrize("value", [1, "0", None, b"\0"])
def test_without_the_policy_the_machines_settings_do_not_count(mocker, value):
    tree(
        mocker,
        {
            f"HKLM\\{windows.POLICY}": {"ProxySettingsPerUser": value},
            f"HKLM\\{windows.SETTINGS}": ON,
        },
    )
    assert windows.collect(LIVE, Board(5)) == ()


def test_a_hive_that_is_broken_costs_itself(mocker):
    broken = NoFact("HKU\\S-1-5-19: the configuration registry database is corrupt")
    tree(
        mocker,
        {f"HKU\\S-1-5-19\\{windows.SETTINGS}": broken, f"HKU\\S-1-5-18\\{windows.SETTINGS}": ON},
    )
    board = Board(5)
    assert [item.user for item in windows.collect(LIVE, board)] == [
        "SYSTEM"
    ] and "corrupt" in board.notes()[0].text


# --- the proof ---


class Stand:
    """A Host that stands for IMDS, and the proxies that lead to it; all on loopback."""

    def __init__(self):
        self._hosts = []

    def serve(self, behaviour=Behaviour()):
        host = Host(WINDOWS_VM, behaviour)
        self._hosts.append(host)
        address, port = host.listen()
        return f"{address}:{port}", host

    def ask(self, *proxies, seconds=20.0, true_address=True):
        board = Board(seconds)
        board.post("proxies", proxies)
        endpoint = Endpoint(IMDS, 80, true_address)
        asking = Asking(Connector(), endpoint, Pace(), board.remaining)
        return proxy.ask(asking, Endpoint(WIRESERVER, 80, true_address), board)

    def close(self):
        for host in self._hosts:
            host.close()


@pytest.fixture
def stand():
    made = Stand()
    yield made
    made.close()


def machine(server, *bypass):
    return Proxy(
        "here",
        ProxyKind.ENVIRONMENT,
        Scope.MACHINE,
        server=server,
        variable="http_proxy",
        bypass=bypass,
    )


def test_imds_is_asked_by_its_whole_address_and_its_answer_is_known(stand):
    server, host = stand.serve()
    (trial,) = stand.ask(machine(server))
    assert trial.imds.instance.name == WINDOWS_VM.name and trial.wireserver.versions
    assert sorted(path for _, path in host.log) == ["/", "/metadata/instance"]


def test_a_proxy_that_is_bypassed_is_not_asked(stand):
    server, host = stand.serve()
    assert stand.ask(machine(server, IMDS, WIRESERVER)) == () and not host.log


def test_only_what_is_not_bypassed_is_asked(stand):
    server, host = stand.serve()
    (trial,) = stand.ask(machine(server, IMDS))
    assert (
        trial.imds is None and trial.wireserver.versions and [path for _, path in host.log] == ["/"]
    )


def test_each_server_is_asked_once_and_no_more_than_a_few(stand):
    servers = [stand.serve(Behaviour(everything="html-403"))[0] for _ in range(6)]
    trials = stand.ask(*(machine(server) for server in servers for _ in range(2)))
    assert [trial.server for trial in trials] == servers
    assert [bool(trial.imds) for trial in trials] == [True] * 4 + [False] * 2
    assert "not tried" in trials[5].error


@pytest.mark.parametrize(
    "how, outcome",
    [
        ("html-403", Outcome.HTTP),
        ("proxy-503", Outcome.HTTP),
        ("redirect", Outcome.HTTP),
        ("endless", Outcome.HTTP),
        ("http-0.9", Outcome.GARBLED),
        ("header-flood", Outcome.GARBLED),
        ("long-header", Outcome.GARBLED),
        ("continue-for-ever", Outcome.GARBLED),
        ("silent", Outcome.TIMED_OUT),
        ("trickle", Outcome.GARBLED),
        ("reset", Outcome.RESET),
        ("closes", Outcome.RESET),
        ("reset-in-body", Outcome.HTTP),
    ],
)
def test_a_hostile_proxy_is_a_named_outcome_in_time(stand, how, outcome):
    server, _ = stand.serve(Behaviour(everything=how))
    clock = Waiting()
    (trial,) = stand.ask(machine(server))
    assert clock.times(proxy.PROOF_S) < 1.5
    assert trial.imds.outcome is outcome and trial.imds.instance is None
    facts = replace(LINUX.healthy(), proxies=(machine(server),), proxy_trials=(trial,))
    assert diagnose(facts).cause == "proxy-intercepts-imds"


def test_a_proxy_that_refuses_or_has_no_name_is_told(stand):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        (refused,) = stand.ask(machine(f"127.0.0.1:{closed.getsockname()[1]}"))
    assert refused.imds.outcome is Outcome.REFUSED
    (nameless,) = stand.ask(machine("name..invalid:80"))
    assert nameless.imds is None and "the name name..invalid" in nameless.error


def test_a_name_that_is_never_resolved_does_not_stall(stand, mocker):
    mocker.patch.object(Connector, "resolve", side_effect=lambda host: time.sleep(30))
    mocker.patch.object(proxy, "PROOF_S", 0.5)
    clock = Waiting()
    (trial,) = stand.ask(machine("proxy.invalid:80"))
    assert clock.times(0.5) < 4 and "not done in time (the name proxy.invalid)" in trial.error


def test_a_socks_proxy_is_not_asked(stand):
    (trial,) = stand.ask(machine("socks5://127.0.0.1:1080"))
    assert trial.imds is None and trial.error.startswith("not tried: socks5")


def test_where_the_probes_are_pointed_elsewhere_only_loopback_is_asked(stand):
    (trial,) = stand.ask(machine("192.0.2.1:80"), true_address=False)
    assert "pointed elsewhere" in trial.error


def test_without_the_settings_there_is_no_proof(stand):
    board = Board(0.6)
    with pytest.raises(NoFact):
        proxy.ask(
            Asking(Connector(), Endpoint(IMDS), Pace(), board.remaining),
            Endpoint(WIRESERVER),
            board,
        )


# --- PAC ---


def fetch(url, scope=Scope.SYSTEM, is_true=True):
    board = Board(20)
    board.post("proxies", (Proxy("here", ProxyKind.INTERNET_SETTINGS, scope, pac_url=url),))
    (found,) = proxy.fetch_pacs(Connector(), board, is_true)
    return found


@contextlib.contextmanager
def serving(head, piece, times):
    """A web server of one answer: a head, then a piece so many times."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def work():
            with contextlib.suppress(OSError):
                sock, _ = server.accept()
                with sock:
                    sock.recv(65536)
                    sock.sendall(head)
                    for _ in range(times):
                        sock.sendall(piece)

        threading.Thread(target=work, daemon=True).start()
        yield f"127.0.0.1:{server.getsockname()[1]}"


OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/x-ns-proxy-autoconfig\r\n\r\n"


def test_a_pac_is_fetched_and_searched():
    with serving(OK, b'if (host == "169.254.169.254") return "DIRECT";', 1) as at:
        found = fetch(f"http://{at}/proxy.pac?token=secret")
    assert (found.url, found.outcome, found.mentions) == (
        f"http://{at}/proxy.pac",
        Outcome.HTTP,
        (IMDS, "169.254."),
    )


def test_of_fifty_megabytes_one_is_read():
    with serving(OK, b"x" * 1048576, 50) as at:
        clock = Waiting()
        found = fetch(f"http://{at}/proxy.pac")
    assert (
        found.error == "not read to its end"
        and found.size == 1048576
        and clock.times(proxy.PROOF_S) < 3
    )


@pytest.mark.parametrize(
    "how, outcome",
    [
        ("silent", Outcome.TIMED_OUT),
        ("http-0.9", Outcome.GARBLED),
        ("closes", Outcome.RESET),
        ("429", Outcome.HTTP),
        ("redirect", Outcome.HTTP),
    ],
)
def test_a_hostile_server_of_a_pac(stand, how, outcome):
    server, _ = stand.serve(Behaviour(everything=how))
    found = fetch(f"http://{server}/proxy.pac")
    assert found.outcome is outcome and found.error and not found.mentions


@pytest.mark.parametrize(
    "url",
    [
        "https://w/p.pac",
        "ftp://w/p",
        "file://server/share/p.pac",
        "\\\\server\\p.pac",
        "javascript:x",
        "http://",
        "http://[::1",
        "http://169.254.169.254/metadata/identity/oauth2/token",
        "http://168.63.129.16/",
        "x" * 5000,
        "http://127.0.0.1:99999/",
    ],
)
def test_what_is_not_fetched(url):
    found = fetch(url)
    assert found.outcome is Outcome.FAILED and found.error and len(found.url) <= 300


def test_a_file_is_read_where_no_mere_user_names_it(tmp_path, mocker):
    (tmp_path / "p.pac").write_text("169.254.169.254")
    mocker.patch.object(proxy, "Path", side_effect=lambda path: tmp_path / "p.pac")
    assert fetch("file:///C:/Windows/p.pac").mentions == (IMDS, "169.254.")
    assert fetch("file:///C:/Windows/p.pac", Scope.USER).outcome is Outcome.FAILED


# --- what is said ---


def trial(server="10.1.2.3:3128", **more):
    given = http("172.16.69.7", 403, Body.HTML, says="Denied")
    connection = Connection("10.1.2.3", 3128, Outcome.ANSWERED, elapsed_s=0.004)
    return ProxyTrial(server, **{"imds": replace(given, connection=connection), **more})


TRIALS = (trial(),)


def judged(*proxies, base=WINDOWS, trials=TRIALS, **more):
    return diagnose(replace(base.healthy(), proxies=proxies, proxy_trials=trials, **more))


def test_what_came_back_is_shown():
    diagnosis = judged(WINHTTP_PROXY)
    assert (diagnosis.verdict.value, diagnosis.cause) == ("degraded", "proxy-intercepts-imds")
    assert 'gets HTTP 403 and a web page "Denied" from 10.1.2.3:3128' in diagnosis.main.detail


def test_clients_that_differ_are_told_apart():
    detail = judged(SYSTEM_PROXY).main.detail
    assert (
        "Clients that use it: .NET Framework, .NET, Python urllib; clients that bypass it: WinINET."
        in detail
    )


def test_where_imds_fails_and_nothing_else_explains_it_the_proxy_is_the_cause():
    facts = replace(WINDOWS.dark(proof=False), proxies=(WINHTTP_PROXY,), proxy_trials=(trial(),))
    diagnosis = diagnose(facts)
    assert (diagnosis.verdict.value, diagnosis.cause) == ("broken", "proxy-intercepts-imds")
    assert "run again" in diagnosis.main.fix[-1].text


def test_a_cause_on_the_way_comes_before_the_proxy():
    facts = replace(WINDOWS.dark(), proxies=(WINHTTP_PROXY,), proxy_trials=(trial(),))
    wrong = replace(facts, routes=(), lookups=None)
    assert diagnose(wrong).cause == "route-missing"


def test_imds_through_a_proxy_is_a_warning():
    through = replace(WINDOWS.healthy().imds.attempts[-1])
    diagnosis = judged(WINHTTP_PROXY, trials=(trial(imds=through),))
    assert diagnosis.verdict.value == "healthy"
    assert (
        diagnosis.findings[0].severity.value == "warn"
        and "comes back through it" in diagnosis.findings[0].detail
    )


@pytest.mark.parametrize(
    "trials", [(), (ProxyTrial("10.1.2.3:3128", error="not tried: 4 others were"),)]
)
def test_what_was_not_tried_proves_nothing(trials):
    diagnosis = judged(WINHTTP_PROXY, trials=trials)
    assert diagnosis.verdict.value == "healthy" and diagnosis.findings[0].severity.value == "warn"


def test_a_proxy_that_has_no_address_takes_requests_all_the_same():
    nowhere = ProxyTrial(
        "10.1.2.3:3128", error="the name proxy.invalid: Name or service not known", is_nowhere=True
    )
    assert judged(WINHTTP_PROXY, trials=(nowhere,)).cause == "proxy-intercepts-imds"


@pytest.mark.parametrize(
    "error", ["can't start new thread", "not done in time (connecting to 10.1.2.3)", "TypeError: x"]
)
def test_a_fault_of_this_program_proves_nothing(error):
    diagnosis = judged(WINHTTP_PROXY, trials=(ProxyTrial("10.1.2.3:3128", error=error),))
    assert diagnosis.verdict.value == "healthy" and diagnosis.findings[0].severity.value == "warn"


def test_what_is_undecided_is_a_warning_with_advice():
    setting = replace(
        ETC_PROXY, place="/etc/profile.d/p.sh", undecided="in a condition or a function"
    )
    diagnosis = judged(setting, base=LINUX)
    assert (
        diagnosis.verdict.value == "healthy"
        and "may not be bypassed" in diagnosis.findings[0].detail
    )
    assert not any(fix.kind.value == "command" for fix in diagnosis.findings[0].fix)


def test_a_proxy_that_is_as_dark_as_everything_else_explains_nothing():
    dark = trial(
        imds=replace(
            LINUX.dark().imds.attempts[0],
            connection=Connection("10.1.2.3", 3128, Outcome.TIMED_OUT),
        )
    )
    facts = replace(WINDOWS.dark(proof=False), proxies=(WINHTTP_PROXY,), proxy_trials=(dark,))
    facts = replace(facts, wireserver=wireserver(WINDOWS.ip, Outcome.TIMED_OUT))
    diagnosis = diagnose(facts)
    assert diagnosis.cause == "platform-unreachable"
    assert any(
        item.cause == "proxy-intercepts-imds" and item.severity.value == "warn"
        for item in diagnosis.findings
    )


@pytest.mark.parametrize(
    "base, place", [(LINUX, "/etc/environment"), (WINDOWS, "the machine's environment")]
)
def test_a_list_that_is_an_asterisk_is_not_written_anew(base, place):
    diagnosis = judged(replace(ETC_PROXY, place=place, bypass=("*",)), base=base)
    assert diagnosis.cause == "proxy-intercepts-imds" and not commands(diagnosis)
    assert "Remove the proxy" in diagnosis.main.fix[0].text


@pytest.mark.parametrize("place", ["/etc/environment", "systemd's environment"])
def test_two_lists_that_differ_are_not_written_anew(place):
    diagnosis = judged(replace(ETC_PROXY, place=place, is_whole=False), base=LINUX)
    assert diagnosis.cause == "proxy-intercepts-imds" and not commands(diagnosis)


def test_a_setting_of_the_binary_value_is_not_mended_by_a_named_one():
    user = replace(USER_PROXY, variable="DefaultConnectionSettings")
    (warning,) = judged(user, trials=(trial("proxy.contoso.com:8080"),)).findings
    assert (
        not any(fix.kind.value == "command" for fix in warning.fix)
        and "LAN settings" in warning.fix[0].text
    )


def test_where_there_is_a_pac_beside_it_the_command_that_would_put_it_aside_is_not_given():
    (command,) = commands(judged(replace(SYSTEM_PROXY, pac_url="http://w/p.pac")))
    assert command.startswith("reg add")


def test_one_users_proxy_is_a_warning():
    diagnosis = judged(USER_PROXY, trials=(trial("proxy.contoso.com:8080"),))
    assert diagnosis.verdict.value == "healthy"
    (finding,) = diagnosis.findings
    assert (finding.cause, finding.severity.value) == (
        "proxy-user-only",
        "warn",
    ) and '"azureuser"' in finding.detail


def test_a_proxy_that_is_bypassed_for_imds_alone_is_a_warning_for_the_wireserver():
    (finding,) = judged(
        replace(WINHTTP_PROXY, bypass=("169.254.*",)),
        trials=(trial(imds=None, wireserver=trial().imds),),
    ).findings
    assert (finding.cause, finding.severity.value) == ("proxy-intercepts-wireserver", "warn")


@pytest.mark.parametrize(
    "file, words",
    [
        (
            PacFile("http://w/p.pac", Outcome.HTTP, size=10, mentions=(IMDS, "169.254.")),
            "mentions 169.254.169.254",
        ),
        (
            PacFile("http://w/p.pac", Outcome.HTTP, size=10, mentions=("169.254.",)),
            'does not mention 169.254.169.254, only "169.254."',
        ),
        (PacFile("http://w/p.pac", Outcome.TIMED_OUT, "no answer"), "not fetched: no answer"),
        (None, "not fetched"),
    ],
)
def test_a_pac_is_information_and_not_evaluated(file, words):
    setting = replace(SYSTEM_PROXY, server=None, pac_url="http://w/p.pac")
    diagnosis = judged(setting, pac_files=(file,) if file else ())
    (finding,) = diagnosis.findings
    assert (diagnosis.verdict.value, finding.severity.value) == ("healthy", "info")
    assert words in finding.detail and "not evaluated" in finding.detail


def commands(diagnosis):
    return [fix.text for fix in diagnosis.main.fix if fix.kind.value == "command"]


@pytest.mark.parametrize(
    "setting, expected",
    [
        (
            WINHTTP_PROXY,
            'netsh winhttp set proxy proxy-server="10.1.2.3:3128" '
            'bypass-list="*.contoso.com;169.254.169.254;168.63.129.16"',
        ),
        (replace(WINHTTP_PROXY, is_whole=False), "netsh winhttp show proxy"),
        (
            SYSTEM_PROXY,
            "bitsadmin /util /setieproxy LOCALSYSTEM MANUAL_PROXY 10.1.2.3:3128 "
            '"<local>;169.254.169.254;168.63.129.16"',
        ),
        (
            replace(SYSTEM_PROXY, is_whole=False),
            r'reg add "HKU\S-1-5-18\Software\Microsoft\Windows\CurrentVersion\Internet Settings" '
            r"/v ProxyOverride /t REG_SZ "
            '/d "<local>;169.254.169.254;168.63.129.16" /f',
        ),
        (
            replace(
                SYSTEM_PROXY,
                place="Internet Settings of the machine",
                scope=Scope.MACHINE,
                user=None,
            ),
            r'reg add "HKLM\Software\Microsoft\Windows\CurrentVersion\Internet Settings" /v '
            r"ProxyOverride /t REG_SZ "
            '/d "<local>;169.254.169.254;168.63.129.16" /f',
        ),
        (
            Proxy(
                "the machine's environment",
                ProxyKind.ENVIRONMENT,
                Scope.MACHINE,
                None,
                "10.1.2.3:3128",
                "http_proxy",
                bypass=("a",),
            ),
            'setx /M NO_PROXY "a,169.254.169.254,168.63.129.16"',
        ),
        (
            Proxy(
                "the environment of S-1-5-18",
                ProxyKind.ENVIRONMENT,
                Scope.SYSTEM,
                "SYSTEM",
                "10.1.2.3:3128",
                "http_proxy",
            ),
            r'reg add "HKU\S-1-5-18\Environment" /v NO_PROXY /t REG_SZ /d "169.254.169.254,'
            r'168.63.129.16" /f',
        ),
    ],
)
def test_the_fix_for_each_place_on_windows(setting, expected):
    assert expected in commands(judged(setting))


@pytest.mark.parametrize(
    "place, expected",
    [
        (
            "/etc/environment",
            [
                "printf '\\n%s\\n' no_proxy=a,169.254.169.254,168.63.129.16 "
                "NO_PROXY=a,169.254.169.254,168.63.129.16 >> /etc/environment"
            ],
        ),
        (
            "/etc/profile.d/proxy.sh",
            [
                "printf '%s\\n' 'export "
                'no_proxy="${no_proxy:+$no_proxy,}169.254.169.254,168.63.129.16" '
                'NO_PROXY="${NO_PROXY:+$NO_PROXY,}169.254.169.254,168.63.129.16"'
                "' > /etc/profile.d/zzzz-azure-platform.sh"
            ],
        ),
        ("this process's environment", []),
    ],
)
def test_the_fix_for_each_place_on_linux(place, expected):
    assert commands(judged(replace(ETC_PROXY, place=place, bypass=("a",)), base=LINUX)) == expected


@pytest.mark.parametrize(
    "entry", ['"', "$(reboot)", "`id`", "a b", "x;y", "%PATH%", "'", "\u00e4", "&", "|"]
)
def test_what_cannot_be_pasted_stays_out_of_commands(entry):
    for base, setting in ((LINUX, ETC_PROXY), (WINDOWS, WINHTTP_PROXY), (WINDOWS, SYSTEM_PROXY)):
        diagnosis = judged(replace(setting, bypass=(entry,)), base=base)
        assert diagnosis.cause == "proxy-intercepts-imds"
        assert not any(
            entry in fix.text for fix in diagnosis.main.fix if fix.kind.value == "command"
        )


@pytest.mark.parametrize(
    "url",
    [
        "http://user:hunter2@w/p.pac?key=hunter2",
        "http://user:hunter2@exa\u2100mple.com/p.pac",
        "http://user:hun@hunter2@w/p.pac",
        "http://user:a/hunter2@w/p.pac",
        "https:\\\\user:hunter2@w/p.pac",
        "user:hunter2@w/p.pac",
        "http://127.0.0.1:hunter2/p",
        "http://user:a?hunter2@w/",
        "http://user:a#hunter2@w/",
    ],
)
def test_no_password_of_a_pac_reaches_the_facts(url):
    found = fetch(url, is_true=False)
    assert "hunter2" not in f"{found.error}" and ("hunter2" not in found.url or "@" not in url)


@pytest.mark.parametrize(
    "text",
    [
        "http://user:1234#hunter2@10.0.0.5:3128",
        "http://u:a/hunter2@10.0.0.5:3128",
        "http://u:a?hunter2@10.0.0.5:3128",
    ],
)
def test_a_password_is_no_server(text):
    assert read_server(text) == "10.0.0.5:3128"


def test_pacs_are_fetched_side_by_side(stand):
    servers = [stand.serve(Behaviour(everything="silent"))[0] for _ in range(4)]
    board = Board(20)
    board.post(
        "proxies",
        tuple(
            Proxy("x", ProxyKind.INTERNET_SETTINGS, Scope.SYSTEM, pac_url=f"http://{at}/p")
            for at in servers
        ),
    )
    clock = Waiting()
    assert len(proxy.fetch_pacs(Connector(), board, True)) == 4 and clock.times(proxy.PROOF_S) < 2


def test_a_broken_hive_costs_itself_in_the_reader_too(mocker):
    fake = mocker.MagicMock(HKEY_LOCAL_MACHINE=1, HKEY_USERS=2, KEY_READ=1, KEY_WOW64_64KEY=2)
    fake.QueryInfoKey.side_effect = OSError(22, "The configuration registry database is corrupt")
    mocker.patch.dict("sys.modules", {"winreg": fake})
    for read in (registry.values, registry.subkeys):
        with pytest.raises(NoFact, match="corrupt"):
            read("x", registry.Root.USERS)
