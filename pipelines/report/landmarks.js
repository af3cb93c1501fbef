// Pairs of clicks: a landmark in a photograph and on the mesh.
(() => {
  const root = document.querySelector(".landmarks"), one = (name) => root.querySelector(name);
  const facts = JSON.parse(one(".facts").textContent), pictures = facts.photographs.length;
  const turn = one("canvas.turn"), sheet = one(".sheet"), image = sheet.querySelector("img");
  const state = { at: 0, photograph: 0 };
  const make = (tag, words = {}, ...inner) => {
    const element = Object.assign(document.createElement(tag), words);
    element.append(...inner);
    return element;
  };
  const marks = facts.marks.map(({ name, vertex, point }) => ({ name, vertex, point }));
  for (const name of facts.asked) marks.push({ name, vertex: null, point: null });
  const whole = (mark) => mark.vertex !== null && (mark.point !== null || !pictures);
  const colour = (place) => `hsl(${(place * 137.5) % 360} 80% 42%)`;

  function tell(text, wrong = false) {
    const place = one(".told");
    [place.hidden, place.textContent] = [!text, text];
    place.classList.toggle("wrong", wrong);
  }

  function draw() {
    one("tbody").replaceChildren(...marks.map((mark, place) => {
      const name = make("button", { type: "button", className: "name", textContent: mark.name });
      name.addEventListener("click", () => choose(place));
      const dot = make("i");
      dot.style.background = colour(place);
      const drop = make("button", { type: "button", className: "drop", textContent: "×", ariaLabel: `forget ${mark.name}` });
      drop.addEventListener("click", () => {
        Object.assign(mark, { vertex: null, point: null });
        choose(place);
      });
      const where = mark.point ? facts.photographs[mark.point.photograph] : "";
      const cells = [make("th", {}, dot, name), make("td", { textContent: where, title: where }), make("td", { textContent: mark.vertex ?? "" })];
      const row = make("tr", {}, ...cells, make("td", {}, ...(mark.point || mark.vertex !== null ? [drop] : [])));
      row.setAttribute("aria-current", place === state.at);
      return row;
    }));
    sheet.querySelectorAll(".dot").forEach((dot) => dot.remove());
    marks.forEach(({ name, point }, place) => {
      if (!point || point.photograph !== state.photograph) return;
      const dot = make("span", { className: "dot", title: name });
      [dot.style.left, dot.style.top, dot.style.background] = [`${100 * point.x}%`, `${100 * point.y}%`, colour(place)];
      dot.append(make("b", { textContent: name }));
      sheet.append(dot);
    });
    const shown = marks.map((mark, place) => ({ ...mark, colour: colour(place) })).filter(({ vertex }) => vertex !== null);
    turn.dispatchEvent(new CustomEvent("marks", { detail: shown }));
    const count = marks.filter(whole).length;
    one(".count").textContent = `${count} complete${count < 12 ? "; at least 4, 12 serve well" : ""}`;
    one(".save").disabled = !count;
    one("output").textContent = pictures ? `${facts.photographs[state.photograph]} (${state.photograph + 1} of ${pictures})` : "";
  }

  function choose(place) {
    state.at = place;
    draw();
  }

  // Keep one half of the landmark; when it is whole, the next one that is not is asked for.
  function keep(half) {
    const mark = marks[state.at], before = whole(mark);
    Object.assign(mark, half);
    const order = [...marks.keys()].map((i) => (state.at + i) % marks.length);
    if (whole(mark) && !before) state.at = order.find((i) => !whole(marks[i])) ?? state.at;
    tell("");
    draw();
  }

  function show(number) {
    state.photograph = (number + pictures) % pictures;
    image.src = `photograph?number=${state.photograph}`;
    image.alt = facts.photographs[state.photograph];
    draw();
  }

  turn.addEventListener("vertex", (event) => keep({ vertex: event.detail }));
  image.addEventListener("click", (event) => {
    const { left, top, width, height } = image.getBoundingClientRect();
    const [x, y] = [(event.clientX - left) / width, (event.clientY - top) / height];
    keep({ point: { photograph: state.photograph, x, y } });
  });
  for (const button of root.querySelectorAll("[data-step]")) {
    button.addEventListener("click", () => show(state.photograph + +button.dataset.step));
  }
  one("form").addEventListener("submit", (event) => {
    event.preventDefault();
    const name = one("form input").value.trim();
    if (name && !marks.some((mark) => mark.name === name)) marks.push({ name, vertex: null, point: null });
    one("form input").value = "";
    choose(Math.max(marks.findIndex((mark) => mark.name === name), 0));
  });
  one(".save").addEventListener("click", async () => {
    const wanted = marks.filter(whole).map(({ name, vertex, point }) => ({ name, vertex, ...point }));
    const reply = await fetch("save", { method: "POST", body: JSON.stringify({ marks: wanted }) }).catch(() => null);
    const found = reply ? await reply.json() : { error: "the command in the terminal has ended" };
    tell(found.error || `${found.count} landmarks written to ${found.path} · next: ${found.command}`, !!found.error);
  });
  state.at = Math.max(marks.findIndex((mark) => !whole(mark)), 0);
  one(".seen").hidden = !pictures;
  if (pictures) show(0);
  else draw();
})();
