// @ts-check
/**
 * What is drawn over the pictures: novelty and what was told, cell by cell; where an answer looked.
 */

import { CELL, Kind } from "./canvas.js";

/**
 * @typedef {object} Heat
 * @property {Float32Array} score novelty, 0 to 1, row by row
 * @property {Uint8Array} kind what was told of each cell
 * @property {number} rows
 * @property {number} cols
 * @property {number} width of the frame
 * @property {number} height of the frame
 */

const FAINTEST = 0.04;

/**
 * Novelty from dark red to yellow; a white frame around what was told just now, a blue one where it was refined.
 *
 * @param {HTMLCanvasElement} canvas
 * @param {Heat | null} heat
 */
export function drawHeat(canvas, heat) {
  const to = canvas.getContext("2d");
  if (to === null) return;
  if (heat === null) {
    to.clearRect(0, 0, canvas.width, canvas.height);
    return;
  }
  resize(canvas, heat.width, heat.height);
  to.clearRect(0, 0, canvas.width, canvas.height);
  for (let cell = 0; cell < heat.score.length; cell++) {
    const [left, top] = [(cell % heat.cols) * CELL, Math.floor(cell / heat.cols) * CELL];
    if (left >= heat.width || top >= heat.height) continue;
    const score = Math.min(1, heat.score[cell]);
    if (score > FAINTEST) {
      to.fillStyle = `hsl(${Math.round(8 + 44 * score)} 95% ${Math.round(42 + 14 * score)}% / ${(0.1 + 0.4 * score).toFixed(2)})`;
      to.fillRect(left, top, CELL, CELL);
    }
    const kind = heat.kind[cell];
    if (kind === Kind.KEEP) continue;
    to.strokeStyle = kind === Kind.REFINE ? "rgb(120 190 255 / 0.9)" : "rgb(255 255 255 / 0.95)";
    to.lineWidth = 1.5;
    to.strokeRect(left + 1.5, top + 1.5, CELL - 3, CELL - 3);
  }
}

/**
 * Where an answer came from: the rest of the picture stands back.
 *
 * @param {HTMLCanvasElement} canvas
 * @param {[number, number, number, number][]} looked left, top, side, weight
 * @param {number} width of the frame
 * @param {number} height of the frame
 */
export function drawAttention(canvas, looked, width, height) {
  resize(canvas, width, height);
  const to = canvas.getContext("2d");
  if (to === null) return;
  to.clearRect(0, 0, width, height);
  if (looked.length === 0) return;
  to.fillStyle = "rgb(10 12 14 / 0.45)";
  to.fillRect(0, 0, width, height);
  for (const [left, top, side, weight] of looked) {
    to.save();
    to.globalCompositeOperation = "destination-out";
    to.fillStyle = `rgb(0 0 0 / ${(0.25 + 0.75 * weight).toFixed(2)})`;
    to.fillRect(left, top, side, side);
    to.restore();
    if (weight < 0.5) continue;
    to.strokeStyle = `rgb(99 225 190 / ${weight.toFixed(2)})`;
    to.lineWidth = 2;
    to.strokeRect(left + 1, top + 1, side - 2, side - 2);
  }
}

/** @param {HTMLCanvasElement} canvas @param {number} width @param {number} height */
function resize(canvas, width, height) {
  if (canvas.width !== width) canvas.width = width;
  if (canvas.height !== height) canvas.height = height;
}
