"""Evaluate checkpoints on a suite of tasks with lm-eval."""

import math
import sys
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from functools import cache, lru_cache, partial
from pathlib import Path
from typing import Any

import lm_eval.evaluator
import lm_eval.utils
from lm_eval.api.model import TemplateLM
from lm_eval.tasks import TaskManager

from deltaedit import backends, code_eval, judge, memo, tasks
from deltaedit.errors import UserError
from deltaedit.judge import Judge
from deltaedit.memo import Keep

# simple_evaluate describes the machine at every call, for which it runs pip: half a second per
# variant. Results here carry their own provenance.
lm_eval.evaluator.add_env_info = lambda storage: None
# It also compiles a task's templates for every document, a quarter of a small model's time.
lm_eval.utils.env.from_string = lru_cache(1024)(lm_eval.utils.env.from_string)


def task_manager(names: list[str], data: str | None = None) -> TaskManager:
    """Index the project's tasks, and lm-eval's own only if a name is not among the project's.

    `data` is the folder that tasks read which have no data of their own.
    """
    ours = tasks.shipped()
    return TaskManager(
        include_path=str(tasks.SHIPPED),
        include_defaults=any(name not in ours for name in names),
        metadata={"data": data} if data else None,
    )


def evaluate(
    folder: Path,
    suite: Mapping[str, Any],
    manager: TaskManager,
    seed: int,
    keep: Keep = memo.anew,
    *,
    allow_code: bool = False,
) -> list[dict[str, Any]]:
    """Evaluate one checkpoint: one row per task, with the suite's metric and its stderr.

    Each task runs as if the suite had no other, so that its numbers depend on no neighbour.

    Args:
        folder: the checkpoint, with its tokenizer.
        suite: `tasks` (name -> metric, filter, num_fewshot, perhaps data, a folder, and for the
            metric `judged` its judge: `url`, `model`, `key_variable` and the path of the
            `document`), `batch_size`, `dtype`, `limit`, `backend`, and `chat_template`: the
            template itself, whatever the tokenizer has, or false.
        manager: from `task_manager`, made once for all checkpoints.
        seed: of few-shot sampling and everything random in lm-eval.
        keep: of rows, by the suite with that task alone and the seed; the model is loaded when the
            first of them is made.
        allow_code: tasks may run code that the model writes, in a sandbox.

    Returns:
        Rows with task, task_version, num_fewshot, metric, filter, value, stderr (None where
        lm-eval has none), count, the number of documents, in a group of all its tasks, batch_size,
        that which was used (None where vLLM chose as it went), and limit; a judged one also
        `answers`, with question, answer and is_right. num_fewshot is what ran: lm-eval keeps that
        of tasks which have no examples.

    Raises:
        UserError: a task does not report the suite's metric, the judge does not answer, or a task
            may run code and the machine has no sandbox.
    """
    rows = []
    with ExitStack() as loaded:

        @cache
        def model() -> TemplateLM:
            if allow_code:
                code_eval.install()
            return loaded.enter_context(backends.load(folder, suite, seed))

        for name, task in suite["tasks"].items():
            spec = {key: value for key, value in task.items() if key != "judge"}
            alone = {**suite, "tasks": {name: spec}}
            make = partial(_evaluate_alone, model, alone, manager, seed, allow_code)
            row = keep({"suite": alone, "seed": seed}, make)
            rows.append(_judged(row, keep=keep, **task["judge"]) if "judge" in task else row)
    return rows


def _judged(
    row: Mapping[str, Any], *, url: str, model: str, key_variable: str, document: str, keep: Keep
) -> dict[str, Any]:
    """Have the answers of a row judged; what is kept depends on the judge, not on its address."""
    by = Judge(url=url, model=model, key_variable=key_variable)
    text = Path(document).read_text(encoding="utf-8")
    make = partial(judge.judge_all, by, text, row["answers"])
    answers = keep({"answers": row["answers"], "judge": model, "document": text}, make)
    value, stderr = judge.score(answers)
    return {**row, "value": value, "stderr": stderr, "answers": answers}


def _evaluate_alone(
    model: Callable[[], TemplateLM],
    suite: Mapping[str, Any],
    manager: TaskManager,
    seed: int,
    allow_code: bool,
) -> dict[str, Any]:
    [(name, task)] = suite["tasks"].items()
    if "data" in task:
        manager = task_manager([name], task["data"])
    if name in tasks.OF_SENTENCES:
        _fetch_sentences(name)
    is_judged = task["metric"] == judge.METRIC
    lm = model()
    lm.found = []
    found = lm_eval.evaluator.simple_evaluate(
        model=lm,
        tasks=[name],
        num_fewshot=task["num_fewshot"],
        task_manager=manager,
        limit=suite["limit"],
        apply_chat_template=bool(suite["chat_template"]),
        fewshot_as_multiturn=bool(suite["chat_template"]),
        log_samples=is_judged,
        random_seed=seed,
        numpy_random_seed=seed,
        torch_random_seed=seed,
        fewshot_random_seed=seed,
        confirm_run_unsafe_code=allow_code,
    )
    if (size := suite["batch_size"]) == "auto":
        size = min(lm.found, default=None)  # several, if the task asks for several kinds of answers
    row = _answered(name, task, found) if is_judged else _row(name, task, found)
    return {**row, "batch_size": size, "limit": suite["limit"]}


def _fetch_sentences(name: str) -> None:
    """Have what IFEval counts sentences by, which it would miss after all responses are there."""
    import nltk  # takes a second, and other tasks do without

    try:
        nltk.data.find("tokenizers/punkt_tab")
    except LookupError:
        if not nltk.download("punkt_tab", quiet=True):
            raise UserError(
                f"task {name!r} needs punkt_tab of nltk, and nltk cannot fetch it here; run where"
                f" there is internet: {sys.executable} -m nltk.downloader punkt_tab"
            ) from None


def _row(name: str, task: Mapping[str, Any], found: Mapping[str, Any]) -> dict[str, Any]:
    scores = found["results"].get(name, {})
    key = f"{task['metric']},{task['filter']}"
    if key not in scores:
        known = sorted(k for k in scores if "," in k and "_stderr" not in k)
        reported = ", ".join(known) or "nothing of its own, so name its tasks"
        raise UserError(f"task {name!r} has no metric,filter {key!r}; it reports {reported}")
    stderr = scores.get(f"{task['metric']}_stderr,{task['filter']}")
    return {
        **_described(name, task, found),
        "value": float(scores[key]),
        "stderr": stderr if isinstance(stderr, float) and math.isfinite(stderr) else None,
    }


def _described(name: str, task: Mapping[str, Any], found: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "task": name,
        "task_version": found["versions"].get(name),
        "num_fewshot": found["n-shot"].get(name, task["num_fewshot"]),
        "metric": task["metric"],
        "filter": task["filter"],
        "count": found["results"][name]["sample_len"],
    }


def _answered(name: str, task: Mapping[str, Any], found: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row without a value yet, with the answers to questions as the filter leaves them."""
    samples = [one for one in found["samples"][name] if one["filter"] == task["filter"]]
    if not samples or not all("question" in one["doc"] for one in samples):
        raise UserError(
            f"task {name!r} has no answers to judge by the filter {task['filter']!r}: a judge takes"
            " a task of questions, each document with the key 'question'"
        )
    answers = [
        {"question": one["doc"]["question"], "answer": str(one["filtered_resps"][0])}
        for one in samples
    ]
    return {**_described(name, task, found), "value": None, "stderr": None, "answers": answers}
