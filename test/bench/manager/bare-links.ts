/**
 * The floor: what a program does at least that has a thousand links. It connects, greets and waits for the answers; it
 * writes a message for each guest to a disk in one transaction, sends them, and marks what was answered in a second one.
 * It checks nothing, mirrors nothing and tells nobody. Forked by bare-host.ts.
 */
import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { encodeFrame } from "../../../shared/protocol/frame.ts";
import { newMessageId, newNonce } from "../../../shared/random.ts";
import type { BareCommand, BareMessage } from "./bare-host.ts";

interface BareLink {
  socket: Socket;
  nonce: string;
}

const links: BareLink[] = [];
let requests = 1;
let database: DatabaseSync | undefined;

async function open(sockets: readonly string[]): Promise<void> {
  links.push(...(await Promise.all(sockets.map(openLink))));
}

async function openLink(path: string): Promise<BareLink> {
  const socket = connect(path);
  await once(socket, "connect");
  const nonce = newNonce();
  const params = { role: "host", nonce, versions: [1], software: "bare" };
  await answerTo({ socket, nonce }, 1, "hello", params);
  return { socket, nonce };
}

async function sendAll(directory: string): Promise<void> {
  requests += 1;
  const number = requests;
  const messages = links.map((link) => {
    const messageId = newMessageId();
    return { link, messageId, params: { messageId, entries: [{ key: "role", value: String(number) }] } };
  });
  database ??= openDatabase(directory);
  const insert = database.prepare("INSERT INTO messages (id, params) VALUES (?, ?)");
  const settle = database.prepare("UPDATE messages SET answer = ? WHERE id = ?");
  commit(database, () => {
    for (const { messageId, params } of messages) insert.run(messageId, JSON.stringify(params));
  });
  const answers = await Promise.all(messages.map(({ link, params }) => answerTo(link, number, "set", params)));
  commit(database, () => {
    for (const [index, { messageId }] of messages.entries()) settle.run(answers[index] ?? "", messageId);
  });
}

/** As durable as the manager's own. */
function openDatabase(directory: string): DatabaseSync {
  const opened = new DatabaseSync(join(directory, "bare.sqlite"));
  opened.exec("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL");
  opened.exec("CREATE TABLE messages (id TEXT PRIMARY KEY, params TEXT, answer TEXT) STRICT");
  return opened;
}

function commit(on: DatabaseSync, work: () => void): void {
  on.exec("BEGIN");
  work();
  on.exec("COMMIT");
}

/** Guests answer a bare host in one piece, and say nothing else but that they live. */
async function answerTo({ socket, nonce }: BareLink, number: number, method: string, params: object): Promise<string> {
  const id = `h${nonce}.${number}`;
  socket.write(encodeFrame({ jsonrpc: "2.0", id, method, params }));
  for (;;) {
    const [bytes] = (await once(socket, "data")) as [Buffer];
    const text = bytes.toString();
    if (text.includes(`"id":"${id}"`)) return text;
  }
}

async function obey(command: BareCommand): Promise<void> {
  switch (command.type) {
    case "open":
      return open(command.sockets);
    case "send-all":
      return sendAll(command.directory);
  }
}

process.on("message", (command: BareCommand) => {
  const startedAt = performance.now();
  void obey(command).then(() => {
    process.send?.({ ms: performance.now() - startedAt } satisfies BareMessage);
  });
});
process.on("disconnect", () => process.exit());
