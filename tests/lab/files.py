"""A web server on the host's side of the lab, from which imds-check.exe is downloaded, or not.

``python -m tests.lab.files EXE``, until it is killed: over HTTPS at 10.0.0.50, port 443 with a
certificate of the root that the VM trusts, port 444 with one signed by itself, and over HTTP at
port 80. The path says how it answers.
"""

from __future__ import annotations

import base64
import ssl
import sys
import tempfile
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Callable, ClassVar, Dict
from urllib.parse import urlsplit

from runcommand.attest.x509 import to_pem
from runcommand.simulator import pki
from runcommand.simulator.host import PAGE

ADDRESS, NAME = "10.0.0.50", "files.contoso.com"
QUERY = "sv=2024-11-04&sr=b&sig=secret%2Fsignature%3D"  # as a SAS has it
PATIENCE_S = 90.0


class Handler(BaseHTTPRequestHandler):
    exe = b""
    asked: ClassVar[Dict[str, int]] = {}

    def do_GET(self) -> None:
        path = urlsplit(self.path).path
        self.asked[path] = self.asked.get(path, 0) + 1
        ANSWERS[path](self)

    def log_message(self, *_: object) -> None:
        pass

    def answer(
        self,
        body: bytes,
        status: int = 200,
        content_type: str = "application/octet-stream",
        length: int = -1,
    ) -> None:
        """``length``: another Content-Length than the body's; None of it at 0."""
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        if length:
            self.send_header("Content-Length", str(len(body) if length < 0 else length))
        self.end_headers()
        self.wfile.write(body)


def _signed(handler: Handler) -> None:
    whole = urlsplit(handler.path).query == QUERY
    handler.answer(handler.exe) if whole else handler.answer(b"<Error/>", 403, "application/xml")


def _moved(handler: Handler) -> None:
    handler.send_response(302)
    handler.send_header("Location", "/imds-check.exe")
    handler.send_header("Content-Length", "0")
    handler.end_headers()


def _cut(handler: Handler) -> None:
    handler.answer(handler.exe[:1000000], length=len(handler.exe))


def _cut_once(handler: Handler) -> None:
    _cut(handler) if handler.asked["/cut-once"] == 1 else handler.answer(handler.exe)


def _busy(handler: Handler) -> None:
    busy = handler.asked["/busy"] < 3
    handler.answer(PAGE, 503, "text/html") if busy else handler.answer(handler.exe)


def _other(handler: Handler) -> None:
    handler.answer(handler.exe[:-1] + bytes([handler.exe[-1] ^ 1]))


def _endless(handler: Handler) -> None:
    handler.answer(handler.exe, length=0)
    while True:
        handler.wfile.write(b"x" * 65536)


ANSWERS: Dict[str, Callable[[Handler], None]] = {
    "/imds-check.exe": lambda handler: handler.answer(handler.exe),
    "/signed": _signed,
    "/moved": _moved,
    "/cut": _cut,
    "/cut-once": _cut_once,
    "/busy": _busy,
    "/part": lambda handler: handler.answer(handler.exe[:1000000], length=0),
    "/other": _other,
    "/longer": lambda handler: handler.answer(handler.exe + b"x"),
    "/endless": _endless,
    "/page": lambda handler: handler.answer(PAGE, content_type="text/html; charset=utf-8"),
    "/page-as-file": lambda handler: handler.answer(PAGE),
    "/missing": lambda handler: handler.answer(PAGE, 404, "text/html"),
    "/silent": lambda handler: time.sleep(PATIENCE_S),
}


def serve(port: int, certificate: bytes = b"") -> None:
    """Serves in a thread of its own; over HTTPS where there is a certificate (of the key
    ``leaf``).
    """
    server = ThreadingHTTPServer((ADDRESS, port), Handler)
    server.daemon_threads = True
    if certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        with tempfile.NamedTemporaryFile("wb", suffix=".pem") as file:
            file.write(to_pem(certificate) + _private_key("leaf"))
            file.flush()
            context.load_cert_chain(file.name)
        server.socket = context.wrap_socket(
            server.socket, server_side=True, do_handshake_on_connect=False
        )
    server.handle_error = lambda *_: None  # type: ignore[method-assign]  # the client went away
    threading.Thread(target=server.serve_forever, daemon=True).start()


def _private_key(name: str) -> bytes:
    """RSAPrivateKey (RFC 8017, A.1.2) in PEM."""
    p, q = (int(prime, 16) for prime in pki.TEST_PRIVATE_KEYS[name])
    private = pow(pki.EXPONENT, -1, (p - 1) * (q - 1))
    numbers = (
        0,
        p * q,
        pki.EXPONENT,
        private,
        p,
        q,
        private % (p - 1),
        private % (q - 1),
        pow(q, -1, p),
    )
    text = base64.encodebytes(pki.sequence(*map(pki.integer, numbers)))
    return b"-----BEGIN RSA PRIVATE KEY-----\n" + text + b"-----END RSA PRIVATE KEY-----\n"


def main() -> None:
    Handler.exe = Path(sys.argv[1]).read_bytes()
    serve(80)
    for port, (issuer, signer) in {443: (pki.ROOT, "root"), 444: (NAME, "leaf")}.items():
        serve(port, pki.certificate(NAME, "leaf", issuer, signer, port, is_ca=False, names=[NAME]))
    print("ready", flush=True)
    threading.Event().wait()


if __name__ == "__main__":
    main()
