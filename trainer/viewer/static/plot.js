// Line plots as SVG. HF.plot(host, {title, unit, series: [{label, run, kind, x, y}], xLabel, log, mark, onpick})
"use strict";

HF.niceTicks = function (low, high, about) {
  const raw = (high - low) / about || 1;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = power * [1, 2, 5, 10].find((m) => m * power >= raw * 0.999);
  const ticks = [];
  for (let i = Math.ceil(low / step - 1e-9); i * step <= high + step * 1e-9; i++) ticks.push(Number((i * step).toPrecision(12)));
  return ticks;
};

HF.logTicks = function (low, high) {
  const all = (steps) => {
    const ticks = [];
    for (let p = Math.floor(Math.log10(low)); p <= Math.ceil(Math.log10(high)); p++)
      for (const m of steps) {
        const v = Number((m * 10 ** p).toPrecision(3));
        if (v >= low * 0.999 && v <= high * 1.001) ticks.push(v);
      }
    return ticks;
  };
  const fewest = [[1], [1, 3], [1, 2, 5], [1, 1.5, 2, 3, 5, 7]].map(all).find((t) => t.length >= 3);
  return fewest || HF.niceTicks(low, high, 4);
};

HF.smooth = function (values, weight) {
  let mean = null;
  return values.map((v) => (v === null ? mean : (mean = mean === null ? v : mean * weight + v * (1 - weight))));
};

HF.plot = function (host, options) {
  const heading = HF.el("h3", {}, options.title, options.unit ? HF.el("small", {}, " · " + options.unit) : null);
  const legend = HF.el("div", { class: "legend" });
  const svg = HF.svg("svg", { role: "img", tabindex: "0" });
  host.classList.add("plot", "card");
  host.replaceChildren(heading, svg, legend);
  const series = options.series.filter((s) => s.y.some((v) => v !== null));
  const swatches = series.map((s) => {
    const value = HF.el("b", {});
    const line = HF.svg("svg", { viewBox: "0 0 20 8", "aria-hidden": "true" }, HF.svg("path", { d: "M0 4H20", class: s.kind }));
    legend.append(HF.el("span", { class: "run-" + s.run }, line, s.label, value));
    return value;
  });
  const last = (s) => s.y[s.y.findLastIndex((v) => v !== null)];
  const showLast = () => series.forEach((s, i) => { swatches[i].textContent = HF.number(last(s)); });
  showLast();
  svg.setAttribute("aria-label", options.title + ": " + series.map((s) => `${s.label} ends at ${HF.number(last(s))}`).join(", "));
  if (!series.length) { svg.replaceWith(HF.el("p", { class: "empty" }, "nothing logged yet")); return; }

  let scale = null;
  const draw = () => {
    const width = Math.max(240, svg.clientWidth || 400), height = svg.clientHeight || 215;
    svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
    let x0 = Infinity, x1 = -Infinity, y0 = Infinity, y1 = -Infinity, positive = true;
    for (const s of series) for (let i = 0; i < s.x.length; i++) {
      const y = s.y[i];
      if (y === null || s.x[i] === null) continue;
      if (s.x[i] < x0) x0 = s.x[i];
      if (s.x[i] > x1) x1 = s.x[i];
      if (y < y0) y0 = y;
      if (y > y1) y1 = y;
      if (y <= 0) positive = false;
    }
    if (x1 <= x0) { x0 -= 0.5; x1 += 0.5; }
    const log = options.log && positive;
    if (log) { if (y1 / y0 < 1.5) { y0 /= 1.3; y1 *= 1.3; } }
    else { const pad = (y1 - y0) * 0.06 || Math.abs(y1) * 0.1 || 0.5; y0 -= pad; y1 += pad; }
    const ticks = log ? HF.logTicks(y0, y1) : HF.niceTicks(y0, y1, 5);
    const box = { left: 12 + 6.4 * Math.max(...ticks.map((t) => HF.number(t).length)), right: width - 8, top: 8, bottom: height - 20 };
    const f = log ? Math.log : (v) => v;
    const px = (x) => box.left + ((x - x0) / (x1 - x0)) * (box.right - box.left);
    const py = (y) => box.bottom - ((f(y) - f(y0)) / (f(y1) - f(y0))) * (box.bottom - box.top);
    scale = { px, x0, x1, box };
    const parts = [];
    for (const t of ticks) {
      parts.push(HF.svg("line", { class: "grid", x1: box.left, x2: box.right, y1: py(t), y2: py(t) }));
      parts.push(HF.svg("text", { x: box.left - 6, y: py(t) + 4, "text-anchor": "end" }, HF.number(t)));
    }
    const xTicks = HF.niceTicks(x0, x1, Math.max(2, (box.right - box.left) / 80));
    for (const t of xTicks)
      if (px(t) < box.right - 60 || series.length === 0) parts.push(HF.svg("text", { x: px(t), y: height - 5, "text-anchor": "middle" }, HF.number(t)));
    parts.push(HF.svg("text", { x: box.right, y: height - 5, "text-anchor": "end" }, options.xLabel));
    const path = (x, y) => {
      let d = "", pen = false;
      for (let i = 0; i < x.length; i++) {
        if (y[i] === null || x[i] === null) { pen = false; continue; }
        d += `${pen ? "L" : "M"}${px(x[i]).toFixed(1)} ${py(y[i]).toFixed(1)}`;
        pen = true;
      }
      return d;
    };
    for (const s of series) {
      const group = HF.svg("g", { class: "run-" + s.run });
      const noisy = s.kind === "train" && options.smooth && s.y.length > 12;
      if (noisy) group.append(HF.svg("path", { class: "raw", d: path(s.x, s.y) }));
      group.append(HF.svg("path", { class: s.kind, d: path(s.x, noisy ? HF.smooth(s.y, Math.min(0.97, 1 - 12 / s.y.length)) : s.y) }));
      if (s.y.length < 12) s.x.forEach((x, i) => { if (s.y[i] !== null) group.append(HF.svg("circle", { cx: px(x), cy: py(s.y[i]), r: 2.5 })); });
      parts.push(group);
    }
    const line = (name) => HF.svg("line", { class: name, y1: box.top, y2: box.bottom, x1: -9, x2: -9 });
    svg.replaceChildren(...parts, line("mark"), line("cross"));
    mark(current);
  };
  let current = options.mark;
  const place = (name, x) => {
    const line = svg.querySelector("." + name);
    if (!line || !scale) return;
    const at = x === null || x === undefined || x < scale.x0 || x > scale.x1 ? -9 : scale.px(x);
    line.setAttribute("x1", at);
    line.setAttribute("x2", at);
  };
  const mark = (x) => { current = x; place("mark", x); };
  const nearest = (s, x) => {
    let best = -1;
    for (let i = 0; i < s.x.length; i++)
      if (s.y[i] !== null && (best < 0 || Math.abs(s.x[i] - x) < Math.abs(s.x[best] - x))) best = i;
    return best < 0 ? null : s.y[best];
  };
  const at = (event) => {
    const box = svg.getBoundingClientRect();
    const share = ((event.clientX - box.left) / box.width * svg.viewBox.baseVal.width - scale.box.left) / (scale.box.right - scale.box.left);
    return share < -0.02 || share > 1.02 ? null : scale.x0 + Math.min(1, Math.max(0, share)) * (scale.x1 - scale.x0);
  };
  svg.addEventListener("pointermove", (event) => {
    const x = at(event);
    place("cross", x);
    if (x === null) showLast();
    else series.forEach((s, i) => { swatches[i].textContent = HF.number(nearest(s, x)); });
    svg.setAttribute("data-x", x === null ? "" : HF.number(x));
  });
  svg.addEventListener("pointerleave", () => { place("cross", null); showLast(); });
  svg.addEventListener("click", (event) => { const x = at(event); if (x !== null && options.onpick) options.onpick(x); });
  svg.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (step && options.onstep) { options.onstep(step); event.preventDefault(); }
  });
  new ResizeObserver(draw).observe(svg);
  draw();
  return { mark };
};
