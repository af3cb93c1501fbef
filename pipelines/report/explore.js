"use strict";
// Looks through the instances of a dataset: asks the local server for a screen of them at a time.
(() => {
  const PAGE = 60;
  const root = document.querySelector(".explore"), one = (name) => root.querySelector(name);
  const facts = JSON.parse(document.querySelector("section > script").textContent);
  const chosen = new Set(), state = { start: 0, like: null, rows: [], total: 0, asked: 0 };
  const cells = one(".middle > .cells"), dialog = one("dialog");
  const make = (tag, words = {}, ...inner) => {
    const element = Object.assign(document.createElement(tag), words);
    element.append(...inner);
    return element;
  };
  const plain = (name) => name.replaceAll("_", " ");
  const short = (value) => +value.toPrecision(3);
  const picture = (row, size) => `picture?row=${row}&size=${size}&dots=${+one(".dots").checked}`;

  async function ask(address, content) {
    const options = content && { method: "POST", body: JSON.stringify(content) };
    const reply = await fetch(address, options).catch(() => null);
    const found = reply ? await reply.json() : { error: "the command in the terminal has ended" };
    if (found.error) tell(found.error, true);
    return found;
  }

  function tell(text, wrong = false) {
    const place = one(".told");
    place.hidden = !text;
    place.textContent = text;
    place.classList.toggle("wrong", wrong);
  }

  // What the filters say.
  function query() {
    const kinds = {}, numbers = {};
    for (const box of one(".kinds").querySelectorAll("details")) {
      const on = [...box.querySelectorAll(":checked")].map((input) => input.value);
      if (on.length) kinds[box.dataset.name] = on;
    }
    for (const box of one(".ranges").querySelectorAll("details")) {
      const ends = [...box.querySelectorAll("input")].map(({ value }) => (value === "" ? null : +value));
      if (ends.some((end) => end !== null)) numbers[box.dataset.name] = ends;
    }
    const near = one(".near [type=checkbox]").checked ? +one(".near [type=number]").value || null : null;
    const only = one(".only").checked ? [...chosen] : null;
    const sort = one(".sort").value, down = one(".down").getAttribute("aria-pressed") === "true";
    return { text: one(".search input").value, kinds, numbers, near, only, sort, down, like: state.like };
  }

  async function show(start = 0) {
    const number = ++state.asked, wanted = { ...query(), start, count: PAGE };
    root.classList.add("busy");
    const found = await ask("rows", wanted);
    if (number !== state.asked) return;
    root.classList.remove("busy");
    if (found.error) return;
    Object.assign(state, { start, rows: found.rows, total: found.total });
    cells.replaceChildren(...found.rows.map(card));
    const none = make("p", { className: "none", textContent: "Nothing is like that. Clear a filter." });
    if (!found.total) cells.append(none);
    const last = start + found.rows.length;
    one(".count").textContent = `${found.total.toLocaleString("en")} of ${facts.count.toLocaleString("en")}`;
    one(".page").textContent = found.total ? `${start + 1} to ${last}` : "";
    one("[data-page='-1']").disabled = !start;
    one("[data-page='1']").disabled = last >= found.total;
    one("[data-choose=repeats]").hidden = !wanted.near;
    one(".alike").hidden = state.like === null;
    for (const box of one("aside").querySelectorAll("details[data-name]")) {
      box.classList.toggle("on", box.dataset.name in wanted.kinds || box.dataset.name in wanted.numbers);
    }
  }

  function card({ row, name, value }) {
    const box = make("input", { type: "checkbox", checked: chosen.has(row), ariaLabel: `choose ${name || row}` });
    box.addEventListener("change", () => choose(row, box.checked));
    const open = make("button", { type: "button", className: "open", title: name || value });
    open.append(make("img", { loading: "lazy", alt: name || value, src: picture(row, "small") }));
    open.addEventListener("click", () => look(row));
    const words = [value && make("b", { textContent: value }), name && make("span", { textContent: name })];
    const figure = make("figure", { className: "cell" }, open, box, make("figcaption", {}, ...words.filter(Boolean)));
    figure.dataset.row = row;
    figure.classList.toggle("picked", chosen.has(row));
    return figure;
  }

  function choose(row, on) {
    if (on) chosen.add(row);
    else chosen.delete(row);
    marked();
  }

  function marked() {
    one(".chosen").textContent = `${chosen.size.toLocaleString("en")} chosen`;
    one(".save").disabled = !chosen.size;
    for (const cell of root.querySelectorAll(".cell")) {
      const on = chosen.has(+cell.dataset.row);
      cell.classList.toggle("picked", on);
      cell.querySelector("input").checked = on;
    }
    one(".pick").checked = chosen.has(state.open);
  }

  async function look(row) {
    const found = await ask(`one?row=${row}`);
    if (found.error) return;
    state.open = row;
    const large = dialog.querySelector("img");
    large.src = picture(row, "large");
    large.alt = found.values[0][1];
    dialog.querySelector("tbody").replaceChildren(...found.values.map(([name, value, unit, text]) => {
      const line = make("tr", { title: text });
      const known = unit === "0..1" || unit.length > 16 ? "" : unit;
      line.append(make("th", { textContent: plain(name) }), make("td", { textContent: `${value} ${known}` }));
      return line;
    }));
    dialog.querySelector(".similar").replaceChildren(...found.similar.map(card));
    if (!dialog.open) dialog.showModal();
    dialog.scrollTop = 0;
    marked();
  }

  async function step(by) {
    const place = state.rows.findIndex(({ row }) => row === state.open), next = state.rows[place + by];
    if (place >= 0 && next) await look(next.row);
  }

  function kindsOf() {
    one(".kinds").replaceChildren(...Object.entries(facts.kinds).map(([name, counts]) => {
      const box = make("details", { open: Object.keys(counts).length < 9, title: facts.words[name][1] });
      box.dataset.name = name;
      box.append(make("summary", { textContent: plain(name) }), ...Object.entries(counts).map(([value, count]) => {
        const label = make("label", {}, make("input", { type: "checkbox", value }), make("span", { textContent: value }));
        label.append(make("i", { textContent: count.toLocaleString("en") }));
        return label;
      }));
      return box;
    }));
  }

  function rangesOf() {
    one(".ranges").replaceChildren(...Object.entries(facts.numbers).map(([name, { low, high, counts }], place) => {
      const box = make("details", { open: place < 3, title: facts.words[name][1] }), most = Math.max(...counts);
      box.dataset.name = name;
      const bars = make("div", { className: "bars" }, ...counts.map((count) => make("i", { title: count })));
      [...bars.children].forEach((bar, i) => {
        bar.style.height = `${counts[i] && Math.max((100 * counts[i]) / most, 4)}%`;
        bar.addEventListener("click", () => {
          const width = (high - low) / counts.length, ends = box.querySelectorAll("input");
          ends[0].value = short(low + i * width);
          ends[1].value = short(low + (i + 1) * width);
          show();
        });
      });
      const field = (value, words) => make("input", { type: "number", step: "any", placeholder: short(value), ariaLabel: words });
      const ends = make("div", { className: "ends" }, field(low, `least ${plain(name)}`), "to", field(high, `most ${plain(name)}`));
      box.append(make("summary", { textContent: plain(name) }), bars, ends);
      return box;
    }));
  }

  async function chooseMany(how) {
    const found = how === "none" ? { rows: [] } : await ask("rows", { ...query(), all: true, repeats: how === "repeats" });
    if (found.error) return;
    if (how === "none") chosen.clear();
    for (const row of found.rows) {
      if (how === "invert" && chosen.has(row)) chosen.delete(row);
      else chosen.add(row);
    }
    marked();
  }

  async function save() {
    const found = await ask("save", { rows: [...chosen], split: one(".split").value, name: one(".name").value });
    if (!found.error) tell(`${found.count} names written to ${found.path} · next: ${found.command}`);
  }

  function wire() {
    let waiting;
    one("aside").addEventListener("input", (event) => {
      clearTimeout(waiting);
      waiting = setTimeout(show, event.target.type === "checkbox" ? 0 : 300);
    });
    for (const name of [".sort", ".only"]) one(name).addEventListener("change", () => show());
    one(".dots").addEventListener("change", () => show(state.start));
    one(".down").addEventListener("click", ({ currentTarget: button }) => {
      const down = button.getAttribute("aria-pressed") !== "true";
      button.setAttribute("aria-pressed", down);
      button.textContent = down ? "↓" : "↑";
      show();
    });
    one(".clear").addEventListener("click", () => {
      for (const input of one("aside").querySelectorAll("input")) {
        if (input.type === "checkbox") input.checked = false;
        else if (!input.closest(".near")) input.value = "";
      }
      state.like = null;
      show();
    });
    for (const button of root.querySelectorAll("[data-choose]")) {
      button.addEventListener("click", () => chooseMany(button.dataset.choose));
    }
    for (const button of root.querySelectorAll("[data-page]")) {
      button.addEventListener("click", async () => {
        await show(Math.max(state.start + PAGE * button.dataset.page, 0));
        root.scrollIntoView();
      });
    }
    for (const button of root.querySelectorAll("[data-step]")) {
      button.addEventListener("click", () => step(+button.dataset.step));
    }
    dialog.addEventListener("keydown", (event) => {
      const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
      if (by) step(by);
    });
    dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
    one(".pick").addEventListener("change", ({ currentTarget: box }) => choose(state.open, box.checked));
    one(".like").addEventListener("click", () => {
      dialog.close();
      state.like = state.open;
      one(".sort").value = "";
      one(".near [type=checkbox]").checked = false;
      const drop = make("button", { type: "button", textContent: "×", ariaLabel: "as the files have them" });
      drop.addEventListener("click", () => {
        state.like = null;
        show();
      });
      one(".alike").replaceChildren(`by likeness to ${dialog.querySelector("img").alt} `, drop);
      show();
    });
    one(".save").addEventListener("click", save);
    one(".split").addEventListener("change", () => {
      one(".name").value = one(".split").value === "out" ? "leave-out.txt" : "chosen.txt";
    });
  }

  const names = ["instance_id", ...Object.keys(facts.numbers), ...Object.keys(facts.kinds)];
  one(".sort").append(make("option", { value: "", textContent: "order of the files" }));
  one(".sort").append(...names.map((value) => make("option", { value, textContent: plain(value) })));
  const split = (value) => make("option", { value, textContent: value === "as it is" ? "keep, split as it is" : `keep as ${value}` });
  one(".split").append(...facts.splits.map(split), make("option", { value: "out", textContent: "leave out" }));
  kindsOf();
  rangesOf();
  wire();
  marked();
  show();
})();
