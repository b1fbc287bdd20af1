// Search of the answers. Without it everything on the page is readable all the same. What a live page changes is looked at
// anew: it says so by the event `patched`.
(() => {
  const all = (selector) => [...document.querySelectorAll(selector)];
  const search = (field) => {
    const wanted = field.value.trim().toLowerCase();
    let count = 0;
    for (const element of all(".answer")) {
      const isFound = element.textContent.toLowerCase().includes(wanted);
      element.hidden = !isFound;
      count += isFound;
    }
    if (wanted) all(".contest").forEach((contest) => (contest.open = true));
    document.getElementById("found").textContent = wanted ? `${count} / ${all(".answer").length}` : "";
  };
  const start = () => {
    const field = document.getElementById("search");
    if (!field) return;
    field.closest("p").hidden = false;
    if (field.value) search(field);
  };
  document.addEventListener("input", (event) => event.target.id === "search" && search(event.target));
  document.addEventListener("patched", start);
  start();
})();
