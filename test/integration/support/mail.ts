/** A real mail server (aiosmtpd) on loopback, and one that answers as a test has it. */
import { type ChildProcess, execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { type AddressInfo, connect, createServer, type Server, type Socket } from "node:net";
import { tmpdir } from "node:os";
import type { Duplex } from "node:stream";
import { join } from "node:path";
import { promisify } from "node:util";
import { TLSSocket } from "node:tls";
import { vi } from "vitest";
import type { MailConfig } from "../../../manager/config.ts";
import { freePort } from "./ports.ts";

const run = promisify(execFile);

/** Debian's own, which has aiosmtpd. */
const PYTHON = "/usr/bin/python3";

/** Reads a mailbox with Python's email package, the oldest mail first. */
const READ_MAILBOX = `
import email, email.policy, json, pathlib, sys
paths = sorted(pathlib.Path(sys.argv[1], "new").glob("*"), key=lambda path: path.stat().st_mtime_ns)
mails = [email.message_from_bytes(path.read_bytes(), policy=email.policy.default) for path in paths]
print(json.dumps([{"headers": [[n.lower(), str(v)] for n, v in m.items()], "text": m.get_content()} for m in mails]))
`;

export interface ReceivedMail {
  /** By name in lower case; of two with one name, the last. */
  headers: Map<string, string>;
  names: string[];
  text: string;
}

export class MailServerUnderTest implements AsyncDisposable {
  readonly port: number;
  readonly #directory: string;
  #process: ChildProcess | undefined;

  private constructor(port: number, directory: string) {
    this.port = port;
    this.#directory = directory;
  }

  /** Settles when it takes mail. */
  static async start(): Promise<MailServerUnderTest> {
    const server = new MailServerUnderTest(await freePort(), await mkdtemp(join(tmpdir(), "mail-")));
    await server.restart();
    return server;
  }

  get config(): MailConfig {
    return { host: "127.0.0.1", port: this.port, tls: "opportunistic", from: "manager@host.example" };
  }

  async restart(): Promise<void> {
    await this.kill();
    const mailbox = ["-c", "aiosmtpd.handlers.Mailbox", join(this.#directory, "box")];
    const server = ["-m", "aiosmtpd", "-n", "-l", `127.0.0.1:${this.port}`, ...mailbox];
    this.#process = spawn("setpriv", ["--pdeathsig=KILL", PYTHON, ...server], { stdio: "ignore" });
    await vi.waitUntil(() => canConnect(this.port), { timeout: 20_000, interval: 50 });
  }

  async kill(): Promise<void> {
    const server = this.#process;
    if (server?.exitCode !== null || server.signalCode !== null) return;
    const ended = once(server, "exit");
    server.kill("SIGKILL");
    await ended;
  }

  /** What it has taken, the oldest first. */
  async messages(): Promise<ReceivedMail[]> {
    const { stdout } = await run(PYTHON, ["-c", READ_MAILBOX, join(this.#directory, "box")]);
    const mails = JSON.parse(stdout) as { headers: [string, string][]; text: string }[];
    return mails.map(({ headers, text }) => ({
      headers: new Map(headers),
      names: headers.map(([name]) => name),
      text,
    }));
  }

  async close(): Promise<void> {
    await this.kill();
    await rm(this.#directory, { recursive: true, force: true });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }
}

/**
 * What a scripted server answers to a command, by the whole command or its first word, to `CONNECT`, and as `DATA.` to the
 * mail itself; nothing when it is empty. `close` ends the connection.
 */
export type SmtpScript = Readonly<Record<string, string>>;

const DEFAULT_SCRIPT: SmtpScript = {
  CONNECT: "220 scripted.example",
  EHLO: "250 scripted.example",
  MAIL: "250 ok",
  RCPT: "250 ok",
  DATA: "354 go on",
  "DATA.": "250 taken",
  QUIT: "221 bye",
};

export class ScriptedMailServer implements AsyncDisposable {
  /** What clients said, without the mails. */
  readonly commands: string[] = [];
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  readonly #script: SmtpScript;
  readonly #tls: { key: string; cert: string } | undefined;

  private constructor(script: SmtpScript, tls: { key: string; cert: string } | undefined) {
    this.#script = { ...DEFAULT_SCRIPT, ...script };
    this.#tls = tls;
    this.#server = createServer((socket) => {
      this.#serve(socket);
    });
  }

  /** @param tls what it begins TLS with after it answered STARTTLS with 220 */
  static async start(script: SmtpScript = {}, tls?: { key: string; cert: string }): Promise<ScriptedMailServer> {
    const server = new ScriptedMailServer(script, tls);
    server.#server.listen(0, "127.0.0.1");
    await once(server.#server, "listening");
    return server;
  }

  get config(): MailConfig {
    const { port } = this.#server.address() as AddressInfo;
    return { host: "127.0.0.1", port, tls: "opportunistic", from: "manager@host.example" };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    this.#server.close();
    await once(this.#server, "close");
  }

  #serve(socket: Socket): void {
    this.#sockets.add(socket);
    socket.on("error", () => undefined);
    this.#say(socket, "CONNECT");
    this.#listen(socket);
  }

  #listen(socket: Duplex): void {
    let isMail = false;
    let rest = "";
    socket.on("data", (chunk: Buffer) => {
      const lines = (rest + chunk.toString()).split("\r\n");
      rest = lines.pop() ?? "";
      for (const line of lines) {
        if (isMail) {
          if (line !== ".") continue;
          isMail = false;
          this.#say(socket, "DATA.");
          continue;
        }
        this.commands.push(line);
        const answer = this.#say(socket, line in this.#script ? line : (/^\w+/.exec(line)?.[0].toUpperCase() ?? ""));
        isMail = line === "DATA" && answer.startsWith("354");
        if (line === "STARTTLS" && answer.startsWith("220")) this.#upgrade(socket);
      }
    });
  }

  #upgrade(socket: Duplex): void {
    socket.removeAllListeners("data");
    const secured = new TLSSocket(socket, { isServer: true, ...this.#tls });
    secured.on("error", () => undefined);
    this.#listen(secured);
  }

  #say(socket: Duplex, word: string): string {
    const answer = this.#script[word] ?? "502 not implemented";
    if (answer === "close") socket.destroy();
    else if (answer !== "") socket.write(`${answer.replaceAll("\n", "\r\n")}\r\n`);
    return answer;
  }
}

async function canConnect(port: number): Promise<boolean> {
  const socket = connect(port, "127.0.0.1");
  try {
    await once(socket, "data");
    return true;
  } catch {
    return false;
  } finally {
    socket.destroy();
  }
}
