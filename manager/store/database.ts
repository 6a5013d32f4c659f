/** Opens the database's file: private, durable at every commit, and ours alone. */
import { chmodSync, closeSync, mkdirSync, openSync, statSync } from "node:fs";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { CommandError } from "../../shared/cli/failure.ts";
import { migrate } from "./schema.ts";

const FILE = "store.db";

/** How long a manager that starts waits for the one before it to end. */
const LOCK_WAIT_MS = 2000;

/** The write-ahead log is cut to this after it grew: the default never cuts it. */
const LOG_SIZE_LIMIT = 64 * 1024 * 1024;

/** SQLite's primary result codes (https://www.sqlite.org/rescode.html). */
const SQLITE_BUSY = 5;
const SQLITE_CORRUPT = 11;
const SQLITE_NOTADB = 26;

const settings = `
  PRAGMA locking_mode = EXCLUSIVE;
  PRAGMA journal_mode = WAL;
  PRAGMA synchronous = FULL;
  PRAGMA secure_delete = ON;
  PRAGMA trusted_schema = OFF;
  PRAGMA journal_size_limit = ${LOG_SIZE_LIMIT};
`;

/** @throws CommandError that says why not, and what to do */
export function openDatabase(directory: string): DatabaseSync {
  const path = join(directory, FILE);
  makePrivateFile(directory, path);
  const database = new DatabaseSync(path, { timeout: LOCK_WAIT_MS, enableForeignKeyConstraints: true });
  try {
    database.exec(settings);
    migrate(database);
    // The lock for writing is taken by the first write and then kept: a second manager must fail here, not later.
    database.exec("BEGIN IMMEDIATE; COMMIT;");
    return database;
  } catch (error) {
    database.close();
    throw new CommandError("failed", `cannot open the database ${path}: ${reason(error)}`, {}, { cause: error });
  }
}

/** SQLite gives its other files the mode of the first. */
function makePrivateFile(directory: string, path: string): void {
  try {
    mkdirSync(directory, { recursive: true, mode: 0o700 });
    assertOthersCannotWrite(directory);
    closeSync(openSync(path, "a", 0o600));
    chmodSync(path, 0o600);
  } catch (error) {
    if (error instanceof CommandError) throw error;
    throw new CommandError("failed", `cannot make the database (${(error as Error).message})`, {}, { cause: error });
  }
}

/** Whoever can write to the directory can put another database in the place of ours. */
function assertOthersCannotWrite(directory: string): void {
  const mode = statSync(directory).mode & 0o777;
  if ((mode & 0o022) === 0) return;
  const message = `others can write to the state directory ${directory} (mode ${mode.toString(8)}); it needs mode 700`;
  throw new CommandError("not-permitted", message);
}

function reason(error: unknown): string {
  if (error instanceof CommandError) return error.message;
  const { message } = error as Error;
  switch (primaryCode(error)) {
    case SQLITE_BUSY:
      return "another vmmessaged has it open; end that one, or give this one a state directory of its own";
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
      return `it is damaged (${message}); move it away, or put a backup in its place`;
    default:
      return message;
  }
}

function primaryCode(error: unknown): number | undefined {
  return error instanceof Error && "errcode" in error ? Number(error.errcode) & 0xff : undefined;
}
