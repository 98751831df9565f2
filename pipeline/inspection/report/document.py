"""Renders HTML pages: templates, their filters for text, and the page's content security policy."""

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
"""Characters of a label, a path or an id; longer text is cut, and ends in an ellipsis."""


def render_page(context: Mapping[str, Any], page: str = "report") -> bytes:
    """Renders a page as UTF-8. All text is escaped; scripts and styles are allowed by digest, and nothing is fetched.

    Args:
        context: Variables of the template.
        page: Names its ``PAGE.html`` and ``PAGE.js``, and the ``PAGE.css`` that follows the report's.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"clip": _clip, "spaced": _spaced, "date": _date, "size": _size, "percent": percent}
    sheets = dict.fromkeys(("report.css", f"{page}.css"))
    style = "".join(environment.get_template(sheet).render(palette=PALETTE) for sheet in sheets)
    script = (Path(__file__).parent / f"{page}.js").read_text(encoding="utf-8")
    policy = (
        f"default-src 'none'; img-src data:; style-src '{_digest(style)}'; script-src '{_digest(script)}'; "
        "base-uri 'none'; form-action 'none'"
    )
    # Both are this package's own files, and hold no text from data.
    trusted = {"policy": policy, "style": Markup(style), "script": Markup(script)}
    return environment.get_template(f"{page}.html").render(**context, **trusted).encode()


def percent(share: float) -> str:
    """Formats a share in per cent; NaN as a dash."""
    return f"{share:.1%}" if math.isfinite(share) else "–"


def _clip(text: str, length: int = MAX_TEXT) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"


def _spaced(name: str) -> str:
    """A name of the code with spaces."""
    return name.replace("semi_hard", "semi-hard").replace("_", " ")


def _date(created_at: str) -> str:
    """ISO 8601 as ``2026-11-22 10:41``, which is UTC."""
    return created_at[:16].replace("T", " ")


def _size(num_bytes: int) -> str:
    return f"{num_bytes / 1e6:,.1f} MB" if num_bytes >= 1e5 else f"{num_bytes / 1e3:,.1f} kB"


def _digest(content: str) -> str:
    """The digest of an inline script or style in a Content-Security-Policy."""
    return f"sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}"
