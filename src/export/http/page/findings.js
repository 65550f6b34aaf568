
// Findings as cards, the worst first; only so many until all are asked for.

const FEW = 25;
const cards = new Map();
const details = { queue: [], busy: false };
let summaries = new Map();
let showAll = false;

const findingOf = (id) => summaries.get(id);

function card(id) {
  let card = cards.get(id);
  if (card) return card;
  const root = copyOf("card");
  root.id = `finding-${id}`;
  const part = (name) => root.querySelector(name);
  card = { id, root, part, detailsOf: -1 };
  part(".link").href = `findings/${encodeURIComponent(id)}.txt`;
  part(".copy").addEventListener("click", () => copyText(card));
  part("details").addEventListener("toggle", () => ask(card));
  cards.set(id, card);
  return card;
}

function renderFindings(live) {
  const news = live.findings.filter((finding) => summaries.size > 0 && !summaries.has(finding.id));
  summaries = new Map(live.findings.map((finding) => [finding.id, finding]));
  if (news.length > 0) announceCalmly(`New finding: ${news[0].cause} at ${news[0].site ?? news[0].function ?? "an unknown place"}`);
  for (const [id, { root }] of cards) {
    if (!summaries.has(id)) {
      root.remove();
      cards.delete(id);
    }
  }
  const wanted = byId("findings-filter").value.trim().toLowerCase();
  const text = (f) => `${f.cause} ${f.primitive} ${f.site} ${f.function} ${f.task} ${f.advice}`.toLowerCase();
  const matching = live.findings.filter((finding) => !wanted || text(finding).includes(wanted));
  // Those in progress first; the others come by the time they took.
  matching.sort((a, b) => (b.ongoing_seconds !== null) - (a.ongoing_seconds !== null));
  const shown = showAll ? matching : matching.slice(0, FEW);
  for (const finding of shown) fill(card(finding.id), finding, live.now);
  place(shown.map((finding) => card(finding.id).root));

  const all = byId("findings-all");
  all.hidden = matching.length <= FEW;
  write(all, showAll ? `Show the first ${FEW}` : `Show all ${matching.length}`);
  byId("findings-none").hidden = live.findings.length > 0;
  write(byId("findings-title"), live.findings.length > 0 ? `Findings (${live.findings.length})` : "Findings");
}

/** Puts the cards in order, but moves nothing under the reader's hand. */
function place(roots) {
  const parent = byId("cards");
  const same = parent.children.length === roots.length && roots.every((root, at) => parent.children[at] === root);
  const inUse = parent.contains(document.activeElement) || parent.matches(":hover");
  if (same) return;
  if (!inUse) return parent.replaceChildren(...roots);
  const wanted = new Set(roots);
  for (const root of [...parent.children]) if (!wanted.has(root) && !root.contains(document.activeElement)) root.remove();
  for (const root of roots) if (!root.isConnected) parent.append(root);
}

function fill(card, finding, now) {
  const { part, root } = card;
  const isOngoing = finding.ongoing_seconds !== null;
  mark(root, "ongoing", isOngoing);
  write(part(".cause"), finding.cause);
  const place = finding.site ?? finding.function ?? "an unknown place";
  write(part(".site"), place);
  label(part(".link"), `as text: ${place}`);
  label(part(".copy"), `Copy as text: ${place}`);
  label(part("summary"), `${part("summary").textContent}: ${place}`);
  const what = finding.primitive ? `${finding.primitive} in ` : "";
  write(part(".blocking"), `${what}${finding.function ?? "an unknown function"}, task ${finding.task}`);
  const facts = [
    `${many(finding.count, "stall", "stalls")}, ${duration(finding.total_seconds)} in all, ${duration(finding.max_seconds)} at most`,
  ];
  if (isOngoing) facts.unshift(`blocks now, for ${age(finding.ongoing_seconds)}`);
  if (finding.victims > 0) {
    const tasks = many(finding.victims, "task", "tasks");
    const times = finding.victim_waits > finding.victims ? `${finding.victim_waits} times, ` : "";
    facts.push(`${tasks} waited ${times}${duration(finding.victims_delay_seconds)} in all`);
  }
  const since = Math.round(now - finding.last_seen_unix_seconds);
  if (!isOngoing) facts.push(since > 0 ? `last ${ago(since)} ago` : "last just now");
  facts.push(`evidence: ${finding.evidence}`);
  write(part(".facts"), facts.join(" · "));
  write(part(".advice"), finding.advice);
  part(".advice").hidden = finding.advice === "";
  if (card.detailsOf < 0 || (part("details").open && card.detailsOf !== finding.count)) ask(card);
}

/** Source and stack are asked for one card at a time. */
function ask(card) {
  if (!details.queue.includes(card)) details.queue.push(card);
  if (!details.busy) answerNext();
}

async function answerNext() {
  const card = details.queue.shift();
  if (!card) return;
  details.busy = true;
  try {
    const count = findingOf(card.id)?.count ?? 0;
    const response = await fetch(`findings/${encodeURIComponent(card.id)}`, { signal: AbortSignal.timeout(5000) });
    if (response.ok) {
      const { finding, source } = await response.json();
      card.detailsOf = count;
      const line = card.part(".source");
      line.hidden = source === null;
      write(line, source === null ? "" : `${finding.site.line} | ${source.trim()}`);
      card.part("summary").textContent = `Stack (${many(finding.stack.length, "frame", "frames")})`;
      card.part(".stack").replaceChildren(...finding.stack.map(frameItem));
    }
  } catch {
    // The server is away; the next answer asks again.
  } finally {
    details.busy = false;
    if (details.queue.length > 0) answerNext();
  }
}

function frameItem(frame) {
  const item = document.createElement("li");
  item.className = frame.kind;
  const place = frame.file ? ` at ${frame.file}${frame.line ? `:${frame.line}` : ""}` : "";
  item.textContent = frame.function + place;
  return item;
}

/** Opens what a bar points at. */
function showFinding(id) {
  if (!findingOf(id)) return;
  byId("findings-filter").value = "";
  const { root } = card(id);
  if (!root.isConnected) byId("cards").prepend(root);
  root.scrollIntoView({ block: "center" });
  root.focus({ preventScroll: true });
}

async function copyText(card) {
  const button = card.part(".copy");
  let said = "Copied";
  try {
    const response = await fetch(`findings/${encodeURIComponent(card.id)}.txt`, { signal: AbortSignal.timeout(5000) });
    if (!response.ok) throw new Error(response.statusText);
    await navigator.clipboard.writeText(await response.text());
  } catch {
    // Browsers give the clipboard to pages of this machine or over TLS only.
    said = "Not allowed here: use the link";
  }
  button.textContent = said;
  announce(said);
  setTimeout(() => (button.textContent = "Copy as text"), 2000);
}
