"""The report of a made run: what its pages say, and that they need nothing from the network."""

import re
import shutil
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import nbformat
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_conditions import OTHER_MACHINE, VERSIONS, made_conditions
from made_run import EVIL, make_run, write_made_record, write_notebook
from nbformat import v4

from labsupport.core.errors import LabError
from labsupport.records.claims import Claim
from labsupport.report import build_report, site
from labsupport.report.mathml import mathml
from labsupport.report.pages import (
    Content,
    machine_line,
    problems,
    run_facts,
    shown_scorecards,
    write_pages,
)
from labsupport.runs.record import LabRecord, RunRecord, read_record


class Page(HTMLParser):
    """The links, the resources and the anchors of one page."""

    def __init__(self, path):
        super().__init__()
        self.links, self.resources, self.anchors, self.tags = [], [], set(), []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        self.tags.append(tag)
        self.anchors |= {given[key] for key in ("id", "name") if given.get(key)}
        if tag == "a" and given.get("href"):
            self.links.append(given["href"])
        if tag == "link" and given.get("href"):
            self.resources.append(given["href"])
        self.resources += [given[key] for key in ("src", "srcset", "data") if given.get(key)]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("runs") / "trial")


@pytest.fixture(scope="module")
def report(run):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("labsupport.report.pages.course_root", lambda: run / "course")
        return build_report(run).parent


@pytest.fixture(scope="module")
def front(report):
    return (report / "index.html").read_text(encoding="utf-8")


def pages(report):
    return sorted(report.glob("*.html"))


def row_with(text, needle):
    """The one table row that holds `needle`."""
    rows = [row for row in re.findall(r"<tr.*?</tr>", text, re.DOTALL) if needle in row]
    assert len(rows) == 1, (needle, rows)
    return rows[0]


def test_front_page_tells_the_run(front):
    for text in (
        "Report of run trial",
        "quick profile",
        "2026-09-28 14:03",
        "Abacus 9000, 2 cores, 7.8 GiB",
        "torch <b>2.15.0</b>",
    ):
        assert text in front


def test_front_page_lists_the_labs_in_order(front):
    names = ("00_first", "01_second", "02_failing", "03_never_ran")
    places = [front.index(f"<code>{name}</code>") for name in names]
    assert places == sorted(places)
    row = row_with(front, "<code>00_first</code>")
    assert 'href="00_first.html"' in row
    assert ">done<" in row
    assert ">12.3<" in row
    assert ">512 MB<" in row


def test_failed_lab_keeps_its_page_and_names_its_error(front, report):
    row = row_with(front, "<code>02_failing</code>")
    assert 'class="failed"' in row
    assert "Cell 3: ZeroDivisionError: division by &lt;zero&gt;" in row
    assert 'href="02_failing.html"' in row
    assert "ZeroDivisionError" in (report / "02_failing.html").read_text()


def test_lab_that_never_ran_has_no_page(front, report):
    row = row_with(front, "<code>03_never_ran</code>")
    assert "<a" not in row
    assert "A lab that waits" in row
    assert "needs 02_failing" in row
    assert not (report / "03_never_ran.html").exists()


def test_claims_stand_with_aim_source_and_verdict(front):
    row = row_with(front, "<code>mlp.parameters</code>")
    for text in ("1,863,690", "= 1,863,690", "1,800,000", "a lab report", "holds", "yes"):
        assert text in row
    assert "failed" not in row


def test_claims_stand_beside_what_the_reference_measured(front):
    assert '<td class="n">0.9871</td>' in row_with(front, "<code>mlp.accuracy</code>")
    assert '<td class="n"></td>' in row_with(front, "<code>mlp.parameters</code>")


def test_claim_that_does_not_hold_is_marked(front):
    row = row_with(front, "<code>mlp.accuracy</code>")
    assert 'class="failed"' in row
    assert "does not hold" in row
    assert "Required claims that do not hold: mlp.accuracy." in front


def test_predictions_have_a_page_of_guesses_beside_answers(front, report):
    assert 'href="predictions.html"' in front
    page = (report / "predictions.html").read_text()
    row = row_with(page, "How many MACs?")
    for text in (">2,000,000<", ">1,861,632<", ">1.074 times the answer<"):
        assert text in row
    assert "no guess yet" in page
    assert EVIL not in page


def test_claims_are_escaped(front):
    assert EVIL not in front
    assert "&lt;script&gt;" in row_with(front, "<code>evil</code>")


def test_scorecards_are_readable(front):
    row = row_with(front, ">baseline<")
    for text in ("0.9877", "1,863,690", "1,861,632"):
        assert f">{text}<" in row
    assert "disk bytes" not in front  # an empty column
    assert "latency b1 ms" in front


def test_lab_page_shows_mathematics_figures_and_tables(report):
    page = Page(report / "00_first.html")
    assert page.tags.count("math") == 4
    text = (report / "00_first.html").read_text()
    assert "dataframe" in text
    figures = [source for source in page.resources if source.endswith(".png")]
    assert figures
    assert all((report / figure).stat().st_size for figure in figures)


def test_solutions_are_folded(report):
    text = (report / "00_first.html").read_text()
    assert re.search(r"<details[^>]*>.*?the_solution.*?</details>", text, re.DOTALL)
    assert "cell_to_be_removed" not in text


def test_links_to_what_is_no_page_are_only_words(report):
    page = Page(report / "00_first.html")
    assert "01_second.html" in page.links
    assert not [link for link in page.links if "elsewhere" in link]
    assert "a lab elsewhere" in (report / "00_first.html").read_text()


def test_tables_lie_in_the_site(run, report):
    for path in (run / "tables").glob("*/*.csv"):
        inside = path.relative_to(run)
        assert (report / inside).read_bytes() == path.read_bytes()
        assert inside.as_posix() in Page(report / "index.html").links


def test_no_resource_comes_from_the_network(report):
    for path in pages(report):
        network = [url for url in Page(path).resources if urlsplit(url).netloc]
        assert not network, (path.name, network)
    for path in report.rglob("*.css"):
        urls = re.findall(r"(?:url\(|@import\s*)['\"]?([^'\")\s;]+)", path.read_text())
        assert not [url for url in urls if urlsplit(url).netloc], path.name


def test_every_internal_link_and_resource_resolves(report):
    parsed = {path: Page(path) for path in pages(report)}
    for path, page in parsed.items():
        for url in page.links + page.resources:
            parts = urlsplit(url)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            assert target.is_file(), (path.name, url)
            if parts.fragment and target in parsed:
                assert unquote(parts.fragment) in parsed[target].anchors, (path.name, url)


def test_build_has_no_warning_and_leaves_no_rest(run, report):
    assert (run / "logs" / "report.log").read_text() == ""
    assert sorted(path.name for path in run.iterdir() if path.name.startswith(".")) == []
    assert not list(report.rglob("*.doctree"))
    assert not list(report.rglob("*.ipynb"))
    assert sum(path.stat().st_size for path in report.rglob("*") if path.is_file()) < 5e6


def test_rebuild_replaces_the_site_and_names_a_notebook_without_title(tmp_path, monkeypatch):
    def copied(source, made, log):
        shutil.copytree(source, made, dirs_exist_ok=True)
        (made / "_static").mkdir()

    monkeypatch.setattr(site, "_run_sphinx", copied)
    run = tmp_path / "untitled"
    write_notebook(run / "notebooks" / "00_bare.ipynb", [v4.new_markdown_cell("words")])
    write_made_record(run, {"00_bare": LabRecord()})
    stale = run / "report" / "stale.html"
    stale.parent.mkdir()
    stale.write_text("old")
    build_report(run)
    assert not stale.exists()
    page = nbformat.read(run / "report" / "00_bare.ipynb", as_version=4)
    assert [cell.source for cell in page.cells] == ["# 00_bare", "words"]


def test_failed_build_keeps_the_former_site(tmp_path, monkeypatch):
    run = make_run(tmp_path / "kept")
    former = run / "report" / "index.html"
    former.parent.mkdir()
    former.write_text("former")
    (tmp_path / "conf.py").write_text("raise ValueError('a broken configuration')")
    monkeypatch.setattr(site, "SETTINGS", tmp_path)
    with pytest.raises(LabError, match=r"a broken configuration.*report\.log"):
        build_report(run)
    assert former.read_text() == "former"
    assert [path.name for path in run.iterdir() if path.name.startswith(".")] == []


def test_missing_packages_are_named(run, monkeypatch):
    monkeypatch.setattr(site, "NEEDED", ("sphinx", "no_such_package"))
    with pytest.raises(LabError, match=r"no_such_package.*\[docs\]"):
        build_report(run)


def test_damaged_record_is_named(tmp_path):
    run = make_run(tmp_path / "damaged")
    (run / "run.json").write_text("{")
    with pytest.raises(LabError, match=r"run\.json cannot be read"):
        build_report(run)


def test_damaged_notebook_is_named(tmp_path):
    run = make_run(tmp_path / "damaged")
    (run / "notebooks" / "01_second.ipynb").write_text("{")
    with pytest.raises(LabError, match=r"01_second\.ipynb is not a notebook"):
        build_report(run)


def test_damaged_claims_are_named(tmp_path):
    run = make_run(tmp_path / "damaged")
    (run / "tables" / "00_first" / "claims.csv").write_text("id,lab\nx,00_first\n")
    with pytest.raises(LabError, match="damaged claims"):
        build_report(run)


def test_a_folder_without_a_run_has_no_report(tmp_path):
    with pytest.raises(LabError, match="holds no run"):
        build_report(tmp_path / "absent")


def test_committed_labs_build_without_a_warning(tmp_path):
    labs = sorted((Path(__file__).parents[1] / "notebooks").glob("[0-9]*.ipynb"))
    if not labs:
        pytest.skip("there are no labs yet")
    shutil.copytree(labs[0].parent, tmp_path / "notebooks")
    write_made_record(tmp_path, {lab.stem: LabRecord() for lab in labs})
    report = build_report(tmp_path).parent
    assert (tmp_path / "logs" / "report.log").read_text() == ""
    sources = [path.read_text() for path in pages(report)]
    assert not [text for text in sources if '<code class="formula">' in text]  # all converted


class Markup(HTMLParser):
    """The tags of a formula, all closed in order, and its text."""

    def __init__(self, markup):
        super().__init__()
        self.tags, self.open, self.text = [], [], ""
        self.feed(markup)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


@pytest.mark.parametrize(
    "latex",
    [
        r"\begin{align} a &= b \\ c &= d \end{align}",
        r"\begin{aligned} a &= b \\[2pt] c &= d \end{aligned}",
        r"\begin{split} a &= b \\ c &= d \end{split}",
        r"a &= b \\ c &= d",
    ],
)
def test_aligned_lines_become_rows_of_two_cells(latex):
    markup = Markup(mathml(latex, block=True))
    assert markup.tags.count("mtr") == 2
    assert markup.tags.count("mtd") == 4
    assert "&" not in markup.text


def test_breaks_inside_an_environment_are_left_to_it():
    markup = mathml(r"f = \begin{cases} 1 & x > 0 \\ 0 & x \le 0 \end{cases}", block=True)
    assert markup.count("<mtable") == 1


@pytest.mark.parametrize("latex", [r"\left( a < b", r"\nosuchcommand x", r"\frac", r"x^{"])
def test_formula_that_cannot_be_converted_shows_its_source(latex):
    markup = Markup(mathml(latex))
    assert markup.tags == ["code"]
    assert markup.text == latex


@given(st.text(alphabet=r"\{}[]()&^_<>$%#ab1 ", max_size=30))
def test_any_formula_gives_well_formed_markup(latex):
    for block in (False, True):
        assert Markup(mathml(latex, block=block)).tags[0] in ("math", "code")


def test_scorecards_are_shown_without_what_is_empty_or_always_the_same():
    frame = pd.DataFrame(
        {
            "lab": ["a", "a", "b"],
            "profile": ["quick"] * 3,
            "method": ["m", None, "o"],
            "macs": [1000, 2000, np.nan],
            "accuracy": [np.nan] * 3,
        }
    )
    shown = shown_scorecards(frame)
    assert list(shown) == ["lab", "method", "macs"]
    assert shown["macs"].tolist() == ["1,000", "2,000", ""]
    assert shown["method"].tolist() == ["m", "", "o"]
    assert shown_scorecards(pd.DataFrame()).empty


def made_record(**labs):
    return RunRecord(name="bare", profile="quick", started="2026-01-02T03:04:05", labs=labs)


def test_problems_tell_required_claims_from_others():
    broken = Claim("x", "", 1, ">=", 2, required=True), Claim("y", "", 1, ">=", 2)
    record = made_record(a=LabRecord(status="failed"))
    found = problems(record, [*broken, Claim("z", "", 3, ">=", 2)])
    assert found == [
        "Failed labs: a.",
        "Required claims that do not hold: x.",
        "Other claims that do not hold: y.",
    ]
    assert problems(made_record(a=LabRecord(status="done")), []) == []


def test_a_mixture_and_labs_that_ran_at_once_are_problems():
    one = LabRecord(status="done", conditions=made_conditions(jobs=4))
    other = LabRecord(status="done", conditions=made_conditions(machine=OTHER_MACHINE))
    assert problems(made_record(a=one, b=other), []) == [
        "Labs ran at once, which spoils the clock: a.",
        "Processor model is Abacus 9000 in a but Slide rule 4 in b.",
    ]


def test_a_run_that_has_hardly_begun_is_described_as_far_as_it_is_known():
    assert run_facts(made_record(a=LabRecord())) == ["quick profile", "2026-01-02 03:04"]
    assert machine_line({"processor model": "Abacus 9000"}) == "Abacus 9000"


def test_pages_tell_machines_and_versions_of_a_mixture_apart(tmp_path):
    newer = made_conditions(machine=OTHER_MACHINE, versions=VERSIONS | {"torch": "2.16.0"})
    conditions = {"00_first": made_conditions(), "01_second": newer, "02_third": newer}
    labs = {lab: LabRecord(status="done", conditions=of) for lab, of in conditions.items()}
    write_made_record(tmp_path, labs)
    write_pages(Content(read_record(tmp_path), [], tmp_path), tmp_path)
    assert "torch <b>2.15.0 / 2.16.0</b>" in (tmp_path / "versions.html").read_text()
    machine = (tmp_path / "machine.html").read_text()
    assert "00_first" in row_with(machine, "Abacus 9000")
    assert "01_second, 02_third" in row_with(machine, "Slide rule 4")
    assert "00_first" not in row_with(machine, "7.8 GiB"), "labs are named where they differ"
    facts = (tmp_path / "facts.html").read_text()
    assert "Abacus 9000, 2 cores, 7.8 GiB · Slide rule 4, 2 cores" in facts
    assert "Abacus 9000 in 00_first but Slide rule 4 in 01_second, 02_third" in facts
