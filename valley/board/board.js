"use strict";
// The lines are data in #data; every cell is written as text.
const lines = JSON.parse(document.getElementById("data").textContent);
const columns = ["model", "method", "kind", "score", "generalisation", "specificity", "cases", "run", "failed", "parameters", "commit",
  "machine", "date", "torch", "settings"];
const titles = { failed: "failed cells" };
const scores = new Set(["score", "generalisation", "specificity"]);
const field = (id) => document.getElementById(id);
let by = "score", down = true;

for (const name of columns) {
  const cell = document.createElement("th"), button = document.createElement("button");
  cell.scope = "col";
  button.type = "button";
  button.textContent = titles[name] ?? name;
  button.addEventListener("click", () => { down = by === name ? !down : scores.has(name); by = name; show(); });
  cell.dataset.name = name;
  cell.append(button);
  field("head").append(cell);
}
for (const name of ["kind", "method", "model"]) {
  for (const value of [...new Set(lines.map((line) => line[name]))].sort()) field(name).append(new Option(value, value));
  field(name).addEventListener("change", show);
}
field("find").addEventListener("input", show);
field("filters").addEventListener("submit", (event) => event.preventDefault());
field("filters").addEventListener("reset", () => setTimeout(show));

function written(line, name) {
  const value = line[name];
  if (value === null || value === undefined) return "n/a";
  if (!scores.has(name)) return name === "commit" ? String(value).slice(0, 10) : typeof value === "number" ? value.toLocaleString("en") : String(value);
  return value.toFixed(2);
}
function compare(a, b) {
  const [x, y] = [a[by], b[by]];
  if (x === null || y === null) return (x === null) - (y === null);  // what was not measured stands last, either way
  const order = typeof x === "number" ? x - y : String(x).localeCompare(String(y));
  return down ? -order : order;
}
function show() {
  const words = field("find").value.toLowerCase().split(/\s+/).filter(Boolean);
  const fits = (line) => ["kind", "method", "model"].every((name) => !field(name).value || line[name] === field(name).value)
    && words.every((word) => [...columns, "reason"].some((name) => String(line[name]).toLowerCase().includes(word)));
  const shown = lines.filter(fits).sort(compare);
  field("body").replaceChildren(...shown.map((line) => {
    const row = document.createElement("tr");
    for (const name of columns) {
      const cell = document.createElement("td");
      cell.className = name + (scores.has(name) || typeof line[name] === "number" ? " n" : "");
      cell.dir = "auto";
      if (name === "run") cell.append(...String(line.run).split(/(?<=[/\\])/).flatMap((part) => [part, document.createElement("wbr")]));
      else cell.textContent = written(line, name);
      if (name === "score") {
        const more = document.createElement("small");
        more.textContent = line.score === null ? line.reason : line.low === null ? "" : `${line.low.toFixed(2)} to ${line.high.toFixed(2)}`;
        cell.append(more);
      }
      if (name === "settings") cell.title = written(line, name);
      if (scores.has(name) && line[name] !== null) {
        const bar = document.createElement("i");
        bar.style.setProperty("--share", (100 * line[name]).toFixed(1) + "%");
        cell.append(bar);
      }
      row.append(cell);
    }
    return row;
  }));
  for (const cell of field("head").children) {
    cell.setAttribute("aria-sort", cell.dataset.name !== by ? "none" : down ? "descending" : "ascending");
  }
  field("count").textContent = `${shown.length} of ${lines.length} lines`;
}
show();
