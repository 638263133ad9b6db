// The page: pictures come in by example, file, drop or webcam; what the worker finds in them is drawn.
import { drawFace, drawPoints } from "./draw.js";

const PHOTO_SIDE = 1280, VIDEO_SIDE = 640; // larger ones are scaled down
const VIEWS = [["grid", "UV grid"], ["texture", "texture"], ["mask", "mask"], ["landmarks", "landmarks"]];
const canvas = document.getElementById("picture"), context = canvas.getContext("2d", { willReadFrequently: true });
const taken = document.createElement("canvas");
const message = document.getElementById("message"), stage = document.getElementById("stage");
const controls = document.getElementById("controls"), figures = document.getElementById("figures");
const shown = new Set(["grid", "landmarks"]);
const worker = new Worker("worker.js", { type: "module" });
const video = HF.el("video", { playsinline: true });
video.muted = true;
const live = { faces: [], frames: 0, about: null }; // for the console, and for tests
window.headforge = live;
let answer = null; // resolves with the worker's next message
let last = null; // {image, found}: the picture shown, and what was found in it
let run = 0; // number of the source shown; what belongs to an earlier one ends
let times = [];

function say(text, bad = false) {
  message.textContent = text;
  message.classList.toggle("bad", bad);
}

function ask(what, transfer = []) {
  return new Promise((resolve, reject) => {
    answer = { resolve, reject };
    worker.postMessage(what, transfer);
  });
}

worker.onmessage = ({ data }) => (data.error ? answer.reject(new Error(data.error)) : answer.resolve(data));
worker.onerror = (event) => answer && answer.reject(new Error(event.message || "the worker could not be loaded"));

// ---- drawing

// The picture or frame to be read next goes to a canvas of its own: what is shown stays until it has been read.
function take(image, width, height, most) {
  const scale = Math.min(1, most / Math.max(width, height));
  taken.width = Math.max(1, Math.round(width * scale));
  taken.height = Math.max(1, Math.round(height * scale));
  const from = taken.getContext("2d", { willReadFrequently: true });
  from.drawImage(image, 0, 0, taken.width, taken.height);
  return from.getImageData(0, 0, taken.width, taken.height);
}

function redraw() {
  if (!last) return;
  const { image: { width, height, data }, found } = last;
  if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
  const image = new ImageData(new Uint8ClampedArray(data), width, height);
  const views = VIEWS.map(([name]) => name).filter((name) => shown.has(name));
  for (const face of [...found.faces].reverse()) drawFace(image, face, face.maps, views);
  context.putImageData(image, 0, 0);
  if (shown.has("landmarks")) {
    for (const face of found.faces) drawPoints(context, face.points, Math.max(1.5, face.window.side / 130));
  }
}

// Have a picture read, and show it with what was found.
async function process(image, moving) {
  const found = await ask({ picture: { width: image.width, height: image.height, data: image.data }, moving });
  last = { image, found };
  live.faces = found.faces;
  live.frames++;
  redraw();
  count(found, moving);
}

function count(found, moving) {
  const now = performance.now();
  times = moving ? [...times.filter((t) => now - t < 2000), now] : [];
  const rate = times.length > 2 ? ((times.length - 1) * 1000) / (now - times[0]) : null;
  const rows = [
    ["faces", found.faces.length, "in this picture"],
    ["frames/s", rate === null ? "–" : rate.toFixed(1), moving ? "whole: read, found, drawn" : "with the webcam or a video"],
    ["network", `${found.networkMs.toFixed(0)} ms`, moving ? "per frame" : "for the whole search"],
    ["all", `${found.totalMs.toFixed(0)} ms`, `${live.threads} thread${live.threads === 1 ? "" : "s"}, no GPU`],
  ];
  figures.replaceChildren(...rows.map(([name, value, note]) => HF.el("div", { class: "figure", "data-name": name },
    HF.el("div", { class: "name" }, name), HF.el("div", { class: "value" }, String(value)), HF.el("div", { class: "note" }, note))));
}

// ---- sources

// Run the steps of a source unless another one has taken its place; what goes wrong is said.
async function source(steps) {
  const mine = ++run;
  video.pause();
  for (const track of video.srcObject ? video.srcObject.getTracks() : []) track.stop();
  video.srcObject = null;
  await idle;
  if (mine !== run) return;
  idle = steps(() => mine === run).catch((error) => { if (mine === run) say(String((error && error.message) || error), true); });
  await idle;
}
let idle = Promise.resolve(); // while a source still waits for the worker

function photo(blob, name) {
  return source(async (current) => {
    say(`reading ${name} …`);
    const bitmap = await createImageBitmap(blob).catch(() => { throw new Error(`${name} is no picture that this browser reads`); });
    await process(take(bitmap, bitmap.width, bitmap.height, PHOTO_SIDE), false);
    if (current()) say(live.faces.length ? name : `${name}: no face found`);
  });
}

function moving(open, name) {
  return source(async (current) => {
    say(`opening ${name} …`);
    await open();
    await video.play();
    times = [];
    say(`${name}, seen by this page alone`);
    while (current() && !video.ended) {
      await process(take(video, video.videoWidth, video.videoHeight, VIDEO_SIDE), times.length > 0);
      times = times.length ? times : [performance.now()];
      await new Promise(requestAnimationFrame);
    }
  });
}

function webcam() {
  return moving(async () => {
    if (!navigator.mediaDevices) throw new Error("this browser gives no webcam to pages that are not served from this machine or by https");
    video.srcObject = await navigator.mediaDevices.getUserMedia({ video: { width: VIDEO_SIDE }, audio: false });
  }, "webcam");
}

function file(given) {
  if (!given) return Promise.resolve();
  if (!given.type.startsWith("video/")) return photo(given, given.name);
  return moving(async () => { video.src = URL.createObjectURL(given); }, given.name);
}

async function example({ file: name, title }) {
  const got = await fetch(name);
  return photo(await got.blob(), title);
}

// ---- controls

function button(text, onclick, more = {}) {
  return HF.el("button", { type: "button", onclick, ...more }, text);
}

function toggles() {
  return VIEWS.map(([name, label]) => {
    const node = button(label, () => {
      if (!shown.delete(name)) shown.add(name);
      node.setAttribute("aria-pressed", String(shown.has(name)));
      redraw();
    }, { "aria-pressed": String(shown.has(name)), "data-view": name });
    return node;
  });
}

function build(about) {
  const input = HF.el("input", { type: "file", accept: "image/*,video/*", onchange: () => file(input.files[0]) });
  controls.append(
    ...about.examples.map((e) => button(`example: ${e.title}`, () => example(e), { "data-source": e.file })),
    HF.el("label", { class: "file" }, "photo or video …", input),
    button("webcam", webcam, { "data-source": "webcam" }),
    HF.el("span", { class: "field" }, "show", HF.el("span", { class: "group", role: "group", "aria-label": "show" }, toggles())));
  for (const name of ["dragenter", "dragover"]) {
    document.addEventListener(name, (event) => { event.preventDefault(); stage.classList.add("over"); });
  }
  document.addEventListener("dragleave", (event) => { if (!event.relatedTarget) stage.classList.remove("over"); });
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    stage.classList.remove("over");
    file(event.dataTransfer.files[0]);
  });
  document.getElementById("foot").textContent =
    `${about.name}, read by onnxruntime-web ${about.runtime}. Everything is computed in this page; no picture leaves it. Drop a photo or a video anywhere.`;
}

async function start() {
  if (location.protocol === "file:") throw new Error("browsers load a network over http alone: run `gen live`, or serve this folder");
  const got = await fetch("network.json");
  if (!got.ok) throw new Error("network.json is missing: write the page again with `gen live --out`");
  live.about = await got.json();
  live.threads = (await ask({ about: live.about })).threads;
  build(live.about);
  say("Drop a photo or a video here, take the example or your webcam.");
  if (live.about.examples.length) await example(live.about.examples[0]);
  document.documentElement.setAttribute("data-ready", "yes");
}

start().catch((error) => say(String(error.message || error), true));
