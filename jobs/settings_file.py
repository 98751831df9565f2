"""The file that ``--config`` names: plain YAML, a page or so of it."""

from pathlib import Path
from typing import Any

import yaml

from pipeline.errors import InputError

MAX_BYTES = 2**20


class _PlainLoader(yaml.SafeLoader):
    """Data only, and every value written out: with aliases, a few lines can stand for gigabytes."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
            raise yaml.composer.ComposerError(None, None, "aliases are not taken: write the value out", mark)
        return super().compose_node(parent, index)


def read_settings(path: Path) -> dict[str, Any]:
    """Reads settings; what they mean is judged elsewhere.

    Raises:
        InputError: The file cannot be read, is too large, or holds anything but settings.
    """
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise InputError(f"--config {path} cannot be read ({error.strerror}): name an existing YAML file") from None
    if len(content) > MAX_BYTES:
        raise InputError(f"--config {path} has more than {MAX_BYTES:,} bytes: settings are a page or so of YAML")
    try:
        document = yaml.load(content.decode(), _PlainLoader)
    except yaml.MarkedYAMLError as error:  # its own words quote the lines around, which may be private
        line = 1 if error.problem_mark is None else error.problem_mark.line + 1
        raise InputError(f"--config {path} is not YAML (line {line}: {error.problem})") from None
    except (yaml.YAMLError, ValueError) as error:  # among the latter: text that is not UTF-8, a 13th month
        raise InputError(f"--config {path} is not YAML ({' '.join(str(error).split())})") from None
    except RecursionError:
        raise InputError(f"--config {path} is nested too deeply to be settings") from None
    if document is None:
        return {}
    if not isinstance(document, dict):
        raise InputError(f"--config {path} holds a {type(document).__name__}, not settings: write `key: value` lines")
    if odd := [key for key in document if not isinstance(key, str)]:
        raise InputError(f"--config {path}: the key {odd[0]!r} is no name of a setting")
    return document
