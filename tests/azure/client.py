"""The real Azure CLI, in a virtual environment of its own, logged in to the stand-in and to nothing
else.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Dict, Optional, Sequence

from ..lab import namespace
from .stand_in import Azure

VERSION = "2.91.0"
CLOUD = "stand-in"


def folder() -> Path:
    """Where the CLI is kept: outside the checkout, so that it is installed once."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "imds-check" / f"az-{VERSION}"


def program() -> Optional[Path]:
    """``az``: the one that ``$IMDS_CHECK_AZ`` names, or the one that ``set_up`` installed."""
    named = os.environ.get("IMDS_CHECK_AZ")
    if named:
        return Path(named)
    return folder() / "bin" / "az" if (folder() / ".ready").exists() else None


def why_not() -> Optional[str]:
    """Why the tests with the Azure CLI cannot run here; None when they can."""
    lab = namespace.why_not()
    if lab:
        return f"the lab cannot run: {lab}"
    return None if program() else "the Azure CLI cannot run here: python -m tests.azure sets it up"


def set_up() -> None:
    """Installs the CLI where it is not there yet (1 min, 730 MB).

    Raises ``subprocess.CalledProcessError`` when pip failed (it has said why).
    """
    if (folder() / ".ready").exists():
        return
    shutil.rmtree(folder(), ignore_errors=True)
    subprocess.run(
        [sys.executable, "-m", "venv", str(folder())], check=True, stdin=subprocess.DEVNULL
    )
    pip = [
        str(folder() / "bin" / "python"),
        "-m",
        "pip",
        "install",
        "-qq",
        "--disable-pip-version-check",
    ]
    subprocess.run([*pip, f"azure-cli=={VERSION}"], check=True, stdin=subprocess.DEVNULL)
    (folder() / ".ready").touch()


class Client:
    """The CLI with a configuration of its own while it is entered; ``login`` lets it work."""

    def __init__(self, azure: Azure) -> None:
        self._azure = azure
        self._folder = tempfile.TemporaryDirectory(prefix="imds-check-az-")

    def __enter__(self) -> Client:
        bin = Path(self._folder.name) / "bin"
        bin.mkdir()
        az = program()
        assert az is not None, why_not()
        (bin / "az").symlink_to(az.resolve())
        return self

    def __exit__(self, *_: object) -> None:
        self._folder.cleanup()

    @property
    def environment(self) -> Dict[str, str]:
        """With ``az`` first on PATH, this Python next, and nothing of this machine's own CLI or
        proxies.
        """
        own = namespace.own_environment()
        kept = {
            name: value
            for name, value in own.items()
            if not name.startswith(("AZURE_", "PYTHON", "IDENTITY_"))
        }
        return {
            **kept,
            "PATH": os.pathsep.join(
                [f"{self._folder.name}/bin", str(Path(sys.executable).parent), own["PATH"]]
            ),
            "AZURE_CONFIG_DIR": f"{self._folder.name}/config",
            "AZURE_CORE_COLLECT_TELEMETRY": "0",
            "REQUESTS_CA_BUNDLE": str(self._azure.certificate),
            "NO_PROXY": "localhost,127.0.0.1",
            "IDENTITY_ENDPOINT": self._azure.identity,
            "IDENTITY_HEADER": "x",
        }

    def run(self, command: Sequence[str], **more: Any) -> subprocess.CompletedProcess[str]:
        """A program that finds ``az`` on its path."""
        return subprocess.run(
            command,
            env={**self.environment, **more.pop("environment", {})},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            timeout=120,
            **more,
        )

    def az(self, *arguments: str, **more: Any) -> subprocess.CompletedProcess[str]:
        return self.run(["az", *arguments], **more)

    def json(self, *arguments: str, **more: Any) -> Any:
        """What an ``az`` command that has to succeed prints."""
        done = self.az(*arguments, **more)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def login(self) -> None:
        for arguments in (
            (
                "cloud",
                "register",
                "-n",
                CLOUD,
                "--endpoint-resource-manager",
                f"{self._azure.url}/",
            ),
            ("cloud", "set", "-n", CLOUD),
            ("login", "--identity"),
        ):
            done = self.az(*arguments)
            assert done.returncode == 0, done.stderr
