/** From what the command line and its file name to the entries that are sent. */
import { COMMIT_KEY, REPORT_KEY, REPORT_ROOM } from "../../shared/bootstrap.ts";
import { unlessAborted } from "../../shared/abort.ts";
import { distinctKeys } from "../../shared/cli/arguments.ts";
import { CommandError, Interruption, systemCode, usageError } from "../../shared/cli/failure.ts";
import type { PasswordReader } from "../../shared/cli/password-reader.ts";
import { MAX_ENTRIES_PER_CHANGE, MAX_PAYLOAD, MAX_VALUE } from "../../shared/protocol/limits.ts";
import type { NewEntry } from "../../shared/protocol/message.ts";
import { toWireValue, valueFromBytes } from "../../shared/protocol/value.ts";
import type { BootstrapCommand } from "../bootstrap-command.ts";
import type { Context } from "../context.ts";
import { openReadable, type ReadableFile } from "./readable-file.ts";
import { settableKey } from "./settable-key.ts";
import type { GivenKey, SecretSource, Sources } from "./sources.ts";
import { MAX_VALUES_FILE, parseValuesFile } from "./values-file.ts";

/** The whole set travels in one frame, or in one request to a manager, each with some bytes around it. */
const MAX_SET_BYTES = MAX_PAYLOAD - 1024;

const NEWLINE = 0x0a;

/** A value of theirs is a password, or its hash. */
const PASSWORD_KEYS = ["org.vmmessage.root-password", "com.oracle.linux.root-password"];

/** The keys, the secrets, the commit, and when the run is followed at the end room for its report. Throws CommandError: usage, over-limit, failed for a file. */
export async function readBootstrapEntries(
  command: BootstrapCommand,
  commit: string,
  { context, passwords }: { context: Context; passwords: PasswordReader },
): Promise<NewEntry[]> {
  const { keys, secrets } = merged(command, await sourcesOf(command.file, context));
  const own = [{ key: COMMIT_KEY, value: commit }, ...(command.follows ? [reportRoom(commit)] : [])];
  assertNotTooMany([...keys, ...secrets, ...own].length, own.length);
  distinctKeys([...keys, ...secrets].map(({ key }) => settableKey(key)));
  assertAskable(command, secrets);
  notePasswords(keys, context);
  const entries: NewEntry[] = keys.map(({ key, value }) => boundedEntry(key, Buffer.from(value)));
  for (const source of secrets) {
    entries.push({ ...boundedEntry(source.key, await readSecret(source, context, passwords)), secret: true });
  }
  entries.push(...own);
  assertOneMessage(entries);
  return entries;
}

/** A cache without room for the guest's report refuses the whole set, and what was reported before is gone. */
function reportRoom(commit: string): NewEntry {
  const text = (room: string): string => JSON.stringify({ state: "sent", commit, room });
  const missing = REPORT_ROOM - Buffer.byteLength(text(""));
  return { key: REPORT_KEY, value: text(" ".repeat(Math.max(0, missing))) };
}

function notePasswords(keys: readonly GivenKey[], { output }: Context): void {
  for (const { key } of keys.filter((given) => PASSWORD_KEYS.includes(given.key))) {
    output.note(`'${key}' is sent for everybody to read who may read keys; make it a secret (secrets:, --secret, --secret-file)`); // prettier-ignore
  }
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
  const opened = await openReadable(file).catch((error: unknown) => {
    throw usageError(`--file: cannot read ${file} (${systemCode(error) ?? String(error)})`);
  });
  return parseBounded(await readAndClose(opened, MAX_VALUES_FILE + 1, interrupt).catch(rethrowUnread(file)), file);
}

function rethrowUnread(file: string) {
  return (error: unknown): never => {
    if (error instanceof Interruption) throw error;
    const reason = systemCode(error) ?? String(error);
    throw new CommandError("failed", `--file: cannot read ${file} (${reason})`, { path: file });
  };
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
  if (source.from === "prompt") {
    return Buffer.from(await unlessAborted(context.interrupt, passwords.read(source.prompt)));
  }
  const { key, path } = source;
  const bytes = await readSecretFile(key, path, context).catch((error: unknown) => {
    if (error instanceof Interruption) throw error;
    const reason = systemCode(error) ?? String(error);
    throw new CommandError("failed", `cannot read the secret '${key}' from ${path} (${reason})`, { key, path });
  });
  if (bytes.length === 0)
    throw new CommandError("failed", `${path} is empty; the secret '${key}' needs a value`, { key, path });
  return bytes;
}

async function readSecretFile(key: string, path: string, { output, interrupt }: Context): Promise<Buffer> {
  const opened = await openReadable(path);
  if (opened.othersMayRead) output.note(`others may read ${path}, and with it the secret '${key}'`);
  const bytes = await readAndClose(opened, MAX_VALUE + 2, interrupt);
  return bytes.at(-1) === NEWLINE ? bytes.subarray(0, -1) : bytes;
}

async function readAndClose({ stream }: ReadableFile, enough: number, interrupt: AbortSignal): Promise<Buffer> {
  try {
    return await unlessAborted(interrupt, readBounded(stream, enough));
  } finally {
    stream.destroy();
  }
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

/** @param own how many of them the bootstrap adds */
function assertNotTooMany(needed: number, own: number): void {
  if (needed <= MAX_ENTRIES_PER_CHANGE) return;
  const ours = own === 1 ? "the commit" : "the commit and the report";
  const message = `${needed} keys, ${ours} among them, are over the limit of ${MAX_ENTRIES_PER_CHANGE} for one set`;
  throw new CommandError("over-limit", message, { needed, limit: MAX_ENTRIES_PER_CHANGE });
}

/** All or none are set, so that all have to go at once. */
function assertOneMessage(entries: readonly NewEntry[]): void {
  const bytes = Buffer.byteLength(JSON.stringify(entries));
  if (bytes > MAX_SET_BYTES) {
    const message = `the keys take ${bytes} bytes together, over the limit of ${MAX_SET_BYTES} for one set`;
    throw new CommandError("over-limit", message, { needed: bytes, limit: MAX_SET_BYTES });
  }
}
