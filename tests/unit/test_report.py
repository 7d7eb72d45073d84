"""The report says everything a study found, to anybody, in any browser, without asking outside."""

import base64
import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pytest
import yaml

from deltaedit import report, verdicts
from deltaedit.figures import _style
from deltaedit.report import answer, cells, origins, runtimes

from .figure_tables import SCORES

HOSTILE = '</script><b>"&amp;'
SVG = '<svg xmlns="http://www.w3.org/2000/svg" width="{}pt" height="90pt" viewBox="0 0 504 90"/>'
PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
FIGURES = {
    "dare_accuracy": "accuracy_by_drop_rate",
    "terms": "loss_terms",
    "dpo_along_alpha": "along_alpha",
}
COLUMNS = ["pair", "sweep", "variant", "method", "seed", "tensors", "options"]
COLUMNS += ["score", "score_stderr", "score_change", "score_change_stderr", "unit"]
COLUMNS += ["score_of", "loss"]
COLUMNS += [*verdicts.CHANGES, "verdict"]


def variant(name, method, score=None, change=None, *, pair="lm", unit="points", verdict=None):
    """Make a row of variants.csv; `change` is the measured one, approximated a tenth too low."""
    sweep = "ends" if method in ("base", "post") else f"{method}_sweep"
    of = "mean of sums (acc), code (pass_at_1, extract)"
    scored = (score, 1.1, score - 90, 1.5, unit, of) if score is not None else (None,) * 6
    known = ("answers", 0.9 * change, 0.02, change, 0.01) if change is not None else (None,) * 5
    row = (pair, sweep, name, method, 0, "all", f"of={name}", *scored, *known, verdict)
    return dict(zip(COLUMNS, row, strict=True))


VARIANTS = [
    variant("base", "base", 5.0, 5.0),
    variant("post", "post", 90.0, 0.0),
    variant("p=0.1", "dare", 90.5, -0.0005, verdict="keeps"),
    variant("p=0.5", "dare", 89.5, 0.00002, verdict="keeps"),
    variant("p=0.9", "dare", 70.0, 0.25, verdict="loses"),
    variant("half", "drop_only", 30.0, 1.25, verdict="loses"),
    variant("most", "drop_only", 2.0, 12.5, verdict="loses"),
    variant("unmeasured", "my_own", 95.0, verdict="improves"),
    variant("alpha=1", "expo", 90.25, -0.04, pair="dpo", unit="reward", verdict="improves"),
]
DRAWN = sum(row["loss"] is not None for row in VARIANTS)


def record(pair="lm", torch="2.13.0", post="b" * 64, **more):
    return {
        "pair": pair,
        "base": {"source": "hub", "repo": "org/model", "revision": "1" * 40, "sha256": "a" * 64},
        "post": {"source": "path", "path": "/data/tuned", "sha256": post},
        "device": "cpu",
        "suite": {"dtype": "float32", "tasks": {}},
        "seed": 0,
        "versions": {"python": "3.11.7", "torch": torch},
        "commit": "0123456789abcdef+changes",
        **more,
    }


def study(folder, *, rows=VARIANTS, figures=FIGURES, pairs=("lm", "dpo"), scored=True, text=""):
    """Write the inputs of a report; return its arguments."""
    folder.mkdir(exist_ok=True)
    spec = {
        "pair": "lm",
        "sweeps": ["grid", "line"],
        "loss": "answers",
        "options": {"rule": "left"},
    }
    config = {
        "pairs": {pair: {"base": {"source": "demo", "stage": "sft"}} for pair in pairs},
        "figures": {name: {"kind": kind, **spec} for name, kind in figures.items()},
        "note": text,
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    for name in figures:
        (folder / f"{name}.svg").write_text(SVG.format(504))
        (folder / f"{name}.png").write_bytes(PNG)
        (folder / f"{name}.csv").write_text(f"drawn\n{name}\n")
    found = pd.DataFrame(rows, columns=COLUMNS)
    found.to_csv(folder / "variants.csv", index=False)
    verdicts.by_method(found).to_csv(folder / "verdicts.csv", index=False)
    more = pd.DataFrame({"which": ["x_1", text, "y"], "size (MB)": ["12.5 ± 3", "-2", None]})
    more.to_csv(folder / "sizes.csv", index=False)
    return {
        "config": folder / "config.yaml",
        "figures": [folder / f"{name}.svg" for name in figures],
        "tables": [
            report.Table(
                name="sizes",
                title="Sizes",
                caption="What is stored.",
                shown=more,
                csv=folder / "sizes.csv",
            )
        ],
        "variants": folder / "variants.csv" if rows else None,
        "verdicts": folder / "verdicts.csv" if rows else None,
        "runtimes": runtimes.read(benchmarks(folder), ["edit", "plot"]),
        "provenance": [record(), record("dpo")],
    }


def benchmarks(folder):
    """Write what Snakemake writes: a file per job, of a rule with wildcards or without."""
    for name, seconds, memory in (
        ("edit/a/x", 5, "100.5"),
        ("edit/b", 65.5, "-"),
        ("plot", 3, "NA"),
    ):
        file = folder / "benchmarks" / f"{name}.tsv"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"s\th:m:s\tmax_rss\n{seconds}\t0:00:00\t{memory}\n")
    (folder / "benchmarks" / "other.tsv").write_text("s\tmax_rss\n1000\t1\n")
    return folder / "benchmarks"


class Parsed(HTMLParser):
    """The elements of a page with their attributes, and the text of each kind of element."""

    def __init__(self, page):
        super().__init__()
        self.elements, self.texts, self._open = [], {}, []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        self.texts.setdefault(tag, []).append("")
        if tag not in ("meta", "link", "img", "path", "wbr", "input", "br"):
            self._open.append((tag, len(self.texts[tag]) - 1))

    def handle_endtag(self, tag):
        if any(tag == one for one, _ in self._open):
            while self._open.pop()[0] != tag:
                pass

    def handle_data(self, data):
        for tag, i in self._open:
            self.texts[tag][i] += data

    def of(self, tag, **attrs):
        names = {name.rstrip("_"): value for name, value in attrs.items()}
        return [
            found
            for one, found in self.elements
            if one == tag and all(found.get(name) == value for name, value in names.items())
        ]

    def text(self, tag="body"):
        return " ".join(" ".join(self.texts.get(tag, [])).split())

    def downloads(self):
        return {
            link["download"]: base64.b64decode(link["href"].partition(";base64,")[2])
            for link in self.of("a")
            if "download" in link
        }


def written(folder, **changed):
    arguments = study(folder, **changed)
    report.write(folder / "report.html", **arguments)
    return (folder / "report.html").read_text()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("study")
    written(folder)
    return folder


@pytest.fixture(scope="module")
def parsed(folder):
    page = (folder / "report.html").read_text()
    return Parsed(re.sub(r"<script>.*?</script>", "", page, flags=re.DOTALL))


# What the page holds


def test_what_scores_are_and_that_they_are_limited_stands_beside_the_rule(tmp_path):
    arguments = study(tmp_path)
    said = "Score: mean of sums (acc), code (pass_at_1, extract)."
    note, full = "At most 16 documents per task.", {}
    for name in ("full", "limited"):
        report.write(tmp_path / "report.html", **arguments)
        full[name] = Parsed((tmp_path / "report.html").read_text()).text("p")
        judged = pd.read_csv(arguments["verdicts"])
        judged.assign(limited=note).to_csv(arguments["verdicts"], index=False)
    assert f"keeps the score. {said} " in full["full"] and note not in full["full"]
    assert f"keeps the score. {said} {note} " in full["limited"]


def test_a_table_of_limited_scores_says_so_in_its_caption(tmp_path):
    for limit, ending in ((None, "the sweep ends."), (16, "At most 16 documents per task.")):
        SCORES.assign(limit=limit).to_csv(tmp_path / "scores.csv", index=False)
        assert report.table(tmp_path / "scores.csv", {}).caption.endswith(ending)


def test_the_answer_comes_first_and_everything_is_there(parsed):
    assert parsed.texts["h1"] == ["What does an edit do to a post-trained model?"]
    sections = [found["id"] for found in parsed.of("section")]
    assert sections == "answer variants figures tables config provenance runtimes".split()
    assert {link["href"] for link in parsed.of("a") if link["href"][0] == "#"} == {
        f"#{name}" for name in sections
    }
    assert parsed.of("html")[0]["lang"] == "en"
    text = parsed.text("main")
    for row in VARIANTS:
        assert row["variant"] in text
    assert "What is stored." in text
    assert "12.5 ± 3" in text


def test_figures_stand_under_their_themes_with_caption_and_what_they_draw(parsed):
    themes = [title for title in parsed.texts["h3"] if title in report.THEMES]
    assert themes == ["Accuracy", "Loss change and accuracy", "Loss change"]
    assert parsed.texts["h4"] == ["DARE accuracy", "DPO along alpha", "Terms"]
    assert len(parsed.of("img")) == len(FIGURES)
    for name, kind in FIGURES.items():
        module = report.kinds.load(kind)
        assert parsed.text("figcaption").count(module.CAPTION) == 1, name
        [image] = [one for one in parsed.of("img") if kind.replace("_", " ") in one["alt"]]
        assert module.CAPTION[:40] in image["alt"]
        assert "672px" in image["style"]
    assert "pair lm · sweeps grid, line · loss answers · rule = left" in parsed.text("figcaption")


@pytest.mark.parametrize(
    "measures, theme",
    [
        (("suite",), "Accuracy"),
        (("loss",), "Loss change"),
        (("loss", "curvature"), "Loss change"),
        (("loss", "suite"), "Loss change and accuracy"),
        (("suite", "curvature"), "Loss change and accuracy"),
        (("suite", "size"), "Stored size"),
    ],
)
def test_a_theme_follows_from_what_is_measured(measures, theme):
    assert report._theme(measures) == theme


def test_downloads_are_the_files_to_the_byte(parsed, folder):
    downloads = parsed.downloads()
    drawn = [f"{name}.{form}" for name in FIGURES for form in ("svg", "png", "csv")]
    assert sorted(downloads) == sorted(
        [*drawn, "config.yaml", "variants.csv", "verdicts.csv", "sizes.csv"]
    )
    for name, content in downloads.items():
        assert content == (folder / name).read_bytes(), name


def test_nothing_refers_to_anything_outside(parsed):
    for tag, attributes in parsed.elements:
        for name in ("src", "href", "srcset", "action", "data"):
            assert attributes.get(name, "#")[:5] in ("#", "data:") or attributes[name][0] == "#", (
                tag
            )
    [policy] = [one["content"] for one in parsed.of("meta") if "http-equiv" in one]
    assert policy.startswith("default-src 'none';")
    assert "unsafe-eval" not in policy
    assert "http" not in policy
    assert "url(" not in parsed.text("style")
    assert "@import" not in parsed.text("style")


def test_names_cannot_break_out_of_the_page(tmp_path):
    rows = [variant(HOSTILE, "dare", 90.0, 0.5, pair=HOSTILE, verdict="keeps")]
    rows += [variant("x", HOSTILE, 20.0, 0.5, pair=HOSTILE, unit=HOSTILE, verdict="loses")]
    page = written(tmp_path / "x", rows=rows, pairs=[HOSTILE], text=HOSTILE)
    tags = [tag for tag, _ in Parsed(page).elements]
    assert tags.count("script") == 3
    assert "b" not in tags
    data = re.search(r'<script type="application/json" id="data">(.*?)</script>', page)[1]
    assert [row["variant"] for row in json.loads(data)["rows"]] == [HOSTILE, "x"]
    assert list(json.loads(data)["methods"])[1] == HOSTILE


def test_the_same_study_gives_the_same_bytes(folder, tmp_path):
    again = tmp_path / "elsewhere"
    assert written(again) == (folder / "report.html").read_text()
    assert not list(again.glob(".*"))


@pytest.mark.parametrize(
    "missing",
    [
        {"rows": [variant("p", "dare", 1.0, verdict="keeps")]},
        {"rows": [variant("post", "post", None, 0.0), variant("p", "dare", None, 0.5)]},
        {"figures": {}},
        {"rows": [], "figures": {}, "pairs": []},
    ],
    ids=["losses", "suites", "figures", "all"],
)
def test_a_study_may_lack_parts(missing, tmp_path):
    parsed = Parsed(written(tmp_path / "x", **missing))
    ids = {found["id"] for found in parsed.of("section")}
    assert ("figures" in ids) == bool(missing.get("figures", FIGURES))
    assert ("variants" in ids) == bool(missing.get("rows", VARIANTS))
    if "rows" in missing:
        scored = [row for row in missing["rows"] if row["verdict"]]
        assert ("Verdicts by method" in parsed.texts["h2"]) == bool(scored)
    for tag in ("p", "td", "dd", "option"):
        assert not {"nan", "None", "<NA>"} & set(parsed.text(tag).split()), tag


def test_a_report_of_nothing_but_a_config(tmp_path):
    arguments = study(tmp_path / "x", rows=[], figures={}, pairs=[])
    report.write(tmp_path / "report.html", config=arguments["config"])
    parsed = Parsed((tmp_path / "report.html").read_text())
    assert [found["id"] for found in parsed.of("section")] == ["answer", "config"]


def test_a_figure_that_the_config_does_not_know_is_refused(tmp_path):
    arguments = study(tmp_path / "x")
    stray = (tmp_path / "stray.svg").resolve()
    stray.write_text(SVG.format(100))
    with pytest.raises(ValueError, match="no figure 'stray'"):
        report.write(tmp_path / "report.html", **{**arguments, "figures": [stray]})
    assert not (tmp_path / "report.html").exists()


def test_a_pair_may_be_called_na(tmp_path):
    rows = [variant("p", "dare", 90.0, 0.5, pair="NA", verdict="keeps")]
    parsed = Parsed(written(tmp_path / "x", rows=rows, pairs=["NA"]))
    assert "NA" in parsed.texts["dt"]


def test_every_marker_of_the_figures_is_one_of_the_charts():
    markers = {*_style.METHOD_MARKERS.values(), _style.look("a method of one's own")["marker"]}
    assert markers <= set(report.MARKERS)
    looks = [report.look(name) for name in (*_style.METHOD_COLORS, "base", "post", "my_own")]
    assert len({(look["color"], look["symbol"]) for look in looks}) == len(looks)


# The answer


def by_method(**counts):
    """Make rows of verdicts.csv; of each method how many improve, keep and lose."""
    rows = [variant("base", "base", 0.0, 1.0), variant("post", "post", 90.0, 0.0)]
    for method, numbers in counts.items():
        for verdict, score, number in zip(answer.VERBS, (95.0, 90.0, 20.0), numbers, strict=True):
            rows += [
                variant(f"{verdict}{i}", method, score - i, 0.01 * i - 0.0048, verdict=verdict)
                for i in range(number)
            ]
    return verdicts.by_method(pd.DataFrame(rows))


def test_the_answer_counts_the_verdicts_of_a_pair():
    table = by_method(dare=(1, 23, 1), drop_only=(0, 1, 4), expo=(2, 2, 0))
    [found] = answer.answers(table)
    assert found.counts == (
        "Of 34 edited models, 26 keep the post-trained model's score, 5 lose, 3 improve."
    )
    assert found.methods == {
        "keeps": "DARE (23 of 25)",
        "loses": "drop only (4 of 5)",
        "mixed": "ExPO (2 improve, 2 keep)",
    }
    assert found.range == (
        "The score changes by −73.0 ± 1.5 to +5.0 ± 1.5 points, "
        "the loss answers by −0.0048 to 0.22 nats as measured."
    ).replace(" ± ", cells.PLUS_MINUS)
    assert answer.counts(table) == {"improves": 3, "keeps": 26, "loses": 5}


@pytest.mark.parametrize(
    "counts, said",
    [
        ((0, 1, 0), "Of 1 edited model, 1 keeps {}, none loses, none improves."),
        ((1, 0, 2), "Of 3 edited models, none keeps {}, 2 lose, 1 improves."),
    ],
)
def test_the_answer_is_grammatical(counts, said):
    assert answer.answers(by_method(dare=counts))[0].counts == said.format(
        "the post-trained model's score"
    )


@pytest.mark.parametrize(
    "value, shown",
    [(cells.signed(-0.04, 0.5, "points"), "0.0 ± 0.5"),
     (cells.signed(1.26, 0.5, "points"), "+1.3 ± 0.5"),
     (cells.signed(-12.5, None, "points"), "−12.5"),
     (cells.signed(0.4091, 0.0021, "reward"), "+0.409 ± 0.002"),
     (cells.signed(None, 0.1, "points"), ""),
     (cells.nats(-0.012345, 0.00149), "−0.0123 ± 0.001"),
     (cells.nats(float("nan"), 1.0), ""),
     (cells.text(pd.NA), ""),
     (cells.text(0.123456), "0.1235"),
     (cells.duration(0.84), "0.8 s"),
     (cells.duration(59.6), "1 min 00 s"),
     (cells.duration(7625), "2 h 07 min")],
)  # fmt: skip
def test_numbers_as_people_read_them(value, shown):
    assert value.replace("\u00a0", " ") == shown


def test_columns_of_numbers_are_told_from_columns_of_words():
    table = pd.DataFrame(
        {
            "a_number": ["12.3 ± 0.4", "-1e-05", None],
            "marked": ["3 !", "-0.2 ± 0.1 !", "4"],
            "versions": ["2.13.0+cpu", "2.9", ""],
            "sentences": ["20 of lm", "x", "-"],
            "names": ["p=-1", "q", "-r"],
        }
    )
    found = {column.name: column for column in cells.columns(table)}
    assert [name for name, column in found.items() if column.numeric] == ["a number", "marked"]
    assert found["a number"].cells == ("12.3 ± 0.4", "−1e-05", "")
    assert found["names"].cells == ("p=-1", "q", "-r")


# Provenance and run times


def test_provenance_of_equal_results_is_told_once_and_differences_apart(tmp_path):
    records = [record(), record(), record("dpo"), record(torch="2.14.0"), record(post="c" * 64)]
    found = origins.settings(records)
    assert list(found["torch"]) == ["2.13.0", "2.14.0"]
    assert list(found["results"]) == ["4 of lm and dpo", "1 of lm"]
    assert list(found["dtype"]) == ["float32", "float32"]
    assert found.columns[-1] == "commit"
    assert set(found["commit"]) == {"0123456789ab+changes"}
    ends = origins.ends(records, {"lm": {}, "dpo": {"base": {"source": "demo", "stage": "sft"}}})
    assert [(one.pair, one.end, one.sha256[0]) for one in ends] == [
        ("lm", "base", "a"),
        ("lm", "post", "b"),
        ("lm", "post", "c"),
        ("dpo", "base", "a"),
        ("dpo", "post", "b"),
    ]
    assert [one.source for one in ends[::3]] == [f"org/model@{'1' * 40}", "demo: sft"]


def test_provenance_is_read_from_both_forms_of_results(tmp_path):
    from deltaedit import results

    (tmp_path / "a.json").write_text(json.dumps({"rows": [], "provenance": record()}))
    results.write_parquet(tmp_path / "b.parquet", [{"x": 1}], record("dpo"))
    found = origins.read([tmp_path / "a.json", tmp_path / "b.parquet"])
    assert found == [record(), record("dpo")]


def test_run_times_add_up_by_rule(tmp_path):
    found = runtimes.read(benchmarks(tmp_path), ["plot", "edit", "never_ran", "edit"])
    assert list(found["rule"]) == ["plot", "edit"]
    assert list(found["jobs"]) == [1, 2]
    assert list(found["total"]) == [3, 70.5]
    assert list(found["median"]) == [3, 35.25]
    assert list(found["longest"]) == [3, 65.5]
    assert found["memory"].isna()[0] and found["memory"][1] == 100.5


def test_run_times_are_on_the_page(parsed):
    text = parsed.text("main")
    assert "3 jobs took 1 min 14 s in all" in text
    assert "1 min 10 s" in text
    assert "100 MB" in text


def luminance(color):
    channels = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return sum(w * c for w, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def test_text_has_the_contrast_that_aa_asks_for(parsed):
    colors = dict(re.findall(r"--(\w+): (#\w{6});", parsed.texts["style"][0]))
    for ground in ("#ffffff", colors["wash"]):
        for name in ("ink", "soft", "accent", "improves", "keeps", "loses"):
            ratio = (luminance(ground) + 0.05) / (luminance(colors[name]) + 0.05)
            assert ratio >= 4.5, f"{name} on {ground}: {ratio:.2f}"


# In a browser


@pytest.fixture(scope="module")
def browser():
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    names = ("chromium", "chromium-browser", "google-chrome", "chrome")
    program = next(filter(None, map(shutil.which, names)), None)
    if program is None:
        pytest.skip(f"none of {', '.join(names)} is on PATH")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def open_page(browser, folder):
    contexts = []

    def open_page(**options):
        contexts.append(browser.new_context(**options))
        page = contexts[-1].new_page()
        page.set_default_timeout(10_000)
        page.problems, page.requests = [], []
        page.on("console", lambda said: page.problems.append(said.text))
        page.on("pageerror", lambda error: page.problems.append(str(error)))
        page.on("request", lambda request: page.requests.append(request.url))
        page.goto((folder / "report.html").as_uri())
        return page

    yield open_page
    for context in contexts:
        context.close()


@pytest.fixture(scope="module")
def opened(open_page):
    return open_page(viewport={"width": 1280, "height": 900})


@pytest.fixture
def page(opened):
    """The page on a wide screen, nothing filtered; tables may be sorted."""
    opened.emulate_media(media="screen")
    opened.evaluate(
        """() => { const form = document.getElementById("filter");
                   form.reset(); form.dispatchEvent(new Event("change")); }"""
    )
    yield opened
    opened.problems.clear()


def points(page):
    """Return the number of points of each chart."""
    return page.evaluate(
        """Object.fromEntries([...document.querySelectorAll(".plot")].map((plot) =>
           [plot.dataset.chart, plot.data.reduce((n, trace) => n + trace.x.length, 0)]))"""
    )


def visible_rows(page):
    return page.locator("#variants-table tbody tr:visible").count()


def column(page, table, title):
    """Return the cells of a column from top to bottom."""
    headings = page.locator(f"{table} thead th").all_inner_texts()
    [i] = [i for i, heading in enumerate(headings) if heading.startswith(title)]
    return page.locator(f"{table} tbody td:nth-child({i + 1})").all_inner_texts()


def test_it_opens_without_an_error_and_asks_for_nothing(page):
    page.locator(".plot .points path").first.hover(force=True)
    page.locator(".hoverlayer .hovertext").first.wait_for()
    page.locator("summary").click()
    assert "kind: loss_terms" in page.locator("pre").inner_text()
    assert page.problems == []
    asked = [url for url in page.requests if not url.startswith(("data:", "blob:"))]
    assert len(asked) == 1 and asked[0].startswith("file:///")
    buttons = page.locator(".modebar-btn").evaluate_all("all => all.map(b => b.dataset.title)")
    assert len(buttons) > 3
    assert not [title for title in buttons if "hare" in title or "Plotly" in title]


def test_scripts_that_are_not_the_page_s_own_do_not_run(page):
    page.evaluate(
        """() => { const made = document.createElement("script");
                   made.textContent = "window.stranger = 1"; document.body.append(made); }"""
    )
    assert page.evaluate("window.stranger") is None
    assert any("Content Security Policy" in problem for problem in page.problems)
    with pytest.raises(Exception, match="Failed to fetch"):
        page.evaluate("fetch('https://example.org')")


def test_every_figure_is_drawn(page):
    widths = page.locator("figure img").evaluate_all("all => all.map(i => i.naturalWidth)")
    assert widths == [672] * len(FIGURES)


def test_charts_have_a_point_for_each_variant_with_a_loss(page):
    assert points(page) == {"approximation": DRAWN, "score-points": DRAWN - 1} | {"score-reward": 1}
    assert page.locator(".plot").first.locator(".points path").count() == DRAWN
    assert visible_rows(page) == len(VARIANTS)
    assert page.locator("#count").inner_text() == "9 of 9 variants"


def test_the_line_of_equality_and_the_marks_are_where_the_numbers_are(page):
    drawn = page.evaluate(
        """(() => { const {data, layout} = document.querySelector(".plot");
           const dare = data.find((trace) => trace.name === "DARE");
           const [line] = layout.shapes;
           return {x: dare.x, y: dare.y, line, ticks: layout.xaxis.ticktext,
                   at: layout.xaxis.tickvals}; })()"""
    )
    assert drawn["line"]["x0"] == drawn["line"]["y0"]
    assert drawn["line"]["x1"] == drawn["line"]["y1"]
    assert drawn["x"][0] < drawn["y"][0] < 0 < drawn["y"][1] < drawn["x"][1]
    at = dict(zip(drawn["ticks"], drawn["at"], strict=True))
    assert at["0"] == 0
    assert at["0.1"] < drawn["x"][2] < at["1"], "0.25 nats"


def test_the_filter_holds_for_charts_and_table_and_all_brings_them_back(page):
    before = points(page)
    page.get_by_label("DARE", exact=True).uncheck()
    assert visible_rows(page) == len(VARIANTS) - 3
    assert points(page)["approximation"] == DRAWN - 3
    assert page.locator("#count").inner_text() == "6 of 9 variants"
    assert page.locator("#count").get_attribute("aria-live") == "polite"
    page.get_by_role("button", name="None").click()
    assert visible_rows(page) == 0
    assert not any(points(page).values())
    page.get_by_role("button", name="All", exact=True).click()
    assert (visible_rows(page), points(page)) == (len(VARIANTS), before)
    page.get_by_label("Verdict", exact=True).select_option("improves")
    page.get_by_label("Pair", exact=True).select_option("dpo")
    assert page.locator("#variants-table tbody tr:visible").get_by_text("alpha=1").count()
    assert page.locator("#count").inner_text() == "1 of 9 variants"
    assert page.problems == []


def number(cell):
    return float(cell.partition("\u00a0±")[0].replace("−", "-"))


def test_a_table_is_sorted_by_keyboard_by_number_with_empty_cells_last(page):
    heading = page.locator("#variants-table th", has_text="measured change")
    assert heading.get_attribute("aria-sort") == "none"
    heading.get_by_role("button").focus()
    for order in ("ascending", "descending"):
        page.keyboard.press("Enter")
        assert heading.get_attribute("aria-sort") == order
        *found, last = column(page, "#variants-table", "measured change")
        assert last == ""
        numbers = [number(cell) for cell in found]
        assert numbers == sorted(numbers, reverse=order == "descending")
        assert sorted(set(numbers))[:2] == [-0.04, -0.0005]
    page.get_by_label("DARE", exact=True).uncheck()
    assert visible_rows(page) == len(VARIANTS) - 3, "the filter holds for rows that moved"


def test_times_are_sorted_by_their_length(page):
    button = page.locator("#runtimes").get_by_role("button", name="total time")
    button.press("Enter")
    assert column(page, "#runtimes table", "total time") == ["3.0 s", "1 min 10 s"]
    button.press("Space")
    assert column(page, "#runtimes table", "total time") == ["1 min 10 s", "3.0 s"]


def test_downloads_are_handed_over(page, folder):
    with page.expect_download() as download:
        page.locator("a[download='variants.csv']").press("Enter")
    assert download.value.suggested_filename == "variants.csv"
    assert Path(download.value.path()).read_bytes() == (folder / "variants.csv").read_bytes()


def test_it_is_usable_by_keyboard(open_page):
    page = open_page(viewport={"width": 1280, "height": 900})
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "answer"
    wide = page.locator(".region[tabindex='0'][role='region'][aria-label]")
    assert wide.count() == page.locator(".region").count()


def test_it_fits_a_phone(open_page):
    page = open_page(viewport={"width": 390, "height": 844}, is_mobile=True, has_touch=True)
    assert page.evaluate("[document.documentElement.scrollWidth, innerWidth]") == [390, 390]
    images = page.locator("figure img").evaluate_all("all => all.map(i => i.clientWidth)")
    assert min(images) >= 500, "a figure scrolls in its own box before it is too small to read"
    table = page.locator("#variants .region").evaluate("box => [box.scrollWidth, box.clientWidth]")
    assert table[0] > table[1]
    assert page.problems == []


def test_without_scripts_all_but_the_charts_is_there(open_page):
    page = open_page(java_script_enabled=False)
    assert visible_rows(page) == len(VARIANTS)
    assert page.locator("#filter").is_hidden()
    assert "need JavaScript" in page.locator("noscript").inner_text()
    assert page.locator("figure img").count() == len(FIGURES)


def test_it_prints_everything(page):
    page.emulate_media(media="print")
    assert page.locator("pre").is_visible()
    box = page.locator("#variants .region").evaluate("box => [box.scrollHeight, box.clientHeight]")
    assert box[0] == box[1]
    assert page.locator("#filter").is_hidden()
