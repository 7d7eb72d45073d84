"""What was measured once is recalled for the same key, and for no other."""

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
