"""The start of the tool inside ``imds-check.sh``: Run Command's parameters in, exit code out.

It is no part of a package there, so its imports are absolute.
"""

import os
import sys

from runcommand import interrupts, limits

interrupts.note(even_if_ignored=True)  # before the long imports
limits.look_for_garbage_seldom()

from runcommand import cli
from runcommand.arguments import fail
from runcommand.scripts.parameters import WrongParameter, arguments

limits.raise_open_files()
try:
    words = arguments(sys.argv[1:], os.environ)
except WrongParameter as error:
    fail(str(error))
sys.exit(cli.main(words))
