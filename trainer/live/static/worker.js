// The network and all that follows from it, in a thread of its own, so that the page stays quick.
//
// Takes {about} once, then {picture, moving}; answers {ready, threads}, {faces, networkMs, totalMs} or {error}.
import * as ort from "./ort/ort.wasm.min.mjs";
import { Finder } from "./finder.js";
import { enlarged, findPoints } from "./maps.js";

let session, finder, about, networkMs = 0;

async function start(given) {
  about = given;
  ort.env.wasm.wasmPaths = new URL("./ort/", import.meta.url).href;
  // threads need memory that is shared, which browsers grant to isolated pages alone (see trainer/live/serve.py)
  ort.env.wasm.numThreads = self.crossOriginIsolated ? Math.min(4, navigator.hardwareConcurrency || 1) : 1;
  session = await ort.InferenceSession.create(new URL("./network.onnx", import.meta.url).href, { executionProviders: ["wasm"] });
  finder = new Finder(network, about.finder);
  return { ready: true, threads: ort.env.wasm.numThreads };
}

async function network(planes, count, height, width) {
  const before = performance.now();
  const input = new ort.Tensor("float32", planes, [count, 3, height, width]);
  const output = (await session.run({ [session.inputNames[0]]: input }))[session.outputNames[0]];
  networkMs += performance.now() - before;
  return { data: output.data, channels: output.dims[1] };
}

async function faces({ picture, moving }) {
  const before = performance.now();
  networkMs = 0;
  if (!moving) finder.reset();
  const found = await (moving ? finder.follow(picture) : finder.find(picture));
  const faces = found.map((face) => {
    const maps = enlarged(face), { x, y } = face.window;
    const points = findPoints(maps, about.landmark_uv).map((p) => p && [p[0] + x, p[1] + y]);
    return { window: face.window, box: face.box, score: face.score, maps, points };
  });
  return { faces, networkMs, totalMs: performance.now() - before };
}

self.onmessage = async ({ data }) => {
  try {
    self.postMessage(data.about ? await start(data.about) : await faces(data));
  } catch (error) {
    self.postMessage({ error: String((error && error.message) || error) });
  }
};
