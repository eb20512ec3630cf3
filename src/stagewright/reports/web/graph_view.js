// SPDX-License-Identifier: Apache-2.0
// The picture of the graph: drawn with d3, moved by pointer and keys, explained on hover and focus.
"use strict";

const MOST_AT_START = 36; // items that still read well when all are in view
const MOST_SHOWN = 200; // items that dagre lays out in about a second
const LABEL_WIDTH = 6.9, SMALL_WIDTH = 5.9; // pixels a letter takes, about

class GraphView {
  constructor(holder, model, plan) {
    this.holder = holder;
    this.model = model;
    this.plan = plan;
    this.layouter = new Layouter();
    this.direction = "TB";
    this.focused = -1;
    this.selected = -1;
    this.status = holder.querySelector("[data-status]");
    this.frame = holder.querySelector(".canvas");
    this.tip = holder.querySelector(".tip");
    this.svg = d3.select(this.frame).append("svg")
      .attr("role", "group").attr("aria-label", "The graph; every box is a button").attr("class", "graph");
    const kinds = [["arrow", 8, ""], ...Array.from({ length: 8 }, (_, i) => [`arrow-${i}`, 13, stageColour(i)])];
    const markers = this.svg.append("defs").selectAll("marker").data(kinds).join("marker");
    markers.attr("id", (m) => m[0]).attr("viewBox", "0 0 8 8").attr("refX", 7.5).attr("refY", 4).attr("orient", "auto")
      .attr("markerWidth", (m) => m[1]).attr("markerHeight", (m) => m[1]).attr("markerUnits", "userSpaceOnUse")
      .append("path").attr("d", "M0,0.5 L8,4 L0,7.5 z").attr("class", (m) => `head ${m[2]}`);
    this.scene = this.svg.append("g");
    this.zoom = d3.zoom().scaleExtent([0.05, 4])
      .filter((event) => !event.button && (event.type !== "wheel" || event.ctrlKey || event.metaKey || this.hasFocus()))
      .on("zoom", (event) => {
        this.scene.attr("transform", event.transform);
        this.hideTip();
      });
    this.svg.call(this.zoom).on("dblclick.zoom", null);
    this.svg.on("keydown", (event) => this.key(event));
    addEventListener("beforeprint", () => this.forPaper());
    addEventListener("afterprint", () => this.forScreen());
  }

  /** Let the whole drawing fill its place on paper, whatever part of it is on the screen. */
  forPaper() {
    if (!this.extent) return;
    this.svg.attr("viewBox", `0 0 ${this.extent[0]} ${this.extent[1]}`);
    this.scene.attr("transform", null);
  }

  forScreen() {
    this.svg.attr("viewBox", null);
    this.scene.attr("transform", d3.zoomTransform(this.svg.node()));
  }

  hasFocus() {
    return this.frame.contains(document.activeElement);
  }

  /** Lay out and draw what is open; keep `anchor` where it is on the screen, or show the whole. */
  async draw(anchor = -1) {
    const { model } = this;
    const seen = model.visible();
    const edges = model.edges(seen.leaves);
    const before = anchor >= 0 ? this.placeOf(anchor) : null;
    const ticket = (this.ticket = (this.ticket || 0) + 1);
    this.frame.setAttribute("aria-busy", "true");
    if (seen.leaves.length > 80) this.status.textContent = `Drawing ${seen.leaves.length} boxes ...`;
    const sizes = seen.leaves.map((item) => this.measure(item));
    for (const edge of edges) edge.text = edge.cut ? this.edgeText(edge) : "";
    const result = await this.layouter.run({
      direction: this.direction,
      title: 16,
      boxes: seen.boxes.map((item) => [item, model.parentOf(item)]),
      leaves: seen.leaves.map((item, i) => [item, ...sizes[i], model.parentOf(item)]),
      edges: edges.map((e) => [e.from, e.to, e.text ? e.text.length * SMALL_WIDTH + 12 : 0, e.text ? 18 : 0, e.cut ? 1 : 2]),
    });
    if (ticket !== this.ticket) return; // a later drawing is under way
    this.frame.removeAttribute("aria-busy");
    this.seen = seen;
    this.edges = edges;
    this.places = new Map();
    seen.boxes.forEach((item, i) => this.places.set(item, result.boxes[i]));
    seen.leaves.forEach((item, i) => this.places.set(item, result.leaves[i]));
    edges.forEach((edge, i) => Object.assign(edge, result.edges[i]));
    this.extent = [result.width, result.height];
    this.paint();
    const after = anchor >= 0 ? this.placeOf(anchor) : null;
    if (before && after) this.keep(before, after);
    else this.fit();
    const shown = count(seen.leaves.length, "box").replace("boxs", "boxes");
    this.status.textContent = `${shown} for ${count(model.n, "node")}.`;
  }

  /** Width and height of a closed part or a node. */
  measure(item) {
    const letters = Math.min(28, Math.max(this.model.label(item).length, 8));
    const small = this.caption(item).length * SMALL_WIDTH + 20;
    const isPart = this.model.isPart(item);
    return [Math.max(letters * LABEL_WIDTH + (isPart ? 36 : 20), small), isPart ? 46 : 38];
  }

  caption(item) {
    const { model } = this;
    const work = formatTime(model.work[item]);
    return model.isPart(item) ? `${count(model.size[item], "node")} · ${work}` : `${model.op(item) || "node"} · ${work}`;
  }

  edgeText(edge) {
    const parts = [];
    if (edge.tensors.length > 1) parts.push(count(edge.tensors.length, "tensor"));
    if (edge.timed < edge.tensors.length) parts.push(formatBytes(edge.bytes));
    return [...parts, formatTime(edge.time)].join(" · ");
  }

  paint() {
    const { model, scene } = this;
    scene.selectAll("*").remove();
    const boxes = scene.append("g").selectAll("g").data(this.seen.boxes).join("g")
      .attr("class", (item) => `box ${stageColour(model.stage[item])}`);
    const cutMost = Math.max(1, ...this.edges.filter((e) => e.cut).map((e) => e.time));
    this.drawBoxes(boxes);
    const curve = d3.line().curve(d3.curveBasis);
    const edges = scene.append("g").attr("aria-hidden", "true").selectAll("g").data(this.edges).join("g")
      .attr("class", (e) => (e.cut ? `edge cut ${stageColour(model.stage[e.from])}` : "edge"));
    edges.append("path").attr("class", "reach").attr("d", (e) => curve(e.points));
    edges.append("path").attr("class", "line").attr("d", (e) => curve(e.points))
      .attr("marker-end", (e) => (e.cut ? `url(#arrow-${model.stage[e.from] % 8})` : "url(#arrow)"))
      .attr("stroke-width", (e) => (e.cut ? 1.5 + (2.5 * e.time) / cutMost : 1.1));
    const labels = edges.filter((e) => e.text);
    labels.append("text").attr("class", "tag").attr("x", (e) => e.x).attr("y", (e) => e.y).attr("dy", "0.32em").text((e) => e.text);
    edges.on("pointermove", (event, e) => this.showTip(this.explainEdge(e), event.clientX, event.clientY))
      .on("pointerleave", () => this.hideTip());
    const leaves = scene.append("g").selectAll("g").data(this.seen.leaves).join("g")
      .attr("class", (item) => `${model.isPart(item) ? "part" : "node"} ${stageColour(model.stage[item])}`);
    this.drawLeaves(leaves);
    this.edgeMarks = edges;
    this.marks = scene.selectAll("g.box, g.part, g.node");
    this.marks.attr("data-item", (item) => item)
      .attr("tabindex", (item) => (item === this.entry() ? 0 : -1)).attr("role", "button")
      .attr("aria-expanded", (item) => (model.isPart(item) ? String(Boolean(model.open[item])) : null))
      .attr("aria-label", (item) => this.spoken(item))
      .on("click", (event, item) => this.act(item))
      .on("focus", (event, item) => this.focus(item, event.currentTarget))
      .on("blur", () => this.hideTip())
      .on("pointermove", (event, item) => this.showTip(this.explain(item), event.clientX, event.clientY))
      .on("pointerleave", () => this.hideTip());
    this.mark();
  }

  drawBoxes(boxes) {
    const place = (item) => this.places.get(item);
    boxes.append("rect").attr("rx", 8)
      .attr("x", (i) => place(i)[0] - place(i)[2] / 2).attr("y", (i) => place(i)[1] - place(i)[3] / 2)
      .attr("width", (i) => place(i)[2]).attr("height", (i) => place(i)[3]);
    boxes.append("text").attr("x", (i) => place(i)[0] - place(i)[2] / 2 + 10)
      .attr("y", (i) => place(i)[1] - place(i)[3] / 2 + 16)
      .text((i) => this.cutText(`− ${this.model.label(i)}`, place(i)[2] - 16));
  }

  drawLeaves(leaves) {
    const { model } = this;
    const place = (item) => this.places.get(item);
    const slowest = this.plan.bottleneck;
    leaves.attr("transform", (i) => `translate(${place(i)[0] - place(i)[2] / 2},${place(i)[1] - place(i)[3] / 2})`);
    leaves.append("rect").attr("class", "face").attr("rx", (i) => (model.isPart(i) ? 8 : 4))
      .attr("width", (i) => place(i)[2]).attr("height", (i) => place(i)[3]);
    leaves.append("rect").attr("class", "share").attr("x", 4).attr("y", (i) => place(i)[3] - 6).attr("height", 3)
      .attr("width", (i) => (slowest ? ((place(i)[2] - 8) * Math.min(1, model.work[i] / slowest)) : 0));
    leaves.append("text").attr("class", "name").attr("x", 10).attr("y", (i) => (model.isPart(i) ? 19 : 16))
      .text((i) => this.cutText((model.isPart(i) ? "+ " : "") + model.label(i), place(i)[2] - 12));
    leaves.append("text").attr("class", "small").attr("x", 10).attr("y", (i) => (model.isPart(i) ? 34 : 29))
      .text((i) => this.caption(i));
  }

  cutText(text, width) {
    const most = Math.max(4, Math.floor(width / LABEL_WIDTH));
    return text.length <= most ? text : `${text.slice(0, most >> 1)}…${text.slice(-((most >> 1) - 1))}`;
  }

  placeOf(item) {
    const place = this.places?.get(item);
    return place ? [place[0], place[1] - place[3] / 2] : null;
  }

  /** Move so that what was at one place and is now at another does not move on the screen. */
  keep([x0, y0], [x1, y1]) {
    const t = d3.zoomTransform(this.svg.node());
    this.svg.call(this.zoom.transform, t.translate(x0 - x1, y0 - y1));
  }

  /** Show the whole, or its beginning where the whole would be too small to read. */
  fit(whole = false) {
    const [width, height] = [this.frame.clientWidth, this.frame.clientHeight];
    const [w, h] = this.extent;
    const all = Math.min(width / w, height / h, 1.15);
    const scale = whole ? all : Math.max(all, Math.min(0.8, Math.max(width / w, height / h)));
    const x = w * scale <= width ? (width - w * scale) / 2 : 0;
    const y = h * scale <= height ? (height - h * scale) / 2 : 0;
    this.svg.call(this.zoom.transform, d3.zoomIdentity.translate(x, y).scale(scale));
  }

  scaleBy(factor) {
    this.svg.call(this.zoom.scaleBy, factor);
  }

  /** Bring an item into the middle. */
  centre(item, scale = 1) {
    const [x, y, , height] = this.places.get(item);
    const top = this.model.isPart(item) && this.model.open[item] ? y - height / 2 + this.frame.clientHeight / (2 * scale) - 20 : y;
    const t = d3.zoomIdentity.translate(this.frame.clientWidth / 2, this.frame.clientHeight / 2).scale(scale).translate(-x, -top);
    this.svg.call(this.zoom.transform, t);
  }

  /** The item that Tab enters. */
  entry() {
    return this.places.has(this.focused) ? this.focused : this.seen.leaves[0];
  }

  /** Open or close a part; select a node. */
  async act(item) {
    const { model } = this;
    if (!model.isPart(item)) {
      this.selected = this.selected === item ? -1 : item;
      this.mark();
      return;
    }
    if (model.open[item]) model.close(item);
    else model.open[item] = 1;
    const hadFocus = this.hasFocus();
    this.focused = item;
    await this.draw(item);
    if (hadFocus) this.markOf(item)?.focus({ preventScroll: true });
  }

  /** Show a node wherever it is hidden, select it and go there. */
  async show(node) {
    this.model.reveal(node);
    this.selected = this.focused = node;
    await this.draw(node);
    this.centre(node);
    this.status.textContent = `${this.model.graph.nodes.name[node]}: stage ${this.model.stage[node]}.`;
  }

  markOf(item) {
    return this.scene.select(`[data-item="${item}"]`).node();
  }

  mark() {
    const near = new Set([this.selected]);
    for (const edge of this.edges) {
      if (edge.from === this.selected) near.add(edge.to);
      if (edge.to === this.selected) near.add(edge.from);
    }
    const any = this.places.has(this.selected);
    this.marks.classed("selected", (item) => item === this.selected)
      .classed("near", (item) => any && near.has(item));
    this.edgeMarks.classed("near", (e) => any && (e.from === this.selected || e.to === this.selected));
    this.svg.classed("some", any);
  }

  focus(item, mark) {
    if (this.markOf(this.focused)) d3.select(this.markOf(this.focused)).attr("tabindex", -1);
    this.focused = item;
    d3.select(mark).attr("tabindex", 0);
    if (!mark.matches(":focus-visible")) return;
    const edge = mark.getBoundingClientRect(), frame = this.frame.getBoundingClientRect();
    const outside = edge.right < frame.left + 20 || edge.left > frame.right - 20 || edge.bottom < frame.top + 20 || edge.top > frame.bottom - 20;
    if (outside) this.centre(item, d3.zoomTransform(this.svg.node()).k);
    const now = mark.getBoundingClientRect();
    this.showTip(this.explain(item), now.left + Math.min(now.width, 200) / 2, now.top + Math.min(now.height, 60));
  }

  key(event) {
    const steps = { ArrowDown: 0, ArrowUp: 0, ArrowLeft: 0, ArrowRight: 0, Home: 0, End: 0 };
    const item = this.focused;
    if (event.key === "Enter" || event.key === " ") this.act(item);
    else if (event.key === "+" || event.key === "=") this.scaleBy(1.25);
    else if (event.key === "-") this.scaleBy(0.8);
    else if (event.key === "0") this.fit(true);
    else if (event.key === "Escape") this.hideTip();
    else if (event.key in steps) {
      const next = this.neighbour(item, event.key);
      if (next >= 0) this.markOf(next)?.focus({ preventScroll: true });
    } else return;
    event.preventDefault();
  }

  /** Where an arrow key leads: along the tensors, or to the nearest item in that direction. */
  neighbour(item, key) {
    const items = [...this.seen.boxes, ...this.seen.leaves];
    if (key === "Home") return this.seen.leaves[0];
    if (key === "End") return this.seen.leaves.at(-1);
    const [x, y] = this.places.get(item) || [0, 0];
    const [dx, dy] = { ArrowDown: [0, 1], ArrowUp: [0, -1], ArrowLeft: [-1, 0], ArrowRight: [1, 0] }[key];
    let best = -1, least = Infinity;
    for (const other of items) {
      if (other === item) continue;
      const [ox, oy] = this.places.get(other);
      const along = (ox - x) * dx + (oy - y) * dy, aside = Math.abs((ox - x) * dy) + Math.abs((oy - y) * dx);
      if (along > 1 && along + 2 * aside < least) [best, least] = [other, along + 2 * aside];
    }
    return best;
  }

  spoken(item) {
    return this.facts(item).map(([name, value]) => (name ? `${name} ${value}` : value)).join(", ");
  }

  /** What is known of an item, as names and values; the first is its title. */
  facts(item) {
    const { model, plan } = this, { nodes, tensors, sources } = model.graph;
    const stage = plan.stages[model.stage[item]];
    const own = [["Work", `${formatTime(model.work[item])}, ${formatShare(model.work[item], stage[1])} of its stage's`]];
    const params = model.paramBytes(item);
    if (params) own.push(["Parameters", formatBytes(params)]);
    if (model.isPart(item)) {
      const isStage = model.parentOf(item) < 0;
      const whole = isStage ? [["Total", `${formatTime(stage[4])}, ${formatShare(stage[4], plan.bottleneck)} of the bottleneck`]] : [];
      return [["", model.path(item).join(" › ")], ["Nodes", `${model.size[item].toLocaleString("en")}: ${model.operators(item)}`], ...whole, ...own,
        ["", model.open[item] ? "Click to close" : "Click to open"]];
    }
    const facts = [["", nodes.name[item]], ["Operator", model.op(item) || "not stated"], ["Stage", model.stage[item]], ...own];
    if (sources[nodes.source[item]]) facts.push(["Work is", sources[nodes.source[item]]]);
    if (nodes.flops[item]) facts.push(["Operations", formatCount(nodes.flops[item])]);
    if (nodes.bytes[item]) facts.push(["Bytes moved", formatBytes(nodes.bytes[item])]);
    for (const t of model.outputs[item].slice(0, 4)) {
      const size = tensors.bytes[t] >= 0 ? formatBytes(tensors.bytes[t]) : formatTime(tensors.time[t]);
      const stages = new Set(tensors.consumers[t].map((v) => model.stage[v]));
      stages.delete(model.stage[item]);
      const cut = stages.size && model.copied.has(item) ? ", run again in each stage that needs it" : stages.size ? `, cut: to stage ${[...stages].sort((a, b) => a - b).join(", ")} in ${formatTime(tensors.time[t])}` : "";
      facts.push(["Output", `${size} for ${count(tensors.consumers[t].length, "node")}${cut}`]);
    }
    return facts;
  }

  explain(item) {
    return this.facts(item);
  }

  explainEdge(edge) {
    const { model } = this, { producer, bytes, time } = model.graph.tensors;
    const facts = [["", `${model.label(edge.from)} → ${model.label(edge.to)}`]];
    if (edge.cut) facts.push(["Cut", "paid once by the stage that sends and by each that receives"]);
    for (const t of edge.tensors.slice(0, 6)) {
      const size = bytes[t] >= 0 ? `${formatBytes(bytes[t])}, ${formatTime(time[t])}` : formatTime(time[t]);
      facts.push([model.label(producer[t]), size]);
    }
    if (edge.tensors.length > 6) facts.push(["", `and ${edge.tensors.length - 6} more`]);
    return facts;
  }

  showTip(facts, x, y) {
    this.tip.replaceChildren(...facts.map(([name, value]) => {
      const line = element("div", {}, name ? element("span", {}, name) : "", element("b", {}, String(value)));
      return line;
    }));
    this.tip.hidden = false;
    const frame = this.holder.getBoundingClientRect(), box = this.tip.getBoundingClientRect();
    const left = Math.min(x - frame.left + 14, frame.width - box.width - 4);
    const below = y - frame.top + 18;
    const fits = y + 18 + box.height < innerHeight;
    this.tip.style.left = `${Math.max(4, left)}px`;
    this.tip.style.top = `${fits ? below : y - frame.top - box.height - 12}px`;
  }

  hideTip() {
    this.tip.hidden = true;
  }
}
