// The only script of our own: copy buttons, and what to say when no answer comes. Pages work without
// it: a copy button is hidden until there is a script to obey it.
document.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-copy]");
  if (!button) return;
  const source = document.getElementById(button.dataset.copy);
  await navigator.clipboard.writeText(source.textContent.trim());
  const label = button.textContent;
  button.textContent = "Copied";
  setTimeout(() => { button.textContent = label; }, 1600);
});

const showCopyButtons = (part) => {
  for (const button of part.querySelectorAll("[data-copy]")) button.hidden = false;
};
showCopyButtons(document);
document.addEventListener("htmx:afterSwap", (event) => showCopyButtons(event.target));

document.addEventListener("htmx:sendError", (event) => {
  const notice = document.createElement("p");
  notice.className = "notice bad";
  notice.setAttribute("role", "alert");
  notice.textContent = "No answer: the connection failed. Try again.";
  event.detail.target.replaceChildren(notice);
});
