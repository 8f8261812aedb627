/* Filters and pages the sample cards, sorts the tables, and keeps the choice in the address:
   report.html#flip=crop_only&benchmark=signs&category=stop&q=red. Only shows, hides and reorders what the page already
   holds; no text is ever parsed as HTML. */
(() => {
  "use strict";

  const PAGE = 24;
  const FIELDS = ["flip", "regions", "benchmark", "category", "q"];
  const data = JSON.parse(document.getElementById("report-data").textContent);
  const cards = [...document.querySelectorAll("#gallery > .card")].map((element, index) => ({
    element,
    text: null,
    ...data.cards[index],
  }));
  const form = document.querySelector(".filters");
  const more = document.getElementById("more");
  const status = document.getElementById("status");
  let chosen = {};
  let limit = PAGE;

  const textOf = (card) => (card.text ??= card.element.textContent.toLowerCase());

  const matches = (card, filter) =>
    (!filter.flip || card.flip === filter.flip) &&
    (!filter.regions || data.regions[card.benchmark] === filter.regions) &&
    (!filter.benchmark || card.benchmark === filter.benchmark) &&
    (!filter.category || card.category === filter.category) &&
    (!filter.q || textOf(card).includes(filter.q.toLowerCase()));

  function show() {
    const found = cards.filter((card) => matches(card, chosen));
    const visible = new Set(found.slice(0, limit));
    for (const card of cards) card.element.hidden = !visible.has(card);
    more.hidden = found.length <= limit;
    more.textContent = `Show ${Math.min(PAGE, found.length - limit)} more of ${found.length - limit}`;
    status.textContent = found.length
      ? `Showing ${visible.size} of ${found.length} matching cards.`
      : "No card matches. Choose another cell or clear the filters; records.jsonl has every sample.";
    for (const button of document.querySelectorAll("[data-flip]"))
      button.setAttribute("aria-pressed", String(button.dataset.flip === (chosen.flip || "")));
    for (const field of form.querySelectorAll("[name]")) field.value = chosen[field.name] || "";
    showCounts();
  }

  /* The matrix counts all samples of the chosen benchmark or kind of regions, not only those that have a card. */
  function showCounts() {
    const counted = (name) =>
      chosen.benchmark ? name === chosen.benchmark : !chosen.regions || data.regions[name] === chosen.regions;
    const pairs = Object.keys(data.pairs).filter(counted).map((name) => data.pairs[name]);
    const caption = document.querySelector(".flip caption");
    if (chosen.regions)
      caption.textContent = `Which view was right (${chosen.regions.toLowerCase()}): choose a cell to see its samples`;
    for (const button of document.querySelectorAll(".flip button")) {
      const total = pairs.reduce((sum, one) => sum + (one[button.dataset.flip] || 0), 0);
      button.querySelector("b").textContent = total.toLocaleString("en-GB");
    }
  }

  function showCategories() {
    const select = form.querySelector("[name=category]");
    if (!select) return;
    const names = new Set(cards.filter((card) => matches(card, { benchmark: chosen.benchmark })).map((card) => card.category));
    for (const option of select.options) option.hidden = option.value !== "" && !names.has(option.value);
    if (chosen.category && !names.has(chosen.category)) delete chosen.category;
  }

  /* Annotated evidence and regions that a model made are never counted together: one of the two is always chosen. */
  function chooseRegions() {
    const select = form.querySelector("[name=regions]");
    if (!select) return;
    const known = [...select.options].map((option) => option.value);
    if (chosen.benchmark) chosen.regions = data.regions[chosen.benchmark];
    if (!known.includes(chosen.regions)) chosen.regions = known[0];
  }

  function choose(change) {
    if (change.regions) delete chosen.benchmark;
    for (const [name, value] of Object.entries(change)) {
      if (value) chosen[name] = value;
      else delete chosen[name];
    }
    limit = PAGE;
    chooseRegions();
    showCategories();
    const address = new URLSearchParams(FIELDS.filter((name) => chosen[name]).map((name) => [name, chosen[name]]));
    try {
      history.replaceState(null, "", `#${address}`);
    } catch {
      /* Some viewers embed the page without an address of its own; filtering works all the same. */
    }
    show();
  }

  /* "#flip=…" sets the filters; "#card-…" shows that card whatever the filters; other fragments are plain anchors. */
  function readAddress() {
    const fragment = location.hash.slice(1);
    if (fragment.includes("=")) {
      const asked = new URLSearchParams(fragment);
      chosen = Object.fromEntries(FIELDS.filter((name) => asked.get(name)).map((name) => [name, asked.get(name)]));
      limit = PAGE;
      chooseRegions();
      showCategories();
      show();
      return true;
    }
    const linked = fragment.startsWith("card-") && document.getElementById(fragment);
    if (linked) {
      chosen = {};
      chooseRegions();
      show();
      linked.hidden = false;
      linked.scrollIntoView();
    }
    return Boolean(linked);
  }

  function makeSortable(table) {
    const body = table.tBodies[0];
    if (body.rows.length < 2) return;
    [...table.tHead.rows[0].cells].forEach((heading, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...heading.childNodes);
      heading.append(button);
      heading.setAttribute("aria-sort", "none");
      button.addEventListener("click", () => {
        const up = heading.getAttribute("aria-sort") === "ascending";
        for (const other of table.tHead.rows[0].cells) other.setAttribute("aria-sort", "none");
        heading.setAttribute("aria-sort", up ? "descending" : "ascending");
        const rows = [...body.rows].sort((a, b) => compare(a.cells[column], b.cells[column], up ? -1 : 1));
        body.append(...rows);
      });
    });
  }

  function compare(a, b, direction) {
    const [first, second] = [a.dataset.sort, b.dataset.sort];
    if (first === undefined || second === undefined) return (first === undefined) - (second === undefined);
    const difference = Number(first) - Number(second);
    return direction * (Number.isNaN(difference) ? first.localeCompare(second) : difference);
  }

  for (const table of document.querySelectorAll("table.data")) makeSortable(table);
  for (const button of document.querySelectorAll("[data-flip]")) {
    button.disabled = false;
    button.addEventListener("click", () => {
      const again = button.dataset.flip === chosen.flip;
      choose({ flip: again ? "" : button.dataset.flip });
    });
  }
  form.hidden = false;
  form.addEventListener("input", (event) => choose({ [event.target.name]: event.target.value }));
  form.addEventListener("submit", (event) => event.preventDefault());
  more.addEventListener("click", () => {
    const next = cards.filter((card) => matches(card, chosen))[limit];
    limit += PAGE;
    show();
    next.element.querySelector("a").focus();
  });
  addEventListener("hashchange", readAddress);
  addEventListener("beforeprint", () => {
    for (const fold of document.querySelectorAll("main > section > details")) fold.open = true;
  });
  chooseRegions();
  if (!readAddress()) show();
})();
