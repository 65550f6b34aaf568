
// Loads what the flight recorder of the server knows of the visible range, and draws it: how much of the time each worker
// was in polls, also before the page was opened. It does not record very short polls.

/** While the range changes, nothing is requested. */
const POLLS_DELAY_MS = 200;
const POLLS_TIMEOUT_MS = 5000;
/** A range that follows the present is requested again after this share of its length. */
const POLLS_REFRESH_SHARE = 1 / 30;
const MIN_POLLS_REFRESH_SECONDS = 1;
const MAX_POLLS_COLUMNS = 600;
/** Of all workers together. */
const MAX_POLLS_CELLS = 24000;
const MIN_POLLS_COLUMNS = 60;
/** More than the range is requested, because the clocks of the page and the server drift apart between two responses. */
const MIN_MARGIN_SECONDS = 2e-3;
const MARGIN_SHARE = 0.01;
const TIME_TOLERANCE_SECONDS = 1e-6;
/** `workers` maps labels to what is known of them: `since`, `shares` and `polls`. Times are seconds, as in `recent`. */
const recorded = { from: 0, to: -1, isListed: false, workers: new Map(), minSeconds: null, requestId: 0, timer: 0, isFailed: false };

function forgetPolls() {
  clearTimeout(recorded.timer);
  Object.assign(recorded, { from: 0, to: -1, workers: new Map(), requestId: recorded.requestId + 1, timer: 0 });
}

/** Returns whether the recorded polls of a range are loaded, as exactly as the range needs. */
function isLoaded(range) {
  const now = serverNow();
  const [from, to] = [Math.max(range.from, page.live.start ?? 0), Math.min(range.to, now)];
  const length = range.to - range.from;
  const tolerance = Math.max(MIN_POLLS_REFRESH_SECONDS, length * POLLS_REFRESH_SHARE);
  const isCovered = recorded.from <= from + TIME_TOLERANCE_SECONDS && recorded.to >= to - (range.to < now ? TIME_TOLERANCE_SECONDS : tolerance);
  return isCovered && (recorded.isListed || recorded.to - recorded.from <= length * 1.5);
}

/** Requests the polls of the visible range soon, if they are not loaded. */
function updatePolls() {
  if (recorded.timer !== 0 || !page.live || document.hidden || page.downSince || isLoaded(visibleRange())) return;
  recorded.timer = setTimeout(() => loadPolls().finally(() => (recorded.timer = 0)), POLLS_DELAY_MS);
}

async function loadPolls() {
  const requestId = ++recorded.requestId;
  const range = visibleRange();
  const workers = Math.max(1, page.live.workers.length);
  const columns = Math.max(MIN_POLLS_COLUMNS, Math.min(MAX_POLLS_COLUMNS, Math.floor(chart.width), Math.floor(MAX_POLLS_CELLS / workers)));
  const margin = MIN_MARGIN_SECONDS + (range.to - range.from) * MARGIN_SHARE;
  const parameters = new URLSearchParams({ from: toWallClock(range.from - margin).toFixed(6), columns });
  if (view.mode === "fixed") parameters.set("to", toWallClock(range.to + margin).toFixed(6));
  let loaded = null;
  try {
    const response = await fetch(`polls?${parameters}`, { signal: AbortSignal.timeout(POLLS_TIMEOUT_MS) });
    if (response.ok) loaded = await response.json();
  } catch {
    // The next response of /live requests it again.
  }
  if (requestId !== recorded.requestId || !page.live) return;
  if (loaded) keepPolls(loaded);
  recorded.isFailed = loaded === null;
  renderLast();
}

function keepPolls(loaded) {
  const at = (unixNs) => pageTime(unixNs, loaded.scope_start_unix_ns);
  const from = at(loaded.from_unix_ns);
  const workers = new Map();
  for (const { label, complete_since_unix_ns, busy_shares, polls } of loaded.workers) {
    const poll = ([start, length, kind]) => {
      const begin = from + start / 1e9;
      return { worker: label, from: begin, to: length === null ? Infinity : begin + length / 1e9, task: loaded.kinds[kind] };
    };
    workers.set(label, { since: at(complete_since_unix_ns), shares: busy_shares, polls: polls?.map(poll).sort((a, b) => a.from - b.from) ?? null });
  }
  const isListed = loaded.workers.every(({ polls }) => polls !== null);
  Object.assign(recorded, { from, to: at(loaded.to_unix_ns), isListed, workers, minSeconds: loaded.min_poll_seconds });
  setText(byId("legend-polls"), `in polls of ${duration(recorded.minSeconds)} or longer`);
}

/** Returns the share of each pixel that a worker was in polls: a number, 0 without any. */
function pollShares(known, range) {
  const width = Math.max(1, Math.ceil(chart.width));
  const shares = new Float32Array(width);
  if (known.polls) {
    let countedTo = 0;
    for (const poll of known.polls) {
      const from = Math.max(countedTo, xAt(poll.from, range));
      const to = Math.min(width, xAt(Math.min(poll.to, recorded.to), range));
      if (to <= from) continue;
      countedTo = to;
      for (let x = Math.floor(from); x < to; x++) shares[x] += Math.min(to, x + 1) - Math.max(from, x);
    }
    return shares;
  }
  const column = (recorded.to - recorded.from) / known.shares.length;
  for (let x = 0; x < width; x++) {
    const index = Math.floor((timeAt(x + 0.5, range) - recorded.from) / column);
    shares[x] = known.shares[index] ?? 0;
  }
  return shares;
}

/** Draws the recorded polls of the workers `labels`, and marks the time of which nothing is known. */
function drawRecorded(context, { top, height }, range, labels) {
  const knownWorkers = [...labels].flatMap((label) => recorded.workers.get(label) ?? []);
  if (knownWorkers.length === 0) return;
  const since = knownWorkers.reduce((least, { since }) => Math.min(least, since), Infinity);
  const measured = recent.busy.find((interval) => interval.labels.some((label) => labels.has(label)))?.from ?? recent.samples.at(-1).now;
  const unknownFrom = Math.max(0, xAt(Math.max(recorded.from, historyStart()), range));
  const unknownTo = Math.min(chart.width, xAt(Math.min(recorded.to, since, measured), range));
  if (unknownTo > unknownFrom) {
    context.fillStyle = colors.hatch;
    context.fillRect(unknownFrom, top, unknownTo - unknownFrom, height);
  }
  const sums = new Float32Array(Math.max(1, Math.ceil(chart.width)));
  const counts = new Float32Array(sums.length);
  for (const known of knownWorkers) {
    const knownFrom = xAt(known.since, range);
    pollShares(known, range).forEach((share, x) => {
      if (x + 1 <= knownFrom) return;
      sums[x] += share;
      counts[x] += 1;
    });
  }
  context.fillStyle = colors.poll;
  context.beginPath();
  sums.forEach((sum, x) => {
    const share = Math.min(1, sum / counts[x]) || 0;
    if (share < 0.002) return;
    const bar = Math.max(1, height * share);
    context.rect(x, top + height - bar, 1, bar);
  });
  context.fill();
}

/** Returns the longest recorded polls of a range, at most `limit`, without those that are stalls. */
function longestPolls(range, stalls, limit) {
  if (!recorded.isListed) return [];
  const isOfStall = (poll) => stalls.some((stall) => stall.worker === poll.worker && stall.from < poll.to && stall.to > poll.from);
  const inRange = ({ from, to }) => to >= range.from && to !== Infinity && from <= range.to;
  const polls = [...recorded.workers.values()].flatMap(({ polls }) => polls.filter(inRange));
  const longest = [];
  for (const poll of polls.sort((a, b) => stallLength(b) - stallLength(a))) {
    if (longest.length >= limit) break;
    if (!isOfStall(poll)) longest.push(poll);
  }
  return longest;
}

/** Returns the recorded poll of a worker at a time that may be wrong by `tolerance`. */
function pollAt(label, time, tolerance) {
  const polls = recorded.isListed ? recorded.workers.get(label)?.polls : null;
  return polls?.findLast(({ from, to }) => from - tolerance <= time && to + tolerance >= time) ?? null;
}

/** Returns the least share of a range that a worker was busy, by its recorded polls, or null if it is not known. */
function recordedShare(label, range) {
  const known = recorded.workers.get(label);
  const isKnown = known && known.since <= range.from && recorded.from <= range.from + TIME_TOLERANCE_SECONDS && recorded.to >= range.to - TIME_TOLERANCE_SECONDS;
  if (!isKnown) return null;
  const shares = pollShares(known, range);
  return shares.reduce((sum, share) => sum + share, 0) / shares.length;
}
