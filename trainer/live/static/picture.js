// Pictures as {width, height, data}: data is RGBA bytes, row by row.

// Sums over [first, first + weights.length) that make one of `out` pixels from `n`: means of areas where the picture
// becomes smaller, linear interpolation where it becomes larger.
function taps(n, out) {
  return Array.from({ length: out }, (_, i) => {
    if (n >= out) {
      const first = Math.floor((i * n) / out), end = Math.ceil(((i + 1) * n) / out);
      return { first, weights: new Float64Array(end - first).fill(1 / (end - first)) };
    }
    const at = Math.max(0, ((i + 0.5) * n) / out - 0.5), first = Math.min(Math.floor(at), n - 1), part = at - first;
    return first + 1 < n ? { first, weights: [1 - part, part] } : { first, weights: [1] };
  });
}

// A part of a picture, {x, y, width, height} in whole pixels, as planes R, G, B of values in [0, 1], 3 x height x width
// of the size asked for. Where the part reaches over the border, the border is repeated.
export function resampled(picture, part, width, height, planes = new Float32Array(3 * width * height), offset = 0) {
  const across = taps(part.width, width), down = taps(part.height, height);
  const columns = Int32Array.from({ length: part.width }, (_, x) => 4 * Math.min(Math.max(part.x + x, 0), picture.width - 1));
  const narrow = new Float32Array(3 * part.height * width);
  for (let row = 0; row < part.height; row++) {
    const start = 4 * picture.width * Math.min(Math.max(part.y + row, 0), picture.height - 1);
    for (let x = 0; x < width; x++) {
      const { first, weights } = across[x];
      let r = 0, g = 0, b = 0;
      for (let k = 0; k < weights.length; k++) {
        const at = start + columns[first + k], weight = weights[k];
        r += weight * picture.data[at];
        g += weight * picture.data[at + 1];
        b += weight * picture.data[at + 2];
      }
      const to = 3 * (row * width + x);
      narrow[to] = r;
      narrow[to + 1] = g;
      narrow[to + 2] = b;
    }
  }
  const area = width * height;
  for (let y = 0; y < height; y++) {
    const { first, weights } = down[y];
    for (let x = 0; x < width; x++) {
      let r = 0, g = 0, b = 0;
      for (let k = 0; k < weights.length; k++) {
        const at = 3 * ((first + k) * width + x), weight = weights[k] / 255;
        r += weight * narrow[at];
        g += weight * narrow[at + 1];
        b += weight * narrow[at + 2];
      }
      const to = offset + y * width + x;
      planes[to] = r;
      planes[to + area] = g;
      planes[to + 2 * area] = b;
    }
  }
  return planes;
}
