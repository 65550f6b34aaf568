
// Keeps the samples and stalls of the last minute. A sample is one response of /live and contains totals.

const WINDOW_SECONDS = 60;
/** Ended stalls are kept for this time after they have left the window. */
const STALL_RETENTION_SECONDS = 5;
const recent = { samples: [], ended: new Map(), ongoing: [] };

const stallKey = (stall) => `${stall.worker} ${stall.start_unix_ns}`;

/** Adds a sample. If it is from another process, or counts from zero again, the older samples are removed. */
function addSample(live) {
  const last = recent.samples.at(-1);
  const polls = (sample) => sample.workers.reduce((sum, worker) => sum + worker.polls, 0);
  if (last && (last.process.pid !== live.process.pid || polls(live) < polls(last))) {
    recent.samples.length = 0;
    recent.ended.clear();
  }
  live.now = live.now_unix_ns / 1e9;
  live.kinds = new Map(live.tasks.kinds.map((kind) => [kind.name, kind]));
  recent.samples.push(live);
  while (recent.samples.length > 2 && recent.samples[1].now <= live.now - WINDOW_SECONDS) recent.samples.shift();

  recent.ongoing = live.stalls.filter((stall) => stall.end_unix_ns === null);
  for (const stall of live.stalls) if (stall.end_unix_ns !== null) recent.ended.set(stallKey(stall), stall);
  for (const [key, stall] of recent.ended) {
    if (stall.end_unix_ns / 1e9 < live.now - WINDOW_SECONDS - STALL_RETENTION_SECONDS) recent.ended.delete(key);
  }
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

/** Calls `visit` for each pair of consecutive samples, which are about one second apart. */
function forEachInterval(visit) {
  for (let index = 1; index < recent.samples.length; index++) visit(recent.samples[index - 1], recent.samples[index]);
}

/** Returns how many seconds of a stall are within the minute before `now`. */
function secondsInWindow(stall, now) {
  const end = stall.end_unix_ns === null ? now : stall.end_unix_ns / 1e9;
  return Math.max(0, Math.min(end, now) - Math.max(stall.start_unix_ns / 1e9, now - WINDOW_SECONDS));
}

const allStalls = () => [...recent.ended.values(), ...recent.ongoing];

/** Returns the number of workers. The thread of a root future has a lane, but is not a worker. */
const workerCount = (live) => live.runtimes.reduce((sum, runtime) => sum + runtime.workers, 0) || live.workers.length || 1;
