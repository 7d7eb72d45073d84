"""API-Bank's calls are judged from a local copy of its data, whose content is part of a result."""

import json
import shutil
from pathlib import Path

import pytest

from deltaedit import evaluation, tasks

from ..project import PLAIN, module_at

FOLDER = tasks.SHIPPED / "api_bank"
SPEC = {"metric": "acc", "filter": "none", "num_fewshot": 0}
QUERY = "API-Request: [QueryStock(stock_code='MSFT', date='2022-02-04')]"
# The data quote lists of texts as no Python does.
MEETING = (
    "API-Request: [AddMeeting(topic='It\\'s time, location=here', attendees='['Ann', 'Bob']', n=3)]"
)


def row(expected):
    return {
        "file": "Some-level-1-1.jsonl",
        "id": 0,
        "instruction": "\nGenerate an API request.\n\nAPI descriptions:\n{}",
        "input": "User: Please!\nGenerate API Request:\n",
        "expected_output": expected,
    }


@pytest.fixture
def copy(tmp_path):
    """A folder as the authors publish it, with two calls of level 1 and one of level 2."""
    folder = tmp_path / "test-data"
    folder.mkdir()
    (folder / "level-1-api.json").write_text(json.dumps([row(QUERY), row(MEETING)]))
    (folder / "level-2-api.json").write_text(json.dumps([row("API-Request: [GetToday()]")]))
    return folder


@pytest.fixture(scope="module")
def task():
    return module_at(FOLDER / "api_bank.py")


def judged(task, expected, response):
    return task.score({"expected_output": expected}, [response])["acc"]


@pytest.mark.parametrize(
    "response",
    [
        QUERY,
        "[QueryStock(date='2022-02-04', stock_code='MSFT')]",
        'I would call [QueryStock( stock_code = "MSFT",date = "2022-02-04" )] here.\nUser: Thanks',
        "[QueryStock(stock_code='MSFT', date='2022-02-04')]\n[Other(a='b')]",
    ],
)
def test_a_call_is_right_in_any_order_and_quotes_and_with_text_around(task, response):
    assert judged(task, QUERY, response) == 1


@pytest.mark.parametrize(
    "response",
    [
        "",
        "QueryStock(stock_code='MSFT', date='2022-02-04')",
        "[QueryStocks(stock_code='MSFT', date='2022-02-04')]",
        "[QueryStock(stock_code='MSFT')]",
        "[QueryStock(stock_code='MSFT', date='2022-02-05')]",
        "[QueryStock(stock_code='MSFT', date='2022-02-04', time='noon')]",
        "[QueryStock('MSFT', '2022-02-04')]",
        "[QueryStock(**{'stock_code': 'MSFT', 'date': '2022-02-04'})]",
        "[QueryStock({[]: 1}, stock_code='MSFT', date='2022-02-04')]",
        "[QueryStock(stock_code='MSFT'), QueryStock(date='2022-02-04')]",
        "[QueryStock(stock_code='MSFT')(stock_code='MSFT', date='2022-02-04')]",
        "[QueryStock(stock_code={[]: 1}, date='2022-02-04')]",
        f"[QueryStock(stock_code={'-' * 5000}1, date='2022-02-04')]",
    ],
)
def test_another_name_or_other_parameters_are_wrong(task, response):
    assert judged(task, QUERY, response) == 0


def test_lists_are_equal_by_what_they_hold_however_they_are_quoted(task):
    list_of = "[AddMeeting(topic={}, attendees={}, n={})]".format
    assert task.parse(MEETING) is not None
    unescaped = MEETING.replace("\\'", "")
    topic = "'Its time, where'"
    for attendees in ("['Ann', 'Bob']", "'['Ann', 'Bob']'", "\"['Ann', 'Bob']\"", "['Ann','Bob']"):
        for n in ("3", "'3'"):
            call = list_of(topic, attendees, n)
            assert judged(task, list_of(topic, "'['Ann', 'Bob']'", 3), call) == 1, call
    assert judged(task, unescaped, list_of(topic, "['Ann', 'Bob']", 3)) == 0
    assert judged(task, list_of(topic, "[1]", 3), list_of(topic, "['1']", 3)) == 0


def test_a_call_without_parameters_takes_none(task):
    today = "API-Request: [GetToday()]"
    assert judged(task, today, "[GetToday()]") == 1
    assert judged(task, today, "[GetToday(now='')]") == 0
    assert judged(task, today, "[GetToday(here and now please)]") == 0


def test_an_expected_output_without_a_call_is_refused(task, copy):
    (copy / "level-1-api.json").write_text(json.dumps([row("I cannot.")]))
    with pytest.raises(ValueError, match=r"level-1-api\.json: no call in 'I cannot\.'"):
        task.documents("level-1-api.json", str(copy))


def test_lm_eval_reads_the_copy_for_all_levels_of_the_group(tiny_pair, tmp_path, copy):
    folder = shutil.copytree(tiny_pair()[1], tmp_path / "model")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"max_position_embeddings": 300}))
    suite = {
        "tasks": {"api_bank": SPEC | {"data": str(copy)}},
        "batch_size": 4,
        "dtype": "float32",
        "limit": None,
        **PLAIN,
    }
    [row] = evaluation.evaluate(folder, suite, evaluation.task_manager(["api_bank"]), 0)
    assert (row["task"], row["value"], row["count"]) == ("api_bank", 0, 3)


def test_the_prompt_is_the_instruction_and_the_dialogue(copy):
    manager = evaluation.task_manager(["api_bank_level_1"], str(copy))
    task = manager.load(["api_bank_level_1"])["tasks"]["api_bank_level_1"]
    [document, _] = task.test_docs()
    wanted = f"{document['instruction']}\n{document['input']}"
    assert task.fewshot_context(document, 0) == wanted


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("api_bank_level_1", {}, r"needs data: FOLDER with level-1-api\.json \(test-data of limi"),
        ("api_bank", {}, r"needs data: FOLDER with level-1-api\.json and level-2-api\.json"),
        ("api_bank_level_1", {"data": "nowhere"}, "data: no folder 'nowhere' in "),
        ("api_bank_level_2", {"data": "half"}, r"data: no file '.*half/level-2-api\.json' \(test"),
        ("api_bank", {"data": "half"}, r"data: no file '.*half/level-2-api\.json' \(test"),
        ("demo_math", {"data": "test-data"}, "takes no data"),
        ("gsm8k", {"data": "test-data"}, "takes no data"),
    ],
)
def test_data_are_asked_for_by_tasks_that_need_them_alone(tmp_path, copy, name, change, message):
    half = tmp_path / "half"
    half.mkdir()
    shutil.copy(copy / "level-1-api.json", half)
    with pytest.raises(ValueError, match=message):
        tasks.check(name, SPEC | change, tmp_path)


def test_data_lie_in_the_working_folder_or_the_project_s(tmp_path, copy, monkeypatch):
    tasks.check("api_bank", SPEC | {"data": "test-data"}, tmp_path)
    assert tasks.data_folder("test-data", tmp_path) == copy
    monkeypatch.chdir(tmp_path)
    tasks.check("api_bank", SPEC | {"data": "test-data"}, Path("elsewhere"))
    assert tasks.data_folder("test-data", Path("elsewhere")) == Path("test-data")
    files = tasks.data_files("api_bank", Path("test-data"))
    assert [file.name for file in files] == ["level-1-api.json", "level-2-api.json"]
