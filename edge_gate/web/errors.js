// @ts-check
/** What can be wrong with a packet, and whose fault it is. Twin of transport/errors.py. */

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
