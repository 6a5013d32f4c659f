/** Many requests, one wait for the disk. */
import type { DatabaseSync } from "node:sqlite";
import { CommandError } from "../../shared/cli/failure.ts";
import { type Answer, type Operations, perform, type Request } from "./operations.ts";

/**
 * Does all requests in one transaction and commits it. One that fails changes nothing, and the others nothing of theirs.
 * @throws when nothing was committed, for instance because the disk is full
 */
export function commitTogether(database: DatabaseSync, operations: Operations, requests: readonly Request[]): Answer[] {
  database.exec("BEGIN");
  try {
    const answers = requests.map((request) => answerTo(request, operations, database));
    database.exec("COMMIT");
    return answers;
  } catch (error) {
    if (database.isTransaction) database.exec("ROLLBACK");
    throw error;
  }
}

function answerTo(request: Request, operations: Operations, database: DatabaseSync): Answer {
  database.exec("SAVEPOINT request");
  try {
    const value = perform(operations, request);
    database.exec("RELEASE request");
    return { type: "done", value };
  } catch (error) {
    // SQLite ends the whole transaction for some failures (https://www.sqlite.org/lang_transaction.html#response_to_errors).
    if (!database.isTransaction) throw error;
    database.exec("ROLLBACK TO request; RELEASE request");
    return failure(request, error);
  }
}

function failure({ operation }: Request, error: unknown): Answer {
  if (error instanceof CommandError) return { type: "failed", code: error.code, message: error.message };
  return { type: "failed", code: "failed", message: `the store failed at ${operation}: ${(error as Error).message}` };
}
