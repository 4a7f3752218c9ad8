"""The start of the tool inside ``imds-check.sh``: Run Command's parameters in, exit code out."""

import os
import sys

from runcommand import interrupts

interrupts.note(even_if_ignored=True)  # before the long imports

from runcommand import cli, limits  # noqa: E402
from runcommand.scripts.parameters import WrongParameter, arguments  # noqa: E402

limits.raise_open_files()
try:
    words = arguments(sys.argv[1:], os.environ)
except WrongParameter as error:
    cli.fail(str(error))
sys.exit(cli.main(words))
