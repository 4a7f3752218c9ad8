"""The start of the tool inside ``imds-check.sh``: Run Command's parameters in, exit code out."""

import os
import sys

from runcommand import cli
from runcommand.scripts.parameters import WrongParameter, arguments

try:
    words = arguments(sys.argv[1:], os.environ)
except WrongParameter as error:
    cli.fail(str(error))
sys.exit(cli.main(words))
