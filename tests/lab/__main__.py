"""``python -m tests.lab [NAME]``: every scenario of the lab as a table."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor

from .namespace import why_not
from .run import SIDE_BY_SIDE, run
from .scenarios import SCENARIOS


def main() -> int:
    reason = why_not()
    if reason:
        print(f"the lab cannot run here: {reason}", file=sys.stderr)
        return 2
    chosen = [scenario for scenario in SCENARIOS if not sys.argv[1:] or scenario.name in sys.argv[1:]]
    if not chosen:
        print(f"no scenario of the lab has one of these names: {', '.join(sys.argv[1:])}", file=sys.stderr)
        return 2
    width = max(len(scenario.name) for scenario in chosen) + 2
    print(f"{'SCENARIO':{width}}{'VERDICT':14}{'CAUSE':27}{'S':>5}  {'AFTER THE FIX':24}RIGHT")
    wrong = 0
    with ThreadPoolExecutor(SIDE_BY_SIDE) as pool:
        for scenario, result in zip(chosen, pool.map(run, chosen)):
            wrong += not result.right
            after = f"{result.after} ({result.executed} commands)" if result.after else "-"
            print(
                f"{scenario.name:{width}}{result.verdict:14}{result.cause or '-':27}{result.seconds:5.1f}  {after:24}"
                f"{'yes' if result.right else 'NO'}",
                flush=True,
            )
    print(f"{len(chosen)} scenarios, {wrong} wrong")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
