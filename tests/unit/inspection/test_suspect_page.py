import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By

from pipeline.corpus.reader import Corpus
from pipeline.inspection.labels import suspect_page
from pipeline.inspection.labels.label_list import read_label_list
from pipeline.storage.workspace import Workspace
from tests.support.refusals import refusal
from tests.unit.corpus.samples import faces, png
from tests.unit.inspection.browser import chromium, logged, needs_chromium, resize
from tests.unit.inspection.suspect_samples import Found, command, prepared

EVIL = "<script>document.title='owned'</script><b>\"'&"


def hostile(place: Path, found: list[Found]) -> Workspace:
    """A corpus with a label that is markup: examples 0 to 2 are called EVIL, as folders may not be."""
    name = EVIL.replace("/", "\u2215")
    files = {f"{name}/{i}.png": png(i) for i in range(3)} | {f"b/{i}.png": png(10 + i) for i in range(3)}
    return prepared(place, found, files)


def write(workspace: Workspace, file: Path, *arguments: str) -> str:
    command(workspace, "--page", file, *arguments)
    return file.read_text(encoding="utf-8")


def test_every_suspect_stands_beside_examples_of_both_labels(tmp_path: Path) -> None:
    answer = command(prepared(tmp_path), "--page", tmp_path / "page.html")
    assert answer.report["page"] == {"file": str(tmp_path / "page.html"), "num_cards": 4}
    cards = (tmp_path / "page.html").read_text(encoding="utf-8").split('<li class="card"')[1:]
    shown = [[int(one) for one in re.findall(r'alt="[^"]*, example (\d+)"', card)] for card in cards]
    # Of person_2 (6, 7, 8) and person_0 (0, 1, 2), 7 and 1 are suspects themselves; and so on.
    assert shown == [[7, 6, 8, 0, 2], [1, 0, 2, 9, 11], [4, 3, 5, 6, 8], [10, 9, 11, 3, 5]]


def test_a_label_of_suspects_only_is_shown_by_these(tmp_path: Path) -> None:
    found: list[Found] = [(6, "person_0", 0.3), (7, "person_0", 0.2), (8, "person_9", 0.1)]
    page = write(prepared(tmp_path, found), tmp_path / "page.html")
    cards = page.split('<li class="card"')[1:]
    shown = [[int(one) for one in re.findall(r'alt="labelled, example (\d+)"', card)] for card in cards]
    assert shown == [[7, 8], [6, 8], [6, 7]]
    assert "no other example" in cards[2] and "no other example" not in cards[0]


def test_three_examples_are_spread_over_all_that_a_label_has(tmp_path: Path) -> None:
    page = write(prepared(tmp_path, [(0, "person_1", 1.0)], faces(2, 9)), tmp_path / "page.html")
    assert [int(one) for one in re.findall(r'alt="looks like, example (\d+)"', page)] == [9, 13, 17]


def test_the_page_loads_nothing_and_runs_only_its_own_script(tmp_path: Path) -> None:
    page = write(prepared(tmp_path), tmp_path / "page.html")
    assert set(re.findall(r'(?:src|href)="([^"]{0,11})', page)) == {"data:image/", "data:,"}
    (policy,) = re.findall(r'http-equiv="Content-Security-Policy" content="([^"]*)"', page)
    assert policy.startswith("default-src &#39;none&#39;; img-src data:;")
    assert "unsafe" not in policy


def test_suggestions_are_filled_in_at_and_above_a_score(tmp_path: Path) -> None:
    page = write(prepared(tmp_path), tmp_path / "page.html", "--accept-above", "0.5")
    assert re.findall(r'<input value="([^"]*)"', page) == ["person_0", "person_3", "person_2", ""]


def test_only_as_many_as_asked_for_are_shown_and_the_rest_is_counted(tmp_path: Path) -> None:
    page = write(prepared(tmp_path), tmp_path / "page.html", "--number", "2")
    assert page.count('<li class="card"') == 2
    assert "2 of 4 examples of corpus 0" in page


def test_a_page_without_suspects_says_so(tmp_path: Path) -> None:
    assert "No suspects." in write(prepared(tmp_path, []), tmp_path / "page.html")


def test_the_page_stays_below_its_limit_whatever_the_pictures_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {f"p{i % 4}/{i:02d}.png": png(i, size=120) for i in range(32)}
    workspace = prepared(tmp_path, [(i, f"p{(i // 8 + 1) % 4}", 1.0) for i in range(20)], files)
    whole = len(write(workspace, tmp_path / "page.html"))
    monkeypatch.setattr(suspect_page, "THUMBNAIL_CHARS", 100_000)
    small = len(write(workspace, tmp_path / "small.html"))
    assert small < 150_000 < whole < suspect_page.MAX_BYTES


def test_more_than_a_page_can_hold_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    workspace = prepared(tmp_path)
    message = refusal(lambda: write(workspace, tmp_path / "page.html", "--number", "401"))
    assert message == "a page shows at most 400 suspects: give --number 400 or fewer, or use --csv"
    monkeypatch.setattr(suspect_page, "MAX_BYTES", 1000)
    message = refusal(lambda: write(workspace, tmp_path / "page.html"))
    assert "the page would have 0 MB: give --number 2 or fewer" in message
    assert not (tmp_path / "page.html").exists()


def test_a_checkpoint_that_is_gone_is_said_to_be(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    write(prepared(tmp_path), tmp_path / "page.html")
    assert "note: checkpoint 0 is gone: pictures are cut as the config says\n" in capfd.readouterr().err


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[webdriver.Chrome, Path]]:
    """Chromium, and the folder that it saves to."""
    folder = tmp_path_factory.mktemp("downloads")
    with chromium(folder) as chrome:
        yield chrome, folder


def saved(folder: Path) -> Path:
    """The list, once the browser has written it."""
    for _ in range(100):
        found = list(folder.glob("*.csv"))
        if found:
            return found[0].rename(folder.parent / f"{time.monotonic_ns()}.csv")
        time.sleep(0.05)
    raise AssertionError("nothing was saved")


@needs_chromium
def test_what_is_written_on_the_page_can_be_saved_and_applied(
    tmp_path: Path, browser: tuple[webdriver.Chrome, Path]
) -> None:
    chrome, folder = browser
    workspace = prepared(tmp_path)
    write(workspace, tmp_path / "page.html")
    chrome.get((tmp_path / "page.html").as_uri())
    cards = chrome.find_elements(By.CSS_SELECTOR, ".card")
    output = chrome.find_element(By.TAG_NAME, "output")
    assert output.text == "0 of 4 have a new label"
    cards[0].find_element(By.TAG_NAME, "button").click()
    cards[1].find_element(By.TAG_NAME, "input").send_keys('new, "quoted" =é')
    assert output.text == "2 of 4 have a new label"
    chrome.find_element(By.CSS_SELECTOR, ".save button").click()
    assert command(workspace, "--apply", saved(folder)).report["num_changed"] == 2
    corpus = Corpus.open(workspace)
    assert [corpus.label_names[corpus.labels[example]] for example in (7, 1)] == ["person_0", 'new, "quoted" =é']
    assert logged(chrome, "browser") == []


@needs_chromium
def test_the_page_saves_the_list_that_the_command_writes(
    tmp_path: Path, browser: tuple[webdriver.Chrome, Path]
) -> None:
    chrome, folder = browser
    workspace = prepared(tmp_path)
    write(workspace, tmp_path / "page.html", "--accept-above", "0.9", "--csv", str(tmp_path / "written.csv"))
    chrome.get((tmp_path / "page.html").as_uri())
    assert chrome.find_element(By.TAG_NAME, "output").text == "1 of 4 have a new label"
    chrome.find_element(By.CSS_SELECTOR, ".save button").click()
    assert saved(folder).read_bytes() == (tmp_path / "written.csv").read_bytes()


@needs_chromium
def test_labels_are_text_on_the_page_and_in_its_list_whatever_they_hold(
    tmp_path: Path, browser: tuple[webdriver.Chrome, Path]
) -> None:
    chrome, folder = browser
    suggestions = ["=1+1", "a\r\nb", EVIL]
    workspace = hostile(tmp_path, [(i, text, 1.0 - i / 10) for i, text in enumerate(suggestions)])
    write(workspace, tmp_path / "page.html", "--accept-above", "0")
    chrome.get((tmp_path / "page.html").as_uri())
    assert "owned" not in chrome.title and chrome.find_elements(By.CSS_SELECTOR, "main b b, main p b script") == []
    texts = [element.text for element in chrome.find_elements(By.CSS_SELECTOR, ".beside .label")]
    assert EVIL.replace("/", "\u2215") in texts and EVIL in texts
    chrome.find_element(By.CSS_SELECTOR, ".save button").click()
    file = saved(folder)
    assert "'=1+1" in file.read_text(encoding="utf-8")
    assert [row.new_label for row in read_label_list(file).by_id.values()] == suggestions
    assert logged(chrome, "browser") == []


@needs_chromium
@pytest.mark.parametrize("width", [360, 1600])
def test_nothing_is_cut_off_on_phones_and_wide_screens(
    tmp_path: Path, browser: tuple[webdriver.Chrome, Path], width: int
) -> None:
    chrome, _ = browser
    write(hostile(tmp_path, [(0, "long" * 40, 1.0)]), tmp_path / "page.html")
    resize(chrome, width, 800, mobile=width < 500)
    chrome.get((tmp_path / "page.html").as_uri())
    assert chrome.execute_script("return document.documentElement.scrollWidth <= innerWidth")
    save = chrome.find_element(By.CSS_SELECTOR, ".save button")
    assert save.is_displayed() and save.rect["y"] + save.rect["height"] <= 800
    chrome.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
