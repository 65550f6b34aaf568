
// Draws the blocked time by stack, from /profile.folded, when it is opened.

/** A narrower frame could not be seen or clicked. */
const MIN_FRAME_SHARE = 0.002;
const FRAME_PIXELS = 20;
const flame = { root: null, zoomed: null, requestId: 0 };

/** Parses folded stacks: one stack per line, outermost call first, and its microseconds. */
function parseFolded(text) {
  const root = { name: "all", value: 0, children: new Map(), parent: null };
  for (const line of text.split("\n")) {
    const [, stack, value] = /^(.*) (\d+)$/.exec(line) ?? [];
    if (!stack) continue;
    let node = root;
    node.value += Number(value);
    for (const name of stack.split(";")) {
      let child = node.children.get(name);
      if (!child) node.children.set(name, (child = { name, value: 0, children: new Map(), parent: node }));
      child.value += Number(value);
      node = child;
    }
  }
  return root;
}

async function loadFlame() {
  const requestId = ++flame.requestId;
  setText(byId("flame-text"), "Loading.");
  let text = null;
  try {
    const response = await fetch("profile.folded", { signal: AbortSignal.timeout(DETAILS_TIMEOUT_MS) });
    if (response.ok) text = await response.text();
  } catch {
    // The server is unavailable.
  }
  if (requestId !== flame.requestId) return;
  if (text === null) return setText(byId("flame-text"), "The server does not answer.");
  flame.root = parseFolded(text);
  drawFlame(flame.root);
}

function drawFlame(zoomed) {
  flame.zoomed = zoomed;
  const tree = byId("flame-tree");
  const elements = [];
  let depth = 0;
  const add = (node, left, level) => {
    const share = zoomed.value > 0 ? node.value / zoomed.value : 0;
    if (share < MIN_FRAME_SHARE) return;
    depth = Math.max(depth, level);
    elements.push(frameElement(node, left, share, level));
    let x = left;
    for (const child of [...node.children.values()].sort((a, b) => b.value - a.value)) {
      add(child, x, level + 1);
      x += child.value / zoomed.value;
    }
  };
  const ancestors = [];
  for (let node = zoomed.parent; node; node = node.parent) ancestors.unshift(node);
  ancestors.forEach((node, level) => elements.push(frameElement(node, 0, 1, level)));
  add(zoomed, 0, ancestors.length);
  tree.hidden = flame.root.value === 0;
  tree.replaceChildren(...elements);
  tree.style.height = `${(depth + 1) * FRAME_PIXELS}px`;
  byId("flame-reset").hidden = zoomed === flame.root;
  const rest = "A finding has one stack, and all its time counts there.";
  setText(byId("flame-text"), flame.root.value === 0 ? "Nothing has blocked so far." : `${duration(flame.root.value / 1e6)} in total. ${rest} Click a frame to enlarge it.`);
}

function frameElement(node, left, share, level) {
  const element = document.createElement("div");
  element.className = `frame ${frameClass(node)}`;
  element.role = "treeitem";
  element.ariaLevel = level + 1;
  element.tabIndex = node === flame.zoomed ? 0 : -1;
  element.style.left = `${left * 100}%`;
  element.style.width = `${share * 100}%`;
  element.style.top = `${level * FRAME_PIXELS}px`;
  const total = flame.root.value > 0 ? node.value / flame.root.value : 0;
  const text = `${node.name}: ${duration(node.value / 1e6)}, ${percent(total)}`;
  element.title = text;
  setAriaLabel(element, text);
  // Without the path before it, a narrow frame still shows its function.
  element.textContent = shortName(node.name);
  element.node = node;
  return element;
}

/** Returns the last two parts of a function's path, without the place. */
function shortName(name) {
  const path = name.replace(/ \([^()]*\)$/, "");
  return path.includes("<") ? path : path.split("::").slice(-2).join("::");
}

function frameClass(node) {
  if (node.parent === null) return "all";
  if (node.parent.parent === null) return "task";
  if (/^\[.*\]$/.test(node.name)) return "why";
  const isNative = !node.name.includes("::");
  return isNative || /^<?(std|core|alloc|tokio|loopscope)::/.test(node.name) ? "library" : "";
}

byId("flame").addEventListener("toggle", () => byId("flame").open && loadFlame());
byId("flame-reload").addEventListener("click", loadFlame);
function enlarge(node) {
  drawFlame(node);
  byId("flame-tree").querySelector("[tabindex='0']")?.focus();
}

byId("flame-reset").addEventListener("click", () => enlarge(flame.root));
byId("flame-tree").addEventListener("click", ({ target }) => target.node && enlarge(target.node));

byId("flame-tree").addEventListener("keydown", (event) => {
  const { target } = event;
  if (!target.node || event.ctrlKey || event.metaKey || event.altKey) return;
  const all = [...byId("flame-tree").children];
  const siblings = all.filter(({ node }) => node.parent === target.node.parent);
  const next = {
    ArrowUp: () => all.find(({ node }) => node === target.node.parent),
    ArrowDown: () => all.find(({ node }) => node.parent === target.node),
    ArrowLeft: () => siblings[siblings.indexOf(target) - 1],
    ArrowRight: () => siblings[siblings.indexOf(target) + 1],
  }[event.key];
  if (event.key === "Enter" || event.key === " ") enlarge(target.node);
  else if (event.key === "Escape") enlarge(flame.root);
  else if (!next) return;
  event.preventDefault();
  const element = next?.();
  if (!element) return;
  for (const other of all) other.tabIndex = other === element ? 0 : -1;
  element.focus();
});
