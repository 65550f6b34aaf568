"""Plots the query results of all panels of a dashboard as one SVG file.

This does not look like Grafana. It shows that there are data, and how large
the values are.
"""

import html
import math
import re

WIDTH, ROW, GAP = 1200, 26, 8
COLORS = ["#3274d9", "#e0752d", "#56a64b", "#a352cc", "#e02f44", "#0f9fb5", "#b5880f", "#8f3bb8", "#5f6a76", "#37872d"]


def number(value, unit):
    """Returns a short text for a value with its unit."""
    if not math.isfinite(value):
        return "–"
    if unit == "percentunit":
        return f"{value * 100:.2g} %"
    if unit == "s" and value != 0:
        scale, name = next(((s, n) for s, n in [(1, "s"), (1e-3, "ms"), (1e-6, "µs")] if abs(value) >= s), (1e-6, "µs"))
        return f"{value / scale:.3g} {name}"
    return f"{value:.4g}{'/s' if unit in ('ops', 'Bps') else ''}"


def samples(series):
    return [(float(t), float(v)) for t, v in series["values"] if math.isfinite(float(v))]


def legend(target, series):
    text = re.sub(r"{{(\w+)}}", lambda m: series["metric"].get(m.group(1), ""), target["legendFormat"])
    return text if target["legendFormat"] != "__auto" else ", ".join(f"{v}" for k, v in series["metric"].items() if k != "__name__")


def text(x, y, content, size=12, color="#222", anchor="start", weight="normal"):
    return (f'<text x="{x:.0f}" y="{y:.0f}" font-size="{size}" fill="{color}" text-anchor="{anchor}" '
            f'font-weight="{weight}">{html.escape(content)}</text>')


def unit_of(target, panel):
    """Returns the unit of a target's axis."""
    for override in panel["fieldConfig"]["overrides"]:
        if override["matcher"] == {"id": "byFrameRefID", "options": target["refId"]}:
            return next(p["value"] for p in override["properties"] if p["id"] == "unit")
    return panel["fieldConfig"]["defaults"]["unit"]


def lines(x, y, w, h, drawn, panel):
    """Draws curves, with the last value of each in the legend. A curve with another unit is scaled to its highest value."""
    defaults = panel["fieldConfig"]["defaults"]
    is_log = defaults.get("custom", {}).get("scaleDistribution", {}).get("type") == "log"
    curves = [(legend(target, series), samples(series), unit_of(target, panel)) for target, result in drawn for series in result]
    curves = sorted((c for c in curves if c[1]), key=lambda c: (c[2] != defaults["unit"], -c[1][-1][1]))
    values = [v for _, points, unit in curves for _, v in points if (not is_log or v > 0) and unit == defaults["unit"]]
    times = [t for _, points, _ in curves for t, _ in points]
    if not values:
        return [text(x, y + 14, "no data", color="#c00")]
    scale = (lambda v: math.log10(max(v, min(values)))) if is_log else (lambda v: v)
    low = scale(min(values)) if is_log else min(0, min(values))
    high = max(scale(max(values)), low + 1e-9)
    begin, end = min(times), max(max(times), min(times) + 1)
    plot_height = h - 14 * min(4, len(curves)) - 4
    out = []
    for n, (name, points, unit) in enumerate(curves[:10]):
        top = high if unit == defaults["unit"] else max(*(v for _, v in points), 1e-9)
        coordinates = [f"{x + (t - begin) / (end - begin) * w:.1f},{y + plot_height - (scale(v) - low) / (top - low) * (plot_height - 4):.1f}" for t, v in points]
        color = COLORS[n % len(COLORS)]
        out.append(f'<polyline points="{" ".join(coordinates)}" fill="none" stroke="{color}" stroke-width="1.3"/>')
        if n < 4:
            out.append(text(x, y + h - 14 * (min(4, len(curves)) - n) + 10, f"{name[:int(w / 7)]}: {number(points[-1][1], unit)}", 10, color))
    out.append(text(x + w, y + 9, number(max(values), defaults["unit"]), 10, "#777", "end"))
    return out


def heatmap(x, y, w, h, result):
    """Draws the count of each bucket: darker means more."""
    by_bound = sorted(((math.inf if s["metric"]["le"] == "+Inf" else float(s["metric"]["le"])), samples(s)) for s in result)
    columns = sorted({t for _, points in by_bound for t, _ in points})
    counts, before = {}, {}
    for bound, points in by_bound:
        for t, v in points:
            counts[(t, bound)] = v - before.get(t, 0)
            before[t] = v
    highest = max(counts.values(), default=0) or 1
    cell, height = w / max(1, len(columns)), h / max(1, len(by_bound))
    out = []
    for row, (bound, _) in enumerate(by_bound):
        for column, t in enumerate(columns):
            if counts.get((t, bound), 0) > 0:
                shade = 0.15 + 0.85 * math.sqrt(counts[(t, bound)] / highest)
                out.append(f'<rect x="{x + column * cell:.1f}" y="{y + h - (row + 1) * height:.1f}" width="{cell:.1f}" height="{height:.1f}" fill="#d9480f" opacity="{shade:.2f}"/>')
        if row % 4 == 0:
            out.append(text(x + w, y + h - row * height - 1, "inf" if bound == math.inf else number(bound, "s"), 9, "#777", "end"))
    return out


def table(x, y, w, h, drawn):
    """Writes the labels and last values of the first query's series."""
    _, result = drawn[0]
    rows = sorted(((samples(s)[-1][1], s["metric"]) for s in result if samples(s)), key=lambda row: -row[0])
    out = []
    for n, (value, labels) in enumerate(rows[: int(h / 15)]):
        labels_text = "  ".join(str(v) for k, v in labels.items() if k != "__name__")
        out.append(text(x, y + 12 + n * 15, f"{value:.4g}   {labels_text}"[: int(w / 6.2)], 11))
    return out


def panel_svg(panel, drawn):
    place = panel["gridPos"]
    x, y = place["x"] * WIDTH / 24, place["y"] * ROW
    w, h = place["w"] * WIDTH / 24 - GAP, place["h"] * ROW - GAP
    out = [f'<rect x="{x:.0f}" y="{y:.0f}" width="{w:.0f}" height="{h:.0f}" fill="#fff" stroke="#ccc" rx="4"/>',
           text(x + 8, y + 16, panel["title"], 12, weight="bold")]
    inner = (x + 8, y + 24, w - 16, h - 32)
    if panel["type"] == "stat":
        values = [samples(s)[-1][1] for _, result in drawn for s in result if samples(s)]
        shown = number(values[-1], panel["fieldConfig"]["defaults"]["unit"]) if values else "no data"
        out.append(text(x + w / 2, y + h / 2 + 20, shown, 26, "#1f60c4", "middle", "bold"))
    elif panel["type"] == "heatmap":
        out += heatmap(*inner, drawn[0][1])
    elif panel["type"] == "table":
        out += table(*inner, drawn)
    else:
        out += lines(*inner, drawn, panel)
    return out


def draw(drawn, folder):
    """Writes one file per dashboard."""
    folder.mkdir(parents=True, exist_ok=True)
    for title, targets in drawn.items():
        panels = {}
        for panel, target, result in targets:
            panels.setdefault(panel["id"], (panel, []))[1].append((target, result))
        height = max((p["gridPos"]["y"] + p["gridPos"]["h"]) * ROW for p, _ in panels.values())
        body = [part for panel, of in panels.values() for part in panel_svg(panel, of)]
        name = title.split(": ")[1].replace(" ", "-")
        (folder / f"{name}.svg").write_text(
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif">'
            f'<rect width="{WIDTH}" height="{height}" fill="#f4f5f5"/>{"".join(body)}</svg>\n')
        print(f"{folder / name}.svg")
