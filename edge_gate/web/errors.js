// @ts-check
/** Every error that is raised on purpose, and whose fault it is. Twin of transport/errors.py. */

/** Our own side asked for something that the protocol does not allow. */
export class LocalProtocolError extends Error {
  name = "LocalProtocolError";
}

/** Bytes from the other side that are not valid. */
export class RemoteProtocolError extends Error {
  name = "RemoteProtocolError";
}

/** The peer speaks a protocol version that we do not. */
export class UnknownVersionError extends RemoteProtocolError {
  name = "UnknownVersionError";
}

/** A packet of a type that this version does not know: it is skipped. */
export class UnknownTypeError extends RemoteProtocolError {
  name = "UnknownTypeError";
}

/** The session is over, or the path is gone; `code` and `reason` say why. */
export class ConnectionClosed extends Error {
  name = "ConnectionClosed";

  /**
   * @param {number} code
   * @param {string} reason
   */
  constructor(code, reason) {
    super(reason ? `closed with code ${code}: ${reason}` : `closed with code ${code}`);
    this.code = code;
    this.reason = reason;
  }
}

/** The peer cannot be reached or refused the session; the message names it and what to do. */
export class PeerError extends Error {
  name = "PeerError";
}
