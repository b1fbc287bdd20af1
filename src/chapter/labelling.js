// One question at a time. What a person chose is kept in this browser until the server says that it is on its disk, and sent
// in its order. Keys go by their place on the keyboard (`code`), and mean nothing while a word is being composed.
(() => {
  const { stage, queue: kept, form, criteria, words, ...given } = JSON.parse(document.querySelector("main").dataset.page);
  const by = (id) => document.getElementById(id);
  const fill = (phrase, values) => phrase.replace(/\{(\w+)\}/g, (_, name) => values[name]);
  const letter = (at) => String.fromCharCode(65 + at);
  const random = () => [...crypto.getRandomValues(new Uint8Array(12))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  const make = (name, properties = {}, ...children) => {
    const element = Object.assign(document.createElement(name), properties);
    element.append(...children);
    return element;
  };
  // The second click of a double one would choose for the question after it.
  const button = (text, act) => make("button", { type: "button", textContent: text, onclick: ({ detail }) => detail > 1 || act() });

  // The questions that are ready at least, so that a server that is away for a while stops nobody.
  const AHEAD = 5;
  /** The time after which a page that has nothing asks again. */
  const AGAIN = 30_000;
  let person = given.person ?? localStorage.getItem("pipeline-person");
  let tasks = [];
  let shown = null;
  let history = [];
  let since = 0;
  let choice = null;
  const judged = new Set();
  /** Whether the server has said that it has nothing. */
  let isOver = false;
  let timer = null;
  /** The choice that a suggestion is shown after: the client id of the choice, and the ranks once they are there. */
  let second = null;

  // ---------------------------------------------------------------------------------------- what is not saved yet
  // Each under a key of its own, by its time: several tabs of one browser take nothing from each other. A tab begins with all
  // that is there; what two of them send is one label, by its client id.
  const place = `pipeline-labels ${stage} ${kept} `;
  const queue = Object.keys(localStorage).filter((key) => key.startsWith(place)).sort();
  const refusedPlace = `pipeline-refused ${stage} ${kept} `;
  let isSending = false;
  let isStuck = false;
  let lastTime = 0;
  const tell = (text) => (by("saved").textContent = text);

  async function send() {
    if (isSending) return;
    isSending = true;
    while (queue.length) {
      const entry = JSON.parse(localStorage.getItem(queue[0]));
      if (!entry) {
        // Another tab has sent it.
        queue.shift();
        if (second && !second.ranks) suggest(null);
        continue;
      }
      let answer = null;
      try {
        answer = await fetch(entry.path, {
          method: "POST",
          headers: { "Content-Type": "application/json", "X-Pipeline": "page" },
          body: JSON.stringify(entry.body),
        });
      } catch {
        // The server is away.
      }
      // These say that it will never be taken. It is kept apart, so that nothing that a person chose is lost.
      const isRefused = [400, 413, 422].includes(answer?.status);
      if (answer?.ok || isRefused) {
        const key = queue.shift();
        if (isRefused) localStorage.setItem(key.replace(place, refusedPlace), localStorage.getItem(key));
        localStorage.removeItem(key);
        if (second?.client === entry.body.client) suggest(answer.status === 200 ? await answer.json() : null);
        isStuck = false;
        tell(answer.ok ? words.saved : words.refused);
        continue;
      }
      // Nobody waits for a suggestion that does not come.
      if (second && !second.ranks) suggest(null);
      isStuck = answer?.status === 507;
      const isOfOther = [401, 403].includes(answer?.status);
      tell(isStuck ? words.disk : isOfOther ? words.ofOther : fill(words.notSaved, { count: queue.length }));
      block(isStuck);
      await new Promise((done) => setTimeout(done, 1000));
    }
    block(false);
    isSending = false;
    if (tasks.length < AHEAD) await more();
  }

  const block = (isBlocked) => (by("task").inert = isBlocked);

  function put(path, body) {
    lastTime = Math.max(lastTime + 1, Date.now() * 1000);
    const key = `${place}${String(lastTime).padStart(17, "0")} ${body.client}`;
    localStorage.setItem(key, JSON.stringify({ path, body }));
    queue.push(key);
    send();
  }

  // ---------------------------------------------------------------------------------------- what comes next
  async function more() {
    if (queue.length) return;
    let answer;
    try {
      answer = await fetch(`tasks?as=${encodeURIComponent(person)}`, { cache: "no-store" });
    } catch {
      return setTimeout(more, 1000);
    }
    if (answer.status === 422) {
      tell(words.noName);
      return ask();
    }
    if (answer.status === 403) tell(words.ofOther);
    if (!answer.ok) return setTimeout(more, answer.status === 403 ? AGAIN : 1000);
    const { tasks: fresh, more: needed, ...count } = await answer.json();
    const settling = needed === null ? "" : ` · ${fill(words.more, { more: needed })}`;
    by("count").textContent = fill(words.count, count) + settling;
    const known = new Set([...tasks, shown].filter(Boolean).map(({ task }) => task));
    tasks.push(...fresh.filter(({ task }) => !known.has(task) && !judged.has(task)));
    isOver = count.done >= count.needed || !fresh.length;
    // Items that others were shown, and do not judge, come to this person after a while.
    clearTimeout(timer);
    if (!fresh.length && count.done < count.needed) timer = setTimeout(more, AGAIN);
    if (!shown) next();
    else if (by("task").hidden) show();
  }

  function next() {
    shown = tasks.shift() ?? null;
    second = null;
    show();
    if (shown && tasks.length < AHEAD) more();
  }

  function show() {
    by("who").hidden = true;
    by("moves").hidden = false;
    by("task").hidden = !shown;
    by("done").hidden = !!shown || !isOver || queue.length > 0;
    by("skip").disabled = !shown;
    by("undo").disabled = !history.length;
    if (!shown) return;
    choice = null;
    since = performance.now();
    by("note").value = "";
    by("noting").open = false;
    // The server has escaped every text in it.
    by("prompt").innerHTML = shown.prompt;
    const answers = shown.answers.map((html, at) => {
      const name = fill(words.answer, { letter: letter(at) });
      const text = make("div", { className: "text", innerHTML: html });
      return make("article", { className: "candidate", ariaLabel: name }, make("h3", { textContent: name }), text);
    });
    by("answers").replaceChildren(...answers);
    by("answers").className = answers.length === 2 ? "two" : "several";
    by("controls").replaceChildren(...FORMS[form].controls(answers));
    by("suggestion").hidden = !second?.ranks;
    scrollTo(0, 0);
    if (isStuck) block(true);
  }

  function judge(judgement) {
    if (isStuck || !shown) return;
    if (second) return again(judgement);
    const { task, order } = shown;
    const client = random();
    const note = by("note").value.trim() || null;
    const seconds = (performance.now() - since) / 1000;
    judged.add(task);
    const isSuggested = shown.suggests && judgement !== "skip";
    if (isSuggested) second = { client, order, judgement, ranks: null };
    history.push({ ...shown, client, second });
    put("take", { person, task, order, judgement, seconds, client, note });
    if (!isSuggested) next();
  }

  /** Shows what a model would have chosen, once the person's own choice is on the disk. */
  function suggest(suggestion) {
    if (!suggestion) return next();
    second.ranks = suggestion.ranks;
    suggested();
  }

  function suggested() {
    const groups = [...new Set(second.ranks)].sort((one, other) => one - other);
    const order = groups.map((rank) => second.ranks.flatMap((own, at) => (own === rank ? [letter(at)] : [])).join(" = ")).join(" > ");
    const keepIt = button(words.keep, () => again(second.judgement));
    const line = make("p", { className: "order", textContent: fill(words.suggested, { order }) });
    by("suggestion").replaceChildren(line, make("p", { textContent: words.asYours }), make("p", { className: "buttons" }, keepIt));
    by("suggestion").hidden = false;
    keepIt.focus();
  }

  /** The choice after a suggestion: the same, or another one. Both are kept. */
  function again(judgement) {
    if (!second.ranks || judgement === "skip") return;
    put("second", { person, of: second.client, order: second.order, judgement, client: random() });
    next();
  }

  function undo() {
    const last = history.pop();
    if (!last) return;
    if (last.second?.ranks) {
      // The person has seen what is suggested: they may choose again, and what they chose before that stays their own choice.
      if (shown && shown.task !== last.task) tasks.unshift(shown);
      [shown, second] = [last, last.second];
      show();
      return suggested();
    }
    put("undo", { person, of: last.client, client: random() });
    judged.delete(last.task);
    if (shown && shown.task !== last.task) tasks.unshift(shown);
    [shown, second] = [last, null];
    show();
  }

  // ---------------------------------------------------------------------------------------- the forms
  const digit = (code) => /^(?:Digit|Numpad)([1-9])$/.exec(code)?.[1];

  const pairs = {
    controls: () => [
      make("p", { className: "buttons" },
        button(fill(words.better, { letter: "A" }), () => judge({ pair: "first" })), " ",
        button(words.tie, () => judge({ pair: "tie" })), " ",
        button(fill(words.better, { letter: "B" }), () => judge({ pair: "second" })), " ",
        button(words.bothBad, () => judge({ pair: "both_bad" }))),
    ],
    key: ({ code, key, shiftKey }) => {
      const chosen = digit(code) ?? { ArrowLeft: "1", ArrowRight: "2", ArrowDown: "=", KeyB: "b" }[code];
      const isTie = chosen === "=" || code === "Equal" || code === "NumpadEqual" || key === "=" || (code === "Minus" && shiftKey);
      if (chosen === "1") return judge({ pair: "first" }), true;
      if (chosen === "2") return judge({ pair: "second" }), true;
      if (isTie) return judge({ pair: "tie" }), true;
      if (chosen === "b") return judge({ pair: "both_bad" }), true;
      return false;
    },
  };

  /**
   * Answers are chosen from the best to the worst; none can be sent before all are. Those that are chosen stand in a list, in
   * which each can be moved: dragged, by mouse or finger, or by the arrows when it has the focus.
   */
  const ranking = {
    controls: (answers) => {
      // `order`: the chosen answers, each with whether it ties with the one before.
      choice = { order: [], ties: false };
      const list = make("ol", { className: "order", ariaLabel: words.order });
      const line = make("p", { className: "order", ariaLive: "polite" });
      const sendIt = button(words.send, () => ranking.send());
      const tie = button(words.tiedWith, () => ranking.tie());
      choice.draw = () => {
        const { order } = choice;
        line.textContent = order.map(({ at, isTied }, place) => (place ? (isTied ? " = " : " > ") : "") + letter(at)).join("") + (choice.ties ? " = …" : "");
        answers.forEach((answer, at) => answer.classList.toggle("ranked", order.some((one) => one.at === at)));
        list.hidden = !order.length;
        const focused = list.contains(document.activeElement) ? Number(document.activeElement.dataset.at) : null;
        list.replaceChildren(...order.map(({ at }, place) => ranking.item(at, place)));
        if (focused !== null) list.querySelector(`[data-at="${focused}"]`)?.focus();
        sendIt.disabled = order.length < answers.length;
        tie.disabled = !order.length;
        tie.ariaPressed = String(choice.ties);
      };
      answers.forEach((answer, at) => answer.append(button(letter(at), () => ranking.take(at))));
      choice.draw();
      return [line, list, make("p", { className: "buttons" }, tie, " ", button(words.clear, () => ranking.clear()), " ", sendIt)];
    },
    take: (at) => {
      if (at >= shown.answers.length || choice.order.some((one) => one.at === at)) return;
      choice.order.push({ at, isTied: choice.ties });
      choice.ties = false;
      choice.draw();
    },
    /** An answer in the list of those that are chosen. */
    item: (at, place) => {
      const name = fill(words.answer, { letter: letter(at) });
      const item = make("li", { textContent: name, tabIndex: 0 });
      Object.assign(item.dataset, { at, place });
      item.onkeydown = ({ code }) => {
        const step = { ArrowUp: -1, ArrowLeft: -1, ArrowDown: 1, ArrowRight: 1 }[code];
        if (step) ranking.move(at, place + step);
      };
      item.onpointerdown = (event) => {
        event.preventDefault();
        item.focus();
        const over = ({ clientX, clientY }) => document.elementFromPoint(clientX, clientY)?.closest("ol.order li");
        const moved = (event) => over(event) && ranking.move(at, Number(over(event).dataset.place));
        addEventListener("pointermove", moved);
        const end = () => removeEventListener("pointermove", moved);
        addEventListener("pointerup", end, { once: true });
        addEventListener("pointercancel", end, { once: true });
      };
      return item;
    },
    /** Moves an answer to a place in the list. It ties with nothing there, and what tied with it ties on. */
    move: (at, place) => {
      const { order } = choice;
      const from = order.findIndex((one) => one.at === at);
      if (place < 0 || place >= order.length || place === from) return;
      const [one] = order.splice(from, 1);
      if (!one.isTied && order[from]) order[from].isTied = false;
      order.splice(place, 0, { at, isTied: false });
      if (order[place + 1]) order[place + 1].isTied = false;
      order[0].isTied = false;
      choice.draw();
    },
    tie: () => {
      choice.ties = choice.order.length > 0 && !choice.ties;
      choice.draw();
    },
    clear: () => {
      Object.assign(choice, { order: [], ties: false });
      choice.draw();
    },
    send: () => {
      if (choice.order.length < shown.answers.length) return;
      const ranks = [];
      let rank = 0;
      for (const { at, isTied } of choice.order) ranks[at] = rank += isTied ? 0 : 1;
      judge({ ranking: ranks });
    },
    key: ({ code, key, shiftKey }) => {
      if (digit(code)) return ranking.take(Number(digit(code)) - 1), true;
      if (code === "Equal" || key === "=" || (code === "Minus" && shiftKey)) return ranking.tie(), true;
      if (code === "Backspace") return ranking.clear(), true;
      if (code === "Enter" || code === "NumpadEnter") return ranking.send(), true;
      return false;
    },
  };

  const ratings = {
    controls: (answers) => {
      answers.forEach((answer, at) => {
        for (const { name, question, scale: [low, high] } of criteria) {
          const group = make("fieldset", {}, make("legend", { textContent: question }));
          for (let rating = low; rating <= high; rating++) {
            const input = make("input", { type: "radio", name: `${at} ${name}`, value: rating, onchange: () => ratings.draw() });
            group.append(make("label", {}, input, ` ${rating} `));
          }
          answer.append(group);
        }
      });
      choice = button(words.send, () => ratings.send());
      choice.disabled = true;
      return [make("p", { className: "buttons" }, choice)];
    },
    said: (at, name) => by("answers").querySelector(`input[name="${CSS.escape(`${at} ${name}`)}"]:checked`)?.value,
    all: () => criteria.map(({ name }) => [name, shown.answers.map((_, at) => ratings.said(at, name))]),
    draw: () => (choice.disabled = ratings.all().some(([, values]) => values.includes(undefined))),
    send: () => ratings.all().some(([, values]) => values.includes(undefined)) || judge({ ratings: Object.fromEntries(ratings.all().map(([name, values]) => [name, values.map(Number)])) }),
    key: ({ code }) => (code === "Enter" || code === "NumpadEnter" ? (ratings.send(), true) : false),
  };

  const edit = {
    controls: (answers) => {
      const text = make("textarea", { rows: 8, disabled: true, ariaLabel: words.send });
      const sendIt = button(words.send, () => text.value.trim() && judge({ edit: { answer: choice, text: text.value } }));
      sendIt.disabled = true;
      edit.take = (at) => {
        if (at >= answers.length) return;
        choice = at;
        Object.assign(text, { value: shown.texts[at], disabled: false });
        sendIt.disabled = false;
        text.focus();
      };
      answers.forEach((answer, at) => answer.append(button(letter(at), () => edit.take(at))));
      return [text, make("p", { className: "buttons" }, sendIt)];
    },
    key: ({ code }) => (digit(code) ? (edit.take(Number(digit(code)) - 1), true) : false),
  };

  const FORMS = { pairs, ranking, ratings, edit };

  document.addEventListener("keydown", (event) => {
    // A key that is held would judge what nobody has seen.
    if (event.isComposing || event.repeat || event.ctrlKey || event.altKey || event.metaKey) return;
    if (!by("who").hidden || by("task").inert) return;
    if (!shown) return void (event.code === "KeyU" && undo());
    const isTyping = event.target.matches("textarea, input:not([type=radio])");
    if (isTyping) return void (event.code === "Escape" && event.target.blur());
    // A control that has the focus keeps the keys that work it.
    const isWorked = event.target.matches("button, summary") && ["Enter", "NumpadEnter", "Space"].includes(event.code);
    const isChosen = event.target.matches("[type=radio], ol.order li") && event.code.startsWith("Arrow");
    if (isWorked || isChosen) return;
    const others = {
      KeyS: () => judge("skip"),
      KeyU: undo,
      KeyN: () => {
        by("noting").open = true;
        by("note").focus();
      },
    };
    const isHelp = event.key === "?" || (event.code === "Slash" && event.shiftKey);
    if (isHelp) by("help").open = !by("help").open;
    else if (others[event.code]) others[event.code]();
    else if (!FORMS[form].key(event)) return;
    event.preventDefault();
  });
  by("skip").onclick = ({ detail }) => detail > 1 || judge("skip");
  by("undo").onclick = undo;

  // ---------------------------------------------------------------------------------------- the beginning
  function ask() {
    by("task").hidden = true;
    by("moves").hidden = true;
    by("who").hidden = false;
    by("person").focus();
  }
  by("who").onsubmit = (event) => {
    event.preventDefault();
    person = by("person").value.trim();
    localStorage.setItem("pipeline-person", person);
    // A field that is hidden keeps the focus until the page is drawn again, and would take the first keys.
    by("person").blur();
    tell("");
    begin();
  };
  const begin = () => (queue.length ? send() : more());
  if (person) begin();
  else ask();
})();
