"""``python -m runcommand``.

This file runs on any Python, 2.7 too: one that cannot run the rest is told so. The exe starts it as
a script of no package, so its imports are absolute.
"""

import sys

# commands in which Ctrl-C ends the program at once
OTHERS = ("demo", "decode", "replay", "explain")
INCONCLUSIVE = 3


def main():  # type: () -> int
    if sys.version_info < (3, 8):
        return refuse("Python 3.8 or later is needed, and this is %d.%d.%d" % sys.version_info[:3])
    if sys.flags.optimize > 1:
        return refuse(
            "run Python without -OO and without PYTHONOPTIMIZE=2, "
            "which take away texts that this needs"
        )
    try:
        from runcommand import interrupts, limits

        if not set(OTHERS).intersection(sys.argv[1:2]):
            interrupts.note()  # before the long imports
        limits.raise_open_files()
        from runcommand import cli

        return cli.main()
    except Exception as error:
        return refuse("%s: %s" % (type(error).__name__, error))


def refuse(reason):  # type: (str) -> int
    """The report of a run that could not be made; gives the exit code."""
    import socket
    import time

    from runcommand import __version__

    at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    host = "-" if "--redact" in sys.argv else socket.gethostname()
    host = (
        "".join(c if (c.isalnum() and ord(c) < 128) or c in "._-" else "_" for c in host)[:63]
        or "-"
    )
    said = "".join(c if " " <= c <= "~" else "?" for c in reason)[:400]
    lines = (
        "IMDS-CHECK %s  %s  %s" % (__version__, host, at),
        "VERDICT  INCONCLUSIVE: tool-failed",
        "  The check could not be run: %s." % said,
        "END IMDS-CHECK verdict=inconclusive cause=tool-failed exit=%d host=%s at=%s v=%s"
        % (INCONCLUSIVE, host, at, __version__),
    )
    try:
        sys.stdout.write("\n".join(lines) + "\n")
        sys.stdout.flush()
    except Exception:  # closed or full: the exit code is all that is left
        pass
    return 0 if "--exit-zero" in sys.argv else INCONCLUSIVE


sys.exit(main())
