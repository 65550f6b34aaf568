
// Keeps what the responses of /live contained: samples of the last minute, how busy the workers were, and stalls.

const WINDOW_SECONDS = 60;
/** The server keeps this number of ended stalls. The page keeps more, so that its history grows while it is open. */
const SERVER_STALLS = 4096;
const MAX_STALLS = 8192;
/** One hour. */
const MAX_BUSY_INTERVALS = 3600;
const LINE_BINS = 60;
/** The start of a stall in progress is converted anew in each response, so it may change by less than this. */
const START_TOLERANCE_SECONDS = 1e-3;
/** The page's times follow the server's clock of intervals. If they differ from the wall clock by more, they are moved. */
const MAX_CLOCK_ERROR_SECONDS = 0.1;
/** `scopeStart` is the start of the scope in Unix seconds. All times of the page are counted from it. */
const recent = { samples: [], ended: new Map(), ongoing: [], stalls: [], busy: [], labels: [], isTrimmed: false, scopeStart: 0 };

const stallKey = (stall) => `${stall.worker} ${stall.start_unix_ns}`;

/**
 * Converts a time of a document, which has computed it from its own reading of the wall clock, as it has `startUnixNs`,
 * the start of the scope. So equal times of two documents are equal, whatever happened to the wall clock between them.
 */
const pageTime = (unixNs, startUnixNs) => recent.scopeStart + (unixNs - (startUnixNs ?? 0)) / 1e9;

/** Converts a time of the page to the server's wall clock, and back. */
const clockError = () => (page.live?.scope_start_unix_ns ?? 0) / 1e9 - recent.scopeStart;
const toWallClock = (seconds) => seconds + clockError();
const fromWallClock = (seconds) => seconds - clockError();

/** Moves all times of the page. */
function moveTimes(distance) {
  recent.scopeStart += distance;
  for (const sample of recent.samples) {
    sample.now += distance;
    sample.start += distance;
  }
  for (const times of [...recent.stalls, ...recent.busy, view]) {
    times.from += distance;
    times.to += distance;
  }
  selected.from += distance;
  forgetPolls();
}

/** Returns whether a sample is from another process than the last one, or counts from zero again. */
function hasRestarted(live) {
  const last = recent.samples.at(-1);
  if (!last) return false;
  const polls = (sample) => sample.workers.reduce((sum, worker) => sum + worker.polls, 0);
  if (last.process.pid !== live.process.pid || polls(live) < polls(last)) return true;
  // In a container, the process id is the same after a restart. A clock that was set moves the start too.
  const age = (sample) => (sample.now_unix_ns - sample.scope_start_unix_ns) / 1e9;
  const passed = (performance.now() - page.receivedAt) / 1e3;
  const isLater = live.scope_start_unix_ns / 1e9 > recent.scopeStart + 0.5;
  return isLater && age(live) < passed + 1 && age(live) < age(last) + passed - 0.5;
}

/**
 * Adds a sample: one response of /live, which contains totals. It has all stalls that had not ended at `since`. If it is
 * from another process, or counts from zero again, the older samples are removed.
 */
function addSample(live, since) {
  if (hasRestarted(live)) {
    Object.assign(recent, { samples: [], busy: [], isTrimmed: false });
    recent.ended.clear();
    forgetPolls();
  }
  const scopeStart = (live.scope_start_unix_ns ?? 0) / 1e9;
  if (recent.samples.length === 0) recent.scopeStart = scopeStart;
  else if (Math.abs(scopeStart - recent.scopeStart) > MAX_CLOCK_ERROR_SECONDS) moveTimes(scopeStart - recent.scopeStart);
  live.now = pageTime(live.now_unix_ns, live.scope_start_unix_ns);
  live.start = live.scope_start_unix_ns ? recent.scopeStart : null;
  live.kinds = new Map(live.tasks.kinds.map((kind) => [kind.name, kind]));
  addStalls(live, since);
  // The time of a poll is counted as it ends. The polls in progress that are stalls are known. A stall may be longer than
  // its present poll: one task may hold the worker over many polls.
  const activeSeconds = new Map(live.workers.map((worker) => [worker.label, worker.active_poll_seconds ?? 0]));
  for (const { task, worker } of recent.ongoing) {
    const kind = live.kinds.get(task);
    if (!kind) continue;
    const seconds = activeSeconds.get(worker) ?? 0;
    kind.poll.sum_seconds += seconds;
    kind.poll.max_seconds = Math.max(kind.poll.max_seconds, seconds);
  }
  const previous = recent.samples.at(-1);
  live.curves = previous ? secondQuantiles(previous, live) : new Map();
  if (previous) addBusyInterval(previous, live);
  recent.samples.push(live);
  while (recent.samples.length > 2 && recent.samples[1].now <= live.now - WINDOW_SECONDS) recent.samples.shift();
}

function addStalls(live, since) {
  if (live.stalls.length >= SERVER_STALLS) recent.isTrimmed = true;
  for (const stall of live.stalls) {
    stall.from = pageTime(stall.start_unix_ns, live.scope_start_unix_ns);
    stall.to = stall.end_unix_ns === null ? Infinity : pageTime(stall.end_unix_ns, live.scope_start_unix_ns);
  }
  const sinceTime = fromWallClock(since);
  // An end that was not final is replaced by the final one, which may have another start.
  for (const [key, stall] of recent.ended) if (stall.to > sinceTime + 1e-5) recent.ended.delete(key);
  for (const stall of live.stalls) if (stall.end_unix_ns !== null) recent.ended.set(stallKey(stall), stall);
  for (const key of recent.ended.keys()) {
    if (recent.ended.size <= MAX_STALLS) break;
    recent.ended.delete(key);
    recent.isTrimmed = true;
  }
  recent.ongoing = live.stalls.filter((stall) => stall.end_unix_ns === null);
  recent.stalls = [...recent.ended.values(), ...recent.ongoing].sort((a, b) => a.from - b.from);
}

/** Keeps which share of the time between two samples each worker was busy. */
function addBusyInterval(earlier, later) {
  const labels = later.workers.map(({ label }) => label);
  const isSame = labels.length === recent.labels.length && labels.every((label, index) => label === recent.labels[index]);
  if (!isSame) recent.labels = labels;
  const before = new Map(earlier.workers.map((worker) => [worker.label, worker.busy_seconds]));
  const seconds = later.now - earlier.now;
  const shares = Float32Array.from(later.workers, ({ label, busy_seconds }) =>
    seconds > 0 && before.has(label) ? Math.min(1, Math.max(0, (busy_seconds - before.get(label)) / seconds)) : NaN,
  );
  recent.busy.push({ from: earlier.now, to: later.now, labels: recent.labels, shares });
  if (recent.busy.length > MAX_BUSY_INTERVALS) recent.busy.shift();
}

/** Returns the p99 of the polls and the delays of each kind between two samples. */
function secondQuantiles(earlier, later) {
  const curves = new Map();
  for (const [name, kind] of later.kinds) {
    const before = earlier.kinds.get(name);
    if (before?.poll.count === kind.poll.count && before.delay.count === kind.delay.count) continue;
    const p99 = (distribution) =>
      quantile(difference(before?.[distribution], kind[distribution]), 0.99, later.tasks.bounds_seconds);
    curves.set(name, { poll: p99("poll"), delay: p99("delay") });
  }
  return curves;
}

/** Returns the values added between two samples of a distribution, or all values without an earlier sample. */
function difference(earlier, later) {
  if (!earlier) return { count: later.count, sum: later.sum_seconds, buckets: later.buckets, max: later.max_seconds };
  return {
    count: later.count - earlier.count,
    sum: later.sum_seconds - earlier.sum_seconds,
    buckets: later.buckets.map((n, index) => n - earlier.buckets[index]),
    max: later.max_seconds,
  };
}

/** Returns a quantile, interpolated within a bucket as in Prometheus, or null without values. */
function quantile(values, share, bounds) {
  const total = values.buckets.reduce((sum, n) => sum + n, 0);
  if (total <= 0) return null;
  const rank = share * total;
  let counted = 0;
  for (let index = 0; index < values.buckets.length; index++) {
    const inBucket = values.buckets[index];
    if (inBucket > 0 && counted + inBucket >= rank) {
      const low = index > 0 ? bounds[index - 1] : 0;
      const high = index < bounds.length ? Math.min(bounds[index], values.max) : values.max;
      return low + Math.max(0, high - low) * ((rank - counted) / inBucket);
    }
    counted += inBucket;
  }
  return values.max;
}

/** Returns how many seconds of a stall are within a range. */
const secondsWithin = (stall, range) => Math.max(0, Math.min(stall.to, range.to) - Math.max(stall.from, range.from));

/** Returns the time since which all stalls are known. */
function historyStart() {
  if (recent.isTrimmed && recent.stalls.length > 0) return recent.stalls[0].from;
  return page.live?.start ?? recent.stalls[0]?.from ?? recent.samples[0]?.now ?? Date.now() / 1e3;
}

/**
 * Returns the share of the time of a finding's stalls that its code took. A stall has only its times by the clock, which
 * include waits for a CPU: its own time is estimated from this share.
 */
function ownShare(finding) {
  if (!finding) return 1;
  const { on_cpu_seconds, off_cpu_seconds, run_queue_seconds, paused_seconds, unknown_seconds } = finding.split;
  const own = on_cpu_seconds + off_cpu_seconds;
  const whole = own + run_queue_seconds + paused_seconds + unknown_seconds;
  return whole > 0 ? own / whole : 1;
}

/**
 * Returns what the stalls within a range add up to: by worker, the time by the clock; by finding and altogether, the
 * own time. A finding also gets a line over time.
 */
function rangeSums(range) {
  const sums = { own: 0, workers: new Map(), findings: new Map() };
  const bin = (range.to - range.from) / LINE_BINS;
  // Bins that move with the time would change the shape of the line.
  const start = Math.ceil(range.from / bin - 1e-6) * bin;
  const sumOf = (map, key) => {
    let sum = map.get(key);
    if (!sum) map.set(key, (sum = { seconds: 0, count: 0, bins: null }));
    return sum;
  };
  for (const stall of recent.stalls) {
    if (stall.from > range.to) break;
    if (stall.to < range.from) continue;
    const seconds = secondsWithin(stall, range);
    const ofWorker = sumOf(sums.workers, stall.worker);
    ofWorker.seconds += seconds;
    ofWorker.count += 1;
    const share = ownShare(findingOf(stall.finding));
    sums.own += seconds * share;
    if (!stall.finding) continue;
    const ofFinding = sumOf(sums.findings, stall.finding);
    ofFinding.seconds += seconds * share;
    ofFinding.count += 1;
    ofFinding.bins ??= new Float64Array(LINE_BINS);
    const [from, to] = [Math.max(stall.from, range.from), Math.min(stall.to, range.to)];
    for (let index = Math.max(0, Math.floor((from - start) / bin)); index < LINE_BINS; index++) {
      const binStart = start + index * bin;
      if (binStart > to) break;
      ofFinding.bins[index] += share * Math.max(0, Math.min(to, binStart + bin) - Math.max(from, binStart));
    }
  }
  return sums;
}

/** Returns the sample from which the figures of the last minute count, or null if they count from the start of the scope. */
function firstSample(live) {
  const isYoung = live.start !== null && live.now - live.start < WINDOW_SECONDS;
  return isYoung || recent.samples[0] === live ? null : recent.samples[0];
}

/** Says from when on these figures count. */
function windowText(live) {
  const first = firstSample(live);
  const seconds = live.now - (first?.now ?? live.start ?? live.now);
  if (!first) return seconds < WINDOW_SECONDS ? `the ${span(Number(seconds.toPrecision(2)))} since the start` : `since the start, ${span(seconds)} ago`;
  return seconds < WINDOW_SECONDS - 1.5 ? `the last ${Math.max(1, Math.round(seconds))} s` : "the last minute";
}

/** Returns the number of workers. The thread of a root future has a lane, but is not a worker. */
const workerCount = (live) => live.runtimes.reduce((sum, runtime) => sum + runtime.workers, 0) || live.workers.length || 1;
