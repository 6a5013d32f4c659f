/** The console's host key: by it clients know that they speak to the same manager as before. */
import { createHash } from "node:crypto";
import { link, open, unlink } from "node:fs/promises";
import { join } from "node:path";
import ssh2, { type ParsedKey } from "ssh2";
import { CommandError, systemCode } from "../../shared/cli/failure.ts";
import { newNonce } from "../../shared/random.ts";

const FILE_NAME = "console_host_ed25519_key";

/** One key in 180 that ssh2 makes cannot be read back (measured: 11 of 2,000): it drops a leading zero. */
const MAX_ATTEMPTS = 16;

export interface HostKey {
  /** In OpenSSH's form. */
  privateKey: string;
  /** As `ssh-keygen -l` shows it: `SHA256:...`. */
  fingerprint: string;
}

/** Reads the key, or makes it once. Rejects with CommandError when it cannot be used, or others can read it. */
export async function openHostKey(stateDirectory: string): Promise<HostKey> {
  const path = join(stateDirectory, FILE_NAME);
  const privateKey = (await readKey(path)) ?? (await makeKey(stateDirectory, path));
  const key = ssh2.utils.parseKey(privateKey);
  if (key instanceof Error) {
    throw new CommandError("failed", `${path} is not a private key: ${key.message}; without it a new one is made`);
  }
  const digest = createHash("sha256").update(key.getPublicSSH()).digest("base64");
  return { privateKey, fingerprint: `SHA256:${digest.replace(/=+$/, "")}` };
}

async function readKey(path: string): Promise<string | undefined> {
  try {
    await using file = await open(path, "r");
    const { mode } = await file.stat();
    if ((mode & 0o077) !== 0) {
      throw new CommandError("failed", `${path} can be read by others; chmod 600, or remove it for a new one`);
    }
    return await file.readFile("utf8");
  } catch (error) {
    if (systemCode(error) === "ENOENT") return undefined;
    throw error;
  }
}

/** Linked into place when it is on disk: there is never half a key, nor a second one over the first. */
async function makeKey(directory: string, path: string): Promise<string> {
  const temporary = `${path}.${newNonce()}`;
  await writeDurably(temporary, newPrivateKey());
  try {
    await link(temporary, path);
  } catch (error) {
    if (systemCode(error) !== "EEXIST") throw error;
  } finally {
    await unlink(temporary);
  }
  await syncDirectory(directory);
  const made = await readKey(path);
  if (made === undefined) throw new CommandError("failed", `${path} was removed while it was made`);
  return made;
}

async function writeDurably(path: string, text: string): Promise<void> {
  await using file = await open(path, "wx", 0o600);
  await file.writeFile(text);
  await file.sync();
}

async function syncDirectory(path: string): Promise<void> {
  await using directory = await open(path, "r");
  await directory.sync();
}

function newPrivateKey(): string {
  for (let attempt = 0; attempt < MAX_ATTEMPTS; attempt += 1) {
    const { private: key } = ssh2.utils.generateKeyPairSync("ed25519", { comment: "vmmessaged" });
    if (isSound(ssh2.utils.parseKey(key))) return key;
  }
  throw new Error("no sound ed25519 key was made");
}

function isSound(key: ParsedKey | Error): boolean {
  if (key instanceof Error) return false;
  const text = "sound";
  // Both answer with an Error instead of throwing it.
  const signature: Buffer | Error = key.sign(text);
  return !(signature instanceof Error) && Object.is(key.verify(text, signature), true);
}
