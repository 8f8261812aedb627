/* Chooses tables, filters and sorts rows, marks two models, and keeps all that in the address:
   board.html#table=0&measure=gap&q=qwen&a=glance&b=base. The script only shows, hides, moves and marks what the page
   already holds; it never parses text as HTML. */
(() => {
  "use strict";

  const data = JSON.parse(document.getElementById("board-data").textContent);
  const FIELDS = ["table", "measure", "q", "a", "b"];
  const fields = new Map(FIELDS.map((name) => [name, document.querySelector(`[name=${name}]`)]));
  const defaults = new Map(FIELDS.map((name) => [name, fields.get(name).value]));
  const rows = [...document.querySelectorAll("tr[data-model]")];
  const status = document.getElementById("status");

  function show() {
    const value = (name) => fields.get(name).value;
    for (const place of document.querySelectorAll("[data-place]")) place.hidden = place.dataset.place !== value("table");
    for (const matrix of document.querySelectorAll("[data-measure]"))
      matrix.hidden = matrix.dataset.measure !== value("measure");
    const wanted = value("q").trim().toLowerCase();
    const matches = (label) => label.toLowerCase().includes(wanted);
    for (const row of rows) {
      row.hidden = !matches(row.dataset.model);
      row.classList.toggle("first", row.dataset.model === value("a"));
      row.classList.toggle("second", row.dataset.model === value("b"));
    }
    data.labels.forEach((label, place) => {
      for (const id of [`area-model-${place}`, `area-label-${place}`]) {
        const drawn = document.getElementById(id);
        if (!drawn) continue;
        drawn.classList.toggle("off", !matches(label));
        drawn.classList.toggle("first", label === value("a"));
        drawn.classList.toggle("second", label === value("b"));
      }
    });
    const count = data.labels.filter(matches).length;
    status.textContent = (wanted ? `${count} of ` : "") + `${data.labels.length} model${data.labels.length === 1 ? "" : "s"}`;
    showComparison(value("a"), value("b"));
  }

  function showComparison(first, second) {
    const target = document.getElementById("comparison");
    const command = document.getElementById("compare-command");
    const made = data.made.find(([a, b]) => (a === first && b === second) || (a === second && b === first));
    const slug = (label) => label.replace(/[^\w.-]+/g, "-");
    const out = `${data.out}/compare-${slug(first)}-${slug(second)}`;
    command.textContent = data.command
      .replace("{a}", () => data.folders[first])
      .replace("{b}", () => data.folders[second])
      .replace("{out}", () => out);
    command.parentElement.hidden = first === second || Boolean(made);
    target.textContent = first === second ? "Choose two different models." : "";
    if (first === second) return;
    if (made) {
      const link = document.createElement("a");
      link.href = made[2];
      link.textContent = `${made[1]} against ${made[0]}, answer by answer`;
      target.append(link);
    } else {
      target.textContent =
        "Both answers to every sample on which the two disagree, beside the image and its evidence box, made by:";
    }
  }

  function changed() {
    show();
    const set = FIELDS.filter((name) => fields.get(name).value !== defaults.get(name));
    const hash = new URLSearchParams(set.map((name) => [name, fields.get(name).value])).toString();
    history.replaceState(null, "", hash ? `#${hash}` : location.pathname + location.search);
  }

  function readAddress() {
    const values = new URLSearchParams(location.hash.slice(1));
    if (FIELDS.some((name) => values.has(name)))
      for (const [name, field] of fields) {
        field.value = values.get(name) ?? defaults.get(name);
        if (field.tagName === "SELECT" && field.selectedIndex < 0) field.value = defaults.get(name);
      }
    show();
  }

  for (const table of document.querySelectorAll("table.sortable")) makeSortable(table);
  for (const form of document.querySelectorAll("form")) {
    form.addEventListener("input", changed);
    form.addEventListener("submit", (event) => event.preventDefault());
  }
  addEventListener("hashchange", readAddress);
  readAddress();
})();
