// SPDX-License-Identifier: Apache-2.0
// What stands around the picture of the graph: search, buttons, stages.
"use strict";

const MOST_HITS = 50;

/** Make the controls work and draw the graph for the first time. */
async function startGraph(data) {
  const holder = document.getElementById("graph-view");
  if (!holder || !data.graph) return;
  const model = new GraphModel(data.graph);
  const view = new GraphView(holder, model, data.plan);
  holder.hidden = false;
  const act = {
    in: () => view.scaleBy(1.4),
    out: () => view.scaleBy(1 / 1.4),
    fit: () => view.fit(true),
    close: () => { model.closeAll(); return view.draw(); },
    open: () => openMore(model, view),
    turn: () => { view.direction = view.direction === "TB" ? "LR" : "TB"; return view.draw(); },
  };
  for (const button of holder.querySelectorAll("button[data-act]")) {
    button.addEventListener("click", () => act[button.dataset.act]());
  }
  for (const button of holder.querySelectorAll("button[data-stage]")) {
    const item = model.roots[Number(button.dataset.stage)];
    button.addEventListener("click", () => view.centre(item, Math.max(0.6, d3.zoomTransform(view.svg.node()).k)));
  }
  startSearch(holder, model, view);
  model.openWhile(MOST_AT_START);
  await view.draw();
  new ResizeObserver(() => view.hideTip()).observe(view.frame);
}

/** Open one more level everywhere, as far as it can still be drawn. */
async function openMore(model, view) {
  const before = model.visible().leaves.length;
  const closed = model.visible().leaves.filter((item) => model.isPart(item));
  let room = MOST_SHOWN - before;
  for (const part of closed) {
    const more = model.children[part - model.n].length - 1;
    if (more > room) continue;
    room -= more;
    model.open[part] = 1;
  }
  await view.draw();
  if (closed.length && model.visible().leaves.length === before) {
    view.status.textContent = `More than ${MOST_SHOWN} boxes would be drawn; open single parts by a click.`;
  }
}

/** The operator of a node, unless its name says it. */
function operatorBeside(model, node) {
  const op = model.op(node);
  return model.graph.nodes.name[node].toLowerCase().includes(op.toLowerCase()) ? "" : op;
}

function startSearch(holder, model, view) {
  const field = holder.querySelector("input"), list = holder.querySelector("[role=listbox]");
  const told = holder.querySelector("[data-found]");
  let hits = [], current = -1;
  const choose = (i) => {
    current = i;
    [...list.children].forEach((option, j) => option.setAttribute("aria-selected", String(i === j)));
    if (i < 0) field.removeAttribute("aria-activedescendant");
    else {
      field.setAttribute("aria-activedescendant", list.children[i].id);
      list.children[i].scrollIntoView({ block: "nearest" });
    }
  };
  const close = () => {
    list.hidden = true;
    field.setAttribute("aria-expanded", "false");
    choose(-1);
  };
  const go = (i) => {
    const node = hits[i];
    close();
    return view.show(node);
  };
  field.addEventListener("input", () => {
    hits = model.find(field.value);
    list.replaceChildren(...hits.slice(0, MOST_HITS).map((node, i) => {
      const option = element("li", { role: "option", id: `hit-${i}`, "aria-selected": "false" },
        element("i", { class: `dot ${stageColour(model.stage[node])}` }, String(model.stage[node])),
        element("span", {}, model.graph.nodes.name[node]), element("small", {}, operatorBeside(model, node)));
      option.addEventListener("pointerdown", (event) => { event.preventDefault(); go(i); });
      return option;
    }));
    const more = hits.length > MOST_HITS ? `, the first ${MOST_HITS} shown` : "";
    told.textContent = field.value.trim() ? `${hits.length.toLocaleString("en")} found${more}` : "";
    list.hidden = !hits.length;
    field.setAttribute("aria-expanded", String(!list.hidden));
    choose(-1);
  });
  field.addEventListener("keydown", (event) => {
    const last = Math.min(hits.length, MOST_HITS) - 1;
    if (event.key === "ArrowDown" && last >= 0) {
      list.hidden = false;
      choose(Math.min(last, current + 1));
    }
    else if (event.key === "ArrowUp" && last >= 0) choose(Math.max(0, current - 1));
    else if (event.key === "Enter" && hits.length) go(Math.max(0, current));
    else if (event.key === "Escape") close();
    else return;
    event.preventDefault();
  });
  field.addEventListener("blur", close);
}
