"""``python -m runcommand``.

This file runs on any Python, even 2.7, to say so where that cannot run the rest. The exe starts it
as a script outside any package, so its imports are absolute.
"""

import sys

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
        from runcommand.commands import OTHERS

        # before the long imports; the other commands end at once when Ctrl-C is pressed
        if not set(OTHERS).intersection(sys.argv[1:2]):
            interrupts.note()
        limits.raise_open_files()
        from runcommand import cli

        return cli.main()
    except Exception as error:
        return refuse("%s: %s" % (type(error).__name__, error))


def refuse(reason):  # type: (str) -> int
    """Prints the report of a run that could not be made. Returns the exit code."""
    import socket
    import string
    import time

    from runcommand import __version__

    at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    host = ""
    if "--redact" not in sys.argv:
        letters = string.ascii_letters + string.digits + "._-"
        host = replaced(socket.gethostname(), letters, "_")[:63]
    host = host or "-"
    printable = "".join(map(chr, range(32, 127)))
    said = replaced(reason, printable, "?")[:400]
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
    except Exception:
        # closed or full: only the exit code is left
        pass
    if "--exit-zero" in sys.argv:
        return 0
    return INCONCLUSIVE


def replaced(text, kept, substitute):  # type: (str, str, str) -> str
    """The text with a substitute for each character that is not one of those kept."""
    found = []
    for character in text:
        if character not in kept:
            character = substitute
        found.append(character)
    return "".join(found)


sys.exit(main())
