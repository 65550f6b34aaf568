
// Asks once a second, and survives the server's absence.

const EACH = 1000;
const PATIENCE = 5000;
/** Stalls are diagnosed a while after they ended: so far back is asked again. */
const OVERLAP = 5;

const page = { live: null, answeredAt: 0, paused: false, downSince: null, timer: 0, round: 0, saidAt: 0 };

/** The server's clock; it stands while nothing is heard. */
function serverNow() {
  if (!page.live) return Date.now() / 1e3;
  const stands = page.paused || page.downSince !== null;
  return page.live.now + (stands ? 0 : (performance.now() - page.answeredAt) / 1e3);
}

async function refresh() {
  clearTimeout(page.timer);
  const round = ++page.round;
  const begun = performance.now();
  try {
    const since = page.live ? `?since=${(page.live.now - OVERLAP).toFixed(3)}` : "";
    const response = await fetch(`live${since}`, { signal: AbortSignal.timeout(PATIENCE) });
    if (!response.ok) throw new Error(`the server answered ${response.status}`);
    const live = await response.json();
    if (page.paused || round !== page.round) return;
    page.downSince = null;
    remember(live);
    page.live = live;
    page.answeredAt = performance.now();
    render(live);
  } catch {
    if (page.paused || round !== page.round) return;
    page.downSince ??= new Date();
    renderStatus();
  }
  page.timer = setTimeout(refresh, Math.max(100, EACH - (performance.now() - begun)));
}

function render(live) {
  const program = live.process.program.split("/").at(-1);
  write(byId("process"), `${program}, process ${live.process.pid}${live.process.all_tasks ? "" : ", named tasks only"}`);
  document.title = `${past.ongoing.length > 0 ? "● " : ""}${program} · loopscope`;
  renderFindings(live);
  renderStatus();
  renderTiles(live);
  renderLanes(live);
  renderTasks(live);
}

function renderAgain() {
  if (page.live) render(page.live);
}

function renderStatus() {
  const status = byId("status");
  const blocked = past.ongoing.length;
  const said = page.paused
    ? ["paused", page.live ? `paused at ${clock(new Date(page.live.now * 1e3))}` : "paused"]
    : page.downSince
      ? ["down", `no answer since ${clock(page.downSince)}, asking again`]
      : blocked > 0
        ? ["blocked", `${many(blocked, "worker", "workers")} blocked`]
        : ["fine", "no stall now"];
  const was = status.className;
  status.className = `status ${said[0]}`;
  // Each stall would be too much to listen to; the findings are told as they come.
  const isTold = (name) => name.endsWith(" down") || name.endsWith(" paused");
  if (was !== status.className && (isTold(status.className) || isTold(was))) announce(said[1]);
  write(status, said[1]);
  mark(document.body, "stale", page.downSince && !page.paused);
}

function tile(name, value, note, level) {
  const root = byId(`tile-${name}`);
  write(root.querySelector("dd"), value);
  write(root.querySelector("p"), note);
  mark(root, "warn", level === "warn");
  mark(root, "bad", level === "bad");
}

function renderTiles(live) {
  const stalls = allStalls();
  const lost = stalls.reduce((sum, stall) => sum + withinMinute(stall, live.now), 0);
  const share = lost / (MINUTE * workersOf(live));
  tile("lost", percent(share), `${duration(lost)} of workers' time in the last minute`, share > 0.01 ? "bad" : share > 0 ? "warn" : "");

  const oldest = past.ongoing.reduce((oldest, stall) => Math.min(oldest, stall.start_unix_ns / 1e9), live.now);
  const now = past.ongoing.length;
  tile("now", `${now} of ${workersOf(live)}`, now > 0 ? `the longest for ${age(live.now - oldest)}` : "workers", now > 0 ? "bad" : "");

  const delays = live.tasks.kinds.map((kind) => between(past.samples[0].kinds.get(kind.name)?.delay, kind.delay));
  const width = live.tasks.bounds_seconds.length + 1;
  const buckets = Array.from({ length: width }, (_, at) => delays.reduce((sum, { buckets }) => sum + buckets[at], 0));
  const p99 = quantile({ buckets, max: Math.max(0, ...delays.map(({ max }) => max)) }, 0.99, live.tasks.bounds_seconds);
  tile("delay", p99 === null ? "–" : duration(p99), "from a wake to its poll", p99 > live.threshold_seconds ? "bad" : "");

  const first = past.samples[0];
  const seconds = live.now - first.now;
  const busy = (answer) => answer.workers.reduce((sum, worker) => sum + worker.busy_seconds, 0);
  const used = seconds > 0 ? (busy(live) - busy(first)) / (seconds * workersOf(live)) : null;
  const alive = live.runtimes.reduce((sum, runtime) => sum + runtime.alive_tasks, 0);
  tile("busy", used === null ? "–" : percent(Math.max(0, used)), many(alive, "task lives", "tasks live"), used > 0.9 ? "bad" : used > 0.7 ? "warn" : "");

  const starved = live.starved.total_seconds - (first === live ? 0 : first.starved.total_seconds);
  tile("starved", duration(Math.max(0, starved)), "the machine's fault, not the code's", starved > 1 ? "warn" : "");

  const cpu = seconds > 0 ? (live.watchdog_cpu_seconds - first.watchdog_cpu_seconds) / seconds : null;
  const dropped = live.dropped > 0 ? `${many(live.dropped, "observation", "observations")} lost so far` : "nothing lost";
  tile("observer", cpu === null ? "–" : percent(Math.max(0, cpu)), `of a core; ${dropped}`, "");
}

/** For those who do not see the page. */
function announce(text) {
  page.saidAt = performance.now();
  byId("announcement").textContent = text;
}

/** The same for what may come in crowds: not more often than can be listened to. */
function announceCalmly(text) {
  if (performance.now() - page.saidAt >= 3000) announce(text);
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
  const isWriting = event.target instanceof HTMLInputElement;
  if (event.key === "p" && !isWriting && !event.ctrlKey && !event.metaKey && !event.altKey) setPaused(!page.paused);
});
byId("findings-all").addEventListener("click", () => {
  showAll = !showAll;
  renderAgain();
});
for (const filter of ["findings-filter", "tasks-filter"]) byId(filter).addEventListener("input", renderAgain);

const CALM = matchMedia("(prefers-reduced-motion: reduce)");
setInterval(() => {
  if (page.live && !page.paused && !page.downSince && !document.hidden && !CALM.matches) drawLanes();
}, 100);
refresh();
