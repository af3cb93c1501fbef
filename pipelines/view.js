"use strict";
// Lifted bodies to look at and to turn: one WebGL canvas draws each picture, which is copied to where it is shown.
(() => {
  const { bytes, reals, normalsOf } = dp3dMesh;
  const SIDE = 480, TURN = 0.01, STEP = 0.15, FIRST_TURN = 0.9, ROOM = 0.44;
  const data = JSON.parse(document.getElementById("lifted-data").textContent);
  const faces = new Uint32Array(bytes(data.faces).buffer), parts = bytes(data.parts);
  const list = document.querySelector(".lifted");
  const VERTEX = `#version 300 es
    in vec3 place, normal, tint; uniform mat3 view; uniform vec3 centre, scale, shift; out vec3 colour;
    void main() {
      vec3 n = normalize(view * normal);
      float light = 0.5 + 0.5 * abs(dot(n, vec3(0.25, -0.45, -0.86)));
      colour = min(tint * light + 0.07 * light, 1.0);
      gl_Position = vec4(scale * (view * (place - centre)) + shift, 1.0);
    }`;
  const FRAGMENT = `#version 300 es
    precision mediump float; in vec3 colour; out vec4 pixel;
    void main() { pixel = vec4(colour, 1.0); }`;

  function painter() {
    const canvas = document.createElement("canvas");
    canvas.width = canvas.height = SIDE;
    const gl = canvas.getContext("webgl2", { antialias: true, preserveDrawingBuffer: true, alpha: true });
    if (!gl) return null;
    const program = gl.createProgram();
    for (const [kind, text] of [[gl.VERTEX_SHADER, VERTEX], [gl.FRAGMENT_SHADER, FRAGMENT]]) {
      const shader = gl.createShader(kind);
      gl.shaderSource(shader, text);
      gl.compileShader(shader);
      gl.attachShader(program, shader);
    }
    gl.linkProgram(program);
    gl.useProgram(program);
    gl.enable(gl.DEPTH_TEST);
    gl.bindBuffer(gl.ELEMENT_ARRAY_BUFFER, gl.createBuffer());
    gl.bufferData(gl.ELEMENT_ARRAY_BUFFER, faces, gl.STATIC_DRAW);
    const slots = Object.fromEntries(["place", "normal", "tint"].map((name) => [name, gl.getAttribLocation(program, name)]));
    const uniforms = Object.fromEntries(["view", "centre", "scale", "shift"].map((name) => [name, gl.getUniformLocation(program, name)]));
    const buffers = Object.fromEntries(Object.keys(slots).map((name) => [name, gl.createBuffer()]));
    const feed = (name, values, kind, normalized) => {
      gl.bindBuffer(gl.ARRAY_BUFFER, buffers[name]);
      gl.bufferData(gl.ARRAY_BUFFER, values, gl.DYNAMIC_DRAW);
      gl.enableVertexAttribArray(slots[name]);
      gl.vertexAttribPointer(slots[name], 3, kind, normalized, 0, 0);
    };
    // rows: 9 numbers by rows; x, y in 0..1 of the picture, y down, z away
    return (body, tint, rows, centre, scale, shift) => {
      feed("place", body.vertices, gl.FLOAT, false);
      feed("normal", body.normals, gl.FLOAT, false);
      feed("tint", tint, gl.UNSIGNED_BYTE, true);
      gl.uniformMatrix3fv(uniforms.view, true, rows);
      gl.uniform3fv(uniforms.centre, centre);
      gl.uniform3fv(uniforms.scale, [2 * scale, -2 * scale, 0.4]);
      gl.uniform3fv(uniforms.shift, [2 * shift[0] - 1, 1 - 2 * shift[1], 0]);
      gl.clearColor(0, 0, 0, 0);
      gl.clear(gl.COLOR_BUFFER_BIT | gl.DEPTH_BUFFER_BIT);
      gl.drawElements(gl.TRIANGLES, faces.length, gl.UNSIGNED_INT, 0);
      return canvas;
    };
  }

  const times = (a, b) => [0, 1, 2].flatMap((i) => [0, 1, 2].map((j) => [0, 1, 2].reduce((sum, k) => sum + a[3 * i + k] * b[3 * k + j], 0)));
  const aboutUp = (t) => [Math.cos(t), -Math.sin(t), 0, Math.sin(t), Math.cos(t), 0, 0, 0, 1];
  const aboutRight = (t) => [1, 0, 0, 0, Math.cos(t), -Math.sin(t), 0, Math.sin(t), Math.cos(t)];
  const paint = painter();
  let layer = "parts";

  function tintOf(body) {
    if (layer === "error" && body.colours) return body.colours;
    if (layer === "photograph" && body.texture) return body.texture;
    return layer === "visibility" ? body.byVisibility : parts;
  }

  function show(entry) {
    const figure = document.createElement("figure");
    const numbers = entry.numbers ? ` · MPJPE <b>${entry.numbers[0].toFixed(4)}</b> · PA-MPJPE <b>${entry.numbers[1].toFixed(4)}</b>` : "";
    const canvases = ["keypoints", "over", "alone", "turn"].map((name) => `<canvas class="${name}" width="${SIDE}" height="${SIDE}"></canvas>`);
    figure.innerHTML = `<div class="row">${canvases.join("")}</div><figcaption>${numbers}</figcaption>`;
    figure.querySelector("figcaption").prepend(entry.name + entry.figures);
    list.append(figure);
    const [keypoints, over, alone, turn] = figure.querySelectorAll("canvas");
    const vertices = reals(entry.vertices), visible = bytes(entry.visible), points = reals(entry.keypoints);
    const byVisibility = new Uint8Array(3 * visible.length);
    visible.forEach((seen, k) => byVisibility.set(data.visibility[seen], 3 * k));
    const body = { vertices, normals: normalsOf(vertices, faces), byVisibility };
    for (const name of ["colours", "texture"]) body[name] = entry[name] && bytes(entry[name]);
    const low = [0, 1, 2].map(() => Infinity), high = low.map(() => -Infinity);
    for (let i = 0; i < vertices.length; i++) {
      low[i % 3] = Math.min(low[i % 3], vertices[i]);
      high[i % 3] = Math.max(high[i % 3], vertices[i]);
    }
    const centre = low.map((value, i) => (value + high[i]) / 2);
    let radius = 1e-9;
    for (let i = 0; i < vertices.length; i += 3) radius = Math.max(radius, Math.hypot(...[0, 1, 2].map((c) => vertices[i + c] - centre[c])));
    const state = { yaw: FIRST_TURN, pitch: 0, photograph: null };
    turn.tabIndex = 0;
    turn.setAttribute("role", "img");
    turn.setAttribute("aria-label", `${figure.querySelector("figcaption").textContent}: drag or arrow keys turn it`);

    function ground(canvas) {
      const context = canvas.getContext("2d");
      context.clearRect(0, 0, SIDE, SIDE);
      if (state.photograph) context.drawImage(state.photograph, 0, 0, SIDE, SIDE);
      return context;
    }

    function drawKeypoints() {
      const context = ground(keypoints), tint = layer === "photograph" ? parts : tintOf(body);
      for (let k = 0, p = 0; k < visible.length; k++) {
        if (!visible[k]) continue;
        context.fillStyle = `rgb(${tint[3 * k]} ${tint[3 * k + 1]} ${tint[3 * k + 2]})`;
        context.fillRect(points[p] * SIDE - 1.5, points[p + 1] * SIDE - 1.5, 3, 3);
        p += 2;
      }
    }

    function drawTurned() {
      const context = turn.getContext("2d");
      context.clearRect(0, 0, SIDE, SIDE);
      const view = times(aboutRight(state.pitch), times(entry.camera, aboutUp(state.yaw)));
      context.drawImage(paint(body, tintOf(body), view, centre, ROOM / radius, [0.5, 0.5]), 0, 0);
    }

    function draw() {
      drawKeypoints();
      if (!paint) return;
      const seen = paint(body, tintOf(body), entry.camera, [0, 0, 0], entry.scale, entry.shift);
      const context = ground(over);
      context.globalAlpha = 0.75;
      context.drawImage(seen, 0, 0);
      context.globalAlpha = 1;
      alone.getContext("2d").clearRect(0, 0, SIDE, SIDE);
      alone.getContext("2d").drawImage(seen, 0, 0);
      drawTurned();
    }

    function move(yaw, pitch) {
      state.yaw += yaw;
      state.pitch = Math.min(Math.max(state.pitch + pitch, -Math.PI / 2), Math.PI / 2);
      if (paint) requestAnimationFrame(drawTurned);
    }
    turn.addEventListener("pointerdown", (event) => turn.setPointerCapture(event.pointerId));
    turn.addEventListener("pointermove", (event) => event.buttons && move(event.movementX * TURN, -event.movementY * TURN));
    turn.addEventListener("dblclick", () => move(FIRST_TURN - state.yaw, -state.pitch));
    turn.addEventListener("keydown", (event) => {
      const steps = { ArrowLeft: [-STEP, 0], ArrowRight: [STEP, 0], ArrowUp: [0, STEP], ArrowDown: [0, -STEP] }[event.key];
      if (!steps) return;
      event.preventDefault();
      move(...steps);
    });
    if (entry.photograph) {
      const image = new Image();
      image.onload = () => {
        state.photograph = image;
        draw();
      };
      image.src = entry.photograph;
    }
    draw();
    return draw;
  }

  if (!paint) {
    const note = document.createElement("p");
    note.className = "note";
    note.textContent = "This browser offers no WebGL 2: only photographs and keypoints are drawn.";
    list.before(note);
  }
  const pictures = data.entries.map(show);
  function choose(name) {
    layer = name;
    document.querySelectorAll("button[data-layer]").forEach((button) => button.setAttribute("aria-pressed", button.dataset.layer === name));
    document.querySelectorAll(".ramp").forEach((ramp) => (ramp.hidden = ramp.dataset.for !== name));
    pictures.forEach((draw) => draw());
  }
  document.querySelectorAll("button[data-layer]").forEach((button) => button.addEventListener("click", () => choose(button.dataset.layer)));
  choose(document.querySelector("button[data-layer]").dataset.layer);
})();
