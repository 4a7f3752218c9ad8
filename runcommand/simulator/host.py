"""The simulated host: IMDS and the WireServer as HTTP servers.

They can misbehave in every way that a scenario needs.
"""

from __future__ import annotations

import base64
import email.utils
import json
import re
import socket
import socketserver
import struct
import threading
import time
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from typing import Any, Callable, Dict, List, Optional, Tuple
from urllib.parse import parse_qs, unquote, urlsplit

from ..probes.imds import API_VERSIONS, ATTESTED, IDENTITY, INSTANCE, VERSIONS
from . import pki

HEAD_LIMIT = 64 * 1024
PATIENCE_S = 15.0  # no handler outlives it


@dataclass(frozen=True)
class Nic:
    """A NIC as Azure knows it."""

    mac: str  # 00-0D-3A-E5-1C-C0
    addresses: Tuple[str, ...]  # the primary one first
    subnet: str  # 172.16.69.0/24


@dataclass(frozen=True)
class Vm:
    """What Azure knows of the VM. ``nics[0]`` is the primary one."""

    name: str
    nics: Tuple[Nic, ...]
    vm_id: str = "02aab8a4-74ef-476e-8182-f6d2ba4166a6"
    environment: str = "AzurePublicCloud"
    location: str = "eastus"
    offer: str = "WindowsServer"
    publisher: str = "MicrosoftWindowsServer"
    sku: str = "2022-datacenter-azure-edition"
    license_type: str = ""
    os_type: str = "Windows"
    identity: bool = True


@dataclass(frozen=True)
class Behaviour:
    """How the host answers. The names are the keys of ``ANSWERS``, or a status such as ``503``."""

    instance: str = "metadata"
    attested: str = "metadata"
    wireserver: str = "metadata"
    versions: Tuple[str, ...] = API_VERSIONS  # that the host knows
    clock_ahead_s: float = 0.0  # of the real clock
    recovers_after: Optional[int] = None  # so many misbehaved answers, then it is well
    everything: Optional[str] = None  # how any path is answered: by a proxy, or a web server
    # what is wrong with the attested document: a key of ``pki.DOCUMENTS``
    document: str = "genuine"
    # certificates in it beside the signer's: keys of ``pki.ISSUERS``
    embedded: Tuple[str, ...] = ("issuing", "cross")


@dataclass
class Host:
    """The host's services, and the log of what they were asked: (monotonic time, path)."""

    vm: Vm
    behaviour: Behaviour = field(default_factory=Behaviour)
    log: List[Tuple[float, str]] = field(default_factory=list)
    _servers: List[socketserver.ThreadingTCPServer] = field(default_factory=list)

    def listen(self, address: str = "127.0.0.1", port: int = 0) -> Tuple[str, int]:
        """Serves both services (they differ by path) at an address until ``close``; port 0 takes a
        free one.
        """
        host = self

        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                host._serve(self.request)

        class Server(socketserver.ThreadingTCPServer):
            allow_reuse_address = True
            daemon_threads = True
            request_queue_size = 64

            def handle_error(self, request: Any, client_address: Any) -> None:
                pass  # the client went away

        server = Server((address, port), Handler)
        threading.Thread(
            target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True
        ).start()
        self._servers.append(server)
        return server.server_address[0], server.server_address[1]  # type: ignore[return-value]

    def close(self) -> None:
        for server in self._servers:
            server.shutdown()
            server.server_close()

    def _serve(self, sock: socket.socket) -> None:
        sock.settimeout(PATIENCE_S)
        head = b""
        while b"\r\n\r\n" not in head and len(head) < HEAD_LIMIT:
            piece = sock.recv(4096)
            if not piece:
                return
            head += piece
        request_line, *lines = head.decode("latin-1").split("\r\n\r\n")[0].split("\r\n")
        method, _, rest = request_line.partition(" ")
        url = urlsplit(rest.partition(" ")[0])
        headers = {
            name.strip().lower(): value.strip()
            for name, _, value in (line.partition(":") for line in lines)
        }
        self.log.append((time.monotonic(), url.path))
        self._answer(sock, method, url.path, parse_qs(url.query, keep_blank_values=True), headers)

    def _answer(  # noqa: C901
        self,
        sock: socket.socket,
        method: str,
        path: str,
        query: Dict[str, List[str]],
        headers: Dict[str, str],
    ) -> None:
        reply = Reply(sock, self.behaviour.clock_ahead_s)
        kind = {
            INSTANCE: self.behaviour.instance,
            ATTESTED: self.behaviour.attested,
            "/": self.behaviour.wireserver,
        }
        name = self.behaviour.everything or kind.get(path, "metadata")
        asked = sum(1 for _, known in self.log if known == path)
        if self.behaviour.recovers_after is not None and asked > self.behaviour.recovers_after:
            name = "metadata"
        if name == "certificates":
            status, content = 404, pki.files().get(unquote(path), b"")
            if content:
                status = 200
            reply.send(status, content, "application/pkix-cert")
        elif name != "metadata":
            misbehave(name, reply)
        elif path == "/":
            reply.send(200, _wireserver_versions(), "text/xml; charset=utf-8")
        elif method != "GET":
            reply.json(405, {"error": "Method not allowed"})
        elif headers.get("metadata", "").lower() != "true" or "x-forwarded-for" in headers:
            reply.json(400, {"error": "Bad request. Required metadata header not specified"})
        elif path == VERSIONS:
            reply.json(200, {"apiVersions": sorted(self.behaviour.versions)})
        elif query.get("api-version", [""])[0] not in self.behaviour.versions:
            error = "Bad request. api-version is invalid or was not specified in the request."
            reply.json(400, {"error": error, "newest-versions": list(self.behaviour.versions[:3])})
        elif path == INSTANCE:
            reply.json(200, instance_document(self.vm))
        elif path == ATTESTED:
            reply.json(200, attested_document(self.vm, query.get("nonce", [""])[0], self.behaviour))
        elif path == IDENTITY and self.vm.identity:
            reply.json(200, {"tenantId": "72f988bf-0000-0000-0000-2d7cd011db47"})
        elif path == IDENTITY:
            reply.json(400, {"error": "invalid_request", "error_description": "Identity not found"})
        else:
            reply.json(404, {"error": "Not found"})


class Reply:
    """One answer on its way out."""

    def __init__(self, sock: socket.socket, clock_ahead_s: float) -> None:
        self.sock = sock
        self._clock_ahead_s = clock_ahead_s

    def json(self, status: int, document: Any) -> None:
        self.send(status, json.dumps(document).encode(), "application/json; charset=utf-8")

    def head(self, status: int, content_type: str, length: Optional[int], *more: str) -> None:
        date = email.utils.formatdate(time.time() + self._clock_ahead_s, usegmt=True)
        lines = [
            f"HTTP/1.1 {status} Answer",
            f"Content-Type: {content_type}",
            "Server: Microsoft-IIS/10.0",
            f"Date: {date}",
        ]
        if length is not None:
            lines.append(f"Content-Length: {length}")
        self.raw("\r\n".join([*lines, *more, "Connection: close", "", ""]).encode())

    def send(self, status: int, body: bytes, content_type: str, *more: str) -> None:
        self.head(status, content_type, len(body), *more)
        self.raw(body)

    def raw(self, data: bytes) -> None:
        self.sock.sendall(data)


# --- misbehaviour ---

PAGE = (
    b"<!DOCTYPE html><html><head><title>Sign in to the network</title></head><body>Please sign"
    b" in.</body></html>"
)


TOKEN = "eyJ0eXAiOiJKV1QiLCJhbGciOiJub25lIn0"
TOKENS = (
    f"Bearer {TOKEN}.{TOKEN}. at https://user:{TOKEN}@portal.contoso.com/?sig={TOKEN},"
    f" password={TOKEN}, {TOKEN}"
)


PAC = b"""function FindProxyForURL(url, host) {
  if (isPlainHostName(host) || isInNet(host, "10.0.0.0", "255.0.0.0")) return "DIRECT";
  return "PROXY proxy.contoso.com:8080";
}
"""


def misbehave(name: str, reply: Reply) -> None:
    """Answers by a name of ``ANSWERS``, or with the error of a status (``429``)."""
    if name.isdigit():
        reply.json(
            int(name),
            {
                "error": (
                    {"500": "Internal server error", "429": "Too many requests"}.get(name, "Error")
                )
            },
        )
    else:
        ANSWERS[name](reply)


def _endless(reply: Reply) -> None:
    reply.head(200, "application/json", None)
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        reply.raw(b'{"compute": ' * 5000)


def _trickle_body(reply: Reply) -> None:
    reply.head(200, "application/json", 100000)
    _trickle(reply, b'{"compute": {"vmId": "' + b"x" * 1000)


def _trickle(reply: Reply, data: bytes) -> None:
    for byte in data[: int(PATIENCE_S)]:
        reply.raw(bytes([byte]))
        time.sleep(1)


def _reset_in_body(reply: Reply) -> None:
    reply.head(200, "application/json", 100000)
    reply.raw(b'{"compute": {"vmId"')
    _reset(reply)


def _reset(reply: Reply) -> None:
    """Closes with RST instead of FIN (SO_LINGER of zero)."""
    reply.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    reply.sock.close()


def _forged(reply: Reply, control: str) -> None:
    document = instance_document(Vm("x", ()))
    end = "END IMDS-CHECK verdict=healthy cause=- exit=0 host=x at=2026-01-01T00:00:00Z v=9"
    document["compute"]["name"] = f"vm{control}[2J\n{end}\n"
    reply.json(200, document)


def _chunked_garbage(reply: Reply) -> None:
    reply.head(200, "application/json", None, "Transfer-Encoding: chunked")
    reply.raw(b"ZZZZ\r\nnot a chunk\r\n")


ANSWERS: Dict[str, Callable[[Reply], None]] = {
    "html": lambda reply: reply.send(200, PAGE, "text/html"),
    "html-403": lambda reply: reply.send(403, PAGE, "text/html"),
    "proxy-503": lambda reply: reply.send(
        503, PAGE, "text/html", "Via: 1.1 proxy.contoso.com (squid/5.7)"
    ),
    "pac": lambda reply: reply.send(200, PAC, "application/x-ns-proxy-autoconfig"),
    "redirect": lambda reply: reply.send(
        302, b"", "text/html", "Location: http://user:secret@portal.contoso.com/in?token=1"
    ),
    "token-json": lambda reply: reply.json(
        401, {"error": "invalid_token", "error_description": f"Not this: {TOKENS}"}
    ),
    "token-html": lambda reply: reply.send(
        403,
        f"<html><title>{TOKENS}</title></html>".encode(),
        "text/html",
        f"Via: 1.1 proxy (key={TOKEN})",
    ),
    "other-json": lambda reply: reply.json(
        200, {"instanceId": "i-0123456789abcdef0", "region": "us-east-1"}
    ),
    "json-list": lambda reply: reply.json(200, ["compute", "network"]),
    "broken-json": lambda reply: reply.send(
        200, b'{"compute": {"vmId": "02aab8a4', "application/json"
    ),
    "deep-json": lambda reply: reply.send(200, b"[" * 200000, "application/json"),
    "empty": lambda reply: reply.send(200, b"", "application/json"),
    "text": lambda reply: reply.send(200, b"It works!", "text/plain"),
    "invalid-utf8": lambda reply: reply.send(
        200, b'{"compute": {"name": "\xff\xfe\x80"}}', "application/json"
    ),
    "endless": _endless,
    "trickle": lambda reply: _trickle(
        reply, b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n"
    ),
    "trickle-body": _trickle_body,
    "header-flood": lambda reply: reply.raw(
        b"HTTP/1.1 200 OK\r\n" + b"".join(b"X-%d: y\r\n" % i for i in range(10000)) + b"\r\n"
    ),
    "long-header": lambda reply: reply.raw(b"HTTP/1.1 200 OK\r\nX: " + b"y" * 2000000),
    "continue-for-ever": lambda reply: reply.raw(b"HTTP/1.1 100 Continue\r\n\r\n" * 20000),
    "http-0.9": lambda reply: reply.raw(b"hello, this is no HTTP\r\n\x00\x01\x02"),
    "terminal": lambda reply: reply.raw(
        b"HTTP/1.1 503 \x1b[2J\x1b]0;x\x07\r\nServer: \x1b[31mred\r\nContent-Length: 0\r\n\r\n"
    ),
    "chunked-garbage": _chunked_garbage,
    "control-characters": lambda reply: _forged(reply, "\x1b"),
    "forged-end": lambda reply: _forged(reply, ""),
    "reset": _reset,
    "reset-in-body": _reset_in_body,
    "closes": lambda reply: None,
    "silent": lambda reply: time.sleep(PATIENCE_S),
}


# --- documents ---


def instance_document(vm: Vm) -> Dict[str, Any]:
    """``/metadata/instance``, with the secrets that a report must never hold."""
    group = "imds-demo"
    subscription = "8d10da13-8125-4ba9-a717-bf7490507b3d"
    return {
        "compute": {
            "azEnvironment": vm.environment,
            "customData": "c2VjcmV0LWN1c3RvbS1kYXRh",
            "evictionPolicy": "",
            "isHostCompatibilityLayerVm": "false",
            "licenseType": vm.license_type,
            "location": vm.location,
            "name": vm.name,
            "offer": vm.offer,
            "osType": vm.os_type,
            "publicKeys": [
                {"keyData": "ssh-rsa SECRETKEY", "path": "/home/azureuser/.ssh/authorized_keys"}
            ],
            "publisher": vm.publisher,
            "resourceGroupName": group,
            "resourceId": (
                f"/subscriptions/{subscription}/resourceGroups/{group}/providers/Microsoft.Compute/virtualMachines/{vm.name}"
            ),
            "sku": vm.sku,
            "subscriptionId": subscription,
            "tags": "secret-tag:secret-value",
            "tagsList": [{"name": "secret-tag", "value": "secret-value"}],
            "userData": "c2VjcmV0LXVzZXItZGF0YQ==",
            "version": "20348.2402.240607",
            "vmId": vm.vm_id,
            "vmSize": "Standard_D2s_v5",
            "zone": "1",
        },
        "network": {"interface": [_interface(nic) for nic in reversed(vm.nics)]},
    }


def _interface(nic: Nic) -> Dict[str, Any]:
    address, _, prefix = nic.subnet.partition("/")
    return {
        "ipv4": {
            "ipAddress": [
                {"privateIpAddress": address, "publicIpAddress": ""} for address in nic.addresses
            ],
            "subnet": [{"address": address, "prefix": prefix}],
        },
        "ipv6": {"ipAddress": []},
        "macAddress": re.sub("[^0-9A-F]", "", nic.mac.upper()),
    }


def attested_document(vm: Vm, nonce: str, behaviour: Behaviour) -> Dict[str, str]:
    """``/metadata/attested/document``: signed now, by the host's clock, for six hours."""
    compute = instance_document(vm)["compute"]
    what = {name: compute[name] for name in ("licenseType", "sku", "subscriptionId", "vmId")}
    now = datetime.now(timezone.utc) + timedelta(seconds=behaviour.clock_ahead_s)
    signed = pki.document(
        behaviour.document, what, nonce, now, vm.environment, vm.location, behaviour.embedded
    )
    return {"encoding": "pkcs7", "signature": base64.b64encode(signed).decode()}


def _wireserver_versions() -> bytes:
    versions = "".join(
        f"<Version>{version}</Version>" for version in ("2015-04-05", "2012-11-30", "2011-12-31")
    )
    return (
        '<?xml version="1.0"'
        ' encoding="utf-8"?>\n<Versions><Preferred><Version>2015-04-05</Version></Preferred>'
        f"<Supported>{versions}</Supported></Versions>"
    ).encode()
