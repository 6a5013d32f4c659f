/** Many requests, one wait for the disk. */
import type { DatabaseSync } from "node:sqlite";
import { CommandError } from "../../shared/cli/failure.ts";
import type { Event } from "../events/event.ts";
import { type Answer, type Operations, perform, type Request } from "./operations.ts";

export interface Transacting {
  database: DatabaseSync;
  operations: Operations;
  /** Where the operations put the events that they append. */
  uncommitted: Event[];
}

export interface Committed {
  /** In the order of the requests. */
  answers: Answer[];
  /** The events that they appended. */
  appended: Event[];
}

/**
 * Does all requests in one transaction and commits it. One that fails changes nothing, and the others nothing of theirs.
 * @throws when nothing was committed, for instance because the disk is full
 */
export function commitTogether(transacting: Transacting, requests: readonly Request[]): Committed {
  const { database, uncommitted } = transacting;
  uncommitted.length = 0;
  database.exec("BEGIN");
  try {
    const answers = requests.map((request) => answerTo(request, transacting));
    database.exec("COMMIT");
    return { answers, appended: uncommitted.splice(0) };
  } catch (error) {
    if (database.isTransaction) database.exec("ROLLBACK");
    throw error;
  }
}

function answerTo(request: Request, { database, operations, uncommitted }: Transacting): Answer {
  const appendedBefore = uncommitted.length;
  database.exec("SAVEPOINT request");
  try {
    const value = perform(operations, request);
    database.exec("RELEASE request");
    return { type: "done", value };
  } catch (error) {
    // SQLite ends the whole transaction for some failures (https://www.sqlite.org/lang_transaction.html#response_to_errors).
    if (!database.isTransaction) throw error;
    database.exec("ROLLBACK TO request; RELEASE request");
    uncommitted.length = appendedBefore;
    return failure(request, error);
  }
}

function failure({ operation }: Request, error: unknown): Answer {
  if (error instanceof CommandError) return { type: "failed", code: error.code, message: error.message };
  return { type: "failed", code: "failed", message: `the store failed at ${operation}: ${(error as Error).message}` };
}
