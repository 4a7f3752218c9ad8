"""A small HTTPS server on loopback that plays Azure Resource Manager, and a managed identity for
the login.

It knows virtual machines, their network interfaces and their run commands, both kinds, and answers
as https://learn.microsoft.com/rest/api/compute/virtual-machine-run-commands tells. No credential of
any kind is needed.
"""

from __future__ import annotations

import base64
import json
import re
import ssl
import subprocess
import threading
import uuid
from dataclasses import dataclass, field
from datetime import datetime, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional, Sequence, Set, Tuple
from urllib.parse import parse_qs, unquote, urlsplit

from ..lab.namespace import ETH0_MAC, ETH1_MAC, Lab
from ..lab.powershell import PowerShellLab
from . import handlers
from .handlers import Output, Parameters

SUBSCRIPTION = "00000000-0000-0000-0000-000000000000"
TENANT = "11111111-1111-1111-1111-111111111111"
LOCATION = "eastus"
GROUP = "contoso-rg"
Json = Dict[str, Any]


class Refused(Exception):
    """An error that Azure answers with."""

    def __init__(self, status: int, code: str, message: str) -> None:
        self.status = status
        self.body = {"error": {"code": code, "message": message}}


@dataclass(frozen=True)
class Nic:
    """A network interface; ``addresses``: of its IP configurations, the primary one first."""

    name: str
    mac: str
    addresses: Tuple[str, ...]
    is_primary: Optional[bool] = None  # None: the VM does not say
    group: str = GROUP

    @property
    def id(self) -> str:
        return f"{_group(self.group)}/providers/Microsoft.Network/networkInterfaces/{self.name}"

    def as_json(self) -> Json:
        configurations = [
            {"name": f"ipconfig{n}", "properties": {"privateIPAddress": address, "primary": n == 1}}
            for n, address in enumerate(self.addresses, 1)
        ]
        return {
            "name": self.name,
            "id": self.id,
            "type": "Microsoft.Network/networkInterfaces",
            "location": LOCATION,
            "properties": {
                "provisioningState": "Succeeded",
                # Azure's order says nothing
                "ipConfigurations": configurations[::-1],
                **({"macAddress": self.mac} if self.mac else {}),
            },
        }


@dataclass
class Machine:
    """A virtual machine. ``action`` and ``managed`` do there what is sent; the rest is what Azure
    says of it.
    """

    name: str
    os: str  # Linux, Windows
    nics: Tuple[Nic, ...]
    action: Callable[[Sequence[str], Parameters], Output]
    managed: Callable[[str, Parameters], Output]
    is_running: bool = True
    agent_reports: bool = True
    may_run: bool = True  # the account that asks has the right to
    busy: Any = field(default_factory=threading.Lock)  # while an action run command is under way
    commands: Dict[str, Json] = field(default_factory=dict)  # managed run commands, by their name
    received: List[Json] = field(default_factory=list)  # bodies of run commands, in their order

    @property
    def id(self) -> str:
        return f"{_group(GROUP)}/providers/Microsoft.Compute/virtualMachines/{self.name}"

    def as_json(self) -> Json:
        nics = [
            {
                "id": nic.id,
                **({} if nic.is_primary is None else {"properties": {"primary": nic.is_primary}}),
            }
            for nic in self.nics
        ]
        return {
            "name": self.name,
            "id": self.id,
            "type": "Microsoft.Compute/virtualMachines",
            "location": LOCATION,
            "properties": {
                "vmId": "02aab8a4-74ef-476e-8182-f6d2ba4166a6",
                "hardwareProfile": {"vmSize": "Standard_D2s_v5"},
                "storageProfile": {
                    "osDisk": {
                        "name": f"{self.name}_OsDisk_1",
                        "osType": self.os,
                        "createOption": "FromImage",
                    }
                },
                "osProfile": {"computerName": self.name},
                "networkProfile": {"networkInterfaces": nics},
                "provisioningState": "Succeeded",
            },
        }


def linux(lab: Lab, name: str = "labvm") -> Machine:
    """The lab's VM as Azure knows it: two NICs, the first in the list not being the primary one."""
    nics = (
        Nic(f"{name}-nic2", _dashes(ETH1_MAC), ("10.0.1.5",), is_primary=False),
        Nic(f"{name}-nic1", _dashes(ETH0_MAC), ("10.0.0.4", "10.0.0.6"), is_primary=True),
    )
    return Machine(
        name,
        "Linux",
        nics,
        action=lambda script, parameters: handlers.action(lab, script, parameters),
        managed=lambda script, parameters: handlers.managed(lab, script, parameters),
    )


def windows(scenario: str, name: str = "testWs") -> Machine:
    """A Windows VM, in which nothing is run: the demo's report of ``scenario`` comes back."""
    return Machine(
        name,
        "Windows",
        (Nic(f"{name}-nic", "00-0D-3A-E5-1C-C0", ("172.16.69.7",)),),
        action=lambda script, parameters: handlers.demo(scenario),
        managed=lambda script, parameters: handlers.demo(scenario),
    )


def windows_in(lab: PowerShellLab, name: str) -> Machine:
    """The lab's VM as Windows, in which the script is run."""
    machine = linux(lab, name)
    machine.os = "Windows"
    machine.action = lambda script, parameters: handlers.powershell(lab, script, parameters)
    return machine


def _dashes(mac: str) -> str:
    return mac.replace(":", "-").upper()


def _group(name: str) -> str:
    return f"/subscriptions/{SUBSCRIPTION}/resourceGroups/{name}"


class Azure:
    """The stand-in, serving while it is entered. ``folder`` gets its certificate."""

    def __init__(self, folder: Path, machines: Sequence[Machine] = ()) -> None:
        self.certificate = folder / "localhost.pem"
        self.machines = list(machines)
        self.hidden: Set[str] = set()  # ids of NICs that the account may not read
        self._operations: Dict[str, Json] = {}
        self._servers: List[ThreadingHTTPServer] = []
        key = folder / "localhost.key"
        command = (
            "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -addext".split()
        )
        command += [
            "subjectAltName=DNS:localhost",
            "-keyout",
            str(key),
            "-out",
            str(self.certificate),
        ]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(self.certificate, key)

    def __enter__(self) -> Azure:
        azure = self

        class Handler(_Handler):
            answer = staticmethod(azure._answer)

        for context in (self._context, None):
            server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
            server.daemon_threads = True
            if context:
                server.socket = context.wrap_socket(server.socket, server_side=True)
            threading.Thread(
                target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True
            ).start()
            self._servers.append(server)
        return self

    def __exit__(self, *_: object) -> None:
        for server in self._servers:
            server.shutdown()
            server.server_close()

    @property
    def url(self) -> str:
        """Of the resource manager."""
        return f"https://localhost:{self._servers[0].server_port}"

    @property
    def identity(self) -> str:
        """Of the managed identity, in the form that App Service has."""
        return f"http://127.0.0.1:{self._servers[1].server_port}/msi"

    def _answer(
        self, method: str, address: str, body: Json, is_known: bool
    ) -> Tuple[int, Json, Dict[str, str]]:
        """Status, body and headers."""
        path, query = unquote(urlsplit(address).path), parse_qs(urlsplit(address).query)
        if path == "/metadata/endpoints":
            return 200, self._endpoints(), {}
        if path == "/msi":
            return 200, _token(query["resource"][0]), {}
        if not is_known:
            raise Refused(
                401,
                "AuthenticationFailed",
                "Authentication failed. The 'Authorization' header is missing.",
            )
        if path == "/subscriptions":
            return 200, {"value": [_subscription()]}, {}
        found = re.fullmatch(
            r"/subscriptions/([^/]+)/(?:resourceGroups/([^/]+)/)?providers/(.+)", path, re.I
        )
        if not found:
            raise Refused(404, "NotFound", f"This stand-in does not know {path}")
        if found[1] != SUBSCRIPTION:
            raise Refused(
                404, "SubscriptionNotFound", f"The subscription '{found[1]}' could not be found."
            )
        kind, _, rest = found[3].partition("/")[2].partition("/")
        if kind.lower() == "locations":
            return self._operation(rest.split("/")[-1], is_result="monitor" in query)
        if kind.lower() == "networkinterfaces":
            return 200, self._nic(found[2], rest).as_json(), {}
        name, _, rest = rest.partition("/")
        machine = self._machine(found[2], name)
        verb, _, command = rest.partition("/")
        if not verb:
            return 200, machine.as_json(), {}
        if verb.lower() == "runcommand" and method == "POST":
            return self._act(machine, body)
        if verb.lower() == "runcommands":
            return self._manage(machine, method, command, body, "$expand" in query)
        raise Refused(404, "NotFound", f"This stand-in does not know {path}")

    def _endpoints(self) -> Json:
        audience = "https://management.azure.com/"
        return {
            "name": "Stand-in",
            "portal": "https://portal.azure.com",
            "authentication": {
                "loginEndpoint": self.url,
                "audiences": [audience],
                "tenant": "common",
                "identityProvider": "AAD",
            },
            "resourceManager": self.url,
            "graph": "https://graph.windows.net/",
            "graphAudience": "https://graph.windows.net/",
            "microsoftGraphResourceId": "https://graph.microsoft.com/",
            "batch": "https://batch.core.windows.net/",
            "media": "https://rest.media.azure.net",
            "gallery": "https://gallery.azure.com/",
            "suffixes": {
                "storage": "core.windows.net",
                "keyVaultDns": "vault.azure.net",
                "sqlServerHostname": "database.windows.net",
                "acrLoginServer": "azurecr.io",
            },
        }

    def _machine(self, group: str, name: str) -> Machine:
        if group.lower() != GROUP:
            raise Refused(
                404, "ResourceGroupNotFound", f"Resource group '{group}' could not be found."
            )
        for machine in self.machines:
            if machine.name.lower() == name.lower():
                return machine
        raise _not_found("Microsoft.Compute/virtualMachines", name, group)

    def _nic(self, group: str, name: str) -> Nic:
        for nic in (nic for machine in self.machines for nic in machine.nics):
            if (nic.group.lower(), nic.name.lower()) == (group.lower(), name.lower()):
                if nic.id in self.hidden:
                    raise _forbidden("Microsoft.Network/networkInterfaces/read", nic.id)
                return nic
        raise _not_found("Microsoft.Network/networkInterfaces", name, group)

    # --- run commands ---

    def _act(self, machine: Machine, body: Json) -> Tuple[int, Json, Dict[str, str]]:
        if not machine.may_run:
            raise _forbidden("Microsoft.Compute/virtualMachines/runCommand/action", machine.id)
        if not machine.is_running:
            raise Refused(
                409,
                "OperationNotAllowed",
                "The operation requires the VM to be running (or set to run).",
            )
        if not machine.busy.acquire(blocking=False):
            text = (
                "Run command extension execution is in progress. Please wait for completion "
                "before invoking a run command."
            )
            raise Refused(409, "Conflict", text)
        machine.received.append(body)

        def work() -> Json:
            try:
                _await_agent(machine)
                output = machine.action(body["script"], _pairs(body))
                return {"value": handlers.status(output, machine.os)}
            finally:
                machine.busy.release()

        return 202, {}, self._start(work)

    def _manage(
        self, machine: Machine, method: str, name: str, body: Json, is_expanded: bool
    ) -> Tuple[int, Json, Dict[str, str]]:
        def shown(command: Json) -> Json:
            hidden = () if is_expanded else ("instanceView",)
            kept = {key: value for key, value in command["properties"].items() if key not in hidden}
            return {**command, "properties": kept}

        if not name:
            return 200, {"value": [shown(command) for command in machine.commands.values()]}, {}
        if method == "PUT":
            machine.received.append(body)
            command = {
                "name": name,
                "id": f"{machine.id}/runCommands/{name}",
                "type": "Microsoft.Compute/virtualMachines/runCommands",
                "location": body["location"],
                "properties": {**body["properties"], "provisioningState": "Creating"},
            }
            machine.commands[name] = command

            def work() -> Json:
                _await_agent(machine)
                began = _now()
                output = machine.managed(
                    body["properties"]["source"]["script"], _pairs(body["properties"])
                )
                command["properties"]["instanceView"] = handlers.instance_view(
                    output, began, _now()
                )
                command["properties"]["provisioningState"] = "Succeeded"
                return shown(command)

            return 201, shown(command), self._start(work)
        if name not in machine.commands:
            raise _not_found(
                "Microsoft.Compute/virtualMachines/runCommands", f"{machine.name}/{name}", GROUP
            )
        if method == "DELETE":
            del machine.commands[name]
            return 200, {}, {}
        return 200, shown(machine.commands[name]), {}

    def _start(self, work: Callable[[], Json]) -> Dict[str, str]:
        """Does ``work`` beside; gives the headers that tell where it stands."""
        number = str(uuid.uuid4())
        operation: Json = {"startTime": _now(), "status": "InProgress", "name": number}
        self._operations[number] = operation

        def run() -> None:
            try:
                result = work()
            except Refused as refused:
                operation.update(status="Failed", endTime=_now(), **refused.body)
            else:
                operation.update(status="Succeeded", endTime=_now(), properties={"output": result})

        threading.Thread(target=run, daemon=True).start()
        compute = f"{self.url}/subscriptions/{SUBSCRIPTION}/providers/Microsoft.Compute"
        at = f"{compute}/locations/{LOCATION}/operations/{number}"
        version = "api-version=2024-11-01"
        return {
            "Azure-AsyncOperation": f"{at}?{version}",
            "Location": f"{at}?monitor=true&{version}",
            "Retry-After": "1",
        }

    def _operation(self, number: str, is_result: bool) -> Tuple[int, Json, Dict[str, str]]:
        operation = self._operations[number]
        if operation["status"] == "InProgress":
            return (202 if is_result else 200), {} if is_result else operation, {"Retry-After": "1"}
        if not is_result:
            return 200, operation, {}
        if operation["status"] == "Failed":
            return 409, {"error": operation["error"]}, {}
        return 200, operation["properties"]["output"], {}


def _pairs(body: Json) -> List[Tuple[str, str]]:
    return [(one.get("name", ""), one["value"]) for one in body.get("parameters", ())]


def _await_agent(machine: Machine) -> None:
    if not machine.agent_reports:
        text = (
            f"VM '{machine.name}' has not reported status for VM agent or extensions. Please "
            "verify the VM has a running "
            "VM agent, and can establish outbound connections to Azure storage."
        )
        raise Refused(409, "VMAgentStatusCommunicationError", text)


def _not_found(kind: str, name: str, group: str) -> Refused:
    text = f"The Resource '{kind}/{name}' under resource group '{group}' was not found."
    return Refused(404, "ResourceNotFound", text)


def _forbidden(right: str, scope: str) -> Refused:
    text = (
        f"The client does not have authorization to perform action '{right}' over scope '{scope}'."
    )
    return Refused(403, "AuthorizationFailed", text)


def _now() -> str:
    return datetime.now(timezone.utc).isoformat()


def _subscription() -> Json:
    return {
        "id": f"/subscriptions/{SUBSCRIPTION}",
        "subscriptionId": SUBSCRIPTION,
        "tenantId": TENANT,
        "displayName": "Contoso",
        "state": "Enabled",
        "authorizationSource": "RoleBased",
    }


def _token(resource: str) -> Json:
    """An unsigned token, which nobody checks."""
    claims = {"tid": TENANT, "oid": TENANT, "aud": resource, "exp": 4102444800}
    parts = ({"alg": "none", "typ": "JWT"}, claims)
    encoded = [
        base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in parts
    ]
    return {
        "access_token": ".".join([*encoded, ""]),
        "expires_on": "4102444800",
        "resource": resource,
        "token_type": "Bearer",
        "client_id": TENANT,
    }


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    answer: Callable[[str, str, Json, bool], Tuple[int, Json, Dict[str, str]]]

    def _serve(self) -> None:
        content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        try:
            is_known = bool(self.headers.get("Authorization"))
            status, body, headers = self.answer(
                self.command, self.path, json.loads(content or b"{}"), is_known
            )
        except Refused as refused:
            status, body, headers = refused.status, refused.body, {}
        sent = json.dumps(body).encode() if body else b""
        self.send_response(status)
        for name, value in {
            **headers,
            "Content-Type": "application/json",
            "Content-Length": str(len(sent)),
        }.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(sent)

    do_GET = do_POST = do_PUT = do_DELETE = _serve

    def log_message(self, format: str, *arguments: object) -> None:
        pass
