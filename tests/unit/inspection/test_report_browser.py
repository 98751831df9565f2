"""The report in a real browser: Chromium without a window, over its driver."""

import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.select import Select

from pipeline.config import RunConfig
from pipeline.inspection.report.page import write_report
from tests.unit.inspection.browser import chromium, logged, needs_chromium, resize
from tests.unit.inspection.report_samples import IMAGE, SCRIPT, finished_run, put_refusal

pytestmark = needs_chromium


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of a run whose newest checkpoint was refused."""
    workspace = finished_run(tmp_path_factory.mktemp("finished"))
    put_refusal(workspace, 12)
    return Path(write_report(workspace, RunConfig(), triplets_per_sheet=12))


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    with chromium(tmp_path_factory.mktemp("downloads")) as browser:
        yield browser


@pytest.fixture
def browser(driver: webdriver.Chrome, report: Path) -> webdriver.Chrome:
    """The page, freshly opened on a desktop in the light."""
    for log in ("browser", "performance"):
        logged(driver, log)
    emulate(driver, 1280, "light")
    driver.get(report.as_uri())
    return driver


def emulate(browser: webdriver.Chrome, width: int, scheme: str) -> None:
    resize(browser, width, 900)
    feature = {"name": "prefers-color-scheme", "value": scheme}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})


def run_script(browser: webdriver.Chrome, script: str) -> Any:  # noqa: ANN401  # whatever the page answers
    return browser.execute_script(script)


def control(browser: webdriver.Chrome, gallery: str, what: str) -> WebElement:
    return browser.find_element(By.CSS_SELECTOR, f"#{gallery} .controls {what}")


def choose(browser: webdriver.Chrome, gallery: str, what: str, value: str) -> None:
    Select(control(browser, gallery, what)).select_by_value(value)


def count(browser: webdriver.Chrome, gallery: str) -> str:
    return control(browser, gallery, "output").text


def shown(browser: webdriver.Chrome, gallery: str) -> list[dict[str, str]]:
    """Data and text of the visible cards, in their order."""
    script = f"""return [...document.querySelectorAll("#{gallery} .card")].filter((card) => card.checkVisibility())
        .map((card) => ({{...card.dataset, text: card.innerText, sheet: card.closest(".sheet").dataset.sheet}}))"""
    cards: list[dict[str, str]] = run_script(browser, script)
    return cards


def test_every_picture_appears(browser: webdriver.Chrome) -> None:
    widths = run_script(browser, "return [...document.images].map((one) => one.complete ? one.naturalWidth : -1)")
    assert len(widths) > 100
    assert min(widths) > 0


def test_nothing_is_requested_and_nothing_is_refused_or_fails(browser: webdriver.Chrome, report: Path) -> None:
    entries = run_script(browser, "return performance.getEntriesByType('resource').map((one) => one.name)")
    assert [name for name in entries if not name.startswith("data:")] == []
    messages = [json.loads(entry["message"])["message"] for entry in logged(browser, "performance")]
    requests = [one["params"]["request"]["url"] for one in messages if one["method"] == "Network.requestWillBeSent"]
    assert {url for url in requests if not url.startswith("data:")} == {report.as_uri()}
    assert logged(browser, "browser") == []  # neither an error nor a violation of the policy


def test_the_policy_is_in_force(browser: webdriver.Chrome) -> None:
    script = """const done = arguments[0], image = new Image();
        document.addEventListener("securitypolicyviolation", (event) => done(event.effectiveDirective));
        image.src = "http://127.0.0.1:9/";"""
    assert browser.execute_async_script(script) == "img-src"


def test_labels_that_look_like_markup_stay_text_and_run_nothing(browser: webdriver.Chrome) -> None:
    labels = run_script(browser, "return [...document.querySelectorAll('.card .label')].map((one) => one.textContent)")
    assert {SCRIPT, IMAGE} <= {label.strip() for label in labels}
    assert len(browser.find_elements(By.TAG_NAME, "script")) == 1
    assert browser.find_elements(By.CSS_SELECTOR, "img[onerror], img:not([src^='data:'])") == []


def test_without_a_filter_every_card_is_shown_and_counted(browser: webdriver.Chrome) -> None:
    cards = shown(browser, "triplets")
    assert count(browser, "triplets") == f"{len(cards)} of {len(cards)} shown"
    assert len(cards) > 24


def test_the_sheet_filter_leaves_that_sheet(browser: webdriver.Chrome) -> None:
    num = len(shown(browser, "triplets"))
    choose(browser, "triplets", "[data-filter=sheet]", "random")
    assert [card["sheet"] for card in shown(browser, "triplets")] == ["random"] * 12
    assert count(browser, "triplets") == f"12 of {num} shown"
    headings = [one for one in browser.find_elements(By.CSS_SELECTOR, "#triplets h3") if one.is_displayed()]
    assert [one.text.startswith("A random draw") for one in headings] == [True]


def test_filters_by_kind_and_text_hold_together(browser: webdriver.Chrome) -> None:
    everything = shown(browser, "triplets")
    choose(browser, "triplets", "[data-filter=kind]", "hard")
    hard = [card for card in everything if card["kind"] == "hard"]
    assert shown(browser, "triplets") == hard
    control(browser, "triplets", "[data-search]").send_keys("ZOË")
    found = shown(browser, "triplets")
    assert found == [card for card in hard if "Zoë" in card["text"]]
    assert 0 < len(found) < len(hard) < len(everything)
    assert count(browser, "triplets") == f"{len(found)} of {len(everything)} shown"


def test_what_is_searched_is_text_and_no_pattern(browser: webdriver.Chrome) -> None:
    search = control(browser, "triplets", "[data-search]")
    search.send_keys("<script>")
    assert shown(browser, "triplets")
    search.clear()
    search.send_keys(".*")
    assert shown(browser, "triplets") == []
    assert count(browser, "triplets").startswith("0 of ")


@pytest.mark.parametrize(
    ("order", "figure", "sign"),
    [("margin", "margin", 1), ("-margin", "margin", -1), ("dAp", "dAp", 1), ("-dAn", "dAn", -1)],
)
def test_sorting_sorts_each_sheet(browser: webdriver.Chrome, order: str, figure: str, sign: int) -> None:
    choose(browser, "triplets", "[data-filter=sheet]", "random")
    as_listed = shown(browser, "triplets")
    choose(browser, "triplets", "[data-sort]", order)
    values = [sign * float(card[figure]) for card in shown(browser, "triplets")]
    assert values == sorted(values)
    choose(browser, "triplets", "[data-sort]", "")
    assert shown(browser, "triplets") == as_listed
    assert values != [sign * float(card[figure]) for card in as_listed]


def test_sorting_by_label_puts_equal_labels_together(browser: webdriver.Chrome) -> None:
    choose(browser, "triplets", "[data-filter=sheet]", "random")
    choose(browser, "triplets", "[data-sort]", "label")
    script = """return [...document.querySelectorAll("[data-sheet=random] .card")]
        .map((card) => card.querySelector(".label").textContent)"""
    labels = run_script(browser, script)
    assert sum(label != following for label, following in itertools.pairwise(labels)) == len(set(labels)) - 1


def test_the_quarantine_is_filtered_by_reason_and_treatment(browser: webdriver.Chrome) -> None:
    assert count(browser, "quarantine") == "3 of 3 shown"
    choose(browser, "quarantine", "[data-filter=reason]", "label_noise_suspect")
    assert count(browser, "quarantine") == "2 of 3 shown"
    choose(browser, "quarantine", "[data-filter=treatment]", "excluded")
    assert count(browser, "quarantine") == "0 of 3 shown"
    choose(browser, "quarantine", "[data-filter=reason]", "")
    assert [card["reason"] for card in shown(browser, "quarantine")] == ["near_duplicate_across_labels"]


@pytest.mark.parametrize("width", [390, 1280])
def test_the_page_is_as_wide_as_the_window(browser: webdriver.Chrome, width: int) -> None:
    emulate(browser, width, "light")
    assert run_script(browser, "const root = document.documentElement; return root.scrollWidth - root.clientWidth") == 0
    script = """return [...document.querySelectorAll("body *")].filter((one) => !one.closest(".wide, svg")
        && one.getBoundingClientRect().right > innerWidth + 0.5).map((one) => one.outerHTML.slice(0, 80))"""
    assert run_script(browser, script) == []


def test_the_dark_scheme_darkens_paper_and_lightens_ink(browser: webdriver.Chrome) -> None:
    script = """const style = getComputedStyle(document.body);
        return [style.backgroundColor, style.color].map((one) => one.match(/\\d+/g).slice(0, 3).map(Number))"""
    dark, bright = 60, 200
    light_paper, light_ink = run_script(browser, script)
    emulate(browser, 1280, "dark")
    dark_paper, dark_ink = run_script(browser, script)
    assert min(light_paper) > bright
    assert max(light_ink) < dark
    assert max(dark_paper) < dark
    assert min(dark_ink) > bright


def test_without_scripts_everything_is_there_to_read_and_no_dead_control_is(
    driver: webdriver.Chrome, report: Path
) -> None:
    driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        driver.get(report.as_uri())
        cards = driver.find_elements(By.CSS_SELECTOR, "#triplets .card")
        controls = driver.find_elements(By.CSS_SELECTOR, ".controls")
        assert len(cards) > 24
        assert len(controls) == 2
        assert all(card.is_displayed() for card in cards)
        assert not any(control.is_displayed() for control in controls)
    finally:
        driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})
