// What is new on a page. Without this script, each page still shows all that there was when it was asked for.
"use strict";

// A part of a page that a stream of the server replaces ("parts") or adds to ("lines") until it ends.
for (const at of document.querySelectorAll("[data-live]")) {
  const source = new EventSource(at.dataset.live);
  source.addEventListener("parts", (e) => replace(at, e.data));
  source.addEventListener("lines", (e) => {
    const bottom = innerHeight + scrollY >= document.body.scrollHeight - 40;
    at.insertAdjacentHTML("beforeend", e.data);
    foldable();
    search();
    if (bottom) scrollTo(0, document.body.scrollHeight);
  });
  source.addEventListener("end", () => {
    source.close();
    if (at.id === "parts") location.reload(); // the buttons change with the end
  });
}

// A panel that is asked for again and again, while the page is looked at.
for (const at of document.querySelectorAll("[data-panel]")) {
  const draw = async () => {
    if (!document.hidden && !busy(at)) {
      try {
        const answer = await fetch(at.dataset.panel);
        if (answer.redirected) return location.reload(); // the session has ended
        replace(at, await answer.text());
      } catch {
        at.classList.add("stale"); // the server is away; it is asked again
      }
    }
    setTimeout(draw, 1000 * at.dataset.every);
  };
  draw();
}

// A page that is drawn again, while it is looked at, until what it shows has ended.
for (const at of document.querySelectorAll("[data-refresh]")) {
  const again = () => (document.hidden ? setTimeout(again, 1000) : location.reload());
  setTimeout(again, 1000 * at.dataset.refresh);
}

// Nothing is taken away under somebody's hands.
function busy(at) {
  const active = document.activeElement;
  return at.contains(active) && ["INPUT", "SELECT"].includes(active.tagName) && active.value !== "";
}

function replace(at, html) {
  const open = new Set([...at.querySelectorAll("details[open] > summary")].map((s) => s.textContent));
  at.innerHTML = html;
  for (const s of at.querySelectorAll("details > summary")) if (open.has(s.textContent)) s.parentElement.open = true;
}

// A line that is not of a program begins a part of a log, which can be folded. A link to a line unfolds its part.
function foldable() {
  for (const head of document.querySelectorAll(".log > .engine:not(:has(button))")) {
    const button = document.createElement("button");
    button.className = "quiet";
    button.addEventListener("click", () => fold(head, button.ariaExpanded === "true"));
    head.insertBefore(button, head.lastElementChild);
    fold(head, false);
  }
}

function fold(head, folded) {
  const button = head.querySelector("button");
  button.textContent = folded ? "+" : "−";
  button.ariaExpanded = String(!folded);
  button.ariaLabel = folded ? "Show the lines of this part" : "Fold the lines of this part";
  for (let line = head.nextElementSibling; line && !line.matches(".engine"); line = line.nextElementSibling) line.classList.toggle("folded", folded);
}

addEventListener("hashchange", () => {
  let head = document.querySelector(":target.folded");
  while (head && !head.matches(".engine")) head = head.previousElementSibling;
  if (head) fold(head, false);
});
foldable();

// The search in a log hides the lines without the text, and looks into what is folded.
const input = document.querySelector("[data-search]");
input?.addEventListener("input", search);

function search() {
  if (!input) return;
  const text = input.value.toLowerCase();
  const log = document.getElementById(input.dataset.search);
  log.classList.toggle("searched", text !== "");
  let found = 0;
  for (const line of log.children) {
    line.hidden = text !== "" && !line.lastElementChild.textContent.toLowerCase().includes(text);
    found += line.hidden ? 0 : 1;
  }
  document.querySelector("[data-found]").textContent = text ? found + " lines" : "";
}
