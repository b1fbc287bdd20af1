// Search of the answers. Without it everything on the page is readable all the same.
(() => {
  const field = document.getElementById("search");
  if (!field) return;
  field.closest("p").hidden = false;
  const found = document.getElementById("found");
  const answers = [...document.querySelectorAll(".answer")].map((element) => [element, element.textContent.toLowerCase()]);
  const contests = [...document.querySelectorAll(".contest")];
  field.addEventListener("input", () => {
    const wanted = field.value.trim().toLowerCase();
    let count = 0;
    for (const [element, text] of answers) {
      const isFound = text.includes(wanted);
      element.hidden = !isFound;
      count += isFound;
    }
    if (wanted) contests.forEach((contest) => (contest.open = true));
    found.textContent = wanted ? `${count} / ${answers.length}` : "";
  });
})();
