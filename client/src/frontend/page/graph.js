// The curve of the bytes that arrived in each of the last ten minutes' seconds.

import { rate, say } from "./language.js";

const WIDTH = 600, HEIGHT = 120;

export function draw(history) {
  const most = Math.max(0, ...history);
  // Room above the highest point, and a flat line where nothing arrives.
  const scale = (HEIGHT - 8) / Math.max(most, 1024);
  const left = WIDTH - history.length;
  const points = history.map((value, n) => `${left + n + 1} ${(HEIGHT - 1 - value * scale).toFixed(1)}`);
  const curve = points.length ? `M${points.join("L")}` : "";
  document.getElementById("graph-curve").setAttribute("d", curve);
  document.getElementById("graph-area").setAttribute("d", curve && `${curve}L${WIDTH} ${HEIGHT}L${left + 1} ${HEIGHT}Z`);
  document.getElementById("graph-most").textContent = most ? say("most", { most: rate(most) }) : "";
  const label = say("graphLabel", { now: rate(history.at(-1) ?? 0), most: rate(most) });
  document.getElementById("graph").setAttribute("aria-label", label);
}
