/** A server of the API with a scripted service, and clients for it: curl, and bare sockets. */
import { execFile, type ExecFileException } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { connect, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { ApiLimits } from "../../../../manager/api/limits.ts";
import { ApiServer } from "../../../../manager/api/server.ts";
import type { TlsDoorOptions, UnixDoorOptions } from "../../../../manager/api/door.ts";
import type { Log } from "../../../../shared/log.ts";
import { authenticator, ScriptedService } from "./scripted-service.ts";

export interface Logged {
  level: keyof Log;
  event: string;
  fields: Record<string, unknown>;
}

/** A log that is kept. */
export function keptLog(): Log & { lines: Logged[] } {
  const lines: Logged[] = [];
  const keep =
    (level: keyof Log) =>
    (event: string, fields: Record<string, unknown> = {}) => {
      lines.push({ level, event, fields });
    };
  return { lines, info: keep("info"), warn: keep("warn"), error: keep("error") };
}

export class ApiUnderTest implements AsyncDisposable {
  readonly directory: string;
  readonly service = new ScriptedService();
  readonly log = keptLog();
  #server: ApiServer | undefined;
  #listen: (() => Promise<ApiServer>) | undefined;

  private constructor(directory: string) {
    this.directory = directory;
  }

  /** On a Unix socket whose principal is an admin; `tls` adds an address on loopback with a certificate of its own. */
  static async start({ tls = false, limits = {} }: { tls?: boolean; limits?: Partial<ApiLimits> } = {}) {
    const api = new ApiUnderTest(await mkdtemp(join(tmpdir(), "vmm-api-")));
    if (tls) await makeCertificate(api.directory, "localhost");
    const doors = tls ? [api.unixDoor, api.tlsDoor] : [api.unixDoor];
    api.#listen = () => ApiServer.listen({ ...api.parts, doors, limits });
    api.#server = await api.#listen();
    return api;
  }

  /** As a manager is that stops and starts again, `whileAway` in between. The service's memory stands for its disk. */
  async restart(whileAway: () => void | Promise<void> = () => undefined): Promise<void> {
    await this.#server?.close();
    await whileAway();
    this.#server = await this.#listen?.();
  }

  get parts() {
    return { service: this.service, authenticator, log: this.log };
  }

  get socketPath(): string {
    return join(this.directory, "manager.sock");
  }

  get unixDoor(): UnixDoorOptions {
    return {
      type: "unix",
      path: this.socketPath,
      mode: 0o660,
      principal: { role: "admin", vms: ["*"], keys: [""] },
    };
  }

  get tlsDoor(): TlsDoorOptions {
    return {
      type: "tls",
      address: "127.0.0.1",
      port: 0,
      certificatePaths: [join(this.directory, "certificate.pem")],
      keyPath: join(this.directory, "key.pem"),
    };
  }

  get server(): ApiServer {
    if (this.#server === undefined) throw new Error("not started");
    return this.#server;
  }

  get tlsPort(): number {
    return Number(
      this.server.names
        .find((name) => name.startsWith("https:"))
        ?.split(":")
        .at(-1),
    );
  }

  /** With curl, over the Unix socket. */
  curl(path: string, ...options: string[]): Promise<CurlAnswer> {
    return curl("--unix-socket", this.socketPath, `http://manager${path}`, ...options);
  }

  /** With curl, over TLS. */
  curlTls(path: string, ...options: string[]): Promise<CurlAnswer> {
    const certificate = join(this.directory, "certificate.pem");
    const resolve = `localhost:${this.tlsPort}:127.0.0.1`;
    return curl("--cacert", certificate, "--resolve", resolve, `https://localhost:${this.tlsPort}${path}`, ...options);
  }

  post(path: string, body: unknown, ...options: string[]): Promise<CurlAnswer> {
    return this.curl(path, "-H", "Content-Type: application/json", "-d", JSON.stringify(body), ...options);
  }

  /** A connection that says exactly these bytes and then waits. */
  async connect(bytes: string | Uint8Array): Promise<RawClient> {
    return RawClient.open(connect(this.socketPath), bytes);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#server?.close();
    await rm(this.directory, { recursive: true, force: true });
  }
}

export interface CurlAnswer {
  exitCode: number;
  status: number;
  headers: Record<string, string[]>;
  body: string;
  json: unknown;
}

/** Runs the real curl to its end. */
export async function curl(...args: string[]): Promise<CurlAnswer> {
  const fixed = ["--silent", "--path-as-is", "--max-time", "20", "--write-out", "\\n%{http_code} %{header_json}"];
  const { exitCode, stdout } = await run("curl", [...fixed, ...args]);
  const at = stdout.search(/\n\d{3} \{[^]*$/);
  const status = Number(stdout.slice(at + 1, at + 4));
  const headers = status === 0 ? {} : (JSON.parse(stdout.slice(at + 5)) as Record<string, string[]>);
  const body = stdout.slice(0, at);
  return { exitCode, status, headers, body, json: parsed(body) };
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

export function run(program: string, args: string[]): Promise<{ exitCode: number; stdout: string }> {
  return new Promise((resolve) => {
    execFile(program, args, { maxBuffer: 64 * 1024 * 1024 }, (error: ExecFileException | null, stdout) => {
      resolve({ exitCode: error === null ? 0 : Number(error.code), stdout });
    });
  });
}

/** A self-signed one, with its key. */
export async function makeCertificate(directory: string, name: string): Promise<void> {
  const files = ["-keyout", join(directory, "key.pem"), "-out", join(directory, "certificate.pem")];
  const what = ["-subj", `/CN=${name}`, "-addext", `subjectAltName=DNS:${name}`, "-days", "2", "-nodes"];
  const curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"];
  const { exitCode } = await run("openssl", ["req", "-x509", ...curve, ...what, ...files]);
  if (exitCode !== 0) throw new Error("openssl made no certificate");
}

export class RawClient implements Disposable {
  readonly socket: Socket;
  received = "";
  isEnded = false;

  private constructor(socket: Socket) {
    this.socket = socket;
    socket.on("data", (chunk) => {
      this.received += chunk.toString();
    });
    socket.on("error", () => undefined);
    socket.on("end", () => {
      this.isEnded = true;
    });
    socket.on("close", () => {
      this.isEnded = true;
    });
  }

  static async open(socket: Socket, bytes: string | Uint8Array): Promise<RawClient> {
    await once(socket, "connect");
    const client = new RawClient(socket);
    socket.write(bytes);
    return client;
  }

  [Symbol.dispose](): void {
    this.socket.destroy();
  }
}
