// The page works without this script, which updates the first page and applies filters during typing.
(() => {
  "use strict";
  const REFRESH = 5000, PAUSE = 250;

  async function load(url, signal) {
    const response = await fetch(url, {headers: {accept: "text/html"}, credentials: "same-origin", signal});
    if (response.redirected) { location.reload(); throw new Error("logged out"); }
    if (!response.ok && response.status !== 404) throw new Error(String(response.status));
    return new DOMParser().parseFromString(await response.text(), "text/html");
  }

  // The elements that can have the focus and correspond to an element: same id or same link, in the same part.
  function counterparts(root, element) {
    const nameOf = (each) => each.tagName + " " + (each.id || each.getAttribute("href") || each.closest("[id]")?.id);
    return [...root.querySelectorAll("a, button, summary, [tabindex]")].filter((each) => nameOf(each) === nameOf(element));
  }

  // Replaces an element. Open details stay open; the focus and the scroll position are kept.
  function replace(old, next) {
    const focused = old.contains(document.activeElement) ? document.activeElement : null;
    const same = focused ? counterparts(next, focused) : [];
    const target = focused && (same[counterparts(old, focused).indexOf(focused)] || same[0] || next);
    const scrolled = [...old.querySelectorAll(".scroll")].map((each) => each.scrollLeft);
    for (const details of old.querySelectorAll("details[open]")) {
      const same = next.querySelector("#" + CSS.escape(details.id));
      if (same) same.open = true;
    }
    old.replaceWith(next);
    next.querySelectorAll(".scroll").forEach((each, place) => { each.scrollLeft = scrolled[place] || 0; });
    if (target === next) next.tabIndex = -1;  // the keyboard continues in the same part
    if (target) target.focus({preventScroll: true});
  }

  const live = document.querySelector("[data-live]");
  if (live) {
    const pause = document.getElementById("pause"), connection = document.getElementById("connection");
    let isPaused = false;
    pause.hidden = false;
    pause.addEventListener("click", () => {
      isPaused = !isPaused;
      pause.textContent = isPaused ? "Resume updates" : "Pause updates";
    });
    const say = (text) => { if (connection.textContent !== text) connection.textContent = text; };
    const isSelecting = () => !getSelection().isCollapsed;
    const isBusy = () => isPaused || document.hidden || isSelecting();
    const refresh = async () => {
      try {
        if (!isBusy()) {
          const page = await load(location.pathname);
          if (!isBusy()) {
            for (const old of document.querySelectorAll("[data-live]")) {
              const next = page.getElementById(old.id);
              if (next && next.innerHTML !== old.innerHTML) replace(old, document.adoptNode(next));
            }
            document.title = page.title;
          }
        }
        say(isSelecting() && !isPaused ? "Updates continue when no text is selected." : "");
      } catch (error) {
        say("Not updated: the server does not respond.");
      }
      setTimeout(refresh, REFRESH);
    };
    setTimeout(refresh, REFRESH);
  }

  const form = document.querySelector("form[data-filter]");
  if (form) {
    let timer = 0, request = new AbortController();
    const update = async () => {
      request.abort();
      request = new AbortController();
      const query = new URLSearchParams([...new FormData(form)].filter(([, value]) => value));
      const url = form.getAttribute("action") + (query.size ? "?" + query : "");
      try {
        const page = await load(url, request.signal);
        replace(document.getElementById("found"), document.adoptNode(page.getElementById("found")));
        history.replaceState(null, "", url);
      } catch (error) {
        if (error.name !== "AbortError") form.submit();
      }
    };
    form.addEventListener("input", () => { clearTimeout(timer); timer = setTimeout(update, PAUSE); });
  }
})();
