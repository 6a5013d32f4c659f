/** What a client may take of a door, and for how long. None of these ends a long wait: they are about receiving. */
export interface ApiLimits {
  /** To send a request's line and headers, and to greet over TLS: a client that drips holds a connection no longer. */
  headersMs: number;
  /** To send a request with its body. */
  requestMs: number;
  /** A connection between two requests. */
  idleConnectionMs: number;
  /** How often the three above are looked at. */
  checkIntervalMs: number;
  /** The request's line and headers: a key percent-encoded and a token several times over. */
  headerBytes: number;
  /** Connections of one door; a further one is closed at once. */
  connections: number;
  /** Requests of one door in progress: connections can carry several (pipelining). */
  requests: number;
  /** Streams of one principal, over all doors: a watch costs the manager one of the VM's. */
  streamsPerPrincipal: number;
  /** A comment in a stream that has nothing to say: it shows both sides that the other one lives. */
  streamKeepAliveMs: number;
  /** A client that takes nothing of its answer for this long is cut off; a stream it resumes where it was. */
  stalledReaderMs: number;
  /** Requests that run when the manager closes may take this long to end. */
  closeGraceMs: number;
}

/** Not measured, but for what they follow from: generous to every client that works, and an end to the others. */
export const defaultApiLimits: ApiLimits = {
  headersMs: 10_000,
  requestMs: 60_000,
  idleConnectionMs: 15_000,
  checkIntervalMs: 1000,
  headerBytes: 8 * 1024,
  connections: 256,
  requests: 512,
  streamsPerPrincipal: 64,
  streamKeepAliveMs: 15_000,
  stalledReaderMs: 60_000,
  closeGraceMs: 5000,
};

/** The longest path parameter: a key's 256 bytes, each percent-encoded. Longer keys than that are named as such. */
export const MAX_PATH_PARAMETER = 3 * 256;
