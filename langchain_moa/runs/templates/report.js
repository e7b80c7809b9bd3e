
"use strict";
// The page works without this: it opens and closes what can be opened, and opens what a link leads to.
const all = () => document.querySelectorAll("details");
for (const actions of document.querySelectorAll(".actions")) {
  actions.hidden = false;
  actions.addEventListener("click", (event) => {
    const open = event.target.dataset?.open;
    if (open) for (const each of document.querySelectorAll("details.reference")) each.open = open === "true";
  });
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
follow();
// What is closed would not be printed.
addEventListener("beforeprint", () => { for (const each of all()) { each.dataset.was = each.open; each.open = true; } });
addEventListener("afterprint", () => { for (const each of all()) each.open = each.dataset.was === "true"; });
