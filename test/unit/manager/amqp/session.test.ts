/** What a broker does that no RabbitMQ does: a scripted one on loopback, frame by frame (AMQP 0-9-1, section 4.2). */
import { EventEmitter, once } from "node:events";
import { type AddressInfo, createServer, type Server, type Socket } from "node:net";
import { afterEach, expect, it, vi } from "vitest";
import { amqpReason } from "../../../../manager/amqp/failure.ts";
import { type AmqpMessage, AmqpSession } from "../../../../manager/amqp/session.ts";
import { boundAnswers } from "../../../../manager/amqp/socket.ts";

const START = method(0, 10, 10, bytes(0, 9), long(0), longText("PLAIN"), longText("en_US"));
const TUNE = method(0, 10, 30, short(10), long(131_072), short(10));
const OPEN_OK = method(0, 10, 41, shortText(""));
const CHANNEL_OPEN_OK = method(1, 20, 11, longText(""));
const CONFIRM_SELECT_OK = method(1, 85, 11);
const CLOSE = method(0, 10, 50, short(541), shortText("no reason"), short(0), short(0));
const CHANNEL_CLOSE = method(1, 20, 40, short(404), shortText("no such thing"), short(0), short(0));

/** What is answered to each method of the client, by class and method. */
type Script = Record<string, (socket: Socket) => void>;

const wellBehaved: Script = {
  header: (socket) => socket.write(START),
  "10.11": (socket) => socket.write(TUNE),
  "10.40": (socket) => socket.write(OPEN_OK),
  "20.10": (socket) => socket.write(CHANNEL_OPEN_OK),
  "85.10": (socket) => socket.write(CONFIRM_SELECT_OK),
  "60.40": (socket) => socket.write(ack(1)),
  "10.50": (socket) => socket.write(method(0, 10, 51)),
};

const servers: Server[] = [];
const message: AmqpMessage = {
  exchange: "",
  routingKey: "q",
  body: Buffer.from("x"),
  properties: { messageId: "m", mandatory: true },
};
const { signal } = new AbortController();

afterEach(() => {
  for (const server of servers.splice(0)) server.close();
});

it("publishes to a broker that does as it should", async () => {
  const session = await opened({});
  expect(await session.publish([message], signal)).toEqual([{ type: "confirmed" }]);
  await session.close();
  expect(await session.ended).toMatch(/was closed$/);
});

it.each<[string, Script, RegExp]>([
  ["closes in the same breath as it opens", { "10.40": send(OPEN_OK, CLOSE) }, /says: no reason$/],
  ["closes the channel as it opens it", { "20.10": send(CHANNEL_OPEN_OK, CHANNEL_CLOSE) }, /says: no such thing$/],
  ["ends as soon as the channel is there", { "85.10": send(CONFIRM_SELECT_OK, CLOSE) }, /says: no reason$/],
  ["speaks HTTP", { header: send(Buffer.from("HTTP/1.1 400 Bad Request\r\n\r\n")) }, /does not speak AMQP 0-9-1$/],
  [
    "begins a frame of four gigabytes",
    { "10.40": send(Buffer.from("010000ffffffff", "hex")) },
    /does not speak AMQP 0-9-1$/,
  ],
  [
    "knows no PLAIN",
    { header: send(method(0, 10, 10, bytes(0, 9), long(0), longText("X"), longText("en_US"))) },
    /PLAIN/,
  ],
])("a broker that %s harms nobody", async (_, script, reason) => {
  const failure = await opened(script).then(
    async (session) => {
      await session.publish([message], signal);
      return session.ended;
    },
    (error: unknown) => amqpReason(error, broker(0)),
  );
  expect(failure).toMatch(reason);
});

it("ends a connection whose broker confirms what was never published", async () => {
  const session = await opened({ "60.40": send(ack(4_000_000_000)) });
  expect(await session.publish([message], signal)).toMatchObject([{ type: "unconfirmed" }]);
  expect(await session.ended).toMatch(/confirms what was never published/);
});

it("ends a connection whose broker returns a message without end", async () => {
  const returned = method(1, 60, 50, short(312), shortText("NO_ROUTE"), shortText(""), shortText("q"));
  const header = frame(2, 1, Buffer.concat([short(60), short(0), long(0x7fff_ffff), long(0), short(0)]));
  const pour = (socket: Socket): void => {
    if (socket.write(frame(3, 1, Buffer.alloc(100_000)))) setImmediate(pour, socket);
    else
      socket.once("drain", () => {
        pour(socket);
      });
  };
  const session = await opened({
    "60.40": (socket) => {
      socket.write(Buffer.concat([returned, header]));
      pour(socket);
    },
  });
  expect(await session.publish([message], signal)).toMatchObject([{ type: "unconfirmed" }]);
  expect(await session.ended).toMatch(/sends more than it was asked for$/);
});

it("says which messages no queue took", async () => {
  let tag = 0;
  const session = await opened({
    "60.40": (socket) => {
      tag += 1;
      const returned = method(1, 60, 50, short(312), shortText("NO_ROUTE"), shortText(""), shortText("q"));
      const header = Buffer.concat([short(60), short(0), long(0), long(1), short(0x0080), shortText(`m${tag}`)]);
      socket.write(Buffer.concat([returned, frame(2, 1, header), frame(3, 1, Buffer.from("x")), ack(tag)]));
    },
  });
  const messages = Array.from({ length: 10 }, (_, index) => {
    return { ...message, properties: { messageId: `m${index + 1}`, mandatory: true } };
  });
  const publications = await session.publish(messages, signal);
  const unroutable = { type: "refused", isUnroutable: true, reason: "no queue takes it: NO_ROUTE (q)" };
  expect(publications).toEqual(messages.map(() => unroutable));
  await session.close();
});

it("stays with a broker that returns and confirms the smallest of messages, however many they are", () => {
  const messages = 1_000_000;
  const destroy = vi.fn();
  const sizes = { bytesWritten: 52 * messages, bytesRead: (52 + "..NO_ROUTE".length + 1 + ack(1).length) * messages };
  const socket = Object.assign(new EventEmitter(), sizes, { destroy });
  boundAnswers(socket as unknown as Socket, () => new Error("too much"));
  socket.emit("readable");
  expect(destroy).not.toHaveBeenCalled();
});

it("stops waiting for a broker that confirms nothing when it is told to", async () => {
  const session = await opened({ "60.40": () => undefined });
  const stop = new AbortController();
  const publishing = session.publish([message], stop.signal);
  stop.abort();
  expect(await publishing).toMatchObject([{ type: "unconfirmed" }]);
  await session.close();
});

it("says good-bye for two seconds at most", async () => {
  const session = await opened({ "10.50": () => undefined });
  await session.close();
  expect(await session.ended).toMatch(/good-bye$/);
});

async function opened(script: Script): Promise<AmqpSession> {
  const port = await listening({ ...wellBehaved, ...script });
  const setUp = (): Promise<void> => Promise.resolve();
  const options = { broker: broker(port), guard: undefined, setUp, isConsumer: false, onBlocked: () => undefined };
  return AmqpSession.open(options, signal);
}

function broker(port: number) {
  return { tls: false, host: "127.0.0.1", port, vhost: "/", user: "guest", password: "guest" };
}

async function listening(script: Script): Promise<number> {
  const server = createServer((socket) => {
    let rest = Buffer.alloc(0);
    let isGreeted = false;
    socket.on("error", () => undefined);
    socket.on("data", (chunk) => {
      rest = Buffer.concat([rest, chunk]);
      if (!isGreeted && rest.length >= 8) {
        isGreeted = true;
        rest = rest.subarray(8);
        script["header"]?.(socket);
      }
      while (isGreeted && rest.length >= 8 && rest.length >= 8 + rest.readUInt32BE(3)) {
        const end = 8 + rest.readUInt32BE(3);
        if (rest[0] === 1) script[`${rest.readUInt16BE(7)}.${rest.readUInt16BE(9)}`]?.(socket);
        rest = rest.subarray(end);
      }
    });
  }).listen(0, "127.0.0.1");
  servers.push(server);
  await once(server, "listening");
  return (server.address() as AddressInfo).port;
}

/** In one write: the client reads all at once. */
function send(...frames: Buffer[]): (socket: Socket) => void {
  return (socket) => socket.write(Buffer.concat(frames));
}

function ack(tag: number): Buffer {
  return method(1, 60, 80, long(0), long(tag), bytes(0));
}

function method(channel: number, classId: number, methodId: number, ...fields: Buffer[]): Buffer {
  return frame(1, channel, Buffer.concat([short(classId), short(methodId), ...fields]));
}

function frame(type: number, channel: number, payload: Buffer): Buffer {
  return Buffer.concat([bytes(type), short(channel), long(payload.length), payload, bytes(0xce)]);
}

function bytes(...values: number[]): Buffer {
  return Buffer.from(values);
}

function short(value: number): Buffer {
  return bytes(value >> 8, value & 0xff);
}

function long(value: number): Buffer {
  const buffer = Buffer.alloc(4);
  buffer.writeUInt32BE(value);
  return buffer;
}

function shortText(text: string): Buffer {
  return Buffer.concat([bytes(text.length), Buffer.from(text)]);
}

function longText(text: string): Buffer {
  return Buffer.concat([long(text.length), Buffer.from(text)]);
}
