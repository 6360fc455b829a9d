"use strict";
// A link to a finding opens it; paper shows all of them.
function reveal() {
  const target = location.hash.length > 1 && document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (target && target.tagName === "DETAILS") target.open = true;
}
addEventListener("hashchange", reveal);
reveal();
let closed = [];
addEventListener("beforeprint", () => {
  closed = [...document.querySelectorAll("details:not([open])")];
  for (const finding of closed) finding.open = true;
});
addEventListener("afterprint", () => { for (const finding of closed) finding.open = false; });
