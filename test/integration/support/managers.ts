/** A real manager in a process of its own, with directories of its own and a file that lists its VMs. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdir, mkdtemp, open, readFile, rename, rm, writeFile } from "node:fs/promises";
import { request } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { vi } from "vitest";
import type { NewMessage, Receipt, VmSummary } from "../../../shared/api/schemas.ts";

/** The bundle, as it is shipped: scripts/test.ts builds it before this tier. */
const shippedProgram = join(import.meta.dirname, "..", "..", "..", "dist", "vmmessaged.js");

export interface Answer<T = unknown> {
  status: number;
  body: T;
}

/** A VM of the file: a name, and the socket where its agent or chardev listens. */
export interface ListedVm {
  name: string;
  socket: string;
  uuid?: string;
}

export interface Credentials {
  user: string;
  password: string;
}

/** How its process is started, where it is not as a child of the test's like any other. */
export interface ManagerProcess {
  /** What it is started by, as `nsenter --net ...`. */
  wrapper?: readonly string[];
  /** The bundle. */
  program?: string;
}

export class ManagerUnderTest implements AsyncDisposable {
  readonly directory: string;
  readonly #process: Required<ManagerProcess>;
  #child: ChildProcess | undefined;

  private constructor(directory: string, { wrapper = [], program = shippedProgram }: ManagerProcess) {
    this.directory = directory;
    this.#process = { wrapper, program };
  }

  /** @param config in addition to an inventory of one file with these VMs */
  static async start(
    vms: readonly ListedVm[],
    config: object = {},
    how: ManagerProcess = {},
  ): Promise<ManagerUnderTest> {
    const manager = new ManagerUnderTest(await mkdtemp(join(tmpdir(), "vmm-manager-")), how);
    await manager.list(vms);
    await manager.configure(config);
    await manager.start();
    return manager;
  }

  get socketPath(): string {
    return join(this.directory, "run", "manager.sock");
  }

  get stateDirectory(): string {
    return join(this.directory, "state");
  }

  get configPath(): string {
    return join(this.directory, "manager.json");
  }

  get pid(): number {
    if (this.#child?.pid === undefined) throw new Error("the manager is not running");
    return this.#child.pid;
  }

  get runArguments(): string[] {
    const { directory } = this;
    return [`--config=${this.configPath}`, `--state-dir=${this.stateDirectory}`, `--run-dir=${join(directory, "run")}`];
  }

  /** Replaces the file that lists the VMs. */
  async list(vms: readonly ListedVm[]): Promise<void> {
    const path = join(this.directory, "vms.json");
    await writeFile(`${path}.new`, JSON.stringify({ vms }));
    await rename(`${path}.new`, path);
  }

  async configure(config: object): Promise<void> {
    const inventory = { files: [join(this.directory, "vms.json")] };
    await mkdir(this.directory, { recursive: true });
    await writeFile(this.configPath, JSON.stringify({ inventory, ...config }));
  }

  /** Starts it (again); settles when it serves. */
  async start(): Promise<void> {
    await this.spawn();
    const serves = vi.waitFor(async () => expectOk(await this.get("/health")), SOON);
    // A manager that has ended will not serve, however long it is waited for.
    const ended = this.untilEnd().then(async () => Promise.reject(new Error(`the manager ended: ${await this.log()}`)));
    ended.catch(() => undefined);
    await Promise.race([serves, ended]);
  }

  /** Starts it and does not wait for anything. */
  async spawn(): Promise<void> {
    const log = await open(join(this.directory, "log"), "a");
    const { wrapper, program } = this.#process;
    const [first = "", ...rest] = [...wrapper, process.execPath, program, ...this.runArguments];
    this.#child = spawn(first, rest, { stdio: ["ignore", log.fd, log.fd] });
    await log.close();
  }

  get<T = unknown>(path: string): Promise<Answer<T>> {
    return this.call<T>("GET", path);
  }

  post<T = unknown>(path: string, body: object): Promise<Answer<T>> {
    return this.call<T>("POST", path, body);
  }

  /**
   * One request on the manager's own socket, as its administrator or as the user with these credentials. Rejects when no
   * whole answer comes.
   */
  async call<T>(method: string, path: string, body?: object, credentials?: Credentials): Promise<Answer<T>> {
    const { promise, resolve, reject } = Promise.withResolvers<Answer<T>>();
    const headers = {
      ...(body !== undefined && { "content-type": "application/json" }),
      ...(credentials !== undefined && { authorization: basic(credentials) }),
    };
    const asking = request({ socketPath: this.socketPath, method, path, headers, agent: false }, (response) => {
      text(response).then((answer) => {
        if (!response.complete) reject(new Error("the answer was cut"));
        else resolve({ status: response.statusCode ?? 0, body: JSON.parse(answer) as T });
      }, reject);
    });
    asking.on("error", reject);
    asking.end(body === undefined ? undefined : JSON.stringify(body));
    return promise;
  }

  async vm(name: string): Promise<VmSummary> {
    return expectOk(await this.get<VmSummary>(`/v1/vms/${encodeURIComponent(name)}`));
  }

  async send(vm: string, message: NewMessage): Promise<Receipt> {
    return expectOk(await this.post<Receipt>(`/v1/vms/${encodeURIComponent(vm)}/messages`, message));
  }

  /** Sets one key. */
  set(vm: string, key: string, value: string, more: Partial<NewMessage> = {}): Promise<Receipt> {
    return this.send(vm, { method: "set", params: { entries: [{ key, value }] }, ...more } as NewMessage);
  }

  async receipt(messageId: string): Promise<Receipt> {
    return expectOk(await this.get<Receipt>(`/v1/messages/${messageId}`));
  }

  /** Settles when the receipt has come that far. */
  async untilReceipt(messageId: string, state: Receipt["state"]): Promise<Receipt> {
    return vi.waitFor(async () => {
      const receipt = await this.receipt(messageId);
      if (receipt.state !== state) throw new Error(`the message is ${receipt.state}, not ${state}`);
      return receipt;
    }, SOON);
  }

  async untilLink(vm: string, state: VmSummary["link"]["state"]): Promise<VmSummary> {
    return vi.waitFor(async () => {
      const summary = await this.vm(vm);
      if (summary.link.state !== state) throw new Error(`the link is ${JSON.stringify(summary.link)}, not ${state}`);
      return summary;
    }, SOON);
  }

  log(): Promise<string> {
    return readFile(join(this.directory, "log"), "utf8");
  }

  /** The log's events of this name, in their order. */
  async logged(event: string): Promise<Record<string, unknown>[]> {
    const lines = (await this.log()).split("\n").filter((line) => line.startsWith("{"));
    return lines
      .map((line) => JSON.parse(line) as Record<string, unknown>)
      .filter((record) => record["event"] === event);
  }

  signal(signal: NodeJS.Signals): void {
    this.#child?.kill(signal);
  }

  /** Settles with the exit code, or the signal that ended it. */
  async kill(signal: NodeJS.Signals): Promise<number | NodeJS.Signals | null> {
    const child = this.#child;
    if (child?.exitCode !== null || child.signalCode !== null) return null;
    const ended = this.untilEnd();
    child.kill(signal);
    return ended;
  }

  /** Settles, when it has ended by whatever, as {@link kill} does. */
  async untilEnd(): Promise<number | NodeJS.Signals | null> {
    const child = this.#child;
    if (child?.exitCode !== null || child.signalCode !== null) return null;
    const [exitCode, endSignal] = (await once(child, "exit")) as [number | null, NodeJS.Signals | null];
    return exitCode ?? endSignal;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.kill("SIGKILL");
    await rm(this.directory, { recursive: true, force: true });
  }
}

/** Long enough for a machine that is busy with other tests. */
const SOON = { timeout: 30_000, interval: 50 };

/** RFC 7617 */
function basic({ user, password }: Credentials): string {
  return `Basic ${Buffer.from(`${user}:${password}`).toString("base64")}`;
}

function expectOk<T>({ status, body }: Answer<T>): T {
  if (status !== 200) throw new Error(`the manager answered ${status}: ${JSON.stringify(body)}`);
  return body;
}
