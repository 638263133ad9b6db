"use strict";
// The mesh of a shot, frame by frame. ABOUT comes from shots.js; loaded() is called by the file of each shot.

const byId = (id) => document.getElementById(id);
const decoded = (text, kind) => new kind(Uint8Array.from(atob(text), (c) => c.charCodeAt(0)).buffer);
const shots = [];
const renderer = new THREE.WebGLRenderer({ canvas: byId("view"), antialias: true, alpha: true });
const scene = new THREE.Scene();
const camera = new THREE.PerspectiveCamera(28, 1, 0.05, 20);
const pivot = new THREE.Group();
const geometry = new THREE.BufferGeometry();
const material = new THREE.MeshStandardMaterial({ vertexColors: true, roughness: 0.85, side: THREE.DoubleSide });
const mesh = new THREE.Mesh(geometry, material);
const SKIN = [0.8, 0.68, 0.6];
let shot = null;
let frame = 0;
let playing = 0;

function loaded(number, found) {
  found.points = decoded(found.points, Uint16Array);
  found.truth = found.truth && decoded(found.truth, Uint16Array);
  shots[number] = found;
  if (Number(byId("shot").value) === number) show(number);
}

function choose(number) {
  if (shots[number]) return show(number);
  const script = document.createElement("script");
  script.src = `shot-${number}.js`;
  document.body.append(script);
}

function show(number) {
  shot = shots[number];
  const count = shot.points.length / shot.frames;
  geometry.setAttribute("position", new THREE.BufferAttribute(new Float32Array(count), 3));
  geometry.setAttribute("color", new THREE.BufferAttribute(new Float32Array(count), 3));
  byId("frame").max = shot.frames - 1;
  byId("as-label").hidden = !shot.truth;
  if (!shot.truth) byId("as").value = "mesh";
  drawCurve();
  go(0);
  placeCamera();
}

function coordinates(source, number, into) {
  const { low, step } = shot;
  const start = number * into.length;
  for (let i = 0; i < into.length; i += 1) into[i] = low[i % 3] + step[i % 3] * source[start + i];
  return into;
}

function colourOf(errorMm) {
  const place = Math.min(errorMm / ABOUT.full_mm, 1) * (ABOUT.colours.length - 1);
  const low = Math.min(Math.floor(place), ABOUT.colours.length - 2);
  return ABOUT.colours[low].map((value, i) => value + (ABOUT.colours[low + 1][i] - value) * (place - low));
}

function go(number) {
  frame = number;
  byId("frame").value = number;
  const as = byId("as").value;
  const position = geometry.attributes.position;
  const colour = geometry.attributes.color;
  coordinates(as === "truth" ? shot.truth : shot.points, number, position.array);
  const truth = as === "error" ? coordinates(shot.truth, number, new Float32Array(position.array.length)) : null;
  for (let i = 0; i < position.count; i += 1) {
    const at = 3 * i;
    const off = truth && Math.hypot(...[0, 1, 2].map((k) => position.array[at + k] - truth[at + k]));
    colour.array.set(truth ? colourOf(1000 * off) : SKIN, at);
  }
  position.needsUpdate = true;
  colour.needsUpdate = true;
  geometry.computeVertexNormals();
  const error = shot.rmse_mm ? `, RMSE ${shot.rmse_mm[number].toFixed(2)} mm` : "";
  byId("says").textContent = `Frame ${number + 1} of ${shot.frames}, ${(number / shot.fps).toFixed(2)} s${error}`;
  const mark = byId("curve").querySelector("line");
  if (mark) for (const end of ["x1", "x2"]) mark.setAttribute(end, (1000 * number) / Math.max(1, shot.frames - 1));
  draw();
}

function drawCurve() {
  const curve = byId("curve");
  curve.replaceChildren();
  curve.style.display = shot.rmse_mm ? "" : "none";
  if (!shot.rmse_mm) return;
  const most = Math.max(...shot.rmse_mm) * 1.05;
  const last = Math.max(1, shot.frames - 1);
  const places = shot.rmse_mm.map((v, i) => `${((1000 * i) / last).toFixed(1)},${(120 - (118 * v) / most).toFixed(1)}`);
  for (const [name, values] of [["path", { d: `M${places.join("L")}` }], ["line", { x1: 0, x2: 0, y1: 0, y2: 120 }]]) {
    const element = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(values)) element.setAttribute(key, value);
    curve.append(element);
  }
}

function placeCamera() {
  mesh.position.set(...shot.middle).negate();
  camera.position.set(0, 0, shot.radius * 4.4);
  draw();
}

function draw() {
  const canvas = byId("view");
  const { clientWidth: width, clientHeight: height } = canvas;
  if (canvas.width !== width || canvas.height !== height) {
    renderer.setSize(width, height, false);
    camera.aspect = width / height;
    camera.updateProjectionMatrix();
  }
  renderer.render(scene, camera);
}

function turn(x, y) {
  pivot.rotation.y += x;
  pivot.rotation.x = Math.max(-1.5, Math.min(1.5, pivot.rotation.x + y));
  draw();
}

function tick(time) {
  if (byId("turn").checked) turn(0.01, 0);
  if (playing && (time - playing) * shot.fps >= 1000) {
    playing = time;
    go((frame + 1) % shot.frames);
  }
  if (byId("turn").checked || playing) requestAnimationFrame(tick);
}

function start() {
  geometry.setIndex(new THREE.BufferAttribute(decoded(ABOUT.triangles, Uint32Array), 1));
  pivot.add(mesh);
  const key = new THREE.DirectionalLight(0xffffff, 0.9);
  key.position.set(1, 1.2, 2.2);
  scene.add(pivot, key, new THREE.HemisphereLight(0xffffff, 0x665544, 0.45));
  ABOUT.shots.forEach(({ name, kind }, number) => byId("shot").add(new Option(`${name}, ${kind}`, number)));
  byId("shot").addEventListener("change", () => choose(Number(byId("shot").value)));
  byId("as").addEventListener("change", () => go(frame));
  byId("frame").addEventListener("input", () => go(Number(byId("frame").value)));
  byId("turn").addEventListener("change", () => requestAnimationFrame(tick));
  byId("play").addEventListener("click", () => {
    playing = playing ? 0 : performance.now();
    byId("play").textContent = playing ? "Pause" : "Play";
    requestAnimationFrame(tick);
  });
  const view = byId("view");
  view.addEventListener("pointerdown", (event) => view.setPointerCapture(event.pointerId));
  view.addEventListener("pointermove", (event) => event.buttons && turn(event.movementX / 150, event.movementY / 150));
  const keys = { ArrowLeft: [-0.1, 0], ArrowRight: [0.1, 0], ArrowUp: [0, -0.1], ArrowDown: [0, 0.1] };
  view.addEventListener("keydown", (event) => keys[event.key] && turn(...keys[event.key]));
  addEventListener("resize", () => shot && draw());
  choose(0);
}

start();
