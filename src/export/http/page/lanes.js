
// Draws one lane per worker: how busy the worker is, and a bar for each stall. The bar of a stall in progress grows.

/** The busy share of a lane is the average of this number of intervals. */
const BUSY_INTERVALS = 5;
const lanes = new Map();

function laneOf(worker) {
  let lane = lanes.get(worker.label);
  if (lane) return lane;
  const row = cloneTemplate("lane");
  lane = { row, canvas: row.querySelector("canvas"), state: row.querySelector(".lane-state"), bars: [] };
  lanes.set(worker.label, lane);
  const name = /\d$/.test(worker.label) ? `worker ${worker.label}` : worker.label;
  row.querySelector(".lane-name").textContent = name;
  setAriaLabel(row, name);
  lane.canvas.addEventListener("click", (event) => {
    const bar = barAt(lane, event);
    if (bar?.stall.finding) showFinding(bar.stall.finding);
  });
  lane.canvas.addEventListener("mousemove", (event) => {
    const bar = barAt(lane, event);
    const length = bar && duration(secondsInWindow(bar.stall, serverNow()));
    lane.canvas.title = bar ? `${length} in task ${bar.stall.task}: ${describe(bar.stall)}` : "";
    lane.canvas.style.cursor = bar?.stall.finding ? "pointer" : "default";
  });
  return lane;
}

const barAt = (lane, event) => lane.bars.findLast((bar) => event.offsetX >= bar.from - 2 && event.offsetX <= bar.to + 2);

/** Describes what blocks: the place and the call if the finding is known, otherwise the task. */
function describe(stall) {
  const finding = findingOf(stall.finding);
  if (!finding) return `task ${stall.task}`;
  return `${placeOf(finding)}: ${finding.primitive ?? finding.cause}`;
}

/** Shows a lane for each current worker, sorted by name. */
function renderLanes(live) {
  const order = [...live.workers].sort((a, b) => a.label.localeCompare(b.label, "en", { numeric: true }));
  const wanted = new Set(order.map((worker) => worker.label));
  for (const [label, { row }] of lanes) {
    if (!wanted.has(label)) {
      row.remove();
      lanes.delete(label);
    }
  }
  const rows = order.map((worker) => laneOf(worker).row);
  const parent = byId("lanes");
  if (rows.some((row, index) => parent.children[index] !== row)) parent.replaceChildren(...rows);
  const before = recent.samples.at(-1 - BUSY_INTERVALS) ?? recent.samples[0];
  for (const worker of order) {
    const earlier = before.workers.find((other) => other.label === worker.label);
    const seconds = live.now - before.now;
    laneOf(worker).busy = earlier && seconds > 0 ? (worker.busy_seconds - earlier.busy_seconds) / seconds : null;
  }
  drawLanes();
}

/** Also runs between responses, so that the bars of stalls in progress grow. */
function drawLanes() {
  const now = serverNow();
  const style = getComputedStyle(document.documentElement);
  const colors = Object.fromEntries(
    ["busy", "short", "middle", "long", "ink"].map((name) => [name, style.getPropertyValue(`--${name}`)]),
  );
  const byWorker = Map.groupBy(allStalls(), (stall) => stall.worker);
  for (const [label, lane] of lanes) {
    const stalls = byWorker.get(label) ?? [];
    drawLane(lane, label, stalls, now, colors);
    const current = stalls.find((stall) => stall.end_unix_ns === null);
    const visible = stalls.filter((stall) => secondsInWindow(stall, now) > 0);
    setClass(lane.row, "blocked", current);
    const state = current
      ? `${age(now - current.start_unix_ns / 1e9)} · ${describe(current)}`
      : `${lane.busy === null ? "" : `${percent(Math.max(0, lane.busy))} busy, `}${counted(visible.length, "stall", "stalls")}`;
    setText(lane.state, state);
    lane.state.title = state;
  }
}

function drawLane(lane, label, stalls, now, colors) {
  const { canvas } = lane;
  const [width, height, ratio] = [canvas.clientWidth, canvas.clientHeight, devicePixelRatio];
  if (canvas.width !== Math.round(width * ratio)) canvas.width = Math.round(width * ratio);
  if (canvas.height !== Math.round(height * ratio)) canvas.height = Math.round(height * ratio);
  const context = canvas.getContext("2d");
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.clearRect(0, 0, width, height);
  const x = (time) => width - ((now - time) / WINDOW_SECONDS) * width;

  context.fillStyle = colors.busy;
  forEachInterval((earlier, later) => {
    const [a, b] = [earlier, later].map((sample) => sample.workers.find((worker) => worker.label === label));
    if (!a || !b) return;
    const share = Math.min(1, Math.max(0, (b.busy_seconds - a.busy_seconds) / (later.now - earlier.now)));
    context.fillRect(x(earlier.now), height * (1 - share), x(later.now) - x(earlier.now) + 0.5, height * share);
  });

  lane.bars = [];
  for (const stall of stalls) {
    const start = stall.start_unix_ns / 1e9;
    const end = stall.end_unix_ns === null ? now : stall.end_unix_ns / 1e9;
    const [from, to] = [Math.max(0, x(start)), Math.min(width, x(end))];
    if (to < 0) continue;
    context.fillStyle = end - start >= 1 ? colors.long : end - start >= 0.1 ? colors.middle : colors.short;
    const thickness = Math.max(2, to - from);
    context.fillRect(to - thickness, 2, thickness, height - 4);
    // A stall in progress is marked by its shape too, not only by its colour.
    if (stall.end_unix_ns === null) {
      context.fillStyle = colors.ink;
      context.fillRect(width - 3, 0, 3, height);
    }
    lane.bars.push({ from: to - thickness, to, stall });
  }
}
