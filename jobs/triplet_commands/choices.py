"""Flags that choose triplets of a generation."""

import argparse

from pipeline.inspection.query.rows import ORDERS, ROLES, Order, TripletQuery
from pipeline.triplets.schema import KINDS


def add_query_flags(parser: argparse.ArgumentParser, order: Order) -> None:
    """Filters and order.

    Args:
        parser: Of the command.
        order: Default.
    """
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
