"""The page in a browser: Debian's chromium, headless, driven by Playwright; accessibility by axe-core.

Nothing leaves the page, nothing is said on the console, the tables sort, filter and page by mouse and by keyboard, both colour schemes
and paper work, and so does the page without its script.
"""

from __future__ import annotations

import re
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from support.jobs import CAPTURES, hostile_result, job_of, large_result, result_of, text_of

from analyzer.pipeline import run

pytestmark = [pytest.mark.browser, pytest.mark.slow]

#: How long the browser may take to start, and for each thing that is asked of it.
PATIENCE_MS: Final = 300_000


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        browser = driver.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox"], timeout=PATIENCE_MS
        )
        yield browser
        browser.close()


class Opened:
    """A page that is open, and all that it said or asked for."""

    def __init__(self, page: Any, path: Path) -> None:
        self.page = page
        self.said: list[str] = []
        self.asked: list[str] = []
        page.on("console", lambda message: self.said.append(message.text))
        page.on("pageerror", lambda error: self.said.append(str(error)))
        page.on("dialog", lambda dialog: (self.said.append(dialog.message), dialog.dismiss()))
        page.on("request", lambda request: self.asked.append(request.url))
        began = time.perf_counter()
        page.goto(path.as_uri())
        self.seconds = time.perf_counter() - began
        self.path = path

    def check(self) -> None:
        """Nothing was said, and nothing but the page itself was asked for."""
        assert self.said == []
        assert [url for url in self.asked if not url.startswith("data:,")] == [self.path.as_uri()]

    def column(self, table: str, number: int) -> list[str]:
        return [text.strip() for text in self.page.locator(f"#{table} tbody td:nth-child({number})").all_inner_texts()]


Opener = Callable[..., Opened]


@pytest.fixture
def opener(chromium: Any, tmp_path: Path) -> Iterator[Opener]:
    contexts = []

    def open_page(result: Any, *, headers: bool = False, **options: Any) -> Opened:
        path = tmp_path / "report.html"
        path.write_text(text_of(job_of(result, headers=headers), "html"), "utf-8")
        context = chromium.new_context(**{"viewport": {"width": 1400, "height": 900}, **options})
        contexts.append(context)
        context.set_default_timeout(PATIENCE_MS)
        return Opened(context.new_page(), path)

    yield open_page
    for context in contexts:
        context.close()


def test_it_opens_in_silence(opener: Opener) -> None:
    opened = opener(result_of("office.pcapng"), headers=True)
    assert opened.page.title().startswith("mailtap: ")
    assert opened.page.locator("h1").count() == 1
    opened.check()


def test_hostile_text_does_nothing(opener: Opener) -> None:
    opened = opener(hostile_result(), headers=True)
    opened.page.wait_for_timeout(200)
    assert opened.page.evaluate("document.scripts.length") == 1
    assert opened.page.locator("main svg[onload], main img, main script, main iframe").count() == 0
    for element in opened.page.locator("button").all()[:20]:
        element.click()
    assert "<script>alert(1)</script>" in opened.page.locator("#sessions").inner_text()
    opened.check()


def test_columns_sort_by_what_they_hold(opener: Opener) -> None:
    opened = opener(result_of("office.pcapng"))
    page = opened.page

    def head(table: str, name: str) -> Any:
        return page.locator(f"#{table} th", has=page.get_by_role("button", name=name, exact=True))

    assert opened.column("findings", 1)[0] == "critical"
    head("findings", "Severity").get_by_role("button").click()
    assert opened.column("findings", 1)[0] == "info"
    assert head("findings", "Severity").get_attribute("aria-sort") == "ascending"
    head("findings", "Severity").get_by_role("button").click()
    assert opened.column("findings", 1)[0] == "critical"
    assert head("findings", "Severity").get_attribute("aria-sort") == "descending"
    head("findings", "Frame").get_by_role("button").click()
    frames = [int(text) for text in opened.column("findings", 4)]
    assert frames == sorted(frames)
    assert head("findings", "Severity").get_attribute("aria-sort") is None
    head("servers", "Server").get_by_role("button").click()
    servers = opened.column("servers", 2)
    keys = [[int(part) for part in re.findall(r"\d+", text)] for text in servers]
    assert keys == sorted(keys)
    opened.check()


def test_what_cannot_be_sorted_comes_last_either_way_in_its_order(opener: Opener) -> None:
    samples = ("pop3-login.pcap", "pop3s.pcap", "imaps.pcap", "smtps.pcap", "lmtp.pcap", "ipv6.pcap")
    result = run([CAPTURES / name for name in samples])
    for stats, dropped in zip(result.captures, (None, 100, None, 5, 20, None), strict=True):
        stats.dropped = dropped
    opened = opener(result)

    def sort(table: str, name: str) -> None:
        opened.page.locator(f"#{table}").get_by_role("button", name=name, exact=True).click()

    unknown = ["pop3-login.pcap", "imaps.pcap", "ipv6.pcap"]
    sort("captures", "Packets dropped")
    assert opened.column("captures", 10) == ["5", "20", "100", *["not said"] * 3]
    assert [name.rpartition("/")[2] for name in opened.column("captures", 1)[3:]] == unknown
    sort("captures", "Packets dropped")
    assert opened.column("captures", 10) == ["100", "20", "5", *["not said"] * 3]
    assert [name.rpartition("/")[2] for name in opened.column("captures", 1)[3:]] == unknown
    # Findings on a capture as a whole have neither frame nor client.
    for name, number in (("Frame", 4), ("Client", 5), ("Account", 7)):
        for _ in range(2):
            sort("findings", name)
            cells = opened.page.evaluate(
                """(at) => {
                    const next = [...document.querySelectorAll('.pager button')].filter((one) => one.textContent === 'Next'
                        && one.closest('.pager').getAttribute('aria-label') === 'Pages: Findings')[0];
                    const cells = [];
                    for (;;) {
                        for (const row of document.querySelectorAll('#findings tbody tr')) cells.push(row.cells[at].textContent.trim());
                        if (!next || next.getAttribute('aria-disabled') === 'true') return cells;
                        next.click();
                    }
                }""",
                number - 1,
            )
            first = cells.index("")
            assert set(cells[first:]) == {""}
            assert first > 10
    opened.check()


def test_rows_filter_by_words_and_by_choice(opener: Opener) -> None:
    opened = opener(result_of("office.pcapng"))
    page = opened.page
    page.get_by_label("Filter findings").fill("nora 587")
    page.wait_for_function("() => document.querySelectorAll('#findings tbody tr').length < 50")
    rows = page.locator("#findings tbody tr").all_inner_texts()
    assert rows
    assert all("nora" in row and "587" in row for row in rows)
    page.get_by_role("search", name="Filter: Findings").get_by_label("Severity").select_option("=critical")
    assert set(opened.column("findings", 1)) == {"critical"}
    page.get_by_label("Filter findings").fill("no such words anywhere")
    page.wait_for_function("() => document.querySelectorAll('#findings tbody tr').length === 0")
    assert "No row matches" in page.get_by_role("group", name="Pages: Findings").inner_text()
    opened.check()


def test_tables_page_and_the_keyboard_does_it_all(opener: Opener) -> None:
    opened = opener(result_of("office.pcapng"))
    page = opened.page
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the report"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"
    pager = page.get_by_role("group", name="Pages: Sessions")
    assert pager.get_by_role("status").inner_text() == "1 to 50 of 265"
    first = opened.column("sessions", 2)[0]
    pager.get_by_role("button", name="Next").focus()
    page.keyboard.press("Enter")
    assert pager.get_by_role("status").inner_text() == "51 to 100 of 265"
    assert opened.column("sessions", 2)[0] != first
    for _ in range(8):
        page.keyboard.press("Space")
    assert pager.get_by_role("status").inner_text() == "251 to 265 of 265"
    assert pager.get_by_role("button", name="Next").get_attribute("aria-disabled") == "true"
    page.locator("#sessions th button").first.focus()
    page.keyboard.press("Enter")
    page.keyboard.press("Enter")
    starts = opened.column("sessions", 1)
    assert starts == sorted(starts, reverse=True)
    # From a table's head the next stop is the next head: nothing is out of reach.
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Client"
    page.get_by_text("more kinds of findings").focus()
    page.keyboard.press("Enter")
    assert page.locator("details[open]").count() == 1
    opened.check()


@pytest.mark.parametrize(
    ("samples", "scheme", "width"),
    [
        (("office.pcapng", "tls-certificates.pcap"), "light", 1400),
        (("guessing.pcap", "tls-certificates.pcap"), "dark", 1400),
        (("guessing.pcap", "tls-certificates.pcap"), "light", 400),
        (("guessing.pcap", "tls-certificates.pcap"), "dark", 400),
    ],
)
def test_axe_finds_no_serious_fault(samples: tuple[str, ...], scheme: str, width: int, opener: Opener) -> None:
    from axe_playwright_python.sync_playwright import Axe

    opened = opener(
        result_of(*samples),
        headers=True,
        color_scheme=scheme,
        viewport={"width": width, "height": 900},
        bypass_csp=True,
    )
    for element in opened.page.locator("summary").all():
        element.click()
    found = Axe().run(opened.page).response["violations"]
    serious = [
        f"{one['id']}: {one['nodes'][0]['html'][:200]} {one['nodes'][0]['failureSummary']}"
        for one in found
        if one["impact"] in ("serious", "critical")
    ]
    assert serious == []
    assert opened.page.evaluate("document.documentElement.scrollWidth") <= width


def test_dark_is_dark(opener: Opener) -> None:
    def paper(scheme: str) -> list[int]:
        page = opener(result_of("pop3-login.pcap"), color_scheme=scheme).page
        return [
            int(part)
            for part in re.findall(r"\d+", page.evaluate("getComputedStyle(document.body).backgroundColor"))[:3]
        ]

    assert sum(paper("light")) > 700
    assert sum(paper("dark")) < 100


def test_without_its_script_every_row_is_there(opener: Opener) -> None:
    result = result_of("office.pcapng")
    opened = opener(result, java_script_enabled=False)
    assert opened.page.locator("#sessions tbody tr").count() == len(result.sessions)
    assert opened.page.locator("#sessions tbody tr").last.is_visible()
    assert opened.page.locator("button, input, select").count() == 0
    opened.check()


@pytest.mark.parametrize("width", [400, 800, 1024, 1200, 1265, 1920])
@pytest.mark.parametrize("samples", [("office.pcapng",), ("guessing.pcap", "tls-certificates.pcap", "ipv6.pcap")])
def test_no_column_is_out_of_sight(samples: tuple[str, ...], width: int, opener: Opener) -> None:
    page = opener(result_of(*samples), viewport={"width": width, "height": 900}).page
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    wide = "[...document.querySelectorAll('.scroll')].filter((one) => one.scrollWidth > one.clientWidth).map((one) => one.firstElementChild.id)"
    assert page.evaluate(wide) == []
    # Neither a tile nor a chart stands alone where others stand side by side.
    for kind in (".cards li", ".charts figure"):
        rows: dict[int, list[int]] = {}
        for top, size in page.evaluate(
            f"[...document.querySelectorAll('{kind}')].map((one) => one.getBoundingClientRect()).map((one) => [one.top, one.width])"
        ):
            rows.setdefault(round(top), []).append(round(size))
        assert max(sum(row) for row in rows.values()) - min(sum(row) for row in rows.values()) < 60, kind


#: The lines of a text in a cell: as many as it has rectangles of different tops.
LINES: Final = """(at) => [...document.querySelectorAll(`#findings tbody td:nth-child(${at})`)].map((cell) => {
    const range = document.createRange();
    range.selectNodeContents(cell);
    return new Set([...range.getClientRects()].map((one) => Math.round(one.top))).size;
})"""


@pytest.mark.parametrize("media", ["print", "screen"])
def test_addresses_stay_whole(media: str, opener: Opener) -> None:
    # A sheet of A4 across its length has so many pixels between its margins.
    page = opener(
        result_of("office.pcapng"), viewport={"width": 1032 if media == "print" else 1280, "height": 900}
    ).page
    page.emulate_media(media=media)
    for column in (5, 6, 7):
        assert set(page.evaluate(LINES, column)) <= {0, 1}, page.locator(
            f"#findings th:nth-child({column})"
        ).inner_text()


def test_the_head_of_a_table_can_stand_on_each_page_of_paper(opener: Opener) -> None:
    page = opener(result_of("office.pcapng")).page
    look = "(what) => getComputedStyle(document.querySelector(what)).display"
    assert page.evaluate(look, "#findings th button") != "contents"
    page.emulate_media(media="print")
    # Of a button Chromium repeats the place, not the words: in print there is none.
    assert page.evaluate(look, "#findings thead") == "table-header-group"
    assert page.evaluate(look, "#findings th button") == "contents"


@pytest.mark.parametrize("script", [True, False])
def test_it_prints(script: bool, opener: Opener) -> None:
    opened = opener(result_of("office.pcapng"), java_script_enabled=script)
    content = opened.page.pdf(prefer_css_page_size=True)
    assert content.startswith(b"%PDF-")
    assert 5 < len(re.findall(rb"/Type\s*/Page\b", content)) < 40
    opened.page.emulate_media(media="print")
    assert not opened.page.locator("nav").is_visible()
    opened.check()


def test_a_page_of_5000_sessions_is_quick(opener: Opener) -> None:
    opened = opener(large_result())
    page = opened.page
    assert page.locator("#findings tbody tr").count() == 50
    began = time.perf_counter()
    page.locator("#findings th button").first.click()
    sorted_in = time.perf_counter() - began
    began = time.perf_counter()
    page.get_by_label("Filter findings").fill("account77@")
    page.wait_for_function("() => document.querySelectorAll('#findings tbody tr').length < 50")
    filtered_in = time.perf_counter() - began
    assert opened.path.stat().st_size < 5_000_000
    sys.stdout.write(
        f"opened in {opened.seconds:.2f} s, sorted in {sorted_in:.2f} s, filtered in {filtered_in:.2f} s\n"
    )
    opened.check()
