"use strict";
(function () {
  const data = window.HEADFORGE, main = document.getElementById("main");
  const foot = document.getElementById("foot");
  if (!data) {
    main.append(HF.el("p", { class: "card empty" }, "data.js, which holds the data of this page, is missing or damaged: build the page again with `gen view`."));
    return;
  }
  document.title = `${data.title} · headforge`;
  if (data.kind === "dataset") HF.datasetPage(data);
  else HF.runsPage(data);
  foot.textContent = `Written ${data.made} by headforge ${data.version}. Opens from disk: no server, no network.`;
  document.documentElement.setAttribute("data-ready", "yes");
})();
