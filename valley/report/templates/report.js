"use strict";
// Charts: specifications are data in #charts; the expression interpreter (ast) spares the page any eval.
const charts = JSON.parse(document.getElementById("charts").textContent);
function draw(box, choice) {
  const { views, rows } = charts[box.dataset.chart];
  const spec = { ...views[choice ?? Object.keys(views)[0]], datasets: { rows } };
  return vegaEmbed(box, spec, { actions: false, renderer: "svg", ast: true, tooltip: { theme: "dark" } })
    .then(() => legendKeys(box))
    .catch((error) => { box.textContent = "The chart could not be drawn: " + error.message; });
}
// Vega's legends hear clicks only; here Tab reaches every entry, and Enter or the space bar clicks it.
function legendKeys(box) {
  for (const entry of box.querySelectorAll("g.role-legend-symbol")) {
    const mark = entry.querySelector("path");
    if (!mark) continue;
    const name = mark.__data__?.datum?.label ?? mark.getAttribute("aria-label") ?? "entry";
    mark.setAttribute("tabindex", "0");
    mark.setAttribute("role", "button");
    mark.setAttribute("aria-label", "Single out " + name);
    mark.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" && event.key !== " ") return;
      event.preventDefault();
      mark.dispatchEvent(new MouseEvent("click", { bubbles: true, view: window }));
    });
  }
}
for (const box of document.querySelectorAll("[data-chart]")) draw(box);
for (const group of document.querySelectorAll("[data-switch]")) {
  group.addEventListener("change", (event) => draw(document.getElementById("chart-" + group.dataset.switch), event.target.value));
}

// Cases: packed in #case-data (valley/report_cases.py), written as text only, PAGE at a time; probes when a case is opened.
const PAGE = 50;
const { texts, cases } = JSON.parse(document.getElementById("case-data").textContent);
const field = (id) => document.getElementById(id);
const flat = (text) => text.normalize("NFKD").replace(/\p{M}/gu, "").toLowerCase();
function make(tag, className, ...parts) {
  const node = document.createElement(tag);
  if (className) node.className = className;
  node.append(...parts.filter((part) => part !== ""));
  return node;
}
function words(number, className = "", otherwise = "") {
  const node = make("bdi", className, texts[number] || otherwise);
  node.dir = "auto";
  return node;
}
function caseNode([about, known, hits, probes, more]) {
  const [rung, kind, method, name, split, subject, prompt, answer, old, before, after] = about;
  const summary = make("summary", "", make("span", "tag", texts[kind]), " ", words(rung, "rung"), " ", words(method),
    known ? "" : " ", known ? "" : make("span", "tag quiet", "not known"),
    make("span", "edit", words(prompt), ": ", words(old, "old", "?"), " → ", words(answer, "new")),
    make("span", "texts", make("span", "", make("b", "", "before"), " ", words(before, "", "(no text)")), " ",
      make("span", "", make("b", "", "after"), " ", words(after, "", "(no text)"))));
  const scores = make("span", "hits");
  for (const [label, score, n, of, level] of hits) {
    scores.append(make("span", "hit " + level, texts[label] + " " + score, make("small", "", ` (${n === of ? n : n + " of " + of})`)), " ");
  }
  summary.append(scores);
  const node = make("details", "case", summary);
  node.addEventListener("toggle", () => {
    node.append(make("p", "about", "case ", words(name), ", subject ", words(subject), ", ", words(split)), probeTable(probes));
    if (more) node.append(make("p", "about", `and ${more} more probes, in the rows`));
  }, { once: true });
  return node;
}
function probeTable(probes) {
  const head = make("tr");
  for (const title of ["probe", "lang", "prompt", "right answer", "best before", "best after", "free text after", "score"]) {
    const cell = make("th", "", title);
    cell.scope = "col";
    head.append(cell);
  }
  const body = make("tbody");
  for (const [...cells] of probes) {
    const reason = cells.pop(), value = cells.pop();
    body.append(make("tr", "", ...cells.map((cell) => make("td", "", words(cell))),
      make("td", "n", texts[value], texts[reason] ? make("small", "", texts[reason]) : "")));
  }
  const box = make("div", "scroll", make("table", "", make("thead", "", head), body));
  Object.assign(box, { tabIndex: 0, role: "region", ariaLabel: "Probes" });
  return box;
}

let lowered = null;  // texts as the search compares them, made at the first search
let fitting = [], shown = 0;
function filter() {
  const terms = flat(field("find").value).split(/\s+/).filter(Boolean);
  if (terms.length) lowered ??= texts.map(flat);
  const has = terms.map((word) => lowered.map((text) => text.includes(word)));
  const [rung, kind, known] = ["find-rung", "find-kind", "find-known"].map((id) => field(id).value);
  const fits = ([about, isKnown, , probes]) => (!rung || texts[about[0]] === rung) && (!kind || texts[about[1]] === kind)
    && (!known || isKnown === (known === "yes" ? 1 : 0))
    && has.every((hit) => about.some((n) => hit[n]) || probes.some((probe) => probe.some((n) => hit[n])));
  fitting = cases.filter(fits);
  shown = 0;
  field("case-list").replaceChildren();
  showMore();
  field("found").textContent = fitting.length + " of " + cases.length + " found";
  field("none-found").hidden = fitting.length > 0 || cases.length === 0;
}
function showMore() {
  field("case-list").append(...fitting.slice(shown, shown + PAGE).map(caseNode));
  shown = Math.min(shown + PAGE, fitting.length);
  field("more").hidden = shown === fitting.length;
  field("show-more").textContent = `Show ${Math.min(PAGE, fitting.length - shown)} more (${shown} of ${fitting.length} are listed)`;
}
let waiting;
field("find").addEventListener("input", () => { clearTimeout(waiting); waiting = setTimeout(filter, 120); });
for (const id of ["find-rung", "find-kind", "find-known"]) field(id).addEventListener("change", filter);
field("show-more").addEventListener("click", showMore);
document.querySelector(".filters").addEventListener("submit", (event) => { event.preventDefault(); filter(); });
field("clear").addEventListener("click", () => { document.querySelector(".filters").reset(); filter(); field("find").focus(); });
filter();
