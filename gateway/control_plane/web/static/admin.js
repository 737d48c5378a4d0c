// The back office's keyboard shortcuts. Each does what a link, a box or a field on the page does too; none sends a form.
// Keys of one letter can be turned off (WCAG 2.1.4), and never act while someone types.
const OFF = "admin-keys-off";
const keysAreOn = () => localStorage.getItem(OFF) === null;
const help = document.getElementById("keys");
let goes = false;

const showKeys = () => document.documentElement.classList.toggle("with-keys", keysAreOn());
showKeys();
if (help) {
  const box = help.querySelector("[data-keys-on]");
  box.checked = keysAreOn();
  box.addEventListener("change", () => {
    if (box.checked) localStorage.removeItem(OFF);
    else localStorage.setItem(OFF, "1");
    showKeys();
  });
}
document.addEventListener("click", (event) => {
  if (event.target.closest("[data-keys]")) help.showModal();
});

// On a phone the rail is one line, which scrolls to the link of the page that is open.
const here = document.querySelector(".rail [aria-current]");
const pages = here?.closest(".groups");
if (pages) pages.scrollLeft = here.offsetLeft - pages.offsetLeft - pages.clientWidth / 3;

const lines = () => [...document.querySelectorAll("[data-line]")];
const current = () => document.querySelector("[data-line].at");
const move = (by) => {
  const all = lines();
  if (!all.length) return;
  const at = all.indexOf(current());
  const next = all[Math.min(Math.max(at < 0 ? (by > 0 ? 0 : all.length - 1) : at + by, 0), all.length - 1)];
  current()?.classList.remove("at");
  next.classList.add("at");
  next.scrollIntoView({ block: "nearest" });
  next.querySelector("a[href], input, button")?.focus({ preventScroll: true });
};
const follow = (element) => {
  if (!element) return;
  if (element.matches("input, textarea, select")) { element.focus(); element.select?.(); } else element.click();
};
const mark = (box) => { if (box) { box.checked = !box.checked; box.dispatchEvent(new Event("change", { bubbles: true })); } };

// What each key does.
const actions = {
  "?": () => help?.showModal(),
  j: () => move(1),
  k: () => move(-1),
  a: () => follow(current()?.querySelector("a[data-first]")),
  s: () => follow(current()?.querySelector("a[data-snooze]")),
  x: () => mark(current()?.querySelector("input[name=ids]")),
  "[": () => follow(document.querySelector("a[rel=prev]")),
  "]": () => follow(document.querySelector("a[rel=next]")),
};

document.addEventListener("keydown", (event) => {
  const typing = event.target.closest("input:not([type=checkbox]), textarea, select, [contenteditable]");
  if (event.key === "k" && (event.metaKey || event.ctrlKey)) {
    event.preventDefault();
    follow(document.getElementById("find"));
    return;
  }
  if (event.key === "Escape" && typing) typing.blur();
  if (typing || help?.open || event.metaKey || event.ctrlKey || event.altKey) return;
  if (event.key === "Enter" && current() && !event.target.closest("a, button, summary, input")) {
    follow(current().querySelector("a[data-open], a[href]"));
    return;
  }
  if (!keysAreOn()) return;
  let act;
  if (goes) {
    const page = document.querySelector(`[data-go="${CSS.escape(event.key)}"]`);
    act = page && (() => follow(page));
  } else if (event.key === "g") {
    goes = true;
    setTimeout(() => { goes = false; }, 1500);
    return;
  } else if (/^[1-9]$/.test(event.key)) {
    const tab = document.querySelectorAll("[data-tabs] a")[event.key - 1];
    act = tab && (() => follow(tab));
  } else {
    const shown = document.querySelector(`[data-shortcut="${CSS.escape(event.key)}"]:not([hidden])`);
    act = shown ? () => follow(shown) : actions[event.key];
  }
  goes = false;
  if (!act) return;
  event.preventDefault();
  act();
});

// One box ticks all boxes of a list.
for (const all of document.querySelectorAll("[data-pick-all]")) {
  all.hidden = false;
  all.addEventListener("change", () => {
    for (const box of all.closest("table").querySelectorAll("input[name=ids]")) box.checked = all.checked;
  });
}

// A part that refreshes by itself doesn't while the focus is in it.
document.addEventListener("htmx:beforeRequest", (event) => {
  const part = event.detail.target;
  if (part.hasAttribute("hx-trigger") && part.contains(document.activeElement)) event.preventDefault();
});
