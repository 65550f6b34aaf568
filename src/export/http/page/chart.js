
// Draws the lanes on one canvas with one time axis, and selects times and stalls in it.

const REDRAW_INTERVAL_MS = 100;
/** As in the style. Reading it would make the browser compute the layout. */
const OVERVIEW_PIXELS = 20;
const MIN_TICK_PIXELS = 110;
const TICK_STEPS = [1e-6, 2e-6, 5e-6, 1e-5, 2e-5, 5e-5, 1e-4, 2e-4, 5e-4, 1e-3, 2e-3, 5e-3, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5,
  1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1800, 3600, 7200, 21600, 86400];
/** A bar is at least this wide, and the pointer may miss it by this distance. */
const MIN_BAR_PIXELS = 2;
const POINTER_TOLERANCE_PIXELS = 3;
const HATCH_PIXELS = 6;
/** A shorter drag is a click. */
const MIN_DRAG_PIXELS = 5;
const WHEEL_ZOOM = 0.002;
const COLORS = ["ground", "paper", "line", "quiet", "ink", "accent", "busy", "poll", "short", "middle", "long"];
const chart = { element: byId("chart"), plot: byId("plot"), overview: byId("overview"), left: 0, width: 0, height: 0,
  rows: [], isDirty: true, dragFrom: null, drawnAt: 0 };
const colors = {};

function readColors() {
  const style = getComputedStyle(document.documentElement);
  for (const name of COLORS) colors[name] = style.getPropertyValue(`--${name}`);
  colors.hatch = hatchPattern(colors.quiet);
}

/** Returns the pattern of the time of which nothing is known. */
function hatchPattern(color) {
  const tile = document.createElement("canvas");
  tile.width = tile.height = HATCH_PIXELS;
  const context = tile.getContext("2d");
  context.strokeStyle = color;
  context.globalAlpha = 0.5;
  for (const offset of [-HATCH_PIXELS, 0, HATCH_PIXELS]) {
    context.moveTo(offset - 1, HATCH_PIXELS + 1);
    context.lineTo(offset + HATCH_PIXELS + 1, -1);
  }
  context.stroke();
  return chart.plot.getContext("2d").createPattern(tile, "repeat");
}

/** Reads where the rows are. Only after a change, because it makes the browser compute the layout. */
function measureLanes() {
  const shown = laneOrder.shown.map(laneOf);
  const folded = laneOrder.labels.length > MAX_LANES ? [foldRow] : [];
  const rows = laneOrder.isOpen ? [...folded, ...shown] : [...shown, ...folded];
  const isSame = rows.length === chart.rows.length && rows.every((row, index) => chart.rows[index].lane === row);
  if (isSame && !chart.isDirty) return;
  chart.isDirty = false;
  const { plot, overview } = chart;
  const box = chart.element.getBoundingClientRect();
  chart.rows = rows.map((lane) => {
    const track = lane.track.getBoundingClientRect();
    chart.left = track.left - box.left;
    chart.width = track.width;
    return { lane, top: track.top - box.top, height: track.height };
  });
  if (rows.length === 0) return;
  const last = chart.rows.at(-1);
  chart.height = last.top + last.height;
  for (const [canvas, height] of [[plot, chart.height], [overview, OVERVIEW_PIXELS]]) {
    canvas.style.left = `${chart.left}px`;
    canvas.style.width = `${chart.width}px`;
    canvas.width = Math.round(chart.width * devicePixelRatio);
    canvas.height = Math.round(height * devicePixelRatio);
  }
  plot.style.height = `${chart.height}px`;
}

const timeAt = (x, { from, to }) => from + (x / chart.width) * (to - from);
const xAt = (time, { from, to }) => ((time - from) / (to - from)) * chart.width;
const DAY_SECONDS = 86400;
const tickStep = (range) => {
  const least = ((range.to - range.from) * MIN_TICK_PIXELS) / chart.width;
  return TICK_STEPS.find((step) => step >= least) ?? Math.ceil(least / DAY_SECONDS) * DAY_SECONDS;
};

function contextOf(canvas) {
  const context = canvas.getContext("2d");
  context.setTransform(devicePixelRatio, 0, 0, devicePixelRatio, 0, 0);
  context.clearRect(0, 0, canvas.width, canvas.height);
  return context;
}

/** Draws what moves: the lanes, the axis, and the ages of the stalls in progress. */
function drawLanes() {
  if (chart.rows.length === 0 || chart.width === 0) return;
  const now = serverNow();
  const range = visibleRange();
  chart.drawnAt = performance.now();
  updateLaneStates(now);
  const context = contextOf(chart.plot);
  const known = Math.max(0, xAt(historyStart(), range));
  const end = Math.min(chart.width, xAt(now, range));
  for (const { top, height } of chart.rows) {
    context.fillStyle = colors.paper;
    context.fillRect(known, top, Math.max(0, end - known), height);
  }
  drawAxis(context, range);
  const stallsOf = Map.groupBy(
    recent.stalls.filter((stall) => stall.to >= range.from && stall.from <= range.to),
    (stall) => (laneOrder.folded.has(stall.worker) ? null : stall.worker),
  );
  for (const row of chart.rows) {
    const isFold = row.lane === foldRow;
    if (isFold && laneOrder.isOpen) continue;
    const labels = isFold ? laneOrder.folded : new Set([row.lane.label]);
    drawBusy(context, row, range, labels);
    drawRecorded(context, row, range, labels);
    drawStalls(context, row, range, stallsOf.get(row.lane.label) ?? [], now);
  }
}

function drawAxis(context, range) {
  const step = tickStep(range);
  context.font = "11px system-ui, sans-serif";
  context.textBaseline = "middle";
  const top = chart.rows[0].top;
  for (let tick = Math.ceil(range.from / step) * step; tick <= range.to; tick += step) {
    const x = Math.round(xAt(tick, range));
    context.fillStyle = colors.line;
    context.fillRect(x, top - 5, 1, 5);
    for (const row of chart.rows) context.fillRect(x, row.top, 1, row.height);
    const text = clockTime(tick + step * 1e-6, step);
    context.fillStyle = colors.quiet;
    const width = context.measureText(text).width;
    context.fillText(text, Math.max(0, Math.min(chart.width - width, x - width / 2)), top - 13);
  }
}

/** Draws the mean share of the workers `labels`. */
function drawBusy(context, { top, height }, range, labels) {
  context.fillStyle = colors.busy;
  let known = { labels: null, indices: [] };
  let drawnTo = -1;
  for (const interval of recent.busy) {
    if (interval.to < range.from || interval.from > range.to) continue;
    const from = Math.max(0, xAt(interval.from, range));
    const to = Math.min(chart.width, xAt(interval.to, range));
    if (to <= drawnTo + 0.5) continue;
    drawnTo = to;
    if (known.labels !== interval.labels) {
      known = { labels: interval.labels, indices: interval.labels.flatMap((label, index) => (labels.has(label) ? [index] : [])) };
    }
    let sum = 0;
    for (const index of known.indices) sum += interval.shares[index] || 0;
    const share = sum / (known.indices.length || 1);
    if (share > 0.002) context.fillRect(from, top + height * (1 - share), to - from + 0.5, height * share);
  }
}

const stallColor = (seconds) => (seconds >= 1 ? colors.long : seconds >= 0.1 ? colors.middle : colors.short);

function drawStalls(context, { top, height }, range, stalls, now) {
  const drawn = { short: -1, middle: -1, long: -1 };
  for (const stall of stalls) {
    const from = Math.max(0, xAt(stall.from, range));
    const to = Math.min(chart.width, xAt(Math.min(stall.to, now), range));
    const thickness = Math.max(MIN_BAR_PIXELS, to - from);
    const seconds = Math.min(stall.to, now) - stall.from;
    const color = stallColor(seconds);
    const name = color === colors.long ? "long" : color === colors.middle ? "middle" : "short";
    // Many stalls in one place are one bar.
    if (to <= drawn[name] + 0.25 && stall.to !== Infinity) continue;
    drawn[name] = to;
    context.fillStyle = color;
    context.fillRect(to - thickness, top + 2, thickness, height - 4);
    // A stall in progress is marked by its shape too, not only by its colour.
    if (stall.to === Infinity && to > 0) {
      context.fillStyle = colors.ink;
      context.fillRect(to - 3, top, 3, height);
    }
  }
  const selected = selectedStall();
  if (selected && stalls.includes(selected)) {
    const [from, to] = [selected.from, Math.min(selected.to, now)].map((time) => xAt(time, range));
    context.strokeStyle = colors.ink;
    context.lineWidth = 1.5;
    context.strokeRect(Math.max(-2, Math.min(from, to - MIN_BAR_PIXELS) - 2), top + 0.75, Math.max(MIN_BAR_PIXELS, to - from) + 4, height - 1.5);
  }
}

/** Draws the blocked time of everything that is kept, and the visible range in it. */
function drawOverview() {
  if (chart.width === 0) return;
  const context = contextOf(chart.overview);
  const height = OVERVIEW_PIXELS;
  const all = overviewRange();
  const columns = Math.max(1, Math.floor(chart.width / 2));
  const seconds = new Float64Array(columns);
  const width = (all.to - all.from) / columns;
  for (const stall of recent.stalls) {
    const first = Math.max(0, Math.floor((stall.from - all.from) / width));
    for (let column = first; column < columns && all.from + column * width <= Math.min(stall.to, all.to); column++) {
      const start = all.from + column * width;
      seconds[column] += Math.max(0, Math.min(stall.to, start + width, all.to) - Math.max(stall.from, start));
    }
  }
  const most = Math.max(...seconds, width * 1e-3);
  context.fillStyle = colors.middle;
  seconds.forEach((value, column) => {
    if (value <= 0) return;
    const bar = Math.max(1.5, (height - 2) * Math.sqrt(value / most));
    context.fillRect(column * 2, height - bar, 2, bar);
  });
  const range = visibleRange();
  const [from, to] = [xAt(range.from, all), xAt(range.to, all)];
  context.fillStyle = colors.accent;
  context.globalAlpha = 0.16;
  context.fillRect(from, 0, Math.max(2, to - from), height);
  context.globalAlpha = 1;
  context.fillRect(Math.max(0, from - 1), 0, 2, height);
  context.fillRect(Math.min(chart.width - 2, Math.max(to - 1, from + 1)), 0, 2, height);
}

function overviewRange() {
  const now = serverNow();
  return { from: Math.min(historyStart(), now - WINDOW_SECONDS), to: now };
}

/** Returns the last stall under the pointer. */
function stallAt(x, y) {
  const row = chart.rows.find(({ top, height }) => y >= top && y <= top + height);
  if (!row) return null;
  const range = visibleRange();
  const now = serverNow();
  const isInRow = (stall) => (row.lane === foldRow ? laneOrder.folded.has(stall.worker) : stall.worker === row.lane.label);
  return recent.stalls.findLast((stall) => {
    if (!isInRow(stall)) return false;
    const to = xAt(Math.min(stall.to, now), range);
    const from = Math.min(xAt(stall.from, range), to - MIN_BAR_PIXELS);
    return x >= from - POINTER_TOLERANCE_PIXELS && x <= to + POINTER_TOLERANCE_PIXELS;
  }) ?? null;
}

function moveCrosshair(event) {
  const range = visibleRange();
  const time = timeAt(event.offsetX, range);
  const step = (range.to - range.from) / chart.width;
  const crosshair = byId("crosshair");
  crosshair.hidden = false;
  crosshair.style.left = `${chart.left + event.offsetX}px`;
  crosshair.style.height = `${chart.height}px`;
  setClass(crosshair, "right", event.offsetX > chart.width / 2);
  setText(crosshair.firstElementChild, clockTime(time, step));
  const stall = stallAt(event.offsetX, event.offsetY);
  chart.plot.style.cursor = stall ? "pointer" : "crosshair";
  const poll = stall ? null : pollUnder(event.offsetX, event.offsetY);
  setText(byId("readout"), stall ? `${stallTitle(stall)} · ${describe(stall)}` : poll ? `Poll of ${stallTitle(poll)}` : "");
}

/** Returns the recorded poll under the pointer, if it is listed. */
function pollUnder(x, y) {
  const row = chart.rows.find(({ top, height }) => y >= top && y <= top + height);
  const range = visibleRange();
  return row && row.lane !== foldRow ? pollAt(row.lane.label, timeAt(x, range), (range.to - range.from) / chart.width) : null;
}

function showSelection(event) {
  const selection = byId("selection");
  const [from, to] = [chart.dragFrom, event.offsetX].map((x) => Math.min(chart.width, Math.max(0, x))).sort((a, b) => a - b);
  selection.hidden = to - from < MIN_DRAG_PIXELS;
  selection.style.left = `${chart.left + from}px`;
  selection.style.width = `${to - from}px`;
  selection.style.height = `${chart.height}px`;
  return selection.hidden ? null : { from, to };
}

chart.plot.addEventListener("pointermove", (event) => {
  moveCrosshair(event);
  if (chart.dragFrom !== null) showSelection(event);
});
chart.plot.addEventListener("pointerleave", () => {
  byId("crosshair").hidden = true;
  setText(byId("readout"), "");
});
chart.plot.addEventListener("pointerdown", (event) => {
  if (event.button !== 0) return;
  chart.dragFrom = event.offsetX;
  // The range must not move under the pointer.
  chart.dragRange = visibleRange();
  chart.plot.setPointerCapture(event.pointerId);
});
chart.plot.addEventListener("pointercancel", () => {
  chart.dragFrom = null;
  byId("selection").hidden = true;
});
chart.plot.addEventListener("pointerup", (event) => {
  if (chart.dragFrom === null) return;
  const dragged = showSelection(event);
  chart.dragFrom = null;
  byId("selection").hidden = true;
  if (dragged) return setRange(timeAt(dragged.from, chart.dragRange), timeAt(dragged.to, chart.dragRange));
  const stall = stallAt(event.offsetX, event.offsetY);
  if (stall) selectStall(stall);
});
chart.plot.addEventListener("dblclick", () => setLast(WINDOW_SECONDS));
chart.plot.addEventListener("wheel", (event) => {
  // Without a modifier, the wheel scrolls the page.
  if (!event.ctrlKey && !event.metaKey && !event.altKey) return;
  event.preventDefault();
  zoom(Math.exp(event.deltaY * WHEEL_ZOOM), timeAt(event.offsetX, visibleRange()));
}, { passive: false });

/** Moves the range to the pointer, or to the part of the overview that is dragged over. */
chart.overview.addEventListener("pointerdown", (event) => {
  if (event.button !== 0) return;
  const all = overviewRange();
  const start = event.offsetX;
  const select = (moved) => {
    if (Math.abs(moved.offsetX - start) >= MIN_DRAG_PIXELS) {
      const [from, to] = [start, moved.offsetX].sort((a, b) => a - b);
      return setRange(timeAt(from, all), timeAt(to, all));
    }
    const range = visibleRange();
    const half = (range.to - range.from) / 2;
    setRange(timeAt(moved.offsetX, all) - half, timeAt(moved.offsetX, all) + half);
  };
  chart.overview.setPointerCapture(event.pointerId);
  chart.overview.addEventListener("pointerup", select, { once: true });
});

const CHART_KEYS = {
  ArrowLeft: () => pan(-PAN_STEP),
  ArrowRight: () => pan(PAN_STEP),
  "+": () => zoom(1 / ZOOM_STEP),
  "=": () => zoom(1 / ZOOM_STEP),
  "-": () => zoom(ZOOM_STEP),
  Home: setAll,
  End: () => setLast(WINDOW_SECONDS),
  ",": () => selectNeighbour(-1),
  ".": () => selectNeighbour(1),
  Escape: () => closeStall(),
};
chart.element.addEventListener("keydown", (event) => {
  const action = CHART_KEYS[event.key];
  if (event.target !== chart.element || !action || event.ctrlKey || event.metaKey || event.altKey) return;
  event.preventDefault();
  action();
});
new ResizeObserver(() => {
  chart.isDirty = true;
  measureLanes();
  drawLanes();
  drawOverview();
}).observe(chart.element);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
  readColors();
  renderLast();
});
readColors();
