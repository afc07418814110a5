"""What the report's script does to charts: legends, switches between views, and tooltips."""

CHARTS = """
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
  for (const other of all(".legend button"))
    if (other.dataset.s === series)
      other.setAttribute("aria-pressed", String(!hidden.has(series)));
}

const names = new Map();  // of the series of each block
for (const key of all(".legend [data-s]")) {
  const series = key.dataset.s;
  const block = key.closest(".block");
  if (!names.has(block)) names.set(block, new Map());
  names.get(block).set(series, key.lastChild && key.textContent.replace(/^\\d+/, ""));
  const made = button([...key.childNodes], () => toggle(series));
  made.dataset.s = series;
  made.setAttribute("aria-pressed", "true");
  key.replaceWith(made);
  for (const [event, shown] of [["pointerenter", series], ["focus", series],
                                ["pointerleave", null], ["blur", null]])
    made.addEventListener(event, () => fadeAllBut(shown));
}

// Switches: the views that all chosen options name.
for (const bar of all(".switches")) {
  bar.hidden = false;
  for (const group of bar.children)
    for (const choice of all("button", group))
      choice.addEventListener("click", () => {
        for (const other of all("button", group))
          other.setAttribute("aria-pressed", String(other === choice));
        const key = all("[aria-pressed=true]", bar).map(b => b.dataset.option).join(" ");
        for (const view of all(".view", bar.parentElement))
          view.classList.toggle("on", view.dataset.view === key);
      });
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

function showBubble(words, box) {
  bubble.hidden = false;
  bubble.textContent = words;
  const own = bubble.getBoundingClientRect();
  const width = document.documentElement.clientWidth;
  const left = box.left + box.width / 2 - own.width / 2;
  const above = box.top - own.height - 6;
  bubble.style.left = `${Math.max(6, Math.min(left, width - own.width - 6))}px`;
  bubble.style.top = `${above > 6 ? above : box.bottom + 6}px`;
}

// Curves: the corner that is nearest to the pointer, turned back into numbers.
const NEAR = 24;  // pixels
const cornersOf = new WeakMap();
function corners(path) {
  if (!cornersOf.has(path)) {
    const found = [];
    let x = 0, y = 0;
    const steps = path.getAttribute("d").matchAll(/([MLHVh])?(-?[\\d.]+)(?:[ ,](-?[\\d.]+))?/g);
    for (const [, kind, a, b] of steps) {
      if (kind === "h") continue;
      if (kind === "H") x = Number(a);
      else if (kind === "V") y = Number(a);
      else [x, y] = [Number(a), Number(b)];
      found.push([x, y]);
    }
    cornersOf.set(path, found);
  }
  return cornersOf.get(path);
}

function number(facts, place) {
  const [low, high, start, end, log] = facts.split(" ");
  const value = Number(low) + (place - start) / (end - start) * (high - low);
  return Number((log ? 10 ** value : value).toPrecision(4)).toLocaleString(
    "en", { maximumSignificantDigits: 4 });
}

const anySvg = document.querySelector("svg");
const marker = document.createElementNS(anySvg && anySvg.namespaceURI, "circle");
marker.setAttribute("class", "marker");
marker.setAttribute("r", "4.5");

function nearest(plot, event) {
  let best = null;
  for (const path of all("path", plot)) {
    if (path.closest("[style*=none]")) continue;
    const toScreen = path.getScreenCTM();
    const at = new DOMPoint(event.clientX, event.clientY).matrixTransform(toScreen.inverse());
    for (const [x, y] of corners(path)) {
      const distance = Math.hypot(x - at.x, y - at.y) * toScreen.a;
      if (distance < NEAR && (!best || distance < best.distance))
        best = { distance, x, y, path, toScreen };
    }
  }
  return best;
}

function showCorner(event) {
  const chart = event.target.closest && event.target.closest("figure svg");
  if (!chart) return false;
  for (const plot of all(".plot", chart)) {
    if (plot.closest(".view:not(.on)")) continue;
    const found = nearest(plot, event);
    if (!found) continue;
    const group = found.path.closest("[data-s]");
    const name = (names.get(chart.closest(".block")) || new Map()).get(group.dataset.s);
    const facts = plot.dataset;
    const words = [
      [name, found.path.dataset.l].filter(Boolean).join(", "),
      `${facts.xLabel}: ${number(facts.x, found.x)}`,
      `${facts.yLabel}: ${number(facts.y, found.y)}`,
    ];
    const place = new DOMPoint(found.x, found.y).matrixTransform(found.toScreen);
    marker.setAttribute("cx", found.x);
    marker.setAttribute("cy", found.y);
    plot.append(marker);
    showBubble(words.filter(Boolean).join("\\n"),
               { left: place.x, top: place.y, bottom: place.y, width: 0 });
    return true;
  }
  return false;
}

function show(event) {
  const point = event.target.closest && event.target.closest(".tip");
  if (point) {
    marker.remove();
    showBubble(point.dataset.tip, point.getBoundingClientRect());
  } else if (!showCorner(event)) {
    hideBubble();
  }
}
function hideBubble() {
  bubble.hidden = true;
  marker.remove();
}
document.addEventListener("pointermove", show);
document.addEventListener("pointerdown", show);
document.addEventListener("scroll", hideBubble, { passive: true });
document.addEventListener("keydown", event => { if (event.key === "Escape") hideBubble(); });
"""
