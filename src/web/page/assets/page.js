// Keeps the page as the agent is: fetches its content once a second while somebody can see it, and changes only what differs, so that
// focus, selection and what was opened stay. Without this file the page is whole, and as old as its last load.
"use strict";
(() => {
  const EVERY = 1000;
  const PATIENCE = 5000;
  const content = document.getElementById("content");
  const live = document.getElementById("live");
  const icon = document.querySelector("link[rel=icon]");
  let timer = 0;
  let asking = null;
  let goneSince = null;

  const clock = (at) => at.toISOString().slice(11, 19);

  const say = (words) => {
    if (live.textContent !== words) live.textContent = words;
  };

  // Elements of a list with data-key keep their place in the document with their key, others with their position.
  const key = (node) => node.nodeType === Node.ELEMENT_NODE ? node.id || node.dataset.key || "" : "";
  const alike = (one, other) =>
    one.nodeType === other.nodeType && one.nodeName === other.nodeName && key(one) === key(other);

  const morph = (old, now) => {
    if (old.nodeType !== Node.ELEMENT_NODE) {
      if (old.nodeValue !== now.nodeValue) old.nodeValue = now.nodeValue;
      return;
    }
    for (const { name } of [...old.attributes])
      // What the visitor opened stays open, and what was closed closed.
      if (!now.hasAttribute(name) && !(name === "open" && old.nodeName === "DETAILS")) old.removeAttribute(name);
    for (const { name, value } of now.attributes)
      if (old.getAttribute(name) !== value && !(name === "open" && old.nodeName === "DETAILS")) old.setAttribute(name, value);
    let at = old.firstChild;
    for (const wanted of [...now.childNodes]) {
      let found = at;
      while (found && !alike(found, wanted)) found = found.nextSibling;
      if (!found) {
        old.insertBefore(document.importNode(wanted, true), at);
        continue;
      }
      while (at !== found) {
        const gone = at;
        at = at.nextSibling;
        // What is focused is moved back rather than removed while its like may still come.
        gone.remove();
      }
      morph(found, wanted);
      at = found.nextSibling;
    }
    while (at) {
      const gone = at;
      at = at.nextSibling;
      gone.remove();
    }
  };

  const show = (html) => {
    const now = new DOMParser().parseFromString(`<main id="content" tabindex="-1">${html}</main>`, "text/html");
    morph(content, now.getElementById("content"));
    const verdict = content.querySelector(".verdict");
    const level = verdict.dataset.level;
    const parts = document.title.split(" · ");
    parts[0] = level[0].toUpperCase() + level.slice(1);
    if (document.title !== parts.join(" · ")) document.title = parts.join(" · ");
    if (icon.getAttribute("href") !== `/assets/${level}.svg`) icon.setAttribute("href", `/assets/${level}.svg`);
  };

  const update = async () => {
    clearTimeout(timer);
    asking?.abort();
    if (document.hidden) return;
    const mine = (asking = new AbortController());
    const patience = setTimeout(() => mine.abort(), PATIENCE);
    try {
      const answer = await fetch(`/fragment${location.search}`, { signal: mine.signal, headers: { accept: "text/html" } });
      if (!answer.ok) throw new Error(`it answers ${answer.status}`);
      const html = await answer.text();
      if (mine !== asking) return;
      show(html);
      goneSince = null;
      document.documentElement.classList.remove("gone");
      say("Updates by itself");
    } catch {
      if (mine !== asking) return;
      goneSince ??= new Date();
      document.documentElement.classList.add("gone");
      say(`The agent does not answer since ${clock(goneSince)} UTC; this is how it was before`);
    } finally {
      clearTimeout(patience);
    }
    if (mine === asking && !document.hidden) timer = setTimeout(update, EVERY);
  };

  document.addEventListener("visibilitychange", update);

  // The filter works while it is typed, and stays in the address.
  const search = (form) => {
    const words = new FormData(form).get("filter").trim();
    history.replaceState(null, "", words ? `/?filter=${encodeURIComponent(words)}` : "/");
    update();
  };
  content.addEventListener("input", (event) => {
    if (event.target.id === "filter") search(event.target.form);
  });
  content.addEventListener("submit", (event) => {
    if (event.target.id !== "search") return;
    event.preventDefault();
    search(event.target);
  });

  timer = setTimeout(update, EVERY);
})();
