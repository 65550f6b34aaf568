
"use strict";
// How figures and names are written. Everything is set as text, never as markup.

const byId = (id) => document.getElementById(id);

/** Three digits and a unit that fits: "12 ms", "2.41 s". */
function duration(seconds) {
  if (!(seconds >= 0)) return "–";
  if (seconds === 0) return "0 s";
  const [value, unit] =
    seconds >= 0.9995 ? [seconds, "s"] : seconds >= 0.0009995 ? [seconds * 1e3, "ms"] : [seconds * 1e6, "µs"];
  return `${Number(value.toPrecision(3))} ${unit}`;
}

/** An age, which changes before your eyes: always the same number of digits. */
const age = (seconds) => (seconds < 1 ? `${Math.round(seconds * 1e3)} ms` : `${seconds.toFixed(1)} s`);

/** Whole seconds, minutes or hours. */
const ago = (seconds) =>
  seconds < 120 ? `${seconds} s` : seconds < 7200 ? `${Math.round(seconds / 60)} min` : `${Math.round(seconds / 3600)} h`;

const percent = (share) => `${(share * 100).toFixed(share < 0.1 ? 1 : 0)} %`;

const many = (n, one, more) => `${n.toLocaleString("en")} ${n === 1 ? one : more}`;

const clock = (date) => date.toLocaleTimeString([], { hour12: false });

/** Sets text only where it changes, so that a selection and a reader's place stay. */
function write(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** What a screen reader says instead of the text. */
function label(element, text) {
  if (element.getAttribute("aria-label") !== text) element.setAttribute("aria-label", text);
}

function mark(element, name, on) {
  element.classList.toggle(name, Boolean(on));
}

const copyOf = (template) => byId(template).content.firstElementChild.cloneNode(true);
