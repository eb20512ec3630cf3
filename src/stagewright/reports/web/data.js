// SPDX-License-Identifier: Apache-2.0
// The page's data, and how numbers are written. Loaded first; the scripts of the page share one scope.
"use strict";

/** Return the data of the page: JSON, or the same compressed and in base64. */
async function readData() {
  const holder = document.getElementById("data");
  if (!holder) return null;
  if (holder.type === "application/json") return JSON.parse(holder.textContent);
  const bytes = Uint8Array.from(atob(holder.textContent), (c) => c.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return JSON.parse(await new Response(stream).text());
}

const NBSP = "\u00a0";

/** Four significant digits, without an exponent. */
function digits(value) {
  return Math.abs(value) >= 1000 ? value.toFixed(0) : String(Number(value.toPrecision(4)));
}

/** Write picoseconds: 1.234 ms. */
function formatTime(ps) {
  for (const [unit, size] of [["s", 1e12], ["ms", 1e9], ["us", 1e6], ["ns", 1e3], ["ps", 1]]) {
    if (Math.abs(ps) >= size) return digits(ps / size) + NBSP + unit;
  }
  return "0" + NBSP + "s";
}

/** Write a size: 1.5 MiB. */
function formatBytes(bytes) {
  let value = bytes;
  for (const unit of ["B", "KiB", "MiB", "GiB"]) {
    if (Math.abs(value) < 1024) return digits(value) + NBSP + unit;
    value /= 1024;
  }
  return digits(value) + NBSP + "TiB";
}

/** Write a count with a prefix: 1.2 G. */
function formatCount(value) {
  for (const [prefix, size] of [["T", 1e12], ["G", 1e9], ["M", 1e6], ["k", 1e3]]) {
    if (value >= size) return digits(value / size) + NBSP + prefix;
  }
  return String(value);
}

/** Write a bandwidth: 25 GB/s. */
function formatRate(rate) {
  return rate >= 1000 ? formatCount(rate) + "B/s" : digits(rate) + NBSP + "B/s";
}

/** Write part / whole in per cent, rounded down to a tenth, as the page's texts do. */
function formatShare(part, whole) {
  if (!(whole > 0)) return "-";
  const tenths = Math.floor((1000 * part) / whole);
  return part > 0 && tenths === 0 ? "<0.1" + NBSP + "%" : `${(tenths / 10).toFixed(1)}${NBSP}%`;
}

/** Write a number of things: "1 node", "1,234 nodes". */
function count(number, noun) {
  return `${number.toLocaleString("en")} ${noun}${number === 1 ? "" : "s"}`;
}

/** Make an element; text goes in as text, never as markup. */
function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [key, value] of Object.entries(attributes)) {
    if (value === true) made.setAttribute(key, "");
    else if (value !== false && value != null) made.setAttribute(key, value);
  }
  made.append(...children);
  return made;
}

/** The class that colours a stage; neighbours differ. */
function stageColour(stage) {
  return `stage-${stage % 8}`;
}
