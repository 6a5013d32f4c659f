/** Bytes that never became a request: too slow, too long, or no HTTP. */
import type { Socket } from "node:net";
import type { Calls } from "./calls.ts";
import { HttpError, PROBLEM_TYPE, refusalOf } from "./problems.ts";

/** The first byte of a TLS record with a handshake (RFC 8446, section 5.1). */
const TLS_HANDSHAKE = 0x16;

/** As Node's HTTP server reports it (`clientError`). */
export interface ClientError extends Error {
  code?: string;
  rawPacket?: unknown;
}

/** Says what is wrong where that can be said, and closes the connection. */
export function answerClientError(error: ClientError, socket: Socket, calls: Calls): void {
  // In the middle of an answer another one would be taken for a part of it.
  if (!socket.writable || error.code === "ECONNRESET" || calls.isAnswering(socket)) {
    socket.destroy();
    return;
  }
  socket.end(rawAnswer(refusalOfBytes(error)), () => {
    socket.destroy();
  });
}

function refusalOfBytes({ code, rawPacket }: ClientError): HttpError {
  switch (code) {
    case "HPE_HEADER_OVERFLOW":
      return new HttpError(431, "over-limit", "the request's headers are too long");
    case "HPE_CHUNK_EXTENSIONS_OVERFLOW":
      return new HttpError(413, "over-limit", "the body's chunk extensions are too long");
    case "ERR_HTTP_REQUEST_TIMEOUT":
      return new HttpError(408, "unreachable", "the request did not arrive in time; try again");
    default:
      return rawPacket instanceof Uint8Array && rawPacket[0] === TLS_HANDSHAKE
        ? new HttpError(400, "usage", "this is TLS; here plain HTTP is spoken, on a Unix socket")
        : new HttpError(400, "usage", "this is not HTTP/1.1");
  }
}

function rawAnswer(error: HttpError): string {
  const { problem } = refusalOf(error);
  const body = JSON.stringify(problem);
  return [
    `HTTP/1.1 ${problem.status} ${problem.title}`,
    `Content-Type: ${PROBLEM_TYPE}`,
    `Content-Length: ${Buffer.byteLength(body)}`,
    "Cache-Control: no-store",
    "Connection: close",
    "",
    body,
  ].join("\r\n");
}
