/** The bundled manager, in directories of its own, with one file that lists its VMs. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { rename, writeFile } from "node:fs/promises";
import { delimiter, dirname, join } from "node:path";
import { createTemporaryDirectory, removeTemporaryDirectory } from "../../vm/harness/temporary-directory.ts";
import { waitFor } from "../../vm/harness/wait-for.ts";
import { childEnvironment } from "../local-agent.ts";
import type { ListedGuest } from "./guest-fleet.ts";
import { ManagerCalls } from "./manager-calls.ts";

/** A thousand links on a machine that does other things too. */
const LINKS_TIMEOUT_MS = 120_000;

export class ManagerProcess implements AsyncDisposable {
  readonly calls: ManagerCalls;
  readonly #directory: string;
  readonly #child: ChildProcess;

  private constructor(directory: string, child: ChildProcess) {
    this.#directory = directory;
    this.#child = child;
    this.calls = new ManagerCalls(join(directory, "run", "manager.sock"));
  }

  /** Settles when it serves. It has no VMs yet. @param config what its configuration says beside the inventory */
  static async start(bundle: string, config: object = {}): Promise<ManagerProcess> {
    const directory = await createTemporaryDirectory();
    await writeFile(join(directory, "vms.json"), JSON.stringify({ vms: [] }));
    const configPath = join(directory, "manager.json");
    await writeFile(configPath, JSON.stringify({ inventory: { files: [join(directory, "vms.json")] }, ...config }));
    const places = [`--state-dir=${join(directory, "state")}`, `--run-dir=${join(directory, "run")}`];
    // As it is shipped: its first line says how Node is to run it.
    const env = {
      ...childEnvironment,
      PATH: `${dirname(process.execPath)}${delimiter}${childEnvironment["PATH"] ?? ""}`,
    };
    const child = spawn(join(bundle, "vmmessaged.js"), [`--config=${configPath}`, ...places], { env, stdio: "ignore" });
    const manager = new ManagerProcess(directory, child);
    try {
      await waitFor("the manager", () => manager.calls.linksUp().then(Number.isInteger, () => false));
      return manager;
    } catch (error) {
      await manager[Symbol.asyncDispose]();
      throw error;
    }
  }

  get pid(): number {
    if (this.#child.pid === undefined) throw new Error("the manager did not start");
    return this.#child.pid;
  }

  /** Gives it these guests and no others; settles when all of them are linked. */
  async link(guests: readonly ListedGuest[]): Promise<void> {
    await this.list(guests);
    const isDone = async (): Promise<boolean> => (await this.calls.linksUp()) === guests.length;
    await waitFor(`${guests.length} links`, isDone, { timeoutMs: LINKS_TIMEOUT_MS });
  }

  /** Gives it these guests and no others, who may be away. */
  async list(guests: readonly ListedGuest[]): Promise<void> {
    const path = join(this.#directory, "vms.json");
    await writeFile(`${path}.new`, JSON.stringify({ vms: guests }));
    await rename(`${path}.new`, path);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.calls.close();
    if (this.#child.exitCode === null && this.#child.signalCode === null) {
      const exited = once(this.#child, "exit");
      this.#child.kill("SIGKILL");
      await exited;
    }
    await removeTemporaryDirectory(this.#directory);
  }
}
