"use strict";
(() => {
  // Everything shown comes from the page's own data as finished text; nothing is ever parsed as markup.
  const data = JSON.parse(document.getElementById("data").textContent);
  const SVG = "http://www.w3.org/2000/svg";

  const make = (name, attributes = {}, ...children) => {
    const made = name.startsWith("svg:") ? document.createElementNS(SVG, name.slice(4)) : document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    made.append(...children);
    return made;
  };
  const number = (text) => (text === "-" ? NaN : parseFloat(text.replace(/,/g, "")));
  const clamp = (value, low, high) => Math.max(low, Math.min(high, value));
  const rail = (first, length, name) =>
    make("svg:svg", { viewBox: "0 0 1000 10", preserveAspectRatio: "none", "aria-hidden": "true" },
      make("svg:rect", { class: "rail", width: 1000, height: 10 }),
      make("svg:rect", { class: name, x: 1000 * first, width: Math.max(1000 * length, 2), height: 10 }));

  function start(root, answer) {
    const { plans, texts, parts, axes } = answer;
    const part = (name) => root.querySelector(`[data-part="${name}"]`);
    const text = (column, i) => texts[plans[column][i]];
    const title = (i) => `${text("cards", i)}, ${text("plan", i)}`;
    const count = plans.cards.length;
    let chosen = answer.best;
    let opener = null;

    // ---- one plan ----
    const range = (i, which) => {
      const ends = plans.ranges[i];
      return ends && ends.length && ends[2 * which] !== "-" ? [ends[2 * which], ends[2 * which + 1]] : null;
    };
    const basis = (i, which) => (plans.bases[i] ? texts[plans.bases[i][which]] : "");

    function figures(i) {
      const { job } = answer;
      const gpus = plans.axes[3][i];
      const rate = text("rate", i);
      const boards = `${plans.working[i]} h × ${plans.watts[i]} W of a board + ${text("waiting", i)} h × ${text("idle", i)} W idle`;
      const energy = `${gpus} × (${boards} + ${plans.hours[i]} h × ${text("host", i)} W of host) × PUE ${job.pue} / 1000`;
      const electricity = job.price === "own" ? ` + ${plans.kwh[i]} kWh × ${job.kwh}` : "";
      const rented = rate ? `${plans.hours[i]} h × ${gpus} × ${rate}${electricity} (${text("price", i)})` : "no price known";
      const money = job.price === "electricity" ? `${plans.kwh[i]} kWh × ${job.kwh}` : rented;
      return [
        ["Step, ms", plans.step[i], range(i, 0), basis(i, 0), "sum of the parts above"],
        ["Samples/s", plans.samples[i], null, basis(i, 0), `${job.batch} samples / ${plans.step[i]} ms × 1000`],
        ["Time, h", plans.hours[i], range(i, 1), basis(i, 0), `${job.steps} steps × ${plans.step[i]} ms / 3,600,000 + ${text("lost", i)} h of start, saves and failures`],
        ["Cost, $", plans.usd[i], range(i, 2), plans.usd[i] === "-" ? "" : basis(i, 0), money],
        ["Energy, kWh", plans.kwh[i], range(i, 3), basis(i, 1), energy],
        ["CO₂, kg", plans.co2[i], null, basis(i, 1), `${plans.kwh[i]} kWh × ${job.co2} g / 1000`],
        ["Power of a board, W", plans.watts[i], range(i, 4), basis(i, 2), `clock at ${text("clock", i)} of full`],
        ["Memory, GiB", plans.memory[i], range(i, 5), basis(i, 3), `of ${text("capacity", i)}; fits with a chance of ${text("chance", i)}`],
        ["MFU / HFU, %", `${plans.mfu[i]} / ${plans.hfu[i]}`, null, basis(i, 0), "FLOPs of the model / of the hardware, of the peak"],
      ];
    }

    function bars(target, list, sum, capacity, end) {
      const total = list.reduce((sum, one, at) => (at % 2 ? sum + number(one) : sum), 0);
      const all = capacity || total;
      const rows = [];
      let before = 0;
      for (let at = 0; at < list.length; at += 2) {
        const [name, words, bound] = parts[list[at]];
        const amount = number(list[at + 1]);
        const kind = capacity ? "level" : `k-${bound}`;
        rows.push(make("span", {}, name), rail(before / all, amount / all, kind),
          make("span", { class: "number" }, list[at + 1]),
          make("span", { class: "number share" }, amount / total < 0.005 ? "< 1 %" : `${((100 * amount) / total).toFixed(0)} %`),
          make("span", { class: "made" }, capacity || !words ? words : `${words} · ${bound}`));
        before += amount;
      }
      rows.push(make("span", { class: "rule" }), make("span", { class: "total" }, "total"), make("span"),
        make("span", { class: "total number" }, sum), make("span", { class: "number share" }, end));
      target.replaceChildren(...rows);
    }

    function schedule(target, found) {
      target.replaceChildren();
      if (!found) return;
      const [left, height, gap] = [64, 18, 4];
      const width = Math.max(300, target.clientWidth || 900);
      const long = (units) => (units * (width - left)) / 10000;
      const svg = make("svg:svg", { class: "gantt", role: "img", viewBox: `0 0 ${width} ${found.stages * (height + gap) + 20}`,
        "aria-label": `Pipeline schedule of ${found.stages} stages: ${found.text}` });
      for (let stage = 0; stage < found.stages; stage++) {
        const y = stage * (height + gap);
        svg.append(make("svg:text", { x: 0, y: y + 13 }, `stage ${stage}`), make("svg:rect", { class: "rail", x: left, y, width: width - left, height }));
      }
      for (const [stage, first, length, kind, microbatch] of found.bars) {
        const name = kind === 5 ? data.kinds[5] : `${data.kinds[kind]}, micro-batch ${microbatch}`;
        svg.append(make("svg:rect", { class: `p-${kind}`, x: left + long(first), y: stage * (height + gap), width: Math.max(long(length), 0.5), height },
          make("svg:title", {}, name)));
      }
      const y = found.stages * (height + gap) + 12;
      svg.append(make("svg:text", { x: left, y }, "0"), make("svg:text", { x: width, y, "text-anchor": "end" }, found.end));
      const keys = found.kinds.map((kind) => make("span", { class: `key key-${kind}` }, data.kinds[kind]));
      target.append(make("h3", {}, "Pipeline schedule"), svg, make("p", { class: "legend" }, ...keys, found.text, "."));
    }

    function show(i) {
      chosen = i;
      part("name").replaceChildren(make("bdi", {}, text("cards", i)), " ", make("span", {}, make("bdi", {}, text("plan", i))));
      part("facts").textContent = `${text("facts", i)}; on ${text("system", i)}${text("note", i) ? `; ${text("note", i)}` : ""}`;
      bars(part("time"), plans.time[i], plans.step[i], 0, "");
      const room = Math.max(number(text("capacity", i)), number(plans.memory[i]));
      bars(part("bytes"), plans.bytes[i], plans.memory[i], room, `of ${text("capacity", i)}`);
      schedule(part("schedule"), answer.schedules[i]);
      if (!answer.schedules[i] && plans.pipelined[i]) part("schedule").append(make("p", { class: "legend" },
        "The schedule of this plan is not in this file; perfsim trace writes it."));
      part("made").replaceChildren(...figures(i).map(([name, value, ends, word, made]) =>
        make("tr", {}, make("th", { scope: "row" }, name), make("td", { class: "number" }, value),
          make("td", { class: "number" }, ends ? `${ends[0]} – ${ends[1]}` : ""), make("td", {}, word), make("td", {}, make("bdi", {}, made)))));
      const reason = plans.bases[i] ? texts[plans.bases[i][4]] : "";
      part("reason").textContent = reason ? `No better basis: ${reason}.` : "";
      for (const row of root.querySelectorAll("tr[data-row]")) row.classList.toggle("is-chosen", Number(row.dataset.row) === i);
      draw();
    }

    function open(i, from) {
      opener = from;
      part("back").hidden = !from;
      show(i);
      const smooth = matchMedia("(prefers-reduced-motion: reduce)").matches ? "auto" : "smooth";
      part("name").focus({ preventScroll: true });
      part("name").closest("section").scrollIntoView({ block: "nearest", behavior: smooth });
      if (part("name").getBoundingClientRect().top < 0) part("name").scrollIntoView({ block: "start", behavior: smooth });
    }
    function back() {
      if (!opener) return;
      const to = opener.dataset.dot ? dot(Number(opener.dataset.dot)) : opener;
      if (to) to.focus();
    }

    // ---- the scatter ----
    const plot = part("plot");
    const svg = plot.querySelector("svg");
    const tip = part("tip");
    const select = [...root.querySelectorAll("select[data-axis]")];
    let places = []; // [x, y, plan] of what is drawn, from left to right
    const dot = (i) => svg.querySelector(`[data-dot="${i}"]`);

    function scale(axis, seen, from, to) {
      const values = seen.map((i) => plans.axes[axis][i]);
      let [low, high] = [Math.min(...values), Math.max(...values)].map(Math.log10);
      const pad = Math.max((high - low) * 0.04, 0.02);
      [low, high] = [low - pad, high + pad];
      return (value) => from + ((to - from) * (Math.log10(value) - low)) / (high - low);
    }

    function draw() {
      const width = plot.clientWidth;
      if (!width) return;
      const height = clamp(width * 0.42, 280, 420);
      const [ax, ay] = select.map((one) => Number(one.value));
      const long = Math.max(3, ...axes[ay].ticks.map(([, label]) => label.length));
      const [left, right, top, bottom] = [18 + 7 * long, width - 16, 28, height - 40];
      const seen = [...plans.cards.keys()].filter((i) => plans.axes[ax][i] > 0 && plans.axes[ay][i] > 0);
      const [x, y] = [scale(ax, seen, left, right), scale(ay, seen, bottom, top)];
      const held = svg.contains(document.activeElement) ? document.activeElement.dataset.dot : null;
      svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
      const marks = (axis, at, low, high, least) => axes[axis].ticks.reduceRight((kept, [value, label]) => {
        const where = at(value);
        const isInside = where >= low && where <= high;
        return isInside && kept.every(([other]) => Math.abs(other - where) >= least) ? [...kept, [where, label]] : kept;
      }, []);
      const lines = make("svg:g", { "aria-hidden": "true" });
      for (const [where, label] of marks(ax, x, left, right, 52)) lines.append(
        make("svg:line", { class: "grid-line", x1: where, x2: where, y1: top, y2: bottom }),
        make("svg:text", { x: where, y: bottom + 16, "text-anchor": "middle" }, label));
      for (const [where, label] of marks(ay, y, top, bottom, 26)) lines.append(
        make("svg:line", { class: "grid-line", x1: left, x2: right, y1: where, y2: where }),
        make("svg:text", { x: left - 8, y: where + 4, "text-anchor": "end" }, label));
      lines.append(make("svg:text", { class: "axis-title", x: right, y: height - 8, "text-anchor": "end" }, axes[ax].title),
        make("svg:text", { class: "axis-title", x: 12, y: 18 }, axes[ay].title));

      const front = answer.fronts[`${Math.min(ax, ay)}-${Math.max(ax, ay)}`] || [];
      places = seen.map((i) => [x(plans.axes[ax][i]), y(plans.axes[ay][i]), i]);
      places.sort((one, other) => one[0] - other[0] || other[1] - one[1]);
      const onFront = new Set(front);
      const order = (i) => (i === chosen ? 3 : onFront.has(i) ? 2 : plans.meets[i]);
      const isHeld = places.some(([, , i]) => i === chosen);
      const dots = places.map(([cx, cy, i], at) => make("svg:circle", {
        cx: cx.toFixed(1), cy: cy.toFixed(1), r: [3.5, 3.5, 5, 6.5][order(i)], role: "button", "data-dot": i,
        class: ["dot", "dot meets", "dot front", "dot chosen"][order(i)],
        tabindex: (isHeld ? i === chosen : at === 0) ? 0 : -1, "aria-label": `${title(i)}: ${told(i).join(", ")}` }));
      const path = front.map((i) => [x(plans.axes[ax][i]), y(plans.axes[ay][i])]).sort((one, other) => one[0] - other[0]);
      const curve = make("svg:polyline", { class: "front-line", points: path.map((pair) => pair.join()).join(" ") });
      svg.replaceChildren(lines, curve, ...dots.sort((one, other) => order(Number(one.dataset.dot)) - order(Number(other.dataset.dot))));
      const mine = places.find(([, , i]) => i === chosen);
      if (mine) label(mine, [ax, ay], [x, y], [left, right, top, bottom]);
      const missing = count - places.length;
      part("unplotted").textContent = missing ? `${missing} plans without a known price are not shown.` : "";
      if (held !== null && dot(held)) dot(held).focus();
    }

    function label([cx, cy, i], pair, scales, [left, right, top, bottom]) {
      pair.forEach((axis, at) => {
        const ends = axis < 3 && range(i, axis + 1);
        if (!ends) return;
        const [low, high] = ends.map((end) => scales[at](number(end)));
        const line = at ? { x1: cx, x2: cx, y1: clamp(low, top, bottom), y2: clamp(high, top, bottom) }
          : { y1: cy, y2: cy, x1: clamp(low, left, right), x2: clamp(high, left, right) };
        svg.insertBefore(make("svg:line", { class: "whisker", ...line }), svg.lastChild);
      });
      const isRight = cx < right - 150;
      svg.append(make("svg:text", { class: "label", "aria-hidden": "true", x: cx + (isRight ? 11 : -11), y: cy - 9, "text-anchor": isRight ? "start" : "end" }, text("cards", i)));
    }

    function told(i) {
      const money = plans.usd[i] === "-" ? "no price known" : `$${plans.usd[i]}`;
      return [`${plans.hours[i]} h`, money, `${plans.kwh[i]} kWh`, `${plans.memory[i]} of ${text("capacity", i)} GiB`];
    }
    function hint(at) {
      tip.hidden = !at;
      for (const old of svg.querySelectorAll(".ring")) old.remove();
      if (!at) return;
      const [cx, cy, i] = at;
      svg.append(make("svg:circle", { class: "ring", cx, cy, r: 9 }));
      tip.replaceChildren(make("b", {}, make("bdi", {}, title(i))), told(i).join(" · "), ...(text("note", i) ? [make("br"), text("note", i)] : []));
      tip.style.left = `${clamp(cx + 14, 0, Math.max(0, plot.clientWidth - tip.offsetWidth))}px`;
      const above = cy - tip.offsetHeight - 14;
      tip.style.top = `${above > 0 ? above : cy + 16}px`;
    }
    function nearest(event) {
      const box = svg.getBoundingClientRect();
      const [px, py] = [event.clientX - box.left, event.clientY - box.top];
      let [best, least] = [null, 24 * 24];
      for (const at of places) {
        const away = (at[0] - px) ** 2 + (at[1] - py) ** 2;
        if (away <= least) [best, least] = [at, away];
      }
      return best;
    }
    svg.addEventListener("pointermove", (event) => hint(nearest(event)));
    svg.addEventListener("pointerleave", () => hint(null));
    svg.addEventListener("click", (event) => {
      const at = nearest(event);
      if (at) open(at[2], dot(at[2]));
      hint(null);
    });
    svg.addEventListener("focusin", (event) => hint(places.find(([, , i]) => i === Number(event.target.dataset.dot))));
    svg.addEventListener("focusout", () => hint(null));
    svg.addEventListener("keydown", (event) => {
      const here = places.findIndex(([, , i]) => i === Number(event.target.dataset.dot));
      const last = places.length - 1;
      const to = { ArrowRight: here + 1, ArrowUp: here + 1, ArrowLeft: here - 1, ArrowDown: here - 1, Home: 0, End: last,
        PageUp: here - 20, PageDown: here + 20 }[event.key];
      if (here < 0) return;
      if (to !== undefined) {
        event.preventDefault();
        const next = dot(places[clamp(to, 0, last)][2]);
        event.target.setAttribute("tabindex", -1);
        next.setAttribute("tabindex", 0);
        next.focus();
      } else if (event.key === "Enter" || event.key === " ") {
        event.preventDefault();
        open(places[here][2], event.target);
      }
    });
    select.forEach((one, at) => one.addEventListener("change", () => {
      const other = select[1 - at];
      if (other.value === one.value) other.value = String((Number(one.value) + 1) % axes.length);
      draw();
    }));

    // ---- the table ----
    const body = root.querySelector(".plans tbody");
    const template = body.querySelector("tr");
    const rows = new Map([...body.rows].map((row) => [Number(row.dataset.row), row]));
    let sorted = { key: "", down: false };
    const cells = (i) => [text("plan", i), plans.hours[i], plans.usd[i], plans.kwh[i], plans.step[i], plans.reach[i], plans.samples[i], plans.memory[i], basis(i, 0), text("note", i)];

    function rowOf(i) {
      if (rows.has(i)) return rows.get(i);
      const row = template.cloneNode(true);
      row.dataset.row = i;
      row.classList.toggle("is-out", !plans.meets[i]);
      row.classList.toggle("is-chosen", i === chosen);
      const button = row.querySelector("button");
      button.dataset.plan = i;
      button.firstChild.textContent = text("cards", i);
      cells(i).forEach((value, at) => {
        const cell = row.cells[at + 1];
        if (cell.querySelector("svg")) {
          cell.querySelector(".level").setAttribute("width", Math.min(100, plans.filled[i]));
          cell.querySelector("span").textContent = value;
        } else (cell.querySelector("bdi") || cell).textContent = value;
      });
      rows.set(i, row);
      return row;
    }
    const keys = ["plan", "hours", "usd", "kwh", "step", "reach", "samples", "memory", "basis", "note"];
    const isText = (key) => ["cards", "plan", "basis", "note"].includes(key);
    const sortValue = (i, key) => (key === "cards" ? text("cards", i).replace(/^\d+x /, "") : cells(i)[keys.indexOf(key)]);
    const collator = new Intl.Collator("en", { numeric: true });

    function list() {
      const words = part("filter").value.toLowerCase().split(/\s+/).filter(Boolean);
      const every = part("view").value === "all" ? [...plans.cards.keys()] : answer.told;
      const wanted = every.filter((i) => {
        if (part("limits").checked && !plans.meets[i]) return false;
        const all = `${title(i)} ${text("note", i)} ${text("system", i)} ${basis(i, 0)}`.toLowerCase();
        return words.every((word) => all.includes(word));
      });
      const { key, down } = sorted;
      if (key) {
        const values = new Map(wanted.map((i) => [i, isText(key) ? sortValue(i, key) : number(sortValue(i, key))]));
        const isNone = (value) => value === "" || Number.isNaN(value);
        wanted.sort((one, other) => {
          const [a, b] = [values.get(one), values.get(other)];
          if (isNone(a) || isNone(b)) return isNone(a) - isNone(b) || one - other;
          const way = isText(key) ? collator.compare(a, b) : a - b;
          return (down ? -way : way) || one - other;
        });
      }
      body.replaceChildren(...wanted.map(rowOf));
      part("count").textContent = `${wanted.length.toLocaleString("en")} of ${every.length.toLocaleString("en")} rows`;
    }
    for (const head of root.querySelectorAll(".plans th[data-key]")) {
      const old = head.querySelector(".sort");
      const button = make("button", { type: "button", class: "sort" }, ...old.childNodes);
      old.replaceWith(button);
      head.setAttribute("aria-sort", "none");
      button.addEventListener("click", () => {
        const { key } = head.dataset;
        sorted = { key, down: sorted.key === key ? !sorted.down : key === "samples" };
        for (const one of root.querySelectorAll(".plans th[data-key]")) one.setAttribute("aria-sort", one === head ? (sorted.down ? "descending" : "ascending") : "none");
        list();
      });
    }
    for (const name of ["view", "limits", "filter"]) part(name).addEventListener("input", list);
    for (const form of root.querySelectorAll("form")) form.addEventListener("submit", (event) => event.preventDefault());
    part("back").addEventListener("click", back);
    root.addEventListener("click", (event) => {
      const button = event.target.closest("button[data-plan]");
      if (button) open(Number(button.dataset.plan), button);
    });
    part("name").closest("section").addEventListener("keydown", (event) => { if (event.key === "Escape") back(); });

    for (const hidden of root.querySelectorAll(".needs-script")) hidden.hidden = false;
    show(chosen);
    let width = plot.clientWidth;
    new ResizeObserver(() => {
      if (plot.clientWidth === width) return;
      width = plot.clientWidth;
      draw();
      schedule(part("schedule"), answer.schedules[chosen]);
    }).observe(plot);
  }

  for (const root of document.querySelectorAll("[data-answer]")) {
    const answer = data.answers[Number(root.dataset.answer)];
    if (answer.plans) start(root, answer);
  }
  document.documentElement.dataset.ready = "";
})();
