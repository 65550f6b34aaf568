
// The time range that the page shows, and what the address of the page says of it: `#from=…&to=…`, `#last=10`, `#all`,
// and `#finding=ID`.

const MIN_SPAN_SECONDS = 1e-3;
/** About 30 years. */
const MAX_SPAN_SECONDS = 1e9;
const ZOOM_STEP = 2;
const PAN_STEP = 0.25;
/** `last` follows the present, `all` also begins at the first known stall, `fixed` does not move. */
const view = { mode: "last", span: WINDOW_SECONDS, from: 0, to: 0, finding: null };

/** Returns the range in Unix seconds. */
function visibleRange() {
  const now = serverNow();
  if (view.mode === "fixed") return { from: view.from, to: view.to };
  if (view.mode === "all") return { from: Math.min(historyStart(), now - 1), to: now };
  return { from: now - view.span, to: now };
}

const longestSpan = () => Math.max(WINDOW_SECONDS, serverNow() - historyStart());

/** Shows a range that does not move, or one that follows the present if its end is about now. */
function setRange(from, to) {
  const now = serverNow();
  const length = Math.min(longestSpan(), Math.max(MIN_SPAN_SECONDS, to - from));
  const middle = (from + to) / 2;
  const end = Math.min(now, Math.max(middle + length / 2, historyStart() + MIN_SPAN_SECONDS));
  if (now - end < length * 1e-3) return setLast(length);
  Object.assign(view, { mode: "fixed", from: end - length, to: end });
  rangeChanged();
}

function setLast(length) {
  // The difference of two Unix times is not exact.
  const rounded = Number(length.toPrecision(5));
  Object.assign(view, { mode: "last", span: Math.min(longestSpan(), Math.max(MIN_SPAN_SECONDS, rounded)) });
  rangeChanged();
}

function setAll() {
  view.mode = "all";
  rangeChanged();
}

/** Makes the range longer or shorter around a time. Without a time, a range that ends now still does. */
function zoom(factor, around) {
  const { from, to } = visibleRange();
  const center = around ?? (view.mode === "fixed" ? (from + to) / 2 : to);
  setRange(center - (center - from) * factor, center + (to - center) * factor);
}

function pan(share) {
  const { from, to } = visibleRange();
  const distance = (to - from) * share;
  setRange(from + distance, to + distance);
}

function rangeChanged() {
  writeHash();
  laneOrder.at = -Infinity;
  renderLast();
  updatePolls();
}

function renderRange() {
  const { from, to } = visibleRange();
  const select = byId("range");
  const preset = view.mode === "last" ? String(view.span) : view.mode;
  const isPreset = [...select.options].some(({ value }) => value === preset);
  select.value = isPreset ? preset : "fixed";
  const step = (to - from) / 100;
  const isNow = view.mode !== "fixed";
  setText(byId("range-text"), `${clockTime(from, step)} – ${isNow ? "now" : clockTime(to, step)} (${span(to - from)})`);
  byId("follow").hidden = isNow;
}

function hashText() {
  const parameters = new URLSearchParams();
  if (view.finding) parameters.set("finding", view.finding);
  if (view.mode === "fixed") {
    parameters.set("from", toWallClock(view.from).toFixed(6));
    parameters.set("to", toWallClock(view.to).toFixed(6));
  } else if (view.mode === "all") parameters.set("all", "");
  else if (view.span !== WINDOW_SECONDS) parameters.set("last", String(view.span));
  return String(parameters).replace(/=(?=&|$)/, "");
}

function writeHash() {
  const text = hashText();
  const url = text === "" ? location.pathname + location.search : `#${text}`;
  if (location.hash.slice(1) !== text) history.replaceState(null, "", url);
}

/** Shows what the address says. An address of another kind, such as that of the skip link, changes nothing. */
function readHash() {
  const parameters = new URLSearchParams(location.hash.slice(1));
  const [from, to, last] = ["from", "to", "last"].map((name) => (parameters.has(name) ? Number(parameters.get(name)) : NaN));
  const isSpan = (seconds) => seconds >= MIN_SPAN_SECONDS && seconds <= MAX_SPAN_SECONDS;
  if (isSpan(to - from)) Object.assign(view, { mode: "fixed", from: fromWallClock(from), to: fromWallClock(to) });
  else if (isSpan(last)) Object.assign(view, { mode: "last", span: last });
  else if (parameters.has("all")) view.mode = "all";
  laneOrder.at = -Infinity;
  const finding = parameters.get("finding");
  if (finding) {
    view.finding = finding;
    requested.finding = finding;
  }
}

byId("range").addEventListener("change", ({ target }) => (target.value === "all" ? setAll() : setLast(Number(target.value))));
byId("earlier").addEventListener("click", () => pan(-PAN_STEP));
byId("later").addEventListener("click", () => pan(PAN_STEP));
byId("zoom-in").addEventListener("click", () => zoom(1 / ZOOM_STEP));
byId("zoom-out").addEventListener("click", () => zoom(ZOOM_STEP));
byId("follow").addEventListener("click", () => {
  setLast(WINDOW_SECONDS);
  byId("range").focus();
});
addEventListener("hashchange", () => {
  readHash();
  renderLast();
  updatePolls();
});
