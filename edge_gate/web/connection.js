// @ts-check
/**
 * The thin shell: runs a session over an endpoint, and over the next one when that is gone. Twin of
 * transport/adapters/connection.py and of how vidtok/live/edge.py rejoins.
 *
 *     endpoint.onpacket --> session.receiveDatagram --+
 *     timer --------------> session.handleTimeout ----+--> onEvent
 *     flush() ------------> session.datagramsToSend --+--> endpoint.send
 *
 * It does not matter where the endpoint lies: rtc.js has one for this thread, port.js one that lies in another.
 */

import { ConnectionClosed, PeerError } from "./errors.js";
import { State } from "./states.js";
import { CloseCode } from "./wire.js";

/** @typedef {import("./endpoint.js").Endpoint} Endpoint */
/** @typedef {import("./events.js").Event} Event */
/** @typedef {import("./session.js").Session} Session */

const GOODBYE_MS = 1000;
const GOODBYE_LOOK_MS = 10;
const SOON_S = 0.001;
const LATE_S = 0.01;
const FAR_S = 3600;
const FIRST_RETRY_S = 0.25;
const LAST_RETRY_S = 4.0;

const seconds = () => performance.now() / 1000;
const sleep = (/** @type {number} */ ms) => new Promise((resolve) => setTimeout(resolve, ms));

/**
 * `new Connection(session, endpoint, {onEvent}).start()`. After calls on the session (`sendDelta`, ...) call `flush()`.
 *
 * Every event is handed to `onEvent` at once; what it throws ends the session. With `again`, which connects anew, the
 * session goes on where its path was lost; without it, `attach` a new endpoint after `Suspended`.
 */
export class Connection {
  #onEvent;
  #again;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer;
  #due = Infinity; // when it should go off
  #path = true;
  #rejoining = false;
  #retryS = 0; // before the next attempt at a path
  #over = false;

  /**
   * @param {Session} session
   * @param {Endpoint} endpoint
   * @param {object} options
   * @param {(event: Event) => void} options.onEvent
   * @param {(() => Promise<Endpoint>) | null} [options.again]
   * @param {() => number} [options.clock] in seconds: the one whose time the session was made with
   */
  constructor(session, endpoint, { onEvent, again = null, clock = seconds }) {
    this.session = session;
    this.endpoint = endpoint;
    this.clock = clock;
    this.#onEvent = onEvent;
    this.#again = again;
  }

  /** Begin to read and to run timers. */
  start() {
    this.#use(this.endpoint);
    this.flush();
  }

  /** @param {Endpoint} endpoint */
  #use(endpoint) {
    this.endpoint = endpoint;
    this.#path = true;
    endpoint.onpacket = (data, waitedS = 0) => {
      if (endpoint !== this.endpoint || this.#over) return;
      const now = this.clock();
      this.#handUp(this.session.receiveDatagram(data, now, now - waitedS));
      this.flush();
    };
    endpoint.onleft = (data, waitedS) => this.session.leftLate(data, waitedS);
    endpoint.onclose = (reason) => {
      if (endpoint === this.endpoint && !this.#over) this.#losePath(reason);
    };
    endpoint.ondrain = () => {
      if (endpoint === this.endpoint) this.flush();
    };
  }

  /**
   * Go on over another endpoint; the one before is closed.
   *
   * @param {Endpoint} endpoint
   */
  attach(endpoint) {
    if (this.#over) {
      endpoint.close();
      return;
    }
    const before = this.endpoint;
    this.#use(endpoint);
    before.close();
    this.#handUp(this.session.pathLost(this.clock()));
    this.session.pathFound(this.clock());
    this.flush();
  }

  /** Send what is due, then wait for the session's next time. */
  flush() {
    if (this.#over) return;
    try {
      this.session.pathIsBehind(this.endpoint.bufferedAmount);
      for (const [lane, data] of this.session.datagramsToSend(this.clock())) this.endpoint.send(lane, data);
    } catch (error) {
      if (!(error instanceof ConnectionClosed)) throw error;
      this.#losePath(error.reason);
    }
    this.#arm();
  }

  #arm() {
    clearTimeout(this.#timer);
    const due = this.session.nextTimeout();
    if (due === null || this.#over) return;
    const waitS = Math.min(FAR_S, Math.max(SOON_S, due - this.clock()));
    this.#due = this.clock() + waitS;
    this.#timer = setTimeout(() => this.#onTimer(), Math.ceil(waitS * 1000));
  }

  #onTimer() {
    if (this.clock() > this.#due + LATE_S) { // this thread was busy: what came meanwhile is heard before it is missed
      this.#due = Infinity;
      this.#timer = setTimeout(() => this.#onTimer());
      return;
    }
    const events = this.session.handleTimeout(this.clock());
    if (events.some((event) => event.type === "Suspended")) this.#path = false; // silence
    this.#handUp(events);
    this.flush();
    this.#rejoin();
  }

  /** @param {string} reason */
  #losePath(reason) {
    this.#path = false;
    this.#handUp(this.session.pathLost(this.clock(), reason));
    this.#arm();
    this.#rejoin();
  }

  /** Connect anew, more and more patiently, until that works or the session has ended. */
  async #rejoin() {
    if (this.#again === null || this.#rejoining || !this.#lost()) return;
    this.#rejoining = true;
    try {
      while (this.#lost()) {
        await sleep(this.#retryS * 1000);
        this.#retryS = Math.min(2 * this.#retryS || FIRST_RETRY_S, LAST_RETRY_S);
        if (this.#lost()) await this.#reattach(this.#again);
      }
    } finally {
      this.#rejoining = false;
    }
  }

  /** @param {() => Promise<Endpoint>} again */
  async #reattach(again) {
    try {
      const endpoint = await again();
      if (this.#lost()) this.attach(endpoint);
      else endpoint.close();
    } catch (error) {
      if (!(error instanceof PeerError)) throw error;
    }
  }

  #lost() {
    return !this.#path && !this.#over && this.session.state === State.SUSPENDED;
  }

  /** @param {Event[]} events */
  #handUp(events) {
    for (const event of events) {
      if (event.type === "Resumed") this.#retryS = 0;
      try {
        this.#onEvent(event);
      } catch (error) {
        this.#fail(error);
      }
    }
  }

  /** @param {unknown} error the application's own: whoever brought us the packet has no part in it */
  #fail(error) {
    this.#onEvent = () => {};
    this.session.close(CloseCode.GOING_AWAY, "the application failed", this.clock());
    queueMicrotask(() => {
      throw error;
    });
  }

  /**
   * Say goodbye, give it a moment to leave, and close the endpoint.
   *
   * @param {number} [code]
   * @param {string} [reason]
   */
  async close(code = CloseCode.NORMAL, reason = "") {
    const gone = this.session.state === State.SUSPENDED;
    this.session.close(code, reason, this.clock());
    this.#handUp(this.session.handleTimeout(this.clock()));
    this.flush();
    for (let ms = 0; this.endpoint.bufferedAmount && !gone && ms < GOODBYE_MS; ms += GOODBYE_LOOK_MS) {
      await sleep(GOODBYE_LOOK_MS);
    }
    this.#over = true;
    clearTimeout(this.#timer);
    this.endpoint.close();
  }
}
