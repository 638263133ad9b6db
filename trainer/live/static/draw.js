// Views of faces, drawn into a picture's bytes (trainer/uvmaps/grid.py, textures.py, drawing.py have them in Python).

const LINES = 20, U_COLOUR = [255, 89, 64], V_COLOUR = [64, 217, 255], HIDDEN = [255, 128, 26];

export const VIEWS = {
  texture: [(mask, u, v) => checker(u, v), (mask) => mask],
  mask: [(mask, u, v, visible) => HIDDEN.map((h) => (255 * visible + h * (mask - visible)) / Math.max(mask, 1e-6)), (mask) => mask],
};

// Draw views, in their order, of a face over the picture's bytes.
export function drawFace(picture, face, maps, views) {
  const { window: { x, y, side } } = face, area = side * side;
  const top = Math.max(0, -y), bottom = Math.min(side, picture.height - y);
  const left = Math.max(0, -x), right = Math.min(side, picture.width - x);
  const width = Math.max(1, side / 220);
  for (let row = top; row < bottom; row++) {
    for (let column = left; column < right; column++) {
      const at = row * side + column, mask = maps.mask[at];
      if (mask <= 0) continue;
      const to = 4 * ((y + row) * picture.width + x + column), u = maps.uv[at], v = maps.uv[area + at];
      for (const view of views) {
        if (view in VIEWS) blend(picture.data, to, VIEWS[view][0](mask, u, v, maps.visible[at]), VIEWS[view][1](mask));
      }
      if (views.includes("grid") && mask > 0.5) {
        blend(picture.data, to, U_COLOUR, line(maps, 0, row, column, width));
        blend(picture.data, to, V_COLOUR, line(maps, area, row, column, width));
      }
    }
  }
}

export function drawPoints(context, points, radius) {
  context.fillStyle = "#ffe61a";
  context.strokeStyle = "#00000090";
  for (const point of points) {
    if (!point) continue;
    context.beginPath();
    context.arc(point[0], point[1], radius, 0, 2 * Math.PI);
    context.fill();
    context.stroke();
  }
}

function blend(data, to, colour, alpha) {
  for (let c = 0; c < 3; c++) data[to + c] += (colour[c] - data[to + c]) * alpha;
}

// Coloured checkers whose hue tells where on the face they belong.
function checker(u, v) {
  const dim = (Math.floor(u * LINES) + Math.floor(v * LINES)) % 2 ? 0.45 * 255 : 255;
  return [dim * (0.25 + 0.75 * u), dim * (0.25 + 0.75 * v), dim * (0.9 - 0.6 * u)];
}

// How far the nearest line of constant U (plane 0) or V covers a pixel.
function line({ side, uv, mask }, plane, row, column, width) {
  const at = row * side + column, value = uv[plane + at];
  let square = 0;
  for (const [step, before, after] of [[1, column > 0, column + 1 < side], [side, row > 0, row + 1 < side]]) {
    const one = before && mask[at - step] > 0.5 ? Math.abs(value - uv[plane + at - step]) : Infinity;
    const other = after && mask[at + step] > 0.5 ? Math.abs(uv[plane + at + step] - value) : Infinity;
    const gentler = Math.min(one, other);
    if (gentler < Infinity) square += gentler * gentler;
  }
  const steps = value * LINES, away = Math.abs(steps - Math.round(steps)) / LINES;
  return Math.min(1, Math.max(0, width / 2 + 0.5 - away / Math.max(Math.sqrt(square), 1e-6)));
}
