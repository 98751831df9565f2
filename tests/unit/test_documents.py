"""What the documents name is there: paths, links, commands; their walks follow the imports; the README's lines run."""

import ast
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support.jobs import ROOT

README, ARCHITECTURE = ROOT / "README.md", ROOT / "ARCHITECTURE.md"
DOCUMENTS = [README, ARCHITECTURE, ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
TOP_LEVEL = ("pipeline", "jobs", "infra", "tests", "docs")
SHORT_FORMS = (ROOT, ROOT / "pipeline", ROOT / "tests")
TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))

each_document = pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))


def fences(text: str) -> list[str]:
    """The blocks between three backticks."""
    return re.findall(r"^```[^\n]*\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)


def prose(text: str) -> str:
    """The text without these blocks."""
    return re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)


def spans(text: str) -> list[str]:
    """What stands between single backticks."""
    return re.findall(r"`([^`\n]+)`", prose(text))


def slugs(document: Path) -> set[str]:
    """The anchors of a document's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", prose(document.read_text()), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def named_paths(text: str) -> Iterator[str]:
    """Paths inside the repository, whole or short, that a document's code names; not those of a workspace."""
    for span in spans(text):
        path = span.partition("::")[0].rstrip("/")
        is_source = re.fullmatch(r"[\w./-]+\.(py|pyi|c)", path)
        if is_source or (re.fullmatch(r"[\w.-]+(/[\w.-]+)+", path) and path.partition("/")[0] in TOP_LEVEL):
            yield path
    for code in [*fences(text), *(span for span in spans(text) if " " in span)]:
        yield from re.findall(rf"(?<![\w./-])(?:{'|'.join(TOP_LEVEL)})(?:/[\w.-]*\w)+", code)


def is_there(path: str) -> bool:
    """Whether a path exists from the root, from the packages or from the tests; a bare name anywhere in these."""
    if "/" in path:
        return any((folder / path).exists() for folder in SHORT_FORMS)
    return any(next((ROOT / top).rglob(path), None) for top in ("pipeline", "jobs", "tests", "infra"))


@each_document
def test_every_path_that_is_named_is_there(document: Path) -> None:
    assert [path for path in named_paths(document.read_text()) if not is_there(path)] == []


@each_document
def test_every_link_leads_to_a_file_and_to_a_heading_of_it(document: Path) -> None:
    broken = []
    for link in re.findall(r"\]\(([^)\s]+)\)", prose(document.read_text())):
        if link.startswith(("http://", "https://")):
            continue
        path, _, heading = link.partition("#")
        target = document.parent / path if path else document
        if not target.exists() or (heading and heading not in slugs(target)):
            broken.append(link)
    assert broken == []


@each_document
def test_every_command_that_is_named_is_there(document: Path) -> None:
    text = document.read_text()
    code = "\n".join([*fences(text), *spans(text)])
    modules = {f"jobs.{name}" for name in re.findall(r"(?<![\w./])jobs\.([a-z_]+)", code)}
    modules |= set(re.findall(r"python -m ((?:pipeline|tests)\.[a-z_.]+)", code))
    modules |= {f"jobs.{name}" for name in re.findall(r"^motherlode ([a-z_]+)", code, flags=re.MULTILINE)}
    missing = [module for module in sorted(modules) if not (ROOT / f"{module.replace('.', '/')}.py").exists()]
    missing += [f"make {target}" for target in re.findall(r"\bmake ([a-z-]+)", code) if target not in TARGETS]
    assert missing == []


def test_the_documents_are_short() -> None:
    readme, architecture = README.read_text().splitlines(), ARCHITECTURE.read_text().splitlines()
    assert len(readme) <= 120 and len(architecture) <= 130
    assert [line for line in readme if len(line) > 130] == []


def test_the_readmes_lines_mine_triplets() -> None:
    (block,) = (code for code in fences(README.read_text()) if code.startswith("import"))
    assert sum(bool(line.strip()) for line in block.splitlines()) == 6
    names: dict[str, Any] = {}
    exec(block, names)
    found, labels = names["triplets"], names["labels"]
    assert len(found) > 1000
    np.testing.assert_array_equal(labels[found.anchor_T], labels[found.positive_T])
    assert (labels[found.anchor_T] != labels[found.negative_T]).all()
    assert ((found.d_ap_T < found.d_an_T) & (found.d_an_T < found.d_ap_T + np.float32(0.2))).all()
    columns = [name for name in spans(README.read_text()) if name.endswith("_T")]
    assert columns == list(vars(found))


def walks() -> dict[str, list[list[str]]]:
    """The numbered lists of files of each walk in ARCHITECTURE.md, by heading."""
    found: dict[str, list[list[str]]] = {}
    for section in re.split(r"^## ", ARCHITECTURE.read_text(), flags=re.MULTILINE):
        if not section.startswith("Walk"):
            continue
        lists: list[list[str]] = []
        for number, path in re.findall(r"^(\d+)\. `([^`]+)`", section, flags=re.MULTILINE):
            if number == "1":
                lists.append([])
            lists[-1].append(path)
            assert int(number) == len(lists[-1])
        found[section.partition("\n")[0]] = lists
    return found


def modules_imported(path: str) -> set[str]:
    """The modules and names that a file imports, wherever in it, by their full names."""
    names: set[str] = set()
    for node in ast.walk(ast.parse((ROOT / path).read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names


def is_reached(path: str, earlier: list[str]) -> bool:
    """Whether one of the files imports another, or one that does; C is imported by the name that it is built under."""
    sources = [file for file in earlier if file.endswith(".py")]
    if path.endswith(".py"):
        return any(path.removesuffix(".py").replace("/", ".") in modules_imported(file) for file in sources)
    extensions = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["ext-modules"]
    (name,) = (extension["name"] for extension in extensions if path in extension["sources"])
    imported = (module.replace(".", "/") + ".py" for file in sources for module in modules_imported(file))
    near = {*sources, *(file for file in imported if (ROOT / file).exists())}
    return any(f'import_module("{name}")' in (ROOT / file).read_text() for file in near)


def test_each_file_of_a_walk_is_imported_by_one_before_it() -> None:
    lists = [files for lists in walks().values() for files in lists]
    assert len(lists) >= 3
    for files in lists:
        assert [path for i, path in enumerate(files) if i and not is_reached(path, files[:i])] == []


def test_the_walks_are_short() -> None:
    block, image, triplet = walks().values()
    assert [(files[0], files[-1]) for files in block] == [
        ("jobs/mine.py", "pipeline/mining/backends/native/csrc/module.c")
    ]
    assert len(block[0]) <= 10
    assert image[0][0] == "jobs/prepare.py" and image[-1][-1] == "pipeline/embeddings/parts.py"
    (to_the_loss,) = (files for files in triplet if files[0] == "jobs/train.py")
    assert to_the_loss[-1] == "pipeline/training/loss.py" and len(to_the_loss) <= 8
