"use strict";
// The page works without this: it copies, opens and closes what can be opened, and opens what a link leads to.
for (const actions of document.querySelectorAll(".actions")) {
  actions.hidden = false;
  actions.addEventListener("click", (event) => {
    const open = event.target.dataset?.open;
    if (open) for (const each of document.querySelectorAll("details.call")) each.open = open === "true";
  });
}
// A button copies the text that stands behind it, as plain text.
const copy = async (button) => {
  const source = button.nextElementSibling;
  const text = source instanceof HTMLTemplateElement ? source.content.textContent : source.textContent;
  try {
    await navigator.clipboard.writeText(text);
    button.textContent = "Copied";
  } catch {
    const shown = source instanceof HTMLTemplateElement ? source.nextElementSibling : source;
    getSelection().selectAllChildren(shown);
    button.textContent = "Selected";
  }
  setTimeout(() => { button.textContent = "Copy"; }, 2000);
};
for (const button of document.querySelectorAll("button.copy")) {
  button.hidden = false;
  button.addEventListener("click", () => copy(button));
}
const follow = () => {
  const target = location.hash.length > 1 && document.getElementById(location.hash.slice(1));
  if (target instanceof HTMLDetailsElement) {
    for (let each = target; each; each = each.parentElement.closest("details")) each.open = true;
    target.querySelector("summary").focus({ preventScroll: true });
    target.scrollIntoView();
  }
};
addEventListener("hashchange", follow);
// A second click on the same link opens again what was closed in between.
addEventListener("click", (event) => { if (event.target.closest?.("a[href^='#']")?.hash === location.hash) follow(); });
follow();
// Calls are printed with their answers; prompts, parameters and the runs of a summary only if they are open.
const printed = () => document.querySelectorAll("details.call, details.layer, details.inside");
addEventListener("beforeprint", () => { for (const each of printed()) { each.dataset.was = each.open; each.open = true; } });
addEventListener("afterprint", () => { for (const each of printed()) each.open = each.dataset.was === "true"; });
