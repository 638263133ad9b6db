// The page of one training run, or of two side by side.
"use strict";

HF.runsPage = function (data) {
  const el = HF.el, runs = data.runs, letters = ["a", "b"];
  const title = document.getElementById("title");
  runs.forEach((run, i) => {
    if (i) title.append(el("span", { class: "vs" }, "against"));
    title.append(el("span", { class: "run-" + letters[i] }, el("span", { class: "dot" }), run.id));
  });

  // ---- summary
  const summary = HF.section("summary", "Summary");
  const figures = el("div", { class: "tiles" });
  const names = [...new Set(runs.flatMap((r) => r.figures.map((f) => f.name)))];
  for (const name of names) {
    const found = runs.map((r) => r.figures.find((f) => f.name === name));
    figures.append(el("div", { class: "figure" },
      el("div", { class: "name" }, name),
      found.map((f, i) => el("div", { class: "value run-" + (runs.length > 1 ? letters[i] : "") }, HF.number(f ? f.value : null))),
      el("div", { class: "note" }, (found.find((f) => f) || {}).note || "")));
  }
  summary.append(figures);
  const labels = [...new Set(runs.flatMap((r) => r.facts.map((f) => f[0])))];
  const cell = (run, label) => {
    const fact = run.facts.find((f) => f[0] === label);
    if (!fact) return el("td", { class: "dim" }, "–");
    return el("td", {}, fact[2] ? el("a", { href: fact[2] }, fact[1]) : fact[1]);
  };
  const table = el("table", { class: "facts" });
  if (runs.length > 1)
    table.append(el("thead", {}, el("tr", {}, el("th", {}), runs.map((r, i) =>
      el("th", { scope: "col", class: "run-" + letters[i] }, el("span", { class: "dot" }), r.id)))));
  table.append(el("tbody", {}, labels.map((label) =>
    el("tr", {}, el("th", { scope: "row" }, label), runs.map((r) => cell(r, label))))));
  summary.append(el("div", { class: "card below" }, table));
  const events = runs.flatMap((r, i) => r.events.map((e) => [letters[i], ...e]));
  if (events.length)
    summary.append(el("details", {}, el("summary", {}, `${events.length} events`),
      el("ul", {}, events.map(([letter, epoch, text]) =>
        el("li", { class: "run-" + letter }, el("span", { class: "dot" }), `epoch ${epoch}: ${text}`)))));

  // ---- curves
  const plots = [];
  let axis = "epoch", log = true;
  const curveNames = [...new Set(runs.flatMap((r) => r.curves.map((c) => c.name)))];
  let atEpoch = null; // the epoch shown in the images section
  let pickEpoch = () => {}, stepEpoch = () => {};
  if (curveNames.length) {
    const section = HF.section("curves", "Curves",
      "Test values are those of held-out samples. Train curves are smoothed; the faint line is as logged. Click, or use the arrow keys, to see the images of an epoch.");
    const grid = el("div", { class: "plots" });
    const hosts = curveNames.map((name) => [name, grid.appendChild(el("div"))]);
    const xLabels = { epoch: "epochs", samples: "samples", hours: "hours" };
    const drawPlots = () => {
      plots.length = 0;
      for (const [name, host] of hosts) {
        const curves = runs.flatMap((run, i) => run.curves.filter((c) => c.name === name).map((c) => ({ ...c, run: letters[i] })));
        plots.push(HF.plot(host, {
          title: curves[0].title, unit: curves[0].unit, log: log && !curves[0].linear, smooth: name !== "lr", xLabel: xLabels[axis],
          series: curves.map((c) => ({ label: c.kind, kind: c.kind, run: c.run, x: c[axis], y: c.y })),
          mark: axis === "epoch" ? atEpoch : null,
          onpick: (x) => axis === "epoch" && pickEpoch(x), onstep: (step) => stepEpoch(step),
        }));
      }
    };
    section.append(el("div", { class: "bar" },
      HF.choice("against", [["epoch", "epochs"], ["samples", "samples seen"], ["hours", "hours"]], axis, (v) => { axis = v; drawPlots(); }),
      HF.choice("scale", [[true, "logarithmic"], [false, "linear"]], log, (v) => { log = v; drawPlots(); })), grid);
    drawPlots();
  }

  // ---- evaluation images
  const withSheets = runs.filter((r) => r.sheets && r.sheets.epochs.length);
  if (withSheets.length) {
    const section = HF.section("images", "Images by epoch");
    const epochs = [...new Set(withSheets.flatMap((r) => r.sheets.epochs.map((e) => e.epoch)))].sort((a, b) => a - b);
    const rowCount = Math.max(...withSheets.flatMap((r) => r.sheets.epochs.map((e) => e.rows.length)));
    let all = false, playing = null, rest = null;
    const panels = withSheets.map((run) => {
      const head = el("div", { class: "rowhead" }), body = el("div", { class: "rows" });
      const node = el("div", { class: "card run-" + letters[runs.indexOf(run)] }, head, body);
      return { run, head, body, node, shown: null };
    });
    const entryOf = (run, epoch) => {
      let found = run.sheets.epochs[0];
      for (const e of run.sheets.epochs) if (e.epoch <= epoch) found = e;
      return found;
    };
    const nameOfRow = (row) => {
      const entry = entryOf(withSheets[0], epochs[epochSlider ? epochSlider.get() : epochs.length - 1]);
      return `${row + 1}/${rowCount} ${entry.rows[row] ? entry.rows[row].name : ""}`;
    };
    const paint = (panel, entry, sheet) => {
      const { columns } = panel.run.sheets;
      const rows = all ? entry.rows.map((_, i) => i) : [Math.min(rowSlider.get(), entry.rows.length - 1)];
      const shape = `${rows.join()}|${columns.join()}`;
      if (panel.shape !== shape) { // new canvases only where the make-up changed: sliding must not flicker
        panel.shape = shape;
        panel.parts = rows.map((row) => {
          const text = el("div", { class: "rowhead" });
          const pictures = columns.map((name) => HF.picture(name));
          const strip = el("div", { class: "strip" }, pictures.map((p, c) => el("figure", {}, p, el("figcaption", {}, columns[c]))));
          return { row, text, pictures, node: el("div", {}, text, strip) };
        });
        panel.body.replaceChildren(...panel.parts.map((p) => p.node));
      }
      const width = Math.round(sheet.image.naturalWidth / columns.length);
      const height = Math.round(sheet.image.naturalHeight / entry.rows.length);
      for (const part of panel.parts) {
        const row = entry.rows[part.row];
        part.text.replaceChildren(...HF.rowText(row));
        part.pictures.forEach((picture, c) => HF.draw(picture, sheet.image, c, part.row, width, height));
      }
      panel.node.classList.remove("waiting");
      panel.node.setAttribute("data-epoch", entry.epoch);
    };
    const show = (soon) => {
      const epoch = epochs[epochSlider.get()];
      atEpoch = epoch;
      plots.forEach((p) => p && axis === "epoch" && p.mark(epoch));
      for (const panel of panels) {
        const entry = entryOf(panel.run, epoch);
        panel.wanted = entry;
        panel.head.replaceChildren(el("strong", {}, el("span", { class: "dot" }), panel.run.id),
          el("span", { class: "num" }, `epoch ${entry.epoch}`));
      }
      clearTimeout(rest);
      const load = () => Promise.all(panels.map(async (panel) => {
        const entry = panel.wanted;
        const sheet = HF.sheet(entry.file);
        if (!sheet.done && !sheet.failed) await sheet.promise;
        if (panel.wanted !== entry) return; // the slider went on meanwhile
        if (sheet.failed) panel.body.replaceChildren(el("p", { class: "empty" }, `${entry.file} cannot be shown`));
        else paint(panel, entry, sheet);
        if (sheet.failed) panel.shape = null;
      }));
      // a sheet that is there is drawn at once; others wait until the slider rests, so that sliding stays light
      if (soon || panels.every((p) => HF.sheet.has(p.wanted.file))) return load();
      panels.forEach((p) => p.node.classList.add("waiting"));
      return new Promise((resolve) => { rest = setTimeout(() => load().then(resolve), 120); });
    };
    let epochSlider = null;
    epochSlider = HF.slider("epoch", epochs.length, epochs.length - 1, () => show(false),
      (i) => `${epochs[i]} of ${epochs[epochs.length - 1]}`);
    const rowSlider = HF.slider("image", rowCount, 0, () => show(false), nameOfRow);
    pickEpoch = (x) => {
      let best = 0;
      epochs.forEach((e, i) => { if (Math.abs(e - x) < Math.abs(epochs[best] - x)) best = i; });
      epochSlider.set(best);
    };
    stepEpoch = (step) => epochSlider.set(Math.min(epochs.length - 1, Math.max(0, epochSlider.get() + step)));
    const play = el("button", { type: "button", "aria-pressed": "false" }, "Play");
    play.addEventListener("click", () => {
      playing = playing ? null : {};
      play.setAttribute("aria-pressed", String(Boolean(playing)));
      play.textContent = playing ? "Stop" : "Play";
      const mine = playing;
      const tick = async () => {
        if (!mine || playing !== mine) return;
        const next = epochSlider.get() + 1;
        epochSlider.input.value = next >= epochs.length ? 0 : next;
        epochSlider.set(Number(epochSlider.input.value));
        await show(true);
        setTimeout(tick, 160);
      };
      tick();
    });
    const everything = el("button", { type: "button", "aria-pressed": "false" }, "All images");
    everything.addEventListener("click", () => {
      all = !all;
      everything.setAttribute("aria-pressed", String(all));
      rowSlider.input.disabled = all;
      show(true);
    });
    section.append(el("div", { class: "bar" }, epochSlider.node, rowSlider.node, play, everything),
      el("div", { class: withSheets.length > 1 ? "pair" : "" }, panels.map((p) => p.node)));
    const thinned = withSheets.filter((r) => r.sheets.left_out);
    if (thinned.length) section.append(el("p", { class: "dim" }, `${thinned.map((r) => r.sheets.left_out).join(" and ")} epochs between are left out to keep the page small.`));
    show(true);
  }

  // ---- further galleries: projections, worst samples
  for (const kind of ["projections", "worst"]) {
    const having = runs.map((run, i) => [run[kind], letters[i], run.id]).filter(([gallery]) => gallery && gallery.rows.length);
    if (!having.length) continue;
    const section = HF.section(kind, having[0][0].title, having[0][0].lead);
    const box = el("div", { class: having.length > 1 ? "pair" : "" });
    for (const [gallery, letter, id] of having) box.append(HF.gallery(gallery, letter, runs.length > 1 ? id : ""));
    section.append(box);
  }

  // ---- error by knob
  const withSplits = runs.map((r, i) => [r.splits, letters[i]]).filter(([s]) => s && Object.keys(s).length);
  if (withSplits.length) {
    const section = HF.section("knobs", "Error by knob", "Means over the held-out samples of each group, at the last evaluation.");
    const knobs = [...new Set(withSplits.flatMap(([s]) => Object.keys(s)))];
    const metrics = [...new Set(withSplits.flatMap(([s]) => Object.values(s).flat().flatMap((r) => Object.keys(r))))]
      .filter((m) => m !== "label" && m !== "count");
    let knob = knobs[0], metric = metrics[0];
    const host = el("div", { class: "card scroll" });
    const fill = () => {
      const order = [...new Set(withSplits.flatMap(([s]) => (s[knob] || []).map((r) => r.label)))];
      const value = (s, label) => (s[knob] || []).find((r) => r.label === label);
      const top = Math.max(...withSplits.flatMap(([s]) => (s[knob] || []).map((r) => r[metric] || 0)), 1e-12);
      const body = order.map((label) => el("tr", {}, el("th", { scope: "row" }, label), withSplits.flatMap(([s, letter]) => {
        const row = value(s, label), v = row ? row[metric] : null;
        const bar = HF.svg("svg", { viewBox: "0 0 100 8", width: "100%", height: "8", preserveAspectRatio: "none", "aria-hidden": "true" },
          HF.svg("rect", { width: v ? (100 * v) / top : 0, height: 8, rx: 1, fill: `var(--${letter})` }));
        return [el("td", { class: "dim" }, row ? HF.number(row.count) : "–"), el("td", {}, HF.number(v)), el("td", { class: "meter" }, bar)];
      })));
      host.replaceChildren(el("table", {},
        el("thead", {}, el("tr", {}, el("th", {}, knob), withSplits.flatMap(([, letter]) =>
          [el("th", {}, "samples"), el("th", { class: "run-" + letter }, el("span", { class: "dot" }), metric), el("th", {})]))),
        el("tbody", {}, body)));
    };
    section.append(el("div", { class: "bar" },
      HF.select("knob", knobs.map((k) => [k, k]), knob, (v) => { knob = v; fill(); }),
      HF.select("metric", metrics.map((m) => [m, m]), metric, (v) => { metric = v; fill(); })), host);
    fill();
  }
};

// what is said above the tiles of one row: name, key, measured values
HF.rowText = function (row) {
  const el = HF.el;
  return [el("strong", {}, row.name), row.key && row.key !== row.name ? el("span", { class: "mono dim" }, row.key) : null,
    ...Object.entries(row.metrics || {}).map(([name, value]) => el("span", { class: "num" }, `${name} ${HF.number(value)}`))].filter(Boolean);
};

// Rows of tiles out of one sheet, sorted by a metric and filtered by a knob.
HF.gallery = function (gallery, letter, name) {
  const el = HF.el, metrics = [...new Set(gallery.rows.flatMap((r) => Object.keys(r.metrics || {})))];
  const knobs = [...new Set(gallery.rows.flatMap((r) => Object.keys(r.knobs || {})))].sort();
  let order = "", knob = "", keep = () => true;
  const body = el("div", { class: "rows" }), filter = el("span", { class: "field" });
  const host = el("div", { class: "card run-" + letter }, name ? el("p", { class: "rowhead" }, el("strong", {}, el("span", { class: "dot" }), name)) : null);
  const nodes = gallery.rows.map((row, r) => {
    const pictures = gallery.columns.map((column) => HF.picture(`${column} of ${row.name}`));
    const node = el("div", {}, el("div", { class: "rowhead" }, HF.rowText(row)),
      el("div", { class: "strip" }, pictures.map((p, c) => el("figure", {}, p, el("figcaption", {}, gallery.columns[c])))),
      row.command ? el("code", { class: "copy" }, row.command) : null);
    HF.whenSeen(node, async () => {
      const sheet = HF.sheet(gallery.file);
      await sheet.promise;
      const width = Math.round(sheet.image.naturalWidth / gallery.columns.length);
      const height = Math.round(sheet.image.naturalHeight / gallery.rows.length);
      if (!sheet.failed) pictures.forEach((p, c) => HF.draw(p, sheet.image, c, r, width, height));
    });
    return node;
  });
  const fill = () => {
    const chosen = gallery.rows.map((row, i) => [row, i]).filter(([row]) => keep(row));
    if (order) chosen.sort((a, b) => {
      const [x, y] = [a, b].map(([row]) => (row.metrics || {})[order] ?? -Infinity);
      return gallery.falling && gallery.falling.includes(order) ? x - y : y - x;
    });
    body.replaceChildren(...chosen.map(([, i]) => nodes[i]));
    if (!chosen.length) body.append(el("p", { class: "empty" }, "No row passes this filter."));
  };
  const setKnob = (value) => {
    knob = value;
    const values = gallery.rows.map((r) => (r.knobs || {})[knob] ?? null);
    if (!knob) { keep = () => true; filter.replaceChildren(); }
    else if (values.every((v) => v === null || typeof v === "number")) {
      const range = values.filter((v) => v !== null);
      const bound = (label, start, set) => el("input", { type: "number", step: "any", value: start, "aria-label": label, oninput: (e) => { set(e.target.value); fill(); } });
      let low = Math.min(...range), high = Math.max(...range);
      keep = (row) => row.knobs && row.knobs[knob] >= low && row.knobs[knob] <= high;
      filter.replaceChildren("from", bound("from", low, (v) => { low = v === "" ? -Infinity : Number(v); }),
        "to", bound("to", high, (v) => { high = v === "" ? Infinity : Number(v); }));
    } else {
      let word = "";
      keep = (row) => word === "" || String((row.knobs || {})[knob]) === word;
      filter.replaceChildren(HF.select("is", [["", "anything"], ...HF.words(values.map((v) => (v === null ? null : String(v)))).map(([w, n]) => [w, `${w} (${n})`])], "", (v) => { word = v; fill(); }));
    }
    fill();
  };
  if (gallery.rows.length > 3 && (metrics.length || knobs.length))
    host.append(el("div", { class: "bar" },
      metrics.length ? HF.select("worst first by", [["", "as written"], ...metrics.map((m) => [m, m])], "", (v) => { order = v; fill(); }) : null,
      knobs.length ? HF.select("where", [["", "any knob"], ...knobs.map((k) => [k, k])], "", setKnob) : null, filter));
  host.append(body);
  fill();
  return host;
};
