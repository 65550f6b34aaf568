
// Shows every task and where it waits, from /tasks?tree, when it is opened. Tasks with the same awaits are one group.

const TREE_TIMEOUT_MS = 60000;
const INITIAL_GROUPS = 25;
/** More elements would make the page slow. */
const MAX_GROUPS = 1000;
const MAX_TASKS_OF_GROUP = 100;
const MAX_NAMED = 3;
const MAX_VERDICTS = 10;
const tree = { groups: [], document: null, isLoading: false, showsAll: false };

const NOT_OF_APPLICATION = /^<?&?(tokio|std|core|alloc|futures|futures_util|futures_core|tracing|hyper|hyper_util|tower|tokio_util)::/;
const STATES = ["idle", "notified", "running", "complete"];

/** Without names in the program, the place of the spawn says more than an address. */
const kindText = ({ kind, spawned_at: place }) => (place && kind.startsWith("0x") ? `spawned at ${place}` : kind);

const hexAddress = (address) => `0x${address.toString(16)}`;
const stepPlace = ({ file, line }) => (file ? `${file}${line ? `:${line}` : ""}` : "");

function isOfApplication({ function: name, file }) {
  const isOfLibrary = /^(library|[^/]*-\d[^/]*\.[^/]*)\/|\/\.cargo\/|^\/rustc\//.test(file ?? "");
  return !isOfLibrary && !NOT_OF_APPLICATION.test(name);
}

/** Returns the innermost await of the application, else the innermost one with a line, else the innermost one. */
function waitingPlace({ chain }) {
  const withLine = chain.filter(({ line }) => line);
  return withLine.findLast(isOfApplication) ?? withLine.at(-1) ?? chain.at(-1);
}

const stepsKey = (chain) => chain.map(({ function: name, file, line }) => [name, file, line]);

/** Returns what is the same for leaves that wait for the same kind of thing. */
function leafKey(leaf) {
  if (!leaf) return null;
  const branches = (leaf.branches ?? []).map((branch) => [stepsKey(branch.chain), leafKey(branch.leaf)]);
  return [leaf.kind, leaf.of, leaf.is_granted, branches];
}

/** Returns what a task waits for. */
function leafText(leaf) {
  const at = leaf.address ? ` at ${hexAddress(leaf.address)}` : "";
  switch (leaf.kind) {
    case "sleep":
      return leaf.seconds_left === null ? "timer" : leaf.seconds_left < 0 ? `timer, due ${span(-leaf.seconds_left)} ago` : `timer, due in ${span(leaf.seconds_left)}`;
    case "semaphore": return `permit of ${leaf.of ?? "a semaphore"}${at}${leaf.is_granted ? ", granted but not taken" : ""}`;
    case "channel": return `message of ${leaf.of}${at}`;
    case "join": return `end of the task at ${hexAddress(leaf.task)}`;
    case "io": return leaf.object ?? (leaf.fd === null ? "I/O" : `descriptor ${leaf.fd}`);
    case "notify": return `notification${at}`;
    case "several": return `${leaf.count === null ? "several futures" : counted(leaf.count, "future", "futures")} in ${leaf.of}`;
    case "other": return leaf.of;
    default: return leaf.kind;
  }
}

/** Returns what the tasks of a group wait for, without what differs between them. */
function groupLeafText({ tasks }) {
  const { leaf } = tasks[0];
  if (!leaf || tasks.length === 1) return leaf ? leafText(leaf) : "";
  switch (leaf.kind) {
    case "sleep": {
      const seconds = tasks.map((task) => task.leaf.seconds_left).filter((seconds) => seconds !== null);
      return seconds.length > 0 ? `timers, the next ${leafText({ kind: "sleep", seconds_left: seconds.reduce((a, b) => Math.min(a, b)) }).slice("timer, ".length)}` : "timers";
    }
    case "semaphore":
    case "channel":
    case "notify": {
      const objects = new Set(tasks.map((task) => task.leaf.address)).size;
      return objects === 1 ? `${leafText(leaf)}, all of one` : `${leafText({ ...leaf, address: null })}, of ${counted(objects, "object", "objects")}`;
    }
    case "several": {
      const counts = new Set(tasks.map((task) => task.leaf.count)).size;
      return leafText(counts === 1 ? leaf : { ...leaf, count: null });
    }
    case "join": {
      const joined = new Set(tasks.map((task) => task.leaf.task)).size;
      return joined === 1 ? leafText(leaf) : `end of ${counted(joined, "other task", "other tasks")}`;
    }
    case "io": {
      const objects = new Set(tasks.map((task) => leafText(task.leaf)));
      return objects.size === 1 ? leafText(leaf) : `${leafText(leaf)} and ${counted(objects.size - 1, "other", "others")}`;
    }
    default: return leafText(leaf);
  }
}

function groupTasks(tasks) {
  const groups = new Map();
  for (const task of tasks) {
    const key = JSON.stringify([task.is_blocking, kindText(task), stepsKey(task.chain), leafKey(task.leaf), task.chain_missing]);
    const group = groups.get(key);
    if (group) group.tasks.push(task);
    else groups.set(key, { key, tasks: [task] });
  }
  const sorted = [...groups.values()].sort((a, b) => b.tasks.length - a.tasks.length);
  for (const group of sorted) {
    const [first] = group.tasks;
    const { chain, leaf } = first;
    const branches = (leaf?.branches ?? []).flatMap((branch) => branch.chain);
    const steps = [...chain, ...branches].flatMap((step) => [step.function, stepPlace(step)]);
    group.text = [kindText(first), ...steps, groupLeafText(group), first.spawned_at ?? ""].join(" ").toLowerCase();
  }
  return sorted;
}

async function loadTree() {
  if (tree.isLoading) return;
  tree.isLoading = true;
  setText(byId("tree-text"), "The tasks are being read.");
  let failure = "The server does not answer.";
  let loaded = null;
  try {
    const response = await fetch("tasks?tree", { signal: AbortSignal.timeout(TREE_TIMEOUT_MS) });
    if (response.ok) loaded = await response.json();
    else failure = (await response.text()).trim();
  } catch {
    // The server is unavailable.
  }
  tree.isLoading = false;
  if (!loaded) {
    announce(failure);
    return setText(byId("tree-text"), failure);
  }
  const open = new Set(tree.groups.filter(({ element }) => element?.firstElementChild.open).map(({ key }) => key));
  Object.assign(tree, { document: loaded, groups: groupTasks(loaded.tasks) });
  for (const group of tree.groups) group.isOpen = open.has(group.key);
  renderVerdicts();
  renderTree();
  announce(byId("tree-text").textContent);
}

function renderTree() {
  const { at, coverage, tasks } = tree.document;
  const wanted = byId("tree-filter").value.trim().toLowerCase();
  const matching = tree.groups.filter(({ text }) => text.includes(wanted));
  const limit = tree.showsAll ? MAX_GROUPS : INITIAL_GROUPS;
  setChildren(byId("tree-groups"), matching.slice(0, limit).map(groupElement));
  const all = `${counted(tasks.length, "task and job", "tasks and jobs")} in ${counted(tree.groups.length, "group", "groups")}`;
  const shown = !wanted ? all : matching.length > 0 ? `${matching.length} groups of ${all} match` : `No group of ${all} matches “${wanted}”`;
  const cost = `read at ${clockTime(at, 1)} within ${duration(coverage.seconds)}, ${duration(coverage.cpu_seconds)} of CPU time`;
  setText(byId("tree-text"), `${shown}; ${cost}.`);
  const notes = [...coverage.notes];
  if (coverage.torn > 0) notes.unshift(`${coverage.consistent} of ${coverage.candidates} tasks are shown: the others changed or ended while they were read`);
  if (coverage.skipped_bytes > 0) notes.unshift(`${Math.ceil(coverage.skipped_bytes / 2 ** 20).toLocaleString("en")} MiB of memory were not searched`);
  if (tree.showsAll && matching.length > MAX_GROUPS) notes.unshift(`only the first ${MAX_GROUPS} groups are shown: the filter finds others`);
  setText(byId("tree-notes"), notes.join("; "));
  const button = byId("tree-all");
  button.hidden = matching.length <= INITIAL_GROUPS;
  setText(button, tree.showsAll ? `Show the first ${INITIAL_GROUPS}` : matching.length > MAX_GROUPS ? `Show the first ${MAX_GROUPS}` : `Show all ${matching.length}`);
}

function textElement(name, className, text) {
  const element = document.createElement(name);
  element.className = className;
  element.textContent = text;
  return element;
}

/** Returns the element of a group. What it unfolds is added when it is opened. */
function groupElement(group) {
  if (group.element) return group.element;
  const [first] = group.tasks;
  const place = waitingPlace(first);
  const summary = document.createElement("summary");
  summary.append(textElement("b", "", group.tasks.length.toLocaleString("en")), " ", codeElement(kindText(first)));
  if (place) {
    summary.append(" at ", placeElement(stepPlace(place), isOfApplication(place)));
    if (place.function !== first.kind) summary.append(" in ", codeElement(place.function));
  }
  const waits = groupLeafText(group);
  const facts = [first.is_blocking ? "blocking pool" : "", waits && `waits for: ${waits}`, statesText(group), first.chain_missing ?? ""];
  const list = textElement("span", "facts", "");
  list.append(...facts.filter(Boolean).flatMap((fact, index) => [index > 0 ? " · " : "", textElement("bdi", "", fact)]));
  summary.append(list);
  const details = document.createElement("details");
  details.append(summary);
  details.addEventListener("toggle", () => {
    if (details.open && details.childElementCount === 1) details.append(...groupContents(group));
  });
  details.open = group.isOpen;
  group.element = document.createElement("li");
  group.element.append(details);
  return group.element;
}

function placeElement(text, isInWorkspace) {
  const place = textElement("span", "place", "");
  setPlace(place, text || "an unknown line", isInWorkspace);
  return place;
}

function statesText({ tasks }) {
  const counts = STATES.map((state) => [state, tasks.filter((task) => task.state === state).length]).filter(([, count]) => count > 0);
  return counts.length === 1 ? counts[0][0] : counts.map(([state, count]) => `${count.toLocaleString("en")} ${state}`).join(", ");
}

function stepItem(step) {
  const item = document.createElement("li");
  item.className = isOfApplication(step) ? "application" : "";
  item.append(step.function, " at ", placeElement(stepPlace(step), isOfApplication(step)));
  return item;
}

function groupContents({ tasks }) {
  const [{ chain, leaf }] = tasks;
  const contents = [];
  const addSteps = (steps, title) => {
    const list = textElement("ol", "stack", "");
    list.setAttribute("aria-label", title);
    list.append(...steps.map(stepItem));
    contents.push(list);
  };
  if (chain.length > 0) addSteps(chain, "Awaits, outermost first");
  for (const [index, branch] of (leaf?.branches ?? []).entries()) {
    const waits = branch.leaf ? leafText(branch.leaf) : (branch.chain_missing ?? "");
    contents.push(textElement("p", "hint", `Branch ${index + 1}${waits && `, waits for: ${waits}`}`));
    if (branch.chain.length > 0) addSteps(branch.chain, `Awaits of branch ${index + 1}`);
  }
  const table = document.createElement("table");
  table.createTHead().insertRow().append(...["Task", "State", "Wakers", "Waits for", "Spawned at"].map((name, index) => {
    const head = textElement("th", index > 2 ? "text" : "", name);
    head.scope = "col";
    return head;
  }));
  const body = table.createTBody();
  for (const task of tasks.slice(0, MAX_TASKS_OF_GROUP)) {
    const row = body.insertRow();
    const values = [taskName(task), task.state, String(task.wakers), task.leaf ? leafText(task.leaf) : "–", task.spawned_at ?? "–"];
    row.append(...values.map((value, index) => textElement(index === 0 ? "th" : "td", index > 2 ? "text" : "", value)));
    row.cells[0].scope = "row";
  }
  const wide = textElement("div", "wide tasks", "");
  wide.tabIndex = 0;
  wide.role = "region";
  setAriaLabel(wide, "Tasks of the group");
  wide.append(table);
  contents.push(wide);
  if (tasks.length > MAX_TASKS_OF_GROUP) contents.push(textElement("p", "hint", `and ${(tasks.length - MAX_TASKS_OF_GROUP).toLocaleString("en")} more`));
  return contents;
}

const taskName = ({ id, address }) => (id === null ? hexAddress(address) : String(id));

/** Shows what is certainly or probably wrong, what is certain first. */
function renderVerdicts() {
  const { verdicts, tasks, threads } = tree.document;
  const byAddress = new Map(tasks.map((task) => [task.address, task]));
  const sorted = [...verdicts].sort((a, b) => b.is_certain - a.is_certain);
  const items = sorted.slice(0, MAX_VERDICTS).map((verdict) => {
    const item = document.createElement("li");
    item.className = verdict.is_certain ? "ongoing" : "";
    const kind = verdict.kind.replaceAll("_", " ");
    item.append(textElement("span", "cause", verdict.is_certain ? kind : `suspected: ${kind}`), " ");
    const reason = document.createElement("bdi");
    setProse(reason, verdict.reason);
    item.append(reason);
    const ofTasks = verdict.tasks.map((address) => byAddress.get(address)).filter(Boolean).map((task) => {
      const place = waitingPlace(task);
      return [`task ${taskName(task)} `, codeElement(kindText(task)), ...(place ? [" at ", placeElement(stepPlace(place), isOfApplication(place))] : [])];
    });
    const ofThreads = threads.filter(({ tid }) => verdict.threads.includes(tid)).map(({ tid, name, site, advice }) => [
      `thread ${tid} `, codeElement(name),
      ...(site ? [" at ", placeElement(stepPlace(site), site.kind === "application"), " in ", codeElement(site.function)] : []),
      ...(advice ? [" → ", textElement("bdi", "", advice)] : []),
    ]);
    for (const all of [ofThreads, ofTasks]) {
      for (const parts of all.slice(0, MAX_NAMED)) {
        const line = textElement("p", "hint", "");
        line.append(...parts);
        item.append(line);
      }
      if (all.length > MAX_NAMED) item.append(textElement("p", "hint", `and ${(all.length - MAX_NAMED).toLocaleString("en")} more`));
    }
    return item;
  });
  if (sorted.length > MAX_VERDICTS) items.push(textElement("li", "", `and ${counted(sorted.length - MAX_VERDICTS, "more verdict", "more verdicts")}: the document tasks?tree has them`));
  byId("tree-verdicts").replaceChildren(...items);
}

byId("tree").addEventListener("toggle", () => byId("tree").open && !tree.document && loadTree());
byId("tree-reload").addEventListener("click", loadTree);
byId("tree-filter").addEventListener("input", () => tree.document && renderTree());
byId("tree-all").addEventListener("click", () => {
  tree.showsAll = !tree.showsAll;
  renderTree();
});
