"""Read a mergekit YAML, as mergekit 0.1.5 does: the merge as pairs and a sweep, and notes."""

import re
from collections.abc import Mapping, Sequence
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from deltaedit import registry, sweeps
from deltaedit.errors import UserError

FILL_IN = "FILL-IN-40-HEX"
Settings = dict[str, tuple[str, Any]]  # parameter -> its place and value


class Method(NamedTuple):
    """A merge method: the edit done first, and the defaults of its parameters."""

    edit: str = ""
    elect: bool = False  # keep only the entries whose sign is that of the weighted sum
    normalize: bool = False  # divide by the sum of the weights
    rescale: bool = False  # give each tensor its L1 norm back after the edit


METHODS = {
    "task_arithmetic": Method(),
    "ties": Method("ties", elect=True, normalize=True),
    "dare_linear": Method("dare", rescale=True),
    "dare_ties": Method("dare", elect=True, rescale=True),
    "della": Method("della", elect=True, normalize=True, rescale=True),
    "della_linear": Method("della", rescale=True),
    "breadcrumbs": Method("breadcrumbs"),
    "breadcrumbs_ties": Method("breadcrumbs", elect=True),
}
_OWN = {  # parameters of each model, by the edit, with defaults
    "": {"weight": None},
    "ties": {"weight": None, "density": 1},
    "dare": {"weight": None, "density": 1},
    "della": {"weight": None, "density": 1, "epsilon": 0.15},
    "breadcrumbs": {"weight": None, "density": 1, "gamma": 0.01},
}
_KEYS = "merge_method base_model models parameters dtype out_dtype tokenizer_source tokenizer"
_NOTES = [  # by edit and rescale; n is the number of a tensor's entries
    ("dare della", "mergekit draws from one global generator: other masks, by the same rule"),
    ("della", "mergekit ranks along axis 1 in its own number type, and stops at rows of one entry"),
    ("l1", "rescale l1 restores the L1 norm, as mergekit since 0.1.0; true is the paper's way"),
    ("ties breadcrumbs", "mergekit keeps floor(density n), here n - floor(drop_rate n) are kept"),
    ("ties breadcrumbs", "of equal magnitudes mergekit keeps any, here those that come last"),
    ("ties", "mergekit before 0.1.5 stops where floor(density n) is 0; here one entry is kept"),
    ("breadcrumbs", "mergekit before 0.1.5 zeroes the whole delta where floor(gamma n) is 0"),
]


def study(text: str) -> tuple[dict[str, Any], list[str]]:
    """Turn a mergekit YAML into a study that lacks only its runs.

    One model becomes an edit of its delta; several, or a factor the edit lacks, become `combine`.

    Args:
        text: the YAML.

    Returns:
        `seed`, `pairs`, `sweeps` as in config.yaml; notes on what differs and what is left to do.

    Raises:
        UserError: the YAML is wrong, or asks for what a sweep cannot do.
    """
    merge = _load(text)
    name, notes = str(merge.get("merge_method")), []
    if name not in METHODS:
        raise UserError(f"merge_method: {registry.unknown('merge method', name, METHODS)}")
    models = _models(merge, METHODS[name], notes)
    pairs = _pairs(merge["base_model"], models, notes)
    sweep = _sweep(METHODS[name], list(models.values()), notes)
    sweep |= {"deltas": others} if (others := list(pairs)[1:]) else {}
    sweep["formats"] = ["checkpoint"]
    try:
        sweeps.slices(name, sweep, 0)
    except ValueError as error:
        raise UserError(f"parameters: as options here, {error}") from None
    dtype = merge.get("dtype") or "the models' number type"
    notes += [
        f"mergekit computes in {dtype}, rounds after each step and stores"
        f" {merge.get('out_dtype') or dtype}; here float32 is rounded once, to post's number type",
        "config and tokenizer are post's; in mergekit base_model's",
        f"add runs: sweep {name} on pair {next(iter(pairs))}, with the suites or losses to measure",
    ]
    return {"seed": 0, "pairs": pairs, "sweeps": {name: sweep}}, notes


def _load(text: str) -> dict[str, Any]:
    try:
        merge = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise UserError(f"not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(merge, dict) or not isinstance(merge.get("base_model"), str):
        raise UserError("base_model: is missing, or not a text; a delta needs a base")
    if not isinstance(merge.get("models"), list) or {"slices", "modules"} & merge.keys():
        raise UserError("models: must be a list; slices and modules cannot be merged here")
    tokenizer = merge.get("tokenizer") or {"source": merge.get("tokenizer_source") or "base"}
    if tokenizer not in ({"source": "base"}, {"source": merge["base_model"]}):
        raise UserError("tokenizer: tokens cannot be moved here; only the source base is possible")
    return merge


def _models(merge: Mapping[str, Any], method: Method, notes: list[str]) -> dict[str, Settings]:
    """Return the parameters of each model but the base; note what mergekit does not read."""

    def read(place: str, owner: Mapping[str, Any], keys: str, known: Mapping[str, Any]) -> Settings:
        found = owner.get("parameters") or {}
        if not isinstance(found, dict):
            raise UserError(f"{place}parameters: must be a mapping, got {found!r}")
        unread = [str(key) for key in owner if key not in keys.split()]
        unread += [f"parameters.{key}" for key in found if key not in known]
        notes.extend(f"{place}{key}: ignored, no merged tensor depends on it" for key in unread)
        return {key: (f"{place}parameters.{key}", found[key]) for key in found if key in known}

    own = _OWN[method.edit]  # lambda, normalize and rescale are read at the top level only
    known = own | {"lambda": 1, "normalize": method.normalize, "rescale": method.rescale}
    top = read("", merge, _KEYS, known)
    models: dict[str, Settings] = {}
    for i, entry in enumerate(merge["models"]):
        if not isinstance(entry, dict) or not isinstance(name := entry.get("model"), str):
            raise UserError(f"models[{i}]: must be a mapping with a text as model, got {entry!r}")
        if name in models:
            raise UserError(f"models[{i}]: {name!r} stands twice")
        read_here = own if name != merge["base_model"] else {}
        nearest = read(f"models[{i}].", entry, "model parameters", read_here)
        models[name] = {key: (f"models[{i}].parameters.{key}", known[key]) for key in known}
        models[name] |= top | nearest
    models.pop(merge["base_model"], None)
    if not models:
        raise UserError("models: lists none beside base_model")
    return models


def _pairs(base: str, models: Mapping[str, Any], notes: list[str]) -> dict[str, Any]:
    sources = {name: _source(name, notes) for name in (base, *models)}
    pairs: dict[str, Any] = {}
    for name in models:
        label = re.sub(r"[^\w.-]", "-", Path(name.partition("@")[0]).name, flags=re.ASCII)
        label = label.lstrip("_.-") or "model"
        while label in pairs:
            label += "-2"
        pairs[label] = {"kind": "causal_lm", "base": dict(sources[base]), "post": sources[name]}
    return pairs


def _source(name: str, notes: list[str]) -> dict[str, str]:
    path, _, revision = name.partition("@")
    local = Path(path).is_dir() or path.startswith(("/", ".", "~"))
    if "+" in name or not (local or re.fullmatch("[^/ ]+/[^/ ]+", path)):
        raise UserError(f"{name!r}: must be a folder or owner/name, without an adapter")
    if local:
        return {"source": "path", "path": path}
    if not re.fullmatch("[0-9a-f]{40}", revision):
        notes.append(f"{path}: replace {FILL_IN}, or no job starts; was {revision or 'main'}")
        revision = FILL_IN
    return {"source": "hub", "repo": path, "revision": revision}


def _sweep(method: Method, models: Sequence[Settings], notes: list[str]) -> dict[str, Any]:
    normalize, rescale = (bool(_number(*models[0][key])) for key in ("normalize", "rescale"))
    weights = [_number(*settings["weight"]) for settings in models]
    scale, total = _number(*models[0]["lambda"]), sum(weights)
    edit = _edit(method.edit, rescale, models, notes)
    elect = method.elect and len(models) > 1  # alone, each sign is elected
    if len(models) == 1:
        if normalize and total not in (0, 1):
            notes.append(f"normalize divides the only weight by itself: {total} has no effect")
            weights = [Decimal(1)]
        if not edit:
            return {"method": "expo", "options": {"alpha": float(scale * weights[0] - 1)}}
        if scale * weights[0] == 1:
            return {"method": edit.pop("method"), "options": edit}
    elif normalize and not elect and abs(total) >= Decimal("1e-8"):
        notes.append(f"normalize divides by the sum of the weights, {total}: part of scale here")
        scale /= total
    options = {"weights": [*map(float, weights)], "elect": elect, "mean": elect and normalize}
    options |= {"scale": float(scale)} | ({"edit": edit} if edit else {})
    return {"method": "combine", "options": options}


def _edit(name: str, rescale: bool, models: Sequence[Settings], notes: list[str]) -> dict[str, Any]:
    """Return the method and the options of the edit done first; nothing if it keeps all."""
    common = {key: _common(key, models) for key in _OWN[name] if key != "weight"}
    drop_rate = 1 - common.get("density", Decimal(1))
    if drop_rate <= 0:
        return {}
    edit: dict[str, Any] = {"method": name, "drop_rate": float(drop_rate)}
    if name == "della":
        edit["window"] = float(2 * common["epsilon"])
    if name == "breadcrumbs":  # mergekit drops fewer outliers to keep the density
        edit["outliers"] = float(min(common["gamma"], drop_rate))
    if rescale or name in ("dare", "della"):
        edit["rescale"] = "l1" if rescale else False
    notes += [note for about, note in _NOTES if {name, edit.get("rescale")} & {*about.split()}]
    return edit


def _common(key: str, models: Sequence[Settings]) -> Decimal:
    """Return the one number that `key` has: a sweep edits its deltas alike."""
    first = _number(*models[0][key])
    for place, value in (settings[key] for settings in models):
        if _number(place, value) != first:
            raise UserError(f"{place}: must be {first} as for the first model, got {value}")
    return first


def _number(place: str, value: Any) -> Decimal:
    try:
        number = Decimal(value if isinstance(value, bool) else str(value))
    except InvalidOperation:
        number = Decimal("nan")
    if not number.is_finite():
        raise UserError(f"{place}: must be one value for all layers and tensors, got {value!r}")
    return number
