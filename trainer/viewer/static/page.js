// Helpers that all pages share. Text from data only ever becomes a text node: nothing here parses HTML.
"use strict";
const HF = {};

// el("p", {class: "dim", onclick: f}, "text", child, ...)
HF.el = function (tag, attributes, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes || {})) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (name.startsWith("--")) node.style.setProperty(name, value);
    else node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.flat().filter((c) => c !== null && c !== undefined && c !== false));
  return node;
};

HF.svg = function (tag, attributes, ...children) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes || {})) node.setAttribute(name, value);
  node.append(...children);
  return node;
};

HF.section = function (id, title, lead) {
  const section = HF.el("section", { id, "aria-labelledby": id + "-title" }, HF.el("h2", { id: id + "-title" }, title));
  if (lead) section.append(HF.el("p", { class: "lead" }, lead));
  document.getElementById("main").append(section);
  document.getElementById("nav").append(HF.el("a", { href: "#" + id }, title));
  return section;
};

// 12345 -> "12,345"; 0.012345 -> "0.0123"; null -> "–"
HF.number = function (value, digits = 3) {
  if (value === null || value === undefined) return "–";
  if (typeof value !== "number") return String(value);
  if (Number.isInteger(value)) return value.toLocaleString("en");
  const size = Math.abs(value);
  if (size >= 1000) return Math.round(value).toLocaleString("en");
  if (size > 0 && size < 1e-3) return value.toExponential(digits - 1);
  return String(Number(value.toPrecision(digits)));
};

// ---- pictures: a sprite sheet is loaded once, its tiles are drawn to canvases

const sheets = new Map(); // url -> {image, promise, done}
HF.sheet = function (url) {
  let entry = sheets.get(url);
  if (!entry) {
    const image = new Image();
    entry = { image, done: false, failed: false };
    entry.promise = new Promise((resolve) => {
      image.onload = () => { entry.done = true; resolve(entry); };
      image.onerror = () => { entry.failed = true; resolve(entry); };
    });
    image.src = url;
    sheets.set(url, entry);
    if (sheets.size > 60) sheets.delete(sheets.keys().next().value); // keep memory bounded over long sessions
  }
  return entry;
};

HF.sheet.has = function (url) {
  const entry = sheets.get(url);
  return Boolean(entry && (entry.done || entry.failed));
};

// call `then` once, when the node comes into view
HF.whenSeen = function (node, then) {
  const observer = new IntersectionObserver((entries) => {
    if (entries.some((e) => e.isIntersecting)) { observer.disconnect(); then(); }
  }, { rootMargin: "300px" });
  observer.observe(node);
};

HF.picture = function (label) {
  return HF.el("canvas", { class: "pic", role: "img", "aria-label": label, width: 1, height: 1 });
};

HF.draw = function (canvas, image, column, row, width, height) {
  canvas.width = width;
  canvas.height = height;
  canvas.getContext("2d").drawImage(image, column * width, row * height, width, height, 0, 0, width, height);
};

// ---- controls

HF.slider = function (label, count, start, onchange, text) {
  const output = HF.el("output", {});
  const input = HF.el("input", { type: "range", min: 0, max: Math.max(0, count - 1), step: 1, value: start });
  const set = () => {
    output.textContent = text(Number(input.value));
    output.title = output.textContent;
    input.setAttribute("aria-valuetext", output.textContent);
  };
  input.addEventListener("input", () => { set(); onchange(Number(input.value)); });
  const node = HF.el("label", { class: "slide" }, HF.el("span", {}, label), input, output);
  set();
  return { node, input, get: () => Number(input.value), set: (v) => { input.value = v; set(); onchange(Number(input.value)); } };
};

HF.choice = function (label, options, start, onchange) {
  const buttons = options.map(([value, text]) =>
    HF.el("button", { type: "button", "aria-pressed": String(value === start), onclick: () => pick(value) }, text));
  const pick = (value) => {
    buttons.forEach((b, i) => b.setAttribute("aria-pressed", String(options[i][0] === value)));
    onchange(value);
  };
  return HF.el("span", { class: "field" }, label, HF.el("span", { class: "group", role: "group", "aria-label": label }, buttons));
};

HF.select = function (label, options, start, onchange) {
  const select = HF.el("select", { onchange: () => onchange(select.value) },
    options.map(([value, text]) => HF.el("option", { value, selected: value === start }, text)));
  return HF.el("label", { class: "field" }, label, select);
};

// ---- knobs: {name, label, kind: "number" | "word", unit, values: [...]}, one value per sample

HF.bins = function (values, count) {
  let low = Infinity, high = -Infinity;
  for (const v of values) if (v !== null) { if (v < low) low = v; if (v > high) high = v; }
  if (low > high) return null;
  const width = (high - low) / count || 1;
  return { low, high, width, count, of: (v) => Math.min(count - 1, Math.max(0, Math.floor((v - low) / width))) };
};

HF.words = function (values) {
  const counts = new Map();
  for (const v of values) if (v !== null) counts.set(v, (counts.get(v) || 0) + 1);
  return [...counts].sort((a, b) => b[1] - a[1] || String(a[0]).localeCompare(String(b[0])));
};
