"use strict";
// Bodies that can be turned, on plain canvases: a rasteriser with a depth buffer, so that every browser draws the same.
(() => {
  const STEP = 0.12, TURN = 0.008, SMALLEST = 0.5, LARGEST = 8, ASIDE = 0.9, OVER = 0.75;
  const bytes = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  const reals = (text) => new Float32Array(bytes(text).buffer);
  const content = (element) => JSON.parse(element.querySelector(":scope > script").textContent);
  const inner = document.createElement("canvas"), ink = inner.getContext("2d");
  let image, pixels, depth, owner, place, colour, painted;

  // Unit normals at the vertices, weighted by area.
  function normalsOf(vertices, faces) {
    const normals = new Float32Array(vertices.length);
    for (let f = 0; f < faces.length; f += 3) {
      const [a, b, c] = [3 * faces[f], 3 * faces[f + 1], 3 * faces[f + 2]];
      const u = [0, 1, 2].map((i) => vertices[b + i] - vertices[a + i]);
      const v = [0, 1, 2].map((i) => vertices[c + i] - vertices[a + i]);
      const n = [u[1] * v[2] - u[2] * v[1], u[2] * v[0] - u[0] * v[2], u[0] * v[1] - u[1] * v[0]];
      for (const corner of [a, b, c]) for (let i = 0; i < 3; i++) normals[corner + i] += n[i];
    }
    for (let k = 0; k < normals.length; k += 3) {
      const length = Math.hypot(normals[k], normals[k + 1], normals[k + 2]) || 1;
      for (let i = 0; i < 3; i++) normals[k + i] /= length;
    }
    return normals;
  }

  // Rows: right, down, away from the viewer, in the template frame (z up); the viewer stands at azimuth and elevation.
  function axes(azimuth, elevation) {
    const [ca, sa, ce, se] = [Math.cos(azimuth), Math.sin(azimuth), Math.cos(elevation), Math.sin(elevation)];
    return [-sa, ca, 0, se * ca, se * sa, -ce, -ce * ca, -ce * sa, -se];
  }

  // Paints a body in the colours of `tint`; returns the canvas: place = scale * rows (vertex - centre) + shift, pixels.
  function paint(body, tint, rows, centre, scale, shift, width, height) {
    if (inner.width !== width || inner.height !== height || !image) {
      [inner.width, inner.height] = [width, height];
      image = ink.createImageData(width, height);
      pixels = new Uint32Array(image.data.buffer);
      [depth, owner] = [new Float32Array(pixels.length), new Int32Array(pixels.length)];
    }
    const { vertices, normals, faces } = body;
    if (!place || place.length !== vertices.length) {
      [place, colour] = [new Float32Array(vertices.length), new Float32Array(vertices.length)];
    }
    const turned = (from, i, row) => rows[row] * from[i] + rows[row + 1] * from[i + 1] + rows[row + 2] * from[i + 2];
    const start = [0, 3, 6].map((row, c) => (shift[c] || 0) - scale * turned(centre, 0, row));
    for (let i = 0; i < vertices.length; i += 3) {
      for (let c = 0; c < 3; c++) place[i + c] = start[c] + scale * turned(vertices, i, 3 * c);
      const [right, down, away] = [0, 3, 6].map((row) => turned(normals, i, row));
      const light = 0.5 + 0.5 * Math.abs(0.25 * right - 0.45 * down - 0.86 * away);
      for (let c = 0; c < 3; c++) colour[i + c] = Math.min(light * (tint[i + c] + 18), 255);
    }
    pixels.fill(0);
    depth.fill(Infinity);
    owner.fill(-1);
    for (let face = 0; face < faces.length; face += 3) triangle(faces, face, width, height);
    ink.putImageData(image, 0, 0);
    painted = null;
    return inner;
  }

  function triangle(faces, face, width, height) {
    const a = 3 * faces[face], b = 3 * faces[face + 1], c = 3 * faces[face + 2];
    const ax = place[a], ay = place[a + 1], bx = place[b], by = place[b + 1], cx = place[c], cy = place[c + 1];
    const area = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax);
    if (!area) return;
    const x0 = Math.max(Math.floor(Math.min(ax, bx, cx)), 0), y0 = Math.max(Math.floor(Math.min(ay, by, cy)), 0);
    const x1 = Math.min(Math.ceil(Math.max(ax, bx, cx)), width - 1);
    const y1 = Math.min(Math.ceil(Math.max(ay, by, cy)), height - 1);
    for (let y = y0; y <= y1; y++) {
      for (let x = x0; x <= x1; x++) {
        const px = x + 0.5, py = y + 0.5;
        const u = ((bx - px) * (cy - py) - (by - py) * (cx - px)) / area;
        const v = ((cx - px) * (ay - py) - (cy - py) * (ax - px)) / area;
        const w = 1 - u - v;
        if (u < 0 || v < 0 || w < 0) continue;
        const far = u * place[a + 2] + v * place[b + 2] + w * place[c + 2], at = y * width + x;
        if (far >= depth[at]) continue;
        depth[at] = far;
        owner[at] = face;
        const red = u * colour[a] + v * colour[b] + w * colour[c];
        const green = u * colour[a + 1] + v * colour[b + 1] + w * colour[c + 1];
        const blue = u * colour[a + 2] + v * colour[b + 2] + w * colour[c + 2];
        pixels[at] = 0xff000000 | (blue << 16) | (green << 8) | red;
      }
    }
  }

  // A body as a figure shows it: its surface, its colours, and the room that it takes.
  function stageOf(data, shared) {
    const vertices = reals(data.vertices), faces = shared.faces;
    const body = { vertices, faces, normals: normalsOf(vertices, faces) };
    const values = Object.fromEntries(Object.entries(data.values).map(([title, text]) => [title, reals(text)]));
    const tints = Object.fromEntries(Object.entries(data.colours).map(([title, text]) => [title, bytes(text)]));
    for (const { title, top } of shared.layers.filter((layer) => values[layer.title])) {
      tints[title] = new Uint8Array(3 * values[title].length);
      values[title].forEach((value, k) => {
        const at = 3 * Math.round(255 * Math.min(Math.max(value / top, 0), 1));
        tints[title].set(shared.ramp.subarray(at, at + 3), 3 * k);
      });
    }
    const low = [Infinity, Infinity, Infinity], high = low.map((value) => -value);
    vertices.forEach((value, i) => {
      low[i % 3] = Math.min(low[i % 3], value);
      high[i % 3] = Math.max(high[i % 3], value);
    });
    const centre = low.map((value, i) => (value + high[i]) / 2), tall = (high[2] - low[2]) / 2;
    let round = 1e-9;
    for (let i = 0; i < vertices.length; i += 3) {
      round = Math.max(round, Math.hypot(vertices[i] - centre[0], vertices[i + 1] - centre[1]));
    }
    return { body, values, tints, centre, tall, round, seen: data.seen };
  }

  function figureOf(element, shared, state) {
    const stages = content(element).map((data) => stageOf(data, shared)), last = stages[stages.length - 1];
    const captions = element.querySelectorAll("figcaption"), seen = last.seen;
    const { centre, round, tall } = last, { faces } = shared;
    const now = () => stages[Math.min(state.stage, stages.length - 1)];
    const tint = (title) => now().tints[title] || Object.values(now().tints)[0];
    const turn = element.querySelector(".turn"), others = ["keypoints", "over", "alone"];
    const [keypoints, over, alone] = others.map((name) => element.querySelector(`.${name}`));
    const home = { azimuth: Math.PI / 3, elevation: 0.25, zoom: 1 };
    if (seen) home.azimuth = Math.atan2(-seen.camera[7], -seen.camera[6]) - ASIDE;
    const stand = { ...home };
    let photograph = null, waiting = false, whole = false, marks = [], moved = 0;

    // How many pixels are painted for one of a canvas; and a canvas as large as it is shown, with the photograph on it.
    const finer = () => (window.devicePixelRatio >= 2 ? 1 : 2);
    function sheet(canvas, ground) {
      const ratio = window.devicePixelRatio || 1;
      const size = [canvas.clientWidth, canvas.clientHeight].map((side) => Math.max(Math.round(side * ratio), 64));
      if (canvas.width !== size[0] || canvas.height !== size[1]) [canvas.width, canvas.height] = size;
      const context = canvas.getContext("2d");
      context.imageSmoothingQuality = "high";
      context.globalAlpha = 1;
      context.clearRect(0, 0, canvas.width, canvas.height);
      if (ground && photograph) context.drawImage(photograph, 0, 0, canvas.width, canvas.height);
      return context;
    }

    const scaleOf = (width, height) =>
      0.5 * stand.zoom * Math.min(width / round, height / (tall + 0.3 * round)) * (seen ? 0.92 : 1);

    function drawTurned() {
      const context = sheet(turn), width = finer() * turn.width, height = finer() * turn.height;
      const scale = scaleOf(width, height), { body } = now();
      const rows = axes(stand.azimuth, stand.elevation);
      const found = paint(body, tint(state.layer), rows, centre, scale, [width / 2, height / 2], width, height);
      context.drawImage(found, 0, 0, turn.width, turn.height);
      for (const mark of marks) drawMark(context, mark, width, height);
      painted = turn;
    }

    // A dot at a vertex with its name; pale where the body hides it.
    function drawMark(context, { vertex, name, colour: fill }, width, height) {
      const [x, y, z] = place.subarray(3 * vertex, 3 * vertex + 3), size = turn.clientWidth ? turn.width / turn.clientWidth : 1;
      const front = depth[Math.min(Math.max(Math.floor(y), 0), height - 1) * width + Math.min(Math.max(Math.floor(x), 0), width - 1)];
      const [u, v] = [(x * turn.width) / width, (y * turn.height) / height];
      context.globalAlpha = z > front + 0.04 * scaleOf(width, height) ? 0.25 : 1;
      context.beginPath();
      context.arc(u, v, 5 * size, 0, 7);
      context.fillStyle = fill;
      context.fill();
      context.lineWidth = 2 * size;
      context.strokeStyle = "white";
      context.stroke();
      context.font = `${12 * size}px system-ui, sans-serif`;
      context.lineWidth = 3 * size;
      context.strokeText(name, u + 8 * size, v + 4 * size);
      context.fillStyle = "#0f172a";
      context.fillText(name, u + 8 * size, v + 4 * size);
      context.globalAlpha = 1;
    }

    function drawSeen() {
      const dots = sheet(keypoints, true), above = sheet(over, true), clear = sheet(alone, false), side = alone.width;
      const layer = shared.layers.find(({ title }) => title === state.layer), shown = tint(layer.dots || layer.title);
      const points = reals(seen.keypoints), size = Math.max(side / 130, 2);
      new Int32Array(bytes(seen.ids).buffer).forEach((k, i) => {
        dots.fillStyle = `rgb(${shown[3 * k]} ${shown[3 * k + 1]} ${shown[3 * k + 2]})`;
        dots.fillRect(points[2 * i] * side - size / 2, points[2 * i + 1] * side - size / 2, size, size);
      });
      const { body, seen: from } = now(), fine = finer() * side, shift = from.shift.map((x) => fine * x);
      const found = paint(body, tint(state.layer), from.camera, [0, 0, 0], fine * from.scale, shift, fine, fine);
      clear.drawImage(found, 0, 0, side, side);
      above.globalAlpha = OVER;
      above.drawImage(found, 0, 0, side, side);
    }

    function draw() {
      captions.forEach((caption, i) => (caption.hidden = stages[i] !== now()));
      if (whole && seen) drawSeen();
      drawTurned();
      waiting = whole = false;
    }

    function request(all = false) {
      if (!waiting) requestAnimationFrame(draw);
      [waiting, whole] = [true, whole || all];
    }

    function look(place) {
      Object.assign(stand, place);
      request();
    }

    function move(right, up, closer = 1) {
      const elevation = Math.min(Math.max(stand.elevation + up, -Math.PI / 2), Math.PI / 2);
      const zoom = Math.min(Math.max(stand.zoom * closer, SMALLEST), LARGEST);
      look({ azimuth: stand.azimuth - right, elevation, zoom });
    }

    // The vertex below the pointer; undefined beside the body.
    function vertexAt(event) {
      if (painted !== turn) drawTurned();
      const x = Math.floor((event.offsetX * inner.width) / turn.clientWidth);
      const y = Math.floor((event.offsetY * inner.height) / turn.clientHeight);
      const face = owner[y * inner.width + x];
      if (!(face >= 0)) return undefined;
      const off = (k) => Math.hypot(place[3 * k] - x, place[3 * k + 1] - y);
      return [...faces.subarray(face, face + 3)].reduce((best, k) => (off(k) < off(best) ? k : best));
    }

    function tell(event) {
      const nearest = vertexAt(event);
      if (nearest === undefined) return state.say("");
      const layer = shared.layers.find(({ title }) => title === state.layer), held = now().values[state.layer];
      const value = held ? `: ${+(held[nearest] * layer.factor).toPrecision(3)} ${layer.unit}` : "";
      state.say(`vertex ${nearest}${value}`);
    }

    turn.addEventListener("pointerdown", (event) => {
      turn.setPointerCapture(event.pointerId);
      moved = 0;
    });
    turn.addEventListener("click", (event) => {
      const vertex = moved < 4 ? vertexAt(event) : undefined;
      if (vertex !== undefined) turn.dispatchEvent(new CustomEvent("vertex", { detail: vertex, bubbles: true }));
    });
    turn.addEventListener("marks", (event) => {
      marks = event.detail;
      request();
    });
    turn.addEventListener("pointermove", (event) => {
      moved += Math.hypot(event.movementX, event.movementY);
      if (event.buttons) move(event.movementX * TURN, event.movementY * TURN);
      else tell(event);
    });
    turn.addEventListener("wheel", (event) => {
      if (!event.ctrlKey && !event.shiftKey && document.activeElement !== turn) return;
      event.preventDefault();
      move(0, 0, Math.exp(-0.002 * (event.deltaY || event.deltaX)));
    }, { passive: false });
    const arrows = { ArrowLeft: [-STEP, 0], ArrowRight: [STEP, 0], ArrowUp: [0, -STEP], ArrowDown: [0, STEP] };
    const keys = { ...arrows, "+": [0, 0, 1.15], "-": [0, 0, 1 / 1.15] };
    turn.addEventListener("keydown", (event) => {
      if (!keys[event.key]) return;
      event.preventDefault();
      move(...keys[event.key]);
    });
    turn.addEventListener("dblclick", () => look(home));
    new ResizeObserver(() => request(true)).observe(turn);
    if (seen && seen.photograph) {
      const picture = new Image();
      picture.onload = () => {
        photograph = picture;
        request(true);
      };
      picture.src = seen.photograph;
    }
    return { request, look };
  }

  function viewer(element) {
    const shared = content(element), output = element.querySelector("output");
    const legends = element.querySelectorAll(".scale");
    shared.faces = new Int32Array(bytes(shared.faces).buffer);
    shared.ramp = bytes(shared.ramp);
    const state = { layer: shared.layers[0].title, stage: 1 };
    state.say = (text) => (output.textContent = text || shared.layers.find(({ title }) => title === state.layer).text);
    const figures = [...element.querySelectorAll("figure")].map((figure) => figureOf(figure, shared, state));
    const buttons = element.querySelectorAll("button[data-layer]");
    function choose(title) {
      state.layer = title;
      buttons.forEach((button) => button.setAttribute("aria-pressed", button.dataset.layer === title));
      legends.forEach((legend) => (legend.hidden = legend.dataset.layer !== title));
      state.say("");
      figures.forEach((figure) => figure.request(true));
    }
    buttons.forEach((button) => button.addEventListener("click", () => choose(button.dataset.layer)));
    const stages = element.querySelectorAll("button[data-stage]");
    function reach(stage) {
      state.stage = stage;
      stages.forEach((button) => button.setAttribute("aria-pressed", +button.dataset.stage === stage));
      choose(state.layer);
    }
    stages.forEach((button) => button.addEventListener("click", () => reach(+button.dataset.stage)));
    element.querySelectorAll("button[data-view]").forEach((button) => button.addEventListener("click", () => {
      const [azimuth, elevation] = button.dataset.view.split(" ").map((degrees) => (degrees * Math.PI) / 180);
      figures.forEach((figure) => figure.look({ azimuth, elevation }));
    }));
    reach(state.stage);
  }

  document.querySelectorAll(".viewer").forEach(viewer);
})();
