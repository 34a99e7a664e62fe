"""What all dashboards share: variables, links, decisions of the actuator as annotations, and panels in rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from grafana_foundation_sdk.builders import dashboard as build
from grafana_foundation_sdk.models.dashboard import (
    Dashboard,
    DashboardCursorSync,
    DashboardLinkType,
    VariableOption,
    VariableRefresh,
    VariableSort,
)

from grafana.panels import Panel
from grafana.queries import DATA_SOURCE, query

TAG = "kvmtune"

# Outcomes that an operator wants to see on graphs, with their colors.
_ANNOTATED = {
    "Written": ("written", "blue"),
    "Would write": ("would write|paused", "purple"),
    "Went wrong": ("failed|fell short|drifted|quarantined", "red"),
}


def dashboard(
    name: str, title: str, says: str, rows: Mapping[str, Sequence[Panel]], *, knobs: str = ".+", guests: bool = False
) -> Dashboard:
    """A dashboard, `kvmtune-NAME`, of rows of panels.

    `knobs`: regular expression of those whose decisions are marked on the graphs; `guests`: whether it has a variable
    `domain` to choose some of them by.
    """
    made = (
        build.Dashboard(f"kvmtune / {title}")
        .uid(f"kvmtune-{name}")
        .description(says)
        .tags([TAG])
        .time("now-3h", "now")
        .refresh("30s")
        .tooltip(DashboardCursorSync.CROSSHAIR)
        .link(_links())
        .variables([_data_source(), _hosts(), *([_guests()] if guests else [])])
        .annotations([_decisions(what, knobs) for what in _ANNOTATED])
    )
    for head, panels in rows.items():
        made.with_row(build.Row(head))
        for panel in panels:
            made.with_panel(panel)
    whole = made.build()
    for number, placed in enumerate(whole.panels or [], start=1):
        placed.id_val = number
    return whole


def _links() -> build.DashboardLink:
    link = build.DashboardLink("kvmtune").type(DashboardLinkType.DASHBOARDS).tags([TAG])
    return link.as_dropdown(True).include_vars(True).keep_time(True)


def _data_source() -> build.DatasourceVariable:
    return build.DatasourceVariable("datasource").label("Data source").type("prometheus")


def _hosts() -> build.QueryVariable:
    # The port is left out, so that a host's exporter and its actuator are chosen together.
    return _choice("instance", "Host", "label_values(kvm_memory_total_bytes, instance)").regex(r"/^(.+?)(?::\d+)?$/")


def _guests() -> build.QueryVariable:
    return _choice("domain", "Guest", 'label_values(kvm_domain_state{instance=~"$instance(:[0-9]+)?"}, domain)')


def _choice(name: str, label: str, values: str) -> build.QueryVariable:
    everything = VariableOption(selected=True, text=["All"], value=["$__all"])
    return (
        build.QueryVariable(name)
        .label(label)
        .datasource(DATA_SOURCE)
        .query(values)
        .definition(values)
        .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(VariableSort.NATURAL_ASC)
        .multi(True)
        .include_all(True)
        .all_value(".*")
        .current(everything)
    )


def _decisions(what: str, knobs: str) -> build.AnnotationQuery:
    """Marks where the count of such decisions has grown since the step before, also from nothing."""
    outcomes, color = _ANNOTATED[what]
    counts = "sum by (instance, rule, knob, outcome) (kvmtune_actuator_decisions_total"
    chosen = f'{{outcome=~"{outcomes}",knob=~"{knobs}"}}'
    now, before = f"{counts}{chosen})", f"{counts}{chosen} offset $__interval)"
    return (
        build.AnnotationQuery()
        .name(what)
        .datasource(DATA_SOURCE)
        .enable(True)
        .icon_color(color)
        .target(query(f"{now} - ({before} or {now} * 0) > 0", "Anno").interval("10s"))
        .title_format("{{rule}}: {{outcome}}")
        .text_format("{{knob}} on {{instance}}")
        .tag_keys("knob")
    )
