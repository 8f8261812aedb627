/* Filters and pages the sample cards, sorts the tables, and keeps the filters in the address:
   report.html#flip=crop_only&benchmark=signs&category=stop&q=red. The script only shows, hides and reorders what the
   page already holds; it never parses text as HTML. */
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
  let filters = {};
  let limit = PAGE;

  const textOf = (card) => (card.text ??= card.element.textContent.toLowerCase());

  const matches = (card, filter) =>
    (!filter.flip || card.flip === filter.flip) &&
    (!filter.regions || data.regions[card.benchmark] === filter.regions) &&
    (!filter.benchmark || card.benchmark === filter.benchmark) &&
    (!filter.category || card.category === filter.category) &&
    (!filter.q || textOf(card).includes(filter.q.toLowerCase()));

  function show() {
    const matching = cards.filter((card) => matches(card, filters));
    const visible = new Set(matching.slice(0, limit));
    for (const card of cards) card.element.hidden = !visible.has(card);
    more.hidden = matching.length <= limit;
    more.textContent = `Show ${Math.min(PAGE, matching.length - limit)} more of ${matching.length - limit}`;
    status.textContent = matching.length
      ? `Showing ${visible.size} of ${matching.length} matching cards.`
      : "No card matches. Choose another cell or clear the filters. All samples are in records.jsonl.";
    for (const button of document.querySelectorAll("[data-flip]"))
      button.setAttribute("aria-pressed", String(button.dataset.flip === (filters.flip || "")));
    for (const field of form.querySelectorAll("[name]")) field.value = filters[field.name] || "";
    showCounts();
  }

  /* The flip matrix counts all samples of the selected benchmark or kind of regions, with or without a card. */
  function showCounts() {
    const isSelected = (name) =>
      filters.benchmark ? name === filters.benchmark : !filters.regions || data.regions[name] === filters.regions;
    const pairs = Object.keys(data.pairs).filter(isSelected).map((name) => data.pairs[name]);
    const caption = document.querySelector(".flip caption");
    if (filters.regions)
      caption.textContent = `Flip matrix (${filters.regions.toLowerCase()}): choose a cell to see its samples`;
    for (const button of document.querySelectorAll(".flip button")) {
      const total = pairs.reduce((sum, counts) => sum + (counts[button.dataset.flip] || 0), 0);
      button.querySelector("b").textContent = total.toLocaleString("en-GB");
    }
  }

  function showCategories() {
    const select = form.querySelector("[name=category]");
    if (!select) return;
    const names = new Set(cards.filter((card) => matches(card, { benchmark: filters.benchmark })).map((card) => card.category));
    for (const option of select.options) option.hidden = option.value !== "" && !names.has(option.value);
    if (filters.category && !names.has(filters.category)) delete filters.category;
  }

  /* Annotated evidence and regions made by a model are never counted together: one kind is always selected. */
  function selectRegions() {
    const select = form.querySelector("[name=regions]");
    if (!select) return;
    const kinds = [...select.options].map((option) => option.value);
    if (filters.benchmark) filters.regions = data.regions[filters.benchmark];
    if (!kinds.includes(filters.regions)) filters.regions = kinds[0];
  }

  function setFilters(change) {
    if (change.regions) delete filters.benchmark;
    for (const [name, value] of Object.entries(change)) {
      if (value) filters[name] = value;
      else delete filters[name];
    }
    limit = PAGE;
    selectRegions();
    showCategories();
    const address = new URLSearchParams(FIELDS.filter((name) => filters[name]).map((name) => [name, filters[name]]));
    try {
      history.replaceState(null, "", `#${address}`);
    } catch {
      /* Some viewers embed the page without an address; filtering works without it. */
    }
    show();
  }

  /* "#flip=…" sets the filters; "#card-…" clears them and shows that card; other fragments are plain anchors. */
  function readAddress() {
    const fragment = location.hash.slice(1);
    if (fragment.includes("=")) {
      const parameters = new URLSearchParams(fragment);
      const entries = FIELDS.map((name) => [name, parameters.get(name)]);
      filters = Object.fromEntries(entries.filter(([, value]) => value));
      limit = PAGE;
      selectRegions();
      showCategories();
      show();
      return true;
    }
    const linked = fragment.startsWith("card-") && document.getElementById(fragment);
    if (linked) {
      filters = {};
      selectRegions();
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
        const ascending = heading.getAttribute("aria-sort") === "ascending";
        for (const cell of table.tHead.rows[0].cells) cell.setAttribute("aria-sort", "none");
        heading.setAttribute("aria-sort", ascending ? "descending" : "ascending");
        const rows = [...body.rows].sort((a, b) => compare(a.cells[column], b.cells[column], ascending ? -1 : 1));
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
      const isPressed = button.dataset.flip === filters.flip;
      setFilters({ flip: isPressed ? "" : button.dataset.flip });
    });
  }
  form.hidden = false;
  form.addEventListener("input", (event) => setFilters({ [event.target.name]: event.target.value }));
  form.addEventListener("submit", (event) => event.preventDefault());
  more.addEventListener("click", () => {
    const next = cards.filter((card) => matches(card, filters))[limit];
    limit += PAGE;
    show();
    next.element.querySelector("a").focus();
  });
  addEventListener("hashchange", readAddress);
  addEventListener("beforeprint", () => {
    for (const fold of document.querySelectorAll("main > section > details")) fold.open = true;
  });
  selectRegions();
  if (!readAddress()) show();
})();
