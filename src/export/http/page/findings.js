
// Shows findings as cards, sorted and grouped as the user wants. It shows the first few until the user asks for all.

const INITIAL_CARDS = 25;
/** A stall that lasts this long moves its finding to the top of the default order. */
const PINNED_AFTER_SECONDS = 1;
const HIGHLIGHT_MS = 4000;
const cards = new Map();
const groupHeadings = new Map();
const hiddenIds = new Set(setting("hidden").split(" ").filter(Boolean));
/** The finding of the address, until its card has been shown. */
const requested = { finding: null };
const cardOrder = { isForced: false };
let summaries = new Map();
let showAll = false;

const findingOf = (id) => summaries.get(id);

const placeOf = (finding) => finding.site ?? finding.function ?? "an unknown place";

const SORT_KEYS = {
  total: (finding) => (finding.ongoing_seconds >= PINNED_AFTER_SECONDS ? 1e12 : 0) + finding.total_seconds,
  range: (finding, sums) => sums.findings.get(finding.id)?.seconds ?? 0,
  max: (finding) => finding.max_seconds,
  count: (finding) => finding.count,
  waits: (finding) => finding.victim_delay_seconds,
  seen: (finding) => (finding.ongoing_seconds === null ? finding.last_seen_unix_seconds : Infinity),
};

function cardOf(id) {
  let card = cards.get(id);
  if (card) return card;
  const root = cloneTemplate("card");
  root.id = `card-${id}`;
  const parts = new Map();
  const part = (name) => {
    if (!parts.has(name)) parts.set(name, root.querySelector(name));
    return parts.get(name);
  };
  card = { id, root, part, detailsForCount: -1, details: null, shown: null };
  part(".link").href = `findings/${encodeURIComponent(id)}.txt`;
  part(".here").href = `#${new URLSearchParams({ finding: id })}`;
  part(".copy").addEventListener("click", () => copyText(card));
  part(".hide").addEventListener("click", () => setHidden(card, !hiddenIds.has(id)));
  part("details").addEventListener("toggle", () => {
    fillStack(card);
    if (part("details").open) requestDetails(card);
  });
  cards.set(id, card);
  return card;
}

function setHidden(card, isHidden) {
  if (isHidden) hiddenIds.add(card.id);
  else hiddenIds.delete(card.id);
  if (view.finding === card.id) {
    view.finding = null;
    writeHash();
  }
  keepSetting("hidden", [...hiddenIds].join(" "));
  if (!isHidden || byId("findings-hidden").ariaPressed === "true") return renderLast();
  // The focus would be lost with the card.
  const next = card.root.nextElementSibling ?? card.root.previousElementSibling;
  card.root.remove();
  (next?.matches(".card") ? next : byId("findings")).focus({ preventScroll: true });
  renderLast();
  announce("The finding is hidden");
}

/** Keeps the findings of a response. */
function updateFindings(live) {
  const added = live.findings.filter((finding) => summaries.size > 0 && !summaries.has(finding.id));
  summaries = new Map(live.findings.map((finding) => [finding.id, finding]));
  if (added.length > 0) announceRateLimited(`New finding: ${added[0].cause} at ${placeOf(added[0])}`);
  for (const [id, { root }] of cards) {
    if (!summaries.has(id)) {
      root.remove();
      cards.delete(id);
    }
  }
}

function renderFindings(live, sums) {
  if (requested.finding) byId("findings-filter").value = "";
  const wanted = byId("findings-filter").value.trim().toLowerCase();
  const text = (f) => `${f.cause} ${f.primitive ?? ""} ${f.site ?? ""} ${f.function ?? ""} ${f.task} ${f.advice}`.toLowerCase();
  const isShowingHidden = byId("findings-hidden").ariaPressed === "true";
  const hidden = live.findings.filter(({ id }) => hiddenIds.has(id)).length;
  const matching = live.findings.filter(
    (finding) => (isShowingHidden || !hiddenIds.has(finding.id)) && (!wanted || text(finding).includes(wanted)),
  );
  const key = SORT_KEYS[byId("findings-sort").value];
  matching.sort((a, b) => key(b, sums) - key(a, sums) || b.total_seconds - a.total_seconds);
  const shown = showAll ? matching : matching.slice(0, INITIAL_CARDS);
  // The finding of the address is shown even if it is hidden, or not among the first ones.
  const linked = !wanted && findingOf(view.finding);
  if (linked && !shown.includes(linked)) shown.push(linked);
  for (const finding of shown) fillCard(cardOf(finding.id), finding, live, sums);
  showInOrder(grouped(shown));

  const all = byId("findings-all");
  all.hidden = matching.length <= INITIAL_CARDS;
  setText(all, showAll ? `Show the first ${INITIAL_CARDS}` : `Show all ${matching.length}`);
  byId("findings-hidden").hidden = hidden === 0;
  setText(byId("findings-hidden"), `${hidden} hidden`);
  renderCounts(live.findings.length, matching.length, wanted, hidden);
  showRequested();
}

function renderCounts(all, matching, wanted, hidden) {
  setText(byId("findings-title"), all === 0 ? "Findings" : matching === all ? `Findings (${all})` : `Findings (${matching} of ${all})`);
  const none = byId("findings-none");
  none.hidden = matching > 0;
  if (all === 0) setText(none, "Nothing has blocked the event loop so far.");
  else if (wanted) setText(none, `No finding matches “${wanted}”.`);
  else setText(none, hidden === 1 ? "The only finding is hidden." : `All ${hidden} findings are hidden.`);
}

/** Returns the elements to show: the cards, with a heading before each group. The group of the first card is first. */
function grouped(findings) {
  const key = byId("findings-group").value;
  if (key === "") return findings.map(({ id }) => cardOf(id).root);
  return [...Map.groupBy(findings, (finding) => finding[key])].flatMap(([name, members]) => {
    let heading = groupHeadings.get(`${key} ${name}`);
    if (!heading) {
      heading = document.createElement("h3");
      heading.className = "group";
      groupHeadings.set(`${key} ${name}`, heading);
    }
    const total = members.reduce((sum, finding) => sum + finding.total_seconds, 0);
    setText(heading, `${name}: ${counted(members.length, "finding", "findings")}, ${duration(total)}`);
    return [heading, ...members.map(({ id }) => cardOf(id).root)];
  });
}

/** Shows the cards in this order. While the user points at or focuses a card, cards are only added and removed. */
function showInOrder(roots) {
  const parent = byId("cards");
  const isInUse = parent.contains(document.activeElement) || parent.matches(":hover");
  if (!isInUse || cardOrder.isForced) {
    cardOrder.isForced = false;
    return setChildren(parent, roots);
  }
  const wanted = new Set(roots);
  for (const root of [...parent.children]) if (!wanted.has(root) && !root.contains(document.activeElement)) root.remove();
  let next = null;
  for (const root of roots.toReversed()) {
    if (!root.isConnected) parent.insertBefore(root, next);
    next = root;
  }
}

/** Renders the cards in a new order that the user has asked for. */
function renderInNewOrder() {
  cardOrder.isForced = true;
  renderLast();
}

function fillCard(card, finding, live, sums) {
  const { part, root } = card;
  setClass(root, "ongoing", finding.ongoing_seconds !== null);
  fillTexts(card, finding);
  setText(part(".facts"), factsOf(finding, live.now).join(" · "));
  fillMeasures(part, finding, sums.findings.get(finding.id));
  if (card.detailsForCount < 0 || (part("details").open && card.detailsForCount !== finding.count)) requestDetails(card);
}

/** Shows what rarely changes. */
function fillTexts(card, finding) {
  const { part, root } = card;
  const isHidden = hiddenIds.has(finding.id);
  const { cause, site, primitive, task, advice } = finding;
  const shown = JSON.stringify([cause, site, finding.function, primitive, task, advice, isHidden, editor, part("summary").textContent]);
  if (card.shown === shown) return;
  card.shown = shown;
  setClass(root, "hidden", isHidden);
  setText(part(".hide"), isHidden ? "Show again" : "Hide");
  setText(part(".cause"), finding.cause);
  const place = placeOf(finding);
  setPlace(part(".site"), place, true);
  const labels = { ".link": "as text", ".copy": "Copy as text", ".here": "link to this finding", ".hide": part(".hide").textContent };
  for (const [name, label] of Object.entries(labels)) setAriaLabel(part(name), `${label}: ${place}`);
  setAriaLabel(part("summary"), `${part("summary").textContent}: ${place}`);
  const what = finding.primitive ? `${finding.primitive} in ` : "";
  setText(part(".blocking"), `${what}${finding.function ?? "an unknown function"}, task ${finding.task}`);
  setProse(part(".advice"), finding.advice);
  part(".advice").hidden = finding.advice === "";
}

function factsOf(finding, now) {
  const isOngoing = finding.ongoing_seconds !== null;
  const facts = [`${counted(finding.count, "stall", "stalls")}, the longest ${duration(finding.max_seconds)}`];
  if (isOngoing) facts.unshift(`has blocked for ${age(finding.ongoing_seconds)}`);
  if (finding.victims_released > 0) {
    // The number of tasks includes released ones, whose delay is not known.
    const waits = finding.victim_waits - finding.victims_released;
    if (waits > 0) facts.push(`${counted(waits, "wait", "waits")}, ${duration(finding.victim_delay_seconds)} in total`);
  } else if (finding.victim_tasks > 0 && finding.victim_delay_seconds > 0) {
    const about = finding.victim_tasks_are_estimated ? "about " : "";
    const tasks = about + counted(finding.victim_tasks, "task", "tasks");
    const waits = counted(finding.victim_waits, "wait", "waits");
    facts.push(`${tasks} waited, ${waits}, ${duration(finding.victim_delay_seconds)} in total`);
  }
  if (finding.driver_held) facts.push("held the driver");
  if (finding.victims_released > 0) facts.push(`${counted(finding.victims_released, "task was", "tasks were")} woken right after`);
  const since = Math.round(now - finding.last_seen_unix_seconds);
  if (!isOngoing) facts.push(since > 0 ? `last seen ${timeAgo(since)} ago` : "last seen just now");
  facts.push(`evidence: ${finding.evidence}`);
  return facts;
}

/** Shows the total, the blocked time over the visible range, and how the stalls spent their time. */
function fillMeasures(part, finding, sum) {
  setText(part(".total"), `${duration(finding.total_seconds)} in total`);
  const bins = sum?.bins;
  const most = bins ? Math.max(...bins) : 0;
  const height = (value) => (20 - (most > 0 ? 19 * (value / most) : 0)).toFixed(1);
  const points = bins ? Array.from(bins, (value, index) => `V${height(value)}H${index + 1}`).join("") : "";
  const path = `M0 20${points}V20Z`;
  const line = part(".line");
  const shape = part(".line path");
  if (shape.getAttribute("d") !== path) shape.setAttribute("d", path);
  const text = sum ? `${duration(sum.seconds)} in the range` : "no stall in the range";
  setText(part(".line-text"), text);
  setAriaLabel(line, `Blocked time over the range: ${sum ? `${counted(sum.count, "stall", "stalls")}, ${duration(sum.seconds)}` : "none"}`);
  const { on_cpu_seconds: cpu, off_cpu_seconds: waiting, run_queue_seconds, paused_seconds, unknown_seconds } = finding.split;
  const shares = { cpu, waiting, machine: run_queue_seconds + paused_seconds, unknown: unknown_seconds };
  const whole = Object.values(shares).reduce((total, seconds) => total + seconds, 0);
  const names = { cpu: "CPU", waiting: "waiting", machine: "machine", unknown: "not known" };
  part(".split").hidden = whole === 0;
  for (const name of ["cpu", "waiting", "machine"]) {
    part(`.split .${name}`).style.width = whole > 0 ? `${((shares[name] / whole) * 100).toFixed(1)}%` : "0";
  }
  const parts = Object.entries(shares).filter(([, seconds]) => seconds / whole >= 0.005);
  setText(part(".split-text"), whole > 0 ? parts.map(([name, seconds]) => `${names[name]} ${Math.round((seconds / whole) * 100)} %`).join(", ") : "not ended yet");
}

/** Shows a finding, and puts it into the address. */
function showFinding(id) {
  view.finding = id;
  requested.finding = id;
  writeHash();
  renderLast();
}

/** Scrolls to the finding that was asked for, opens its stack and highlights it. */
function showRequested() {
  const id = requested.finding;
  if (!id) return;
  requested.finding = null;
  const missing = byId("findings-missing");
  missing.hidden = Boolean(findingOf(id));
  if (!missing.hidden) return announce(missing.textContent);
  const card = cardOf(id);
  if (!card.root.isConnected) byId("cards").prepend(card.root);
  card.part("details").open = true;
  card.root.scrollIntoView({ block: "center" });
  card.root.focus({ preventScroll: true });
  for (const { root } of cards.values()) setClass(root, "target", root === card.root);
  setTimeout(() => setClass(card.root, "target", false), HIGHLIGHT_MS);
}

for (const name of ["sort", "group"]) {
  const select = byId(`findings-${name}`);
  const kept = setting(`findings-${name}`);
  if ([...select.options].some(({ value }) => value === kept)) select.value = kept;
  select.addEventListener("change", () => {
    keepSetting(`findings-${name}`, select.value);
    renderInNewOrder();
  });
}
byId("findings-hidden").addEventListener("click", ({ target }) => {
  target.ariaPressed = String(target.ariaPressed !== "true");
  renderInNewOrder();
});
byId("findings-all").addEventListener("click", () => {
  showAll = !showAll;
  renderInNewOrder();
});
