"""Who may import whom: read from the source of every module, imports within functions too.

Data flows down: collect -> facts -> model -> rules -> diagnosis -> report. What is below knows
nothing of what is above it.
"""

from __future__ import annotations

import ast

import pytest

from .command import ROOT

# What belongs together, by the beginning of the module's name: the longest one that fits counts.
TEXT = ("model.words", "model.errors")  # text in, text out: no facts, so everyone may use it
GROUND = ("frozen", "interrupts", "limits", "nearest", "terminal", "text_file", "winsock", *TEXT)

# Each part, and the parts that it may import beside ``GROUND``; in order, the lowest first.
LAYERS = {
    "facts": (),
    "attest": ("facts",),
    "firewall": ("facts",),
    "proxy": ("facts", "firewall"),
    "network": ("facts",),
    "collect": ("facts", "network"),
    "probes": ("facts", "network", "attest", "proxy", "collect"),
    "system": ("facts", "network", "attest", "firewall", "proxy", "collect"),
    "model": ("facts", "firewall", "proxy"),
    "fixes": ("facts", "firewall", "proxy", "model"),
    "rules": ("facts", "attest", "firewall", "proxy", "model", "fixes"),
    "diagnosis": ("facts", "model", "fixes", "rules"),
    "report": ("facts", "firewall", "model", "fixes", "rules", "diagnosis"),
    "redaction": ("facts", "firewall", "proxy", "collect", "model"),
    "operator": ("facts", "collect", "probes", "system", "report"),
    "check": ("facts", "collect", "probes", "system", "diagnosis", "report", "redaction"),
    "simulator": ("facts", "network", "attest", "collect", "probes", "model", "diagnosis", "check"),
    "output": ("diagnosis", "report", "rules"),
    "arguments": ("facts", "probes", "output"),
    "commands": (
        "arguments",
        "output",
        "facts",
        "attest",
        "collect",
        "probes",
        "system",
        "rules",
        "diagnosis",
        "report",
        "redaction",
        "operator",
        "check",
        "simulator",
    ),
    "cli": ("arguments", "commands"),
    "__main__": ("commands", "cli"),
    "scripts": ("arguments", "cli"),
}

# What still breaks the rule, by part. Strike out what is mended: the last test here asks for it.
KNOWN = set()

# These only think: what they import of Python's own library must not reach the world outside.
PURE = ("facts", "attest", "firewall", "proxy", "model", "fixes", "rules", "diagnosis")
OUTSIDE = {
    "asyncio",
    "ctypes",
    "http",
    "io",
    "multiprocessing",
    "os",
    "pathlib",
    "platform",
    "random",
    "select",
    "shutil",
    "signal",
    "socket",
    "ssl",
    "subprocess",
    "tempfile",
    "threading",
    "time",
    "winreg",
}


def modules():
    """Every module below runcommand, by its name without the package's own."""
    found = {}
    for path in sorted((ROOT / "runcommand").rglob("*.py")):
        parts = path.relative_to(ROOT / "runcommand").with_suffix("").parts
        if parts[-1] == "__init__":
            parts = parts[:-1]
        found[".".join(parts)] = path
    return found


MODULES = modules()
TREES = {name: ast.parse(path.read_text("utf-8")) for name, path in MODULES.items()}


def named(module, node):
    """The modules that one import statement names, in full: ``runcommand.facts``, ``os.path``."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    begin = node.module or ""
    if node.level:
        package = ["runcommand", *filter(None, module.split("."))]
        if MODULES[module].name != "__init__.py":
            package.pop()
        package = package[: len(package) - node.level + 1]
        begin = ".".join([*package, *filter(None, [node.module])])
    return [f"{begin}.{alias.name}" for alias in node.names]


def imported(module):
    """All names that a module imports, wherever it does."""
    found = set()
    for node in ast.walk(TREES[module]):
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            found.update(named(module, node))
    return found


def own(name):
    """The module of this project that an imported name is, or is of; None: it is another's."""
    if name != "runcommand" and not name.startswith("runcommand."):
        return None
    name = name[len("runcommand.") :]
    while name not in MODULES:
        name = name.rpartition(".")[0]
    return name


IMPORTS = {
    module: {own(name) for name in imported(module)} - {None, "", module} for module in MODULES
}


def part(module):
    """The part of the house that a module belongs to."""
    fitting = [
        name for name in (*LAYERS, *GROUND) if module == name or module.startswith(f"{name}.")
    ]
    return max(fitting, key=len) if fitting else None


def breaches():
    """Imports that are not allowed: the two parts, with the two modules."""
    found = {}
    for module, others in IMPORTS.items():
        if not module:  # the package itself holds the version
            continue
        of = part(module)
        allowed = {of, *GROUND, *LAYERS.get(of, ())}
        for other in others:
            if part(other) not in allowed:
                found.setdefault((of, part(other)), []).append(f"{module} imports {other}")
    return found


def circles():
    """Sets of modules each of which imports the others, directly or not."""
    reach = {}
    for module in IMPORTS:
        waiting, seen = [module], set()
        while waiting:
            for other in IMPORTS[waiting.pop()] - seen:
                seen.add(other)
                waiting.append(other)
        reach[module] = seen
    found = set()
    for module, seen in reach.items():
        if module in seen:
            found.add(frozenset(other for other in seen if module in reach[other]))
    return found


def test_every_module_belongs_to_a_part():
    assert [module for module in MODULES if module and part(module) is None] == []


def test_the_parts_are_in_order_so_that_there_is_no_way_back_up():
    order = list(LAYERS)
    for name, below in LAYERS.items():
        for other in below:
            assert order.index(other) < order.index(name), f"{name} may import {other}"


@pytest.mark.parametrize("name", GROUND)
def test_what_everyone_may_use_uses_nobody(name):
    assert {other for other in IMPORTS[name] if other not in GROUND} == set()


def test_no_module_imports_what_is_above_it():
    assert {pair: where for pair, where in breaches().items() if pair not in KNOWN} == {}


def test_no_modules_import_each_other():
    assert [sorted(circle) for circle in circles()] == []


def test_the_model_knows_neither_rules_nor_fixes():
    below = {
        part(other) for module in MODULES if part(module) == "model" for other in IMPORTS[module]
    }
    assert below <= {"model", "facts", "firewall", "proxy", *GROUND}


@pytest.mark.parametrize("module", [name for name in MODULES if part(name) in PURE])
def test_what_only_thinks_imports_nothing_that_reaches_outside(module):
    used = {name.partition(".")[0] for name in imported(module)}
    assert used & OUTSIDE == set()


def test_every_known_breach_is_still_there():
    assert set(breaches()) >= KNOWN
