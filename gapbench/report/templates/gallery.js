/* Filters, orders and pages the sample cards, opens their evidence, sorts the tables, and keeps its state in the address:
   report.html#flip=crop_only&benchmark=signs&order=area&sample=KEY. J and K, or the arrows while the evidence is open, go
   to the next and the previous card. The script only shows, hides and reorders what the page already holds; it never
   parses text as HTML. */
(() => {
  "use strict";

  const PAGE = 24;
  const FIELDS = ["flip", "regions", "benchmark", "category", "q", "order"];
  const data = JSON.parse(document.getElementById("report-data").textContent);
  const cards = [...document.querySelectorAll("#gallery > .card")].map((element, index) => ({
    element,
    text: null,
    ...data.cards[index],
  }));
  const form = document.querySelector(".filters");
  const gallery = document.getElementById("gallery");
  const more = document.getElementById("more");
  const status = document.getElementById("status");
  const viewer = document.getElementById("viewer");
  const flips = [...form.querySelectorAll("[data-flip]")].map((chip) => chip.dataset.flip);
  let filters = {};
  let limit = PAGE;
  let ordered = false;
  let current = null;

  /* What the cards are ordered by. Without a value a card comes last. */
  const ORDERS = {
    area: (card) => card.area,
    "area-falling": (card) => (card.area === null ? null : -card.area),
    length: (card) => card.length,
    "length-falling": (card) => -card.length,
    flip: (card) => flips.indexOf(card.flip),
  };

  const textOf = (card) => (card.text ??= card.element.textContent.toLowerCase());

  const matches = (card, filter) =>
    (!filter.flip || card.flip === filter.flip) &&
    (!filter.regions || data.regions[card.benchmark] === filter.regions) &&
    (!filter.benchmark || card.benchmark === filter.benchmark) &&
    (!filter.category || card.category === filter.category) &&
    (!filter.q || textOf(card).includes(filter.q.toLowerCase()));

  function matchingCards() {
    const matching = cards.filter((card) => matches(card, filters));
    const value = ORDERS[filters.order];
    const last = (card) => value(card) ?? Infinity;
    return value ? matching.sort((a, b) => (last(a) === last(b) ? 0 : last(a) - last(b))) : matching;
  }

  function show() {
    const matching = matchingCards();
    const visible = new Set(matching.slice(0, limit));
    for (const card of cards) card.element.hidden = !visible.has(card);
    if (filters.order || ordered) gallery.append(...(filters.order ? [...visible] : cards).map((card) => card.element));
    ordered = Boolean(filters.order);
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

  /* Bring a card that matches the filters into view, and its evidence if that is open. */
  function select(card) {
    const place = matchingCards().indexOf(card);
    current?.element.classList.remove("current");
    current = place < 0 ? null : card;
    if (!current) return;
    while (limit <= place) limit += PAGE;
    show();
    card.element.classList.add("current");
    card.element.scrollIntoView({ behavior: "instant" });
    card.element.querySelector("a").focus({ preventScroll: true });
    if (viewer.open) open(card);
    writeAddress();
  }

  function step(by) {
    const matching = matchingCards();
    const next = matching[current ? matching.indexOf(current) + by : 0];
    if (next) select(next);
  }

  /* The crop with the pixels of the image, or what else the card shows. */
  function open(card) {
    const find = (...selectors) => selectors.map((selector) => card.element.querySelector(selector)).find(Boolean);
    const image = find(".crop img", ".full img");
    const place = viewer.querySelector(".scroll");
    place.replaceChildren();
    if (image) {
      const shown = place.appendChild(document.createElement("img"));
      shown.src = image.src;
      shown.alt = image.alt;
      const [width, height] = ["width", "height"].map((side) => image.getAttribute(side));
      shown.style.aspectRatio = `${width} / ${height}`;
      shown.style.width = `max(${width}px, min(28rem, 60vh, 74vw))`;
    }
    viewer.querySelector("h3").textContent = card.element.querySelector("h3").textContent;
    viewer.querySelector("p").textContent = [
      find(".tag.flip"),
      find(".crop figcaption", ".full figcaption", ".how"),
      find(".question"),
    ].map((element) => element.textContent).join(" \u00b7 ");
    if (!viewer.open) viewer.showModal();
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
    select(null);
    selectRegions();
    showCategories();
    writeAddress();
    show();
  }

  function writeAddress() {
    const state = { ...filters, sample: current?.key };
    const address = new URLSearchParams([...FIELDS, "sample"].filter((name) => state[name]).map((name) => [name, state[name]]));
    try {
      history.replaceState(null, "", `#${address}`);
    } catch {
      /* Some viewers embed the page without an address; filtering works without it. */
    }
  }

  /* "#flip=…" sets the filters, "#sample=…" (or "#card-…") shows one card; other fragments are plain anchors. */
  function readAddress() {
    const fragment = location.hash.slice(1).replace(/^card-/, "sample=");
    if (fragment.includes("=")) {
      const parameters = new URLSearchParams(fragment);
      const entries = FIELDS.map((name) => [name, parameters.get(name)]);
      filters = Object.fromEntries(entries.filter(([, value]) => value));
      limit = PAGE;
      const key = parameters.get("sample");
      const linked = cards.find((card) => card.key === key);
      if (linked && data.regions[linked.benchmark]) filters.regions = data.regions[linked.benchmark];
      selectRegions();
      showCategories();
      show();
      if (linked) select(linked);
      else if (key) status.textContent = "This sample has no card in this file. Its answers are in records.jsonl.";
      return true;
    }
    return false;
  }

  for (const table of document.querySelectorAll("table.data")) {
    if (table.tBodies[0].rows.length < 2) continue;
    for (const heading of table.tHead.rows[0].cells) {
      const button = document.createElement("button");
      button.append(...heading.childNodes);
      heading.append(button);
      heading.setAttribute("aria-sort", "none");
    }
    makeSortable(table);
  }
  for (const button of document.querySelectorAll("[data-flip]")) {
    button.disabled = false;
    button.addEventListener("click", () => {
      const isPressed = button.dataset.flip === filters.flip;
      setFilters({ flip: isPressed ? "" : button.dataset.flip });
    });
  }
  form.querySelector("fieldset").disabled = false;
  gallery.classList.add("ready");
  gallery.addEventListener("click", (event) => {
    const card = cards.find(({ element }) => element.contains(event.target));
    const link = event.target.closest("h3 a");
    if (!card || !(link || event.target.closest(".frame"))) return;
    event.preventDefault();
    if (link) select(card);
    else {
      open(card);
      select(card);
    }
  });
  viewer.addEventListener("click", (event) => {
    if (event.target.dataset.step) step(Number(event.target.dataset.step));
    else if (event.target === viewer || event.target.dataset.close) viewer.close();
  });
  addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest?.("input, select")) return;
    const by = { j: 1, k: -1, ...(viewer.open && { ArrowRight: 1, ArrowLeft: -1 }) }[event.key];
    if (!by) return;
    event.preventDefault();
    step(by);
  });
  form.addEventListener("input", (event) => setFilters({ [event.target.name]: event.target.value }));
  form.addEventListener("submit", (event) => event.preventDefault());
  more.addEventListener("click", () => {
    const next = matchingCards()[limit];
    limit += PAGE;
    show();
    next.element.querySelector("a").focus();
  });
  addEventListener("hashchange", readAddress);
  addEventListener("beforeprint", () => {
    for (const fold of document.querySelectorAll("main > section > details")) fold.open = true;
    for (const image of gallery.querySelectorAll("img")) image.loading = "eager";
  });
  selectRegions();
  if (!readAddress()) show();
})();
