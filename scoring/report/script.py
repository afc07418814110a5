"""The script of the HTML report; without it everything is still there to read.

It makes tables sortable and legends switches, marks the section that is read, and offers the
data as files. What it does to charts is in `chart_script.py`.
"""

from .chart_script import CHARTS


def javascript() -> str:
    """The whole script."""
    return f'"use strict";\n(() => {{{_START}{_TABLES}{_SECTIONS}{_FILES}{CHARTS}{_PRINT}}})();\n'


_START = """
const all = (selector, root = document) => [...root.querySelectorAll(selector)];
function button(words, action) {
  const made = document.createElement("button");
  made.type = "button";
  made.append(...words);
  made.addEventListener("click", action);
  return made;
}
"""

_TABLES = """
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
    head.append(button([...head.childNodes], () => sortBy(table, head, index)));
    head.setAttribute("aria-sort", "none");
  });
}

// A table that is as wide as its box needs no scrolling: its head stays at the window's edge.
const bar = document.querySelector(".sections");
function fit(box) {
  box.classList.remove("fits");
  const fits = box.clientWidth > 0 && box.scrollWidth <= box.clientWidth;
  box.classList.toggle("fits", fits);
  if (fits) box.removeAttribute("tabindex"); else box.tabIndex = 0;
}
const boxes = all(".scroll");
const sizes = new ResizeObserver(changes => {
  const isOnTop = getComputedStyle(bar).alignSelf !== "start";
  document.documentElement.style.setProperty("--bar", `${isOnTop ? bar.offsetHeight : 0}px`);
  for (const change of changes) fit(change.target);
});
for (const box of boxes) sizes.observe(box);
"""

_SECTIONS = """
// The navigation marks the last section that has begun above the upper third of the window.
const links = new Map(all(".sections a").map(a => [a.hash.slice(1), a]));
const sections = all("main section").filter(section => links.has(section.id));
let current = null;
function markSection() {
  const line = innerHeight / 3;
  let found = sections[0];
  for (const section of sections)
    if (section.getBoundingClientRect().top <= line) found = section;
  if (scrollY > 0 && innerHeight + scrollY >= document.documentElement.scrollHeight - 2)
    found = sections[sections.length - 1];
  if (!found || found === current) return;
  if (current) links.get(current.id).removeAttribute("aria-current");
  current = found;
  const link = links.get(found.id);
  link.setAttribute("aria-current", "location");
  if (bar.scrollWidth > bar.clientWidth)
    bar.scrollLeft = link.offsetLeft - (bar.clientWidth - link.offsetWidth) / 2;
  if (bar.scrollHeight > bar.clientHeight)
    bar.scrollTop = link.offsetTop - (bar.clientHeight - link.offsetHeight) / 2;
}
let isWaiting = false;
function soon() {
  if (isWaiting) return;
  isWaiting = true;
  requestAnimationFrame(() => { isWaiting = false; markSection(); });
}
addEventListener("scroll", soon, { passive: true });
addEventListener("resize", soon);
markSection();
"""

_FILES = """
// The data of the page as files: all of it as JSON, a table as CSV.
const text = document.getElementById("data").textContent;
const data = JSON.parse(text);
function save(name, content, kind) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([content], { type: kind }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}
function csvCell(value) {
  if (value === null) return "";
  if (typeof value === "object") return csvCell(value.value);
  let words = String(value);
  // Spreadsheets run texts that start like formulas.
  if (typeof value === "string" && /^[=+\\-@\\t\\r]/.test(words)) words = `'${words}`;
  return /[",\\n\\r]/.test(words) ? `"${words.replaceAll('"', '""')}"` : words;
}
function csv(table) {
  const ends = table.columns.map((_, i) =>
    table.rows.some(row => row[i] !== null && typeof row[i] === "object"));
  const heads = table.columns.flatMap((name, i) =>
    ends[i] ? [name, `${name}, low`, `${name}, high`] : [name]);
  const rows = table.rows.map(row => row.flatMap((cell, i) =>
    ends[i] ? [cell, cell && cell.low, cell && cell.high].map(x => x === undefined ? null : x)
            : [cell]));
  return [heads, ...rows].map(row => row.map(csvCell).join(",") + "\\n").join("");
}
for (const table of all("table[data-key]")) {
  const key = table.dataset.key;
  if (!data.tables[key]) continue;
  const made = button(["CSV"], () => save(`${key}.csv`, csv(data.tables[key]), "text/csv"));
  made.className = "plain";
  made.setAttribute("aria-label", `Download the table as CSV: ${data.tables[key].caption}`);
  table.caption.prepend(made);
}
const files = document.createElement("div");
files.className = "data";
const whole = button(["Download all data (JSON)"],
                     () => save("report.json", text, "application/json"));
whole.className = "plain";
files.append(whole);
document.querySelector("header .facts").after(files);
"""

_PRINT = """
// Paper shows what is folded up.
let folded = [];
addEventListener("beforeprint", () => {
  folded = all("details:not([open])");
  for (const part of folded) part.open = true;
});
addEventListener("afterprint", () => { for (const part of folded) part.open = false; });
"""
