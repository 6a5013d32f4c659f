/** From what the command line and its file name to the entries that are sent. */
import { constants } from "node:fs";
import { type FileHandle, open } from "node:fs/promises";
import { COMMIT_KEY } from "../../shared/bootstrap.ts";
import { unlessAborted } from "../../shared/abort.ts";
import { distinctKeys } from "../../shared/cli/arguments.ts";
import { CommandError, systemCode, usageError } from "../../shared/cli/failure.ts";
import type { PasswordReader } from "../../shared/cli/password-reader.ts";
import { MAX_ENTRIES_PER_CHANGE, MAX_PAYLOAD, MAX_VALUE } from "../../shared/protocol/limits.ts";
import type { NewEntry } from "../../shared/protocol/message.ts";
import { toWireValue, valueFromBytes } from "../../shared/protocol/value.ts";
import type { BootstrapCommand } from "../bootstrap-command.ts";
import type { Context } from "../context.ts";
import { settableKey } from "./settable-key.ts";
import type { SecretSource, Sources } from "./sources.ts";
import { MAX_VALUES_FILE, parseValuesFile } from "./values-file.ts";

/** The whole set travels in one frame, or in one request to a manager, each with some bytes around it. */
const MAX_SET_BYTES = MAX_PAYLOAD - 1024;

const NEWLINE = 0x0a;

/** Everybody but the owner. */
const OTHERS_MAY_READ = 0o044;

/** The keys, the secrets, and at the end the commit. Throws CommandError: usage, over-limit, failed for a file. */
export async function readBootstrapEntries(
  command: BootstrapCommand,
  commit: string,
  { context, passwords }: { context: Context; passwords: PasswordReader },
): Promise<NewEntry[]> {
  const { keys, secrets } = merged(command, await sourcesOf(command.file, context));
  distinctKeys([...keys, ...secrets].map(({ key }) => settableKey(key)));
  assertAskable(command, secrets);
  const entries: NewEntry[] = keys.map(({ key, value }) => boundedEntry(key, Buffer.from(value)));
  for (const source of secrets) {
    const bytes = await unlessAborted(context.interrupt, readSecret(source, context, passwords));
    entries.push({ ...boundedEntry(source.key, bytes), secret: true });
  }
  entries.push({ key: COMMIT_KEY, value: commit });
  assertOneMessage(entries);
  return entries;
}

function merged({ values, secrets }: BootstrapCommand, file: Sources): Sources {
  return { keys: [...file.keys, ...values], secrets: [...file.secrets, ...secrets] };
}

async function sourcesOf(file: string | undefined, { stdin, interrupt }: Context): Promise<Sources> {
  if (file === undefined) return { keys: [], secrets: [] };
  if (file === "-") {
    const bytes = await unlessAborted(interrupt, readBounded(stdin(), MAX_VALUES_FILE + 1));
    return parseBounded(bytes, "standard input");
  }
  const opened = await open(file, "r").catch((error: unknown) => {
    throw usageError(`--file: cannot read ${file} (${systemCode(error) ?? String(error)})`);
  });
  try {
    const reading = readBounded(opened.createReadStream({ autoClose: false }), MAX_VALUES_FILE + 1);
    return parseBounded(await unlessAborted(interrupt, reading), file);
  } finally {
    await opened.close();
  }
}

function parseBounded(bytes: Buffer, name: string): Sources {
  if (bytes.length <= MAX_VALUES_FILE) return parseValuesFile(bytes, name);
  throw usageError(`${name} is over ${MAX_VALUES_FILE} bytes; it is another file`);
}

/** What is typed and the values cannot both come from the standard input. */
function assertAskable({ file }: BootstrapCommand, secrets: readonly SecretSource[]): void {
  const asked = secrets.find(({ from }) => from === "prompt");
  if (file !== "-" || asked === undefined) return;
  throw usageError(
    `the values come from the standard input, so that nobody can be asked for '${asked.key}'; give a --file`,
  );
}

async function readSecret(source: SecretSource, context: Context, passwords: PasswordReader): Promise<Buffer> {
  if (source.from === "prompt") return Buffer.from(await passwords.read(source.prompt));
  const { key, path } = source;
  const bytes = await readSecretFile(key, path, context).catch((error: unknown) => {
    if (error instanceof CommandError) throw error;
    const reason = systemCode(error) ?? String(error);
    throw new CommandError("failed", `cannot read the secret '${key}' from ${path} (${reason})`, { key, path });
  });
  if (bytes.length === 0)
    throw new CommandError("failed", `${path} is empty; the secret '${key}' needs a value`, { key, path });
  return bytes;
}

async function readSecretFile(key: string, path: string, { output }: Context): Promise<Buffer> {
  // May be a pipe, whose writer is waited for: --secret-file KEY=<(pass show key).
  const file = await open(path, constants.O_RDONLY);
  try {
    if (await othersMayRead(file)) output.note(`others may read ${path}, and with it the secret '${key}'`);
    const bytes = await readBounded(file.createReadStream({ autoClose: false }), MAX_VALUE + 2);
    return bytes.at(-1) === NEWLINE ? bytes.subarray(0, -1) : bytes;
  } finally {
    await file.close();
  }
}

async function othersMayRead(file: FileHandle): Promise<boolean> {
  const stat = await file.stat();
  return stat.isFile() && (stat.mode & OTHERS_MAY_READ) !== 0;
}

/** At least `enough` bytes, or all: the source may have no end. */
async function readBounded(source: AsyncIterable<unknown>, enough: number): Promise<Buffer> {
  const pieces: Uint8Array[] = [];
  let length = 0;
  for await (const piece of source as AsyncIterable<Uint8Array>) {
    pieces.push(piece);
    length += piece.length;
    if (length >= enough) break;
  }
  return Buffer.concat(pieces);
}

function boundedEntry(key: string, bytes: Uint8Array): NewEntry {
  if (bytes.length <= MAX_VALUE) return { key, ...toWireValue(valueFromBytes(bytes)) };
  const message = `the value of '${key}' is over the limit of ${MAX_VALUE} bytes`;
  throw new CommandError("over-limit", message, { key, limit: MAX_VALUE });
}

/** All or none are set, so that all have to go at once. */
function assertOneMessage(entries: readonly NewEntry[]): void {
  const needed = entries.length;
  if (needed > MAX_ENTRIES_PER_CHANGE) {
    const message = `${needed} keys, the commit among them, are over the limit of ${MAX_ENTRIES_PER_CHANGE} for one set`;
    throw new CommandError("over-limit", message, { needed, limit: MAX_ENTRIES_PER_CHANGE });
  }
  const bytes = Buffer.byteLength(JSON.stringify(entries));
  if (bytes > MAX_SET_BYTES) {
    const message = `the keys take ${bytes} bytes together, over the limit of ${MAX_SET_BYTES} for one set`;
    throw new CommandError("over-limit", message, { needed: bytes, limit: MAX_SET_BYTES });
  }
}
