/**
 * Encrypts what must not be read from the database alone, its backups or its write-ahead log: AES-256-GCM under a key
 * that lies in a file beside it.
 */
import { createCipheriv, createDecipheriv, createHmac, hkdfSync, randomBytes } from "node:crypto";
import { closeSync, fsyncSync, openSync, readFileSync, renameSync, writeSync } from "node:fs";
import { dirname } from "node:path";
import { CommandError, systemCode } from "../../shared/cli/failure.ts";
import { randomHex } from "../../shared/random.ts";

const KEY_BYTES = 32;
/** NIST SP 800-38D, section 5.2.1.1: 96 bits. Random ones may be used for 2^32 messages under one key. */
const NONCE_BYTES = 12;
const TAG_BYTES = 16;

export class SecretBox {
  readonly #encryptionKey: Uint8Array;
  readonly #digestKey: Uint8Array;

  constructor(key: Uint8Array) {
    this.#encryptionKey = derivedKey(key, "encryption");
    this.#digestKey = derivedKey(key, "digest");
  }

  /** @param context what the text belongs to; it is opened only with the same */
  seal(text: string, context: string): Uint8Array {
    const nonce = randomBytes(NONCE_BYTES);
    const cipher = createCipheriv("aes-256-gcm", this.#encryptionKey, nonce).setAAD(Buffer.from(context));
    const encrypted = Buffer.concat([cipher.update(text, "utf8"), cipher.final()]);
    return Buffer.concat([nonce, cipher.getAuthTag(), encrypted]);
  }

  /** Undefined when it was sealed with another key, or changed since. */
  open(sealed: Uint8Array, context: string): string | undefined {
    const nonce = sealed.subarray(0, NONCE_BYTES);
    const tag = sealed.subarray(NONCE_BYTES, NONCE_BYTES + TAG_BYTES);
    try {
      const decipher = createDecipheriv("aes-256-gcm", this.#encryptionKey, nonce, { authTagLength: TAG_BYTES });
      decipher.setAAD(Buffer.from(context)).setAuthTag(tag);
      const text = decipher.update(sealed.subarray(NONCE_BYTES + TAG_BYTES));
      return Buffer.concat([text, decipher.final()]).toString("utf8");
    } catch {
      return undefined;
    }
  }

  /** Tells equal texts, and nothing else to who has no key: a plain hash of a short secret can be guessed. */
  digest(text: string): Uint8Array {
    return createHmac("sha256", this.#digestKey).update(text).digest();
  }
}

/** From one key one for each purpose (RFC 5869). */
function derivedKey(key: Uint8Array, purpose: string): Uint8Array {
  return new Uint8Array(hkdfSync("sha256", key, "", `vmmessaged store ${purpose}`, KEY_BYTES));
}

/**
 * The key in the file, made on the first use. A file that is no key is moved away: what it sealed cannot be opened by any
 * other, and the manager works on.
 */
export function loadKey(path: string): { key: Uint8Array; setAside: string | undefined } {
  const found = readIfThere(path);
  if (found?.length === KEY_BYTES) return { key: found, setAside: undefined };
  const setAside = found === undefined ? undefined : `${path}.unusable-${randomHex(4)}`;
  if (setAside !== undefined) renameSync(path, setAside);
  return { key: makeKey(path), setAside };
}

function readIfThere(path: string): Uint8Array | undefined {
  try {
    return readFileSync(path);
  } catch (error) {
    if (systemCode(error) === "ENOENT") return undefined;
    throw new CommandError("failed", `cannot read the key ${path} (${(error as Error).message})`, {}, { cause: error });
  }
}

/** On disk before anything is sealed with it. */
function makeKey(path: string): Uint8Array {
  const key = randomBytes(KEY_BYTES);
  const file = openSync(path, "wx", 0o600);
  try {
    writeSync(file, key);
    fsyncSync(file);
  } finally {
    closeSync(file);
  }
  const directory = openSync(dirname(path), "r");
  try {
    fsyncSync(directory);
  } finally {
    closeSync(directory);
  }
  return key;
}
