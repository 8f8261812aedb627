/* Sorts the rows of a table by the column whose heading is pressed, and back. A heading without a button does not sort;
   a cell without `data-sort` comes last. */
function makeSortable(table) {
  "use strict";

  function compare(a, b, direction) {
    const [first, second] = [a.dataset.sort, b.dataset.sort];
    if (first === undefined || second === undefined) return (first === undefined) - (second === undefined);
    const difference = Number(first) - Number(second);
    return direction * (Number.isNaN(difference) ? first.localeCompare(second) : difference);
  }

  const headings = [...table.tHead.rows[0].cells];
  headings.forEach((heading, column) => {
    const button = heading.querySelector("button");
    if (!button) return;
    button.type = "button";
    button.disabled = false;
    button.addEventListener("click", () => {
      const ascending = heading.getAttribute("aria-sort") === "ascending";
      for (const other of headings) if (other.hasAttribute("aria-sort")) other.setAttribute("aria-sort", "none");
      heading.setAttribute("aria-sort", ascending ? "descending" : "ascending");
      const body = table.tBodies[0];
      body.append(...[...body.rows].sort((a, b) => compare(a.cells[column], b.cells[column], ascending ? -1 : 1)));
    });
  });
}

