"""Makes ``net462.json`` anew: ``python -m tests.framework [FOLDER]``.

FOLDER holds the reference assemblies of .NET Framework 4.6.2. Without it they come from Debian's
package mono-devel, which is downloaded and unpacked, not installed. Needs ``pip install dnfile``
and the PowerShell engine that ``$IMDS_CHECK_PWSH`` names.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

from ..command import ROOT
from ..lab.powershell import engine
from . import check, listing, metadata
from .inference import Script

# What powershell.exe has loaded before a script begins, of what the reference assemblies have: a
# script finds no types in other assemblies.
ASSEMBLIES = ["mscorlib", "System", "System.Core"]
SCRIPT = ROOT / "runcommand" / "scripts" / "imds-check.ps1"


def make(folder: Path) -> None:
    power_shell = engine("linux")
    if power_shell is None:
        sys.exit("no PowerShell engine: $IMDS_CHECK_PWSH names its folder")
    framework = listing.Framework(metadata.read(folder, ASSEMBLIES))
    script = Script(check.syntax(power_shell, SCRIPT), framework)
    for line in check.missing(script):
        print(line)
    listing.write(framework.asked())


def main() -> None:
    if sys.argv[1:]:
        return make(Path(sys.argv[1]))
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(["apt-get", "download", "-q", "mono-devel"], cwd=folder, check=True)
        (package,) = Path(folder).glob("*.deb")
        subprocess.run(["dpkg-deb", "-x", str(package), folder], check=True)
        make(Path(folder) / "usr" / "lib" / "mono" / "4.6.2-api")


if __name__ == "__main__":
    main()
