
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

/** Formats a length of a time range: "250 ms", "60 s", "12 min", "3 h". */
function span(seconds) {
  if (seconds < 120) return duration(seconds);
  return seconds < 7200 ? `${Math.round(seconds / 60)} min` : `${Number((seconds / 3600).toPrecision(2))} h`;
}

/** Formats an age in seconds. The number of decimals does not change while the age grows. */
const age = (seconds) => (seconds < 1 ? `${Math.round(seconds * 1e3)} ms` : `${seconds.toFixed(1)} s`);

/** Formats a time in the past in whole seconds, minutes or hours. */
const timeAgo = (seconds) =>
  seconds < 120 ? `${seconds} s` : seconds < 7200 ? `${Math.round(seconds / 60)} min` : `${Math.round(seconds / 3600)} h`;

const percent = (share) => `${(share * 100).toFixed(share < 0.1 ? 1 : 0)} %`;

const counted = (n, singular, plural) => `${n.toLocaleString("en")} ${n === 1 ? singular : plural}`;

const timeOfDay = (date) => date.toLocaleTimeString([], { hour12: false });

/** Formats a Unix time as a time of day, with as many decimals as times that are `step` seconds apart need. */
function clockTime(seconds, step) {
  const date = new Date(Math.floor(seconds) * 1e3);
  const text = [date.getHours(), date.getMinutes(), date.getSeconds()].map((n) => String(n).padStart(2, "0")).join(":");
  if (step >= 86400) return [date.getFullYear(), date.getMonth() + 1, date.getDate()].map((n) => String(n).padStart(2, "0")).join("-");
  if (step >= 60) return text.slice(0, 5);
  if (step >= 1) return text;
  const decimals = Math.min(6, Math.ceil(-Math.log10(step) - 1e-9));
  const fraction = Math.min(seconds - Math.floor(seconds), 1 - 10 ** -decimals);
  return text + fraction.toFixed(decimals).slice(1);
}

/** Sets the text only if it differs, so that a selection and a screen reader's position are kept. */
function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** Shows a text in which the parts between back-ticks are code. */
function setProse(element, text) {
  if (element.textContent === text.replaceAll("`", "")) return;
  const parts = text.split("`");
  const isBalanced = parts.length % 2 === 1;
  if (!isBalanced) return setText(element, text);
  element.replaceChildren(...parts.map((part, index) => (index % 2 === 0 ? part : codeElement(part))));
}

function codeElement(text) {
  const code = document.createElement("code");
  code.textContent = text;
  return code;
}

/** Sets the text that a screen reader reads instead of the content. */
function setAriaLabel(element, text) {
  if (element.getAttribute("aria-label") !== text) element.setAttribute("aria-label", text);
}

function setClass(element, name, on) {
  element.classList.toggle(name, Boolean(on));
}

/** Shows these children in this order, and changes nothing if they are. */
function setChildren(parent, children) {
  const isSame = parent.children.length === children.length && children.every((child, index) => parent.children[index] === child);
  if (!isSame) parent.replaceChildren(...children);
}

const cloneTemplate = (template) => byId(template).content.firstElementChild.cloneNode(true);
