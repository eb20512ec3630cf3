// SPDX-License-Identifier: Apache-2.0
// Layout by dagre, in a worker where there can be one, so that the page stays alive meanwhile.
"use strict";

/** Lay out boxes, leaves and edges; everything it needs is in `job`, for it also runs in the worker. */
function layOut(dagre, job) {
  const graph = new dagre.graphlib.Graph({ compound: true });
  graph.setGraph({
    rankdir: job.direction, nodesep: 22, edgesep: 14, ranksep: 30, marginx: 16, marginy: 16,
    ranker: "network-simplex", // the others draw boxes down to the end of the box around them
  });
  for (const [id] of job.boxes) graph.setNode(String(id), {});
  for (const [id, width, height] of job.leaves) graph.setNode(String(id), { width, height });
  for (const [id, parent] of [...job.boxes, ...job.leaves.map((leaf) => [leaf[0], leaf[3]])]) {
    if (parent >= 0) graph.setParent(String(id), String(parent));
  }
  for (const [from, to, width, height, weight] of job.edges) {
    graph.setEdge(String(from), String(to), { width, height, weight, labelpos: "c" });
  }
  dagre.layout(graph);
  // dagre leaves no room for the titles of boxes: everything below the top of one moves down.
  const tops = job.boxes.map(([id]) => graph.node(String(id))).map((box) => box.y - box.height / 2);
  const levels = tops.sort((a, b) => a - b).filter((top, i) => i === 0 || top - tops[i - 1] > 1);
  const down = (y) => {
    let low = 0, high = levels.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (levels[middle] < y - 0.5) low = middle + 1;
      else high = middle;
    }
    return y + low * job.title;
  };
  const place = (id) => {
    const { x, y, width, height } = graph.node(String(id));
    const top = down(y - height / 2), bottom = down(y + height / 2);
    return [x, (top + bottom) / 2, width, bottom - top];
  };
  return {
    boxes: job.boxes.map(([id]) => place(id)),
    leaves: job.leaves.map(([id]) => place(id)),
    edges: job.edges.map(([from, to]) => {
      const edge = graph.edge(String(from), String(to));
      return { points: edge.points.map((p) => [p.x, down(p.y)]), x: edge.x, y: down(edge.y) };
    }),
    width: graph.graph().width,
    height: down(graph.graph().height),
  };
}

class Layouter {
  constructor() {
    this.waiting = new Map();
    this.next = 0;
    try {
      const library = document.getElementById("dagre").textContent;
      const program = `${library}\n${layOut}\nonmessage = (e) => {
        try { postMessage([e.data[0], layOut(dagre, e.data[1])]); }
        catch (error) { postMessage([e.data[0], null, String(error)]); }
      };`;
      const address = URL.createObjectURL(new Blob([program], { type: "text/javascript" }));
      this.worker = new Worker(address);
      this.worker.onmessage = ({ data }) => this.settle(...data);
      this.worker.onerror = (event) => {
        event.preventDefault();
        this.worker = null;
        for (const [id, entry] of this.waiting) this.here(id, entry.job);
      };
    } catch {
      this.worker = null; // a browser that allows no worker here
    }
  }

  /** Promise the layout of a job. */
  run(job) {
    const id = this.next++;
    return new Promise((resolve, reject) => {
      this.waiting.set(id, { job, resolve, reject });
      if (this.worker) this.worker.postMessage([id, job]);
      else this.here(id, job);
    });
  }

  here(id, job) {
    try {
      this.settle(id, layOut(dagre, job));
    } catch (error) {
      this.settle(id, null, String(error));
    }
  }

  settle(id, result, fault) {
    const entry = this.waiting.get(id);
    this.waiting.delete(id);
    if (fault) entry.reject(new Error(fault));
    else entry.resolve(result);
  }
}
