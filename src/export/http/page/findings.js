
// Shows findings as cards, the worst first. It shows the first few until the user asks for all.

const INITIAL_CARDS = 25;
const DETAILS_TIMEOUT_MS = 5000;
const COPY_RESULT_MS = 2000;
const cards = new Map();
const detailRequests = { queue: [], busy: false };
let summaries = new Map();
let showAll = false;

const findingOf = (id) => summaries.get(id);

const placeOf = (finding) => finding.site ?? finding.function ?? "an unknown place";

function cardOf(id) {
  let card = cards.get(id);
  if (card) return card;
  const root = cloneTemplate("card");
  root.id = `finding-${id}`;
  const part = (name) => root.querySelector(name);
  card = { id, root, part, detailsForCount: -1 };
  part(".link").href = `findings/${encodeURIComponent(id)}.txt`;
  part(".copy").addEventListener("click", () => copyText(card));
  part("details").addEventListener("toggle", () => requestDetails(card));
  cards.set(id, card);
  return card;
}

function renderFindings(live) {
  const added = live.findings.filter((finding) => summaries.size > 0 && !summaries.has(finding.id));
  summaries = new Map(live.findings.map((finding) => [finding.id, finding]));
  if (added.length > 0) announceRateLimited(`New finding: ${added[0].cause} at ${placeOf(added[0])}`);
  for (const [id, { root }] of cards) {
    if (!summaries.has(id)) {
      root.remove();
      cards.delete(id);
    }
  }
  const wanted = byId("findings-filter").value.trim().toLowerCase();
  const text = (f) => `${f.cause} ${f.primitive} ${f.site} ${f.function} ${f.task} ${f.advice}`.toLowerCase();
  const matching = live.findings.filter((finding) => !wanted || text(finding).includes(wanted));
  // Findings in progress first. The others stay sorted by their total time.
  matching.sort((a, b) => (b.ongoing_seconds !== null) - (a.ongoing_seconds !== null));
  const shown = showAll ? matching : matching.slice(0, INITIAL_CARDS);
  for (const finding of shown) fillCard(cardOf(finding.id), finding, live.now);
  showInOrder(shown.map((finding) => cardOf(finding.id).root));

  const all = byId("findings-all");
  all.hidden = matching.length <= INITIAL_CARDS;
  setText(all, showAll ? `Show the first ${INITIAL_CARDS}` : `Show all ${matching.length}`);
  byId("findings-none").hidden = live.findings.length > 0;
  setText(byId("findings-title"), live.findings.length > 0 ? `Findings (${live.findings.length})` : "Findings");
}

/** Shows the cards in this order. While the user points at or focuses a card, cards are only added and removed. */
function showInOrder(roots) {
  const parent = byId("cards");
  const isInOrder = parent.children.length === roots.length && roots.every((root, index) => parent.children[index] === root);
  const isInUse = parent.contains(document.activeElement) || parent.matches(":hover");
  if (isInOrder) return;
  if (!isInUse) return parent.replaceChildren(...roots);
  const wanted = new Set(roots);
  for (const root of [...parent.children]) if (!wanted.has(root) && !root.contains(document.activeElement)) root.remove();
  for (const root of roots) if (!root.isConnected) parent.append(root);
}

function fillCard(card, finding, now) {
  const { part, root } = card;
  const isOngoing = finding.ongoing_seconds !== null;
  setClass(root, "ongoing", isOngoing);
  setText(part(".cause"), finding.cause);
  const place = placeOf(finding);
  setText(part(".site"), place);
  setAriaLabel(part(".link"), `as text: ${place}`);
  setAriaLabel(part(".copy"), `Copy as text: ${place}`);
  setAriaLabel(part("summary"), `${part("summary").textContent}: ${place}`);
  const what = finding.primitive ? `${finding.primitive} in ` : "";
  setText(part(".blocking"), `${what}${finding.function ?? "an unknown function"}, task ${finding.task}`);
  const facts = [
    `${counted(finding.count, "stall", "stalls")}, ${duration(finding.total_seconds)} in total, the longest ${duration(finding.max_seconds)}`,
  ];
  if (isOngoing) facts.unshift(`has blocked for ${age(finding.ongoing_seconds)}`);
  if (finding.victims_released > 0) {
    // The number of tasks includes released ones, whose delay is not known.
    const waits = finding.victim_waits - finding.victims_released;
    if (waits > 0) facts.push(`${counted(waits, "wait", "waits")}, ${duration(finding.victim_delay_seconds)} in total`);
  } else if (finding.victim_tasks > 0 && finding.victim_delay_seconds > 0) {
    const about = finding.victim_tasks_are_estimated ? "about " : "";
    const tasks = about + counted(finding.victim_tasks, "task", "tasks");
    const waits = finding.victim_waits > finding.victim_tasks ? `${finding.victim_waits} times, ` : "";
    facts.push(`${tasks} waited ${waits}${duration(finding.victim_delay_seconds)} in total`);
  }
  if (finding.driver_held) facts.push("sockets and timers of the whole runtime stood still");
  if (finding.victims_released > 0) facts.push(`${counted(finding.victims_released, "task was", "tasks were")} woken right after`);
  const since = Math.round(now - finding.last_seen_unix_seconds);
  if (!isOngoing) facts.push(since > 0 ? `last seen ${timeAgo(since)} ago` : "last seen just now");
  facts.push(`evidence: ${finding.evidence}`);
  setText(part(".facts"), facts.join(" · "));
  setText(part(".advice"), finding.advice);
  part(".advice").hidden = finding.advice === "";
  if (card.detailsForCount < 0 || (part("details").open && card.detailsForCount !== finding.count)) requestDetails(card);
}

/** Requests source and stack, for one card at a time. */
function requestDetails(card) {
  if (!detailRequests.queue.includes(card)) detailRequests.queue.push(card);
  if (!detailRequests.busy) fetchNextDetails();
}

async function fetchNextDetails() {
  const card = detailRequests.queue.shift();
  if (!card) return;
  detailRequests.busy = true;
  try {
    const count = findingOf(card.id)?.count ?? 0;
    const response = await fetch(`findings/${encodeURIComponent(card.id)}`, { signal: AbortSignal.timeout(DETAILS_TIMEOUT_MS) });
    if (response.ok) {
      const { finding, source } = await response.json();
      card.detailsForCount = count;
      const sourceLine = card.part(".source");
      sourceLine.hidden = source === null;
      setText(sourceLine, source === null ? "" : `${finding.site.line} | ${source.trim()}`);
      card.part("summary").textContent = `Stack (${counted(finding.stack.length, "frame", "frames")})`;
      card.part(".stack").replaceChildren(...finding.stack.map(frameItem));
    }
  } catch {
    // The server is unavailable. The next response of /live requests the details again.
  } finally {
    detailRequests.busy = false;
    if (detailRequests.queue.length > 0) fetchNextDetails();
  }
}

function frameItem(frame) {
  const item = document.createElement("li");
  item.className = frame.kind;
  const place = frame.file ? ` at ${frame.file}${frame.line ? `:${frame.line}` : ""}` : "";
  item.textContent = frame.function + place + (frame.recovered ? " (recovered)" : "");
  return item;
}

/** Scrolls to the finding of a bar. */
function showFinding(id) {
  if (!findingOf(id)) return;
  byId("findings-filter").value = "";
  const { root } = cardOf(id);
  if (!root.isConnected) byId("cards").prepend(root);
  root.scrollIntoView({ block: "center" });
  root.focus({ preventScroll: true });
}

async function copyText(card) {
  const button = card.part(".copy");
  let result = "Copied";
  try {
    const response = await fetch(`findings/${encodeURIComponent(card.id)}.txt`, { signal: AbortSignal.timeout(DETAILS_TIMEOUT_MS) });
    if (!response.ok) throw new Error(response.statusText);
    await navigator.clipboard.writeText(await response.text());
  } catch {
    // Browsers allow access to the clipboard only on localhost and over TLS.
    result = "Copying is not allowed here: use the link";
  }
  button.textContent = result;
  announce(result);
  setTimeout(() => (button.textContent = "Copy as text"), COPY_RESULT_MS);
}
