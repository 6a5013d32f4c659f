/** A key that a program in the guest changes again and again, whatever happens to the hosts. */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import type { Guest } from "../harness/guest.ts";

const PROGRAM = "/tmp/changer.ts";
const AGENT_SOCKET = "/run/vmmessage/agent.sock";

export class ChangingKey {
  readonly key: string;
  readonly #guest: Guest;
  readonly #pid: number;
  #stopped: Promise<number> | undefined;

  private constructor(guest: Guest, key: string, pid: number) {
    this.#guest = guest;
    this.key = key;
    this.#pid = pid;
  }

  /** `key` is nobody else's, and never was set before. */
  static async start(guest: Guest, key: string): Promise<ChangingKey> {
    await guest.writeFile(PROGRAM, await readFile(join(import.meta.dirname, "changer.ts")));
    return new ChangingKey(guest, key, await guest.qga.spawn(["node", PROGRAM, AGENT_SOCKET, key, endFileOf(key)]));
  }

  /** How often it was changed, which is its value from now on. */
  stop(): Promise<number> {
    return (this.#stopped ??= this.#stop());
  }

  async #stop(): Promise<number> {
    await this.#guest.writeFile(endFileOf(this.key), "");
    const { exitCode, stdout, stderr } = await this.#guest.qga.waitForExit(this.#pid);
    if (exitCode !== 0) throw new Error(`what changes ${this.key}: exit code ${exitCode}: ${stderr}`);
    return Number(stdout);
  }
}

function endFileOf(key: string): string {
  return `/tmp/${key}.end`;
}
