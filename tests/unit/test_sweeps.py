"""A sweep expands into the grid's variants, in slices."""

from datetime import date

import pytest

from deltaedit.sweeps import methods, slices

GRID = {"drop_rate": [0.1, 0.5], "dropped_scale": [0, 1.5]}


def test_without_split_all_variants_are_one_slice():
    found = slices("s", {"method": "dare", "grid": GRID}, seed=3)
    assert list(found) == ["all"]
    assert [variant.name for variant in found["all"]] == [
        "drop_rate=0.1,dropped_scale=0",
        "drop_rate=0.1,dropped_scale=1.5",
        "drop_rate=0.5,dropped_scale=0",
        "drop_rate=0.5,dropped_scale=1.5",
    ]
    assert {variant.seed for variant in found["all"]} == {3}


def test_a_split_axis_gives_one_slice_per_value():
    found = slices("s", {"method": "dare", "grid": GRID, "split_by": ["drop_rate"]}, seed=0)
    assert list(found) == ["drop_rate=0.1", "drop_rate=0.5"]
    assert all(len(variants) == 2 for variants in found.values())


def test_a_slice_by_several_axes_has_no_comma_in_its_name():
    sweep = {"method": "dare", "grid": GRID, "seeds": [7], "split_by": ["drop_rate", "seed"]}
    names = list(slices("s", sweep, seed=0))
    assert names == [f"drop_rate={p}_seed=7" for p in GRID["drop_rate"]]


def test_a_new_value_on_a_split_axis_leaves_the_other_slices_as_they_are():
    sweep = {"method": "dare", "grid": GRID, "split_by": ["drop_rate"]}
    before = slices("s", sweep, seed=0)
    after = slices("s", {**sweep, "grid": {**GRID, "drop_rate": [0.3, 0.1, 0.5]}}, seed=0)
    assert after.keys() - before.keys() == {"drop_rate=0.3"}
    assert {name: after[name] for name in before} == before


def test_seeds_are_an_axis():
    sweep = {"method": "dare", "grid": {"drop_rate": [0.5]}, "seeds": [1, 2], "split_by": ["seed"]}
    found = slices("s", sweep, seed=0)
    assert list(found) == ["seed=1", "seed=2"]
    assert [v.seed for variants in found.values() for v in variants] == [1, 2]
    assert all("seed" not in v.options for variants in found.values() for v in variants)


def test_a_sweep_without_axes_is_one_variant_of_its_name():
    found = slices("raw", {"method": "dare", "options": {"drop_rate": 0.5}}, seed=0)
    assert [(name, [v.name for v in variants]) for name, variants in found.items()] == [
        ("all", ["raw"])
    ]


def test_fixed_options_reach_every_variant():
    sweep = {"method": "dare", "options": {"rescale": False}, "grid": {"drop_rate": [0.1, 0.5]}}
    assert all(v.options["rescale"] is False for v in slices("s", sweep, seed=0)["all"])


def test_a_value_that_only_yaml_knows_is_refused_as_any_other():
    with pytest.raises(ValueError, match=r"^drop_rate must be a number, got .2020-01-01"):
        slices("s", {"method": "dare", "options": {"drop_rate": date(2020, 1, 1)}}, seed=0)


def test_a_wrong_value_anywhere_on_the_grid_is_refused():
    with pytest.raises(ValueError, match="drop_rate must be in"):
        slices("s", {"method": "dare", "grid": {"drop_rate": [0.1, 1.5]}}, seed=0)


@pytest.mark.parametrize(
    "sweep",
    [{"grid": {"drop_rate": [0.5], "seed": [1]}}, {"options": {"drop_rate": 0.5, "seed": 1}}],
)
def test_a_seed_in_the_wrong_place_is_refused(sweep):
    with pytest.raises(ValueError, match="write seeds as seeds"):
        slices("s", {"method": "dare", **sweep}, seed=0)


def test_the_tensors_are_the_sweeps_or_else_the_methods():
    def chosen(sweep):
        return slices("s", sweep, seed=0)["all"][0].tensors

    assert chosen({"method": "dare", "options": {"drop_rate": 0.5}}) == "all"
    assert chosen({"method": "bitdelta"}) == "linear"
    assert chosen({"method": "low_rank", "options": {"rank": 1}}) == "matrices"
    assert chosen({"method": "bitdelta", "tensors": ["*.mlp.*"]}) == ["*.mlp.*"]


def test_a_list_on_an_axis_has_a_readable_name():
    grid = {"weights": [[0.5, 0.5], [1, 2]]}
    found = slices("s", {"method": "combine", "grid": grid}, seed=0)["all"]
    assert [variant.name for variant in found] == ["weights=0.5+0.5", "weights=1+2"]


def test_several_grids_are_one_after_the_other():
    grids = [
        {"drop_rate": [0.1, 0.9], "dropped_scale": [0.5]},
        {"drop_rate": [0.1], "rescale": [False]},
    ]
    sweep = {"method": "dare", "grid": grids, "seeds": [3, 4], "split_by": ["drop_rate"]}
    found = slices("s", sweep, 0)
    assert {name: [v.name for v in variants] for name, variants in found.items()} == {
        "drop_rate=0.1": [
            "drop_rate=0.1,dropped_scale=0.5,seed=3",
            "drop_rate=0.1,dropped_scale=0.5,seed=4",
            "drop_rate=0.1,rescale=false,seed=3",
            "drop_rate=0.1,rescale=false,seed=4",
        ],
        "drop_rate=0.9": [
            "drop_rate=0.9,dropped_scale=0.5,seed=3",
            "drop_rate=0.9,dropped_scale=0.5,seed=4",
        ],
    }
    assert found["drop_rate=0.1"][2].options == {"drop_rate": 0.1, "rescale": False}


def test_grids_that_overlap_or_lack_an_axis_are_refused():
    twice = [{"drop_rate": [0.1, 0.9]}, {"drop_rate": [0.9]}]
    with pytest.raises(ValueError, match=r"two of the grids have the variant 'drop_rate=0\.9'"):
        slices("s", {"method": "dare", "grid": twice}, 0)
    lacks = [{"drop_rate": [0.1], "rescale": [True]}, {"drop_rate": [0.9]}]
    with pytest.raises(ValueError, match="split_by: unknown axis 'rescale'"):
        slices("s", {"method": "dare", "grid": lacks, "split_by": ["rescale"]}, 0)


def test_the_method_may_be_an_axis():
    grids = [
        {"method": ["bitdelta"], "blocks": [2]},
        {"method": ["ties", "dare"], "drop_rate": [0.5]},
    ]
    found = slices("s", {"grid": grids, "split_by": ["method"]}, seed=0)
    assert {name: [(v.name, v.tensors) for v in some] for name, some in found.items()} == {
        "method=bitdelta": [("method=bitdelta,blocks=2", "linear")],
        "method=ties": [("method=ties,drop_rate=0.5", "all")],
        "method=dare": [("method=dare,drop_rate=0.5", "all")],
    }
    assert [v.method for (v,) in found.values()] == methods({"grid": grids})
    assert all("method" not in v.options for (v,) in found.values())


@pytest.mark.parametrize(
    "sweep",
    [{"grid": {"drop_rate": [0.5]}}, {"method": "dare", "grid": {"method": ["ties"]}}, {}],
)
def test_the_method_is_stated_once(sweep):
    with pytest.raises(ValueError, match=r"^method: state it"):
        slices("s", sweep, seed=0)
