/** Who asks the manager, and by what its certificate is trusted: options, then the environment, then the user's file. */
import { constants } from "node:fs";
import { type FileHandle, open } from "node:fs/promises";
import { join } from "node:path";
import * as z from "zod/mini";
import { DEFAULT_API_PORT } from "../../shared/api/endpoints.ts";
import { CommandError, systemCode, usageError } from "../../shared/cli/failure.ts";
import type { LoginOptions } from "../command.ts";
import type { Context } from "../context.ts";
import { hostAndPort } from "../door-arguments.ts";
import type { ManagerAddress } from "../door.ts";
import { addressInWords, type Trust } from "./connect.ts";
import type { PasswordReader } from "../../shared/cli/password-reader.ts";

export interface Login {
  /** The value of the header; undefined when nobody is named. */
  authorization: string | undefined;
  trust: Trust;
}

const SAFE_WAYS = "-p - (reads it), VMMESSAGE_PASSWORD, or the credentials file";

/** A hundred managers with their authorities' names are a tenth of it. */
const MAX_FILE_BYTES = 64 * 1024;

const fingerprint = z.pipe(
  z.pipe(
    z.string(),
    z.transform((text) => text.replaceAll(":", "").toLowerCase()),
  ),
  z.string().check(z.regex(/^[0-9a-f]{64}$/, "a fingerprint is 64 hexadecimal digits")),
);

const entry = z
  .strictObject({
    user: z.optional(z.string()),
    password: z.optional(z.string()),
    token: z.optional(z.string()),
    fingerprint: z.optional(fingerprint),
    ca: z.optional(z.string()),
  })
  .check(
    z.refine(
      ({ user, password, token }) => (user === undefined) === (password === undefined) && !(user && token),
      "either user and password, or token",
    ),
  );

const credentialsFile = z.record(z.string(), entry);
type Entry = z.infer<typeof entry>;

/** Throws CommandError: usage where a password or a file is missing, not-permitted for a file that others can read. */
export async function resolveLogin(
  address: ManagerAddress,
  options: LoginOptions,
  context: Context,
  passwords: PasswordReader,
): Promise<Login> {
  const stored = await storedEntry(address, context);
  return {
    authorization: await authorization(options, stored, context, passwords),
    trust: {
      caFile: options.caFile ?? stored.ca,
      // An authority that is named on the command line is meant in place of the stored certificate.
      fingerprint: options.fingerprint ?? (options.caFile === undefined ? stored.fingerprint : undefined),
    },
  };
}

async function authorization(
  options: LoginOptions,
  stored: Entry,
  context: Context,
  passwords: PasswordReader,
): Promise<string | undefined> {
  const { environment } = context;
  if (options.tokenFile !== undefined) return bearer(await tokenFromFile(options.tokenFile));
  const isGiven = options.user !== undefined || options.password !== undefined;
  const token = environment["VMMESSAGE_TOKEN"];
  if (!isGiven && token) return bearer(token);
  const fromEnvironment = environment["VMMESSAGE_USER"];
  const user = options.user ?? (fromEnvironment === "" ? undefined : fromEnvironment);
  if (user !== undefined) return basic(user, await passwordOf(user, options, stored, context, passwords));
  if (isGiven) throw usageError("whose password is it? name the user with -u USER, or in VMMESSAGE_USER");
  if (stored.token !== undefined) return bearer(stored.token);
  if (stored.user !== undefined && stored.password !== undefined) return basic(stored.user, stored.password);
  return undefined;
}

async function passwordOf(
  user: string,
  { password: given }: LoginOptions,
  stored: Entry,
  { environment, output }: Context,
  passwords: PasswordReader,
): Promise<string> {
  if (given === "-") return passwords.read(`password of ${user}`);
  if (given !== undefined) {
    output.note(`others on this machine can see a password on a command line; better are ${SAFE_WAYS}`);
    return given;
  }
  const password = environment["VMMESSAGE_PASSWORD"];
  if (password) return password;
  if (stored.user === user && stored.password !== undefined) return stored.password;
  if (passwords.canAsk) return passwords.read(`password of ${user}`);
  throw usageError(`the user '${user}' needs a password: ${SAFE_WAYS}`);
}

function basic(user: string, password: string): string {
  if (user.includes(":")) throw usageError(`'${user}' cannot be a user: it has a colon`);
  return `Basic ${Buffer.from(`${user}:${password}`).toString("base64")}`;
}

function bearer(token: string): string {
  if (/^[\x21-\x7e]+$/.test(token)) return `Bearer ${token}`;
  throw usageError("the token is none: it is empty, or has characters that no token has");
}

/** What the file says of this manager; nothing when there is no file. */
async function storedEntry(address: ManagerAddress, context: Context): Promise<Entry> {
  const path = credentialsPath(context);
  const text = await readPrivate(path, context.uid);
  if (text === undefined) return {};
  const wanted = address.type === "socket" ? "local" : addressInWords(address).toLowerCase();
  return Object.entries(parsedEntries(text, path)).find(([name]) => addressKey(name) === wanted)?.[1] ?? {};
}

export function credentialsPath({ environment, home }: Pick<Context, "environment" | "home">): string {
  const configHome = environment["XDG_CONFIG_HOME"] ?? "";
  return join(configHome.startsWith("/") ? configHome : join(home, ".config"), "vmmessage", "credentials");
}

function addressKey(name: string): string {
  if (name === "local") return name;
  const { host, port } = hostAndPort(name);
  return addressInWords({ type: "network", host, port: port ?? DEFAULT_API_PORT }).toLowerCase();
}

function parsedEntries(text: string, path: string): Record<string, Entry> {
  const expected = '{"HOST:PORT": {"user": "...", "password": "..."}, "local": {"token": "..."}}';
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch {
    // What the parser says may quote a password.
    throw usageError(`${path} is not JSON; it has to be ${expected}`);
  }
  const entries = credentialsFile.safeParse(json);
  if (entries.success) return entries.data;
  const [issue] = entries.error.issues;
  throw usageError(`${path}: ${issue?.path.join(".") ?? ""}: ${issue?.message ?? ""}; it has to be ${expected}`);
}

/** Undefined when there is no such file. Looked at after it was opened: what was looked at is what is read. */
async function readPrivate(path: string, uid: number): Promise<string | undefined> {
  // Without O_NONBLOCK opening a pipe would wait for its writer.
  const file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK).catch((error: unknown) => {
    if (["ENOENT", "ENOTDIR"].includes(systemCode(error) ?? "")) return undefined;
    throw new CommandError("not-permitted", `cannot open ${path} (${systemCode(error) ?? String(error)})`, { path });
  });
  if (file === undefined) return undefined;
  try {
    await assertPrivate(file, path, uid);
    return await readBounded(file, path);
  } finally {
    await file.close();
  }
}

async function assertPrivate(file: FileHandle, path: string, uid: number): Promise<void> {
  const stat = await file.stat();
  const problem = !stat.isFile()
    ? "it is not a regular file"
    : stat.uid !== uid
      ? `it belongs to the user ${stat.uid}`
      : (stat.mode & 0o077) !== 0
        ? `others have rights to it; do 'chmod 600 ${path}'`
        : undefined;
  if (problem !== undefined) throw new CommandError("not-permitted", `${path} is not used: ${problem}`, { path });
}

async function tokenFromFile(path: string): Promise<string> {
  // May be a pipe, whose writer is waited for: --token-file <(pass show token).
  const file = await open(path, "r").catch((error: unknown) => {
    throw usageError(`--token-file: cannot read ${path} (${systemCode(error) ?? String(error)})`);
  });
  try {
    const stat = await file.stat();
    if (stat.isFile() && (stat.mode & 0o077) !== 0) {
      throw new CommandError("not-permitted", `${path} is not used: others have rights to it; do 'chmod 600 ${path}'`);
    }
    return (await readBounded(file, path)).trim();
  } finally {
    await file.close();
  }
}

async function readBounded(file: FileHandle, path: string): Promise<string> {
  const pieces: Buffer[] = [];
  let length = 0;
  for await (const piece of file.createReadStream({ autoClose: false }) as AsyncIterable<Buffer>) {
    length += piece.length;
    if (length > MAX_FILE_BYTES) throw usageError(`${path} is over ${MAX_FILE_BYTES} bytes; it is another file`);
    pieces.push(piece);
  }
  return Buffer.concat(pieces).toString();
}
