// @ts-check
/**
 * The one table of state transitions, twin of transport/states.py: the rows of a sender, for there is no receiver here.
 *
 *     CONNECTING --welcome--> OPEN --close, silence--> CLOSED
 *                             | ^
 *                   path lost v | welcome, over a new path
 *                           SUSPENDED --too long--> CLOSED
 *
 * An input that is not in a state's row is not legal there: a packet is dropped (and traced), a call of our own raises
 * a LocalProtocolError.
 */

/** Where a session stands. */
export const State = Object.freeze({
  CONNECTING: "connecting",
  OPEN: "open",
  SUSPENDED: "suspended",
  CLOSED: "closed",
});

/** What can happen to a session: packets, calls of our own, and verdicts. */
export const Input = Object.freeze({
  HELLO: "hello",
  WELCOME: "welcome",
  DELTA: "delta",
  ACK: "ack",
  HEARTBEAT: "heartbeat",
  FEEDBACK: "feedback",
  REFRESH_REQUEST: "refresh-request",
  CLOSE: "close",
  SEND_DELTA: "send_delta",
  PATH_LOST: "path lost",
  LOCAL_CLOSE: "local close",
  FATAL: "fatal",
});

/** The input that a packet of each type is. */
export const INPUT_OF = Object.freeze({
  Hello: Input.HELLO,
  Welcome: Input.WELCOME,
  Delta: Input.DELTA,
  Ack: Input.ACK,
  Heartbeat: Input.HEARTBEAT,
  Feedback: Input.FEEDBACK,
  RefreshRequest: Input.REFRESH_REQUEST,
  Close: Input.CLOSE,
});

const { CONNECTING, OPEN, SUSPENDED, CLOSED } = State;
const ENDINGS = { [Input.CLOSE]: CLOSED, [Input.LOCAL_CLOSE]: CLOSED, [Input.FATAL]: CLOSED };

/** @type {Readonly<Record<string, Readonly<Record<string, string>>>>} */
export const TRANSITIONS = Object.freeze({
  [CONNECTING]: { [Input.WELCOME]: OPEN, [Input.PATH_LOST]: CLOSED, ...ENDINGS },
  [OPEN]: {
    [Input.WELCOME]: OPEN,
    [Input.ACK]: OPEN,
    [Input.FEEDBACK]: OPEN,
    [Input.REFRESH_REQUEST]: OPEN,
    [Input.SEND_DELTA]: OPEN,
    [Input.PATH_LOST]: SUSPENDED,
    ...ENDINGS,
  },
  [SUSPENDED]: { [Input.WELCOME]: OPEN, [Input.PATH_LOST]: SUSPENDED, ...ENDINGS },
  [CLOSED]: { [Input.PATH_LOST]: CLOSED, ...ENDINGS },
});

/**
 * Where an input leads from a state, or null where it is not legal.
 *
 * @param {string} state
 * @param {string} what
 * @returns {string | null}
 */
export function nextState(state, what) {
  return TRANSITIONS[state][what] ?? null;
}
