/** One place where the API is served: a Unix socket that stands for a principal, or a TLS address that asks for one. */
import { once } from "node:events";
import type { FastifyInstance } from "fastify";
import {
  createServer as createHttpServer,
  type IncomingMessage,
  type RequestListener,
  type Server as HttpServer,
  type ServerResponse,
} from "node:http";
import { createServer as createHttpsServer, type Server as HttpsServer } from "node:https";
import { MAX_BODY_BYTES } from "../../shared/api/endpoints.ts";
import type { AddressInfo } from "node:net";
import { CommandError } from "../../shared/cli/failure.ts";
import { unreachable } from "../../shared/protocol/errors.ts";
import type { Principal } from "../access/principal.ts";
import { plainAddress } from "../plain-address.ts";
import { type ApiParts, buildApi } from "./app.ts";
import { Calls } from "./calls.ts";
import { type CertificateFiles, readCertificate } from "./certificate.ts";
import type { ApiLimits } from "./limits.ts";
import { listenAtPath, type UnixSocketOptions } from "./unix-socket.ts";

/** Whoever may connect is `principal`, until they say who they are. */
export interface UnixDoorOptions extends UnixSocketOptions {
  type: "unix";
  principal: Pick<Principal, "role" | "vms" | "keys">;
}

/** TLS 1.2 or newer, never plain HTTP. Nothing is served here without credentials, `/health` neither. */
export interface TlsDoorOptions extends CertificateFiles {
  type: "tls";
  /** An address or a name of this machine: `0.0.0.0`, `::`. */
  address: string;
  /** 0 is any that is free. */
  port: number;
}

export type DoorOptions = UnixDoorOptions | TlsDoorOptions;

/** What clients can cause is told once in this time, not each time. */
const WARNING_INTERVAL_MS = 60_000;

/** What was told to stop gets this long to say so. */
const STOPPED_GRACE_MS = 1000;

export class Door {
  /** `unix:PATH` or `https:ADDRESS:PORT`, as it listens. */
  readonly name: string;
  readonly #parts: ApiParts;
  readonly #app: FastifyInstance;
  readonly #server: HttpServer | HttpsServer;
  readonly #calls: Calls;
  readonly #removePath: () => void;
  readonly #certificate: { server: HttpsServer; files: CertificateFiles } | undefined;
  #closed: Promise<void> | undefined;

  private constructor(parts: ApiParts, opened: Opened) {
    this.name = opened.name;
    this.#parts = parts;
    this.#app = opened.app;
    this.#server = opened.server;
    this.#calls = opened.calls;
    this.#removePath = opened.removePath;
    this.#certificate = opened.certificate;
    guard(opened.server, { name: opened.name, ...parts });
  }

  /** Rejects with CommandError when it cannot listen there. */
  static async open(parts: ApiParts, options: DoorOptions): Promise<Door> {
    const calls = new Calls(parts.limits.requests);
    switch (options.type) {
      case "unix":
        return new Door(parts, await openUnixDoor(parts, options, calls));
      case "tls":
        return new Door(parts, await openTlsDoor(parts, options, calls));
      default:
        return unreachable(options);
    }
  }

  /** Reads the certificate's files again; new connections get what is in them. If they do not fit, all stays as it is. */
  async reload(): Promise<void> {
    if (this.#certificate === undefined) return;
    const { server, files } = this.#certificate;
    server.setSecureContext(await readCertificate(files));
  }

  /** Accepts nothing more, ends streams, lets requests end for a while, and stops those that have not. */
  close(): Promise<void> {
    this.#closed ??= this.#close();
    return this.#closed;
  }

  async #close(): Promise<void> {
    const stopping = new CommandError("unreachable", "the manager stops; try again");
    this.#removePath();
    const closed = new Promise((resolve) => this.#server.close(resolve));
    this.#calls.stop(stopping, "streams");
    await this.#calls.idle(this.#parts.limits.closeGraceMs);
    this.#calls.stop(stopping, "all");
    await this.#calls.idle(STOPPED_GRACE_MS);
    this.#server.closeAllConnections();
    await closed;
    await this.#app.close();
  }
}

interface Opened {
  name: string;
  app: FastifyInstance;
  server: HttpServer | HttpsServer;
  calls: Calls;
  removePath: () => void;
  certificate: { server: HttpsServer; files: CertificateFiles } | undefined;
}

async function openUnixDoor(parts: ApiParts, options: UnixDoorOptions, calls: Calls): Promise<Opened> {
  const name = `unix:${options.path}`;
  const { role, vms, keys } = options.principal;
  const principal: Principal = { name: `socket:${options.path}`, via: name, role, vms, keys };
  const server = createHttpServer(httpOptions(parts.limits));
  const app = await buildApi(parts, { name, principal, via: () => name, calls, serverFactory: servingOn(server) });
  const removePath = await listenAtPath(server, options);
  return { name, app, server, calls, removePath, certificate: undefined };
}

async function openTlsDoor(parts: ApiParts, options: TlsDoorOptions, calls: Calls): Promise<Opened> {
  const { address, port } = options;
  const certificate = await readCertificate(options);
  const { limits } = parts;
  const server = createHttpsServer({ ...httpOptions(limits), ...certificate, handshakeTimeout: limits.headersMs });
  const app = await buildApi(parts, {
    name: `https:${hostAndPort(address, port)}`,
    principal: undefined,
    via: (request) => `https:${plainAddress(request.socket.remoteAddress ?? "unknown")}`,
    calls,
    serverFactory: servingOn(server),
  });
  try {
    server.listen(port, address);
    await once(server, "listening");
  } catch (error) {
    const reason = (error as Error).message;
    const where = hostAndPort(address, port);
    throw new CommandError("failed", `cannot listen on ${where}: ${reason}`, {}, { cause: error });
  }
  const name = `https:${hostAndPort(address, (server.address() as AddressInfo).port)}`;
  const removePath = () => undefined;
  return { name, app, server, calls, removePath, certificate: { server, files: options } };
}

function httpOptions(limits: ApiLimits) {
  return {
    headersTimeout: limits.headersMs,
    requestTimeout: limits.requestMs,
    keepAliveTimeout: limits.idleConnectionMs,
    connectionsCheckingInterval: limits.checkIntervalMs,
    maxHeaderSize: limits.headerBytes,
  };
}

/** Fastify's routes on a server of ours: it is we who listen and close. */
function servingOn(server: HttpServer | HttpsServer) {
  return (handler: RequestListener): HttpServer => {
    server.on("request", handler);
    // Who asks before sending a body that is refused anyway is answered at once (RFC 9110, section 10.1.1), and not cut off.
    server.on("checkContinue", (request: IncomingMessage, response: ServerResponse) => {
      const isTooLarge = Number(request.headers["content-length"]) > MAX_BODY_BYTES;
      if (!isTooLarge) response.writeContinue();
      server.emit("request", request, response);
    });
    return server;
  };
}

function hostAndPort(address: string, port: number): string {
  return address.includes(":") ? `[${address}]:${port}` : `${address}:${port}`;
}

/** Too many connections, or none that the system can accept: neither is to end the manager, nor to fill the log. */
function guard(server: HttpServer | HttpsServer, { name, log, limits }: { name: string } & ApiParts): void {
  server.maxConnections = limits.connections;
  const warnFull = atMostEvery(WARNING_INTERVAL_MS, () => {
    log.warn("connections-refused", { door: name, limit: limits.connections });
  });
  const warnFailed = atMostEvery(WARNING_INTERVAL_MS, (error: Error) => {
    log.warn("connections-failed", { door: name, reason: error.message });
  });
  server.on("drop", warnFull);
  server.on("error", warnFailed);
}

function atMostEvery<A extends unknown[]>(intervalMs: number, work: (...parameters: A) => void) {
  let doneAt = -Infinity;
  return (...parameters: A): void => {
    if (performance.now() - doneAt < intervalMs) return;
    doneAt = performance.now();
    work(...parameters);
  };
}
