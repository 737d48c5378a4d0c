// Shows the numbers of one bar of a chart: the one that someone points at, touches, or reaches with
// the arrow keys. They come from the table below the chart, which is also there without a script.
const rowsOf = (chart) => [...chart.querySelectorAll("[data-numbers] tr")]
  .map((row) => ({ row, slot: Number(row.dataset.slot) })).sort((one, other) => one.slot - other.slot);

const tell = (chart, found) => {
  const mark = chart.querySelector("[data-at]");
  mark.setAttribute("x", found.slot * Number(mark.getAttribute("width")));
  mark.setAttribute("visibility", "visible");
  const names = [...chart.querySelectorAll("thead th")].map((cell) => cell.textContent.trim());
  const [title, ...values] = [...found.row.cells].map((cell) => cell.textContent.trim());
  const numbers = values.map((value, at) => (values.length > 1 ? `${names[at + 1]} ${value}` : value));
  chart.querySelector("[data-readout]").textContent = `${title}: ${numbers.join(" · ")}`;
  chart.dataset.slot = found.slot;
};

const pointed = (event) => {
  const plot = event.target.closest?.("[data-plot]");
  if (!plot) return;
  const chart = plot.closest("[data-chart]");
  const box = plot.getBoundingClientRect();
  const mark = chart.querySelector("[data-at]");
  const width = plot.querySelector("svg").viewBox.baseVal.width;
  const slot = Math.floor(((event.clientX - box.left) / box.width) * width / Number(mark.getAttribute("width")));
  const found = rowsOf(chart).find((one) => one.slot === slot);
  if (found) tell(chart, found);
};
document.addEventListener("pointermove", pointed);
document.addEventListener("pointerdown", pointed);

document.addEventListener("keydown", (event) => {
  const plot = event.target.closest?.("[data-plot]");
  if (!plot || !["ArrowLeft", "ArrowRight", "Home", "End"].includes(event.key)) return;
  const chart = plot.closest("[data-chart]");
  const rows = rowsOf(chart);
  const here = rows.findIndex((one) => String(one.slot) === chart.dataset.slot);
  const last = rows.length - 1;
  const next = { ArrowLeft: here < 0 ? last : here - 1, ArrowRight: here + 1, Home: 0, End: last }[event.key];
  event.preventDefault();
  tell(chart, rows[Math.min(Math.max(next, 0), last)]);
});

const ready = (part) => {
  for (const plot of part.querySelectorAll("[data-plot]")) plot.tabIndex = 0;
};
ready(document);
document.addEventListener("htmx:afterSettle", () => ready(document));

// On a phone the console's links are one row, which scrolls to the link of this page.
document.querySelector(".of-console > .side [aria-current]")?.scrollIntoView({ inline: "center", block: "nearest" });
