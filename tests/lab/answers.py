"""A server that answers every request with the same bytes, whatever they are.

``python -m tests.lab.answers ADDRESS PORT`` reads the bytes from its standard input.
"""

from __future__ import annotations

import socketserver
import sys
from contextlib import suppress


class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True


def main() -> None:
    address, port = sys.argv[1:]
    content = sys.stdin.buffer.read()

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            head = b""
            with suppress(OSError):  # the client went away
                while b"\r\n\r\n" not in head:
                    piece = self.request.recv(4096)
                    if not piece:
                        return
                    head += piece
                self.request.sendall(content)

    with Server((address, int(port)), Handler) as server:
        print("ready", flush=True)
        server.serve_forever()


if __name__ == "__main__":
    main()
