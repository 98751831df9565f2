"""The queries of the shipped dashboard and alerts, and what they ask for."""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import promql_parser as promql
import yaml

FOLDER = Path(__file__).parents[2] / "infra" / "monitoring"
DASHBOARD: dict[str, Any] = json.loads((FOLDER / "grafana_dashboard.json").read_text())
RULES: list[dict[str, Any]] = yaml.safe_load((FOLDER / "prometheus_rules.yaml").read_text())["groups"][0]["rules"]

_VARIABLES = {"$__rate_interval": "5m", "$run": ".*"}
Series = Mapping[str, Sequence[Mapping[str, str]]]
"""Labels of the series that were scraped, by metric."""


def panels() -> list[dict[str, Any]]:
    """The dashboard's, without the rows' titles."""
    return [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]


def queries() -> dict[str, str]:
    """Every query, with Grafana's variables filled in, by where it stands."""
    found = {f"alert {rule['alert']}": rule["expr"] for rule in RULES}
    for panel in panels():
        found |= {f"panel {panel['title']} {target['refId']}": target["expr"] for target in panel["targets"]}
    for variable in DASHBOARD["templating"]["list"]:
        if variable["type"] == "query":
            metric, label = re.fullmatch(r"label_values\((\w+), (\w+)\)", variable["query"]["query"]).groups()  # type: ignore[union-attr]
            found[f"variable {variable['name']}"] = f"sum by ({label}) ({metric})"
    for name, value in _VARIABLES.items():
        found = {where: query.replace(name, value) for where, query in found.items()}
    return found


def _nodes(query: str) -> list[Any]:
    """All parts of a query; raises where it is no PromQL."""
    nodes: list[Any] = []
    promql.walk(promql.parse(query), nodes.append)
    return nodes


def _selected(query: str) -> list[tuple[str, list[promql.Matcher]]]:
    """Metrics and what their labels must match."""
    selectors = (node for node in _nodes(query) if isinstance(node, promql.VectorSelector))
    return [(str(selector.name), selector.matchers.matchers) for selector in selectors]


def metric_names(query: str) -> set[str]:
    return {name for name, _ in _selected(query)}


def _matches(matcher: promql.Matcher, found: str) -> bool:
    if matcher.op in (promql.MatchOp.Equal, promql.MatchOp.NotEqual):
        return bool((matcher.value == found) == (matcher.op == promql.MatchOp.Equal))
    return bool((re.fullmatch(matcher.value, found) is not None) == (matcher.op == promql.MatchOp.Re))


def labels_that_are_missing(query: str, series: Series) -> list[str]:
    """What a query selects or groups by that no series has."""
    grouped = {
        label
        for node in _nodes(query)
        if isinstance(node, promql.AggregateExpr) and node.modifier is not None
        for label in node.modifier.labels
    }
    missing = []
    for name, matchers in _selected(query):
        found = [labels for labels in series[name] if all(_matches(by, labels.get(by.name, "")) for by in matchers)]
        if not found:
            missing.append(f"{name}: {[by.value for by in matchers]}")
        missing += [f"{name}: {label}" for label in grouped if not any(label in labels for labels in found)]
    return missing
