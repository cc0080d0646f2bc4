// @ts-check
/**
 * What a session hands up to the sending application: plain objects with a `type`. Twin of transport/events.py.
 *
 * - Connected: the handshake is done; the other side's meta map, and its wall clock at capture time 0.
 * - Acknowledged: the receiver has applied `version`; every older one but it may be forgotten.
 * - BaseLost: what was assumed to have arrived did not; diff again from `newBase`, even if nothing moved.
 * - Refresh: the receiver asked for everything again, from blank; `base()` is 0 now.
 * - FeedbackReceived: the newest feedback of the receiver's application.
 * - Suspended: the path is gone; the session waits for a new one, and what both ends hold stays good.
 * - Resumed: the session goes on over a new path.
 * - Closed: the session is over, by either side or for silence; the last event there is.
 *
 * @typedef {{type: "Connected", sessionId: Uint8Array, peer: Map<string, any>, wallMs: number | bigint}} Connected
 * @typedef {{type: "Acknowledged", version: number}} Acknowledged
 * @typedef {{type: "BaseLost", newBase: number}} BaseLost
 * @typedef {{type: "Refresh", reason: string}} Refresh
 * @typedef {{type: "FeedbackReceived", feedback: Map<string, any>}} FeedbackReceived
 * @typedef {{type: "Suspended"}} Suspended
 * @typedef {{type: "Resumed"}} Resumed
 * @typedef {{type: "Closed", code: number, reason: string}} Closed
 * @typedef {Connected | Acknowledged | BaseLost | Refresh | FeedbackReceived | Suspended | Resumed | Closed} Event
 */

export {};
