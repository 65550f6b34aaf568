
// The last minute, from answers that hold only totals.

const MINUTE = 60;
const past = { samples: [], ended: new Map(), ongoing: [] };

const stallKey = (stall) => `${stall.worker} ${stall.start_unix_ns}`;

/** Takes in an answer. One of another process, or a restarted one, begins anew. */
function remember(live) {
  const last = past.samples.at(-1);
  const polls = (answer) => answer.workers.reduce((sum, worker) => sum + worker.polls, 0);
  if (last && (last.process.pid !== live.process.pid || polls(live) < polls(last))) {
    past.samples.length = 0;
    past.ended.clear();
  }
  live.now = live.now_unix_ns / 1e9;
  live.kinds = new Map(live.tasks.kinds.map((kind) => [kind.name, kind]));
  past.samples.push(live);
  while (past.samples.length > 2 && past.samples[1].now <= live.now - MINUTE) past.samples.shift();

  past.ongoing = live.stalls.filter((stall) => stall.end_unix_ns === null);
  for (const stall of live.stalls) if (stall.end_unix_ns !== null) past.ended.set(stallKey(stall), stall);
  for (const [key, stall] of past.ended) {
    if (stall.end_unix_ns / 1e9 < live.now - MINUTE - 5) past.ended.delete(key);
  }
}

/** The values that came between two samples of a distribution; all without an earlier one. */
function between(earlier, later) {
  if (!earlier) return { count: later.count, sum: later.sum_seconds, buckets: later.buckets, max: later.max_seconds };
  return {
    count: later.count - earlier.count,
    sum: later.sum_seconds - earlier.sum_seconds,
    buckets: later.buckets.map((n, at) => n - earlier.buckets[at]),
    max: later.max_seconds,
  };
}

/** Interpolated within a bucket, as Prometheus does; null without values. */
function quantile(values, share, bounds) {
  const total = values.buckets.reduce((sum, n) => sum + n, 0);
  if (total <= 0) return null;
  const rank = share * total;
  let seen = 0;
  for (let at = 0; at < values.buckets.length; at++) {
    const within = values.buckets[at];
    if (within > 0 && seen + within >= rank) {
      const low = at > 0 ? bounds[at - 1] : 0;
      const high = at < bounds.length ? Math.min(bounds[at], values.max) : values.max;
      return low + Math.max(0, high - low) * ((rank - seen) / within);
    }
    seen += within;
  }
  return values.max;
}

/** Each pair of neighbouring samples. */
function eachSecond(visit) {
  for (let at = 1; at < past.samples.length; at++) visit(past.samples[at - 1], past.samples[at], at);
}

/** How many seconds of a stall lie within the minute before `now`. */
function withinMinute(stall, now) {
  const end = stall.end_unix_ns === null ? now : stall.end_unix_ns / 1e9;
  return Math.max(0, Math.min(end, now) - Math.max(stall.start_unix_ns / 1e9, now - MINUTE));
}

const allStalls = () => [...past.ended.values(), ...past.ongoing];

/** Workers of the runtimes; a root future's thread is a lane and no worker. */
const workersOf = (live) => live.runtimes.reduce((sum, runtime) => sum + runtime.workers, 0) || live.workers.length || 1;
