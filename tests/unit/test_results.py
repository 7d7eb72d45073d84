"""Result files become tables that keep every option and every check."""

import json
import math

import pandas as pd
import pyarrow.parquet as pq
import pytest

from deltaedit import pages, results

KEYS = {"pair": "p", "sweep": "s", "slice": "all"}
VARIANT = {
    "name": "v",
    "method": "dare",
    "options": {"drop_rate": 0.5},
    "tensors": "all",
    "seed": 1,
}
END = {"name": "post", "method": None, "options": {}, "tensors": None, "seed": None}


def slope_rows(variant, slopes, measured):
    loss = {"loss": "l", "loss_post": 1.0, "loss_edited": 1 + measured, "measured_change": measured}
    loss |= {"measured_stderr": 0.25, "approximate_stderr": 0.5}
    return [
        {
            **KEYS,
            **results.describe(variant),
            **loss,
            "quadrature": "left",
            "node": t,
            "weight": 0.5,
            "tensor": name,
            "layer": None,
            "group": "norm",
            "slope": slope,
        }
        for t, row in ((0.0, slopes[0]), (0.5, slopes[1]))
        for name, slope in row.items()
    ]


def test_a_variant_is_described_with_its_defaults():
    assert results.describe(VARIANT) == {
        "variant": "v",
        "method": "dare",
        "seed": 1,
        "tensors": "all",
        "drop_rate": 0.5,
        "dropped_scale": 0.0,
        "rescale": True,
        "intensity": 1.0,
    }
    assert results.describe(END) == {
        "variant": "post",
        "method": None,
        "seed": None,
        "tensors": None,
    }


def test_slopes_sum_to_the_approximation_with_its_gap(tmp_path):
    files = {
        "a.parquet": slope_rows(VARIANT, [{"x": 1.0, "y": 2.0}, {"x": 3.0, "y": 6.0}], 5.0),
        "ends.parquet": slope_rows(END, [{"x": 0.0, "y": 0.0}] * 2, 0.0),
    }
    for name, rows in files.items():
        results.write_parquet(tmp_path / name, rows, {"commit": "abc"})
    table = results.loss_changes(results.read_slopes(tmp_path / name for name in files))
    assert list(table["variant"]) == ["v", "post"], "rows without options are not dropped"
    first = table.iloc[0]
    assert first["approximate_change"] == (1 + 2) / 2 + (3 + 6) / 2
    assert first["gap"] == first["approximate_change"] - 5.0 == 1.0
    assert table["gap_exceeds_error"].tolist() == [True, False], "1 > 0.25, 0 < 0.25"
    assert first["drop_rate"] == 0.5
    assert first["first_order"] == 1 + 2
    assert first["second_order"] == ((3 + 6) - (1 + 2)) / 0.5 / 2
    assert "expected_second_order" not in table


def test_the_expected_second_order_is_half_the_intensity_times_the_curvature(tmp_path):
    dare = VARIANT | {"options": {"drop_rate": 0.9, "dropped_scale": 0.5}}
    rows = slope_rows(dare, [{"x": 1.0}] * 2, 5.0)
    rows += slope_rows(END, [{"x": 0.0}] * 2, 0.0)
    results.write_parquet(tmp_path / "a.parquet", rows, {})
    pair, loss = rows[0]["pair"], rows[0]["loss"]
    file = tmp_path / "c.json"
    file.write_text(json.dumps({"pair": pair, "loss": loss, "curvature": 0.25, "stderr": 0.1}))
    curvatures = results.read_curvatures([file])
    table = results.loss_changes(results.read_slopes([tmp_path / "a.parquet"]), curvatures)
    found = table.set_index("variant")["expected_second_order"]
    assert found["v"] == pytest.approx(0.25 * 9 / 2 * 0.25)
    assert math.isnan(found["post"])
    other = results.loss_changes(results.read_slopes([tmp_path / "a.parquet"]), {("q", "l"): 1.0})
    assert other["expected_second_order"].isna().all()


def test_a_slope_that_is_not_a_number_makes_the_sum_none(tmp_path):
    rows = slope_rows(VARIANT, [{"x": 1.0, "y": float("nan")}, {"x": 3.0, "y": 6.0}], 5.0)
    results.write_parquet(tmp_path / "a.parquet", rows, {})
    table = results.loss_changes(results.read_slopes([tmp_path / "a.parquet"]))
    assert table["approximate_change"].isna().all()


def test_a_parquet_file_carries_its_provenance(tmp_path):
    results.write_parquet(
        tmp_path / "a.parquet", slope_rows(VARIANT, [{"x": 1.0}] * 2, 0.0), {"commit": "abc"}
    )
    metadata = pq.read_schema(tmp_path / "a.parquet").metadata
    assert json.loads(metadata[b"deltaedit"]) == {"commit": "abc"}


def test_scores_of_several_files_are_one_table(tmp_path):
    for name, variant, value in (("a", VARIANT, 0.75), ("b", END, 1.0)):
        row = {**KEYS, **results.describe(variant), "task": "t", "value": value, "stderr": None}
        (tmp_path / name).write_text(json.dumps({"rows": [row], "provenance": {}}))
    table = results.read_scores([tmp_path / "a", tmp_path / "b"])
    assert list(table["value"]) == [0.75, 1.0]
    assert pd.isna(table["method"][1])
    assert pd.isna(table["drop_rate"][1])


def test_provenance_names_sources_hashes_versions_and_commit(tmp_path):
    from deltaedit import provenance

    for end in ("base", "post"):
        (tmp_path / end).mkdir()
        (tmp_path / end / "model.safetensors").write_bytes(end.encode())
        provenance.mark(tmp_path / end, {"source": "hub", "revision": "0" * 40})
    ends = {end: tmp_path / end for end in ("base", "post")}
    record = provenance.record("p", ends, "torch", "lm_eval", seed=3)
    assert record["base"]["revision"] == "0" * 40
    assert len(record["base"]["sha256"]) == 64
    assert record["base"]["sha256"] != record["post"]["sha256"]
    assert record["versions"].keys() == {"python", "torch", "lm_eval"}
    assert record["seed"] == 3
    assert record["commit"] == "unknown" or len(record["commit"].split("+")[0]) == 40


def test_a_page_shows_every_variant_in_one_line(tmp_path):
    table = pd.DataFrame(
        [
            {
                "pair": "p",
                "sweep": "s",
                "variant": variant,
                "suite": "x",
                "task": task,
                "value": value,
                "stderr": stderr,
            }
            for variant, task, value, stderr in (
                ("b", "t", 0.5, 0.125),
                ("b", "u", 1.0, None),
                ("a<b", "t", 0.25, 0.0),
                ("a<b", "u", 0.0, 0.0),
            )
        ]
    )
    shown = pages.scores(table)
    assert list(shown.columns) == ["pair", "sweep", "variant", "t (%)", "u (%)"]
    assert shown.to_numpy().tolist() == [
        ["p", "s", "b", "50.0 ± 12.5", "100.0"],
        ["p", "s", "a<b", "25.0 ± 0.0", "0.0 ± 0.0"],
    ]
    pages.write(tmp_path / "page.html", "Title", shown)
    text = (tmp_path / "page.html").read_text()
    assert text.count("<tr") == 3
    assert text.count("<th>") == 5, "a header for each column and no other"
    assert "a&lt;b" in text


def test_a_page_keeps_the_order_of_the_variants():
    names = [
        ("one", "k=0.5"),
        ("one", "k=1.5"),
        ("two", "k=0.5"),
        ("two", "k=0.9"),
        ("two", "k=1.5"),
    ]
    rows = [
        {"pair": "p", "sweep": sweep, "variant": v, "suite": "x", "task": "t", "value": 0.5}
        for sweep, v in names
    ]
    shown = pages.scores(pd.DataFrame(rows).assign(stderr=0.125))
    assert list(zip(shown["sweep"], shown["variant"], strict=True)) == names


def test_a_task_of_two_suites_names_its_suite():
    rows = [
        {"pair": "p", "sweep": "s", "variant": "v", "suite": x, "task": t, "value": 0.5}
        for x, t in (("one", "t"), ("two", "u"))
    ]
    table = pd.DataFrame(rows).assign(stderr=0.125)
    assert list(pages.scores(table).columns[3:]) == ["t (%)", "u (%)"]
    table = pd.concat([table, table.iloc[:1].assign(suite="two")])
    assert list(pages.scores(table).columns[3:]) == ["one/t (%)", "two/u (%)", "two/t (%)"]


def test_a_score_outside_0_to_1_is_no_percentage():
    rows = [
        {"pair": "p", "sweep": "s", "variant": v, "suite": "x", "task": t, "value": value}
        for v, t, value in (("a", "acc", 0.5), ("b", "acc", 1), ("a", "r", 0.5), ("b", "r", -0.25))
    ]
    shown = pages.scores(pd.DataFrame(rows).assign(stderr=0.125))
    assert list(shown["acc (%)"]) == ["50.0 ± 12.5", "100.0 ± 12.5"]
    assert list(shown["r"]) == ["0.500 ± 0.125", "-0.250 ± 0.125"]


def test_the_page_of_loss_changes_warns_where_the_approximation_is_off(tmp_path):
    rows = slope_rows(VARIANT, [{"x": 3.0}, {"x": 9.0}], 5.0) + slope_rows(
        VARIANT | {"name": "w"}, [{"x": 5.0}] * 2, 5.125
    )
    results.write_parquet(tmp_path / "a.parquet", rows, {})
    table = results.loss_changes(results.read_slopes([tmp_path / "a.parquet"]))
    shown = pages.loss_changes(table)
    assert list(shown["gap"]) == ["1 !", "-0.125"]
    assert shown["measured_change"][0] == "5 ± 0.2"
    note = pages.warning(table)
    assert "left 1 of 2" in note
    pages.write(tmp_path / "page.html", "Title", shown, note + " <")
    assert "left 1 of 2. &lt;</p>" in (tmp_path / "page.html").read_text()


def test_an_option_of_two_types_becomes_text():
    rows = [{"rescale": True, "p": 1}, {"rescale": "l1", "p": 0.5}, {"rescale": None, "p": None}]
    table = results._typed(pd.DataFrame(rows))
    assert table["rescale"].tolist()[:2] == ["True", "l1"]
    assert table["rescale"].isna().tolist() == [False, False, True]
    assert table["p"].dtype == float


def test_lists_are_described_as_text():
    combine = {"weights": [0.5, 1], "edit": {"method": "expo", "alpha": 1}}
    found = results.describe(VARIANT | {"method": "combine", "options": combine, "tensors": ["*"]})
    assert found["weights"] == "[0.5, 1.0]"
    assert found["edit"] == '{"method": "expo", "alpha": 1}'
    assert found["tensors"] == '["*"]'
