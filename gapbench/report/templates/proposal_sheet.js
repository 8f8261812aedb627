"use strict";
// Share of wrong rows among those ticked, with Wilson's 95 % interval.
(() => {
  const output = document.getElementById("share");
  if (!output) return;
  const percent = (share) => `${(100 * share).toFixed(1)} %`;
  document.addEventListener("change", () => {
    const ticked = [...document.querySelectorAll("input[type=radio]:checked")];
    const n = ticked.length;
    const p = ticked.filter((input) => input.value === "wrong").length / n;
    const z = 1.959964, shrink = 1 + z * z / n;
    const centre = (p + z * z / (2 * n)) / shrink;
    const half = (z / shrink) * Math.sqrt(p * (1 - p) / n + z * z / (4 * n * n));
    const low = Math.max(0, centre - half), high = Math.min(1, centre + half);
    output.textContent = `${n} ticked, ${percent(p)} wrong [${percent(low)}, ${percent(high)}]`;
  });
})();
