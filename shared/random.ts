/**
 * Random ids from the kernel (random(4)). Node's crypto module would give the same and cost a command that runs for 50 ms
 * another eight to load.
 */
import { closeSync, openSync, readSync } from "node:fs";

/** `bytes` random bytes as hexadecimal digits. */
export function randomHex(bytes: number): string {
  const buffer = Buffer.alloc(bytes);
  const urandom = openSync("/dev/urandom", "r");
  try {
    readSync(urandom, buffer);
  } finally {
    closeSync(urandom);
  }
  return buffer.toString("hex");
}

/** A session's nonce, an epoch, an agent's start: 64 bits. */
export function newNonce(): string {
  return randomHex(8);
}

/** The identity of a change or a message: nobody can guess one, so nobody can use one up before its owner. */
export function newMessageId(): string {
  return randomHex(16);
}
