"""One self-contained page of a whole study: the answer first, then everything behind it.

The page opens from disk in any browser, asks for nothing from outside and says so in its
Content-Security-Policy, and is the same bytes for the same inputs.
"""

import base64
import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd
import yaml
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from deltaedit import figures as kinds
from deltaedit import layouts
from deltaedit import tables as table_kinds
from deltaedit.figures import _style
from deltaedit.files import whole_file
from deltaedit.report import answer, cells, origins

THEMES = ["Accuracy", "Loss change and accuracy", "Loss change", "Stored size", "Deltas"]
TYPES = {".svg": "image/svg+xml", ".png": "image/png", ".csv": "text/csv;charset=utf-8"}
ACRONYMS = {"dpo": "DPO", "clip": "CLIP"}
TEXT = ["pair", "sweep", "variant", "method", "tensors", "options", "unit", "loss", "verdict"]

# What a marker of matplotlib is called by Plotly, and its outline in a box of 12.
MARKERS = {
    "o": ("circle", "M6 1a5 5 0 1 0 .001 0z"),
    "s": ("square", "M1.5 1.5h9v9h-9z"),
    "D": ("diamond", "M6 .5 11.5 6 6 11.5.5 6z"),
    "^": ("triangle-up", "M6 1 11.5 10.5H.5z"),
    "v": ("triangle-down", "M6 11 .5 1.5h11z"),
    "<": ("triangle-left", "M1 6 10.5.5v11z"),
    ">": ("triangle-right", "M11 6 1.5 11.5V.5z"),
    "P": ("cross", "M4 1h4v3h3v4H8v3H4V8H1V4h3z"),
    "X": ("x", "M3 1 6 4 9 1l2 2-3 3 3 3-2 2-3-3-3 3-2-2 3-3-3-3z"),
    "h": ("hexagon", "M6 .5l4.8 2.75v5.5L6 11.5 1.2 8.75v-5.5z"),
    "p": ("pentagon", "M6 .5l5.5 4-2.1 6.5H2.6L.5 4.5z"),
    "*": ("star", "M6 0l1.6 4.2 4.4.2-3.4 2.8 1.1 4.3L6 9.1l-3.7 2.4 1.1-4.3L0 4.4l4.4-.2z"),
}  # fmt: skip
ENDS = {
    "base": {"symbol": "diamond-wide", "outline": "M0 6 6 3l6 3-6 3z"},
    "post": {"symbol": "diamond-tall", "outline": "M6 0l3 6-3 6-3-6z"},
}


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table to show: `shown` holds what its cells say, `csv` is the file with all columns."""

    name: str
    title: str
    caption: str
    shown: pd.DataFrame
    csv: str | Path


def table(csv: str | Path, specs: Mapping[str, Any]) -> Table:
    """Return the table of a CSV, named after it: one that every study has, or one of `specs`.

    Args:
        csv: of numbers.
        specs: the tables that the config declares, by name.
    """
    name, numbers = Path(csv).stem, pd.read_csv(csv)
    if name in layouts.LAYOUTS:
        title, caption = layouts.TITLES[name], layouts.CAPTIONS[name]
        shown = layouts.LAYOUTS[name](numbers)
    else:
        kind = table_kinds.load(specs[name]["kind"])
        title, caption, shown = kind.TITLE, kind.CAPTION, kind.lay_out(numbers)
    caption = " ".join(filter(None, [caption, layouts.notes(numbers)]))
    return Table(name=name, title=title, caption=caption, shown=shown, csv=csv)


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A figure as the page shows it."""

    name: str
    title: str
    theme: str
    caption: str
    drawn: str  # which pairs, sweeps, losses, suites and options
    alt: str
    width: int  # pixels at its natural size
    svg: Path


def write(
    path: str | Path,
    *,
    config: str | Path,
    figures: Iterable[str | Path] = (),
    tables: Sequence[Table] = (),
    variants: str | Path | None = None,
    verdicts: str | Path | None = None,
    runtimes: pd.DataFrame | None = None,
    provenance: Iterable[Mapping[str, Any]] = (),
) -> None:
    """Write the report of a study as one file of HTML, whole or not at all.

    Args:
        path: the page.
        config: the checked config as YAML, defaults filled in.
        figures: the SVGs, each named after its figure in the config, its PNG and CSV beside it.
        tables: further tables, in the order of the page, see `table`.
        variants: CSV of all variants, see `verdicts.of_variants`; None where nothing was measured.
        verdicts: CSV of the verdicts by method, see `verdicts.by_method`; None likewise.
        runtimes: one row per rule, in seconds and MB, see `runtimes.read`.
        provenance: the records of the results, see `origins.read`.

    Raises:
        ValueError: a figure is not in the config, or its kind is unknown.
        OSError: a file is missing.
    """
    text = Path(config).read_text()
    study = yaml.safe_load(text)
    records = list(provenance)
    known, judged = _read(variants), _read(verdicts)
    page = _template().render(
        study=study,
        config=text,
        themes=_themes([_figure(Path(svg), study.get("figures", {})) for svg in figures]),
        tables=tables,
        verdicts=judged,
        notes=layouts.notes(judged),
        verdicts_csv=verdicts,
        variants=known,
        variants_csv=variants,
        data=_embedded(known),
        runtimes=runtimes if runtimes is not None else pd.DataFrame(),
        ends=origins.ends(records, study.get("pairs", {})),
        settings=origins.settings(records),
        **_parts(),
    )
    with whole_file(path) as partial:
        partial.write_text(page, encoding="utf-8")


def _read(path: str | Path | None) -> pd.DataFrame:
    """Read a CSV in which a name may be NA, and only an empty cell is not known."""
    if path is None:
        return pd.DataFrame()
    types = dict.fromkeys(TEXT, "string") | {"seed": "Int64"}
    table = pd.read_csv(path, keep_default_na=False, na_values=[""], dtype=types)
    texts = table[table.columns.intersection(TEXT)].astype(object)
    return table.assign(**texts.where(texts.notna(), None))


def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "broken": cells.broken,
        "columns": cells.columns,
        "data_uri": data_uri,
        "duration": cells.duration,
        "known": pd.notna,
        "in_order": _style.in_order,
        "listed": cells.listed,
        "look": look,
        "nats": cells.nats,
        "number": cells.number,
        "outcome": answer.outcome,
        "rows": lambda table: [row for _, row in table.iterrows()],
        "signed": cells.signed,
        "slug": lambda name: re.sub(r"\W+", "-", name),
        "text": cells.text,
        "text_uri": lambda text, kind: _uri(text.encode(), kind),
        "words": cells.words,
    }
    environment.globals |= {"answers": answer.answers, "counts": answer.counts}
    environment.globals |= {"verbs": answer.VERBS}
    return environment.get_template("page.html.j2")


def _parts() -> dict[str, str]:
    """Return the page's styles and scripts, and the policy that allows these scripts only."""
    here = Path(__file__).parent
    scripts = {"plotly": get_plotlyjs(), "script": (here / "page.js").read_text()}
    hashes = " ".join(f"'sha256-{_hash(source)}'" for source in scripts.values())
    policy = (
        f"default-src 'none'; script-src {hashes}; style-src 'unsafe-inline'; "
        "img-src data: blob:; form-action 'none'; base-uri 'none'"
    )
    inlined = scripts | {"style": (here / "page.css").read_text()}
    return {"policy": policy, **{name: Markup(source) for name, source in inlined.items()}}


def _hash(source: str) -> str:
    return base64.b64encode(hashlib.sha256(source.encode()).digest()).decode()


def data_uri(path: str | Path) -> str:
    """Return a file as a data URI, its type told by its ending."""
    return _uri(Path(path).read_bytes(), TYPES[Path(path).suffix])


def _uri(content: bytes, kind: str) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def look(method: str) -> dict[str, str]:
    """Return how a method looks in charts: label, color, symbol (Plotly's) and outline (SVG's)."""
    if method in ENDS:
        return {"label": method, "color": "#000000", **ENDS[method]}
    found = _style.look(method)
    symbol, outline = MARKERS.get(found["marker"], MARKERS["o"])
    return {"label": found["label"], "color": found["color"], "symbol": symbol, "outline": outline}


def _embedded(variants: pd.DataFrame) -> Markup:
    """Return what the charts draw as JSON that can stand in a script element."""
    rows = json.loads(variants.to_json(orient="records", double_precision=15))
    methods = {row["method"]: look(row["method"]) for row in rows}
    text = json.dumps({"methods": methods, "rows": rows}, separators=(",", ":"))
    return Markup(re.sub("[<>&]", lambda found: f"\\u{ord(found[0]):04x}", text))


# Figures


def _figure(svg: Path, specs: Mapping[str, Any]) -> Figure:
    if svg.stem not in specs:
        raise ValueError(f"{svg}: the config has no figure {svg.stem!r}")
    spec = specs[svg.stem]
    kind = kinds.load(spec["kind"])
    title = _title(svg.stem)
    return Figure(
        name=svg.stem,
        title=title,
        theme=_theme(kind.MEASURES),
        caption=kind.CAPTION,
        drawn=_drawn(spec),
        alt=f"{title} ({cells.words(spec['kind'])}). {kind.CAPTION.partition('. ')[0]}",
        width=_width(svg.read_text()),
        svg=svg,
    )


def _themes(figures: Iterable[Figure]) -> dict[str, list[Figure]]:
    found = list(figures)
    grouped = {theme: [one for one in found if one.theme == theme] for theme in THEMES}
    return {theme: members for theme, members in grouped.items() if members}


def _theme(measures: Iterable[str]) -> str:
    match {"loss" if name == "curvature" else name for name in measures}:
        case found if "comparison" in found:
            return "Deltas"
        case found if "size" in found:
            return "Stored size"
        case found if found in ({"suite"}, {"suite", "onto"}):
            return "Accuracy"
        case found if found == {"loss"}:
            return "Loss change"
        case _:
            return "Loss change and accuracy"


def _title(name: str) -> str:
    """Return a figure's name in words, with methods and acronyms as they are written."""
    parts = [ACRONYMS.get(part) or _style.look(part)["label"] for part in name.split("_")]
    title = " ".join(parts)
    return title[:1].upper() + title[1:]


def _drawn(spec: Mapping[str, Any]) -> str:
    """Return what a figure's spec selects: pair demo_lm · sweeps dare_grid, drop_only."""
    said = {key: value for key, value in spec.items() if key != "options" and value}
    parts = [f"{cells.words(key)} {_joined(value)}" for key, value in said.items()]
    parts += [f"{key} = {_joined(value)}" for key, value in (spec.get("options") or {}).items()]
    return " · ".join(parts)


def _joined(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _width(svg: str) -> int:
    """Return the width that an SVG asks for in CSS pixels; that of a page if it says none."""
    found = re.search(r'<svg[^>]*\swidth="([\d.]+)(pt|px|in)?"', svg)
    scale = {"pt": 96 / 72, "in": 96}
    return round(float(found[1]) * scale.get(found[2], 1)) if found else 672
