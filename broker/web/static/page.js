// Brings the parts of a page that are marked data-live up to date, once a second while it is looked
// at, from the page's own address. Everything else works without this file.
"use strict";

const PERIOD_MS = 1000;
const TIMEOUT_MS = 10000;
const lost = document.getElementById("lost");

async function refresh() {
  const answer = await fetch(location.pathname, { signal: AbortSignal.timeout(TIMEOUT_MS) });
  if (answer.status === 401 || answer.status === 404) {
    location.reload();
    return false;
  }
  if (answer.status === 429) return true;
  if (!answer.ok) throw new Error(answer.statusText);
  const found = new DOMParser().parseFromString(await answer.text(), "text/html");
  if (document.title !== found.title) document.title = found.title;
  for (const part of document.querySelectorAll("[data-live]")) {
    const news = found.getElementById(part.id);
    if (news && !news.isEqualNode(part)) replace(part, news);
  }
  return document.querySelector("[data-over=yes]") === null;
}

// The element itself stays, so that what is said in it is read out where its role is `status`; and
// the focus stays where it was: on the same link, or the same place of the same text.
function replace(part, news) {
  const held = part.contains(document.activeElement) ? document.activeElement : null;
  const href = held && held.getAttribute("href");
  const tops = [...part.querySelectorAll("pre, ol")].map((each) => each.scrollTop);
  for (const name of news.getAttributeNames()) part.setAttribute(name, news.getAttribute(name));
  part.replaceChildren(...document.adoptNode(news).childNodes);
  [...part.querySelectorAll("pre, ol")].forEach((each, i) => { each.scrollTop = tops[i] || 0; });
  if (held) {
    const same = [...part.querySelectorAll(held.tagName)];
    (same.find((each) => each.getAttribute("href") === href) || document.getElementById("content")).focus();
  }
}

async function watch() {
  let goesOn = true;
  if (!document.hidden) {
    try {
      goesOn = await refresh();
      lost.hidden = true;
    } catch {
      lost.hidden = false;
    }
  }
  if (goesOn) setTimeout(watch, PERIOD_MS);
}

// An upload takes a while: say so, and do not send it twice. One that is too large is not begun.
for (const form of document.querySelectorAll("form[data-max]")) {
  form.addEventListener("submit", (event) => {
    const files = [...form.querySelectorAll("input[type=file]")].flatMap((each) => [...each.files]);
    const bytes = files.reduce((sum, file) => sum + file.size, 0);
    const told = document.getElementById("sending");
    told.hidden = false;
    if (bytes > Number(form.dataset.max)) {
      told.className = "notice bad";
      told.textContent = `This is larger than ${Math.floor(form.dataset.max / 1048576)} MiB, the most that is taken: choose a smaller file.`;
      event.preventDefault();
      return;
    }
    told.className = "notice";
    told.textContent = bytes > 100000 ? `Sending ${(bytes / 1048576).toFixed(1)} MiB …` : "Sending …";
    form.querySelector("button").disabled = true;
  });
}

// Coming back to a form by the browser's own button finds it usable again.
addEventListener("pageshow", () => {
  for (const each of document.querySelectorAll("form[data-max] button")) each.disabled = false;
});

if (document.querySelector("[data-live]")) setTimeout(watch, PERIOD_MS);
