
// Shows the selected stall with the stack of its finding, and the longest polls of the range.

const LONGEST_POLLS = 10;
const selected = { worker: null, from: NaN, shownFor: null };

/** Returns the selected stall. The start of a stall in progress may change by less than a millisecond. */
const selectedStall = () =>
  recent.stalls.find(({ worker, from }) => worker === selected.worker && Math.abs(from - selected.from) < START_TOLERANCE_SECONDS);

const stallLength = (stall) => Math.min(stall.to, serverNow()) - stall.from;

const workerName = (label) => (/\d$/.test(label) ? `worker ${label}` : label);

function stallTitle(stall) {
  const length = stall.to === Infinity ? `in progress for ${age(stallLength(stall))}` : duration(stallLength(stall));
  return `${length} on ${workerName(stall.worker)} at ${clockTime(stall.from, 1e-3)}, task ${stall.task}`;
}

function selectStall(stall, isFocused = false) {
  Object.assign(selected, { worker: stall.worker, from: stall.from, shownFor: null });
  renderStall();
  drawLanes();
  const panel = byId("stall");
  if (isFocused) panel.focus();
  else announce(`Selected: ${stallTitle(stall)}: ${describe(stall)}`);
}

/** Selects the next or the previous stall in the order of their starts, and moves the range to it. */
function selectNeighbour(step) {
  const current = selectedStall();
  const range = visibleRange();
  const index = current
    ? recent.stalls.indexOf(current) + step
    : step > 0 ? recent.stalls.findIndex(({ to }) => to >= range.from) : recent.stalls.findLastIndex(({ from }) => from <= range.to);
  const stall = recent.stalls[index];
  if (!stall) return announce("There is no further stall");
  if (stall.to < range.from || stall.from > range.to) {
    const half = (range.to - range.from) / 2;
    setRange(stall.from - half, stall.from + half);
  }
  selectStall(stall);
}

function closeStall() {
  if (byId("stall").hidden) return;
  const hadFocus = byId("stall").contains(document.activeElement);
  selected.worker = null;
  renderStall();
  drawLanes();
  if (hadFocus) chart.element.focus();
}

function renderStall() {
  const stall = selectedStall();
  byId("stall").hidden = !stall;
  if (!stall) return;
  setText(byId("stall-title"), stallTitle(stall));
  const finding = findingOf(stall.finding);
  byId("stall-finding").disabled = !finding;
  setText(byId("stall-facts"), finding ? describe(stall) : "");
  const others = finding ? finding.count - 1 : 0;
  if (!finding) {
    selected.shownFor = null;
    byId("stall-stack").replaceChildren();
    return setText(byId("stall-note"), "This stall has no finding, so its line and its stack are not known.");
  }
  const version = `${finding.id} ${editor.url} ${editor.folder}`;
  if (selected.shownFor === version) return;
  selected.shownFor = version;
  byId("stall-stack").replaceChildren();
  setText(byId("stall-note"), "The stack is being loaded.");
  fetchDetails(finding.id).then((details) => {
    if (selected.shownFor !== version) return;
    if (!details) {
      selected.shownFor = null;
      return setText(byId("stall-note"), "The server does not answer.");
    }
    const { stack, evidence } = details.finding;
    const isOnly = others === 0 ? "its only stall" : `it has ${counted(others, "other stall", "other stalls")}`;
    setText(byId("stall-note"), stack.length === 0
      ? "No stack of this finding was captured."
      : `The best stack of the finding (${isOnly}); loopscope keeps one stack for each finding, not for each stall. Evidence: ${evidence}.`);
    const list = byId("stall-stack");
    list.replaceChildren(...stack.map(frameItem));
    // The calls inside of the application's line matter less.
    const application = list.querySelector(".application");
    if (application) list.scrollTop = application.offsetTop - list.offsetTop - application.offsetHeight;
  });
}

/** Shows a stall or a poll in the middle third of the range. */
function zoomTo(poll) {
  const length = stallLength(poll);
  setRange(poll.from - length, poll.from + 2 * length);
}

function renderLongest(live) {
  const range = visibleRange();
  const inRange = recent.stalls.filter((stall) => stall.to >= range.from && stall.from <= range.to);
  const isOngoing = (stall) => stall.to === Infinity;
  inRange.sort((a, b) => isOngoing(b) - isOngoing(a) || stallLength(b) - stallLength(a));
  const stalls = inRange.slice(0, LONGEST_POLLS);
  const polls = longestPolls(range, inRange, LONGEST_POLLS - stalls.length);
  const shown = [...stalls, ...polls];
  const active = Math.max(0, ...live.workers.map((worker) => worker.active_poll_seconds ?? 0));
  setText(
    byId("longest-hint"),
    `${inRange.length === 0 ? "No poll" : counted(inRange.length, "poll", "polls")} over ${duration(live.threshold_seconds)}, by the clock, those in progress first. ` +
      `${polls.length > 0 ? "The recorded polls after them are shorter, or the machine delayed them. " : ""}` +
      `${active > 0 ? `The oldest poll in progress has lasted ${duration(active)}. ` : ""}Single tasks are not recorded: the longest poll and delay of each kind are below.`,
  );
  byId("longest-table").hidden = shown.length === 0;
  const body = byId("longest");
  while (body.rows.length > shown.length) body.lastElementChild.remove();
  while (body.rows.length < shown.length) body.append(longestRow());
  shown.forEach((stall, index) => {
    const row = body.rows[index];
    row.stall = stall;
    const [length, begin, worker, task, place] = row.cells;
    setText(length.firstElementChild, isOngoing(stall) ? `${age(stallLength(stall))} …` : duration(stallLength(stall)));
    const isPoll = polls.includes(stall);
    setAriaLabel(length.firstElementChild, `${isPoll ? "Zoom to" : "Select"}: ${stallTitle(stall)}`);
    setClass(row, "ongoing", isOngoing(stall));
    setText(begin, clockTime(stall.from, 1e-3));
    setText(worker, stall.worker);
    setText(task, stall.task);
    const finding = findingOf(stall.finding);
    if (finding) setPlace(place, placeOf(finding), true);
    else setText(place, isPoll && stallLength(stall) < live.threshold_seconds ? "no stall" : "not known");
  });
}

function longestRow() {
  const row = document.createElement("tr");
  row.append(...Array.from({ length: 5 }, (_, index) => document.createElement(index === 0 ? "th" : "td")));
  row.cells[0].scope = "row";
  for (const index of [3, 4]) row.cells[index].className = "text";
  const button = document.createElement("button");
  button.type = "button";
  button.addEventListener("click", () => {
    if (!recent.stalls.includes(row.stall)) return zoomTo(row.stall);
    selectStall(row.stall, true);
    const range = visibleRange();
    if (row.stall.from < range.from) setRange(row.stall.from, range.to);
  });
  row.cells[0].append(button);
  return row;
}

byId("stall-previous").addEventListener("click", () => selectNeighbour(-1));
byId("stall-next").addEventListener("click", () => selectNeighbour(1));
byId("stall-close").addEventListener("click", closeStall);
byId("stall-zoom").addEventListener("click", () => {
  const stall = selectedStall();
  if (stall) zoomTo(stall);
});
byId("stall-finding").addEventListener("click", () => {
  const finding = selectedStall()?.finding;
  if (finding) showFinding(finding);
});
byId("stall").addEventListener("keydown", (event) => {
  if (event.key === "Escape") closeStall();
});
