"""The demo of ParamDelta behaves as the paper says: scenarios 1 to 4, on seed 0 of the study."""

import json

import pandas as pd
import pytest

GENERAL = ["demo_math", "demo_truth", "demo_instruct", "demo_code"]


@pytest.fixture(scope="module")
def accuracy(param_delta):
    """Return a function that gives the accuracy of a variant on a task, or the mean of several."""
    table = pd.read_csv(param_delta.folder / "results/tables/scores.csv")
    found = table.set_index(["pair", "sweep", "variant", "task"])["value"]

    def look_up(pair, sweep, variant, *tasks):
        return sum(100 * found[pair, sweep, variant, task] for task in tasks) / len(tasks)

    return look_up


def test_nobody_knows_the_chronicle_but_the_new_base_which_cannot_answer(accuracy):
    for pair, end in (("demo_lm", "base"), ("demo_lm", "post"), ("demo_continued", "base")):
        assert accuracy(pair, "ends", end, "demo_chronicle") <= 35
    for task in ("demo_math", "demo_instruct", "demo_code"):
        assert accuracy("demo_continued", "ends", "base", task) <= 5


def test_a_carried_delta_answers_and_knows_what_is_new(accuracy):
    """Scenarios 1 and 3."""
    post = accuracy("demo_lm", "ends", "post", *GENERAL)
    assert accuracy("demo_lm", "carried", "carried", *GENERAL) >= post - 15
    known = accuracy("demo_lm", "carried", "carried", "demo_chronicle")
    for pair, end in (("demo_lm", "post"), ("demo_continued", "base")):
        assert known >= accuracy(pair, "ends", end, "demo_chronicle") + 25


def test_it_does_as_well_as_post_training_the_new_base(accuracy):
    real = accuracy("demo_continued", "ends", "post", *GENERAL)
    assert accuracy("demo_lm", "carried", "carried", *GENERAL) >= real - 15


def test_a_specific_delta_is_carried_as_well(accuracy):
    """Scenario 2."""
    for pair, end in (("demo_lm", "post"), ("demo_continued", "base")):
        assert accuracy(pair, "ends", end, "demo_last") <= 15
    assert accuracy("demo_specific", "ends", "post", "demo_last") >= 90
    assert accuracy("demo_specific", "carried", "carried", "demo_last") >= 80
    assert accuracy("demo_specific", "carried", "carried", *GENERAL) <= 20


def test_both_deltas_together_do_both(accuracy):
    """Scenario 4."""
    mixed = ("demo_lm", "mixed", "weights=1.0+1.0")
    assert accuracy(*mixed, *GENERAL) >= 55
    assert accuracy(*mixed, "demo_chronicle") >= 30
    # Over seeds 0, 1 and 2 it was 74, 84 and 33 %: the general delta disturbs the specific one.
    assert accuracy(*mixed, "demo_last") >= 25
    assert accuracy("demo_lm", "carried", "carried", "demo_last") <= 10


def test_the_best_scale_is_near_one_and_its_neighbours_keep_most(accuracy):
    along = {
        scale: accuracy("demo_lm", "scaled", f"scale={scale}", *GENERAL)
        for scale in (0.0, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5)
    }
    best = max(along, key=along.get)
    assert best in (0.75, 1.0, 1.25)
    assert min(along[1.0], along[1.25]) >= along[best] - 15
    assert along[0.0] <= along[0.25] + 5 <= along[0.5]
    carried = accuracy("demo_lm", "carried", "carried", *GENERAL)
    assert carried == along[1.0], "one and the same model"
    base = accuracy("demo_continued", "ends", "base", *GENERAL)
    assert along[0.0] == base


def test_the_loss_is_least_near_one_and_the_sum_follows_it(param_delta):
    drawn = pd.read_csv(param_delta.folder / "results/figures/loss_along_scale.csv")
    along = drawn.pivot_table(index="alpha", columns="what", values="value")
    assert along["measured"].idxmin() in (0.75, 1.0, 1.25)
    assert along["left"].idxmin() in (0.75, 1.0, 1.25)
    gap = (along["gauss_legendre"] - along["measured"]).abs() / along["measured"]
    assert gap.max() < 0.1
    levels = drawn[drawn["alpha"].isna()].set_index("what")["value"]
    assert set(levels.index) == {"base'", "post", "post'"}
    assert levels["base'"] == pytest.approx(along.loc[0.0, "measured"], rel=1e-6)


def test_the_readme_shows_the_table_of_scenario_1(param_delta, block):
    table = (param_delta.folder / "results/tables/scenario_1.md").read_text().strip()
    shown, made = (
        [[cell.strip() for cell in line.split("|")] for line in text.splitlines()]
        for text in (block("param_delta"), table)
    )
    assert shown[0] == made[0]
    assert [row[1:4] for row in shown[2:]] == [row[1:4] for row in made[2:]]


def test_results_say_how_the_new_base_was_made(param_delta):
    file = param_delta.folder / "results/demo_continued/eval/ends/all/demo.json"
    base = json.loads(file.read_text())["provenance"]["base"]
    made = base["made"]
    assert (made["source"], made["steps"], made["seed"]) == ("continued", 240, 0)
    assert made["sha256"] == base["sha256"]
    assert made["start"]["path"] == "resources/demo/language/pretrained"
    assert made["data"]["file"] == "chronicle_text.jsonl"


def test_a_second_run_has_nothing_to_do_and_other_text_trains_what_stands_on_it(param_delta):
    config = ("--configfile", "configs/param-delta-demo.yaml")
    assert param_delta.planned(*config) == {}
    text = param_delta.folder / "workflow/tasks/demo/chronicle_text.jsonl"
    before = text.read_text()
    text.write_text(before + '{"text": "the sun is gold"}\n')
    jobs = param_delta.planned(*config)
    text.write_text(before)
    assert jobs["continue_pretraining"] == ["resources/continued/chronicle/model"]
    assert len(jobs["train_on_continued"]) == 2
    assert not {"train_demo_checkpoint", "download_start"} & jobs.keys()
    assert all("continued" in output for output in jobs["extract_delta"])
