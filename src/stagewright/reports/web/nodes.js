// SPDX-License-Identifier: Apache-2.0
// Search in the node lists. The page is complete without it.
"use strict";
function startNodeSearch() {
  const box = document.getElementById("search");
  if (!box) return;
  const field = box.querySelector("input"), found = box.querySelector("output"), shown = box.querySelector("pre");
  const stages = [...document.querySelectorAll("pre[data-stage]")].map(
    (pre) => pre.textContent.split("\n").map((name) => [name, name.toLowerCase(), pre.dataset.stage]));
  const most = 200;
  box.hidden = false;
  field.addEventListener("input", () => {
    const wanted = field.value.trim().toLowerCase();
    const hits = wanted ? stages.flat().filter((entry) => entry[1].includes(wanted)) : [];
    found.textContent = wanted ? `${hits.length} found` + (hits.length > most ? `, the first ${most} shown` : "") : "";
    shown.hidden = !hits.length;
    shown.textContent = hits.slice(0, most).map((entry) => `stage ${entry[2]}  ${entry[0]}`).join("\n");
  });
}
