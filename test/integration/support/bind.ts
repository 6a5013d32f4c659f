/** A real BIND of its own: one zone that may be updated with a TSIG key, a private directory, a free port of loopback. */
import { type ChildProcess, execFile, spawn } from "node:child_process";
import { createSocket } from "node:dgram";
import { once } from "node:events";
import { mkdtemp, open, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import { promisify } from "node:util";
import { vi } from "vitest";

const START_TIMEOUT_MS = 30_000;

/** Debian has named and tsig-keygen where ordinary users do not look. */
const PATH = [process.env["PATH"] ?? "", "/usr/sbin"].join(delimiter);

const run = promisify(execFile);

export class BindUnderTest implements AsyncDisposable {
  readonly zone: string;
  readonly directory: string;
  readonly port: number;
  #process: ChildProcess | undefined;

  private constructor(zone: string, directory: string, port: number) {
    this.zone = zone;
    this.directory = directory;
    this.port = port;
  }

  /** Settles when it answers for the zone. */
  static async start(zone: string): Promise<BindUnderTest> {
    const bind = await BindUnderTest.make(zone);
    await bind.#makeKey();
    await writeFile(bind.#zonePath, EMPTY_ZONE);
    await bind.configure(bind.#zoneStatements);
    await bind.restart();
    return bind;
  }

  /** One that is still to be configured and started. */
  static async make(zone: string): Promise<BindUnderTest> {
    return new BindUnderTest(zone, await mkdtemp(join(tmpdir(), "bind-")), await freePort());
  }

  /** As nsupdate's `-k` takes it. */
  get keyPath(): string {
    return join(this.directory, "vmmessage-dns.key");
  }

  /** `ADDRESS:PORT` */
  get address(): string {
    return `127.0.0.1:${this.port}`;
  }

  /** @param statements the zone and its key */
  async configure(statements: string): Promise<void> {
    await writeFile(join(this.directory, "named.conf"), `${this.#options}\n${statements}`);
  }

  /** With what it had: updates are in its journal. */
  async restart(): Promise<void> {
    await this.kill();
    const log = await open(join(this.directory, "log"), "a");
    const named = ["named", "-g", "-c", join(this.directory, "named.conf"), "-n", "1"];
    const options = { env: { PATH }, stdio: ["ignore", log.fd, log.fd] as ["ignore", number, number] };
    this.#process = spawn("setpriv", ["--pdeathsig=KILL", ...named], options);
    await log.close();
    await vi.waitUntil(() => this.#answers(), { timeout: START_TIMEOUT_MS, interval: 50 });
  }

  /** Settles with the records that `dig +short` prints, sorted. @param name without the zone */
  async dig(name: string, type = "A"): Promise<string[]> {
    return (await this.query(`${name}.${this.zone}`, type)).sort();
  }

  async query(name: string, type: string): Promise<string[]> {
    const question = ["+short", "+time=2", "+tries=1", "@127.0.0.1", "-p", String(this.port), name, type];
    const { stdout } = await run("dig", question, { env: { PATH } });
    return stdout.split("\n").filter((line) => line !== "");
  }

  /** The whole zone without its SOA and NS, sorted: `web1.vms.example.com. 60 IN A 192.0.2.10`. */
  async records(): Promise<string[]> {
    const question = ["+noall", "+answer", "+tcp", "@127.0.0.1", "-p", String(this.port), this.zone, "AXFR"];
    const { stdout } = await run("dig", question, { env: { PATH } });
    const records = stdout.split("\n").map((line) => line.split(/\s+/).join(" "));
    return records.filter((record) => record !== "" && !/ IN (?:SOA|NS) /.test(record)).sort();
  }

  async kill(): Promise<void> {
    const named = this.#process;
    if (named?.exitCode !== null || named.signalCode !== null) return;
    const ended = once(named, "exit");
    named.kill("SIGKILL");
    await ended;
  }

  async close(): Promise<void> {
    await this.kill();
    await rm(this.directory, { recursive: true, force: true });
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  get #zonePath(): string {
    return join(this.directory, "zone");
  }

  get #zoneStatements(): string {
    return `include "${this.keyPath}";
zone "${this.zone}" {
  type primary;
  file "${this.#zonePath}";
  update-policy { grant vmmessage-dns zonesub A AAAA; };
};
`;
  }

  async #makeKey(): Promise<void> {
    const { stdout } = await run("tsig-keygen", ["vmmessage-dns"], { env: { PATH } });
    await writeFile(this.keyPath, stdout, { mode: 0o600 });
  }

  /** Nothing that it would share with another one of this machine. */
  get #options(): string {
    return `options {
  directory "${this.directory}";
  listen-on port ${this.port} { 127.0.0.1; };
  listen-on-v6 { none; };
  pid-file none;
  session-keyfile none;
  lock-file none;
  recursion no;
  dnssec-validation no;
  notify no;
  allow-transfer { 127.0.0.1; };
};
controls { };
`;
  }

  async #answers(): Promise<boolean> {
    if (this.#process?.exitCode !== null) throw new Error(`named ended; ${this.directory}/log says why`);
    return (await this.query(this.zone, "SOA").catch(() => [])).length > 0;
  }
}

const EMPTY_ZONE = `$TTL 60
@ IN SOA localhost. root.localhost. 1 3600 600 86400 60
@ IN NS localhost.
`;

/** Of UDP: most answers go over it. Somebody else may take it, or the TCP port, before it is used, which no test has met. */
async function freePort(): Promise<number> {
  const socket = createSocket("udp4");
  socket.bind(0, "127.0.0.1");
  await once(socket, "listening");
  const { port } = socket.address();
  socket.close();
  return port;
}
