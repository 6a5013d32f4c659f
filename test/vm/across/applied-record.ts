/** What a guest has really done, told by the guest's kernel: which keys were set, and how often each. */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import type { Guest } from "../harness/guest.ts";
import { waitFor } from "../harness/wait-for.ts";

/** Where the agent shows each key as a file. */
const KEY_FILES = "/run/vmmessage/keys";
const PROGRAM = "/tmp/recorder.ts";
/** The guest's second serial port, as `recordArgs` gives it one. */
const PORT = "/dev/ttyS1";

/** Of the guest's QEMU: a serial port whose bytes go to a file. */
export function recordArgs(path: string): string[] {
  return ["-chardev", `file,path=${path},id=record`, "-serial", "chardev:record"];
}

export class AppliedRecord {
  readonly #guest: Guest;
  readonly #path: string;

  private constructor(guest: Guest, path: string) {
    this.#guest = guest;
    this.#path = path;
  }

  /** Of what the guest does from now on; it was started with {@link recordArgs}. */
  static async start(guest: Guest, path: string): Promise<AppliedRecord> {
    await guest.writeFile(PROGRAM, await readFile(join(import.meta.dirname, "recorder.ts")));
    await guest.qga.spawn(["node", PROGRAM, KEY_FILES, PORT]);
    const record = new AppliedRecord(guest, path);
    await waitFor("the recorder in the guest", async () => (await record.#lines()).includes("recording"));
    return record;
  }

  /** How often each key was set. */
  async timesSet(): Promise<Map<string, number>> {
    const times = new Map<string, number>();
    for (const line of await this.#lines()) {
      const [, key] = /^set (.+)$/.exec(line) ?? [];
      if (key !== undefined) times.set(key, (times.get(key) ?? 0) + 1);
    }
    return times;
  }

  /** What the guest's programs find. Rejects while the key is not set. */
  valueOf(key: string): Promise<string> {
    return this.#guest.readText(`${KEY_FILES}/${key}`);
  }

  /** The cache's revision, which every change counts up by one. */
  async revision(): Promise<number> {
    return Number(await this.#guest.readText(`${KEY_FILES}/.revision`));
  }

  /** The last line may not have come to its end. A serial line ends with two bytes. */
  async #lines(): Promise<string[]> {
    return (await readFile(this.#path, "utf8")).split("\r\n").slice(0, -1);
  }
}
