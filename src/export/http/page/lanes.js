
// Workers as lanes: how busy, and each stall as a bar; one in progress grows.

const lanes = new Map();

function lane(worker) {
  let lane = lanes.get(worker.label);
  if (lane) return lane;
  const row = copyOf("lane");
  lane = { row, canvas: row.querySelector("canvas"), state: row.querySelector(".lane-state"), bars: [] };
  lanes.set(worker.label, lane);
  const name = /\d$/.test(worker.label) ? `worker ${worker.label}` : worker.label;
  row.querySelector(".lane-name").textContent = name;
  label(row, name);
  lane.canvas.addEventListener("click", (event) => {
    const bar = barAt(lane, event);
    if (bar?.stall.finding) showFinding(bar.stall.finding);
  });
  lane.canvas.addEventListener("mousemove", (event) => {
    const bar = barAt(lane, event);
    const length = bar && duration(withinMinute(bar.stall, serverNow()));
    lane.canvas.title = bar ? `${length} in task ${bar.stall.task}: ${describe(bar.stall)}` : "";
    lane.canvas.style.cursor = bar?.stall.finding ? "pointer" : "default";
  });
  return lane;
}

const barAt = (lane, event) => lane.bars.findLast((bar) => event.offsetX >= bar.from - 2 && event.offsetX <= bar.to + 2);

/** What blocks, as far as it is known by now. */
function describe(stall) {
  const finding = findingOf(stall.finding);
  if (!finding) return `task ${stall.task}`;
  return `${finding.site ?? finding.function ?? "an unknown place"}: ${finding.primitive ?? finding.cause}`;
}

/** Lanes for the workers there are, in the order of their names. */
function renderLanes(live) {
  const order = [...live.workers].sort((a, b) => a.label.localeCompare(b.label, "en", { numeric: true }));
  const wanted = new Set(order.map((worker) => worker.label));
  for (const [label, { row }] of lanes) {
    if (!wanted.has(label)) {
      row.remove();
      lanes.delete(label);
    }
  }
  const rows = order.map((worker) => lane(worker).row);
  const parent = byId("lanes");
  if (rows.some((row, at) => parent.children[at] !== row)) parent.replaceChildren(...rows);
  const before = past.samples.at(-6) ?? past.samples[0];
  for (const worker of order) {
    const earlier = before.workers.find((other) => other.label === worker.label);
    const seconds = live.now - before.now;
    lane(worker).busy = earlier && seconds > 0 ? (worker.busy_seconds - earlier.busy_seconds) / seconds : null;
  }
  drawLanes();
}

/** Also between answers, so that a stall in progress grows. */
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
    const seen = stalls.filter((stall) => withinMinute(stall, now) > 0);
    mark(lane.row, "blocked", current);
    const state = current
      ? `${age(now - current.start_unix_ns / 1e9)} · ${describe(current)}`
      : `${lane.busy === null ? "" : `${percent(Math.max(0, lane.busy))} busy, `}${many(seen.length, "stall", "stalls")}`;
    write(lane.state, state);
    lane.state.title = state;
  }
}

function drawLane(lane, label, stalls, now, colors) {
  const { canvas } = lane;
  const [width, height, ratio] = [canvas.clientWidth, canvas.clientHeight, devicePixelRatio];
  if (canvas.width !== Math.round(width * ratio)) canvas.width = Math.round(width * ratio);
  if (canvas.height !== Math.round(height * ratio)) canvas.height = Math.round(height * ratio);
  const pen = canvas.getContext("2d");
  pen.setTransform(ratio, 0, 0, ratio, 0, 0);
  pen.clearRect(0, 0, width, height);
  const x = (time) => width - ((now - time) / MINUTE) * width;

  pen.fillStyle = colors.busy;
  eachSecond((earlier, later) => {
    const [a, b] = [earlier, later].map((answer) => answer.workers.find((worker) => worker.label === label));
    if (!a || !b) return;
    const share = Math.min(1, Math.max(0, (b.busy_seconds - a.busy_seconds) / (later.now - earlier.now)));
    pen.fillRect(x(earlier.now), height * (1 - share), x(later.now) - x(earlier.now) + 0.5, height * share);
  });

  lane.bars = [];
  for (const stall of stalls) {
    const start = stall.start_unix_ns / 1e9;
    const end = stall.end_unix_ns === null ? now : stall.end_unix_ns / 1e9;
    const [from, to] = [Math.max(0, x(start)), Math.min(width, x(end))];
    if (to < 0) continue;
    pen.fillStyle = end - start >= 1 ? colors.long : end - start >= 0.1 ? colors.middle : colors.short;
    const thickness = Math.max(2, to - from);
    pen.fillRect(to - thickness, 2, thickness, height - 4);
    // One in progress is told by its form too, not by colour alone.
    if (stall.end_unix_ns === null) {
      pen.fillStyle = colors.ink;
      pen.fillRect(width - 3, 0, 3, height);
    }
    lane.bars.push({ from: to - thickness, to, stall });
  }
}
