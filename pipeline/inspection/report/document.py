"""The HTML document: templates, what they may do with text, and what a browser may do with the page."""

import base64
import hashlib
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from pipeline.plotting import PALETTE

MAX_TEXT = 60
"""Characters of a label, a path or an id; what is longer is cut, and ends in an ellipsis."""


def fill(context: Mapping[str, Any], page: str = "report") -> bytes:
    """The page as UTF-8. All text is escaped; scripts and styles are allowed by their digests, and nothing is fetched.

    Args:
        context: What the page shows.
        page: Names its ``PAGE.html`` and ``PAGE.js``, and the ``PAGE.css`` that goes beyond the report's.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"clip": _clip, "words": _words, "date": _date, "size": _size, "percent": percent}
    sheets = dict.fromkeys(("report.css", f"{page}.css"))
    style = "".join(environment.get_template(sheet).render(palette=PALETTE) for sheet in sheets)
    script = (Path(__file__).parent / f"{page}.js").read_text(encoding="utf-8")
    policy = (
        f"default-src 'none'; img-src data:; style-src '{_digest(style)}'; script-src '{_digest(script)}'; "
        "base-uri 'none'; form-action 'none'"
    )
    # Both are this package's own files; no text that comes from data is in them.
    trusted = {"policy": policy, "style": Markup(style), "script": Markup(script)}
    return environment.get_template(f"{page}.html").render(**context, **trusted).encode()


def percent(share: float) -> str:
    """A share for people; a dash for one that is no number."""
    return f"{share:.1%}" if math.isfinite(share) else "–"


def _clip(text: str, length: int = MAX_TEXT) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"


def _words(name: str) -> str:
    """A name of the code as people write it."""
    return name.replace("semi_hard", "semi-hard").replace("_", " ")


def _date(created_at: str) -> str:
    """ISO 8601 as ``2026-11-22 10:41``, which is UTC."""
    return created_at[:16].replace("T", " ")


def _size(num_bytes: int) -> str:
    return f"{num_bytes / 1e6:,.1f} MB" if num_bytes >= 1e5 else f"{num_bytes / 1e3:,.1f} kB"


def _digest(content: str) -> str:
    """What a Content-Security-Policy names an inline script or style by."""
    return f"sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}"
