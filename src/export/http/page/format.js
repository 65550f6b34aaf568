
"use strict";
// Formats values, and writes them into elements: always as text, never as markup.

const byId = (id) => document.getElementById(id);

/** Formats seconds with three significant digits and a suitable unit: "12 ms", "2.41 s". */
function duration(seconds) {
  if (!(seconds >= 0)) return "–";
  if (seconds === 0) return "0 s";
  const [value, unit] =
    seconds >= 0.9995 ? [seconds, "s"] : seconds >= 0.0009995 ? [seconds * 1e3, "ms"] : [seconds * 1e6, "µs"];
  return `${Number(value.toPrecision(3))} ${unit}`;
}

/** Formats an age in seconds. The number of decimals does not change while the age grows. */
const age = (seconds) => (seconds < 1 ? `${Math.round(seconds * 1e3)} ms` : `${seconds.toFixed(1)} s`);

/** Formats a time in the past in whole seconds, minutes or hours. */
const timeAgo = (seconds) =>
  seconds < 120 ? `${seconds} s` : seconds < 7200 ? `${Math.round(seconds / 60)} min` : `${Math.round(seconds / 3600)} h`;

const percent = (share) => `${(share * 100).toFixed(share < 0.1 ? 1 : 0)} %`;

const counted = (n, singular, plural) => `${n.toLocaleString("en")} ${n === 1 ? singular : plural}`;

const timeOfDay = (date) => date.toLocaleTimeString([], { hour12: false });

/** Sets the text only if it differs, so that a selection and a screen reader's position are kept. */
function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** Sets the text that a screen reader reads instead of the content. */
function setAriaLabel(element, text) {
  if (element.getAttribute("aria-label") !== text) element.setAttribute("aria-label", text);
}

function setClass(element, name, on) {
  element.classList.toggle(name, Boolean(on));
}

const cloneTemplate = (template) => byId(template).content.firstElementChild.cloneNode(true);
