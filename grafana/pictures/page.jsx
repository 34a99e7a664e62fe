// Draws a dashboard on answers of Prometheus with Grafana's own published components. What Grafana does in its core, which
// is not published, is done here: placing panels, applying overrides, and marking annotations.
import { createRoot } from 'react-dom/client';
import {
  createTheme, dateTime, FieldType, getDisplayProcessor, standardTransformers, standardTransformersRegistry,
  ThemeContext, toDataFrame, transformDataFrame,
} from '@grafana/data';
import { BigValue, GlobalStyles, PanelChrome, TimeSeries, VizLegend } from '@grafana/ui';
import { TableNG } from '@grafana/ui/unstable';
import { lastValueFrom } from 'rxjs';

const WIDTH = 1600, COLUMN = WIDTH / 24, ROW = 38, GAP = 8;
const UTC = 'utc';
const theme = createTheme({ colors: { mode: 'dark' } });

const GRAPH = { // what is not set in a graph's custom options
  drawStyle: 'line', lineInterpolation: 'linear', axisPlacement: 'auto', gradientMode: 'none',
  scaleDistribution: { type: 'linear' }, hideFrom: { legend: false, tooltip: false, viz: false },
};

standardTransformersRegistry.setInit(() =>
  [standardTransformers.mergeTransformer, standardTransformers.organizeFieldsTransformer].map((transformation) => (
    { id: transformation.id, name: transformation.name, transformation: async () => transformation })));

const number = (text) => ({ NaN: NaN, '+Inf': Infinity, '-Inf': -Infinity })[text] ?? Number(text);
const named = (format, labels) => format.replace(/\{\{(\w+)}}/g, (_, name) => labels[name] ?? '');
const color = (index) => theme.visualization.getColorByName(
  theme.visualization.palette[index % theme.visualization.palette.length]);

function displayed(field, config) {
  field.config = { ...field.config, ...config };
  field.display = getDisplayProcessor({ field, theme, timeZone: UTC });
  return field;
}

// Frames of a graph or a number: time and value of each series.
function rangeFrames(panel, answers) {
  const { defaults } = panel.fieldConfig;
  const mode = panel.type === 'timeseries' ? 'palette-classic' : 'thresholds';
  const series = panel.targets.flatMap((target) => answers[target.refId].map((one) => ({ ...one, target })));
  return series.map(({ metric, values, target }, seriesIndex) => {
    const frame = toDataFrame({ refId: target.refId, fields: [
      { name: 'Time', type: FieldType.time, values: values.map(([seconds]) => seconds * 1000) },
      { name: 'Value', type: FieldType.number, values: values.map(([, text]) => number(text)), labels: metric },
    ] });
    const [time, value] = frame.fields;
    const displayName = named(target.legendFormat, metric);
    displayed(time, {});
    displayed(value, { ...defaults, displayName, color: { mode }, custom: { ...GRAPH, ...defaults.custom } });
    const real = value.values.filter(Number.isFinite);
    const [min, max] = [Math.min(...real), Math.max(...real)];
    value.state = { seriesIndex, displayName, range: { min, max, delta: max - min } };
    return frame;
  });
}

async function tableFrame(panel, answers) {
  const many = panel.targets.length > 1;
  const frames = panel.targets.map(({ refId }) => [refId, answers[refId]]).filter(([, rows]) => rows.length).map(([refId, rows]) => {
    const column = (name, type, value) => ({ name, type, values: rows.map(value) });
    const labels = Object.keys(rows[0].metric).filter((name) => name !== '__name__');
    return toDataFrame({ refId, fields: [
      column('Time', FieldType.time, ({ value }) => value[0] * 1000),
      ...labels.map((name) => column(name, FieldType.string, ({ metric }) => metric[name] ?? '')),
      column(many ? `Value #${refId}` : 'Value', FieldType.number, ({ value }) => number(value[1])),
    ] });
  });
  if (!frames.length) return null;
  const [frame] = await lastValueFrom(transformDataFrame(panel.transformations, frames));
  const { defaults, overrides } = panel.fieldConfig;
  for (const field of frame.fields) {
    field.name = field.config.displayName ?? field.name;
    const { properties = [] } = overrides.find(({ matcher }) => matcher.options === field.name) ?? {};
    const set = Object.fromEntries(properties.map(({ id, value }) => [id, value]));
    const custom = { ...defaults.custom, cellOptions: set['custom.cellOptions'] ?? { type: 'auto' } };
    displayed(field, field.type === FieldType.number ? { ...defaults, ...set, color: { mode: 'thresholds' }, custom } : { custom });
  }
  const by = frame.fields.find(({ name }) => name === panel.options.sortBy[0].displayName);
  const order = [...by.values.keys()].sort((a, b) => (by.values[b] ?? -Infinity) - (by.values[a] ?? -Infinity));
  for (const field of frame.fields) field.values = order.map((index) => field.values[index]);
  return frame;
}

function Graph({ frames, annotations, range, width, height }) {
  const items = frames.map(({ fields: [, field] }) => {
    const values = field.values.filter((value) => value != null);
    return {
      label: field.config.displayName, yAxis: 1, color: color(field.state.seriesIndex),
      getDisplayValues: () => [
        { ...field.display(values[values.length - 1]), title: 'Last' },
        { ...field.display(Math.max(...values)), title: 'Max' },
      ],
    };
  });
  const side = Math.min(width * 0.45, 470);
  return (
    <div style={{ display: 'flex', width, height }}>
      <TimeSeries frames={frames} width={width - side} height={height} timeRange={range} timeZone={UTC}
        legend={{ showLegend: false, displayMode: 'hidden', placement: 'bottom', calcs: [] }}>
        {(builder) => { builder.addHook('draw', (plot) => mark(plot, annotations)); return null; }}
      </TimeSeries>
      <div style={{ width: side, height, overflow: 'hidden' }}><VizLegend items={items} displayMode="table" placement="right" /></div>
    </div>
  );
}

function mark(plot, annotations) {
  const { ctx, bbox } = plot;
  ctx.save();
  ctx.setLineDash([4, 4]);
  for (const { time, name } of annotations) {
    const x = plot.valToPos(time, 'x', true);
    if (x < bbox.left || x > bbox.left + bbox.width) continue;
    ctx.strokeStyle = theme.visualization.getColorByName(name);
    ctx.beginPath();
    ctx.moveTo(x, bbox.top);
    ctx.lineTo(x, bbox.top + bbox.height);
    ctx.stroke();
  }
  ctx.restore();
}

function Stat({ panel, frame, width, height }) {
  const [x, y] = frame.fields;
  const { colorMode = 'value', graphMode } = panel.options;
  return <BigValue value={y.display(y.values[y.values.length - 1])} sparkline={graphMode === 'area' ? { x, y } : undefined}
    {...{ width, height, theme, colorMode, graphMode }} justifyMode="auto" textMode="value" />;
}

function Nothing({ panel }) {
  const style = { display: 'flex', height: '100%', alignItems: 'center', justifyContent: 'center', textAlign: 'center' };
  return <div style={{ ...style, padding: 16, color: theme.colors.text.secondary }}>{panel.fieldConfig.defaults.noValue}</div>;
}

function Content({ panel, answers, ...rest }) {
  if (panel.type === 'table') {
    return answers ? <TableNG data={answers} {...rest} timeRange={rest.range} cellHeight="sm" sortBy={[]} /> : <Nothing panel={panel} />;
  }
  const frames = rangeFrames(panel, answers);
  if (!frames.length) return <Nothing panel={panel} />;
  return panel.type === 'stat' ? <Stat panel={panel} frame={frames[0]} {...rest} /> : <Graph frames={frames} {...rest} />;
}

function Placed({ panel, answers, ...rest }) {
  const { x, y, w, h } = panel.gridPos;
  const width = w * COLUMN - GAP, height = h * ROW - GAP;
  return (
    <div style={{ position: 'absolute', left: x * COLUMN + GAP / 2, top: y * ROW, width, height }}>
      {panel.type === 'row' ? <div style={{ padding: 6, fontWeight: 500 }}>{panel.title}</div> : (
        <PanelChrome title={panel.title} width={width} height={height}>
          {(width, height) => <Content {...{ panel, answers, width, height }} {...rest} />}
        </PanelChrome>
      )}
    </div>
  );
}

window.draw = async (dashboard, answers) => {
  document.body.style.background = theme.colors.background.canvas;
  const [from, to] = [answers.from, answers.to].map((seconds) => dateTime(seconds * 1000));
  const annotations = dashboard.annotations.list.flatMap(({ name, iconColor }) => answers.annotations[name]
    .flatMap(({ values }) => values.map(([seconds]) => ({ time: seconds * 1000, name: iconColor }))));
  for (const panel of dashboard.panels.filter(({ type }) => type === 'table')) {
    answers.panels[panel.title] = await tableFrame(panel, answers.panels[panel.title]);
  }
  const rows = Math.max(...dashboard.panels.map(({ gridPos: { y, h } }) => y + h));
  createRoot(document.getElementById('root')).render(
    <ThemeContext.Provider value={theme}>
      <GlobalStyles />
      <div style={{ color: theme.colors.text.primary, width: WIDTH }}>
        <div style={{ fontSize: 20, padding: 12 }}>{dashboard.title}</div>
        <div style={{ position: 'relative', height: rows * ROW }}>
          {dashboard.panels.map((panel) => <Placed key={panel.id} {...{ panel, annotations }} answers={answers.panels[panel.title]}
            range={{ from, to, raw: { from, to } }} />)}
        </div>
      </div>
    </ThemeContext.Provider>,
  );
};
