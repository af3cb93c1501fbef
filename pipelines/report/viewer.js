"use strict";
// A mesh that can be turned, on a plain canvas: a depth-buffered rasteriser, so that every browser draws the same picture.
(() => {
  const { bytes, reals, whole, normalsOf } = dp3dMesh;
  const STEP = 0.12, TURN = 0.008, SMALLEST = 0.5, LARGEST = 8, BACKGROUND = [248, 250, 252];

  // Rows: right, down, away from the viewer, in the template frame (z up); the viewer stands at azimuth and elevation.
  function axes(azimuth, elevation) {
    const [ca, sa, ce, se] = [Math.cos(azimuth), Math.sin(azimuth), Math.cos(elevation), Math.sin(elevation)];
    return [[-sa, ca, 0], [se * ca, se * sa, -ce], [-ce * ca, -ce * sa, -se]];
  }

  function view(figure) {
    const mesh = JSON.parse(figure.querySelector("script").textContent);
    const vertices = reals(mesh.vertices), faces = whole(mesh.faces), normals = normalsOf(vertices, faces);
    const layers = mesh.layers.map((layer) => ({ ...layer, colours: bytes(layer.colours), values: layer.values && reals(layer.values) }));
    const canvas = figure.querySelector("canvas"), context = canvas.getContext("2d");
    const told = figure.querySelector("output"), legend = figure.querySelector(".scale");
    const count = vertices.length / 3;
    let round = 0, tall = 0;
    for (let i = 0; i < vertices.length; i += 3) {
      round = Math.max(round, Math.hypot(vertices[i], vertices[i + 1]));
      tall = Math.max(tall, Math.abs(vertices[i + 2]));
    }
    const place = new Float32Array(3 * count), colour = new Float32Array(3 * count);
    const home = { azimuth: Math.PI / 3, elevation: 0.25, zoom: 1 };
    const state = { ...home, layer: 0 };
    const inner = document.createElement("canvas");
    let depth, owner, image, pixels, waiting = false;

    function resize() {
      const ratio = Math.max(2, Math.ceil(window.devicePixelRatio || 1));
      const width = Math.max(Math.round(canvas.clientWidth), 64), height = Math.max(Math.round(canvas.clientHeight), 64);
      canvas.width = width * Math.max(1, window.devicePixelRatio || 1);
      canvas.height = height * Math.max(1, window.devicePixelRatio || 1);
      inner.width = width * ratio;
      inner.height = height * ratio;
      image = inner.getContext("2d").createImageData(inner.width, inner.height);
      pixels = new Uint32Array(image.data.buffer);
      depth = new Float32Array(pixels.length);
      owner = new Int32Array(pixels.length);
      request();
    }

    function transform() {
      const [right, down, away] = axes(state.azimuth, state.elevation);
      const scale = 0.52 * state.zoom * Math.min(inner.width / round, inner.height / (tall + 0.3 * round));
      const tint = layers[state.layer].colours;
      for (let k = 0, i = 0; k < count; k++, i += 3) {
        const [x, y, z] = [vertices[i], vertices[i + 1], vertices[i + 2]];
        place[i] = inner.width / 2 + scale * (right[0] * x + right[1] * y + right[2] * z);
        place[i + 1] = inner.height / 2 + scale * (down[0] * x + down[1] * y + down[2] * z);
        place[i + 2] = away[0] * x + away[1] * y + away[2] * z;
        const n = [right, down, away].map((row) => row[0] * normals[i] + row[1] * normals[i + 1] + row[2] * normals[i + 2]);
        const light = 0.5 + 0.5 * Math.abs(0.25 * n[0] - 0.45 * n[1] - 0.86 * n[2]);
        for (let c = 0; c < 3; c++) colour[i + c] = Math.min(light * tint[i + c] + 18 * light, 255);
      }
    }

    function triangle(face) {
      const a = 3 * faces[face], b = 3 * faces[face + 1], c = 3 * faces[face + 2];
      const ax = place[a], ay = place[a + 1], bx = place[b], by = place[b + 1], cx = place[c], cy = place[c + 1];
      const area = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax);
      if (!area) return;
      const width = inner.width;
      const x0 = Math.max(Math.floor(Math.min(ax, bx, cx)), 0), x1 = Math.min(Math.ceil(Math.max(ax, bx, cx)), width - 1);
      const y0 = Math.max(Math.floor(Math.min(ay, by, cy)), 0), y1 = Math.min(Math.ceil(Math.max(ay, by, cy)), inner.height - 1);
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

    function draw() {
      waiting = false;
      transform();
      const [r, g, b] = BACKGROUND;
      pixels.fill((0xff000000 | (b << 16) | (g << 8) | r) >>> 0);
      depth.fill(Infinity);
      owner.fill(-1);
      for (let face = 0; face < faces.length; face += 3) triangle(face);
      inner.getContext("2d").putImageData(image, 0, 0);
      context.imageSmoothingQuality = "high";
      context.drawImage(inner, 0, 0, canvas.width, canvas.height);
    }

    function request() {
      if (!waiting) requestAnimationFrame(draw);
      waiting = true;
    }

    function turn(right, up) {
      state.azimuth -= right;
      state.elevation = Math.min(Math.max(state.elevation + up, -Math.PI / 2), Math.PI / 2);
      request();
    }

    function zoom(factor) {
      state.zoom = Math.min(Math.max(state.zoom * factor, SMALLEST), LARGEST);
      request();
    }

    function choose(index) {
      state.layer = index;
      figure.querySelectorAll("button[data-layer]").forEach((button, i) => button.setAttribute("aria-pressed", i === index));
      const layer = layers[index];
      legend.hidden = !layer.values;
      if (layer.values) [legend.firstElementChild.textContent, legend.lastElementChild.textContent] = [layer.low, layer.high];
      told.textContent = layer.text;
      request();
    }

    function tell(event) {
      const x = Math.floor((event.offsetX * inner.width) / canvas.clientWidth);
      const y = Math.floor((event.offsetY * inner.height) / canvas.clientHeight);
      const face = owner[y * inner.width + x], layer = layers[state.layer];
      if (!(face >= 0)) return void (told.textContent = layer.text);
      const corners = [0, 1, 2].map((i) => faces[face + i]);
      const off = (k) => Math.hypot(place[3 * k] - x, place[3 * k + 1] - y);
      const nearest = corners.reduce((best, k) => (off(k) < off(best) ? k : best));
      told.textContent = `vertex ${nearest}` + (layer.values ? `: ${+(layer.values[nearest] * layer.factor).toPrecision(3)} ${layer.unit}` : "");
    }

    canvas.addEventListener("pointerdown", (event) => canvas.setPointerCapture(event.pointerId));
    canvas.addEventListener("pointermove", (event) =>
      event.buttons ? turn(event.movementX * TURN, event.movementY * TURN) : tell(event));
    canvas.addEventListener("wheel", (event) => {
      if (!event.ctrlKey && !event.shiftKey && document.activeElement !== canvas) return;
      event.preventDefault();
      zoom(Math.exp(-0.002 * (event.deltaY || event.deltaX)));
    }, { passive: false });
    const keys = { ArrowLeft: [-STEP, 0], ArrowRight: [STEP, 0], ArrowUp: [0, -STEP], ArrowDown: [0, STEP] };
    canvas.addEventListener("keydown", (event) => {
      if (event.key === "+" || event.key === "-") zoom(event.key === "+" ? 1.15 : 1 / 1.15);
      else if (keys[event.key]) turn(...keys[event.key]);
      else return;
      event.preventDefault();
    });
    canvas.addEventListener("dblclick", () => { Object.assign(state, home); request(); });
    figure.querySelectorAll("button[data-layer]").forEach((button, i) => button.addEventListener("click", () => choose(i)));
    figure.querySelectorAll("button[data-view]").forEach((button) => button.addEventListener("click", () => {
      [state.azimuth, state.elevation] = button.dataset.view.split(" ").map((degrees) => (degrees * Math.PI) / 180);
      request();
    }));
    new ResizeObserver(resize).observe(canvas);
    choose(0);
    resize();
  }

  document.querySelectorAll("figure.viewer").forEach(view);
})();
