"""The papers' published numbers, and the pairs that they are of."""

from pathlib import Path

import pandas as pd

FOLDER = Path(__file__).parents[2] / "published"
LLAMA3_8B = ("meta-llama/Meta-Llama-3-8B", "meta-llama/Meta-Llama-3-8B-Instruct")
SIZES = ("8B", "70B")
# The rows of ParamDelta's tables by lm-eval's task. The paper states neither prompts nor metrics,
# so that its numbers are of these tasks in kind, not in every setting. Its MGSM is over languages,
# each of which is a task of its own in lm-eval; of BFCL it does not say which part it ran.
BENCHMARKS = {
    **dict.fromkeys(("mmlu", "mmlu_generative", "mmlu_llama", "mmlu_cot_llama"), "MMLU"),
    "mmlu_pro": "MMLU PRO",
    "ifeval": "IFEval",
    **dict.fromkeys(("humaneval", "humaneval_instruct"), "HumanEval"),
    **dict.fromkeys(("mbpp_plus", "mbpp_plus_instruct"), "MBPP EvalPlus"),
    **dict.fromkeys(
        ("gsm8k", "gsm8k_cot", "gsm8k_cot_zeroshot", "gsm8k_llama", "gsm8k_cot_llama"), "GSM8K"
    ),
    **dict.fromkeys(("minerva_math", "hendrycks_math"), "MATH"),
    **dict.fromkeys(
        ("arc_challenge", "arc_challenge_chat", "arc_challenge_llama"), "ARC Challenge"
    ),
    **{
        f"gpqa_main_{how}": "GPQA"
        for how in ("n_shot", "zeroshot", "generative_n_shot", "cot_n_shot", "cot_zeroshot")
    },
    "api_bank": "API Bank",
    "dr_fantasy": "New domain",
}


def llama(version: str, size: str) -> tuple[str, str]:
    """Return the repositories of base and post of Llama 3 or 3.1, of a size of `SIZES`."""
    base = f"meta-llama/Meta-Llama-{version}-{size}"
    return base, f"{base}-Instruct"


def read(name: str) -> pd.DataFrame:
    """Return a table of the papers; the first line of its file says which."""
    return pd.read_csv(FOLDER / f"{name}.csv", comment="#")


def is_of(table: pd.DataFrame, ends: tuple[str, str]) -> pd.Series:
    """Return which rows are of the pair with these repositories of base and post."""
    if "base_repo" not in table:
        return pd.Series(data=False, index=table.index)
    known = {f"{end}_repo": repo for end, repo in zip(("base", "post"), ends, strict=True)}
    # The hub knows Llama 3.1 by two names.
    found = {
        column: table[column].astype("object").map(_full_name, na_action="ignore")
        for column in known
    }
    return (found["base_repo"] == known["base_repo"]) & (found["post_repo"] == known["post_repo"])


def _full_name(repo: str) -> str:
    return repo.replace("meta-llama/Llama-3.1-", "meta-llama/Meta-Llama-3.1-")
