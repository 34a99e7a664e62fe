"""The three kinds of panels, in a few lines each: a number, a graph, a table.

For all of them, `says` is what the panel shows and what to do when it looks bad, and `empty` why it may show nothing.
"""

from __future__ import annotations

import string
from collections.abc import Mapping
from dataclasses import dataclass

from grafana_foundation_sdk.builders import common as build
from grafana_foundation_sdk.builders import stat, table, timeseries
from grafana_foundation_sdk.builders.dashboard import ThresholdsConfig
from grafana_foundation_sdk.models import common
from grafana_foundation_sdk.models.dashboard import (
    DataTransformerConfig,
    DynamicConfigValue,
    Threshold,
    ThresholdsMode,
    ValueMap,
    ValueMappingResult,
)
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

from grafana.queries import DATA_SOURCE, query

Panel = stat.Panel | table.Panel | timeseries.Panel
Steps = tuple[Threshold, ...]
Words = Mapping[int, tuple[str, str]]
"""What a number means, and its color."""
YES_NO: Words = {1: ("yes", "text"), 0: ("no", "text")}
GOOD_BAD: Words = {1: ("yes", "green"), 0: ("no", "red")}

PLAIN: Steps = (Threshold(color="text"),)
"""Of numbers that are neither good nor bad."""
HEIGHT = 8


def above(*limits: float) -> Steps:
    """Green, then from each limit on: orange and red, or red."""
    colors = ["orange", "red"][-len(limits) :]
    worse = (Threshold(color=color, value=limit) for color, limit in zip(colors, limits, strict=True))
    return (Threshold(color="green"), *worse)


def below(*limits: float) -> Steps:
    """Red, then from each limit on better: below(0, 0.1) is red below 0, orange below 0.1, else green."""
    colors = [*["red", "orange"][: len(limits)], "green"]
    return tuple(Threshold(color=color, value=value) for color, value in zip(colors, (None, *limits), strict=True))


def number(
    title: str,
    expr: str,
    *,
    says: str,
    empty: str,
    unit: str = "short",
    steps: Steps = PLAIN,
    words: Words | None = None,
    width: int = 4,
) -> stat.Panel:
    """The newest value of an expression that gives one."""
    return (
        stat.Panel()
        .datasource(DATA_SOURCE)
        .title(title)
        .description(says)
        .no_value(empty)
        .unit(unit)
        .thresholds(_thresholds(steps))
        .mappings([_mapping(words)] if words else [])
        .graph_mode(common.BigValueGraphMode.NONE if words else common.BigValueGraphMode.AREA)
        .reduce_options(build.ReduceDataOptions().calcs(["lastNotNull"]))
        .with_target(query(expr).legend_format(title))
        .span(width)
        .height(4)
    )


def graph(
    title: str,
    lines: Mapping[str, str],
    *,
    says: str,
    empty: str,
    unit: str = "short",
    steps: Steps = PLAIN,
    stacked: bool = False,
    width: int = 12,
) -> timeseries.Panel:
    """`lines`: expressions by their legend, which may name labels, as in {{instance}}. Limits of `steps` are drawn."""
    limits = common.GraphThresholdsStyleMode.DASHED if len(steps) > 1 else common.GraphThresholdsStyleMode.OFF
    panel = (
        timeseries.Panel()
        .datasource(DATA_SOURCE)
        .title(title)
        .description(says)
        .no_value(empty)
        .unit(unit)
        .thresholds(_thresholds(steps))
        .thresholds_style(build.GraphThresholdsStyleConfig().mode(limits))
        .stacking(build.StackingConfig().mode(common.StackingMode.NORMAL if stacked else common.StackingMode.NONE))
        .fill_opacity(60 if stacked else 5)
        .line_width(1)
        .axis_soft_min(0)
        .show_points(common.VisibilityMode.NEVER)
        .legend(
            build.VizLegendOptions()
            .display_mode(common.LegendDisplayMode.TABLE)
            .placement(common.LegendPlacement.RIGHT)
            .show_legend(True)
            .calcs(["lastNotNull", "max"])
        )
        .tooltip(build.VizTooltipOptions().mode(common.TooltipDisplayMode.MULTI).sort(common.SortOrder.DESCENDING))
        .span(width)
        .height(HEIGHT)
    )
    for ref, (legend, expr) in zip(string.ascii_uppercase, lines.items(), strict=False):
        panel.with_target(query(expr, ref).legend_format(legend))
    return panel


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table; all expressions of one table give series with the same labels, which are columns, too."""

    expr: str
    unit: str = "short"
    steps: Steps = PLAIN
    words: Words | None = None


def grid(
    title: str,
    labels: Mapping[str, str],
    columns: Mapping[str, Column],
    *,
    says: str,
    empty: str,
    sort: str,
    width: int = 24,
) -> table.Panel:
    """Numbers of now, in rows. `labels`: head by label, of those that tell rows apart; `columns` by their head.

    `sort`: the head of the column whose highest number comes first.
    """
    refs = dict(zip(string.ascii_uppercase, columns, strict=False))
    values = {f"Value #{ref}": head for ref, head in refs.items()} if len(refs) > 1 else {"Value": sort}
    panel = (
        table.Panel()
        .datasource(DATA_SOURCE)
        .title(title)
        .description(says)
        .no_value(empty)
        .unit("short")
        .thresholds(_thresholds(PLAIN))
        .filterable(True)
        .sort_by([build.TableSortByFieldState().display_name(sort).desc(True)])
        .with_transformation(DataTransformerConfig(id_val="merge", options={}))
        .with_transformation(DataTransformerConfig(id_val="organize", options=_organized({**labels, **values})))
        .span(width)
        .height(HEIGHT)
    )
    for ref, head in refs.items():
        column = columns[head]
        panel.with_target(query(column.expr, ref).instant().format(PromQueryFormat.TABLE))
        panel.override_by_name(head, _column_options(column))
    return panel


def _organized(names: Mapping[str, str]) -> dict[str, object]:
    return {
        "excludeByName": {"Time": True},
        "indexByName": {name: index for index, name in enumerate(names)},
        "renameByName": dict(names),
    }


def _column_options(column: Column) -> list[DynamicConfigValue]:
    options: dict[str, object] = {
        "unit": column.unit,
        "noValue": "-",  # of a cell; that of the panel is for a table without rows
        "thresholds": _thresholds(column.steps).build(),
        "mappings": [_mapping(column.words)] if column.words else [],
        "custom.cellOptions": {"type": "color-text"},
    }
    return [DynamicConfigValue(id_val=name, value=value) for name, value in options.items()]


def _thresholds(steps: Steps) -> ThresholdsConfig:
    return ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps(list(steps))


def _mapping(words: Words) -> ValueMap:
    return ValueMap({str(value): ValueMappingResult(text=text, color=color) for value, (text, color) in words.items()})
