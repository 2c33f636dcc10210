// What is new on a page. Without this script, each page still shows all that there was when it was asked for.
"use strict";

// A part of a page that a stream of the server replaces ("parts") or adds to ("lines") until it ends.
for (const at of document.querySelectorAll("[data-live]")) {
  const source = new EventSource(at.dataset.live);
  source.addEventListener("parts", (e) => replace(at, e.data));
  source.addEventListener("lines", (e) => {
    const bottom = innerHeight + scrollY >= document.body.scrollHeight - 40;
    at.insertAdjacentHTML("beforeend", e.data);
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

// The search in a log hides the lines without the text.
const input = document.querySelector("[data-search]");
input?.addEventListener("input", search);

function search() {
  if (!input) return;
  const text = input.value.toLowerCase();
  let found = 0;
  for (const line of document.getElementById(input.dataset.search).children) {
    line.hidden = text !== "" && !line.lastElementChild.textContent.toLowerCase().includes(text);
    found += line.hidden ? 0 : 1;
  }
  document.querySelector("[data-found]").textContent = text ? found + " lines" : "";
}
