"""The start of the tool inside ``imds-check.sh``: Run Command's parameters in, exit code out."""

import os
import sys

# absolute names: in the script this is the zipapp's own __main__, which is in no package
from runcommand import interrupts

interrupts.note(even_if_ignored=True)  # before the long imports

from runcommand import cli, limits
from runcommand.scripts.parameters import WrongParameter, arguments

limits.raise_open_files()
try:
    words = arguments(sys.argv[1:], os.environ)
except WrongParameter as error:
    cli.fail(str(error))
sys.exit(cli.main(words))
