"""The report as a reader sees it: from the disk, without any network."""

import pytest
from made_run import make_run

from labsupport.report import build_report


@pytest.fixture(scope="module")
def front(tmp_path_factory):
    return build_report(make_run(tmp_path_factory.mktemp("runs") / "trial")).as_uri()


def test_front_page_opens_and_leads_to_a_lab(reader, front):
    reader.goto(front)
    assert reader.locator("article h1").inner_text() == "Report of run trial"
    assert reader.title().startswith("Report of run trial")  # the script in a claim did not run
    reader.locator("table.labs").get_by_role("link", name="A first lab").click()
    assert reader.locator("article h1").inner_text() == "A first lab"


def test_every_page_opens(reader, front):
    reader.goto(front)
    hrefs = reader.eval_on_selector_all("nav.bd-links a", "links => links.map(link => link.href)")
    assert len(hrefs) == 6
    for href in hrefs:
        reader.goto(href)
        assert reader.locator("article h1").is_visible()


def test_mathematics_and_figures_are_drawn(reader, front):
    reader.goto(front.replace("index.html", "00_first.html"))
    formulas = reader.locator("math")
    assert formulas.count() == 4
    sizes = formulas.evaluate_all("all => all.slice(0, 3).map(m => m.getBoundingClientRect())")
    assert all(size["width"] > 20 and size["height"] > 10 for size in sizes)
    figures = reader.locator(".cell_output img")
    assert figures.count() == 1
    assert figures.evaluate("figure => figure.naturalWidth") > 0


def test_aligned_lines_meet_at_their_signs(reader, front):
    reader.goto(front.replace("index.html", "00_first.html"))
    ends = reader.eval_on_selector_all(
        "mtr > mtd:first-child > :last-child",
        "all => all.map(end => end.getBoundingClientRect().right)",
    )
    assert len(ends) == 2
    assert abs(ends[0] - ends[1]) < 1  # right-aligned, though P and M differ in width


def test_a_solution_unfolds(reader, front):
    reader.goto(front.replace("index.html", "00_first.html"))
    solution = reader.get_by_text("the_solution")
    assert not solution.is_visible()
    reader.locator("details.hide summary").click()
    assert solution.is_visible()


def test_wide_tables_scroll_and_the_page_does_not(reader, front):
    reader.set_viewport_size({"width": 420, "height": 800})
    reader.goto(front)
    width, inner = reader.evaluate("[document.documentElement.scrollWidth, window.innerWidth]")
    assert width <= inner
    table = reader.locator(".scroll", has=reader.locator("table.scorecards"))
    assert table.evaluate("box => box.scrollWidth > box.clientWidth")


def test_search_finds_a_lab_without_the_network(reader, front):
    reader.goto(front.replace("index.html", "search.html?q=second"))
    reader.locator("#search-results").get_by_role("link", name="A second lab").wait_for()
