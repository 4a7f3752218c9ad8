"""One module a command: its arguments (``add``) and what it does (``run``)."""

DEFAULT = "check"
OTHERS = ("demo", "replay", "explain", "decode")
COMMANDS = (DEFAULT, *OTHERS)
