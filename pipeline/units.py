"""Quantities as people read them."""

_UNITS = ("B", "kB", "MB", "GB", "TB", "PB")


def in_bytes(number: float) -> str:
    """As 1.3 GB."""
    unit = 0
    while number >= 999.5 and unit < len(_UNITS) - 1:
        number, unit = number / 1000, unit + 1
    return f"{_three_digits(number)} {_UNITS[unit]}"


def in_time(seconds: float) -> str:
    """As 2.1 min."""
    for limit, size, unit in ((99.5, 1.0, "s"), (5970.0, 60.0, "min"), (172_000.0, 3600.0, "h")):
        if seconds < limit:
            return f"{_three_digits(seconds / size)} {unit}"
    return f"{_three_digits(seconds / 86_400)} days"


def in_count(number: float) -> str:
    """As 1.2e9 where it is long."""
    return f"{number:,.0f}" if number < 1e7 else f"{number:.2g}".replace("e+0", "e").replace("e+", "e")


def _three_digits(number: float) -> str:
    return f"{number:,.0f}" if number >= 99.5 else f"{number:.2g}" if number < 9.95 else f"{number:.0f}"
