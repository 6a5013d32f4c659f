/** A guest that does what no real agent does on demand: stays silent, talks nonsense, loses answers. */
import { once } from "node:events";
import { createServer, type Socket } from "node:net";
import { onTestFinished } from "vitest";
import { RequestError } from "../../../shared/protocol/errors.ts";
import { encodeFrame } from "../../../shared/protocol/frame.ts";
import type { HelloParams } from "../../../shared/protocol/message.ts";
import { GuestSession, type Request } from "../../../shared/protocol/session.ts";

export const EPOCH = "00000000000000e0";

const FACTS = {
  software: "scripted 1",
  uuid: null,
  bootId: null,
  epoch: EPOCH,
  revision: 0,
  limits: { cache: 8192, value: 32768, key: 256, payload: 262144 },
};

export interface Script {
  /** In place of the protocol: the guest says what it likes. */
  connected?: (socket: Socket) => void;
  /** The result of a request; undefined leaves it unanswered, a RequestError refuses it. */
  answer?: (request: Request, say: Say) => object | undefined;
  greeted?: (hello: HelloParams, say: Say) => void;
}

export interface Say {
  session: GuestSession;
  socket: Socket;
}

export async function scriptedGuest(path: string, script: Script): Promise<void> {
  const server = createServer((socket) => {
    socket.on("error", () => undefined);
    onTestFinished(() => {
      socket.destroy();
    });
    if (script.connected) script.connected(socket);
    else follow(script, socket);
  });
  server.listen(path);
  await once(server, "listening");
  onTestFinished(() => {
    server.close();
  });
}

function follow({ answer, greeted }: Script, socket: Socket): void {
  const session = new GuestSession({ role: "host", agentNonce: "00000000000000a0", onHello: () => FACTS });
  const say = { session, socket };
  socket.on("data", (bytes: Buffer) => {
    for (const event of session.receive(bytes)) {
      if (event.type === "send") socket.write(event.bytes);
      if (event.type === "opened") greeted?.(event.hello as HelloParams, say);
      if (event.type === "request") reply(event.request, answer, say);
    }
  });
}

function reply(request: Request, answer: Script["answer"], say: Say): void {
  try {
    const result = answer?.(request, say);
    if (result) say.socket.write(encodeFrame({ jsonrpc: "2.0", id: request.id, result }));
  } catch (error) {
    if (!(error instanceof RequestError)) throw error;
    say.socket.write(say.session.error(request, error));
  }
}

/** Writes for as long as the other side takes it. */
export function flood(socket: Socket, piece: () => Uint8Array): void {
  const write = (): void => {
    while (!socket.destroyed && socket.write(piece()));
  };
  socket.on("drain", write);
  write();
}

/** Drops what the host says; without it the socket's buffer fills. */
export function deaf(socket: Socket): void {
  socket.resume();
}
