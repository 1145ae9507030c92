"""report.html in a browser: what a reader clicks, sees and copies; no test takes the time."""

from __future__ import annotations

import csv
import gzip
import io
import json
import random
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pages import HOSTILE, make_run, make_tokenizer, record, turn, write_log
from test_html_report import comparison  # noqa: F401  (a fixture)

from contrail.plugins.html_report import report

api = pytest.importorskip("playwright.sync_api", reason="needs pip install 'contrail[dev]'")
axe = pytest.importorskip("axe_playwright_python.sync_playwright")
CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), ""
)
pytestmark = pytest.mark.skipif(not CHROMIUM, reason="no Chromium here: apt-get install chromium")
WIDE, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}
LOOKS = {
    "light": {"viewport": WIDE},
    "dark": {"viewport": WIDE, "color_scheme": "dark"},
    "phone": {"viewport": PHONE, "is_mobile": True, "has_touch": True},
}


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield chromium
        chromium.close()


class Reader:
    """Opens pages, and notes what a page must not do."""

    def __init__(self, browser: Any) -> None:
        self._browser = browser
        self.wrong: list[str] = []
        self.page: Any = None

    def open(self, file: Path, link: str = "", look: str = "light") -> Any:
        context = self._browser.new_context(
            permissions=["clipboard-read", "clipboard-write"], **LOOKS[look]
        )
        self.page = context.new_page()
        self.page.on("pageerror", lambda error: self.wrong.append(str(error)))
        self.page.on("console", self._said)
        self.page.on("request", self._requested)
        self.page.goto(file.as_uri() + link)
        self.page.wait_for_selector("html[data-ready]")
        return self.page

    def _said(self, message: Any) -> None:
        if message.type in ("error", "warning"):
            self.wrong.append(message.text)

    def _requested(self, request: Any) -> None:
        if not request.url.startswith(("file:", "data:", "blob:")):
            self.wrong.append(request.url)

    def draw(self) -> None:
        """Scroll every chart into view, and wait for it."""
        for plot in self.page.locator(".plot").all():
            plot.scroll_into_view_if_needed()
            self.page.wait_for_selector(".plot[data-drawn]")
        self.page.wait_for_function(
            "document.querySelectorAll('.plot').length === "
            "document.querySelectorAll('.plot[data-drawn]').length"
        )

    def violations(self) -> list[str]:
        """What axe-core finds, if it is serious."""
        found = axe.Axe().run(self.page).response["violations"]
        return [
            f"{item['id']}: {[node['html'][:200] for node in item['nodes'][:3]]}"
            for item in found
            if item["impact"] in ("serious", "critical")
        ]


@pytest.fixture
def reader(browser: Any) -> Iterator[Reader]:
    made = Reader(browser)
    yield made
    assert made.wrong == []


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """The page of a run, and its result."""
    directory = tmp_path_factory.mktemp("run")
    result = make_run(directory, training=200)
    report.contrail_report(result, str(directory))
    return directory / "report.html", result


def tasks(result: dict[str, Any], before: int, now: int) -> tuple[set[str], set[str]]:
    """The tasks of textcraft lost and gained between two rows."""
    first, second = (result["evaluations"][row]["textcraft"]["scores"] for row in (before, now))
    lost = {task for task in first if first[task] > second[task]}
    return lost, {task for task in first if first[task] < second[task]}


@pytest.mark.parametrize("look", LOOKS)
def test_a_reader_finds_nothing_wrong(reader, run, look):
    page = reader.open(run[0], look=look)
    page.wait_for_selector(".episodes tbody tr")
    reader.draw()
    page.click("#cell-2-1")
    page.locator("#tasks .group .chips button").first.click()
    page.wait_for_selector("#viewer:not([hidden])")
    assert reader.violations() == []
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_two_clicks_from_the_cell_to_the_forgetting(reader, run):
    page = reader.open(run[0])
    page.click("#cell-2-1")
    before = int(page.input_value("#compared"))
    lost, gained = tasks(run[1], before, 2)
    shown = page.locator("#tasks .group").first.locator("button")
    assert {text.split()[0] for text in shown.all_inner_texts()} == lost != set()
    others = page.locator("#tasks .group").nth(1).locator("button")
    assert {text.split()[0] for text in others.all_inner_texts()} == gained
    shown.first.click()
    sides = page.locator("#viewer .outcome")
    page.wait_for_selector("#viewer .turn")
    assert sides.all_inner_texts() == ["solved", "not solved"]
    # The second episode has the probabilities of both.
    chances = page.locator("#viewer .candidates").nth(1).locator("tbody tr")
    assert sorted(chances.locator("td").all_inner_texts()) == ["10%", "40%", "60%", "90%"]
    assert page.evaluate("document.activeElement.tagName") == "H3"


def test_another_row_to_compare_with(reader, run):
    page = reader.open(run[0])
    page.click("#cell-2-1")
    page.select_option("#compared", "0")
    lost, _ = tasks(run[1], 0, 2)
    assert page.locator("#tasks h4").first.inner_text().startswith(f"Lost: {len(lost)}")


def test_links_lead_back(reader, run):
    page = reader.open(run[0])
    page.click("#cell-2-1")
    link = page.evaluate("location.hash")
    page.locator("#tasks .group .chips button").first.click()
    page.wait_for_selector("#viewer .turn")
    deep = page.evaluate("location.hash")
    title = page.locator("#viewer h3").inner_text()
    assert (
        reader.open(run[0], link).locator("#tasks h3").inner_text()
        == "textcraft, after 2: textcraft"
    )
    again = reader.open(run[0], deep)
    again.wait_for_selector("#viewer .turn")
    assert again.locator("#viewer h3").inner_text() == title
    assert again.locator("#viewer .outcome").all_inner_texts() == ["solved", "not solved"]


def test_the_keyboard_is_enough(reader, run):
    page = reader.open(run[0])
    page.focus("#cell-2-1")
    page.keyboard.press("Enter")
    page.wait_for_selector("#tasks:not([hidden])")
    page.keyboard.press("Tab")  # from the heading to what it is compared with
    assert page.evaluate("document.activeElement.id") == "compared"
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.wait_for_selector("#viewer .turn")


def test_filters(reader, run):
    page = reader.open(run[0])
    page.wait_for_selector(".episodes tbody tr")

    def count(text: str) -> None:
        api.expect(page.locator("#count")).to_have_text(f"{text} episodes")

    count("592")
    page.select_option("select[name=kind]", "train")
    count("400")
    page.select_option("select[name=outcome]", "not solved")
    count("134")
    page.select_option("select[name=environment]", "babyai")
    count("67")
    page.fill("input[name=text]", "TRAIN-3")
    count("5")  # 3, 30, 33, 36, 39
    page.select_option("select[name=kind]", "")
    page.fill("input[name=text]", "in a hall")
    page.select_option("select[name=outcome]", "")
    count("296")
    failed = sum(
        not score for row in run[1]["evaluations"] for score in row["babyai"]["scores"].values()
    )
    page.select_option("select[name=kind]", "evaluate")
    page.select_option("select[name=difficulty]", "hard")
    count("48")
    page.select_option("select[name=difficulty]", "")
    page.select_option("select[name=outcome]", "not solved")
    count(str(failed))
    page.fill("input[name=text]", "nowhere to be found")
    count("0")


def test_ten_thousand_episodes(reader, tmp_path):
    result = make_run(tmp_path, training=5000)
    report.contrail_report(result, str(tmp_path))
    page = reader.open(tmp_path / "report.html")
    api.expect(page.locator("#count")).to_have_text("10,192 episodes")
    assert page.locator(".episodes tbody tr").count() == 50
    page.click("text=Show more")
    assert page.locator(".episodes tbody tr").count() == 250
    page.select_option("select[name=environment]", "textcraft")
    page.fill("input[name=text]", "train-4999")
    api.expect(page.locator("#count")).to_have_text("1 episodes")
    page.locator(".episodes button").click()
    page.wait_for_selector("#viewer .turn")
    assert "update 625 of stage 2" in page.locator("#viewer .side").inner_text()
    assert (tmp_path / "report.html").stat().st_size < 5_000_000


def hostile(row: int, rng: random.Random, success: bool) -> list[dict[str, Any]]:
    ids = make_tokenizer().encode(HOSTILE.replace("\ud800", "")).ids
    return [turn(HOSTILE, HOSTILE, ids=ids, action=HOSTILE, info={HOSTILE: 1.0})]


def test_hostile_text_is_text_everywhere(reader, tmp_path):
    result = make_run(tmp_path, turns=hostile, name=HOSTILE, label=HOSTILE, training=16)
    result["strategy"] = result["model"] = HOSTILE
    [said] = hostile(0, random.Random(0), success=False)
    said["observation"] = "<b>" * 1_700_000
    long = record("textcraft", "00", [said], failures={HOSTILE: 1})
    with gzip.open(tmp_path / "episodes" / "000-evaluate.jsonl.gz", "rt") as lines:
        others = [item for item in map(json.loads, lines) if item["environment"] != "textcraft"]
    write_log(tmp_path, "000-evaluate", [*others, long])
    report.contrail_report(result, str(tmp_path))
    page = reader.open(tmp_path / "report.html")
    reader.draw()
    assert "<script>window.hacked" in page.inner_text("h1")
    assert "<script>window.hacked" in page.locator(".matrix th[scope=col]").first.inner_text()
    for cell, title in (("#cell-1-0", HOSTILE[:30]), ("#cell-2-1", "textcraft: 00")):
        page.click(cell)
        page.select_option("#compared", "0")
        chip = page.locator("#tasks .chips button", has_text="00 ").first
        chip.evaluate("button => button.click()")
        api.expect(page.locator("#viewer h3")).to_contain_text(title)
        assert "</script><!-- \\x1b[31mred" in page.locator("#viewer .wrote").last.inner_text()
    assert page.locator("#viewer .saw").first.inner_text().startswith("<b><b>")
    assert page.evaluate("window.hacked") is None
    assert page.locator("img, b").count() == 0
    assert reader.violations() == []


def test_tables_and_figures_are_copied(reader, run):
    page = reader.open(run[0])
    copies = page.locator("#success .copies").first

    def copied(name: str) -> str:
        copies.get_by_role("button", name=name).click()
        api.expect(page.locator("#said")).to_have_text("Copied.")
        text = page.evaluate("navigator.clipboard.readText()")
        page.evaluate("document.getElementById('said').textContent = ''")
        return text

    rows = list(csv.reader(io.StringIO(copied("CSV"))))
    assert rows[0] == ["", "babyai", "textcraft"]
    low, high = run[1]["interval"][2][1]
    assert rows[3][2] == f"{run[1]['R'][2][1]:.2f} [{low:.2f}, {high:.2f}]"
    markdown = copied("Markdown").splitlines()
    assert markdown[0] == "|  | babyai | textcraft |"
    assert len(markdown) == 2 + 3
    assert copied("LaTeX").startswith("\\begin{tabular}{lrr}\n\\toprule\n & babyai & textcraft")
    reader.draw()
    copies = page.locator("#curves .copies").first
    for name, kind in (("PNG", "image/png"), ("SVG", "image/svg+xml")):
        copies.get_by_role("button", name=name).click()
        api.expect(page.locator("#said")).to_have_text("Copied.")
        kinds = page.evaluate("navigator.clipboard.read().then(found => found[0].types)")
        assert kind in kinds
        page.evaluate("document.getElementById('said').textContent = ''")


def test_without_a_clipboard_a_file_is_saved(reader, run):
    page = reader.open(run[0])
    page.evaluate("Object.defineProperty(navigator, 'clipboard', { value: undefined })")
    with page.expect_download() as download:
        page.locator("#success .copies").first.get_by_role("button", name="CSV").click()
    assert "textcraft" in Path(download.value.path()).read_text()


@pytest.mark.parametrize("look", LOOKS)
def test_a_comparison(reader, comparison, look, tmp_path):  # noqa: F811
    report.contrail_comparison(comparison, str(tmp_path))
    page = reader.open(tmp_path / "report.html", look=look)
    reader.draw()
    assert page.locator("#metrics .plot").count() > 1
    links = page.locator("#matrices .links a").all()
    cells = page.locator("#matrices .matrix").nth(1).locator("tr").nth(3).locator(".value")
    assert cells.all_inner_texts() == ["0.70", "0.90", "0.50"]
    assert "[object" not in page.inner_text("body")
    assert links[0].get_attribute("href") == "run0/report.html#cell=0,0"
    assert reader.violations() == []
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_colours_follow_the_reader(reader, run):
    page = reader.open(run[0])
    reader.draw()
    before = page.evaluate("getComputedStyle(document.body).backgroundColor")
    page.emulate_media(color_scheme="dark")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") != before
    reader.draw()


def test_the_page_of_a_run_without_episodes(reader, tmp_path):
    result = make_run(tmp_path)
    shutil.rmtree(tmp_path / "episodes")
    report.contrail_report(json.loads(json.dumps(result)), str(tmp_path))
    page = reader.open(tmp_path / "report.html")
    page.click("#cell-2-1")
    page.locator("#tasks .group .chips button").first.click()
    api.expect(page.locator("#said")).to_contain_text("did not fit into the page")
