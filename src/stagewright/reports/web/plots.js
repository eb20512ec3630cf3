// SPDX-License-Identifier: Apache-2.0
// Curves with axes: the search's progress, and memory while the stages run. Drawn with d3.
"use strict";

/** The size of a curve that fills its place without its letters shrinking. */
function boxFor(holder, most = 760) {
  const width = Math.min(most, Math.max(300, holder.clientWidth || most));
  return { width, height: 240, left: 70, right: 14, top: 12, bottom: 34 };
}

/** Draw axes into a fresh picture and return it with its scales; without `xTick`, x has no ticks. */
function axes(holder, { width, height, left, right, top, bottom }, xMost, yMost, xTick, yTick) {
  // Round numbers of bytes are round in their own unit.
  const unit = yTick === formatBytes ? 1024 ** Math.floor(Math.log2(Math.max(1, yMost)) / 10) : 1;
  const ticks = d3.scaleLinear([0, (yMost || 1) / unit], [0, 1]).ticks(4).map((tick) => tick * unit);
  const x = d3.scaleLinear([0, xMost || 1], [left, width - right]);
  const y = d3.scaleLinear([0, yMost || 1], [height - bottom, top]);
  const svg = d3.select(holder).append("svg").attr("viewBox", `0 0 ${width} ${height}`)
    .attr("class", "plot").attr("aria-hidden", "true").attr("width", width);
  svg.append("g").attr("class", "grid").attr("transform", `translate(${left},0)`)
    .call(d3.axisLeft(y).tickValues(ticks).tickSize(-(width - left - right)).tickFormat(""));
  svg.append("g").attr("class", "axis").attr("transform", `translate(0,${height - bottom})`)
    .call(d3.axisBottom(x).ticks(xTick ? Math.floor(width / 90) : 0).tickSizeOuter(0).tickFormat(xTick));
  svg.append("g").attr("class", "axis").attr("transform", `translate(${left},0)`)
    .call(d3.axisLeft(y).tickValues(ticks).tickSizeOuter(0).tickFormat(yTick));
  return { svg, x, y };
}

/** Show a line and words at the pointer; `read` returns the words for a value of x. */
function readOff(svg, holder, x, box, read) {
  const told = holder.querySelector("output");
  const rule = svg.append("line").attr("class", "rule").attr("y1", box.top).attr("y2", box.height - box.bottom).attr("visibility", "hidden");
  svg.on("pointermove", (event) => {
    const at = Math.min(Math.max(d3.pointer(event)[0], box.left), box.width - box.right);
    rule.attr("x1", at).attr("x2", at).attr("visibility", "visible");
    told.textContent = read(x.invert(at));
  }).on("pointerleave", () => {
    rule.attr("visibility", "hidden");
    told.textContent = "";
  });
}

/** The search: best plan and best bound over time, [seconds, upper, lower, phase]. */
function plotSearch(history) {
  const holder = document.getElementById("search-plot");
  if (!holder || !history?.length) return;
  holder.querySelector("svg")?.remove();
  const end = Math.max(history.at(-1)[0], 1e-6);
  const points = [...history, [end * 1.02, history.at(-1)[1], history.at(-1)[2], ""]];
  const most = Math.max(...history.map((p) => p[1]));
  const box = boxFor(holder);
  const { svg, x, y } = axes(holder, box, end * 1.02, most * 1.06, (s) => formatTime(s * 1e12), formatTime);
  const upper = d3.line((p) => x(p[0]), (p) => y(p[1])).curve(d3.curveStepAfter);
  const lower = d3.line((p) => x(p[0]), (p) => y(p[2])).curve(d3.curveStepAfter);
  const gap = d3.area((p) => x(p[0]), (p) => y(p[2]), (p) => y(p[1])).curve(d3.curveStepAfter);
  svg.append("path").attr("class", "between").attr("d", gap(points));
  svg.append("path").attr("class", "lower").attr("d", lower(points));
  svg.append("path").attr("class", "upper").attr("d", upper(points));
  const at = d3.bisector((p) => p[0]).right;
  readOff(svg, holder, x, box, (seconds) => {
    const [time, best, bound, phase] = history[Math.max(0, at(history, seconds) - 1)];
    return `From ${formatTime(time * 1e12)} on (${phase}): best plan ${formatTime(best)}, bound ${bound ? formatTime(bound) : "none"}`;
  });
}

/** Memory of every stage over its run: parameters, and above them what is alive. */
function plotMemory(data) {
  const holder = document.getElementById("memory-plot");
  if (!holder || !data.graph) return;
  const { memory, nodes } = data.graph, { stages, memoryLimit } = data.plan;
  const tops = stages.map((stage) => stage[5] + stage[6]);
  const most = Math.max(...tops);
  if (!most) return;
  const showLimit = memoryLimit != null && memoryLimit < 2 * most;
  const top = 1.08 * Math.max(most, showLimit ? memoryLimit : 0);
  const box = { width: 340, height: 150, left: 64, right: 10, top: 20, bottom: 26 };
  memory.forEach(([starts, alive, peak], number) => {
    const figure = element("figure", {}, element("output", {}));
    figure.setAttribute("aria-label", `Stage ${number}: at most ${formatBytes(tops[number])}, at ${nodes.name[peak]}`);
    figure.setAttribute("role", "img");
    holder.append(figure);
    const params = stages[number][5];
    const end = starts.at(-1) || 1;
    const { svg, x, y } = axes(figure, box, end, top, formatTime, formatBytes);
    const points = [...alive.map((bytes, i) => [starts[i], bytes]), [end, alive.at(-1)]];
    const curve = d3.area((p) => x(p[0]), y(params), (p) => y(params + p[1])).curve(d3.curveStepAfter);
    svg.append("rect").attr("class", "params").attr("x", x(0)).attr("width", x(end) - x(0)).attr("y", y(params)).attr("height", y(0) - y(params));
    svg.append("path").attr("class", "alive").attr("d", curve(points));
    if (showLimit) svg.append("line").attr("class", "bound").attr("x1", x(0)).attr("x2", x(end)).attr("y1", y(memoryLimit)).attr("y2", y(memoryLimit));
    svg.append("text").attr("class", "title").attr("x", box.left).attr("y", 12).text(`Stage ${number}: ${formatBytes(tops[number])} at most`);
    const at = d3.bisector((p) => p[0]).right;
    readOff(svg, figure, x, box, (time) => {
      const [start, bytes] = points[Math.max(0, at(points, time) - 1)];
      return `After ${formatTime(start)} of work: ${formatBytes(params + bytes)}, of it ${formatBytes(bytes)} activations`;
    });
  });
}
