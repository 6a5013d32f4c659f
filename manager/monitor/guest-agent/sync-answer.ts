/**
 * The exchange that says whether qemu-ga answers: guest-sync-delimited
 * (https://www.qemu.org/docs/master/interop/qemu-ga-ref.html). Its answer begins with the byte 0xFF, which is in no JSON, and
 * holds the number that was asked for: whatever an earlier client left unread, or half sent, is told from it.
 */
import { randomHex } from "../../../shared/random.ts";

const DELIMITER = 0xff;
const LINE_END = 0x0a;

/** `{"return": 281474976710655}` with room to spare: what is longer is no answer to this. */
const MAX_ANSWER_BYTES = 1024;

/** A number that JSON's readers agree on and nobody can guess. */
export function newSyncId(): number {
  return Number.parseInt(randomHex(6), 16);
}

/** Its first byte ends what another client may have begun. */
export function syncRequest(id: number): Buffer {
  const request = JSON.stringify({ execute: "guest-sync-delimited", arguments: { id } });
  return Buffer.concat([Buffer.of(DELIMITER), Buffer.from(`${request}\n`)]);
}

/** Looks for the answer in what arrives, however it is cut. */
export class SyncAnswer {
  readonly #id: number;
  /** What came after the last 0xFF; undefined while there is none, or it cannot be the answer. */
  #answer: Buffer | undefined;

  constructor(id: number) {
    this.#id = id;
  }

  /** True when the answer is among the bytes. */
  take(bytes: Uint8Array): boolean {
    const [rest = Buffer.alloc(0), ...answers] = partsOf(bytes);
    if (this.#takePart(rest)) return true;
    for (const answer of answers) {
      this.#answer = Buffer.alloc(0);
      if (this.#takePart(answer)) return true;
    }
    return false;
  }

  #takePart(bytes: Buffer): boolean {
    if (this.#answer === undefined) return false;
    const end = bytes.indexOf(LINE_END);
    const answer = Buffer.concat([this.#answer, end === -1 ? bytes : bytes.subarray(0, end)]);
    this.#answer = end === -1 && answer.length <= MAX_ANSWER_BYTES ? answer : undefined;
    return end !== -1 && answer.length <= MAX_ANSWER_BYTES && returned(answer.toString()) === this.#id;
  }
}

/** What stands before the first 0xFF, and after each. */
function partsOf(bytes: Uint8Array): Buffer[] {
  const all = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const parts: Buffer[] = [];
  let from = 0;
  for (let at = all.indexOf(DELIMITER); at !== -1; at = all.indexOf(DELIMITER, from)) {
    parts.push(all.subarray(from, at));
    from = at + 1;
  }
  return [...parts, all.subarray(from)];
}

function returned(line: string): unknown {
  try {
    const message: unknown = JSON.parse(line);
    return typeof message === "object" && message !== null && "return" in message ? message.return : undefined;
  } catch {
    return undefined;
  }
}
