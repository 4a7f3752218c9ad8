"""A Linux VM and a Windows VM in the stand-in for Azure, and beside them the Azure CLI and a
checkout with what was built.
"""

from __future__ import annotations

import shutil
import tempfile
from contextlib import ExitStack
from pathlib import Path

import build

from ..lab.namespace import IMDS, ROOT, Lab
from . import stand_in
from .client import Client
from .stand_in import Azure

SCENARIO = "route-wrong-interface"  # what is wrong with the Windows VM
BREAK = f"ip route add {IMDS}/32 via 10.0.1.1 dev eth1"  # the same for the Linux VM
MEND = f"ip route del {IMDS}/32 via 10.0.1.1 dev eth1"


class Setting:
    """All of it, while it is entered; the CLI is not logged in yet, and the Linux VM is healthy."""

    def __enter__(self) -> Setting:
        with ExitStack() as stack:
            self.folder = Path(
                stack.enter_context(tempfile.TemporaryDirectory(prefix="imds-check-azure-"))
            )
            self.checkout = self.folder / "operator's checkout"
            _check_out(self.checkout)
            self.lab = stack.enter_context(Lab())
            self.linux = stand_in.linux(self.lab)
            self.windows = stand_in.windows(SCENARIO)
            self.azure = stack.enter_context(Azure(self.folder, [self.linux, self.windows]))
            self.client = stack.enter_context(Client(self.azure))
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()


def _check_out(folder: Path) -> None:
    """This checkout's samples and package, and the two scripts as they are built from it now
    (without the exe).
    """
    (folder / "dist").mkdir(parents=True)
    (folder / "runcommand").symlink_to(ROOT / "runcommand")
    (folder / "samples").mkdir()
    for script in ("diagnose-vm.sh", "diagnose-vm.ps1"):
        shutil.copy(ROOT / "samples" / script, folder / "samples")
    (folder / "dist" / "imds-check.sh").write_bytes(build.shell_script().encode("ascii"))
    windows = build.powershell_script(b"none").replace("\n", "\r\n")
    (folder / "dist" / "imds-check.ps1").write_bytes(windows.encode("ascii"))
