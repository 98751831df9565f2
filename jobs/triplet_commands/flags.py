"""Flags that several commands have: numbers, which generation, which of its triplets."""

import argparse

from pipeline.inspection.query.rows import ORDERS, ROLES, Order, TripletQuery
from pipeline.triplets.schema import KINDS


def positive(text: str) -> int:
    """A whole number from 1 on."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number from 1 on")
    return int(text)


def add_generation(parser: argparse.ArgumentParser) -> None:
    """Which generation to look into."""
    parser.add_argument("--generation", type=int, metavar="N", help="which one (default: the newest)")


def add_query_flags(parser: argparse.ArgumentParser, order: Order) -> None:
    """Filters of triplets, and their order, ``order`` where none is given."""
    parser.add_argument(
        "--order",
        choices=ORDERS,
        default=order,
        help="hardest: smallest d_an - d_ap first; closest: smallest d_an first; random: by --seed, always the same "
        f"(default: {order})",
    )
    parser.add_argument("--kind", choices=KINDS, help="only triplets of this kind, for the margin of the band")
    parser.add_argument("--label", help="only anchors of this label")
    for role in ROLES:
        parser.add_argument(f"--{role}", type=int, metavar="ID", help=f"only triplets with this example as {role}")
    parser.add_argument("--example", type=int, metavar="ID", help="only triplets with this example in any role")


def query_of(flags: argparse.Namespace, seed: int, limit: int | None) -> TripletQuery:
    """The query of the flags."""
    filters = {name: getattr(flags, name) for name in ("kind", "label", *ROLES, "example")}
    return TripletQuery(flags.order, **filters, seed=seed, limit=limit)
