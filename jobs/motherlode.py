"""Motherlode: mine triplets over a whole dataset, in a loop with training. Each job below has its own --help."""

import ast
import re
import runpy
import sys
from pathlib import Path

from jobs.help import choose

_IS_JOB = re.compile("^if __name__ ==", re.MULTILINE)


def main() -> None:
    """Runs the job that the first word of the command line names, as ``python -m jobs.JOB`` does."""
    name, arguments = choose("motherlode", "job", _jobs(), __doc__ or "")
    sys.argv = [f"motherlode {name}", *arguments]
    if not sys.flags.safe_path:  # as `python -m` does: a user's own network is named by its module
        sys.path.insert(0, str(Path.cwd()))
    runpy.run_module(f"jobs.{name}", run_name="__main__")


def _jobs() -> dict[str, str]:
    """The first line of each job's docstring, by the job's name; read, as to import them all takes seconds."""
    sources = {path.stem: path.read_text("utf-8") for path in sorted(Path(__file__).parent.glob("*.py"))}
    docs = {name: ast.get_docstring(ast.parse(text)) or name for name, text in sources.items() if _IS_JOB.search(text)}
    return {name: doc.splitlines()[0].removeprefix(f"{name.capitalize()}: ") for name, doc in docs.items()}
