// @ts-check
/**
 * What carries whole packets: rtc.js has one over WebRTC, port.js one that lies in another thread. Packets may be lost,
 * doubled or reordered; they are never cut.
 *
 * @typedef {object} Endpoint
 * @property {(lane: number, data: Uint8Array) => void} send sends or drops, never waits; ConnectionClosed once the path
 *   is gone
 * @property {((data: Uint8Array, waitedS?: number) => void) | null} onpacket is called with every packet that comes, and
 *   with how long it waited for this thread, where it came to another
 * @property {((data: Uint8Array, waitedS: number) => void) | null} [onleft] is called with each packet that has left
 *   another thread, and with how long it waited for that
 * @property {((reason: string) => void) | null} onclose is called once, when the path is gone
 * @property {(() => void) | null} ondrain is called when all that was buffered has left
 * @property {number} bufferedAmount bytes handed to `send` that have not left this machine
 * @property {() => void} close gives the path up; safe to call twice
 */

export {};
