/** The key that all managers have and nobody else: who has it is a manager, whatever user it has at the broker. */
import { hkdfSync } from "node:crypto";
import { closeSync, constants, fstatSync, openSync, readFileSync, type Stats } from "node:fs";
import { CommandError, systemCode, usageError } from "../../../shared/cli/failure.ts";

const KEY_BYTES = 32;
const KEY_DIGITS = /^[0-9a-f]{64}$/i;

/** The key, a line's end and some white space; what is longer is another file. */
const MAX_FILE_BYTES = 1024;

/** Two people can compare it by telephone. */
const FINGERPRINT_BYTES = 8;

/** Purposes (RFC 5869, section 3.2): what is derived for one tells nothing of the others, nor of the key. */
const FINGERPRINT_INFO = "vmmessage peers 1 fingerprint";
const ENVELOPE_INFO = "vmmessage peers 1 envelope";

export class PeerKey {
  readonly #key: Uint8Array;
  /** 16 hexadecimal digits, the same for the same key: for people to compare, and in the clear in each envelope. */
  readonly fingerprint: string;

  /** @param key 32 bytes */
  constructor(key: Uint8Array) {
    this.#key = key;
    this.fingerprint = Buffer.from(hkdfSync("sha256", key, "", FINGERPRINT_INFO, FINGERPRINT_BYTES)).toString("hex");
  }

  /** For AES-256, of one sender's start: two senders that count alike never seal with the same key and nonce. */
  envelopeKeyOf(senderId: Uint8Array): Uint8Array {
    return new Uint8Array(hkdfSync("sha256", this.#key, senderId, ENVELOPE_INFO, KEY_BYTES));
  }
}

/**
 * Reads a file of 64 hexadecimal digits. Throws CommandError, never with what is in the file: `not-permitted` when somebody
 * else than root and we could have read or written it, or we cannot; `usage` when it is no key.
 */
export function readPeerKey(path: string): PeerKey {
  const digits = readPrivately(path).trim();
  if (!KEY_DIGITS.test(digits)) {
    throw usageError(`${path} does not hold 64 hexadecimal digits; 'openssl rand -hex 32' makes such a key`);
  }
  return new PeerKey(Buffer.from(digits, "hex"));
}

function readPrivately(path: string): string {
  const file = opened(path);
  try {
    assertPrivateFile(fstatSync(file), path);
    return readFileSync(file, "utf8");
  } finally {
    closeSync(file);
  }
}

/** Without waiting for a writer, where it is a FIFO. */
function opened(path: string): number {
  try {
    return openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
  } catch (error) {
    throw openFailure(error, path);
  }
}

function openFailure(error: unknown, path: string): CommandError {
  const cause = { cause: error };
  switch (systemCode(error)) {
    case "ENOENT": {
      const remedy = `'openssl rand -hex 32' makes a key, which all managers have`;
      return new CommandError("usage", `${path} does not exist; ${remedy}`, {}, cause);
    }
    case "EACCES":
    case "EPERM":
      return new CommandError("not-permitted", `${path} cannot be read by us; the manager runs as root`, {}, cause);
    default:
      return new CommandError("usage", `${path} cannot be read: ${(error as Error).message}`, {}, cause);
  }
}

function assertPrivateFile(stats: Stats, path: string): void {
  if (!stats.isFile()) throw usageError(`${path} is no regular file; the key lies in one of its own`);
  if (stats.uid !== 0 && stats.uid !== process.geteuid?.()) {
    throw new CommandError("not-permitted", `${path} belongs to another user (${stats.uid}); chown root ${path}`);
  }
  if ((stats.mode & 0o077) !== 0) {
    const mode = (stats.mode & 0o777).toString(8).padStart(4, "0");
    const remedy = `chmod 600 ${path}, and make a new key if somebody may have read it`;
    throw new CommandError("not-permitted", `${path} is open to others than its owner (${mode}); ${remedy}`);
  }
  if (stats.size > MAX_FILE_BYTES) {
    throw usageError(`${path} has ${stats.size} bytes; we need 64 hexadecimal digits and nothing else`);
  }
}
