
// Requests /live once per second, and continues after the server was unavailable.

const REFRESH_INTERVAL_MS = 1000;
const MIN_REFRESH_DELAY_MS = 100;
const RESPONSE_TIMEOUT_MS = 5000;
const MIN_ANNOUNCEMENT_INTERVAL_MS = 3000;
/** A stall gets its finding some time after its end, so each request includes the stalls of these last seconds again. */
const STALLS_OVERLAP_SECONDS = 5;

const page = { live: null, receivedAt: 0, paused: false, downSince: null, timer: 0, refreshId: 0, announcedAt: 0 };

/** Returns the time of the server in seconds. It does not advance while the page is paused or gets no response. */
function serverNow() {
  if (!page.live) return Date.now() / 1e3;
  const isStopped = page.paused || page.downSince !== null;
  return page.live.now + (isStopped ? 0 : (performance.now() - page.receivedAt) / 1e3);
}

async function refresh() {
  clearTimeout(page.timer);
  const refreshId = ++page.refreshId;
  const startedAt = performance.now();
  const since = page.live ? Number((page.live.now_unix_ns / 1e9 - STALLS_OVERLAP_SECONDS).toFixed(3)) : 0;
  let live = null;
  try {
    const response = await fetch(since > 0 ? `live?since=${since}` : "live", { signal: AbortSignal.timeout(RESPONSE_TIMEOUT_MS) });
    if (!response.ok) throw new Error(`/live returned status ${response.status}`);
    live = await response.json();
  } catch {
    // The next request may succeed.
  }
  if (page.paused || refreshId !== page.refreshId) return;
  page.timer = setTimeout(refresh, Math.max(MIN_REFRESH_DELAY_MS, REFRESH_INTERVAL_MS - (performance.now() - startedAt)));
  if (live === null) {
    page.downSince ??= new Date();
    return renderStatus();
  }
  page.downSince = null;
  page.live = live;
  addSample(live, since);
  page.receivedAt = performance.now();
  render(live);
  updatePolls();
}

/** Returns what is not recorded. */
function limits(live) {
  const limits = live.process.all_tasks ? [] : ["only named futures"];
  if (live.is_paused) limits.push("recording is paused");
  else if (live.recording === "detect") limits.push("only stalls are recorded: poll times, delays and busy time are not measured");
  return limits;
}

function render(live) {
  const program = live.process.program.split("/").at(-1);
  setText(byId("process"), [`${program}, process ${live.process.pid}`, ...limits(live)].join(", "));
  document.title = `${recent.ongoing.length > 0 ? "● " : ""}${program} · loopscope`;
  updateFindings(live);
  const sums = rangeSums(visibleRange());
  renderFindings(live, sums);
  renderStatus();
  renderTiles(live);
  renderRange();
  renderLanes(live, sums);
  drawOverview();
  renderStall();
  renderLongest(live);
  renderTasks(live);
}

function renderLast() {
  if (page.live) render(page.live);
}

function renderStatus() {
  const status = byId("status");
  const blocked = recent.ongoing.length;
  // Without a runtime, nothing can stall: that must not be taken for health.
  const isUnwatched = page.live?.workers.length === 0 && page.live.runtimes.length === 0;
  const [name, text] = page.paused
    ? ["paused", page.live ? `paused at ${timeOfDay(new Date(page.live.now * 1e3))}` : "paused"]
    : page.downSince
      ? ["down", `no answer since ${timeOfDay(page.downSince)}, retrying`]
      : blocked > 0
        ? ["blocked", `${counted(blocked, "worker", "workers")} blocked`]
        : isUnwatched
          ? ["unwatched", "no runtime is watched"]
          : ["fine", "no stall now"];
  const previousClass = status.className;
  status.className = `status ${name}`;
  // A screen reader announces only the start and end of a pause and of an outage. Announcing each stall
  // would be too much; new findings are announced separately.
  const isAnnounced = (className) => className.endsWith(" down") || className.endsWith(" paused");
  const isChanged = previousClass !== status.className;
  if (isChanged && (isAnnounced(status.className) || isAnnounced(previousClass))) announce(text);
  setText(status, text);
  setClass(document.body, "stale", page.downSince && !page.paused);
}

function tile(name, value, note, level) {
  const root = byId(`tile-${name}`);
  setText(root.querySelector(".value"), value);
  setText(root.querySelector(".note"), note);
  setClass(root, "warn", level === "warn");
  setClass(root, "bad", level === "bad");
}

/** Returns since when the tiles count: the last minute, or the start of the scope if that was later. */
const windowStart = (live) => Math.max(live.now - WINDOW_SECONDS, live.start ?? historyStart());

function renderTiles(live) {
  const range = { from: windowStart(live), to: live.now };
  const length = Math.max(1e-3, range.to - range.from);
  const lost = rangeSums(range).own;
  const share = Math.min(1, lost / (length * workerCount(live)));
  const ago = length >= WINDOW_SECONDS - 1 ? "in the last minute" : `in the ${duration(Number(length.toPrecision(2)))} since the start`;
  tile("lost", percent(share), `${duration(lost)} ${ago}`, share > 0.01 ? "bad" : share > 0 ? "warn" : "");

  const oldest = recent.ongoing.reduce((oldest, stall) => Math.min(oldest, stall.from), live.now);
  const blocked = recent.ongoing.length;
  tile("now", `${blocked} of ${workerCount(live)}`, blocked > 0 ? `longest: ${duration(live.now - oldest)}` : "workers", blocked > 0 ? "bad" : "");

  const first = firstSample(live);
  const delays = live.tasks.kinds.map((kind) => difference(first?.kinds.get(kind.name)?.delay, kind.delay));
  const bucketCount = live.tasks.bounds_seconds.length + 1;
  const buckets = Array.from({ length: bucketCount }, (_, index) => delays.reduce((sum, { buckets }) => sum + buckets[index], 0));
  const p99 = quantile({ buckets, max: Math.max(0, ...delays.map(({ max }) => max)) }, 0.99, live.tasks.bounds_seconds);
  tile("delay", p99 === null ? "–" : duration(p99), "from wake to poll", p99 > live.threshold_seconds ? "bad" : "");

  const seconds = live.now - (first?.now ?? live.start ?? live.now);
  const added = (total) => Math.max(0, total(live) - (first ? total(first) : 0));
  const used = seconds > 0 ? added(({ workers }) => workers.reduce((sum, worker) => sum + worker.busy_seconds, 0)) / (seconds * workerCount(live)) : null;
  const alive = live.runtimes.reduce((sum, runtime) => sum + runtime.alive_tasks, 0);
  tile("busy", used === null ? "–" : percent(Math.min(1, used)), `of ${counted(workerCount(live), "worker", "workers")}; ${counted(alive, "live task", "live tasks")}`, used > 0.9 ? "bad" : used > 0.7 ? "warn" : "");

  const starved = added((sample) => sample.starved.total_seconds);
  tile("starved", duration(starved), "not caused by the code", starved > 1 ? "warn" : "");

  const cpu = seconds > 0 ? added((sample) => sample.watchdog_cpu_seconds) / seconds : null;
  tile("observer", cpu === null ? "–" : percent(cpu), "of one CPU", "");
  const isOfOtherTime = first ? live.now - first.now < WINDOW_SECONDS - 1.5 : length >= WINDOW_SECONDS - 1;
  const dropped = live.dropped > 0 ? ` ${counted(live.dropped, "observation", "observations")} dropped since the start.` : "";
  setText(byId("tiles-window"), `${isOfOtherTime ? "Schedule delay, busy, waiting, watchdog" : "All figures"}: ${windowText(live)}.${dropped}`);
}

/** Announces a text to screen readers. */
function announce(text) {
  page.announcedAt = performance.now();
  byId("announcement").textContent = text;
}

/** Announces a text, unless the last announcement was very recent. For events that may come in bursts. */
function announceRateLimited(text) {
  if (performance.now() - page.announcedAt >= MIN_ANNOUNCEMENT_INTERVAL_MS) announce(text);
}

function setPaused(paused) {
  page.paused = paused;
  byId("pause").setAttribute("aria-pressed", String(paused));
  renderStatus();
  if (!paused) return refresh();
  clearTimeout(page.timer);
  clearTimeout(recorded.timer);
  recorded.timer = 0;
}

byId("pause").addEventListener("click", () => setPaused(!page.paused));
document.addEventListener("keydown", (event) => {
  const isTyping = event.target instanceof HTMLInputElement || event.target instanceof HTMLSelectElement;
  if (event.key === "p" && !isTyping && !event.ctrlKey && !event.metaKey && !event.altKey) setPaused(!page.paused);
});
byId("findings-filter").addEventListener("input", renderInNewOrder);
byId("tasks-filter").addEventListener("input", renderLast);

const REDUCED_MOTION = matchMedia("(prefers-reduced-motion: reduce)");
setInterval(() => {
  if (!page.live || page.paused || page.downSince || document.hidden || REDUCED_MOTION.matches) return;
  // A picture that moved by less than half a pixel, and shows no growing age, is still right.
  const { from, to } = visibleRange();
  const moved = view.mode === "fixed" ? 0 : (((performance.now() - chart.drawnAt) / 1e3) * chart.width) / (to - from);
  if (moved >= 0.5 || recent.ongoing.length > 0) drawLanes();
}, REDRAW_INTERVAL_MS);
readHash();
refresh();
