"""``python -m runcommand``."""

import sys

from runcommand.cli import main

sys.exit(main())
