"""Result files become tables that keep every option and every check."""

import json
import math
from dataclasses import asdict, fields

import pandas as pd
import pyarrow.parquet as pq
import pytest

from deltaedit import edits, layouts, results

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
        row |= {"metric": "acc", "filter": "none"}
        (tmp_path / name).write_text(json.dumps({"rows": [row], "provenance": {}}))
    table = results.read_scores([tmp_path / "a", tmp_path / "b"])
    assert list(table["value"]) == [0.75, 1.0]
    assert pd.isna(table["method"][1])
    assert pd.isna(table["drop_rate"][1])
    # With one document each (`limit: 1`) no task has a standard error, and a table shows none.
    whole = layouts.scores(table.assign(suite="s"))
    assert list(whole["t (acc, %)"]) == ["75.0", "100.0"]


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


# --- series and options ---------------------------------------------------------------------------


def described(method, **options):
    return results.describe(VARIANT | {"method": method, "options": options})


def test_a_series_is_the_method_told_apart_where_it_holds_two_ideas():
    rows = [
        results.describe(END),
        results.describe(END | {"name": "base"}),
        described("dare", drop_rate=0.5),
        described("dare", drop_rate=0.5, rescale=False),
        described("dare", drop_rate=0.5, rescale="l1"),
        described("biased", by="delta"),
        described("biased", by="product"),
        described("expo", alpha=0.5),
    ]
    names = ["post", "base", "dare", "drop_only", "dare", "biased_delta", "biased_product", "expo"]
    assert results.series(pd.DataFrame(rows)).tolist() == names
    few = pd.DataFrame([rows[0], rows[-1]])  # without the columns that tell apart
    assert results.series(few).tolist() == ["post", "expo"]


def test_a_series_is_the_same_of_a_csv(tmp_path):
    rows = [END, VARIANT, VARIANT | {"options": {"drop_rate": 0.5, "rescale": False}}]
    table = pd.DataFrame([results.describe(row) for row in rows])
    results.write_csv(tmp_path / "a.csv", table)
    again = pd.read_csv(tmp_path / "a.csv")
    assert results.series(again).tolist() == ["post", "dare", "drop_only"]
    assert results.options(again) == results.options(table)


def test_a_label_is_for_people_and_an_unknown_one_is_its_name_in_words():
    assert results.label("expo") == "ExPO"
    assert results.label("my_own_method") == "my own method"


def test_options_are_those_of_the_row_s_own_method_in_its_order():
    rows = [
        described("dare", drop_rate=0.25, dropped_scale=-0.5),
        described("low_rank", rank=16),
        described("bitdelta", blocks=2, scale_multiple=0.1),
        results.describe(END),
    ]
    assert results.options(pd.DataFrame(rows)) == [
        "drop_rate=0.25, dropped_scale=-0.5, rescale=True",
        "rank=16, rounding=decimal",
        "scale_multiple=0.1, magnitude=mean, blocks=2, zero=zero",
        "",
    ]


@pytest.mark.parametrize("name", edits.NAMES)
def test_options_name_all_that_have_a_value(name):
    module = edits.load(name)
    row = results.describe(VARIANT | {"method": name, "options": asdict(module.EXAMPLE)})
    [text] = results.options(pd.DataFrame([row]))
    known = {field.name for field in fields(module.Params) if row[field.name] is not None}
    assert {part.partition("=")[0] for part in text.split(", ") if "=" in part} >= known


# --- result files of all kinds --------------------------------------------------------------------


def test_result_files_of_all_kinds_are_one_table(tmp_path):
    row = {**KEYS, **results.describe(VARIANT)}
    score = {"suite": "x", "task": "t", "value": 0.5, "stderr": None}
    size = {"form": "sparse", "bytes": 10, "checkpoint_bytes": 100}
    hub = {"base": {"repo": "org/base"}, "post": {"repo": "org/post"}}
    made = {"base": {"source": "demo"}, "post": {"source": "demo"}}
    files = {
        "scores.json": {"rows": [row | score], "provenance": hub},
        "made.json": {"rows": [row | {"pair": "made"} | score], "provenance": made},
        "sizes.json": {"rows": [row | size], "provenance": hub},
        "curvature.json": {"pair": "p", "loss": "l", "curvature": 0.25, "stderr": 0.1},
    }
    for name, content in files.items():
        (tmp_path / name).write_text(json.dumps(content))
    results.write_parquet(tmp_path / "a.parquet", slope_rows(VARIANT, [{"x": 1.0}] * 2, 0.5), {})
    table = results.read(tmp_path / name for name in ("a.parquet", *files))

    kinds = {name: table[table[name].notna()] for name in ("task", "node", "bytes", "curvature")}
    assert {name: len(rows) for name, rows in kinds.items()} == {
        "task": 2,
        "node": 2,
        "bytes": 1,
        "curvature": 1,
    }
    assert len(table) == 6, "no row is of two kinds"
    assert kinds["task"]["base_repo"].fillna("").tolist() == ["org/base", ""]
    assert kinds["task"]["post_repo"].fillna("").tolist() == ["org/post", ""]
    assert kinds["node"]["base_repo"].isna().all()
    assert kinds["bytes"][["bytes", "checkpoint_bytes"]].to_numpy().tolist() == [[10, 100]]
    assert kinds["curvature"][["pair", "loss", "curvature"]].to_numpy().tolist() == [
        ["p", "l", 0.25]
    ]
    of_variants = table[table["curvature"].isna()]
    assert set(of_variants["drop_rate"]) == {0.5}
    assert set(results.series(of_variants)) == {"dare"}


def test_slopes_alone_are_read_as_they_are(tmp_path):
    results.write_parquet(tmp_path / "a.parquet", slope_rows(VARIANT, [{"x": 1.0}] * 2, 0.5), {})
    table = results.read([tmp_path / "a.parquet"])
    pd.testing.assert_frame_equal(table, results.read_slopes([tmp_path / "a.parquet"]))


def test_options_that_are_true_beside_a_text_are_found_again(tmp_path):
    rows = [{**results.describe(_dare(rescale)), "task": "t"} for rescale in (True, False, "l1")]
    table = results._typed(pd.DataFrame(rows))
    table.to_csv(tmp_path / "table.csv", index=False)
    for read in (table, pd.read_csv(tmp_path / "table.csv")):
        assert list(results.series(read)) == ["dare", "drop_only", "dare"]
        assert list(results.has(read, "rescale", True)) == [True, False, False]
        assert list(results.has(read, "rescale", "l1")) == [False, False, True]
        assert not results.has(read, "alpha", 0.2).any()


def _dare(rescale):
    options = {"drop_rate": 0.5, "rescale": rescale}
    return {"name": "v", "method": "dare", "options": options, "tensors": "all", "seed": 0}


LIMITED = {"suite": ["x", "x", "y"], "task": ["t", "u", "t"]}


@pytest.mark.parametrize(
    ("limits", "said"),
    [
        ([None, None, None], ""),
        ([16, 16, 16], "At most 16 documents per task."),
        ([1, 1, 1], "At most 1 document per task."),
        ([16, 16, None], "At most 16 documents per task in x."),
        ([16, 16, 4], "At most 16 documents per task in x, 4 in y."),
    ],
)
def test_scores_say_on_how_many_documents_they_stand(limits, said):
    table = pd.DataFrame({**LIMITED, "limit": limits})
    assert results.limited(table) == said
    slopes = pd.DataFrame({"node": [0.0]})
    assert results.limited(pd.concat([table, slopes])) == said, "other rows have no limit to lack"
    made = pd.DataFrame({"gap": [0.5, 0.25]})
    assert results.limited(results.marked(made, table)) == said
    assert ("limited" in results.marked(made, table)) is bool(said)
    assert results.limited(made) == results.limited(slopes) == ""
