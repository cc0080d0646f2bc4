// @ts-check
/**
 * Frames of a camera, a screen, a file or the built-in scene, scaled and cropped to one size, at a pace. A file waits for
 * `roll` and plays once.
 *
 *     track --MediaStreamTrackProcessor--+                          (goes on where the tab is hidden; Chrome and Edge)
 *     <video> --requestVideoFrameCallback-+--> due? --> crop, scale --> onFrame(ImageBitmap, time)
 *
 * Nothing queues here: what comes while a frame is being scaled is passed over.
 */

/** @typedef {"camera" | "screen" | "file" | "scene"} Kind */
/** @typedef {{ width: number, height: number, fps: number, file?: File }} Wanted */

/** Why there are no frames, in a sentence that says what to do. */
export class CaptureError extends Error {
  /** @param {string} name of the cause @param {string} message */
  constructor(name, message) {
    super(message);
    this.name = name;
  }
}

const WHY = {
  NotAllowedError: "was refused. Allow it for this page, beside the address, then press Start; or film the built-in scene.",
  NotFoundError: "is not there. Plug one in and press Start; or film the built-in scene.",
  NotReadableError: "is taken by another program. Close that, then press Start.",
  OverconstrainedError: "has no such picture size. Choose another, then press Start.",
  AbortError: "did not start. Press Start again.",
};

/** One source at a time. */
export class Capture {
  /** @type {MediaStreamTrack | null} */
  #track = null;
  /** @type {string | null} */
  #address = null;
  #run = 0; // which start is the current one
  #due = 0;
  #busy = false;
  #waits = false; // for `roll`
  #video;
  #onFrame;
  #onEnded;

  /**
   * @param {HTMLVideoElement} video shows what is filmed
   * @param {(frame: ImageBitmap, atMs: number) => void} onFrame takes the frame over; the time is of the wall clock
   * @param {() => void} onEnded the source has gone away by itself, or the file is over
   */
  constructor(video, onFrame, onEnded) {
    this.#video = video;
    this.#onFrame = onFrame;
    this.#onEnded = onEnded;
  }

  /** The label of what is filmed, as the stream's name. */
  name = "";

  /**
   * Begin; a CaptureError says why not.
   *
   * @param {Kind} kind
   * @param {Wanted} wanted
   */
  async start(kind, wanted) {
    this.stop();
    const run = ++this.#run;
    if (kind === "camera" || kind === "screen") await this.#live(kind, wanted, run);
    else await this.#film(kind, wanted, run);
  }

  /** Let a file that waits play; true where there was one. */
  roll() {
    const waited = this.#waits;
    this.#waits = false;
    if (waited) void this.#video.play().catch(() => {}); // it has played before
    return waited;
  }

  /** Go on where the browser has paused what is filmed, as it does in hidden tabs. */
  wake() {
    const { paused, ended } = this.#video;
    if (paused && !ended && !this.#waits) void this.#video.play().catch(() => {});
  }

  /** End; the camera's light goes out. */
  stop() {
    this.#run++;
    this.#waits = false;
    if (this.#track !== null) {
      this.#track.onended = null;
      this.#track.stop();
      this.#track = null;
    }
    this.#video.pause();
    this.#video.srcObject = null;
    this.#video.onended = null;
    if (this.#address !== null) {
      this.#video.removeAttribute("src");
      this.#video.load();
      if (this.#address.startsWith("blob:")) URL.revokeObjectURL(this.#address);
      this.#address = null;
    }
  }

  /** @param {"camera" | "screen"} kind @param {Wanted} wanted @param {number} run */
  async #live(kind, wanted, run) {
    const stream = await opened(kind, wanted);
    const [track] = stream.getVideoTracks();
    if (run !== this.#run) {
      track.stop();
      return;
    }
    this.#track = track;
    this.name = kind;
    track.onended = () => {
      if (run !== this.#run) return;
      this.stop();
      this.#onEnded();
    };
    this.#video.srcObject = stream;
    this.#video.loop = false;
    await this.#video.play().catch(() => {}); // frames come from the track as well
    if ("MediaStreamTrackProcessor" in globalThis) this.#fromTrack(track, wanted, run);
    else this.#fromVideo(wanted, run);
  }

  /** @param {"file" | "scene"} kind @param {Wanted} wanted @param {number} run */
  async #film(kind, wanted, run) {
    if (kind === "file" && wanted.file === undefined) throw new CaptureError("NoFile", "Choose a video file first.");
    const film = kind === "file" ? wanted.file : await sceneFilm();
    if (run !== this.#run) return;
    this.name = kind === "file" ? (wanted.file?.name ?? "file").slice(0, 60) : "scene";
    this.#address = URL.createObjectURL(/** @type {Blob} */ (film));
    this.#video.srcObject = null;
    this.#video.loop = kind === "scene";
    this.#video.src = this.#address;
    try {
      await this.#video.play();
    } catch {
      if (run !== this.#run) return;
      this.stop();
      throw new CaptureError("NotPlayable", `${this.name} cannot be played by this browser. Try an MP4 or a WebM.`);
    }
    if (run !== this.#run) return;
    if (kind === "file") {
      this.#video.pause(); // that it can be played is known now; nobody is there yet who could be told of it
      this.#video.currentTime = 0;
      this.#waits = true;
      this.#video.onended = () => run === this.#run && this.#onEnded();
    }
    this.#fromVideo(wanted, run);
  }

  /** @param {MediaStreamTrack} track @param {Wanted} wanted @param {number} run */
  async #fromTrack(track, wanted, run) {
    const Processor = /** @type {any} */ (globalThis).MediaStreamTrackProcessor;
    const reader = new Processor({ track, maxBufferSize: 1 }).readable.getReader();
    try {
      while (run === this.#run) {
        const { value: frame, done } = await reader.read();
        if (done) return;
        try {
          if (run === this.#run && this.#isDue(wanted.fps)) {
            await this.#hand(frame, frame.displayWidth, frame.displayHeight, wanted, run);
          }
        } finally {
          frame.close();
        }
      }
    } finally {
      reader.cancel().catch(() => {});
    }
  }

  /** @param {Wanted} wanted @param {number} run */
  #fromVideo(wanted, run) {
    const video = this.#video;
    const next = () => {
      if (run !== this.#run || video.ended) return;
      if ("requestVideoFrameCallback" in video) video.requestVideoFrameCallback(step);
      else requestAnimationFrame(step);
    };
    const step = () => {
      if (run !== this.#run) return;
      if (video.videoWidth > 0 && !this.#waits && !this.#busy && this.#isDue(wanted.fps)) {
        void this.#hand(video, video.videoWidth, video.videoHeight, wanted, run);
      }
      next();
    };
    next();
  }

  /** @param {number} fps */
  #isDue(fps) {
    const now = performance.now();
    const period = 1000 / fps;
    if (now < this.#due - period / 8) return false;
    this.#due = now > this.#due + period ? now + period : this.#due + period;
    return true;
  }

  /**
   * @param {ImageBitmapSource} picture
   * @param {number} wide
   * @param {number} high
   * @param {Wanted} wanted
   * @param {number} run
   */
  async #hand(picture, wide, high, { width, height }, run) {
    const atMs = Date.now();
    this.#busy = true;
    try {
      const [x, y, w, h] = cropped(wide, high, width / height);
      const scale = { resizeWidth: width, resizeHeight: height, resizeQuality: /** @type {const} */ ("medium") };
      const bitmap = await createImageBitmap(picture, x, y, w, h, scale);
      if (run === this.#run) this.#onFrame(bitmap, atMs);
      else bitmap.close();
    } catch (error) {
      if (!(error instanceof DOMException)) throw error; // a picture that was not ready: the next one is
    } finally {
      this.#busy = false;
    }
  }
}

/**
 * The largest part from the middle that has these proportions: left, top, width, height.
 *
 * @param {number} wide
 * @param {number} high
 * @param {number} ratio width by height
 * @returns {[number, number, number, number]}
 */
export function cropped(wide, high, ratio) {
  const w = Math.max(1, Math.round(Math.min(wide, high * ratio)));
  const h = Math.max(1, Math.round(Math.min(high, wide / ratio)));
  return [Math.floor((wide - w) / 2), Math.floor((high - h) / 2), w, h];
}

/** @param {"camera" | "screen"} kind @param {Wanted} wanted @returns {Promise<MediaStream>} */
async function opened(kind, { width, height }) {
  const devices = navigator.mediaDevices;
  if (devices === undefined || (kind === "screen" && devices.getDisplayMedia === undefined)) {
    const secure = "Cameras and screens open on secure pages only: http://localhost, or https (`vidtok serve --tls`).";
    throw new CaptureError("NotHere", window.isSecureContext ? "This browser cannot film a screen." : secure);
  }
  try {
    if (kind === "screen") return await devices.getDisplayMedia({ video: { frameRate: { ideal: 30 } } });
    const video = { width: { ideal: Math.max(640, width) }, height: { ideal: Math.max(480, height) }, facingMode: "environment" };
    return await devices.getUserMedia({ video, audio: false });
  } catch (error) {
    const name = error instanceof Error ? error.name : "Error";
    const why = WHY[/** @type {keyof typeof WHY} */ (name)] ?? `did not open (${name}). Press Start again.`;
    throw new CaptureError(name, `${kind === "camera" ? "The camera" : "The screen"} ${why}`);
  }
}

/** @returns {Promise<Blob>} the built-in scene, as the server draws it */
async function sceneFilm() {
  const response = await fetch("/scene.webm").catch(() => null);
  if (response === null || !response.ok) {
    throw new CaptureError("NoScene", "The server did not draw the built-in scene: is it running?");
  }
  return response.blob();
}
