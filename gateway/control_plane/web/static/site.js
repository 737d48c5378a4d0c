// The script of every page: the search key, menus, copy buttons, fields at fault, double clicks, and what to say when no
// answer comes. Pages work without it: a copy button is hidden until there is a script for it.
document.documentElement.classList.add("scripted");

// "/" goes to the search field, unless someone types; a click beside an open menu closes it, and so does Escape.
document.addEventListener("keydown", (event) => {
  const menu = event.key === "Escape" && document.querySelector(".menu[open]");
  if (menu) { menu.open = false; menu.querySelector("summary").focus(); }
  const typing = event.target.closest("input:not([type=checkbox], [type=radio]), textarea, select");
  if (event.key !== "/" || typing || event.ctrlKey || event.metaKey || event.altKey) return;
  const field = document.querySelector(".find [data-search]");
  if (!field) return;
  event.preventDefault();
  field.focus();
  field.select();
});
document.addEventListener("click", (event) => {
  for (const menu of document.querySelectorAll(".menu[open]")) if (!menu.contains(event.target)) menu.open = false;
});

// A menu that scrolls shows the link of the page that is open.
for (const menu of document.querySelectorAll(".side, .rail, .rail > .groups")) {
  const here = menu.querySelector("[aria-current]");
  if (here) menu.scrollTo(here.offsetLeft - menu.clientWidth / 2, here.offsetTop - menu.clientHeight / 2);
}

document.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-copy]");
  if (!button) return;
  const source = document.getElementById(button.dataset.copy);
  await navigator.clipboard.writeText(source.textContent.trim());
  button.textContent = "Copied";
  setTimeout(() => { button.textContent = "Copy"; }, 1600);
});

// The language of code is chosen once, for all pages: the server reads the cookie.
document.addEventListener("change", (event) => {
  const chosen = event.target;
  if (!chosen.closest(".tabs > .names")) return;
  const secure = location.protocol === "https:" ? "; secure" : "";
  document.cookie = `code_language=${chosen.value}; path=/; max-age=31536000; samesite=lax${secure}`;
  const before = chosen.closest(".tabs").getBoundingClientRect().top;
  for (const other of document.querySelectorAll(".tabs > .names input")) {
    if (other.value === chosen.value) other.checked = true;
  }
  scrollBy(0, chosen.closest(".tabs").getBoundingClientRect().top - before); // what is above may have grown
});

// A page as Markdown, and the address of a heading.
const told = (button, words) => {
  const before = button.textContent;
  button.textContent = words;
  setTimeout(() => { button.textContent = before; }, 1600);
};
document.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-copy-from]");
  if (button) {
    const answer = await fetch(button.dataset.copyFrom);
    await navigator.clipboard.writeText(await answer.text());
    told(button, answer.ok ? "Copied" : "Not found");
  }
  const anchor = navigator.clipboard && event.target.closest("a.anchor");
  if (anchor) {
    await navigator.clipboard.writeText(anchor.href);
    told(anchor, "Copied");
  }
});

const showCopyButtons = (part) => {
  if (!navigator.clipboard) return; // plain http other than localhost: people select and copy by hand
  for (const button of part.querySelectorAll("[data-copy]")) button.hidden = false;
  for (const button of part.querySelectorAll("[data-copy-from]")) button.parentElement.hidden = false;
};
showCopyButtons(document);
document.addEventListener("htmx:afterSwap", (event) => showCopyButtons(event.target));

// A second click before the answer to the first would lose that answer: a key that is shown once, a
// session that a link began. After coming back to the page, or waiting, it can be sent again.
let sent = new WeakMap();
window.addEventListener("pageshow", () => { sent = new WeakMap(); });
document.addEventListener("submit", (event) => {
  const form = event.target;
  if (form.method !== "post" || form.hasAttribute("hx-post")) return;
  if (event.timeStamp - sent.get(form) < 5000) event.preventDefault();
  else sent.set(form, event.timeStamp);
});

// An answer that is swapped in leaves the form as it is, so the field that a notice blames is marked
// here, as the server does on a whole page.
document.addEventListener("htmx:afterSwap", (event) => {
  const form = event.detail.requestConfig.elt;
  if (!(form instanceof HTMLFormElement)) return;
  for (const old of form.querySelectorAll(".notice[data-field]")) {
    if (!event.detail.target.contains(old)) old.remove();  // it was there when the page was loaded
  }
  for (const field of form.querySelectorAll("[aria-invalid]")) {
    field.removeAttribute("aria-invalid");
    const ids = field.getAttribute("aria-describedby").split(" ");
    field.setAttribute("aria-describedby", ids.filter((id) => !id.endsWith("-problem")).join(" "));
  }
  const notice = event.detail.target.querySelector(".notice[data-field]");
  const field = notice && form.elements.namedItem(notice.dataset.field);
  if (!field) return;
  field.setAttribute("aria-invalid", "true");
  field.setAttribute("aria-describedby", `${notice.id} ${field.getAttribute("aria-describedby") ?? ""}`.trim());
});

document.addEventListener("htmx:sendError", (event) => {
  const notice = document.createElement("p");
  notice.className = "notice bad";
  notice.setAttribute("role", "alert");
  notice.textContent = "No answer: the connection failed. Try again.";
  event.detail.target.replaceChildren(notice);
});
