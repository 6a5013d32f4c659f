/** Who is told: an HTTP server on loopback that answers 204 to every POST and counts. */
import { once } from "node:events";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { serveCommands } from "./worker-process.ts";

/** `await`: until so many have come since the last time; then idle connections are closed, so that each round makes its own. */
export type ReceiverCommand = { type: "port" } | { type: "await"; requests: number };

/** The port, or one of the requests. */
export interface ReceiverAnswer {
  port: number;
  sample: PostedEvent;
}

export interface PostedEvent {
  headers: Record<string, string>;
  body: string;
}

let received = 0;
let sample: PostedEvent = { headers: {}, body: "" };
let awaited = Infinity;
let isComplete = Promise.withResolvers<undefined>();

const server = createServer((request, response) => {
  const pieces: Buffer[] = [];
  request.on("data", (piece: Buffer) => pieces.push(piece));
  request.on("end", () => {
    response.writeHead(204).end();
    received += 1;
    if (received === 1) sample = { headers: sentHeaders(request.headersDistinct), body: String(Buffer.concat(pieces)) };
    if (received >= awaited) isComplete.resolve(undefined);
  });
});

/** Without those that HTTP's clients make themselves. */
function sentHeaders(headers: NodeJS.Dict<string[]>): Record<string, string> {
  const own = Object.entries(headers).filter(([name]) => !["host", "connection", "content-length"].includes(name));
  return Object.fromEntries(own.map(([name, values = []]) => [name, values.join(", ")]));
}

async function obey(command: ReceiverCommand): Promise<ReceiverAnswer> {
  if (command.type === "await") {
    awaited = command.requests;
    if (received < awaited) await isComplete.promise;
    isComplete = Promise.withResolvers();
    received = 0;
    awaited = Infinity;
    setImmediate(() => {
      server.closeIdleConnections();
    });
  }
  return { port: (server.address() as AddressInfo).port, sample };
}

server.listen(0, "127.0.0.1");
await once(server, "listening");
serveCommands(obey);
