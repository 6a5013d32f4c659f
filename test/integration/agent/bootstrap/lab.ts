/** An agent with modules of its own, and the commands that configure from its keys. No module touches this machine. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { chmod, mkdir, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { vi } from "vitest";
import { bootstrapReport, type BootstrapReport, COMMIT_KEY, REPORT_KEY } from "../../../../shared/bootstrap.ts";
import type { Params } from "../../../../shared/protocol/message.ts";
import { newMessageId } from "../../../../shared/random.ts";
import { agentProgram, AgentUnderTest, type RunResult } from "../../support/agents.ts";

export interface ModuleText {
  /** Targets and their orders; `configure` at 50 unless said. */
  header?: Record<string, number | string>;
  /** What `--enumerate` prints. */
  parameters?: object[];
  /** Of sh; `$1` is the target, the values come on stdin. */
  script: string;
}

export class BootstrapLab implements AsyncDisposable {
  readonly agent: AgentUnderTest;
  readonly #running = new Set<ChildProcess>();

  private constructor(agent: AgentUnderTest) {
    this.agent = agent;
  }

  static async open(modules: Record<string, ModuleText> = {}, config: object = {}): Promise<BootstrapLab> {
    const lab = new BootstrapLab(await AgentUnderTest.start());
    await mkdir(lab.moduleDirectory, { mode: 0o755 });
    await mkdir(lab.work, { mode: 0o755 });
    for (const [name, text] of Object.entries(modules)) await lab.addModule(name, text);
    await lab.configure(config);
    return lab;
  }

  get moduleDirectory(): string {
    return join(this.agent.directory, "template.d");
  }
  /** Where modules leave what tests look at; `$WORK` in their scripts. */
  get work(): string {
    return join(this.agent.directory, "work");
  }
  get #configFile(): string {
    return join(this.agent.directory, "bootstrap.json");
  }

  get #places(): string[] {
    return [`--config=${this.#configFile}`, `--state-dir=${this.agent.stateDirectory}`];
  }

  /** Replaces what bootstrap.json says. */
  async configure(config: object): Promise<void> {
    await writeFile(
      this.#configFile,
      JSON.stringify({ directories: [this.moduleDirectory], debounce: "50ms", ...config }),
    );
  }

  async addModule(name: string, { header = { configure: 50 }, parameters = [], script }: ModuleText): Promise<void> {
    const path = join(this.moduleDirectory, name);
    const lines = Object.entries({ name, ...header }).map(([member, value]) => `# ${member}: ${value}`);
    const enumerate = `if [ "$1" = --enumerate ]; then echo '${JSON.stringify(parameters)}'; exit; fi`;
    const head = [
      "#!/bin/sh",
      "### BEGIN PLUGIN INFO",
      ...lines,
      "### END PLUGIN INFO",
      `WORK='${this.work}'`,
      enumerate,
    ];
    await writeFile(path, [...head, script, ""].join("\n"));
    await chmod(path, 0o755);
  }

  /** A file that a module left, or undefined. */
  left(name: string): Promise<string | undefined> {
    return readFile(join(this.work, name), "utf8").catch(() => undefined);
  }

  /** As a host does: all in one change, with the commit. */
  async commit(values: Record<string, string>, secrets: Record<string, string> = {}, commit = "c1"): Promise<void> {
    const host = await this.agent.host();
    const entries = [
      ...Object.entries(values).map(([key, value]) => ({ key, value })),
      ...Object.entries(secrets).map(([key, value]) => ({ key, value, secret: true })),
      { key: COMMIT_KEY, value: commit },
    ];
    await host.change("set", { messageId: newMessageId(), entries });
    await host.close();
  }

  /** `agent bootstrap` or `agent config`, to its end. */
  run(...args: string[]): Promise<RunResult> {
    return this.agent.run(...this.#places, ...args);
  }

  runWithInput(input: string, ...args: string[]): Promise<RunResult> {
    return this.agent.runWithInput(input, ...this.#places, ...args);
  }

  /** Starts it, for what goes on. Ended with the lab. */
  start(...args: string[]): ChildProcess {
    const all = [agentProgram, `--run-dir=${this.agent.runDirectory}`, ...this.#places, ...args];
    const child = spawn(process.execPath, all, { stdio: "ignore" });
    this.#running.add(child);
    return child;
  }

  /** What the report's key shows, once it is as wanted. */
  async report(isWanted: (report: BootstrapReport) => boolean = () => true): Promise<BootstrapReport> {
    return vi.waitUntil(
      async () => {
        const { exitCode, stdout } = await this.agent.run("-g", REPORT_KEY);
        if (exitCode !== 0) return undefined;
        const report = bootstrapReport.parse(JSON.parse(stdout.toString()));
        return isWanted(report) && report;
      },
      { timeout: 30_000, interval: 100 },
    );
  }

  /** What the host gets of the queue, in order, each once: the last one may come again to a host that greets again. */
  async messages(): Promise<Params<"report">[]> {
    const received = new Map<string, Params<"report">>();
    const host = await this.agent.host({
      hello: { accepts: ["report"] },
      answer: ({ params }) => {
        const report = params as Params<"report">;
        received.set(report.messageId, report);
        return Promise.resolve({});
      },
    });
    await vi.waitUntil(async () => (await host.read("info", {})).queuedMessages === 0, { timeout: 20_000 });
    await host.close();
    return [...received.values()];
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const child of this.#running) {
      if (child.exitCode !== null || child.signalCode !== null) continue;
      const exited = once(child, "exit");
      child.kill("SIGKILL");
      await exited;
    }
    await this.agent[Symbol.asyncDispose]();
    await rm(this.agent.directory, { recursive: true, force: true });
  }
}
