"""``python -m tests.mutation [--sample N] [--seed S] [--minutes M] [PATH...]``"""

from __future__ import annotations

import argparse
import random
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Dict, Iterable, List, Optional, Sequence

from .mutants import Mutant, changed_line, is_program, mutants_of
from .reach import Reach, record

ROOT = Path(__file__).resolve().parents[2]
PATHS = ("runcommand/rules", "runcommand/firewall", "runcommand/fixes")
TRIAL_S = 90  # a mutant that runs longer is caught in a loop: killed
AT_LEAST = 4  # mutants of each module, where it has so many


@dataclass(frozen=True)
class Outcome:
    mutant: Mutant
    killed: Optional[bool]  # None: not tried, because the time was up, or it is no program


def modules(paths: Sequence[str]) -> List[str]:
    """The modules under some paths, from the root of the project."""
    found: List[str] = []
    for path in paths:
        place = ROOT / path
        files = [place] if place.is_file() else sorted(place.rglob("*.py"))
        found += [str(file.relative_to(ROOT)) for file in files]
    return found


def sampled(mutants: Dict[str, List[Mutant]], size: int, seed: int) -> List[Mutant]:
    """So many of all, spread over the modules by their numbers, in an order of chance."""
    chance = random.Random(seed)
    total = sum(map(len, mutants.values()))
    chosen: List[Mutant] = []
    for own in mutants.values():
        share = max(AT_LEAST, round(size * len(own) / total))
        chosen += chance.sample(own, min(share, len(own)))
    chance.shuffle(chosen)
    return chosen


def tried(mutant: Mutant, reach: Reach, until: float) -> Outcome:
    """Whether a test fails with this mutant."""
    if time.monotonic() > until:
        return Outcome(mutant, None)
    source = (ROOT / mutant.path).read_text("utf-8")
    if not is_program(mutant, source):
        return Outcome(mutant, None)
    tests = reach.for_line(mutant.path, mutant.line)
    if not tests:
        return Outcome(mutant, False)
    with tempfile.NamedTemporaryFile("w", suffix=".py", encoding="utf-8") as code:
        code.write(mutant.code(source))
        code.flush()
        program = [sys.executable, "-m", "tests.mutation.trial", mutant.path, code.name, *tests]
        try:
            done = subprocess.run(
                program,
                cwd=ROOT,
                timeout=TRIAL_S,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
        except subprocess.TimeoutExpired:
            return Outcome(mutant, True)
    return Outcome(mutant, done.returncode != 0)


def told(outcomes: Iterable[Outcome]) -> str:
    """The survivors, then the share that was killed, by module and of all."""
    by_module: Dict[str, List[bool]] = defaultdict(list)
    lines: List[str] = []
    skipped = 0
    for outcome in sorted(outcomes, key=lambda item: (item.mutant.path, item.mutant.line)):
        if outcome.killed is None:
            skipped += 1
            continue
        mutant = outcome.mutant
        by_module[mutant.path].append(outcome.killed)
        if not outcome.killed:
            change = changed_line(mutant, (ROOT / mutant.path).read_text("utf-8"))
            operator = mutant.operator.partition("/")[2]
            lines.append(f"survived {mutant.path}:{mutant.line} {operator}: {change}")
    for path, results in by_module.items():
        lines.append(f"{path:40}{_share(results)}")
    lines.append(f"{'all':40}{_share([one for results in by_module.values() for one in results])}")
    if skipped:
        lines.append(f"not tried (no other program, or the time was up): {skipped}")
    return "\n".join(lines)


def _share(results: Sequence[bool]) -> str:
    return f"{sum(results):5} of {len(results):4} killed  {sum(results) / len(results):7.1%}"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.mutation", description=__doc__)
    parser.add_argument("paths", nargs="*", metavar="PATH", default=PATHS)
    parser.add_argument("--sample", type=int, default=350, metavar="N", help="mutants (350)")
    parser.add_argument("--seed", type=int, default=1, metavar="S", help="of the sample (1)")
    parser.add_argument("--minutes", type=float, default=30, metavar="M", help="at most (30)")
    parser.add_argument("--at-least", type=float, default=0, metavar="SHARE", help="else exit 1")
    given = parser.parse_args()
    until = time.monotonic() + 60 * given.minutes
    every = {path: mutants_of(ROOT, path) for path in modules(given.paths)}
    every = {path: own for path, own in every.items() if own}
    chosen = sampled(every, given.sample, given.seed)
    print(f"{len(chosen)} of {sum(map(len, every.values()))} mutants", flush=True)
    reach = record(ROOT)
    outcomes: List[Outcome] = []
    with ThreadPoolExecutor(2) as pool:
        for outcome in pool.map(lambda mutant: tried(mutant, reach, until), chosen):
            outcomes.append(outcome)
            if outcome.killed is False:
                print(f"survived so far: {outcome.mutant}", flush=True)
    print(told(outcomes))
    results = [outcome.killed for outcome in outcomes if outcome.killed is not None]
    return int(sum(results) < given.at_least * len(results))


if __name__ == "__main__":
    sys.exit(main())
