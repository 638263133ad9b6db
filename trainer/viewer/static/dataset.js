// The page that browses a data set: tiles, filters by knob, one histogram per knob.
"use strict";

HF.datasetPage = function (data) {
  const el = HF.el, count = data.keys.length, perPage = 96;
  document.getElementById("title").append(data.title);
  const filters = new Map(); // knob name -> {low, high} or {words: Set}
  let view = data.views[0].name, order = "index", page = 0, chosen = [...data.keys.keys()];

  // ---- head: what it is
  const summary = HF.section("summary", "Data set");
  summary.append(el("div", { class: "tiles" }, data.figures.map((f) => el("div", { class: "figure" },
    el("div", { class: "name" }, f.name), el("div", { class: "value" }, HF.number(f.value)), el("div", { class: "note" }, f.note || "")))));
  if (data.facts.length)
    summary.append(el("details", { class: "below" }, el("summary", {}, "What it is made of"),
      el("div", { class: "card below" }, el("table", { class: "facts" }, el("tbody", {}, data.facts.map(([name, value, link]) =>
        el("tr", {}, el("th", { scope: "row" }, name), el("td", {}, link ? el("a", { href: link }, value) : value))))))));

  const section = HF.section("samples", "Samples");
  const status = el("p", { class: "lead", role: "status" });
  const chips = el("div", { class: "chips" });
  const mosaic = el("div", { class: "mosaic" });
  const pageText = el("span", { class: "num dim" });
  const back = el("button", { type: "button", onclick: () => turn(-1) }, "← previous");
  const next = el("button", { type: "button", onclick: () => turn(1) }, "next →");
  const side = el("aside", { class: "card side", "aria-label": "Filter by knob", id: "filters" });
  document.getElementById("nav").append(el("a", { href: "#filters" }, "Filters"));

  const byName = new Map(data.knobs.map((k) => [k.name, k]));
  const passes = (i, without) => {
    for (const [name, filter] of filters) {
      if (name === without) continue;
      const value = byName.get(name).values[i];
      if (filter.words ? !filter.words.has(value) : value === null || value < filter.low || value > filter.high) return false;
    }
    return true;
  };
  const turn = (step) => { page += step; fill(); mosaic.scrollIntoView({ block: "nearest" }); };
  const drawTile = async (canvas, i, viewName) => {
    const chunk = Math.floor(i / data.per_sheet), within = i % data.per_sheet;
    const sheet = HF.sheet(data.views.find((v) => v.name === viewName).files[chunk]);
    if (!sheet.done) await sheet.promise;
    if (sheet.failed) return;
    HF.draw(canvas, sheet.image, within % data.sheet_columns, Math.floor(within / data.sheet_columns), data.tile[0], data.tile[1]);
  };

  const fill = () => {
    const pages = Math.max(1, Math.ceil(chosen.length / perPage));
    page = Math.min(Math.max(page, 0), pages - 1);
    const shown = chosen.slice(page * perPage, (page + 1) * perPage);
    status.textContent = `${HF.number(chosen.length)} of ${HF.number(count)} samples` +
      (data.left_out ? ` (${HF.number(data.left_out)} more in the data set are left out of this page)` : "");
    pageText.textContent = `${page + 1} / ${pages}`;
    back.disabled = page === 0;
    next.disabled = page === pages - 1;
    const knob = byName.get(order);
    mosaic.replaceChildren(...shown.map((i, n) => {
      const canvas = HF.picture(`sample ${data.indices[i]}`);
      canvas.width = data.tile[0];
      canvas.height = data.tile[1];
      HF.whenSeen(canvas, () => drawTile(canvas, i, view));
      const text = knob ? `${data.indices[i]} · ${HF.number(knob.values[i])}` : String(data.indices[i]);
      return el("button", { type: "button", title: data.keys[i], onclick: () => open(page * perPage + n) }, canvas, el("span", {}, text));
    }));
    if (!shown.length) mosaic.append(el("p", { class: "empty" }, "No sample passes these filters."));
  };
  const apply = () => {
    chosen = [];
    for (let i = 0; i < count; i++) if (passes(i)) chosen.push(i);
    const knob = byName.get(order.replace(/^-/, ""));
    if (knob) chosen.sort((a, b) => {
      const [x, y] = [knob.values[a], knob.values[b]];
      if (x === null || y === null) return (x === null) - (y === null);
      return x < y ? -1 : x > y ? 1 : 0;
    });
    page = 0;
    chips.replaceChildren(...[...filters].map(([name, f]) => {
      const text = f.words ? `${byName.get(name).label} is ${[...f.words].map(String).join(" or ") || "nothing"}`
        : `${HF.number(f.low)} ≤ ${byName.get(name).label} ≤ ${HF.number(f.high)}`;
      return el("button", { type: "button", title: "remove this filter", onclick: () => { filters.delete(name); apply(); } }, text, " ×");
    }));
    if (filters.size > 1) chips.append(el("button", { type: "button", onclick: () => { filters.clear(); apply(); } }, "remove all"));
    for (const card of cards) card.update();
    fill();
  };

  // ---- one card per knob
  const numberCard = (knob) => {
    const bins = HF.bins(knob.values, 32), svg = HF.svg("svg", { viewBox: "0 0 320 44", preserveAspectRatio: "none", "aria-hidden": "true" });
    const bound = (label) => el("input", { type: "number", step: "any", "aria-label": `${knob.label} ${label}`, placeholder: HF.number(label === "from" ? bins.low : bins.high), onchange: () => read() });
    const low = bound("from"), high = bound("to"), host = el("div", { class: "knob" },
      el("div", { class: "knobname" }, el("span", {}, knob.label), el("span", { class: "dim" }, knob.unit || "")), svg, el("div", { class: "range" }, low, high));
    const set = (a, b) => {
      if (a === null && b === null) filters.delete(knob.name);
      else filters.set(knob.name, { low: a ?? -Infinity, high: b ?? Infinity });
      apply();
    };
    const parse = (input) => (input.value === "" ? null : Number(input.value));
    const read = () => set(parse(low), parse(high));
    const all = new Array(bins.count).fill(0);
    for (const v of knob.values) if (v !== null) all[bins.of(v)]++;
    const brush = HF.svg("rect", { class: "brush", y: 0, height: 44, width: 0 });
    let start = null;
    const at = (event) => { const box = svg.getBoundingClientRect(); return Math.min(1, Math.max(0, (event.clientX - box.left) / box.width)); };
    const toValue = (share) => Number((bins.low + share * (bins.high - bins.low || 1)).toPrecision(4));
    svg.addEventListener("pointerdown", (e) => { start = at(e); svg.setPointerCapture(e.pointerId); });
    svg.addEventListener("pointermove", (e) => {
      if (start === null) return;
      const ends = [start, at(e)].sort((a, b) => a - b);
      brush.setAttribute("x", 320 * ends[0]);
      brush.setAttribute("width", 320 * (ends[1] - ends[0]));
    });
    svg.addEventListener("pointerup", (e) => {
      if (start === null) return;
      const ends = [start, at(e)].sort((a, b) => a - b);
      start = null;
      if (ends[1] - ends[0] < 0.01) set(null, null);
      else set(toValue(ends[0]), toValue(ends[1]));
    });
    return {
      host, knob,
      update: () => {
        const inside = new Array(bins.count).fill(0), filter = filters.get(knob.name);
        for (let i = 0; i < count; i++) if (knob.values[i] !== null && passes(i, knob.name)) {
          const v = knob.values[i];
          if (!filter || (v >= filter.low && v <= filter.high)) inside[bins.of(v)]++;
        }
        const top = Math.max(...all, 1);
        const bars = (values, name) => values.map((v, i) => HF.svg("rect", { class: name, x: i * 10 + 0.5, width: 9, y: 44 - (43 * v) / top, height: (43 * v) / top }));
        svg.replaceChildren(...bars(all, "all"), ...bars(inside, "in"), brush);
        const span = bins.high - bins.low || 1;
        brush.setAttribute("x", filter ? 320 * Math.max(0, (filter.low - bins.low) / span) : 0);
        brush.setAttribute("width", filter ? 320 * Math.max(0, Math.min(1, (filter.high - bins.low) / span) - Math.max(0, (filter.low - bins.low) / span)) : 0);
        low.value = filter && isFinite(filter.low) ? filter.low : "";
        high.value = filter && isFinite(filter.high) ? filter.high : "";
        host.classList.toggle("on", Boolean(filter));
      },
    };
  };
  const wordCard = (knob) => {
    const words = HF.words(knob.values), list = el("div", { class: "words" });
    const rows = words.map(([word, total]) => {
      const box = el("input", { type: "checkbox", onchange: () => read() });
      const n = el("span", { class: "n" }), meter = el("meter", { min: 0, max: words[0][1], value: 0, "aria-hidden": "true" });
      list.append(el("label", {}, box, el("span", {}, String(word) || "(none)"), n, meter));
      return { word, total, box, n, meter };
    });
    const read = () => {
      const on = rows.filter((r) => r.box.checked).map((r) => r.word);
      if (on.length) filters.set(knob.name, { words: new Set(on) });
      else filters.delete(knob.name);
      apply();
    };
    const host = el("div", { class: "knob" }, el("div", { class: "knobname" }, knob.label), list);
    return {
      host, knob,
      update: () => {
        const filter = filters.get(knob.name), counts = new Map();
        for (let i = 0; i < count; i++) if (passes(i, knob.name)) counts.set(knob.values[i], (counts.get(knob.values[i]) || 0) + 1);
        for (const r of rows) {
          r.box.checked = Boolean(filter && filter.words.has(r.word));
          r.meter.value = counts.get(r.word) || 0;
          r.n.textContent = HF.number(counts.get(r.word) || 0);
        }
        host.classList.toggle("on", Boolean(filter));
      },
    };
  };
  const cards = data.knobs.map((knob) => (knob.kind === "number" ? numberCard(knob) : wordCard(knob)));
  const search = el("input", { type: "search", placeholder: `Search ${cards.length} knobs`, "aria-label": "Search knobs", oninput: () => {
    const text = search.value.trim().toLowerCase();
    for (const card of cards) card.host.hidden = !card.knob.label.toLowerCase().includes(text);
  } });
  side.append(el("h2", {}, "Knobs"), search, ...cards.map((c) => c.host));

  // ---- one sample, large
  const dialog = el("dialog", { "aria-label": "Sample" });
  document.body.append(dialog);
  let at = 0;
  const open = (position) => {
    at = Math.min(Math.max(position, 0), chosen.length - 1);
    const i = chosen[at];
    const figures = data.views.map((v) => {
      const canvas = HF.picture(v.label);
      drawTile(canvas, i, v.name);
      return el("figure", {}, canvas, el("figcaption", {}, v.label));
    });
    dialog.replaceChildren(
      el("div", { class: "bar" }, el("strong", {}, `sample ${data.indices[i]} `, el("span", { class: "mono dim" }, data.keys[i])),
        el("span", {}, el("button", { type: "button", onclick: () => open(at - 1), disabled: at === 0 }, "←"), " ",
          el("button", { type: "button", onclick: () => open(at + 1), disabled: at === chosen.length - 1 }, "→"), " ",
          el("button", { type: "button", autofocus: true, onclick: () => dialog.close() }, "Close"))),
      el("div", { class: "strip" }, figures),
      data.commands ? el("p", {}, el("code", { class: "copy" }, data.commands.replace("{index}", String(data.indices[i])))) : "",
      el("div", { class: "columns" }, data.knobs.filter((k) => k.values[i] !== null).map((k) =>
        el("div", {}, el("span", { class: "dim" }, k.label), el("span", {}, HF.number(k.values[i]) + (k.unit ? ` ${k.unit}` : ""))))));
    if (!dialog.open) dialog.showModal();
    dialog.scrollTop = 0;
  };
  dialog.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (step) { open(at + step); event.preventDefault(); dialog.querySelector("button:last-of-type")?.focus(); }
  });
  dialog.addEventListener("close", () => mosaic.children[at - page * perPage]?.focus?.());

  const numeric = data.knobs.filter((k) => k.kind === "number");
  section.append(status, el("div", { class: "bar" },
    HF.choice("show", data.views.map((v) => [v.name, v.label]), view, (v) => { view = v; fill(); }),
    HF.select("sort by", [["index", "index"], ...numeric.map((k) => [k.name, k.label])], order, (v) => { order = v; apply(); }),
    HF.choice("tiles", [["80px", "S"], ["112px", "M"], ["180px", "L"]], "112px", (v) => mosaic.style.setProperty("--tile", v)),
    el("span", { class: "field" }, back, pageText, next)), chips, el("div", { class: "browse" }, mosaic, side));
  apply();
};
