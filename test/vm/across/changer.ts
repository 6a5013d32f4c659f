/**
 * Runs in a guest, as one of its programs: sets a key to 1, 2, 3, ... until a file is there that tells it to end, and prints how
 * often it did. On one connection, where a command for each would keep an emulated guest busy with nothing else.
 */
import { randomBytes } from "node:crypto";
import { existsSync } from "node:fs";
import { connect } from "node:net";
import { createInterface } from "node:readline";
import { setTimeout as pause } from "node:timers/promises";
import { crc32 } from "node:zlib";

/** Several times in each fault. */
const EVERY_MS = 300;
/** Before a frame's JSON: 0x1E, eight digits, a space. */
const HEADER = 10;

const [socketPath = "", key = "", endFile = ""] = process.argv.slice(2);
const socket = connect(socketPath);
const answers = createInterface(socket)[Symbol.asyncIterator]();
const nonce = randomBytes(8).toString("hex");
let asked = 0;

async function ask(method: string, params: object): Promise<void> {
  asked += 1;
  const payload = JSON.stringify({ jsonrpc: "2.0", id: `l${nonce}.${asked}`, method, params });
  socket.write(`\u001e${crc32(payload).toString(16).padStart(8, "0")} ${payload}\n`);
  const answer = String((await answers.next()).value);
  if (!("result" in (JSON.parse(answer.slice(HEADER)) as object))) throw new Error(answer);
}

await ask("hello", { role: "local", nonce, versions: [1], software: "changer 1" });
let count = 0;
while (!existsSync(endFile)) {
  count += 1;
  const entries = [{ key, value: String(count) }];
  await ask("set", { messageId: randomBytes(16).toString("hex"), entries });
  await pause(EVERY_MS);
}
process.stdout.write(`${count}\n`);
socket.destroy();
