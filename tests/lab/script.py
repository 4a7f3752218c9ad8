"""The lab's VM with the script that is pasted into Run Command in the program's place."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Dict, Optional

from .namespace import Lab, own_environment

HIDDEN = "/run/lab/hidden"
SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class ScriptLab(Lab):
    """Runs ``imds-check.sh`` where ``Lab`` runs ``python -m runcommand``."""

    def __init__(self, script: Path, *arguments: object, **more: object) -> None:
        super().__init__(*arguments, **more)  # type: ignore[arg-type]
        self.script = script

    def tool(
        self,
        *arguments: str,
        environment: Optional[Dict[str, str]] = None,
        user: Optional[int] = None,
    ) -> subprocess.CompletedProcess[str]:
        assert user is None, "Run Command runs as root"
        return self.run(
            "sh", str(self.script), "ExitCode=verdict", *arguments, environment=environment
        )

    def run(
        self, *command: str, environment: Optional[Dict[str, str]] = None, given: str = ""
    ) -> subprocess.CompletedProcess[str]:
        """A command inside the VM, with ``given`` on its standard input."""
        return subprocess.run(
            self.enter(command),
            cwd="/",
            input=given,
            capture_output=True,
            text=True,
            timeout=180,
            env={**own_environment(), **(environment or {})},
        )

    def hide(self, *programs: str) -> None:
        """Takes programs away from the VM: a file that cannot be executed lies over each, wherever
        it is.
        """
        self.write(HIDDEN, "")
        self.vm(f"chmod 644 {HIDDEN}")
        cover = (
            'for name; do for file in $(which -a "$name"); do mount --bind "$0" "$file"; done; done'
        )
        subprocess.run(
            self.enter(["sh", "-c", cover, HIDDEN, *programs]),
            check=True,
            env={"PATH": SYSTEM_PATH},
        )
