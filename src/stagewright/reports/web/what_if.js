// SPDX-License-Identifier: Apache-2.0
// Sliders over plans that were made beforehand, for other bandwidths and numbers of stages.
"use strict";

const PARTS = ["receive", "work", "send", "overflow"];

function startWhatIf(data) {
  const holder = document.getElementById("what-if-view");
  if (!holder || !data.whatIf) return;
  const { bandwidths, stages, points } = data.whatIf;
  const [k, link] = ["k", "rate"].map((name) => holder.querySelector(`input[data-slider=${name}]`));
  const told = Object.fromEntries([...holder.querySelectorAll("[data-told]")].map((e) => [e.dataset.told, e]));
  const most = Math.max(...points.flat().filter((p) => p?.upper != null).map((p) => p.upper));
  const show = () => {
    const i = link ? Number(link.value) : 0, j = Number(k.value);
    const point = points[i][j];
    told.k.textContent = String(stages[j]);
    k.setAttribute("aria-valuetext", count(stages[j], "stage"));
    if (link) {
      told.rate.textContent = formatRate(bandwidths[i]);
      link.setAttribute("aria-valuetext", formatRate(bandwidths[i]));
    }
    drawPoint(holder, told, data, point, most);
    drawCurve(holder, stages, points[i], j, most);
  };
  for (const slider of [k, link]) slider?.addEventListener("input", show);
  holder.hidden = false;
  show();
}

/** Write a period as a rate. */
function rate(period) {
  const perSecond = 1e12 / period;
  if (perSecond < 1) return `one inference every ${formatTime(period)}`;
  return `${perSecond >= 1000 ? Math.round(perSecond).toLocaleString("en") : digits(perSecond)} inferences/s`;
}

function drawPoint(holder, told, data, point, most) {
  const bars = holder.querySelector("[data-bars]");
  bars.replaceChildren();
  if (point?.upper == null) {
    told.verdict.textContent = point || "There was no time for this plan; give --what-if more seconds.";
    return;
  }
  const now = data.plan.bottleneck;
  const change = now ? point.upper / now - 1 : 0;
  const words = Math.abs(change) < 0.0005 ? "as in the plan of this page" : `${(100 * Math.abs(change)).toFixed(1)}${NBSP}% ${change > 0 ? "more" : "less"} than that of this page`;
  const proof = point.lower === point.upper ? "proven optimal" : point.lower ? `within ${(100 * (point.upper / point.lower - 1)).toPrecision(2)}${NBSP}% of the best possible` : "nothing proven";
  const used = point.stages.length;
  const per = point.upper ? `${rate(point.upper)}, ` : "";
  told.verdict.textContent = `Bottleneck ${formatTime(point.upper)}, ${words}; ${per}${count(used, "stage")} used; ${proof}.`;
  const height = Math.max(8, Math.min(22, 260 / used)), left = 34, right = 84;
  const width = Math.min(640, Math.max(300, bars.clientWidth || 640));
  const x = d3.scaleLinear([0, most], [left, width - right]);
  const svg = d3.select(bars).append("svg").attr("class", "plot").attr("aria-hidden", "true")
    .attr("viewBox", `0 0 ${width} ${used * (height + 4) + 6}`);
  point.stages.forEach((stage, number) => {
    let start = 0;
    const row = svg.append("g").attr("transform", `translate(0,${number * (height + 4) + 2})`);
    row.append("text").attr("class", "tick").attr("x", left - 6).attr("y", height / 2).attr("dy", "0.32em").attr("text-anchor", "end").text(number);
    PARTS.forEach((part, i) => {
      if (stage[i]) row.append("rect").attr("class", `part ${part}`).attr("x", x(start)).attr("width", x(start + stage[i]) - x(start)).attr("height", height);
      start += stage[i];
    });
    row.append("text").attr("class", start === point.upper ? "tick strong" : "tick").attr("x", width - right + 8).attr("y", height / 2).attr("dy", "0.32em").text(formatTime(start));
  });
  if (point.lower) {
    const at = x(point.lower);
    for (const name of ["halo", "bound"]) svg.append("line").attr("class", name).attr("x1", at).attr("x2", at).attr("y1", 0).attr("y2", used * (height + 4) + 4);
  }
}

/** The bottleneck over the number of stages, for the bandwidth that is chosen. */
function drawCurve(holder, stages, row, chosen, most) {
  const place = holder.querySelector("[data-curve]");
  place.replaceChildren();
  const box = { width: 420, height: 220, left: 70, right: 14, top: 12, bottom: 40 };
  const x = d3.scaleLinear([stages[0], stages.at(-1)], [box.left + 8, box.width - box.right - 8]);
  const { svg, y } = axes(place, box, 1, most * 1.06, null, formatTime);
  const known = stages.map((k, j) => [k, row[j], j]).filter((p) => p[1]?.upper != null);
  const line = (key) => d3.line((p) => x(p[0]), (p) => y(p[1][key]))(known);
  svg.append("path").attr("class", "lower").attr("d", line("lower"));
  svg.append("path").attr("class", "upper").attr("d", line("upper"));
  for (const [k, point, j] of known) {
    svg.append("circle").attr("class", j === chosen ? "dot chosen" : "dot").attr("cx", x(k)).attr("cy", y(point.upper)).attr("r", j === chosen ? 6 : 3.5);
  }
  for (const k of stages) svg.append("text").attr("class", "tick").attr("x", x(k)).attr("y", box.height - box.bottom + 18).attr("text-anchor", "middle").text(k);
  svg.append("text").attr("class", "tick").attr("x", (box.left + box.width) / 2).attr("y", box.height - 4).attr("text-anchor", "middle").text("stages");
}
