/**
 * Listens as QEMU's chardev does: one client is accepted, all others wait in the backlog. A separate program, because
 * Node accepts whoever comes for as long as its event loop turns.
 *
 *     node one-client-listener.ts PATH BACKLOG
 */
import { writeSync } from "node:fs";
import { createServer } from "node:net";

const [path = "", backlog = "1"] = process.argv.slice(2);
const server = createServer(() => {
  writeSync(1, "accepted\n");
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0);
});
server.listen({ path, backlog: Number(backlog) }, () => writeSync(1, "listening\n"));
