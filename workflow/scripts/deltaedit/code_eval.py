"""The metric `code_eval` of Hugging Face's evaluate, with every program in a sandbox.

lm-eval's tasks of code (HumanEval, MBPP and others) load it by name. The original is a script of
the hub that runs what a model wrote inside the job, with the user's files and network.
"""

import os
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from math import comb
from statistics import mean
from types import SimpleNamespace
from typing import Any

from deltaedit import sandbox

NAME = "code_eval"


@cache
def install() -> None:
    """Have `evaluate.load("code_eval")` return this metric from now on.

    Raises:
        UserError: this machine has no sandbox.
    """
    sandbox.require()
    import evaluate  # takes seconds

    original = evaluate.load

    def load(path: str, *args: Any, **options: Any) -> Any:
        return (
            SimpleNamespace(compute=compute) if path == NAME else original(path, *args, **options)
        )

    evaluate.load = load


def compute(
    *,
    references: Sequence[str],
    predictions: Sequence[Sequence[str]],
    k: Iterable[int] = (1, 10, 100),
) -> tuple[dict[str, float], dict[int, list[tuple[int, dict[str, Any]]]]]:
    """Run every candidate before its problem's tests, as many at once as there are processors.

    Args:
        references: the tests of each problem.
        predictions: candidates for each problem, each a program to which its tests are added.
        k: of pass@k; those are left out for which a problem has too few candidates.

    Returns:
        "pass@k" for each k, the mean over problems; and by problem its candidates' numbers, each
        with `passed` and `result`, what `sandbox.run` said.
    """
    programs = [
        (problem, f"{candidate}\n{tests}")
        for problem, (tests, candidates) in enumerate(zip(references, predictions, strict=True))
        for candidate in candidates
    ]
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        outcomes = list(pool.map(sandbox.run, [program for _, program in programs]))
    results: dict[int, list] = {problem: [] for problem in range(len(references))}
    for (problem, _), outcome in zip(programs, outcomes, strict=True):
        number = len(results[problem])
        entry = {"task_id": problem, "completion_id": number}
        entry |= {"passed": outcome.passed, "result": outcome.result}
        results[problem].append((number, entry))
    counts = [(len(found), sum(e["passed"] for _, e in found)) for found in results.values()]
    ratios = {
        f"pass@{n}": mean(pass_at_k(total, passed, n) for total, passed in counts)
        for n in k
        if all(total >= n for total, _ in counts)
    }
    return ratios, results


def pass_at_k(total: int, passed: int, k: int) -> float:
    """Return the share of sets of k candidates that hold one which passes.

        pass@k = 1 - C(n - c, k) / C(n, k),  n candidates, of which c pass, k <= n

    Its expectation is the chance that one of k new candidates passes.

    Source: Chen et al. 2021, arXiv:2107.03374, equation 1.
    """
    return 1 - comb(total - passed, k) / comb(total, k)
