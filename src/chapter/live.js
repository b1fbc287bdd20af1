// Keeps the page up to date: the server says which sections have changed, and only those are fetched and patched in place.
// One stream of events serves all tabs of a browser: the tab that holds the lock tells the others.
(() => {
  const live = document.querySelector(".live");
  const connection = document.getElementById("connection");
  const announced = document.getElementById("announced");
  const shown = new Map(JSON.parse(live.dataset.state).sections);
  const find = (name) => document.querySelector(`[data-fragment="${name}"]`);
  const sentence = () => document.querySelector("#verdict .lead")?.textContent ?? "";

  // What a reader has typed, opened or chosen stays as it is.
  const isOwn = (element, attribute) => attribute === "open" && element.localName === "details";
  const key = (node) => (node.nodeType === 1 ? node.id || node.dataset.key || "" : "");

  function patch(old, fresh) {
    if (old.isEqualNode(fresh)) return;
    if (old.nodeName !== fresh.nodeName || key(old) !== key(fresh)) return old.replaceWith(fresh);
    if (old.nodeType !== 1) return void (old.nodeValue = fresh.nodeValue);
    for (const { name } of [...old.attributes]) if (!fresh.hasAttribute(name) && !isOwn(old, name)) old.removeAttribute(name);
    for (const { name, value } of fresh.attributes) {
      if (old.getAttribute(name) !== value && !isOwn(old, name)) old.setAttribute(name, value);
    }
    if (old.classList.contains("answer-of-server")) return;
    let at = old.firstChild;
    for (const child of [...fresh.childNodes]) {
      const same = key(child) && [...old.children].find((each) => key(each) === key(child) && each.nodeName === child.nodeName);
      if (same && same !== at) old.insertBefore(same, at);
      if (same) {
        at = same.nextSibling;
        patch(same, child);
      } else if (!at || key(at)) {
        old.insertBefore(child, at);
      } else {
        const next = at.nextSibling;
        patch(at, child);
        at = next;
      }
    }
    while (at) {
      const next = at.nextSibling;
      at.remove();
      at = next;
    }
  }

  /** Brings a section to what the server has; `before` is the one that stands before it. */
  async function bring(name, before) {
    const answer = await fetch(`/fragment/${name}`, { cache: "no-store" });
    if (answer.status === 204) return;
    if (!answer.ok) throw new Error(answer.status);
    const made = new DOMParser().parseFromString(await answer.text(), "text/html").body.firstElementChild;
    const old = find(name);
    if (old) patch(old, document.adoptNode(made));
    else if (before) before.after(made);
    else document.querySelector("main").prepend(made);
  }

  let wanted = null;
  let isBusy = false;
  async function take(state) {
    wanted = state;
    if (isBusy) return;
    isBusy = true;
    try {
      while (wanted) {
        const { sections } = wanted;
        wanted = null;
        const said = sentence();
        let before = null;
        let isChanged = false;
        for (const [name, digest] of sections) {
          if (shown.get(name) !== digest) {
            await bring(name, before);
            shown.set(name, digest);
            isChanged = true;
          }
          if (name !== "contents") before = find(name) ?? before;
        }
        const names = new Set(sections.map(([name]) => name));
        for (const name of [...shown.keys()].filter((name) => !names.has(name))) {
          find(name)?.remove();
          shown.delete(name);
          isChanged = true;
        }
        if (isChanged) document.dispatchEvent(new Event("patched"));
        if (sections.length > 1) document.getElementById("nothing")?.remove();
        if (sentence() !== said) announced.textContent = sentence();
      }
    } catch {
      // The next state says again what is wanted.
      for (const name of shown.keys()) shown.set(name, null);
      tell(false);
    } finally {
      isBusy = false;
    }
  }

  const tell = (isConnected) => (connection.hidden = isConnected);
  const channel = "BroadcastChannel" in window ? new BroadcastChannel("pipeline") : null;
  const hear = (message) => {
    tell(message.isConnected);
    if (message.state) take(message.state);
  };

  function lead() {
    let last = { isConnected: true, state: null };
    const say = (message) => {
      last = { ...last, ...message };
      hear(last);
      channel?.postMessage(last);
    };
    channel?.addEventListener("message", ({ data }) => data === "ask" && channel.postMessage(last));
    const listen = () => {
      const source = new EventSource("/events");
      source.onmessage = ({ data }) => say({ isConnected: true, state: JSON.parse(data) });
      source.onerror = () => {
        say({ isConnected: false, state: null });
        // The browser tries again by itself, unless the server has said no.
        if (source.readyState === EventSource.CLOSED) setTimeout(listen, 1000);
      };
    };
    listen();
    // Held for as long as the tab is there.
    return new Promise(() => {});
  }

  /** Without locks, as on a page that comes over plain HTTP from another machine, each tab asks for itself. */
  async function poll() {
    try {
      const answer = await fetch("/state", { cache: "no-store" });
      hear({ isConnected: answer.ok, state: answer.ok ? await answer.json() : null });
    } catch {
      tell(false);
    }
    setTimeout(poll, 1000);
  }

  if (navigator.locks && channel) {
    channel.addEventListener("message", ({ data }) => data !== "ask" && hear(data));
    navigator.locks.request("pipeline", lead);
    channel.postMessage("ask");
  } else {
    poll();
  }

  document.addEventListener("submit", async (event) => {
    const form = event.target;
    const path = form.dataset.post;
    if (!path) return;
    event.preventDefault();
    const said = form.querySelector(".answer-of-server");
    const fields = Object.fromEntries(new FormData(form, event.submitter));
    const buttons = [...form.querySelectorAll("button")];
    buttons.forEach((button) => (button.disabled = true));
    try {
      const answer = await fetch(`/${path}`, {
        method: "POST",
        headers: { "Content-Type": "application/json", "X-Pipeline": "page" },
        body: JSON.stringify(fields),
      });
      said.textContent = await answer.text();
    } catch {
      said.textContent = connection.textContent;
    }
    buttons.forEach((button) => (button.disabled = false));
  });
})();
