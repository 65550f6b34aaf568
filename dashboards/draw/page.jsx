// Draws one dashboard with Grafana's components.

import { useLayoutEffect } from "react";
import { createRoot } from "react-dom/client";
import { firstValueFrom } from "rxjs";
import {
  FieldConfigOptionsRegistry, ThemeContext, applyFieldOverrides, cacheFieldDisplayNames, createDataFrame, createTheme,
  dateTime, getFieldDisplayValues, standardTransformers, standardTransformersRegistry, transformDataFrame,
} from "@grafana/data";
import { BigValue, GlobalStyles, PanelChrome, TimeSeries, useTheme2 } from "@grafana/ui";
import { TableNG } from "@grafana/ui/unstable";
import { Heatmap } from "./heatmap.jsx";
import { Query } from "./prometheus.js";

const COLUMNS = 24, CELL = 30, GAP = 8, PADDING = 16, HEADER = 48;

const settings = Object.fromEntries(new URLSearchParams(location.search));
const query = new Query(settings);
const theme = createTheme({ colors: { mode: settings.theme } });
const range = [query.from * 1000, query.to * 1000];
const timeRange = { from: dateTime(range[0]), to: dateTime(range[1]), raw: { from: "", to: "" } };

// One of them has two names.
standardTransformersRegistry.setInit(() => [...new Set(Object.values(standardTransformers))].map((transformation) => ({
  id: transformation.id, name: transformation.name, transformation: async () => transformation,
})));

/** Replaces the variables in the URL of a data link. */
const replaceVariables = (text, scope) =>
  text.replace(/\${__value\.text}/g, () => scope?.__dataContext?.value?.calculatedValue?.text ?? "");

/** Returns a registry of the options that a panel sets. */
function optionsOf({ defaults, overrides }) {
  const ids = [
    "displayName", "unit", "min", "max", "decimals", "color", "links", "thresholds", "mappings", "noValue",
    ...Object.keys(defaults.custom ?? {}).map((key) => `custom.${key}`),
    ...overrides.flatMap(({ properties }) => properties.map(({ id }) => id)),
  ];
  return new FieldConfigOptionsRegistry(() => [...new Set(ids)].map((id) => ({
    id, name: id, path: id.replace(/^custom\./, ""), isCustom: id.startsWith("custom."),
    process: (value) => id === "thresholds" ? withoutNull(value) : value, shouldApply: () => true,
  })));
}

/** JSON has no infinity: the limit of the first threshold is null. */
function withoutNull(thresholds) {
  return thresholds && { ...thresholds, steps: thresholds.steps.map((one) => ({ ...one, value: one.value ?? -Infinity })) };
}

function withOptions(panel, frames) {
  const { fieldConfig } = panel;
  const changed = applyFieldOverrides({
    data: frames, fieldConfig, fieldConfigRegistry: optionsOf(fieldConfig), replaceVariables, theme, timeZone: "utc",
  });
  cacheFieldDisplayNames(changed);
  return changed;
}

/** Runs the queries of a panel, its transformations and its overrides. */
async function load(panel, width) {
  const step = query.step(width);
  const several = panel.targets.length > 1;
  const frames = (await Promise.all(panel.targets.map((target) => target.format === "table"
    ? query.tableFrame(target, several ? `Value #${target.refId}` : "Value")
    : query.rangeFrames(target, step)))).flat().map(createDataFrame);
  const transformed = await firstValueFrom(transformDataFrame(panel.transformations ?? [], frames));
  const exemplars = panel.type === "heatmap" ? await query.exemplars(panel.targets[0].expr, step) : [];
  return { panel, step, exemplars, frames: withOptions(panel, transformed) };
}

/** Returns the times of an annotation: begin, end, colour. */
async function annotations(dashboard) {
  const shown = dashboard.annotations.list.filter(({ builtIn, enable }) => enable && !builtIn);
  const all = await Promise.all(shown.map(async ({ expr, iconColor, step = "60s" }) => {
    const seconds = Math.max(parseInt(step), query.scrapeInterval);
    return (await query.series(expr, seconds)).flatMap(({ values }) => regions(values, seconds)
      .map(([begin, end]) => [begin * 1000, end * 1000, theme.visualization.getColorByName(iconColor)]));
  }));
  return all.flat();
}

/** Joins the points that follow each other. */
function regions(values, step) {
  const found = [];
  for (const [time] of values.filter(([, value]) => Number(value))) {
    const last = found.at(-1);
    if (last && time - last[1] <= step) {
      last[1] = time;
    } else {
      found.push([time, time]);
    }
  }
  return found;
}

function Annotations({ config, marks }) {
  useLayoutEffect(() => config.addHook("draw", (plot) => {
    const { ctx, bbox } = plot;
    ctx.save();
    for (const [begin, end, color] of marks) {
      const [left, right] = [begin, end].map((time) => plot.valToPos(Math.max(time, range[0]), "x", true));
      ctx.fillStyle = ctx.strokeStyle = color;
      ctx.globalAlpha = 0.1;
      ctx.fillRect(left, bbox.top, right - left, bbox.height);
      ctx.globalAlpha = 1;
      ctx.fillRect(left, bbox.top + bbox.height, Math.max(right - left, 4), 4);
      ctx.setLineDash([5, 5]);
      for (const x of begin === end ? [left] : [left, right]) {
        ctx.beginPath();
        ctx.moveTo(x, bbox.top);
        ctx.lineTo(x, bbox.top + bbox.height);
        ctx.stroke();
      }
    }
    ctx.restore();
  }), [config, marks]);
  return null;
}

function Stat({ panel, frames, width, height }) {
  const { options, fieldConfig } = panel;
  const [shown] = getFieldDisplayValues({
    data: frames, fieldConfig, reduceOptions: options.reduceOptions, replaceVariables, sparkline: true, theme, timeZone: "utc",
  });
  return <BigValue {...options} count={1} height={height} sparkline={{ ...shown.sparkline, timeRange }} theme={theme}
    value={shown.display} width={width} />;
}

function Lines({ panel, frames, marks, width, height }) {
  return <TimeSeries frames={frames} height={height} legend={panel.options.legend} timeRange={timeRange} timeZone="utc"
    width={width}>
    {(config) => <Annotations config={config} marks={marks} />}
  </TimeSeries>;
}

function Content({ loaded, marks, width, height }) {
  const { panel, frames } = loaded;
  if (frames.every(({ length }) => length === 0)) {
    return <div style={{ textAlign: "center", paddingTop: height / 2 - 16 }}>
      {panel.fieldConfig.defaults.noValue ?? "No data"}
    </div>;
  }
  switch (panel.type) {
    case "stat":
      return <Stat frames={frames} height={height} panel={panel} width={width} />;
    case "timeseries":
      return <Lines frames={frames} height={height} marks={marks} panel={panel} width={width} />;
    case "heatmap":
      return <Heatmap {...loaded} height={height} range={range} width={width} />;
    case "table":
      return <TableNG {...panel.options} data={frames[0]} fieldConfig={panel.fieldConfig} height={height}
        timeRange={timeRange} width={width} />;
  }
}

function Row({ title }) {
  const { typography } = useTheme2();
  return <div style={{ ...typography.h6, fontSize: 16, paddingTop: 4 }}>⌄&nbsp; {title}</div>;
}

function Page({ dashboard, panels, marks, size }) {
  const { colors, typography } = useTheme2();
  return <div style={{ background: colors.background.canvas, height: size.height, position: "relative" }}>
    <div style={{ ...typography.h3, margin: 0, padding: `10px ${PADDING}px` }}>{dashboard.title}</div>
    {panels.map(({ panel, box, loaded }) =>
      <div key={panel.id} style={{ position: "absolute", ...box }}>
        {panel.type === "row" ? <Row title={panel.title} />
          : <PanelChrome description={panel.description} height={box.height} title={panel.title} width={box.width}>
            {(width, height) => <Content height={height} loaded={loaded} marks={marks} width={width} />}
          </PanelChrome>}
      </div>)}
  </div>;
}

/** Returns the place of a panel on the page, as in Grafana's grid. */
function boxOf({ gridPos: { x, y, w, h } }) {
  const column = (innerWidth - 2 * PADDING + GAP) / COLUMNS;
  return {
    left: PADDING + x * column, top: HEADER + y * (CELL + GAP), width: w * column - GAP, height: h * (CELL + GAP) - GAP,
  };
}

async function main() {
  const dashboard = await (await fetch(`/dashboards/${settings.dashboard}.json`)).json();
  const panels = await Promise.all(dashboard.panels.map(async (panel) => {
    const box = boxOf(panel);
    return { panel, box, loaded: panel.type === "row" ? null : await load(panel, box.width) };
  }));
  const height = Math.max(...panels.map(({ box }) => box.top + box.height)) + PADDING;
  const marks = await annotations(dashboard);
  await Promise.all(["12px Inter", "500 12px Inter"].map((font) => document.fonts.load(font)));
  createRoot(document.body).render(
    <ThemeContext.Provider value={theme}>
      <GlobalStyles />
      <Page dashboard={dashboard} marks={marks} panels={panels} size={{ height }} />
    </ThemeContext.Provider>);
  document.body.dataset.height = height;
}

main().catch((error) => {
  document.body.dataset.error = error.stack;
});
