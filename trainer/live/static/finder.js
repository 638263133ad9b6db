// Faces found by the network itself, as in trainer/uvmaps/finding.py: the whole picture at a few scales, then a window
// around each patch of mask; in video the windows follow the faces (trainer/uvmaps/tracking.py).
//
// The network is a function of (planes, count, height, width) that promises {data, channels}: U, V, mask, visible mask
// and, where it gives one, a face score, count x channels x height x width.
import { resampled } from "./picture.js";

const MIN_AREA = 300; // of a face, in pixels of its level
const USUAL_AREA = 3300 / (128 * 128); // mean face area in the training data, of the picture
const USUAL_WINDOW = 1.7; // at which that is the area
const SMALLER = 1.6; // from level to level
const REDETECT = 30; // frames between searches of the whole picture
const SAME_FACE = 0.5; // shared part of the smaller box from which two windows show one face
const MUCH_SMALLER = 0.5; // side of a box against another: within that one's window, an ear or a hand rather than a face

export class Finder {
  // options: as `Options` of finding.py. videoSearch: longest side of the largest level in video, where time is short
  constructor(network, options) {
    this.network = network;
    this.options = options;
    this.close = options.last_window || options.window; // in which a face is read for good
    this.videoSearch = Math.max(192, Math.round(1.5 * options.network_px));
    this.reset();
  }

  reset() {
    this.windows = [];
    this.age = 0;
  }

  // All faces of a picture, the surest first.
  async find(picture, search = this.options.search_px) {
    const { passes, window, min_face } = this.options;
    let windows = await this.search(picture, search);
    for (let pass = 1; pass < passes; pass++) {
      const coarse = distinct(await this.read(picture, windows, false, min_face / 2));
      windows = coarse.map((face) => windowAround(face.box, pass < passes - 1 ? window : this.close));
    }
    return distinct(await this.read(picture, windows, true, min_face)).sort((a, b) => b.score - a.score);
  }

  // The faces of the next frame of a video.
  async follow(picture) {
    let faces = [];
    if (this.windows.length && this.age < REDETECT) {
      this.age++;
      faces = distinct(await this.read(picture, this.windows, false, this.options.min_face));
    }
    if (!faces.length) {
      this.age = 0;
      faces = await this.find(picture, this.videoSearch);
    }
    this.windows = faces.map((face) => windowAround(face.box, this.close));
    return faces;
  }

  // Windows around what may be faces.
  async search(picture, search) {
    const { network_px, window, max_faces } = this.options;
    const usual = USUAL_AREA * (network_px * (USUAL_WINDOW / window)) ** 2;
    const larger = Math.max(picture.width, picture.height), longest = Math.min(larger, search);
    const whole = { x: 0, y: 0, width: picture.width, height: picture.height };
    const candidates = [];
    for (let side = longest; side >= 0.6 * network_px || side === longest; side /= SMALLER) {
      const width = Math.max(8, Math.round((picture.width * side) / larger));
      const height = Math.max(8, Math.round((picture.height * side) / larger));
      const { data } = await this.network(resampled(picture, whole, width, height), 1, height, width);
      const mask = data.subarray(2 * width * height, 3 * width * height);
      for (const patch of patches(mask, width, height)) {
        if (patch.area < MIN_AREA) continue;
        const known = Math.exp(-((Math.log(patch.area / usual) / 1.6) ** 2));
        const sx = picture.width / width, sy = picture.height / height, [left, top, right, bottom] = patch.box;
        candidates.push({ score: known * patch.mean, box: [left * sx, top * sy, right * sx, bottom * sy] });
      }
    }
    const kept = [];
    for (const { box } of candidates.sort((a, b) => b.score - a.score)) {
      if (kept.every((other) => sharedPart(box, other) < 0.3)) kept.push(box);
    }
    return kept.slice(0, max_faces).map((box) => windowAround(box, window));
  }

  // The faces inside windows; those without one are dropped. check: the last reading of a picture: what differs in the
  // mirror is none, too, and with `mirrored` a face is the mean of both. Video has no time for that.
  async read(picture, windows, check, leastFace) {
    const size = this.options.network_px, area = size * size, count = windows.length;
    if (!count) return [];
    const planes = new Float32Array(count * 3 * area);
    windows.forEach((w, n) => resampled(picture, { x: w.x, y: w.y, width: w.side, height: w.side }, size, size, planes, n * 3 * area));
    const { data, channels } = await this.network(planes, count, size, size);
    const { min_agreement: least, mirrored: both } = this.options;
    const back = check && (both || least > 0) ? (await this.network(mirrored(planes, size), count, size, size)).data : null;
    const faces = [];
    windows.forEach((window, n) => {
      let maps = data.subarray(n * channels * area, (n + 1) * channels * area);
      if (back) {
        const other = back.subarray(n * channels * area, (n + 1) * channels * area);
        if (agreement(maps, other, size, this.options) < least) return;
        if (both) maps = meanOfBoth(maps, other, size, this.options.centre_u);
      }
      const score = channels > 4 ? maps[4 * area] : 1;
      if (score < leastFace) return;
      const face = faceOf(window, maps, size, score);
      if (face) faces.push(face);
    });
    return faces;
  }
}

// The largest patch of mask in a window as a face: UV, masks of size x size, box in the picture's pixels.
function faceOf(window, maps, size, score) {
  const area = size * size;
  const found = patches(maps.subarray(2 * area, 3 * area), size, size, true);
  if (!found.length) return null;
  const largest = found.reduce((a, b) => (b.area > a.area ? b : a));
  if (largest.area < MIN_AREA / 4) return null;
  const face = { window, size, uv: new Float32Array(2 * area), mask: new Float32Array(area), visible: new Float32Array(area) };
  let sum = 0, count = 0;
  for (let y = 0, i = 0; y < size; y++) {
    for (let x = 0; x < size; x++, i++) {
      const mine = (at) => largest.labels[at] === largest.number;
      if (mine(i) || (x > 0 && mine(i - 1)) || (x + 1 < size && mine(i + 1)) || (y > 0 && mine(i - size)) || (y + 1 < size && mine(i + size))) {
        face.mask[i] = clamp(maps[2 * area + i]);
        face.visible[i] = Math.min(clamp(maps[3 * area + i]), face.mask[i]);
        face.uv[i] = clamp(maps[i]);
        face.uv[area + i] = clamp(maps[area + i]);
        if (face.mask[i] > 0.5) { sum += face.mask[i]; count++; }
      }
    }
  }
  const scale = window.side / size, [left, top, right, bottom] = largest.box;
  face.score = (score * sum) / count;
  face.box = [window.x + left * scale, window.y + top * scale, window.x + right * scale, window.y + bottom * scale];
  return face;
}

const clamp = (value) => Math.min(1, Math.max(0, value));

// Connected patches of mask > 0.5: area, mean, box [left, top, right, bottom]; with their labels where asked for.
export function patches(mask, width, height, withLabels = false) {
  const labels = new Int32Array(width * height), stack = new Int32Array(width * height), found = [];
  for (let start = 0; start < labels.length; start++) {
    if (labels[start] || mask[start] <= 0.5) continue;
    const number = found.length + 1;
    let depth = 0, area = 0, sum = 0, left = width, top = height, right = 0, bottom = 0;
    labels[start] = number;
    stack[depth++] = start;
    while (depth) {
      const at = stack[--depth], x = at % width, y = (at - x) / width;
      area++;
      sum += clamp(mask[at]);
      if (x < left) left = x;
      if (x >= right) right = x + 1;
      if (y < top) top = y;
      if (y >= bottom) bottom = y + 1;
      for (let side = 0; side < 4; side++) {
        const inside = side === 0 ? x > 0 : side === 1 ? x + 1 < width : side === 2 ? y > 0 : y + 1 < height;
        const next = at + (side === 0 ? -1 : side === 1 ? 1 : side === 2 ? -width : width);
        if (inside && !labels[next] && mask[next] > 0.5) {
          labels[next] = number;
          stack[depth++] = next;
        }
      }
    }
    const patch = { number, area, mean: sum / area, box: [left, top, right, bottom] };
    if (withLabels) patch.labels = labels;
    found.push(patch);
  }
  return found;
}

export function sharedPart(a, b) {
  const wide = Math.min(a[2], b[2]) - Math.max(a[0], b[0]), high = Math.min(a[3], b[3]) - Math.max(a[1], b[1]);
  if (wide <= 0 || high <= 0) return 0;
  return (wide * high) / Math.min((a[2] - a[0]) * (a[3] - a[1]), (b[2] - b[0]) * (b[3] - b[1]));
}

export function windowAround([left, top, right, bottom], window) {
  const side = Math.max(16, Math.round(window * Math.max(right - left, bottom - top)));
  return { x: Math.round((left + right - side) / 2), y: Math.round((top + bottom - side) / 2), side };
}

// Without faces that another covers: two windows that met would show one face for ever. Large and sure ones stay.
export function distinct(faces) {
  const kept = [];
  for (const face of [...faces].sort((a, b) => b.score * sideOf(b.box) - a.score * sideOf(a.box))) {
    if (!kept.some((other) => covered(face, other))) kept.push(face);
  }
  return faces.filter((face) => kept.includes(face));
}

// Is one face the other, or something small that belongs to it?
function covered(face, { box, window }) {
  const around = [window.x, window.y, window.x + window.side, window.y + window.side];
  return sharedPart(face.box, sideOf(face.box) < MUCH_SMALLER * sideOf(box) ? around : box) >= SAME_FACE;
}

const sideOf = ([left, top, right, bottom]) => Math.max(right - left, bottom - top);

// Planes with their columns reversed; rows of any number of planes lie behind each other.
function mirrored(planes, width) {
  const out = new Float32Array(planes.length);
  for (let row = 0; row < planes.length; row += width) {
    for (let x = 0; x < width; x++) out[row + x] = planes[row + width - 1 - x];
  }
  return out;
}

// The mean of what the network sees in a window and, mirrored back, in its mirror image.
export function meanOfBoth(maps, back, size, centreU) {
  const out = mirrored(back, size);
  for (let i = 0; i < out.length; i++) out[i] = (maps[i] + (i < size * size ? 2 * centreU - out[i] : out[i])) / 2;
  return out;
}

// How alike the network sees a window and its mirror image, as `agreement` of trainer/augmentation/mirror.py.
export function agreement(maps, back, size, options) {
  const area = size * size;
  let both = 0, either = 0, difference = 0;
  for (let y = 0; y < size; y++) {
    for (let x = 0; x < size; x++) {
      const i = y * size + x, j = y * size + size - 1 - x;
      const a = maps[2 * area + i] > 0.5, b = back[2 * area + j] > 0.5;
      either += a || b;
      if (a && b) {
        both++;
        difference += (Math.abs(maps[i] - (2 * options.centre_u - back[j])) + Math.abs(maps[area + i] - back[area + j])) / 2;
      }
    }
  }
  return (both / Math.max(1, either)) * Math.max(0, 1 - difference / Math.max(1, both) / options.guess_uv_error);
}
