// Queries Prometheus as Grafana's data source does, and returns its data frames.

import { FieldType } from "@grafana/data";

export class Query {
  /** Times are in seconds. `instance` is a regular expression. */
  constructor({ prometheus, from, to, scrape, instance }) {
    Object.assign(this, { address: prometheus, from: +from, to: +to, scrapeInterval: +scrape, instance });
  }

  async ask(path, parameters) {
    const response = await fetch(`${this.address}/api/v1/${path}?${new URLSearchParams(parameters)}`);
    const answer = await response.json();
    if (answer.status !== "success") {
      throw new Error(`${answer.error}: ${parameters.query}`);
    }
    return answer.data;
  }

  /** Returns the seconds between two points of a panel of this width. */
  step(width) {
    return Math.max(this.scrapeInterval, Math.ceil((this.to - this.from) / width));
  }

  /** Replaces the variables: all jobs and runtimes are selected. */
  fill(expr, step) {
    const values = {
      __rate_interval: `${Math.max(step + this.scrapeInterval, 4 * this.scrapeInterval)}s`,
      __interval: `${step}s`,
      __range: `${this.to - this.from}s`,
      instance: this.instance,
    };
    return expr.replace(/\$(\w+)/g, (_, name) => values[name] ?? ".+");
  }

  async series(expr, step) {
    const { from, to } = this;
    const start = Math.floor(from / step) * step;
    return (await this.ask("query_range", { query: this.fill(expr, step), start, end: to, step })).result;
  }

  /** Returns one frame for each series of a query over the range. */
  async rangeFrames(target, step) {
    return (await this.series(target.expr, step)).map(({ metric, values }) => ({
      refId: target.refId,
      length: values.length,
      fields: [
        // Without a value for longer than the interval, Grafana breaks the line.
        field("Time", FieldType.time, values.map(([time]) => time * 1000), { interval: step * 1000 }),
        {
          ...field("Value", FieldType.number, values.map(([, value]) => finite(value)),
            { displayNameFromDS: legend(target.legendFormat, metric) }),
          labels: metric,
        },
      ],
    }));
  }

  /** Returns the frame of a query for a table: one row for each series. */
  async tableFrame(target, valueName) {
    const answer = await this.ask("query", { query: this.fill(target.expr, this.scrapeInterval), time: this.to });
    const series = answer.result;
    const labels = [...new Set(series.flatMap(({ metric }) => Object.keys(metric)))].sort();
    return {
      refId: target.refId,
      length: series.length,
      fields: [
        field("Time", FieldType.time, series.map(({ value }) => value[0] * 1000)),
        ...labels.map((label) => field(label, FieldType.string, series.map(({ metric }) => metric[label] ?? ""))),
        field(valueName, FieldType.number, series.map(({ value }) => finite(value[1]))),
      ],
    };
  }

  /** Returns the time and value of the exemplars of an expression: of each step, the one with the highest value. */
  async exemplars(expr, step) {
    const { from: start, to: end } = this;
    const found = await this.ask("query_exemplars", { query: this.fill(expr, step), start, end });
    const highest = new Map();
    for (const { timestamp, value } of found.flatMap(({ exemplars }) => exemplars)) {
      const slot = Math.floor(timestamp / step);
      if (!(highest.get(slot)?.[1] >= Number(value))) {
        highest.set(slot, [timestamp * 1000, Number(value)]);
      }
    }
    return [...highest.values()];
  }
}

function field(name, type, values, config = {}) {
  return { name, type, values, config };
}

function finite(text) {
  const value = Number(text);
  return Number.isFinite(value) ? value : null;
}

function legend(format, metric) {
  if (format === "__auto") {
    const { __name__: name = "", ...labels } = metric;
    return `${name}{${Object.entries(labels).map(([key, value]) => `${key}="${value}"`).join(", ")}}`;
  }
  return format.replace(/{{\s*(\w+)\s*}}/g, (_, label) => metric[label] ?? "");
}
