import { execFileSync } from "node:child_process";
import { chmodSync, chownSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { inspect } from "node:util";
import { afterAll, beforeAll, expect, it } from "vitest";
import { PeerKey, readPeerKey } from "../../../../../manager/peers/broker/peer-key.ts";
import { CommandError } from "../../../../../shared/cli/failure.ts";

const digits = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";
const key = Buffer.from(digits, "hex");

let directory: string;

beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), "peer-key-"));
});

afterAll(() => {
  rmSync(directory, { recursive: true });
});

it.each([0o600, 0o400])("reads the key of a file with the mode %o, with white space around it", (mode) => {
  const path = keyFile(` ${digits}\r\n\n`, mode);
  expect(readPeerKey(path).fingerprint).toBe(new PeerKey(key).fingerprint);
});

it("reads it in capitals, and by a link", () => {
  const link = join(directory, "link");
  symlinkSync(keyFile(digits.toUpperCase(), 0o600), link);
  expect(readPeerKey(link).fingerprint).toBe(new PeerKey(key).fingerprint);
});

it("has a fingerprint of 16 digits that another key does not have, and that stays what it is", () => {
  expect(new PeerKey(key).fingerprint).toBe("7be8a6bdbb499754");
  expect(new PeerKey(Buffer.alloc(32)).fingerprint).toMatch(/^(?!7be8a6bdbb499754)[0-9a-f]{16}$/);
});

it("gives each sender an envelope key of its own, and shows none of its bytes", () => {
  const peerKey = new PeerKey(key);
  const keys = [Buffer.alloc(16), Buffer.alloc(16, 1)].map((sender) => Buffer.from(peerKey.envelopeKeyOf(sender)));
  expect(new Set(keys.map((one) => one.toString("hex"))).size).toBe(2);
  expect(keys.map(({ length }) => length)).toEqual([32, 32]);
  expect(inspect(peerKey, { depth: 9, showHidden: true }) + JSON.stringify(peerKey)).not.toMatch(/0011|17, 34/);
});

it.each<[string, () => string, string, RegExp]>([
  ["is not there", () => join(directory, "none"), "usage", /none does not exist; 'openssl rand -hex 32' makes a key/],
  ["is a directory", madeDirectory, "usage", /is no regular file/],
  ["is a FIFO", madeFifo, "usage", /is no regular file/],
  ["is a device", () => "/dev/zero", "usage", /is no regular file/],
  ["is open to its group", () => keyFile(digits, 0o640), "not-permitted", /\(0640\); chmod 600 \//],
  ["can be written by all", () => keyFile(digits, 0o602), "not-permitted", /\(0602\); chmod 600 \//],
  ["is empty", () => keyFile("", 0o600), "usage", /does not hold 64 hexadecimal digits; 'openssl rand -hex 32'/],
  ["is a digit short", () => keyFile(digits.slice(1), 0o600), "usage", /does not hold 64/],
  ["is a digit long", () => keyFile(`${digits}0`, 0o600), "usage", /does not hold 64/],
  ["has another letter", () => keyFile(`${digits.slice(1)}g`, 0o600), "usage", /does not hold 64/],
  ["is the key's own bytes", () => keyFile(key, 0o600), "usage", /does not hold 64/],
  ["is much longer", () => keyFile(digits + " ".repeat(2_000), 0o600), "usage", /has 2064 bytes/],
])("refuses a file that %s, and says what to do", (_, path, code, message) => {
  const failure = refusalOf(path());
  expect(failure).toMatchObject({ code, message: expect.stringMatching(message) as unknown });
  expect(inspect(failure)).not.toMatch(/2233|7788/);
});

it.skipIf(process.getuid?.() !== 0)("refuses a file of another user, who can read it", () => {
  const path = keyFile(digits, 0o600);
  chownSync(path, 1234, 1234);
  expect(refusalOf(path)).toMatchObject({
    code: "not-permitted",
    message: `${path} belongs to another user (1234); chown root ${path}`,
  });
});

let files = 0;

function keyFile(content: string | Buffer, mode: number): string {
  files += 1;
  const path = join(directory, `key${files}`);
  writeFileSync(path, content);
  chmodSync(path, mode);
  return path;
}

function madeDirectory(): string {
  const path = join(directory, "directory");
  mkdirSync(path);
  return path;
}

function madeFifo(): string {
  const path = join(directory, "fifo");
  execFileSync("mkfifo", ["-m", "600", path]);
  return path;
}

function refusalOf(path: string): unknown {
  try {
    return readPeerKey(path);
  } catch (error) {
    expect(error).toBeInstanceOf(CommandError);
    return error;
  }
}
