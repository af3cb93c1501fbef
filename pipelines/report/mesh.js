"use strict";
// What every script of a page that draws meshes needs: packed numbers, and normals.
const dp3dMesh = (() => {
  const bytes = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  const reals = (text) => new Float32Array(bytes(text).buffer);
  const whole = (text) => new Int32Array(bytes(text).buffer);

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

  return { bytes, reals, whole, normalsOf };
})();
