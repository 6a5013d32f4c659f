/** Passwords as they are kept: `scrypt$N$r$p$SALT$HASH` (RFC 7914), salt and hash in base64url. */
import { randomBytes, scrypt, type ScryptOptions, timingSafeEqual } from "node:crypto";
import { TooManyAttemptsError } from "./authenticator.ts";
import { WorkSlots } from "../work-slots.ts";

export interface ScryptCost {
  N: number;
  r: number;
  p: number;
}

/** OWASP's password storage cheat sheet, the row that needs 32 MiB; about 0.3 s on an old core. */
export const DEFAULT_COST: Readonly<ScryptCost> = { N: 2 ** 15, r: 8, p: 3 };

const SALT_BYTES = 16;
const HASH_BYTES = 32;

/** Half of libuv's four threads: files and names of hosts need the others. */
const COMPUTED_AT_ONCE = 2;

/** With a third of a second each, the last of them waits for ten seconds. */
const MAX_WAITING = 64;
const RETRY_WHEN_FULL_MS = 10_000;

interface KeptPassword extends ScryptCost {
  salt: Buffer;
  hash: Buffer;
}

export class Passwords {
  readonly #cost: ScryptCost;
  readonly #slots = new WorkSlots({ slots: COMPUTED_AT_ONCE, maxWaiting: MAX_WAITING });

  constructor(cost: ScryptCost = DEFAULT_COST) {
    this.#cost = cost;
  }

  /** Rejects with TooManyAttemptsError when too many wait. */
  async hash(password: string): Promise<string> {
    const salt = randomBytes(SALT_BYTES);
    const hash = await this.#compute(password, { ...this.#cost, salt });
    const { N, r, p } = this.#cost;
    return ["scrypt", N, r, p, salt.toString("base64url"), hash.toString("base64url")].join("$");
  }

  /**
   * Takes as long for a user who is not there, so that nobody learns who is. Rejects with TooManyAttemptsError when too
   * many wait.
   *
   * @param kept undefined for such a user, or one without a password
   */
  async matches(password: string, kept: string | undefined): Promise<boolean> {
    const expected = kept === undefined ? undefined : parse(kept);
    const hash = await this.#compute(password, expected ?? { ...this.#cost, salt: randomBytes(SALT_BYTES) });
    return expected !== undefined && timingSafeEqual(hash, expected.hash);
  }

  async #compute(password: string, { N, r, p, salt }: ScryptCost & { salt: Buffer }): Promise<Buffer> {
    if (this.#slots.isFull) throw new TooManyAttemptsError(RETRY_WHEN_FULL_MS);
    // The same letters have the same bytes, whichever keyboard they were typed on (RFC 8265, section 4.2.2).
    const text = password.normalize("NFC");
    // 128 N r bytes, and a little more (RFC 7914, section 2)
    const options = { N, r, p, maxmem: 128 * N * r + 128 * r * (p + 2) };
    return this.#slots.run(() => scryptOf(text, salt, options));
  }
}

function scryptOf(text: string, salt: Buffer, options: ScryptOptions): Promise<Buffer> {
  const { promise, resolve, reject } = Promise.withResolvers<Buffer>();
  scrypt(text, salt, HASH_BYTES, options, (error, hash) => {
    if (error === null) resolve(hash);
    else reject(error);
  });
  return promise;
}

function parse(kept: string): KeptPassword {
  const [, N, r, p, salt = "", hash = ""] = kept.split("$");
  return {
    N: Number(N),
    r: Number(r),
    p: Number(p),
    salt: Buffer.from(salt, "base64url"),
    hash: Buffer.from(hash, "base64url"),
  };
}
