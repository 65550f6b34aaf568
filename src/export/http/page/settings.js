
// Settings that this browser keeps, and links to lines in an editor.

/** Returns a kept setting. A browser may forbid the storage: then the setting lasts as long as the page. */
function setting(name) {
  try {
    return localStorage.getItem(`loopscope.${name}`) ?? "";
  } catch {
    return "";
  }
}

function keepSetting(name, value) {
  try {
    localStorage.setItem(`loopscope.${name}`, value);
  } catch {
    // The page works without the storage.
  }
}

const editor = { url: "", folder: "" };

/** Returns the URL that opens a line in the editor, or null without an editor or for a file outside of the workspace. */
function editorUrl(file, line) {
  // These could run a script.
  if (!/^(?!javascript:|data:|vbscript:|blob:)[a-z][a-z0-9+.-]*:/i.test(editor.url)) return null;
  const isAbsolute = /^(\/|[a-z]:[\\/])/i.test(file);
  if (!isAbsolute && editor.folder === "" && editor.url.includes("{file}")) return null;
  const path = (isAbsolute ? file : `${editor.folder}/${file}`).replaceAll("\\", "/").replace(/^(?!\/)/, "/");
  const encoded = (text) => text.split("/").map(encodeURIComponent).join("/");
  const values = { "{file}": encoded(path), "{path}": encoded(file), "{line}": String(line) };
  return editor.url.replace(/\{(file|path|line)\}/g, (name) => values[name]);
}

/** Shows a place `file:line`, as a link if there is an editor for it. */
function setPlace(element, text, isInWorkspace) {
  const [, file, line] = (isInWorkspace && /^(.+):(\d+)$/.exec(text)) || [];
  const url = file ? editorUrl(file, line) : null;
  const link = element.querySelector("a");
  if (url === null) return void (link ? element.replaceChildren(text) : setText(element, text));
  if (link?.getAttribute("href") === url && link.textContent === text) return;
  const added = document.createElement("a");
  added.href = url;
  added.textContent = text;
  added.title = "Open in the editor";
  element.replaceChildren(added);
}

function readEditor() {
  const choice = byId("editor").value;
  editor.url = choice === "other" ? byId("editor-url").value.trim() : choice;
  editor.folder = byId("editor-folder").value.trim().replace(/[\\/]+$/, "");
  byId("editor-url-label").hidden = choice !== "other";
}

for (const id of ["editor", "editor-url", "editor-folder"]) {
  const field = byId(id);
  const kept = setting(id);
  if (kept !== "") field.value = kept;
  field.addEventListener("input", () => {
    keepSetting(id, field.value);
    readEditor();
    for (const card of cards.values()) if (card.details) fillDetails(card);
    renderLast();
  });
}
readEditor();
