"""BFCL's documents, prompt and verdicts come out of lm-eval as bfcl-eval has them.

`bfcl_verdicts.jsonl` was made by `bfcl_eval.eval_checker.eval_runner.runner` of bfcl-eval 2026.3.23
with all its dependencies, for meta-llama/Llama-3.1-8B-Instruct: responses that are accepted
answers, many of them spoilt, and what its score files say of each.
"""

import json
import shutil
from importlib import metadata
from pathlib import Path

import pytest
import yaml

from deltaedit import config as configuration
from deltaedit import evaluation, tasks
from deltaedit.errors import UserError

from ..project import PLAIN, module_at

FOLDER = tasks.SHIPPED / "bfcl"
ROOT = tasks.SHIPPED.parents[1]
SPEC = {"metric": "acc", "filter": "none", "num_fewshot": 0}
COUNTS = {
    "simple_python": 400,
    "simple_java": 100,
    "simple_javascript": 50,
    "multiple": 200,
    "parallel": 200,
    "parallel_multiple": 200,
    "irrelevance": 240,
    "live_simple": 258,
    "live_multiple": 1053,
    "live_parallel": 16,
    "live_parallel_multiple": 24,
    "live_irrelevance": 884,
    "live_relevance": 16,
}
OF_CALLS = [name for name in COUNTS if "relevance" not in name]
# Documents of bfcl-eval whose accepted values are none, or of parameters that no function has.
UNANSWERABLE = {
    "live_simple_106-63-0",
    "live_simple_112-68-0",
    "live_multiple_862-181-3",
    "live_multiple_964-207-0",
}
VERDICTS = Path(__file__).with_name("bfcl_verdicts.jsonl").read_text().splitlines()

try:
    metadata.version("bfcl-eval")
except metadata.PackageNotFoundError:
    pytest.skip("envs/requirements-bfcl.txt is for Python 3.11, 3.12", allow_module_level=True)


@pytest.fixture(scope="module")
def task():
    return module_at(FOLDER / "bfcl.py")


@pytest.fixture(scope="module")
def documents(task):
    return {name: task.documents(name)["test"] for name in COUNTS}


def accepted(document):
    """A call as BFCL accepts it, of the first value of each parameter, optional ones left out."""
    written = {"simple_java": in_java, "simple_javascript": json.dumps}
    write = written.get(document["category"], repr)
    functions = {each["name"]: each["parameters"] for each in json.loads(document["functions"])}
    calls = []
    for answer in json.loads(document["answer"]):
        [(name, values)] = answer.items()
        needed = functions[name]["required"]
        given = {
            key: held(next((value for value in choice if value != ""), ""))
            for key, choice in values.items()
            if "" not in choice or key in needed
        }
        types = functions[name]["properties"]
        if write is in_java:
            texts = [f"{key}={in_java(value, types[key])}" for key, value in given.items()]
        else:
            texts = [f"{key}={write(value)}" for key, value in given.items()]
        calls.append(f"{name}({', '.join(texts)})")
    return f"[{', '.join(calls)}]"


def held(value):
    """The value that an accepted one stands for: in a dictionary each entry lists its choices."""
    if isinstance(value, list):
        return [held(each) for each in value]
    if isinstance(value, dict):
        return {
            key: held(choice[0] if isinstance(choice, list) else choice)
            for key, choice in value.items()
            if not (isinstance(choice, list) and "" in choice)
        }
    return value


def in_java(value, kind):
    if isinstance(value, bool):
        return str(value).lower()
    return (
        f'"{value}"' if isinstance(value, str) else f"{value}" + {"long": "L"}.get(kind["type"], "")
    )


def is_plain(document):
    """Whether all accepted values are numbers and texts without quotes, as Java writes them."""
    [answer] = json.loads(document["answer"])
    [values] = answer.values()
    return not any(
        isinstance(value, list | dict) or '"' in str(value)
        for choice in values.values()
        for value in choice
    )


@pytest.mark.parametrize("name", COUNTS)
def test_every_category_is_whole(documents, name):
    assert len(documents[name]) == COUNTS[name]
    assert len(set(documents[name]["id"])) == COUNTS[name]


@pytest.mark.parametrize("name", OF_CALLS)
def test_accepted_calls_are_right_and_any_other_function_is_wrong(task, documents, name):
    checked = 0
    for document in documents[name]:
        if document["id"] in UNANSWERABLE or (name == "simple_java" and not is_plain(document)):
            continue
        response = accepted(document)
        assert task.score(document, [response]) == {"acc": 1}, response
        assert task.score(document, [response.replace("(", "_(", 1)]) == {"acc": 0}, response
        assert task.score(document, [f"{response[:-1]}, {response[1:]}"]) == {"acc": 0}, response
        checked += 1
    assert checked >= (80 if name == "simple_java" else COUNTS[name] - len(UNANSWERABLE) / 2)


@pytest.mark.parametrize("name", [name for name in COUNTS if "relevance" in name])
def test_irrelevance_asks_for_no_call_and_relevance_for_any(task, documents, name):
    for document in documents[name]:
        calls = task.score(document, ["[f(a=1)]"])["acc"]
        assert calls == (name == "live_relevance")
        assert task.score(document, ["None of the functions helps."])["acc"] == 1 - calls
        assert task.score(document, ["[]"])["acc"] == 1 - calls


def test_verdicts_are_those_of_bfcl_s_own_runner(task, documents):
    rows = [json.loads(line) for line in VERDICTS]
    known = {row["id"]: row for name in COUNTS for row in documents[name]}
    ours = [task.is_right(known[row["id"]], row["response"]) for row in rows]
    assert ours == [row["valid"] for row in rows]
    assert {row["category"] for row in rows} == set(COUNTS)
    assert 0.3 < sum(ours) / len(ours) < 0.7


def test_what_a_model_writes_is_never_executed(task, documents, tmp_path):
    document = documents["simple_python"][0]
    call = "calculate_triangle_area(base=10, height={})"
    assert task.is_right(document, call.format("2 + 3"))
    assert task.is_right(document, call.format("-5 + 2 * (7 - 2)"))
    code = f"open({str(tmp_path / 'made')!r}, 'w').write('a') + 4"
    assert not task.is_right(document, call.format(code))
    assert not list(tmp_path.iterdir())
    for text in ("'5' * 1", "9 ** 9", "[5][0] + 0", "1 / 0"):
        assert not task.is_right(document, call.format(text))


def test_the_prompt_names_the_functions_with_the_hints_of_their_language(documents):
    for name in COUNTS:
        for document in documents[name]:
            for function in json.loads(document["functions"]):
                assert json.dumps(function["name"]) in document["system"]
                assert "Note that the provided function" not in function["description"]
            assert document["question"]
    assert "in Java 8 SDK syntax" in documents["simple_java"][0]["system"]
    turns = [row for row in documents["live_irrelevance"] if "assistant: " in row["question"]]
    assert len(turns) == 8


def test_lm_eval_runs_a_group_and_reports_the_documents_of_all_its_tasks(tiny_pair, tmp_path):
    folder = shutil.copytree(tiny_pair()[1], tmp_path / "model")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"max_position_embeddings": 600}))
    tasks_ = {"bfcl_live_ast": SPEC}
    suite = {"tasks": tasks_, "batch_size": 4, "dtype": "float32", "limit": 1, **PLAIN}
    [row] = evaluation.evaluate(folder, suite, evaluation.task_manager(list(tasks_)), 0)
    assert (row["task"], row["value"], row["count"]) == ("bfcl_live_ast", 0, 4)
    assert row["task_version"] == f"bfcl-eval {metadata.version('bfcl-eval')}"


def test_the_prompt_is_a_message_of_the_system_and_the_question_one_of_the_user(documents):
    manager = evaluation.task_manager(["bfcl_multiple"])
    task = manager.load(["bfcl_multiple"])["tasks"]["bfcl_multiple"]
    document = documents["multiple"][0]
    heard = []
    task.fewshot_context(document, 0, apply_chat_template=True, chat_template=note(heard))
    assert [(each["role"], each["content"]) for each in heard] == [
        ("system", document["system"]),
        ("user", document["question"]),
    ]


def note(heard):
    return lambda messages, **options: heard.extend(messages) or ""


def test_every_category_has_a_task_and_a_change_of_what_it_is_made_of_is_seen():
    assert {path.stem for path in FOLDER.glob("*.yaml")} == {
        "bfcl_live_ast",
        *(f"bfcl_{name}" for name in COUNTS),
    }
    for name in COUNTS:
        tasks.check(f"bfcl_{name}", SPEC, ROOT)
    names = {file.name for file in tasks.files(["bfcl_multiple"])}
    assert names == {"bfcl_multiple.yaml", "_category_yaml", "bfcl.py"}
    names = {file.name for file in tasks.files(["bfcl_live_ast"])}
    live = ("simple", "multiple", "parallel", "parallel_multiple")
    members = {f"bfcl_live_{name}.yaml" for name in live}
    assert names == {"bfcl_live_ast.yaml", "_category_yaml", "bfcl.py"} | members


def test_the_version_of_a_task_is_the_pinned_one():
    pinned = (ROOT / "envs/requirements-bfcl.txt").read_text()
    for file in ("_category_yaml", "bfcl_live_ast.yaml"):
        spec = yaml.load((FOLDER / file).read_text(), Loader=yaml.BaseLoader)
        package, version = spec["metadata"]["version"].split()
        assert f"\n{package}=={version};" in pinned
        assert metadata.version(package) == version


def test_a_missing_package_is_refused_with_the_command_that_installs_it(monkeypatch):
    version = metadata.version

    def without(name):
        if name == "tree-sitter-java":
            raise metadata.PackageNotFoundError(name)
        return "0.25.0" if name == "tree-sitter" else version(name)

    monkeypatch.setattr(metadata, "version", without)
    for name in ("bfcl_multiple", "bfcl_live_ast"):
        with pytest.raises(
            ValueError, match=r"needs tree-sitter==0\.21\.3, tree-sitter-java==0\.21\.0;"
        ):
            tasks.check_packages(name)
        tasks.check(name, SPEC, ROOT)  # a plan can be made without
    with pytest.raises(ValueError, match=r"-m pip install --no-deps -r .*requirements-bfcl\.txt"):
        tasks.check_packages("bfcl_multiple")
    config = {"suites": {"tools": {"tasks": {"bfcl_multiple": SPEC}}}, "pairs": {}, "continued": {}}
    with pytest.raises(UserError, match=r"^suites\.tools\.tasks\.bfcl_multiple: needs [^\n]+$"):
        configuration.check_installed(config)


def test_few_shot_examples_are_refused():
    with pytest.raises(ValueError, match="num_fewshot: must be 0, got 2"):
        tasks.check("bfcl_multiple", SPEC | {"num_fewshot": 2}, ROOT)
