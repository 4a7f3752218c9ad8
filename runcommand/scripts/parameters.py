"""Run Command's parameters as the arguments of ``imds-check check``."""

from __future__ import annotations

import shlex
from typing import Dict, List, Mapping, Sequence

NAMES = {
    "ExpectedMac": "EXPECTED_MAC",
    "ExpectedIp": "EXPECTED_IP",
    "Arguments": "ARGUMENTS",
    "ExitCode": "EXIT_CODE",
}
SPELLINGS = {
    spelling.lower(): name for name, variable in NAMES.items() for spelling in (name, variable)
}


class WrongParameter(ValueError):
    """A parameter that makes no sense; the message is for the operator."""


def arguments(words: Sequence[str], environment: Mapping[str, str]) -> List[str]:
    """The command line that the parameters stand for.

    Managed run commands give named parameters as environment variables and the others as words;
    action run commands put lines on top of the script that do the same. So a parameter is taken as
    a variable (``ExpectedMac`` or ``EXPECTED_MAC``), as a word (``ExpectedMac=00-0D-3A-E5-1C-C0``),
    and an address also as a bare word. Options of imds-check may follow, or stand in ``Arguments``.
    ``ExitCode`` is the shell's.

    :raises WrongParameter: for a name that is not known, and for quotes in ``Arguments`` that do
    not close
    """
    given: Dict[str, str] = {
        name: environment.get(name) or environment.get(variable) or ""
        for name, variable in NAMES.items()
    }
    options: List[str] = []
    for word in words:
        name, equals, value = word.partition("=")
        known = SPELLINGS.get(name.lower())
        if options or word.startswith("-"):
            options.append(word)
        elif equals and known:
            given[known] = value
        elif "/" in word:
            # which is not repeated: it may be an address with a secret
            raise WrongParameter(f"a value without a name; the names are {', '.join(NAMES)}")
        elif equals:
            raise WrongParameter(f"no parameter is called {name!r}: {', '.join(NAMES)}")
        elif word.strip():
            given["ExpectedIp" if set(word) <= set("0123456789.") else "ExpectedMac"] = word
    try:
        more = shlex.split(given["Arguments"])
    except ValueError as error:
        raise WrongParameter(f"Arguments: {error}: {given['Arguments']!r}") from None
    named = (
        ("--expected-mac", given["ExpectedMac"].strip()),
        ("--expected-ip", given["ExpectedIp"].strip()),
    )
    return [
        "check",
        *(word for option, value in named if value for word in (option, value)),
        *more,
        *options,
    ]
