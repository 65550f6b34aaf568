
// Chooses the lanes to show, one per worker. Of many workers, those with stalls have a lane and the others share one.

/** The busy share of a lane is the average of this number of intervals, or of the range if that does not move. */
const BUSY_INTERVALS = 5;
/** With more workers, lanes are folded. */
const MAX_LANES = 8;
/** More lanes than this are thin. */
const THIN_LANES = 24;
/** Lanes that change their places all the time could not be read. */
const ORDER_SECONDS = 5;
const lanes = new Map();
const laneOrder = { labels: [], at: -Infinity, isOpen: false, shown: [], folded: new Set() };
const foldRow = makeFoldRow();

function laneOf(label) {
  let lane = lanes.get(label);
  if (lane) return lane;
  const row = cloneTemplate("lane");
  lane = { label, row, track: row.querySelector(".lane-track"), state: row.querySelector(".lane-state") };
  lanes.set(label, lane);
  const name = /\d$/.test(label) ? `worker ${label}` : label;
  row.querySelector(".lane-name").textContent = name;
  setAriaLabel(row, name);
  return lane;
}

/** Makes the row of all workers without a lane. */
function makeFoldRow() {
  const row = cloneTemplate("lane");
  const button = document.createElement("button");
  button.type = "button";
  button.addEventListener("click", () => {
    laneOrder.isOpen = !laneOrder.isOpen;
    laneOrder.at = -Infinity;
    renderLast();
  });
  row.querySelector(".lane-name").append(button);
  setAriaLabel(row, "other workers");
  return { label: null, row, button, track: row.querySelector(".lane-track"), state: row.querySelector(".lane-state") };
}

/** Describes what blocks: the place and the call if the finding is known, otherwise the task. */
function describe(stall) {
  const finding = findingOf(stall.finding);
  if (!finding) return `task ${stall.task}`;
  return `${placeOf(finding)}: ${finding.primitive ?? finding.cause}`;
}

function renderLanes(live, sums) {
  const labels = live.workers.map(({ label }) => label);
  const known = new Set(labels);
  for (const [label, { row }] of lanes) {
    if (!known.has(label)) {
      row.remove();
      lanes.delete(label);
    }
  }
  const isChanged = labels.length !== laneOrder.labels.length || laneOrder.labels.some((label) => !known.has(label));
  const isDue = live.now - laneOrder.at >= ORDER_SECONDS && !byId("chart").matches(":hover, :focus-visible");
  const isMissing = laneOrder.shown.length < MAX_LANES && [...laneOrder.folded].some((label) => sums.workers.has(label));
  if (isChanged || isDue || isMissing || laneOrder.at === -Infinity) orderLanes(live, labels, sums);
  const rows = laneOrder.shown.map((label) => laneOf(label).row);
  const isFoldable = labels.length > MAX_LANES;
  // Above many lanes, the button that folds them can be reached.
  if (isFoldable) rows.splice(laneOrder.isOpen ? 0 : rows.length, 0, foldRow.row);
  setClass(byId("lanes"), "many", rows.length > THIN_LANES);
  setChildren(byId("lanes"), rows);
  byId("lanes-sort-label").hidden = labels.length < 3;
  if (isFoldable) renderFoldRow(live, sums);
  for (const label of laneOrder.shown) renderLaneState(laneOf(label), live, sums);
  measureLanes();
  drawLanes();
}

function orderLanes(live, labels, sums) {
  const byName = (a, b) => a.localeCompare(b, "en", { numeric: true });
  const blockedFor = new Map(recent.ongoing.map((stall) => [stall.worker, live.now - stall.from]));
  const rank = (label) => (blockedFor.get(label) >= 1 ? Infinity : sums.workers.get(label)?.seconds ?? 0);
  const bySums = (a, b) => rank(b) - rank(a) || byName(a, b);
  const isByStalls = byId("lanes-sort").value === "stalls" && labels.length > MAX_LANES;
  const isSorted = byId("lanes-sort").dataset.chosen ? byId("lanes-sort").value === "stalls" : isByStalls;
  laneOrder.labels = [...labels].sort(isSorted ? bySums : byName);
  laneOrder.at = live.now;
  if (!byId("lanes-sort").dataset.chosen) byId("lanes-sort").value = isSorted ? "stalls" : "name";
  if (labels.length <= MAX_LANES || laneOrder.isOpen) laneOrder.shown = laneOrder.labels;
  else {
    const worst = new Set([...labels].sort(bySums).slice(0, MAX_LANES).filter((label) => rank(label) > 0));
    laneOrder.shown = laneOrder.labels.filter((label) => worst.has(label));
  }
  laneOrder.folded = new Set(laneOrder.labels.filter((label) => !laneOrder.shown.includes(label)));
}

function renderFoldRow(live, sums) {
  const { button, row, state } = foldRow;
  const { folded, isOpen } = laneOrder;
  setText(button, isOpen ? "Fold" : `${folded.size} ${laneOrder.shown.length > 0 ? "more" : "workers"}`);
  button.setAttribute("aria-expanded", String(isOpen));
  setAriaLabel(button, isOpen ? "Fold the workers without stalls" : `Show ${counted(folded.size, "more worker", "more workers")}`);
  setClass(row, "open", isOpen);
  const inFold = [...folded].map((label) => sums.workers.get(label)?.count ?? 0);
  const stalls = inFold.reduce((sum, count) => sum + count, 0);
  const idle = inFold.filter((count) => count === 0).length;
  const blocked = recent.ongoing.filter((stall) => folded.has(stall.worker)).length;
  const text = stalls === 0 ? "no stall" : `${idle} without a stall, ${counted(stalls, "stall", "stalls")} in the others`;
  setText(state, isOpen ? "" : blocked > 0 ? `${blocked} blocked; ${text}` : text);
}

function busyShare(label, live) {
  const isPast = view.mode === "fixed";
  const intervals = isPast ? recent.busy.filter(({ from, to }) => to > view.from && from < view.to) : recent.busy.slice(-BUSY_INTERVALS);
  // A mean of a part of the range is not that of the range.
  if (isPast && !(intervals[0]?.from <= view.from)) return null;
  const worker = live.workers.find((other) => other.label === label);
  if (intervals.length === 0) {
    const seconds = live.start && live.now - live.start;
    return worker && seconds > 0 ? Math.min(1, worker.busy_seconds / seconds) : null;
  }
  const shares = intervals.map(({ labels, shares }) => shares[labels.indexOf(label)]).filter((share) => share >= 0);
  return shares.length > 0 ? shares.reduce((sum, share) => sum + share, 0) / shares.length : null;
}

function renderLaneState(lane, live, sums) {
  const busy = busyShare(lane.label, live);
  const least = busy === null ? recordedShare(lane.label, visibleRange()) : null;
  const text = busy !== null ? `${percent(busy)} busy, ` : least !== null ? `${percent(least)} or more busy, ` : "";
  const count = sums.workers.get(lane.label)?.count ?? 0;
  lane.idleText = text + counted(count, "stall", "stalls");
}

/** Also runs between responses, so that the age of a stall in progress grows. */
function updateLaneStates(now) {
  const current = new Map(recent.ongoing.map((stall) => [stall.worker, stall]));
  for (const label of laneOrder.shown) {
    const lane = laneOf(label);
    const stall = current.get(label);
    setClass(lane.row, "blocked", stall);
    const text = stall ? `${age(now - stall.from)} · ${describe(stall)}` : lane.idleText;
    setText(lane.state, text);
    if (lane.state.title !== text) lane.state.title = text;
  }
}

byId("lanes-sort").addEventListener("change", ({ target }) => {
  target.dataset.chosen = "true";
  laneOrder.at = -Infinity;
  renderLast();
});
