// The page works without this. It updates what changes, and filters while the reader types.
(() => {
  "use strict";
  const REFRESH = 5000, PAUSE = 250;

  async function load(url, signal) {
    const response = await fetch(url, {headers: {accept: "text/html"}, credentials: "same-origin", signal});
    if (response.redirected) { location.reload(); throw new Error("logged out"); }
    if (!response.ok && response.status !== 404) throw new Error(String(response.status));
    return new DOMParser().parseFromString(await response.text(), "text/html");
  }

  // Replaces an element; what is open stays open, and the focus and the scroll position stay where they are.
  function replace(old, next) {
    const focused = old.contains(document.activeElement) ? document.activeElement.id : "";
    const scrolled = [...old.querySelectorAll(".scroll")].map((each) => each.scrollLeft);
    for (const details of old.querySelectorAll("details[open]")) {
      const same = next.querySelector("#" + CSS.escape(details.id));
      if (same) same.open = true;
    }
    old.replaceWith(next);
    next.querySelectorAll(".scroll").forEach((each, place) => { each.scrollLeft = scrolled[place] || 0; });
    if (focused) document.getElementById(focused)?.focus({preventScroll: true});
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
    const isBusy = () => {
      const active = document.activeElement;
      const unnamed = active && active.closest("[data-live]") && !active.id;
      return isPaused || document.hidden || unnamed || !getSelection().isCollapsed;
    };
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
        if (connection.textContent) connection.textContent = "";
      } catch (error) {
        const text = "Not updated: the server does not respond.";
        if (connection.textContent !== text) connection.textContent = text;
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
