"""The start of the tool inside ``imds-check.sh``: Run Command's parameters in, exit code out."""

import os
import sys

from .. import interrupts

interrupts.note(even_if_ignored=True)  # before the long imports

from .. import cli, limits
from .parameters import WrongParameter, arguments

limits.raise_open_files()
try:
    words = arguments(sys.argv[1:], os.environ)
except WrongParameter as error:
    cli.fail(str(error))
sys.exit(cli.main(words))
