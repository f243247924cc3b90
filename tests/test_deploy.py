"""The rules for Prometheus and the dashboard for Grafana ask for what the monitor really has."""

import itertools
import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.processes.service import ROOT
from workers.monitor_metric_table import METRICS

DEPLOY = ROOT / "deploy"
ALERTS_TEST = ROOT / "tests" / "alerts_test.yml"
# Prometheus adds the first two.
COMMON_LABELS = {"job", "instance", "le"}
METRIC_NAMES = {name: metric for metric in METRICS for name in metric.exposed}
KNOWN_LABELS = COMMON_LABELS.union(*(metric.labels for metric in METRICS))
OF_PROMETHEUS = {"up", "ALERTS"}
METRIC = re.compile(r"\b(?:twitch_\w+|up|ALERTS)\b(?:\{([^}]*)\})?")
GROUPING = re.compile(r"\b(?:by|on|ignoring|without) \(([^)]*)\)")


def rules() -> list[dict[str, Any]]:
    found = yaml.safe_load((DEPLOY / "alerts.yml").read_text())
    return [rule for group in found["groups"] for rule in group["rules"]]


def dashboard() -> Any:
    return json.loads((DEPLOY / "grafana-dashboard.json").read_text())


def panels() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = dashboard()["panels"]
    return found


def expressions() -> Iterator[tuple[str, str]]:
    """Where it stands, and the expression."""
    for rule in rules():
        yield rule["alert"], rule["expr"]
    for panel in panels():
        for target in panel.get("targets", []):
            yield f"{panel['title']} {target['refId']}", target["expr"]
    for variable in dashboard()["templating"]["list"]:
        if variable["type"] == "query":
            metric, _, label = (
                variable["query"]["query"].removeprefix("label_values(").removesuffix(")").partition(", ")
            )
            yield variable["name"], f"count by ({label}) ({metric})"
    for annotation in dashboard()["annotations"]["list"]:
        if "expr" in annotation:
            yield annotation["name"], annotation["expr"]


def names_in(expression: str) -> Iterator[tuple[str, set[str]]]:
    """Every metric of an expression, with the labels that it is chosen by."""
    # What is within quotes is a value, or a label that is made.
    bare = re.sub(r'"[^"]*"', '""', expression)
    for found in METRIC.finditer(bare):
        yield found[0].partition("{")[0], set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", found[1] or ""))


def tool(name: str, package: str) -> str:
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not on PATH; on Debian: apt-get install {package}")
    return found


def run(*command: str, cwd: Path = DEPLOY) -> str:
    done = subprocess.run(
        command,
        cwd=cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.mark.parametrize(
    ("where", "expression"), [pytest.param(*one, id=one[0].replace(" ", "-")) for one in expressions()]
)
def test_an_expression_asks_for_metrics_and_labels_that_the_monitor_has(where: str, expression: str) -> None:
    names = list(names_in(expression))
    assert names, where
    for name, labels in names:
        if name in OF_PROMETHEUS:
            continue
        assert name in METRIC_NAMES
        metric = METRIC_NAMES[name]
        allowed = {*metric.labels, "job", "instance"} | ({"le"} if name.endswith("_bucket") else set())
        assert labels <= allowed
    for grouping in GROUPING.findall(expression):
        assert set(filter(None, re.split(r"[\s,]+", grouping))) <= KNOWN_LABELS


def test_every_metric_is_shown_on_the_dashboard() -> None:
    shown = {
        name
        for panel in panels()
        for target in panel.get("targets", [])
        for name, _ in names_in(target["expr"])
    }
    for metric in METRICS:
        assert shown & set(metric.exposed), metric.name


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule["alert"])
def test_an_alert_has_a_severity_and_says_what_to_do(rule: dict[str, Any]) -> None:
    assert rule["labels"]["severity"] in ("critical", "warning")
    assert set(rule["annotations"]) == {"summary", "description"}
    assert len(rule["annotations"]["description"]) > 50
    for text in rule["annotations"].values():
        assert set(re.findall(r"\$labels\.(\w+)", text)) <= KNOWN_LABELS


def test_every_alert_has_a_scenario_in_which_it_fires() -> None:
    scenarios = yaml.safe_load(ALERTS_TEST.read_text())["tests"]
    fired = {
        found
        for scenario in scenarios
        for test in scenario["promql_expr_test"]
        for sample in test.get("exp_samples", [])
        for found in re.findall(r'alertname="(\w+)"', sample["labels"])
    }
    assert fired == {rule["alert"] for rule in rules()}


def test_the_scenarios_feed_the_alerts_with_metrics_that_the_monitor_has() -> None:
    for scenario in yaml.safe_load(ALERTS_TEST.read_text())["tests"]:
        for series in scenario["input_series"]:
            ((name, labels),) = names_in(series["series"])
            if name not in OF_PROMETHEUS:
                le = {"le"} if name.endswith("_bucket") else set()
                assert labels == {*METRIC_NAMES[name].labels} | le


def test_the_job_that_is_scraped_is_the_one_of_the_rules() -> None:
    configuration = yaml.safe_load((DEPLOY / "prometheus.yml").read_text())
    (scrape,) = configuration["scrape_configs"]
    asked = {job for _, expression in expressions() for job in re.findall(r'job="([^"]*)"', expression)}
    assert asked == {scrape["job_name"]}
    assert configuration["rule_files"] == ["alerts.yml"]


def test_prometheus_takes_the_rules_and_its_configuration() -> None:
    promtool = tool("promtool", "prometheus")
    run(promtool, "check", "rules", "alerts.yml")
    run(promtool, "check", "config", "prometheus.yml")


def test_each_alert_fires_when_it_should_and_none_for_a_healthy_service() -> None:
    run(tool("promtool", "prometheus"), "test", "rules", str(ALERTS_TEST))


def test_prometheus_understands_the_expressions_of_the_dashboard(tmp_path: Path) -> None:
    promtool = tool("promtool", "prometheus")
    values = {"$__rate_interval": "1m", "$__range": "1h", "$channel": "alpha"}
    recorded = []
    for number, (_, expression) in enumerate(expressions()):
        for name, value in values.items():
            expression = expression.replace(name, value)
        recorded.append({"record": f"expression_{number}", "expr": expression})
    (tmp_path / "rules.yml").write_text(yaml.safe_dump({"groups": [{"name": "all", "rules": recorded}]}))
    run(promtool, "check", "rules", str(tmp_path / "rules.yml"))


def test_the_dashboard_can_be_imported_wherever_prometheus_is() -> None:
    found = dashboard()
    assert found["id"] is None
    assert found["schemaVersion"] >= 39
    assert found["refresh"] == "10s"
    variables = {variable["name"]: variable for variable in found["templating"]["list"]}
    assert variables["datasource"]["type"] == "datasource"
    assert variables["channel"]["multi"]
    assert variables["channel"]["includeAll"]
    sources = [panel["datasource"] for panel in panels() if panel["type"] != "row"]
    sources += [target["datasource"] for panel in panels() for target in panel.get("targets", [])]
    assert all(source == {"type": "prometheus", "uid": "${datasource}"} for source in sources)
    needed = {panel["type"] for panel in panels()} - {"row"}
    assert needed == {one["id"] for one in found["__requires"] if one["type"] == "panel"}


def test_every_panel_has_a_number_a_title_a_description_a_unit_and_legends() -> None:
    numbers = [panel["id"] for panel in panels()]
    assert len(set(numbers)) == len(numbers)
    for panel in panels():
        assert panel["title"]
        if panel["type"] == "row":
            continue
        assert panel["description"].endswith(".")
        assert panel["type"] == "state-timeline" or panel["fieldConfig"]["defaults"]["unit"]
        legends = [target["legendFormat"] for target in panel["targets"]]
        assert panel["type"] == "stat" or all(legends)
        assert set(re.findall(r"\{\{(\w+)\}\}", " ".join(legends))) <= KNOWN_LABELS


def test_no_panel_lies_upon_another_or_beside_the_dashboard() -> None:
    places = [(panel["title"], panel["gridPos"]) for panel in panels()]
    for title, place in places:
        assert 0 <= place["x"] < place["x"] + place["w"] <= 24, title
        assert place["h"] > 0
    for (title, one), (other_title, other) in itertools.combinations(places, 2):
        beside = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        above = one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
        assert beside or above, (title, other_title)
