"""The parts of all dashboards."""

DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}

# The selectors of every expression; `R` is for metrics with a runtime.
M = 'job=~"$job", instance=~"$instance"'
R = M + ', runtime=~"$runtime"'

RATE = "[$__rate_interval]"


def rate(metric, select=M):
    """Returns the rate of a counter."""
    return f"rate({metric}{{{select}}}{RATE})"


def p(quantile, histogram, by=(), select=M):
    """Returns a quantile of a histogram, by labels. It is empty while nothing is observed."""
    labels = ", ".join([*by, "le"])
    # Without `> 0`, the legend has a line for each series without observations.
    return f"histogram_quantile({quantile}, sum by ({labels}) ({rate(histogram + '_bucket', select)})) > 0"


def steps(*limits):
    """Returns thresholds: a colour, then pairs of a limit and the colour above it."""
    first, *rest = limits
    pairs = zip(rest[::2], rest[1::2])
    values = [{"color": first, "value": None}] + [{"color": color, "value": limit} for limit, color in pairs]
    return {"mode": "absolute", "steps": values}


NO_LIMITS = steps("green")
# What an axis shows at least, by unit. Otherwise Grafana shows 0 to 100 if all values are 0: 100 s, or 10,000 %.
SMALLEST_AXIS = {"percentunit": 0.01, "s": 0.001, "Bps": 1000}
# The limits of dashed lines and warning colours; docs/runbook.md has the reasons.
LOST_LIMITS = steps("green", 0.01, "orange", 0.05, "red")
DELAY_LIMITS = steps("green", 0.005, "orange", 0.05, "red")
BUSY_LIMITS = steps("green", 0.7, "orange", 0.9, "red")


def query(expr, legend="", **more):
    """Returns one expression with its legend."""
    return {"datasource": DATASOURCE, "editorMode": "code", "expr": expr, "legendFormat": legend or "__auto",
            "range": True, "instant": False, **more}


def rows(expr):
    """Returns one expression for a table. Several are merged by their labels, so they must not have a metric's name."""
    return query(expr, format="table", instant=True, range=False)


FINDINGS_LINK = {"title": "Findings of this instance", "url": "http://${__value.text}/findings.txt", "targetBlank": True}
PAGE_LINK = {"title": "Live page of this instance", "url": "http://${__value.text}/", "targetBlank": True}


def column(name, **properties):
    """Returns the display options of a table's column."""
    return {"matcher": {"id": "byName", "options": name},
            "properties": [{"id": key.replace("__", "."), "value": value} for key, value in properties.items()]}


def gauge(name, **properties):
    """Returns the options of a column with bars, the longest for its own highest value."""
    return column(name, custom__cellOptions={"type": "gauge", "mode": "basic"}, min=0, fieldMinMax=True, **properties)


# What an empty panel says. An instance exports no series of what has never happened, so "No data" would be normal.
NO_STALLS, NO_CALLS, NO_CANARY, NO_LINTS = (
    f"no {what} exported" for what in ["stalls", "calls of loopscope::spawn_blocking", "canary", "lints"])


class Board:
    """A dashboard that lays out its panels from left to right."""

    def __init__(self, name, title, description, runtime=True):
        self.uid = f"loopscope-{name}"
        self.title = f"loopscope: {title}"
        self.description = description
        self.runtime = runtime
        self.panels = []
        self.annotations = [builtin(), alerts()]
        self.x = self.y = self.height = 0

    def row(self, title):
        self.y += self.height
        self._add({"type": "row", "title": title, "collapsed": False, "panels": []}, 24, 1)

    def stat(self, title, description, unit, expr, thresholds, width=4, decimals=None):
        self._panel("stat", title, description, [query(expr, title)], {
            "unit": unit, "decimals": decimals, "min": 0, "noValue": "no data", "thresholds": thresholds,
            "color": {"mode": "thresholds"},
        }, {
            "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False}, "colorMode": "background",
            "graphMode": "area", "textMode": "value", "justifyMode": "auto", "orientation": "auto",
        }, width, 4)

    def lines(self, title, description, unit, queries, width=8, height=8, stack=False, thresholds=None, log=False,
              right=None, decimals=None, signed=False, empty=None):
        is_count = unit == "none"
        custom = {
            "drawStyle": "line", "lineInterpolation": "linear", "lineWidth": 1, "fillOpacity": 60 if stack else 0,
            # "auto" also draws a single point between two gaps.
            "showPoints": "never" if stack else "auto", "pointSize": 3, "spanNulls": False, "axisSoftMin": 0,
            "axisSoftMax": SMALLEST_AXIS.get(unit, 1),
            "stacking": {"mode": "normal" if stack else "none", "group": "A"},
            "thresholdsStyle": {"mode": "dashed" if thresholds else "off"},
            "scaleDistribution": {"type": "log", "log": 10} if log else {"type": "linear"},
        }
        # A query with another unit gets the right axis.
        overrides = [] if right is None else [{
            "matcher": {"id": "byFrameRefID", "options": right[0]},
            "properties": [{"id": "unit", "value": right[1]}, {"id": "custom.axisPlacement", "value": "right"},
                           {"id": "custom.drawStyle", "value": "bars"}, {"id": "custom.fillOpacity", "value": 40},
                           {"id": "custom.lineWidth", "value": 0},
                           {"id": "color", "value": {"mode": "fixed", "fixedColor": "semi-dark-purple"}},
                           # The thresholds are in the unit of the left axis.
                           {"id": "custom.axisSoftMax", "value": SMALLEST_AXIS[right[1]]},
                           {"id": "custom.thresholdsStyle", "value": {"mode": "off"}}],
        }]
        self._panel("timeseries", title, description, queries, {
            "unit": unit, "min": None if log or signed else 0, "decimals": 0 if is_count else decimals, "custom": custom, "noValue": empty,
            "thresholds": thresholds or NO_LIMITS, "color": {"mode": "palette-classic"},
        }, {
            # The legend has room for a few lines and scrolls, so it begins with the highest.
            "legend": {"displayMode": "table", "showLegend": True, "sortBy": "Max", "sortDesc": True,
                       "calcs": ["lastNotNull" if is_count else "mean", "max"],
                       **({"placement": "right", "width": 320 if width < 24 else 520} if width >= 12 else {"placement": "bottom"})},
            "tooltip": {"mode": "multi", "sort": "desc"},
        }, width, height, overrides)

    def heatmap(self, title, description, expr, width=8, height=8):
        self._panel("heatmap", title, description, [query(expr, "{{le}}", format="heatmap")], {
            "unit": "s", "custom": {"scaleDistribution": {"type": "linear"}}, "thresholds": NO_LIMITS,
        }, {
            "calculate": False, "cellGap": 1, "cellValues": {"unit": "none"}, "filterValues": {"le": 1e-9},
            "color": {"mode": "scheme", "scheme": "Oranges", "steps": 64, "exponent": 0.5, "fill": "dark-orange",
                      "reverse": False, "scale": "exponential"},
            "exemplars": {"color": "rgba(255,0,255,0.7)"}, "legend": {"show": True}, "rowsFrame": {"layout": "auto"},
            "tooltip": {"show": True, "yHistogram": False}, "yAxis": {"unit": "s", "axisPlacement": "left"},
        }, width, height)

    def table(self, title, description, unit, expressions, names, columns=(), sort=None, width=24, height=9, empty=None):
        """`names` has the title of each column, in order; a column without a title is hidden."""
        transformations = [{"id": "merge", "options": {}}] if len(expressions) > 1 else []
        transformations.append({"id": "filterFieldsByName", "options": {"include": {"names": list(names)}}})
        transformations.append({"id": "organize", "options": {
            "excludeByName": {}, "indexByName": {key: n for n, key in enumerate(names)}, "renameByName": names}})
        if sort:
            transformations.append({"id": "sortBy", "options": {"sort": [{"field": sort, "desc": True}]}})
        self._panel("table", title, description, [rows(expr) for expr in expressions], {
            "unit": unit, "custom": {"align": "auto", "filterable": True}, "noValue": empty, "thresholds": NO_LIMITS,
        }, {"showHeader": True, "cellHeight": "sm", "footer": {"show": False}}, width, height, list(columns),
            transformations)

    def _panel(self, kind, title, description, queries, defaults, options, width, height, overrides=(),
               transformations=None):
        for letter, target in zip("ABCDEFGHIJ", queries):
            target["refId"] = letter
        panel = {"type": kind, "title": title, "description": description, "datasource": DATASOURCE,
                 "targets": queries, "fieldConfig": {"defaults": {k: v for k, v in defaults.items() if v is not None},
                                                     "overrides": list(overrides)}, "options": options}
        if transformations:
            panel["transformations"] = transformations
        self._add(panel, width, height)

    def _add(self, panel, width, height):
        if self.x + width > 24 or panel["type"] == "row":
            if panel["type"] != "row":
                self.y += self.height
            self.x, self.height = 0, 0
        place = {"h": height, "w": width, "x": self.x, "y": self.y}
        self.panels.append({"id": len(self.panels) + 1, "gridPos": place, **panel})
        self.x, self.height = self.x + width, max(self.height, height)
        if panel["type"] == "row":
            self.x, self.y, self.height = 0, self.y + 1, 0

    def json(self):
        """Returns the dashboard as Grafana imports it."""
        return {
            "annotations": {"list": self.annotations}, "description": self.description, "editable": False,
            "fiscalYearStartMonth": 0, "graphTooltip": 1, "id": None, "links": [siblings()], "panels": self.panels,
            "refresh": "10s", "schemaVersion": 39, "tags": ["loopscope", "tokio"],
            "templating": {"list": variables(self.runtime)}, "time": {"from": "now-30m", "to": "now"},
            "timepicker": {}, "timezone": "browser", "title": self.title, "uid": self.uid, "version": 1,
            "weekStart": "",
        }


def builtin():
    return {"builtIn": 1, "datasource": {"type": "grafana", "uid": "-- Grafana --"}, "enable": True, "hide": True,
            "iconColor": "rgba(0, 211, 255, 1)", "name": "Annotations & Alerts", "type": "dashboard"}


def alerts():
    """Returns the annotation for firing alerts."""
    return annotation("Alerts", f'ALERTS{{alertname=~"Loopscope.+", alertstate="firing", {M}}}', "red",
                      "instance,severity", "{{instance}}", "{{alertname}}")


def annotation(name, expr, color, tags, text, title):
    # The data source's default for an annotation is a step of 60 s.
    return {"datasource": DATASOURCE, "enable": True, "expr": expr, "iconColor": color, "name": name, "step": "10s",
            "tagKeys": tags, "textFormat": text, "titleFormat": title}


def siblings():
    return {"asDropdown": True, "icon": "external link", "includeVars": True, "keepTime": True, "tags": ["loopscope"],
            "targetBlank": False, "title": "loopscope", "tooltip": "", "type": "dashboards", "url": ""}


def variables(runtime):
    source = {"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus", "current": {},
              "hide": 0, "includeAll": False, "multi": False, "options": [], "refresh": 1, "regex": "",
              "skipUrlSync": False}
    found = [source, variable("job", "Job", "label_values(loopscope_build_info, job)"),
             variable("instance", "Instance", 'label_values(loopscope_build_info{job=~"$job"}, instance)')]
    if runtime:
        found.append(variable("runtime", "Runtime", f"label_values(loopscope_workers{{{M}}}, runtime)"))
    return found


def variable(name, label, definition):
    return {"name": name, "label": label, "type": "query", "datasource": DATASOURCE,
            "query": {"query": definition, "refId": name}, "refresh": 2, "sort": 1,
            "multi": True, "includeAll": True, "allValue": ".+", "current": {"text": ["All"], "value": ["$__all"]},
            "hide": 0, "options": [], "regex": "", "skipUrlSync": False}
