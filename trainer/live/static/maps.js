// What the UV map of a face shows, as in trainer/uvmaps: its maps in the picture's own pixels, and points in it.

// Maps of a face scaled to its window: uv (2 x side x side), mask and visible mask. UV is scaled with the mask as
// weight, so that what lies outside does not bleed in.
export function enlarged(face) {
  const { size, uv, mask: from, window: { side } } = face, area = size * size;
  const out = { side, uv: new Float32Array(2 * side * side), mask: new Float32Array(side * side), visible: new Float32Array(side * side) };
  const place = Array.from({ length: side }, (_, i) => {
    const at = Math.max(0, ((i + 0.5) * size) / side - 0.5), first = Math.min(Math.floor(at), size - 1);
    return [first, Math.min(first + 1, size - 1), at - first];
  });
  for (let y = 0, to = 0; y < side; y++) {
    const [y0, y1, fy] = place[y];
    for (let x = 0; x < side; x++, to++) {
      const [x0, x1, fx] = place[x];
      const a = y0 * size + x0, b = y0 * size + x1, c = y1 * size + x0, d = y1 * size + x1;
      const wa = (1 - fy) * (1 - fx), wb = (1 - fy) * fx, wc = fy * (1 - fx), wd = fy * fx;
      const ma = wa * from[a], mb = wb * from[b], mc = wc * from[c], md = wd * from[d], mask = ma + mb + mc + md;
      if (mask <= 0) continue;
      out.mask[to] = mask;
      out.visible[to] = wa * face.visible[a] + wb * face.visible[b] + wc * face.visible[c] + wd * face.visible[d];
      out.uv[to] = (ma * uv[a] + mb * uv[b] + mc * uv[c] + md * uv[d]) / mask;
      out.uv[side * side + to] = (ma * uv[area + a] + mb * uv[area + b] + mc * uv[area + c] + md * uv[area + d]) / mask;
    }
  }
  return out;
}

// Where maps show UVs, [[x, y] or null, ...] in pixels of the window: inside a triangle of neighbouring pixel centres
// (of several the smallest in UV), else, for UVs no further than `reach` from the face, the nearest pixel and one step
// on the map's slope.
export function findPoints(maps, uvs, reach = 0.02) {
  const { side, uv, mask } = maps, area = side * side;
  const found = uvs.map(() => null), best = uvs.map(() => Infinity);
  const order = uvs.map((_, i) => i).sort((a, b) => uvs[a][0] - uvs[b][0]);
  const sorted = order.map((i) => uvs[i][0]);
  for (let y = 0; y + 1 < side; y++) {
    for (let x = 0; x + 1 < side; x++) {
      const at = y * side + x, below = at + side;
      if (mask[at] <= 0.5 || mask[at + 1] <= 0.5 || mask[below] <= 0.5 || mask[below + 1] <= 0.5) continue;
      const low = Math.min(uv[at], uv[at + 1], uv[below], uv[below + 1]), high = Math.max(uv[at], uv[at + 1], uv[below], uv[below + 1]);
      for (let k = firstFrom(sorted, low); k < sorted.length && sorted[k] <= high; k++) {
        const point = order[k], [pu, pv] = uvs[point], corners = [at, at + 1, below, below + 1];
        const u = corners.map((c) => uv[c]), v = corners.map((c) => uv[area + c]);
        if (pv < Math.min(...v) || pv > Math.max(...v)) continue;
        for (const [a, b, c] of [[0, 1, 2], [3, 2, 1]]) {
          const ab = [u[b] - u[a], v[b] - v[a]], ac = [u[c] - u[a], v[c] - v[a]], ap = [pu - u[a], pv - v[a]];
          const size = cross(ab, ac), wb = cross(ap, ac) / size, wc = cross(ab, ap) / size;
          if (Math.abs(size) < 1e-12 || wb < -1e-4 || wc < -1e-4 || wb + wc > 1 + 1e-4 || Math.abs(size) >= best[point]) continue;
          best[point] = Math.abs(size);
          found[point] = a === 0 ? [x + 0.5 + wb, y + 0.5 + wc] : [x + 1.5 - wb, y + 1.5 - wc];
        }
      }
    }
  }
  const lacking = found.flatMap((place, i) => (place ? [] : [i]));
  const nearest = lacking.map(() => [Infinity, -1]);
  for (let at = 0; lacking.length && at < area; at++) {
    if (mask[at] <= 0.5) continue;
    lacking.forEach((point, k) => {
      const away = Math.hypot(uv[at] - uvs[point][0], uv[area + at] - uvs[point][1]);
      if (away < nearest[k][0]) nearest[k] = [away, at];
    });
  }
  lacking.forEach((point, k) => {
    if (nearest[k][0] <= reach) found[point] = extended(maps, nearest[k][1], uvs[point]);
  });
  return found;
}

function extended({ side, uv }, at, [u, v]) {
  const area = side * side, x = at % side, y = (at - x) / side;
  const x0 = Math.max(x - 1, 0), x1 = Math.min(x + 1, side - 1), y0 = Math.max(y - 1, 0), y1 = Math.min(y + 1, side - 1);
  const slope = (plane) => [
    (uv[plane + y * side + x1] - uv[plane + y * side + x0]) / (x1 - x0),
    (uv[plane + y1 * side + x] - uv[plane + y0 * side + x]) / (y1 - y0),
  ];
  const du = slope(0), dv = slope(area), missing = [u - uv[at], v - uv[area + at]], size = du[0] * dv[1] - du[1] * dv[0];
  const step = (value) => (Number.isFinite(value) ? Math.min(1, Math.max(-1, value)) : 0);
  return [
    x + 0.5 + step((missing[0] * dv[1] - missing[1] * du[1]) / size),
    y + 0.5 + step((missing[1] * du[0] - missing[0] * dv[0]) / size),
  ];
}

function firstFrom(sorted, value) {
  let low = 0, high = sorted.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (sorted[middle] < value) low = middle + 1;
    else high = middle;
  }
  return low;
}

function cross(a, b) {
  return a[0] * b[1] - a[1] * b[0];
}
