// SPDX-License-Identifier: Apache-2.0
// The graph behind the picture: an outline of parts, which of them are open, and what is then to be seen.
// Items are numbered: a node v is v, a part p is n + p.
"use strict";

class GraphModel {
  constructor(graph) {
    const { nodes, parts, tensors } = graph;
    this.graph = graph;
    this.n = nodes.name.length;
    const total = this.n + parts.label.length;
    this.parent = new Int32Array(total).fill(-1);
    this.stage = new Int32Array(total);
    this.work = new Float64Array(total);
    this.size = new Int32Array(total); // nodes within
    this.children = Array.from({ length: parts.label.length }, () => []);
    this.open = new Uint8Array(total);
    for (let v = 0; v < this.n; v++) {
      this.parent[v] = this.n + nodes.part[v];
      this.stage[v] = nodes.stage[v];
      for (let item = v; item >= 0; item = this.parentOf(item)) {
        this.work[item] += nodes.work[v];
        this.size[item] += 1;
        this.stage[item] = nodes.stage[v];
      }
      this.children[nodes.part[v]].push(v);
    }
    for (let p = 0; p < parts.label.length; p++) {
      if (parts.parent[p] >= 0) this.children[parts.parent[p]].push(this.n + p);
    }
    this.roots = [];
    for (let p = 0; p < parts.label.length && parts.parent[p] < 0; p++) this.roots.push(this.n + p);
    this.outputs = Array.from({ length: this.n }, () => []);
    tensors.producer.forEach((v, t) => this.outputs[v].push(t));
    this.params = null;
    this.copied = new Set(nodes.copied);
  }

  parentOf(item) {
    if (item < this.n) return this.n + this.graph.nodes.part[item];
    const parent = this.graph.parts.parent[item - this.n];
    return parent < 0 ? -1 : this.n + parent;
  }

  isPart(item) {
    return item >= this.n;
  }

  label(item) {
    return this.isPart(item) ? this.graph.parts.label[item - this.n] : this.graph.nodes.label[item];
  }

  /** The labels from the stage down to the item. */
  path(item) {
    const parent = this.parentOf(item);
    return parent < 0 ? [this.label(item)] : [...this.path(parent), this.label(item)];
  }

  op(node) {
    return this.graph.ops[this.graph.nodes.op[node]];
  }

  /** The nodes within a part. */
  *nodesOf(item) {
    if (!this.isPart(item)) yield item;
    else for (const child of this.children[item - this.n]) yield* this.nodesOf(child);
  }

  /** The most frequent operators within a part, in words. */
  operators(item) {
    const counts = new Map();
    for (const v of this.nodesOf(item)) counts.set(this.op(v), (counts.get(this.op(v)) || 0) + 1);
    const all = [...counts].sort((a, b) => b[1] - a[1]);
    const words = all.slice(0, 4).map(([op, number]) => `${number} ${op || "without an operator"}`);
    return words.join(", ") + (all.length > 4 ? " ..." : "");
  }

  /** Bytes of the different parameters that an item uses. */
  paramBytes(item) {
    if (!this.params) {
      this.params = new Float64Array(this.parent.length);
      const last = new Int32Array(this.parent.length).fill(-1);
      this.graph.params.users.forEach((users, p) => {
        for (const user of users) {
          for (let i = user; i >= 0 && last[i] !== p; i = this.parentOf(i)) {
            last[i] = p;
            this.params[i] += this.graph.params.bytes[p];
          }
        }
      });
    }
    return this.params[item];
  }

  /** Close everything. */
  closeAll() {
    this.open.fill(0);
  }

  /** Close a part and what is in it. */
  close(part) {
    this.open[part] = 0;
    for (const child of this.children[part - this.n]) if (this.isPart(child)) this.close(child);
  }

  /** Open whatever hides an item. */
  reveal(item) {
    for (let part = this.parentOf(item); part >= 0; part = this.parentOf(part)) this.open[part] = 1;
  }

  /** Open parts level by level while no more than `most` items are to be seen; tell whether all are open. */
  openWhile(most) {
    for (;;) {
      const { leaves } = this.visible();
      const closed = leaves.filter((item) => this.isPart(item));
      if (!closed.length) return true;
      const more = closed.reduce((sum, part) => sum + this.children[part - this.n].length - 1, 0);
      if (leaves.length + more > most) return false;
      for (const part of closed) this.open[part] = 1;
    }
  }

  /** What is to be seen: open parts as boxes, and within them closed parts and nodes. */
  visible() {
    const boxes = [], leaves = [];
    const walk = (item) => {
      if (this.isPart(item) && this.open[item]) {
        boxes.push(item);
        this.children[item - this.n].forEach(walk);
      } else {
        leaves.push(item);
      }
    };
    this.roots.forEach(walk);
    return { boxes, leaves };
  }

  /** The tensors between leaves, those with the same ends together. */
  edges(leaves) {
    const shown = new Uint8Array(this.parent.length);
    for (const item of leaves) shown[item] = 1;
    const seat = new Int32Array(this.n);
    for (let v = 0; v < this.n; v++) {
      let item = v;
      while (!shown[item]) item = this.parentOf(item);
      seat[v] = item;
    }
    const { producer, consumers, bytes, time } = this.graph.tensors;
    const edges = new Map();
    for (let t = 0; t < producer.length; t++) {
      const from = seat[producer[t]];
      for (const to of new Set(consumers[t].map((v) => seat[v]))) {
        if (to === from) continue;
        const crosses = this.stage[from] !== this.stage[to];
        if (crosses && this.copied.has(producer[t])) continue; // not sent: each stage that needs it makes it
        const key = from * this.parent.length + to;
        let edge = edges.get(key);
        if (!edge) {
          edge = { from, to, tensors: [], bytes: 0, time: 0, timed: 0, cut: crosses };
          edges.set(key, edge);
        }
        edge.tensors.push(t);
        edge.time += time[t];
        if (bytes[t] >= 0) edge.bytes += bytes[t];
        else edge.timed += 1;
      }
    }
    return [...edges.values()];
  }

  /** Nodes whose name or operator holds the text; exact names first, then those that end with it. */
  find(text) {
    const wanted = text.trim().toLowerCase();
    if (!wanted) return [];
    const hits = [];
    this.lower ||= this.graph.nodes.name.map((name) => name.toLowerCase());
    const ops = this.graph.ops.map((op) => op.toLowerCase() === wanted);
    for (let v = 0; v < this.n; v++) {
      const name = this.lower[v];
      const at = name.indexOf(wanted);
      if (at < 0 && !ops[this.graph.nodes.op[v]]) continue;
      const rank = name === wanted ? 0 : at >= 0 && name.endsWith(wanted) ? 1 : at >= 0 ? 2 : 3;
      hits.push([rank, v]);
    }
    return hits.sort((a, b) => a[0] - b[0] || a[1] - b[1]).map((hit) => hit[1]);
  }
}
