"""The host's side of the lab, in the host's namespace: ``python -m tests.lab.host OPTIONS`` (JSON),
until it is killed.

It answers each line on standard input with the log of what it was asked.
"""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from typing import Any, Dict

from runcommand.simulator.host import Behaviour, Host

from .namespace import IMDS, VM, WIRESERVER


def main() -> None:
    options = json.loads(sys.argv[1])
    given: Dict[str, Any] = {
        k: tuple(v) if isinstance(v, list) else v for k, v in options["behaviour"].items()
    }
    behaviour = Behaviour(**given)
    closed = [tuple(place) for place in options["not_listening"]]
    host = Host(replace(VM, environment=options["environment"]), behaviour)
    usual = ((IMDS, 80), (WIRESERVER, 80), (WIRESERVER, 32526))
    for place in [tuple(place) for place in options.get("listen", usual)]:
        if place not in closed:
            host.listen(*place)
    print("ready", flush=True)
    for _ in sys.stdin:
        print(json.dumps(host.log), flush=True)


if __name__ == "__main__":
    main()
