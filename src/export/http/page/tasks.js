
// The table of task kinds, over the last minute.

const rows = new Map();
const sorting = { key: "share", down: true };
const LINTS = [
  ["self_wakes", "self-wakes"],
  ["lost_wakers", "lost wakers"],
  ["never_yielded", "never yielded"],
  ["large_futures", "large futures"],
];

function row(name) {
  let row = rows.get(name);
  if (row) return row;
  const root = copyOf("kind");
  const [alive, rate, share, poll, longest, delay, lints] = root.querySelectorAll("td");
  row = { root, alive, rate, share, poll, longest, delay, lints };
  root.querySelector("th").textContent = name;
  rows.set(name, row);
  return row;
}

/** What a kind did within the minute. */
function figures(kind, live) {
  const first = past.samples[0];
  const earlier = first === live ? null : first.kinds.get(kind.name);
  const seconds = live.now - first.now;
  const poll = between(earlier?.poll, kind.poll);
  const delay = between(earlier?.delay, kind.delay);
  const bounds = live.tasks.bounds_seconds;
  return {
    kind,
    name: kind.name,
    alive: kind.alive,
    rate: seconds > 0 ? poll.count / seconds : null,
    share: seconds > 0 ? poll.sum / seconds : null,
    poll: quantile(poll, 0.99, bounds),
    longest: kind.poll.count > 0 ? kind.poll.max_seconds : null,
    delay: quantile(delay, 0.99, bounds),
    lints: LINTS.reduce((sum, [field]) => sum + kind[field], 0),
  };
}

function renderTasks(live) {
  const wanted = byId("tasks-filter").value.trim().toLowerCase();
  const all = live.tasks.kinds.map((kind) => figures(kind, live));
  const shown = all.filter(({ name }) => name.toLowerCase().includes(wanted));
  const value = (of) => of[sorting.key] ?? -1;
  shown.sort((a, b) => {
    const [x, y] = [value(a), value(b)];
    const order = typeof x === "string" ? x.localeCompare(y) : x - y;
    return (sorting.down ? -order : order) || a.name.localeCompare(b.name);
  });
  for (const of of shown) fillRow(row(of.name), of, live);
  const parent = byId("kinds");
  const roots = shown.map(({ name }) => row(name).root);
  if (parent.children.length !== roots.length || roots.some((root, at) => parent.children[at] !== root)) {
    parent.replaceChildren(...roots);
  }
  write(byId("tasks-count"), wanted ? `${shown.length} of ${many(all.length, "kind", "kinds")}` : many(all.length, "kind", "kinds"));
}

function fillRow(row, of, live) {
  const { kind } = of;
  write(row.alive, kind.alive.toLocaleString("en"));
  write(row.rate, of.rate === null ? "–" : Number(of.rate.toPrecision(3)).toLocaleString("en"));
  write(row.share, of.share === null ? "–" : percent(of.share));
  write(row.longest, of.longest === null ? "–" : duration(of.longest));
  const lints = LINTS.filter(([field]) => kind[field] > 0).map(([field, name]) => `${name} ${kind[field]}`);
  write(row.lints, lints.join(", "));
  for (const name of ["poll", "delay"]) {
    const cell = row[name];
    write(cell.firstElementChild, of[name] === null ? "–" : duration(of[name]));
    mark(cell, "bad", of[name] >= live.threshold_seconds);
    cell.querySelector("path").setAttribute("d", sparkline(kind.name, name, live));
  }
  mark(row.longest, "bad", of.longest >= live.threshold_seconds);
}

/** p99 of each second, from 10 µs at the bottom to 10 s at the top. */
function sparkline(name, distribution, live) {
  let path = "";
  let pen = "M";
  eachSecond((earlier, later) => {
    const after = later.kinds.get(name);
    const before = earlier.kinds.get(name);
    const values = after && between(before?.[distribution], after[distribution]);
    const p99 = values && quantile(values, 0.99, live.tasks.bounds_seconds);
    if (!p99) return void (pen = "M");
    const x = MINUTE - (live.now - later.now);
    const y = 15 - (14 * (Math.log10(Math.min(10, Math.max(1e-5, p99))) + 5)) / 6;
    path += pen === "M" ? `M${(x - 0.8).toFixed(1)} ${y.toFixed(1)}L${x.toFixed(1)} ${y.toFixed(1)}` : `L${x.toFixed(1)} ${y.toFixed(1)}`;
    pen = "L";
  });
  return path;
}

for (const head of document.querySelectorAll("th[data-key]")) {
  head.firstElementChild.addEventListener("click", () => {
    const { key } = head.dataset;
    sorting.down = sorting.key === key ? !sorting.down : key !== "name";
    sorting.key = key;
    for (const other of document.querySelectorAll("th[data-key]")) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", sorting.down ? "descending" : "ascending");
    renderAgain();
  });
}
