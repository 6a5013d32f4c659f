/** The entry of the store's thread: SQLite waits for the disk, and here nobody waits with it. */
import { randomUUIDv7 } from "node:crypto";
import { join } from "node:path";
import { type MessagePort, parentPort, workerData } from "node:worker_threads";
import { unreachable } from "../../shared/protocol/errors.ts";
import type { Event } from "../events/event.ts";
import { commitTogether, type Transacting } from "./commit-together.ts";
import { openDatabase } from "./database.ts";
import type { FromThread, Request, ThreadOptions, ToThread } from "./operations.ts";
import { loadKey, SecretBox } from "./secret-box.ts";
import { operationsOn } from "./tables.ts";

if (parentPort !== null) serve(parentPort, workerData as ThreadOptions);

function serve(port: MessagePort, options: ThreadOptions): void {
  const tell = (message: FromThread) => {
    port.postMessage(message);
  };
  try {
    const { keySetAside, ...transacting } = open(options);
    port.on("message", (message: ToThread) => {
      switch (message.type) {
        case "batch":
          tell(answersTo(message.requests, transacting));
          return;
        case "close":
          transacting.database.close();
          port.close();
          return;
        default:
          unreachable(message);
      }
    });
    tell({ type: "opened", keySetAside });
  } catch (error) {
    tell({ type: "cannot-open", message: (error as Error).message });
  }
}

function open({ directory, limits }: ThreadOptions): Transacting & { keySetAside: string | undefined } {
  // First the database: only who has its lock may make the key.
  const database = openDatabase(directory);
  const { key, setAside } = loadKey(join(directory, "secrets.key"));
  const uncommitted: Event[] = [];
  const operations = operationsOn(database, { secrets: new SecretBox(key), limits, newId: randomUUIDv7, uncommitted });
  return { database, operations, uncommitted, keySetAside: setAside };
}

function answersTo(requests: readonly Request[], transacting: Transacting): FromThread {
  try {
    return { type: "answers", ...commitTogether(transacting, requests) };
  } catch (error) {
    // It could not even be rolled back: no later request can be trusted to be kept, so the thread ends.
    if (transacting.database.isTransaction) throw error;
    return { type: "not-committed", message: (error as Error).message };
  }
}
