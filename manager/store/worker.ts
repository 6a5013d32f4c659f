/** The entry of the store's thread: SQLite waits for the disk, and here nobody waits with it. */
import { join } from "node:path";
import type { DatabaseSync } from "node:sqlite";
import { type MessagePort, parentPort, workerData } from "node:worker_threads";
import { unreachable } from "../../shared/protocol/errors.ts";
import { commitTogether } from "./commit-together.ts";
import { openDatabase } from "./database.ts";
import type { FromThread, Operations, Request, ThreadOptions, ToThread } from "./operations.ts";
import { loadKey, SecretBox } from "./secret-box.ts";
import { operationsOn } from "./tables.ts";

if (parentPort !== null) serve(parentPort, workerData as ThreadOptions);

function serve(port: MessagePort, options: ThreadOptions): void {
  const tell = (message: FromThread) => {
    port.postMessage(message);
  };
  try {
    const { database, operations, keySetAside } = open(options);
    port.on("message", (message: ToThread) => {
      switch (message.type) {
        case "batch":
          tell(answersTo(message.requests, database, operations));
          return;
        case "close":
          database.close();
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

function open({ directory, limits }: ThreadOptions) {
  // First the database: only who has its lock may make the key.
  const database = openDatabase(directory);
  const { key, setAside } = loadKey(join(directory, "secrets.key"));
  return { database, operations: operationsOn(database, new SecretBox(key), limits), keySetAside: setAside };
}

function answersTo(requests: readonly Request[], database: DatabaseSync, operations: Operations): FromThread {
  try {
    return { type: "answers", answers: commitTogether(database, operations, requests) };
  } catch (error) {
    // It could not even be rolled back: no later request can be trusted to be kept, so the thread ends.
    if (database.isTransaction) throw error;
    return { type: "not-committed", message: (error as Error).message };
  }
}
