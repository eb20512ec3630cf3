// SPDX-License-Identifier: Apache-2.0
// Starts the page's parts. Everything but the graph, the curves and the sliders is there without it.
"use strict";

function startTheme() {
  const button = document.getElementById("theme");
  if (!button) return;
  const root = document.documentElement;
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const isDark = () => (root.dataset.theme ? root.dataset.theme === "dark" : dark.matches);
  const tell = () => { button.textContent = isDark() ? "Light" : "Dark"; };
  button.hidden = false;
  button.addEventListener("click", () => {
    root.dataset.theme = isDark() ? "light" : "dark";
    tell();
  });
  dark.addEventListener("change", tell);
  tell();
}

async function start() {
  startTheme();
  startNodeSearch();
  const data = await readData();
  if (data) {
    plotSearch(data.history);
    plotMemory(data);
    startWhatIf(data);
    await startGraph(data);
  }
  document.documentElement.dataset.ready = String(Math.round(performance.now()));
}

start();
