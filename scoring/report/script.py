"""The script of the HTML report; without it everything is still there to read.

It makes tables sortable, legends switches, and shows what a point of a chart stands for.
"""

JAVASCRIPT = """
"use strict";
(() => {
const all = (selector, root = document) => [...root.querySelectorAll(selector)];

// Sorting: a button in every head; the order goes round, what has no value stays last.
const live = document.createElement("div");
live.className = "live";
live.setAttribute("role", "status");
document.body.append(live);

function valueOf(row, index, isNumeric) {
  const cell = row.cells[index];
  if (!isNumeric) return cell.textContent.trim().toLowerCase();
  return cell.dataset.v === undefined ? null : Number(cell.dataset.v);
}

function sortBy(table, head, index) {
  const isNumeric = head.classList.contains("n");
  const now = head.getAttribute("aria-sort");
  const first = head.dataset.first || "ascending";
  const second = first === "ascending" ? "descending" : "ascending";
  const order = now === first ? second : first;
  const sign = order === "ascending" ? 1 : -1;
  const body = table.tBodies[0];
  const rows = [...body.rows].map(row => [valueOf(row, index, isNumeric), row]);
  rows.sort(([a], [b]) => {
    if (a === null || b === null) return (a === null) - (b === null);
    return sign * (a < b ? -1 : a > b ? 1 : 0);
  });
  body.append(...rows.map(([, row]) => row));
  for (const other of table.tHead.rows[0].cells) other.setAttribute("aria-sort", "none");
  head.setAttribute("aria-sort", order);
  live.textContent = `Sorted by ${head.textContent}, ${order}`;
}

for (const table of all("table.sortable")) {
  if (table.tBodies[0].rows.length < 2) continue;
  [...table.tHead.rows[0].cells].forEach((head, index) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    head.setAttribute("aria-sort", "none");
    button.addEventListener("click", () => sortBy(table, head, index));
  });
}

// Legends: one switch per submission, the same in all of them; pointing at one fades others.
const hidden = new Set();
const parts = new Map();
for (const group of all("figure [data-s]")) {
  const of = parts.get(group.dataset.s) || [];
  of.push(group);
  parts.set(group.dataset.s, of);
}

function fadeAllBut(series) {
  for (const [of, groups] of parts)
    for (const group of groups)
      group.classList.toggle("faded", series !== null && of !== series);
}

function toggle(series) {
  hidden.has(series) ? hidden.delete(series) : hidden.add(series);
  for (const group of parts.get(series) || [])
    group.style.display = hidden.has(series) ? "none" : "";
  for (const button of all(".legend button"))
    if (button.dataset.s === series)
      button.setAttribute("aria-pressed", String(!hidden.has(series)));
}

for (const key of all(".legend [data-s]")) {
  const button = document.createElement("button");
  const series = key.dataset.s;
  button.type = "button";
  button.dataset.s = series;
  button.setAttribute("aria-pressed", "true");
  button.append(...key.childNodes);
  key.replaceWith(button);
  button.addEventListener("click", () => toggle(series));
  for (const [event, shown] of [["pointerenter", series], ["focus", series],
                                ["pointerleave", null], ["blur", null]])
    button.addEventListener(event, () => fadeAllBut(shown));
}

// Points: their titles in a bubble that comes at once and also on touch.
const bubble = document.createElement("div");
bubble.id = "bubble";
bubble.hidden = true;
bubble.setAttribute("aria-hidden", "true");
document.body.append(bubble);
for (const point of all(".tip")) {
  const title = point.querySelector("title");
  point.dataset.tip = title.textContent;
  title.remove();
}
for (const chart of all("figure svg[aria-labelledby]")) {
  const title = chart.querySelector("title");
  chart.setAttribute("aria-label", title.textContent);
  chart.setAttribute("aria-describedby", chart.querySelector("desc").id);
  chart.removeAttribute("aria-labelledby");
  title.remove();  // browsers would show it over the whole chart
}

function show(event) {
  const point = event.target.closest && event.target.closest(".tip");
  bubble.hidden = !point;
  if (!point) return;
  bubble.textContent = point.dataset.tip;
  const box = point.getBoundingClientRect(), own = bubble.getBoundingClientRect();
  const width = document.documentElement.clientWidth;
  const left = box.left + box.width / 2 - own.width / 2;
  const above = box.top - own.height - 6;
  bubble.style.left = `${Math.max(6, Math.min(left, width - own.width - 6))}px`;
  bubble.style.top = `${above > 6 ? above : box.bottom + 6}px`;
}
document.addEventListener("pointerover", show);
document.addEventListener("pointerdown", show);
document.addEventListener("scroll", () => { bubble.hidden = true; }, { passive: true });

// Paper shows what is folded up.
let folded = [];
addEventListener("beforeprint", () => {
  folded = all("details:not([open])");
  for (const part of folded) part.open = true;
});
addEventListener("afterprint", () => { for (const part of folded) part.open = false; });
})();
"""
