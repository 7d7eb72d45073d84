"""What was measured once is recalled for the same key, and for no other."""

from pathlib import Path

import pytest

from deltaedit import memo


def test_a_value_is_made_once_per_key(tmp_path):
    made = []

    def make():
        made.append(1)
        return [{"value": 0.1 + 0.2, "layer": None}]

    key = {"checkpoint": "abc", "suite": {"limit": None}}
    first = memo.recall(tmp_path, key, make)
    assert memo.recall(tmp_path, dict(reversed(key.items())), make) == first, "to the last bit"
    assert len(made) == 1
    memo.recall(tmp_path, {**key, "suite": {"limit": 1}}, make)
    assert len(made) == 2


def test_the_infinite_loss_of_a_ruined_model_is_kept(tmp_path):
    for _ in range(2):
        assert memo.recall(tmp_path, {"a": 1}, lambda: [float("inf")]) == [float("inf")]


def test_a_failure_keeps_nothing(tmp_path):
    with pytest.raises(ZeroDivisionError):
        memo.recall(tmp_path, {"a": 1}, lambda: 1 / 0)
    assert memo.recall(tmp_path, {"a": 1}, lambda: 2) == 2


def test_a_unit_is_told_apart_from_others_and_by_what_all_share(tmp_path):
    made = []

    def units(shared):
        keep = memo.keeper(tmp_path, {"checkpoint": shared})
        for t in (0.5, 1.0):
            keep({"node": t}, lambda t=t: made.append((shared, t)))

    units("abc")
    units("abc")
    units("def")
    assert made == [("abc", 0.5), ("abc", 1.0), ("def", 0.5), ("def", 1.0)]


def test_two_jobs_may_make_the_same_value_at_once(tmp_path, monkeypatch):
    write = Path.write_text

    def write_then_be_overtaken(path, text):
        write(path, text)
        monkeypatch.undo()
        assert memo.recall(tmp_path, {"a": 1}, lambda: 2) == 2

    monkeypatch.setattr(Path, "write_text", write_then_be_overtaken)
    assert memo.recall(tmp_path, {"a": 1}, lambda: 2) == 2
    assert memo.recall(tmp_path, {"a": 1}, lambda: 1 / 0) == 2
    assert len(list(tmp_path.iterdir())) == 1, "nothing half written stays"
