
// Shows the table of task kinds for the last minute.

const INITIAL_KINDS = 15;
const rows = new Map();
let showAllKinds = false;
const sorting = { key: "share", isDescending: true };
const LINTS = [
  ["self_wakes", "self-wakes"],
  ["lost_wakers", "lost wakers"],
  ["never_yielded", "never yielded"],
  ["large_futures", "large futures"],
];

function rowOf(name) {
  let row = rows.get(name);
  if (row) return row;
  const root = cloneTemplate("kind");
  const [alive, rate, share, poll, longest, delay, longestDelay, lints] = root.querySelectorAll("td");
  row = { root, alive, rate, share, poll, longest, delay, longestDelay, lints };
  // A long path breaks after a slash.
  const parts = name.split(/(?<=\/)/).flatMap((part) => [part, document.createElement("wbr")]);
  root.querySelector("th").append(...parts);
  rows.set(name, row);
  return row;
}

/** Computes the values of a kind within the last minute. */
function rowValues(kind, live) {
  const first = firstSample(live);
  const earlier = first?.kinds.get(kind.name);
  const seconds = live.now - (first?.now ?? live.start ?? live.now);
  const poll = difference(earlier?.poll, kind.poll);
  const delay = difference(earlier?.delay, kind.delay);
  const bounds = live.tasks.bounds_seconds;
  return {
    kind,
    name: kind.name,
    alive: kind.alive,
    rate: seconds > 0 ? poll.count / seconds : null,
    share: seconds > 0 ? poll.sum / seconds : null,
    poll: quantile(poll, 0.99, bounds),
    longest: kind.poll.max_seconds > 0 ? kind.poll.max_seconds : null,
    delay: quantile(delay, 0.99, bounds),
    longestDelay: kind.delay.count > 0 ? kind.delay.max_seconds : null,
    lints: LINTS.reduce((sum, [field]) => sum + kind[field], 0),
  };
}

function renderTasks(live) {
  const wanted = byId("tasks-filter").value.trim().toLowerCase();
  const all = live.tasks.kinds.map((kind) => rowValues(kind, live));
  const matching = all.filter(({ name }) => name.toLowerCase().includes(wanted));
  const sortValue = (values) => values[sorting.key] ?? -1;
  matching.sort((a, b) => {
    const [x, y] = [sortValue(a), sortValue(b)];
    const order = typeof x === "string" ? x.localeCompare(y) : x - y;
    return (sorting.isDescending ? -order : order) || a.name.localeCompare(b.name);
  });
  const shown = showAllKinds ? matching : matching.slice(0, INITIAL_KINDS);
  for (const values of shown) fillRow(rowOf(values.name), values, live);
  setChildren(byId("kinds"), shown.map(({ name }) => rowOf(name).root));
  const kinds = counted(all.length, "kind", "kinds");
  setText(byId("tasks-count"), !wanted ? `${kinds}; ${windowText(live)}` : matching.length > 0 ? `${matching.length} of ${kinds}` : `No kind matches “${wanted}”.`);
  const button = byId("tasks-all");
  button.hidden = matching.length <= INITIAL_KINDS;
  setText(button, showAllKinds ? `Show the first ${INITIAL_KINDS}` : `Show all ${matching.length}`);
}

function fillRow(row, values, live) {
  const { kind } = values;
  setText(row.alive, kind.alive.toLocaleString("en"));
  setText(row.rate, values.rate === null ? "–" : Number(values.rate.toPrecision(3)).toLocaleString("en"));
  setText(row.share, values.share === null ? "–" : percent(values.share));
  for (const name of ["longest", "longestDelay"]) {
    setText(row[name], values[name] === null ? "–" : duration(values[name]));
    setClass(row[name], "bad", values[name] >= live.threshold_seconds);
  }
  const lints = LINTS.filter(([field]) => kind[field] > 0).map(([field, name]) => `${name} ${kind[field]}`);
  setText(row.lints, lints.join(", "));
  for (const name of ["poll", "delay"]) {
    const cell = row[name];
    setText(cell.lastElementChild, values[name] === null ? "–" : duration(values[name]));
    setClass(cell, "bad", values[name] >= live.threshold_seconds);
    cell.firstElementChild.firstElementChild.setAttribute("d", sparkline(kind.name, name, live));
  }
}

/** Returns the path of a curve of the p99 of each second, on a log scale from 10 µs (bottom) to 10 s (top). */
function sparkline(name, distribution, live) {
  let path = "";
  let isStart = true;
  for (const { now, curves } of recent.samples) {
    const p99 = curves.get(name)?.[distribution];
    if (!p99) {
      isStart = true;
      continue;
    }
    const x = WINDOW_SECONDS - (live.now - now);
    const y = 15 - (14 * (Math.log10(Math.min(10, Math.max(1e-5, p99))) + 5)) / 6;
    path += isStart ? `M${(x - 0.8).toFixed(1)} ${y.toFixed(1)}L${x.toFixed(1)} ${y.toFixed(1)}` : `L${x.toFixed(1)} ${y.toFixed(1)}`;
    isStart = false;
  }
  return path;
}

for (const head of document.querySelectorAll("th[data-key]")) {
  head.firstElementChild.addEventListener("click", () => {
    const { key } = head.dataset;
    sorting.isDescending = sorting.key === key ? !sorting.isDescending : key !== "name";
    sorting.key = key;
    for (const other of document.querySelectorAll("th[data-key]")) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", sorting.isDescending ? "descending" : "ascending");
    renderLast();
  });
}
byId("tasks-all").addEventListener("click", () => {
  showAllKinds = !showAllKinds;
  renderLast();
});
