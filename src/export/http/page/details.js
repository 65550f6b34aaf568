
// Requests what /live leaves out of a finding: its stack, its source line, and what is known about the call.

const DETAILS_TIMEOUT_MS = 5000;
const COPY_RESULT_MS = 2000;
const detailRequests = { queue: [], busy: false };

/** Returns the document of a finding, or null if the server does not answer. */
async function fetchDetails(id) {
  try {
    const response = await fetch(`findings/${encodeURIComponent(id)}`, { signal: AbortSignal.timeout(DETAILS_TIMEOUT_MS) });
    return response.ok ? await response.json() : null;
  } catch {
    return null;
  }
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
  const count = findingOf(card.id)?.count ?? 0;
  // Without an answer, the next response of /live requests the details again.
  const details = await fetchDetails(card.id);
  if (details) {
    card.detailsForCount = count;
    card.details = details;
    fillDetails(card);
  }
  detailRequests.busy = false;
  if (detailRequests.queue.length > 0) fetchNextDetails();
}

function fillDetails(card) {
  const { part } = card;
  const { finding, source } = card.details;
  const sourceLine = part(".source");
  sourceLine.hidden = source === null;
  setText(sourceLine, source === null ? "" : `${finding.site.line} | ${source.trim()}`);
  const { syscall, fd, lock, waiters, holder } = finding.detail;
  const detail = [
    syscall && `call ${syscall}`,
    fd && `on ${fd}`,
    lock && `lock ${lock}${waiters > 1 ? `, ${waiters} workers waited for it` : ""}`,
    holder && `held by ${holder}`,
    finding.tasks.length > 1 && `in ${finding.tasks.map(({ kind, count }) => `${kind} (${count})`).join(", ")}`,
  ].filter(Boolean);
  part(".detail").hidden = detail.length === 0;
  setText(part(".detail"), detail.join(" · "));
  setText(part("summary"), `Stack (${counted(finding.stack.length, "frame", "frames")})`);
  fillStack(card);
}

/** Shows the stack if it is open: the frames of all cards would be thousands of elements. */
function fillStack({ part, details }) {
  if (part("details").open && details) part(".stack").replaceChildren(...details.finding.stack.map(frameItem));
}

function frameItem(frame) {
  const item = document.createElement("li");
  item.className = frame.kind;
  item.append(frame.function);
  if (frame.file) {
    const place = document.createElement("span");
    setPlace(place, `${frame.file}${frame.line ? `:${frame.line}` : ""}`, frame.kind === "application");
    item.append(" at ", place);
  }
  if (frame.recovered) item.append(" (recovered)");
  return item;
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
