"use strict";
// Long tables are sorted by a click on the head of a column: first the highest figures, then the lowest.
const figureOf = (row, place) => {
  const text = row.cells[place].textContent.replace("\u2212", "-").replace(/,/g, "").trim();
  const number = text.startsWith("\u221e") ? Infinity : parseFloat(text.replace(/^[^-\d]*/, ""));
  return Number.isNaN(number) ? -Infinity : number;
};
for (const table of document.querySelectorAll(".long table")) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, place) => {
    const button = document.createElement("button");
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const sign = head.ariaSort === "descending" ? 1 : -1;
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.ariaSort = sign < 0 ? "descending" : "ascending";
      const rows = [...table.tBodies[0].rows];
      const words = (row) => row.cells[place].textContent;
      rows.sort((a, b) => sign * (figureOf(a, place) - figureOf(b, place)) || words(a).localeCompare(words(b)));
      table.tBodies[0].append(...rows);
    });
  });
}
// A slider moves along the curve of the attack of the verdict and says what it means there.
const percent = (share) => `${(100 * share).toPrecision(share < 0.1 ? 2 : 3)}%`;
for (const chart of document.querySelectorAll("[data-live]")) {
  const { axes, start, at, attack, rates } = JSON.parse(chart.dataset.live);
  const box = chart.querySelector(`[id="${axes}"]`)?.getBBox();
  if (!box || !rates.length) continue;
  const live = document.createElement("div");
  live.className = "live";
  live.innerHTML = '<label>Operating point <input type="range" min="0"></label><output></output>';
  const [input, output] = live.querySelectorAll("input, output");
  input.max = rates.length - 1;
  input.value = rates.findLastIndex((rate) => rate[0] <= at * 1.0001);
  const dot = document.createElementNS("http://www.w3.org/2000/svg", "circle");
  dot.setAttribute("r", 4.5);
  dot.setAttribute("class", "dot");
  chart.querySelector("svg").append(dot);
  const part = (rate) => 1 - Math.log(Math.max(rate, start)) / Math.log(start);
  const show = () => {
    const [fpr, tpr, low, high] = rates[input.value];
    dot.setAttribute("cx", box.x + box.width * part(fpr));
    dot.setAttribute("cy", box.y + box.height * (1 - part(tpr)));
    const right = (members) => Math.round((100 * members * tpr) / (members * tpr + (1 - members) * fpr));
    output.textContent =
      `At ${percent(fpr)} false positives ${attack} finds ${percent(tpr)} [${percent(low)}, ${percent(high)}] of the ` +
      `members. Of 100 accusations ${right(0.5)} are right where half of the points asked about are members, and ` +
      `${right(0.1)} where one in ten is.`;
    input.setAttribute("aria-valuetext", output.textContent);
  };
  input.addEventListener("input", show);
  chart.append(live);
  show();
}
