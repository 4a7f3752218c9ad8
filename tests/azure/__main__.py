"""``python -m tests.azure`` installs the Azure CLI for the tests; ``python -m tests.azure
transcripts`` makes ``samples/az`` anew.
"""

from __future__ import annotations

import subprocess
import sys

from . import client, transcripts

USAGE = "python -m tests.azure [transcripts]"


def main() -> int:
    words = sys.argv[1:]
    if words not in ([], ["transcripts"]):
        print(f"usage: {USAGE}", file=sys.stderr)
        return 2
    if not words:
        try:
            client.set_up()
        except subprocess.CalledProcessError as error:
            print(
                f"installing azure-cli {client.VERSION} failed with exit code {error.returncode}",
                file=sys.stderr,
            )
            return 1
        print(f"az: {client.program()}")
        return 0
    reason = client.why_not()
    if reason:
        print(reason, file=sys.stderr)
        return 2
    transcripts.write()
    return 0


if __name__ == "__main__":
    sys.exit(main())
