"""`python -m tests.mutation [--module NAME] [--line TEXT] [--write]`: changes decide/ in every small way, and sees that a test notices.

Ends with 1 when a change survives that tests/decide/survivors.toml does not explain, or when that explains one that is caught. The last
line is one JSON object. With --write the figures of modules where all is in order are kept, and `make docs` tells their sum in docs/safety.md.
"""

import argparse
import functools
import json
import multiprocessing
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from tests.mutation import trial
from tests.mutation.explained import Balance, Survivor, balance, explanations
from tests.mutation.operators import Mutation, mutated, mutations

PROCESSES = 2
TELL_EVERY_S = 5.0
TESTS = ("tests/decide", "tests/scenarios")
FIGURES = Path(__file__).with_name("figures.json")
NOT_TRIED = ("__init__", "docs")
"""The first is words alone; the second prints the tables of the other modules for docs/safety.md, and decides nothing."""
OWN_TESTS = {"failover": ("tests/scenarios/test_stories.py", "tests/decide/test_failover.py")}

Job = tuple[str, Mutation]
Figures = dict[str, int]
Tell = Callable[[str], None]
_known: dict[str, trial.Baseline] = {}


def modules() -> list[str]:
    """Those of decide/ that decide."""
    return sorted(path.stem for path in trial.DECIDE.glob("*.py") if path.stem not in NOT_TRIED)


@functools.cache
def source(module: str) -> str:
    """The text of a module of decide/, as it was when it was read first: who edits it meanwhile does not move the changes."""
    return (trial.DECIDE / f"{module}.py").read_text(encoding="utf-8")


def survivor(job: Job) -> Survivor:
    """The change by the words of its line."""
    module, mutation = job
    return Survivor(module, mutation.where, mutation.line, mutation.change)


def who_catches(job: Job) -> tuple[Job, str]:
    """(the job, the test that notices it): the module's own tests first, then whatever else goes through the changed lines."""
    module, mutation = job
    name = f"handyrep.decide.{module}"
    code = compile(mutated(source(module), mutation.number), str(trial.DECIDE / f"{module}.py"), "exec")
    known = _known["baseline"]
    own, others = tests_for(module, mutation, known)
    return job, trial.caught_by(name, code, own, known) or trial.caught_by(name, code, others, known)


def tests_for(module: str, mutation: Mutation, known: trial.Baseline) -> tuple[set[str], set[str]]:
    """(the module's own tests, others) that go through the changed lines; those that go through any line of the module where these are
    gone through while modules are imported.
    """
    through = known.through.get(module, {})
    found = {test for line in mutation.lines for test in through.get(str(line), ())}
    own = {test for test in known.took_s if test.startswith(OWN_TESTS.get(module, f"tests/decide/test_{module}.py"))}
    if "" in found:
        found = own.union(*through.values()) - {""}
    return found & own, found - own


def tried(jobs: Sequence[Job], processes: int) -> Iterator[tuple[Job, str]]:
    """Each job with the test that catches it, or ''."""
    _known["baseline"] = trial.baseline(TESTS)
    trial.warm_up(_known["baseline"].imported)
    with multiprocessing.get_context("fork").Pool(processes) as pool:
        yield from pool.imap_unordered(who_catches, jobs)


def run(jobs: Sequence[Job], processes: int, tell: Tell) -> list[Survivor]:
    """Try them all; tell how far it is, and of each survivor that nobody explains."""
    explained = explanations()
    began_s = told_s = time.monotonic()
    survived: list[Survivor] = []
    for number, (job, test) in enumerate(tried(jobs, processes), 1):
        if not test:
            survived.append(survivor(job))
            if survived[-1] not in explained:
                tell(f"SURVIVED, and nobody says why that may be:\n{survived[-1].entry}")
        if time.monotonic() - told_s > TELL_EVERY_S:
            told_s = time.monotonic()
            tell(f"{number} of {len(jobs)}, {len(survived)} survived, {told_s - began_s:.0f} s")
    return survived


def main(arguments: Sequence[str], tell: Tell) -> int:
    """The whole program."""
    parser = argparse.ArgumentParser(prog="tests.mutation", description=__doc__)
    parser.add_argument("--module", action="append", choices=modules(), default=[])
    parser.add_argument("--line", default="", help="only changes of lines that hold this text")
    parser.add_argument("--processes", type=int, default=PROCESSES)
    parser.add_argument(
        "--write", action="store_true", help="keep the figures for docs/safety.md, where all is in order"
    )
    options = parser.parse_args(arguments)
    chosen = options.module or modules()
    jobs = [(m, one) for m in chosen for one in mutations(source(m)) if options.line in one.line]
    survived = run(jobs, options.processes, tell)
    found = balance(survived, [one for one in explanations() if one.module in chosen and options.line in one.line])
    for one in found.needless:
        tell(f"CAUGHT or not there, though it is explained:\n{one.entry}")
    figures = {module: counted(module, jobs, survived, found) for module in chosen}
    in_order = not found.unexplained and not found.needless
    if options.write and in_order and not options.line:
        kept = {**json.loads(FIGURES.read_text(encoding="utf-8")), **figures}
        FIGURES.write_text(json.dumps({m: kept[m] for m in modules() if m in kept}, indent=1) + "\n", encoding="utf-8")
    tell(json.dumps(added(figures)))
    return 0 if in_order else 1


def counted(module: str, jobs: Sequence[Job], survived: Sequence[Survivor], found: Balance) -> Figures:
    """What came of the changes of one module."""
    tried_here = sum(1 for name, _ in jobs if name == module)
    left = [one for one in survived if one.module == module]
    explained = sum(1 for one in left if one not in found.unexplained)
    return {"mutants": tried_here, "caught": tried_here - len(left), "survived": len(left), "explained": explained}


def added(figures: Mapping[str, Figures]) -> Figures:
    """Of all these modules together."""
    return {name: sum(one[name] for one in figures.values()) for name in ("mutants", "caught", "survived", "explained")}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], lambda text: print(text, flush=True)))  # noqa: T201 - a program to be run
