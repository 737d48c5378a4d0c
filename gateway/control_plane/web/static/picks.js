// Models that are ticked for comparison stay ticked while someone sorts, filters and turns pages.
// Without this script, the ticks of one page are compared.
const KEY = "picks";

const read = () => {
  try { return JSON.parse(sessionStorage.getItem(KEY)) ?? []; } catch { return []; }
};

const show = (picked) => {
  const form = document.querySelector(".picks");
  if (!form) return;
  const most = Number(form.dataset.picks);
  const boxes = [...form.querySelectorAll("input[type=checkbox]")];
  for (const box of boxes) {
    box.checked = picked.includes(box.value);
    box.disabled = !box.checked && picked.length >= most;
  }
  const here = new Set(boxes.map((box) => box.value));
  const elsewhere = picked.filter((id) => !here.has(id));
  for (const old of form.querySelectorAll("input[type=hidden]")) old.remove();
  for (const id of elsewhere) {
    const field = document.createElement("input");
    field.type = "hidden";
    field.name = "model";
    field.value = id;
    form.append(field);
  }
  form.classList.toggle("picked", picked.length > 0);
  form.querySelector(".tray .count").textContent = picked.length;
  form.querySelector(".tray .chosen").textContent = picked.map((id) => id.split("/").pop()).join(" · ");
};

const keep = (picked) => {
  sessionStorage.setItem(KEY, JSON.stringify(picked));
  show(picked);
};

document.addEventListener("change", ({ target }) => {
  if (!target.matches(".picks input[type=checkbox]")) return;
  const others = read().filter((id) => id !== target.value);
  keep(target.checked ? [...others, target.value] : others);
});
document.addEventListener("reset", (event) => {
  if (!event.target.matches(".picks")) return;
  event.preventDefault();
  keep([]);
});
document.addEventListener("htmx:afterSwap", () => show(read()));
window.addEventListener("pageshow", () => show(read()));
