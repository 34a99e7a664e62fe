"""The dashboards of grafana/: what they ask exists, what they show is explained, and Grafana's own types take them."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from itertools import combinations
from pathlib import Path

import pytest
import yaml
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard

from actuator import promql
from actuator.promql.nodes import Aggregate, Call, Matching, Selector, String
from grafana.__main__ import DIRECTORY, rendered
from tests.dashboards import FILES, TOP, Json, Query, loaded, panels, queries

QUERIES = list(queries())
HOSTS = 'instance=~"$instance(:[0-9]+)?"'

# Numbers that are neither good nor bad by themselves, so that no limit could be drawn.
NEUTRAL = {
    "actuator": {"Mode", "Gets data", "Rules on disk in force", "Values that it would put back", "Decisions by outcome", "Decisions by rule"},
    "balloon": {
        "Lent to the hosts", "Could be lent", "Actual: what the balloon leaves", "Used: the working set", "Lent by each guest",
        "Balloons that were not read",
    },
    "cpu": {"Load of the busiest vCPUs", "Free memory by node", "Guests' memory by node"},
    "fleet": {"Guests", "Saved by KSM", "Saved by KSM on each host"},
    "hugepages": {
        "In pools", "Free for a new guest", "Covered by THP", "Pools by size", "Free by node", "Growing the pools",
        "Memory on transparent huge pages", "Guests on transparent huge pages", "Huge pages given and not given",
        "Huge pages split", "How the kernel is set",
    },
    "ksm": {
        "KSM", "Saved", "Saved and spent", "Merged pages that came apart", "Scan rate, set and done",
        "Pages by what KSM knows of them", "How it is set", "Guests by status",
    },
    "memory": {"Memory of the hosts", "Reclaim by who needs memory"},
}  # fmt: skip


def published() -> dict[str, set[str]]:
    """The labels of each metric, by the generated docs."""
    found = {}
    for page in ("metrics", "actuator-metrics"):
        for name, labels in re.findall(
            r"^\| `(kvm\w+)` \| \w+ \| ([^|]*) \|", (TOP / f"docs/{page}.md").read_text(), re.MULTILINE
        ):
            found[name] = {label.strip() for label in labels.split(",") if label.strip()} | {"instance"}
    return found


def nodes(node: object) -> Iterator[object]:
    """`node` and all that it is made of."""
    yield node
    if is_dataclass(node):
        for field in fields(node):
            yield from nodes(getattr(node, field.name))
    elif isinstance(node, tuple):
        for each in node:
            yield from nodes(each)


def subject(file: Path) -> str:
    return file.stem.removeprefix("kvmtune-")


each_file = pytest.mark.parametrize("file", FILES, ids=subject)
each_query = pytest.mark.parametrize("query", QUERIES, ids=lambda query: query.place)


def test_what_is_committed_is_what_the_code_renders() -> None:
    committed = {file.name: file.read_text() for file in FILES}
    assert committed == dict(rendered()), f"`make dashboards` writes {DIRECTORY} anew"


@each_query
def test_each_query_can_be_evaluated(query: Query) -> None:
    promql.compile(query.expr())


@each_query
def test_each_metric_and_label_exists(query: Query) -> None:
    known = published()
    made, wanted = {"host"}, set()
    metrics = set()
    for node in nodes(promql.compile(query.expr()).root):
        if isinstance(node, Selector):
            (name,) = [matcher.value for matcher in node.matchers if matcher.name == "__name__"]
            metrics.add(name)
            assert {matcher.name for matcher in node.matchers} - {"__name__"} <= known.get(name, set()), name
        elif isinstance(node, Aggregate):
            wanted |= set(node.grouping)
            made |= {node.parameter.value} if isinstance(node.parameter, String) else set()
        elif isinstance(node, Matching):
            wanted |= {*node.labels, *node.include}
        elif isinstance(node, Call) and node.function == "label_replace":
            assert isinstance(node.arguments[1], String)
            made.add(node.arguments[1].value)
    assert wanted <= made.union(*(known[metric] for metric in metrics))


@each_query
def test_each_metric_is_narrowed_to_the_hosts_chosen(query: Query) -> None:
    assert len(re.findall(r"\bkvm(?:tune)?_\w+", query.text)) == query.text.count(HOSTS) > 0


@pytest.mark.parametrize(
    ("instance", "is_chosen"),
    [("a.example:9752", True), ("a.example:9753", True), ("a.example", True), ("a.example.org:9752", False)],
)
def test_a_host_is_chosen_with_its_exporter_and_its_actuator(instance: str, is_chosen: bool) -> None:
    expr = Query("", HOSTS).expr(instance=r"a\.example")
    pattern = expr.removeprefix('instance=~"').removesuffix('"')
    assert bool(re.fullmatch(pattern, instance)) is is_chosen


@each_file
def test_each_panel_says_what_it_is_and_why_it_may_be_empty(file: Path) -> None:
    for panel in panels(loaded(file)):
        defaults = panel["fieldConfig"]["defaults"]
        assert panel["title"], panel["id"]
        assert len(panel["description"]) > 40, panel["title"]
        assert panel["description"].endswith("."), panel["title"]
        assert defaults["unit"], panel["title"]
        assert defaults["noValue"].endswith("."), panel["title"]


@each_file
def test_each_number_that_can_be_bad_has_limits(file: Path) -> None:
    without = {panel["title"] for panel in panels(loaded(file)) if not has_limits(panel)}
    assert without == NEUTRAL[subject(file)]


def has_limits(panel: Json) -> bool:
    config = panel["fieldConfig"]
    columns = [
        each["value"]
        for override in config["overrides"] or []
        for each in override["properties"]
        if each["id"] == "thresholds"
    ]
    return any(len(thresholds["steps"]) > 1 for thresholds in [config["defaults"]["thresholds"], *columns])


@each_file
def test_limits_rise(file: Path) -> None:
    for panel in panels(loaded(file)):
        first, *rest = [step.get("value") for step in panel["fieldConfig"]["defaults"]["thresholds"]["steps"]]
        assert first is None, panel["title"]
        assert rest == sorted(set(rest)), panel["title"]


@each_file
def test_legends_name_labels_that_their_query_leaves(file: Path) -> None:
    known = published()
    for panel in panels(loaded(file)):
        for target in panel["targets"]:
            expr = promql.compile(Query("", target["expr"]).expr())
            left = labels_left(expr.root, known)
            named = set(re.findall(r"\{\{(\w+)}}", target.get("legendFormat", "")))
            assert named <= left, f"{panel['title']}: {named - left}"


def labels_left(node: object, known: dict[str, set[str]]) -> set[str]:
    """Labels that the result of an expression may have."""
    if isinstance(node, Selector):
        return known[next(matcher.value for matcher in node.matchers if matcher.name == "__name__")]
    if isinstance(node, Aggregate):
        if node.op in ("topk", "bottomk"):
            return labels_left(node.operand, known)
        return set(node.grouping) | ({node.parameter.value} if isinstance(node.parameter, String) else set())
    found: set[str] = set()
    if is_dataclass(node):
        for field in fields(node):
            found |= labels_left(getattr(node, field.name), known)
    elif isinstance(node, tuple):
        for each in node:
            found |= labels_left(each, known)
    return found


@each_file
def test_panels_do_not_overlap_and_leave_no_gap(file: Path) -> None:
    placed = [panel["gridPos"] for panel in loaded(file)["panels"]]
    for one, other in combinations(placed, 2):
        apart = (
            one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
            or one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
        )  # fmt: skip
        assert apart, (one, other)
    assert all(0 <= each["x"] < each["x"] + each["w"] <= 24 for each in placed)
    cells = sum(each["w"] * each["h"] for each in placed)
    height = max(each["y"] + each["h"] for each in placed)
    assert cells == 24 * height


def test_nothing_has_the_identity_of_another() -> None:
    dashboards = [loaded(file) for file in FILES]
    assert not [uid for uid, count in Counter(each["uid"] for each in dashboards).items() if count > 1]
    for dashboard in dashboards:
        ids = [panel["id"] for panel in dashboard["panels"]]
        assert len(set(ids)) == len(ids)
        titles = [panel["title"] for panel in panels(dashboard)]
        for panel in panels(dashboard):
            refs = [target["refId"] for target in panel["targets"]]
            assert len(set(refs)) == len(refs)
        assert len(set(titles)) == len(titles)


@each_file
def test_everything_asks_the_data_source_that_is_chosen(file: Path) -> None:
    chosen = {"type": "prometheus", "uid": "${datasource}"}
    dashboard = loaded(file)
    variables = {variable["name"]: variable for variable in dashboard["templating"]["list"]}
    assert variables["datasource"]["query"] == "prometheus"
    asked = [
        *panels(dashboard),
        *dashboard["annotations"]["list"],
        *(v for v in variables.values() if v["type"] == "query"),
    ]
    targets = [target for panel in panels(dashboard) for target in panel["targets"]]
    assert all(each["datasource"] == chosen for each in [*asked, *targets])
    used = set(re.findall(r"\$(\w*[a-z]\w*)", " ".join(target["expr"] for target in targets)))
    assert used - set(variables) <= {"__rate_interval", "__interval", "__range"}


@each_file
def test_types_of_grafana_take_it_as_it_is(file: Path) -> None:
    """What they do not know would be lost on the way."""
    register_default_plugins()
    dashboard = loaded(file)
    assert json.loads(json.dumps(Dashboard.from_json(dashboard), cls=JSONEncoder)) == dashboard


def documented() -> dict[str, Json]:
    """The examples of docs/grafana.md, by the file that they are for."""
    page = (TOP / "docs/grafana.md").read_text()
    return {name: yaml.safe_load(text) for name, text in re.findall(r"^```yml\n# (\S+)\n(.*?)^```", page, re.M | re.S)}


def test_the_examples_of_provisioning_are_what_grafana_reads() -> None:
    found = documented()
    assert len(found) == 3
    (provider,) = found["/etc/grafana/provisioning/dashboards/kvmtune.yml"]["providers"]
    assert (provider["type"], set(provider)) == ("file", {"name", "folder", "type", "allowUiUpdates", "options"})
    assert Path(provider["options"]["path"]).is_absolute()
    (source,) = found["/etc/grafana/provisioning/datasources/prometheus.yml"]["datasources"]
    assert (source["type"], source["access"]) == ("prometheus", "proxy")
    assert all(page["apiVersion"] == 1 for name, page in found.items() if "provisioning" in name)
    jobs = found["/etc/prometheus/prometheus.yml"]["scrape_configs"]
    assert {job["scrape_interval"] for job in jobs} == {source["jsonData"]["timeInterval"]}


def test_each_dashboard_is_documented() -> None:
    named = re.findall(r"^\| `(kvmtune-\w+)` \|", (TOP / "docs/grafana.md").read_text(), re.M)
    assert sorted(named) == [file.stem for file in FILES]
