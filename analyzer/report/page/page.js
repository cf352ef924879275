// Makes the report's tables sortable, filterable and paged. Without it the page holds every row, in the report's order.
"use strict";
(() => {
  const narrower = (width) => matchMedia(`(max-width: ${width}px)`).matches;
  const PAGE = narrower(640) ? 15 : narrower(1200) ? 25 : 50; // rows, or cards, shown at once
  const PRINTED = 200; // rows of a table on paper
  const ORDER = ["info", "low", "medium", "high", "critical"];
  const GRADES = ["unseen", "A", "B", "C", "D", "F"];
  const collator = new Intl.Collator("en", { numeric: true });
  const printing = [];

  document.documentElement.classList.add("js");

  function make(name, attributes, ...children) {
    const node = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
    node.append(...children);
    return node;
  }

  // What a cell sorts by; null where it says nothing that can be sorted: empty, or a word among numbers.
  function keyOf(text, kind) {
    if (text === "") return null;
    if (kind === "severity" || kind === "grade") {
      const place = (kind === "grade" ? GRADES : ORDER).indexOf(text);
      return place < 0 ? null : place;
    }
    if (kind !== "number") return text;
    const number = Number(text.replaceAll(",", ""));
    return Number.isNaN(number) ? null : number;
  }

  // Nulls come last, whichever way the others go.
  function compareKeys(a, b, sign) {
    if (a === null || b === null) return (a === null) - (b === null);
    return sign * (typeof a === "number" ? a - b : collator.compare(a, b));
  }

  function setUp(table) {
    const body = table.tBodies[0];
    const all = Array.from(body.rows);
    const heads = Array.from(table.tHead.rows[0].cells);
    const title = table.dataset.title;
    const state = { rows: all, page: 0, words: [], picks: new Map() };
    let texts = null; // what each row says, in lower case; made when somebody filters

    const status = make("p", { role: "status" });
    const previous = make("button", { type: "button" }, "Previous");
    const next = make("button", { type: "button" }, "Next");

    function show() {
      const pages = Math.max(1, Math.ceil(state.rows.length / PAGE));
      state.page = Math.min(Math.max(state.page, 0), pages - 1);
      const first = state.page * PAGE;
      const shown = state.rows.slice(first, first + PAGE);
      body.replaceChildren(...shown);
      const of = state.rows.length === all.length ? "" : ` (${all.length.toLocaleString("en")} in all)`;
      status.textContent = shown.length
        ? `${(first + 1).toLocaleString("en")} to ${(first + shown.length).toLocaleString("en")} of ${state.rows.length.toLocaleString("en")}${of}`
        : `No row matches${of}`;
      previous.setAttribute("aria-disabled", String(state.page === 0));
      next.setAttribute("aria-disabled", String(state.page === pages - 1));
    }

    function filter() {
      if (texts === null) texts = new Map(all.map((row) => [row, row.textContent.toLowerCase()]));
      state.rows = sorted.filter((row) => {
        for (const [index, word] of state.picks) if (row.cells[index].textContent.trim() !== word) return false;
        const text = texts.get(row);
        return state.words.every((word) => text.includes(word));
      });
      state.page = 0;
      show();
    }

    let sorted = all;
    function sort(index) {
      const head = heads[index];
      const kind = head.dataset.kind;
      const descending = head.getAttribute("aria-sort") === "ascending";
      for (const one of heads) one.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", descending ? "descending" : "ascending");
      const keyed = all.map((row, at) => [keyOf(row.cells[index].textContent.trim(), kind), at, row]);
      const sign = descending ? -1 : 1;
      keyed.sort((a, b) => compareKeys(a[0], b[0], sign) || a[1] - b[1]);
      sorted = keyed.map((one) => one[2]);
      filter();
    }

    heads.forEach((head, index) => {
      const button = make("button", { type: "button" }, head.textContent);
      button.addEventListener("click", () => sort(index));
      head.replaceChildren(button);
    });

    const frame = table.parentElement;
    if (all.length > 10) {
      const controls = make("div", { class: "controls", role: "search", "aria-label": `Filter: ${title}` });
      const input = make("input", { type: "search", autocomplete: "off", spellcheck: "false" });
      let timer = 0;
      input.addEventListener("input", () => {
        clearTimeout(timer);
        timer = setTimeout(() => {
          state.words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
          filter();
        }, all.length > 2000 ? 150 : 0);
      });
      controls.append(make("label", {}, `Filter ${title.toLowerCase()}`, input));
      heads.forEach((head, index) => {
        if (!("pick" in head.dataset)) return;
        const kind = head.dataset.kind;
        const counts = new Map();
        for (const row of all) {
          const word = row.cells[index].textContent.trim();
          counts.set(word, (counts.get(word) ?? 0) + 1);
        }
        if (counts.size < 2 || counts.size > 60) return;
        const words = [...counts.keys()].sort((a, b) => {
          const [one, other] = [keyOf(a, kind), keyOf(b, kind)];
          return compareKeys(one, other, typeof (one ?? other) === "number" ? -1 : 1);
        });
        const select = make("select", {}, make("option", { value: "" }, "all"));
        for (const word of words) select.append(make("option", { value: "=" + word }, `${word || "(none)"} (${counts.get(word).toLocaleString("en")})`));
        select.addEventListener("change", () => {
          if (select.value) state.picks.set(index, select.value.slice(1));
          else state.picks.delete(index);
          filter();
        });
        controls.append(make("label", {}, head.textContent, select));
      });
      frame.before(controls);
      const pager = make("div", { class: "pager", role: "group", "aria-label": `Pages: ${title}` });
      previous.addEventListener("click", () => { if (state.page > 0) { state.page -= 1; show(); } });
      next.addEventListener("click", () => { if ((state.page + 1) * PAGE < state.rows.length) { state.page += 1; show(); } });
      if (all.length > PAGE) pager.append(previous, next);
      pager.append(status);
      frame.after(pager);
    }
    body.classList.add("ready");
    show();
    printing.push({ before: () => body.replaceChildren(...state.rows.slice(0, PRINTED)), after: show });
  }

  document.addEventListener("DOMContentLoaded", () => {
    for (const table of document.querySelectorAll("table.data")) setUp(table);
    if (location.hash) document.getElementById(decodeURIComponent(location.hash.slice(1)))?.scrollIntoView();
  });
  addEventListener("beforeprint", () => { for (const one of printing) one.before(); });
  addEventListener("afterprint", () => { for (const one of printing) one.after(); });
})();
