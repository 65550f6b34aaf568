// A heat map. Grafana's own is not part of its packages; axes, units and colours are Grafana's.

import { useMemo } from "react";
import { formattedValueToString, getValueFormat } from "@grafana/data";
import { AxisPlacement, ScaleDirection, ScaleDistribution, ScaleOrientation } from "@grafana/schema";
import { UPlotChart, UPlotConfigBuilder, useTheme2 } from "@grafana/ui";
import { interpolateOranges } from "d3-scale-chromatic";

/** Returns the buckets of a cumulative histogram, from the lowest bound to the highest. */
function buckets(frames) {
  const sorted = frames
    .map(({ fields: [times, counts] }) => ({ bound: Number(counts.labels.le.replace("+Inf", "Infinity")), times, counts }))
    .sort((a, b) => a.bound - b.bound);
  const below = new Map();
  return sorted.map(({ bound, times, counts }) => {
    const cells = times.values.map((time, n) => {
      const count = counts.values[n] ?? 0;
      const cell = { time, count: count - (below.get(time) ?? 0) };
      below.set(time, count);
      return cell;
    });
    return { bound, cells };
  });
}

/** Returns the place of a value on an axis with one unit for each bucket. */
function place(rows, value) {
  const row = rows.findIndex(({ bound }) => value <= bound);
  const low = rows[row - 1]?.bound ?? 0;
  const { bound } = rows[row];
  return row + (Number.isFinite(bound) ? (value - low) / (bound - low) : 0.5);
}

function color(theme, options, share) {
  const strength = share ** options.exponent;
  // The scale begins at the background.
  return interpolateOranges(theme.isDark ? 1 - strength : strength);
}

export function Heatmap({ panel, frames, exemplars, range, step, width, height }) {
  const theme = useTheme2();
  const config = useMemo(() => {
    const { options } = panel;
    const rows = buckets(frames);
    const highest = Math.max(...rows.flatMap(({ cells }) => cells.map(({ count }) => count)));
    const format = getValueFormat(options.yAxis.unit);
    const builder = new UPlotConfigBuilder("utc");
    builder.addScale({
      scaleKey: "x", isTime: true, orientation: ScaleOrientation.Horizontal, direction: ScaleDirection.Right,
      range: () => range,
    });
    builder.addAxis({ scaleKey: "x", isTime: true, placement: AxisPlacement.Bottom, timeZone: "utc", theme });
    builder.addScale({
      scaleKey: "y", orientation: ScaleOrientation.Vertical, direction: ScaleDirection.Up,
      distribution: ScaleDistribution.Linear, range: () => [0, rows.length],
    });
    builder.addAxis({
      scaleKey: "y", placement: AxisPlacement.Left, theme,
      splits: () => rows.map((_, n) => n + 1).filter((n) => n % Math.ceil(rows.length / 8) === 0),
      formatValue: (n) => {
        const { bound } = rows[n - 1];
        return Number.isFinite(bound) ? formattedValueToString(format(bound, options.yAxis.decimals)) : "+Inf";
      },
    });
    builder.addSeries({ scaleKey: "y", theme, pathBuilder: () => null, pointsBuilder: () => null, lineColor: "red" });
    builder.addHook("draw", (plot) => {
      const { ctx, bbox } = plot;
      ctx.save();
      ctx.beginPath();
      ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height);
      ctx.clip();
      const gap = options.cellGap;
      rows.forEach(({ cells }, row) => cells.forEach(({ time, count }) => {
        if (count <= options.filterValues.le) {
          return;
        }
        const left = plot.valToPos(time - step * 1000, "x", true), right = plot.valToPos(time, "x", true);
        const top = plot.valToPos(row + 1, "y", true), bottom = plot.valToPos(row, "y", true);
        ctx.fillStyle = color(theme, options.color, count / highest);
        ctx.fillRect(left, top, right - left - gap, bottom - top - gap);
      }));
      ctx.fillStyle = options.exemplars.color;
      for (const [time, value] of exemplars) {
        ctx.save();
        ctx.translate(plot.valToPos(time, "x", true), plot.valToPos(place(rows, value), "y", true));
        ctx.rotate(Math.PI / 4);
        ctx.fillRect(-4, -4, 8, 8);
        ctx.restore();
      }
      ctx.restore();
    });
    return builder;
  }, [panel, frames, exemplars, range, theme]);
  return <UPlotChart config={config} data={[range, [null, null]]} width={width} height={height} />;
}
