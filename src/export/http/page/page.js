
// Requests /live once per second, and continues after the server was unavailable.

const REFRESH_INTERVAL_MS = 1000;
const MIN_REFRESH_DELAY_MS = 100;
const REDRAW_INTERVAL_MS = 100;
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
  try {
    const since = page.live ? `?since=${(page.live.now - STALLS_OVERLAP_SECONDS).toFixed(3)}` : "";
    const response = await fetch(`live${since}`, { signal: AbortSignal.timeout(RESPONSE_TIMEOUT_MS) });
    if (!response.ok) throw new Error(`/live returned status ${response.status}`);
    const live = await response.json();
    if (page.paused || refreshId !== page.refreshId) return;
    page.downSince = null;
    addSample(live);
    page.live = live;
    page.receivedAt = performance.now();
    render(live);
  } catch {
    if (page.paused || refreshId !== page.refreshId) return;
    page.downSince ??= new Date();
    renderStatus();
  }
  page.timer = setTimeout(refresh, Math.max(MIN_REFRESH_DELAY_MS, REFRESH_INTERVAL_MS - (performance.now() - startedAt)));
}

function render(live) {
  const program = live.process.program.split("/").at(-1);
  setText(byId("process"), `${program}, process ${live.process.pid}${live.process.all_tasks ? "" : ", only named futures"}`);
  document.title = `${recent.ongoing.length > 0 ? "● " : ""}${program} · loopscope`;
  renderFindings(live);
  renderStatus();
  renderTiles(live);
  renderLanes(live);
  renderTasks(live);
}

function renderLast() {
  if (page.live) render(page.live);
}

function renderStatus() {
  const status = byId("status");
  const blocked = recent.ongoing.length;
  const [name, text] = page.paused
    ? ["paused", page.live ? `paused at ${timeOfDay(new Date(page.live.now * 1e3))}` : "paused"]
    : page.downSince
      ? ["down", `no answer since ${timeOfDay(page.downSince)}, retrying`]
      : blocked > 0
        ? ["blocked", `${counted(blocked, "worker", "workers")} blocked`]
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
  setText(root.querySelector("dd"), value);
  setText(root.querySelector("p"), note);
  setClass(root, "warn", level === "warn");
  setClass(root, "bad", level === "bad");
}

function renderTiles(live) {
  const stalls = allStalls();
  const lost = stalls.reduce((sum, stall) => sum + secondsInWindow(stall, live.now), 0);
  const share = lost / (WINDOW_SECONDS * workerCount(live));
  tile("lost", percent(share), `${duration(lost)} of the workers' time in the last minute`, share > 0.01 ? "bad" : share > 0 ? "warn" : "");

  const oldest = recent.ongoing.reduce((oldest, stall) => Math.min(oldest, stall.start_unix_ns / 1e9), live.now);
  const blocked = recent.ongoing.length;
  tile("now", `${blocked} of ${workerCount(live)}`, blocked > 0 ? `the longest for ${age(live.now - oldest)}` : "workers", blocked > 0 ? "bad" : "");

  const delays = live.tasks.kinds.map((kind) => difference(recent.samples[0].kinds.get(kind.name)?.delay, kind.delay));
  const bucketCount = live.tasks.bounds_seconds.length + 1;
  const buckets = Array.from({ length: bucketCount }, (_, index) => delays.reduce((sum, { buckets }) => sum + buckets[index], 0));
  const p99 = quantile({ buckets, max: Math.max(0, ...delays.map(({ max }) => max)) }, 0.99, live.tasks.bounds_seconds);
  tile("delay", p99 === null ? "–" : duration(p99), "from a wake to the next poll", p99 > live.threshold_seconds ? "bad" : "");

  const first = recent.samples[0];
  const seconds = live.now - first.now;
  const busy = (sample) => sample.workers.reduce((sum, worker) => sum + worker.busy_seconds, 0);
  const used = seconds > 0 ? (busy(live) - busy(first)) / (seconds * workerCount(live)) : null;
  const alive = live.runtimes.reduce((sum, runtime) => sum + runtime.alive_tasks, 0);
  tile("busy", used === null ? "–" : percent(Math.max(0, used)), counted(alive, "live task", "live tasks"), used > 0.9 ? "bad" : used > 0.7 ? "warn" : "");

  const starved = live.starved.total_seconds - (first === live ? 0 : first.starved.total_seconds);
  tile("starved", duration(Math.max(0, starved)), "caused by the machine, not by the code", starved > 1 ? "warn" : "");

  const cpu = seconds > 0 ? (live.watchdog_cpu_seconds - first.watchdog_cpu_seconds) / seconds : null;
  const dropped = live.dropped > 0 ? `${counted(live.dropped, "observation", "observations")} dropped so far` : "no observations dropped";
  tile("observer", cpu === null ? "–" : percent(Math.max(0, cpu)), `of one CPU; ${dropped}`, "");
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
  if (paused) clearTimeout(page.timer);
  else refresh();
}

byId("pause").addEventListener("click", () => setPaused(!page.paused));
document.addEventListener("keydown", (event) => {
  const isTyping = event.target instanceof HTMLInputElement;
  if (event.key === "p" && !isTyping && !event.ctrlKey && !event.metaKey && !event.altKey) setPaused(!page.paused);
});
byId("findings-all").addEventListener("click", () => {
  showAll = !showAll;
  renderLast();
});
for (const filter of ["findings-filter", "tasks-filter"]) byId(filter).addEventListener("input", renderLast);

const REDUCED_MOTION = matchMedia("(prefers-reduced-motion: reduce)");
setInterval(() => {
  if (page.live && !page.paused && !page.downSince && !document.hidden && !REDUCED_MOTION.matches) drawLanes();
}, REDRAW_INTERVAL_MS);
refresh();
