import { type ChildProcess, spawn } from "node:child_process";
import { closeSync, openSync } from "node:fs";

const running = new Set<ChildProcess>();

process.on("exit", () => {
  for (const child of running) child.kill("SIGKILL");
});

/** One QEMU. It dies with this process: by the hook above, and by the parent-death signal if we are killed. */
export class QemuProcess {
  readonly pid: number;
  /** Says how it ended, e.g. "exit code 1"; never rejects. */
  readonly exited: Promise<string>;
  readonly #child: ChildProcess;

  constructor(args: string[], logFile: string) {
    const log = openSync(logFile, "a");
    const command = ["--pdeathsig", "KILL", "qemu-system-x86_64", ...args];
    this.#child = spawn("setpriv", command, { stdio: ["ignore", log, log] });
    closeSync(log);
    this.pid = this.#child.pid ?? 0;
    running.add(this.#child);
    this.exited = new Promise((resolve) => {
      this.#child.on("error", (error) => {
        resolve(error.message);
      });
      this.#child.on("exit", (code, signal) => {
        running.delete(this.#child);
        resolve(signal ?? `exit code ${code ?? 0}`);
      });
    });
  }

  /** SIGKILL: nothing that QEMU holds back is written. */
  async kill(): Promise<void> {
    this.#child.kill("SIGKILL");
    await this.exited;
  }
}
