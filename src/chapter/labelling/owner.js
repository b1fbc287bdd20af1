// The numbers are asked for again while the page is looked at; a link is made by the server, which alone can.
(() => {
  const main = document.querySelector("main");
  const by = (id) => document.getElementById(id);
  const EVERY = 5000;
  // What it takes the server to count bounds how often it is asked to.
  const SHARE = 20;
  const look = async () => {
    const began = performance.now();
    try {
      const answer = document.hidden ? null : await fetch("overview", { cache: "no-store" });
      // The server has escaped every text in it.
      if (answer?.ok) by("overview").innerHTML = await answer.text();
    } catch {
      // The server is away; it is asked again.
    }
    setTimeout(look, Math.max(EVERY, SHARE * (performance.now() - began)));
  };
  setTimeout(look, EVERY);
  by("inviting")?.addEventListener("submit", async (event) => {
    event.preventDefault();
    const answer = await fetch(`invitation?as=${encodeURIComponent(by("invited").value.trim())}`, { cache: "no-store" });
    by("link").textContent = answer.ok ? new URL(`./${await answer.text()}`, location.href).href : main.dataset.noName;
  });
})();
