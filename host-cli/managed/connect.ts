/** A connection to the manager: its Unix socket, or TLS whose certificate was accepted before a byte is sent. */
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { connect as connectSocket, isIP, type Socket } from "node:net";
import type { TLSSocket } from "node:tls";
import { pause } from "../../shared/abort.ts";
import { DEFAULT_API_PORT } from "../../shared/api/endpoints.ts";
import { CommandError, Interruption, systemCode, usageError } from "../../shared/cli/failure.ts";
import type { ManagerAddress } from "../door.ts";

/** By what a manager's certificate is trusted, beside the system's authorities. */
export interface Trust {
  caFile: string | undefined;
  /** SHA-256 of exactly the certificate that must be shown, 64 lower-case digits; its name and issuer do not matter then. */
  fingerprint: string | undefined;
}

/** The manager did not answer, or not to the end; asking again can help. */
export class ManagerLostError extends CommandError {
  /** Something was sent, and may have been done. */
  readonly wasSent: boolean;

  constructor(message: string, { wasSent, cause }: { wasSent: boolean; cause?: unknown }) {
    super("unreachable", message, {}, { cause });
    this.wasSent = wasSent;
  }
}

/** Between two attempts while the manager's backlog is full. */
const CONNECT_RETRY_MS = 100;

/** A manager that is gone without a word, as after a power cut, is noticed by a watch after some of these. Not measured. */
const KEEP_ALIVE_MS = 15_000;

/** Throws ManagerLostError, or CommandError: not-permitted, failed, usage. */
export async function connectToManager(address: ManagerAddress, trust: Trust, signal: AbortSignal): Promise<Socket> {
  if (address.type === "socket") return connectUnix(address.path, signal);
  const host = addressInWords(address);
  const { connect } = await import("node:tls");
  const socket = connect({
    host: address.host,
    port: address.port ?? DEFAULT_API_PORT,
    ...(isIP(address.host) === 0 && { servername: address.host }),
    ...(trust.fingerprint === undefined && { ca: await authorities(trust.caFile) }),
    ALPNProtocols: ["http/1.1"],
    // Judged below, where the certificate can be shown; nothing is sent before.
    rejectUnauthorized: false,
  });
  await connected(socket, "secureConnect", signal, (error) => tlsFailure(error, host));
  try {
    assertTrusted(socket, trust, host);
  } catch (error) {
    socket.destroy();
    throw error;
  }
  return socket.setKeepAlive(true, KEEP_ALIVE_MS);
}

export function addressInWords(address: ManagerAddress): string {
  if (address.type === "socket") return address.path;
  const host = isIP(address.host) === 6 ? `[${address.host}]` : address.host;
  return `${host}:${address.port ?? DEFAULT_API_PORT}`;
}

async function connectUnix(path: string, signal: AbortSignal): Promise<Socket> {
  for (;;) {
    const socket = connectSocket({ path });
    try {
      await connected(socket, "connect", signal, (error) => error);
      return socket;
    } catch (error) {
      if (systemCode(error) !== "EAGAIN") throw unixFailure(error, path);
      await pause(CONNECT_RETRY_MS, signal);
    }
  }
}

async function connected(
  socket: Socket,
  event: "connect" | "secureConnect",
  signal: AbortSignal,
  failure: (error: unknown) => unknown,
): Promise<void> {
  try {
    await once(socket, event, { signal });
  } catch (error) {
    socket.on("error", () => undefined).destroy();
    if (signal.reason instanceof Interruption) throw signal.reason;
    if (signal.aborted) throw new ManagerLostError("the manager cannot be reached: the time is up", { wasSent: false });
    throw failure(error);
  }
}

function unixFailure(error: unknown, path: string): unknown {
  switch (systemCode(error) ?? "") {
    case "ENOENT":
    case "ECONNREFUSED":
      return new ManagerLostError(`nobody listens on ${path}: the manager is not running`, {
        wasSent: false,
        cause: error,
      });
    case "EACCES":
    case "EPERM":
      return new CommandError("not-permitted", `not permitted to open the manager's socket ${path}`, { path });
    default:
      return error;
  }
}

function tlsFailure(error: unknown, host: string): CommandError {
  const code = systemCode(error) ?? "";
  const lost = (message: string): CommandError => new ManagerLostError(message, { wasSent: false, cause: error });
  if (code === "ECONNREFUSED") {
    return lost(`nobody listens on ${host}; does vmmessaged run there, and is its HTTPS API switched on?`);
  }
  if (code === "ENOTFOUND" || code === "EAI_AGAIN")
    return lost(`the name of the manager's host, ${host}, is not known`);
  if (code.startsWith("ERR_SSL") || code === "EPROTO") {
    const message = `${host} does not speak TLS as a vmmessage manager does (${code}); is the port right?`;
    return new CommandError("failed", message, {}, { cause: error });
  }
  return lost(`cannot connect to the manager at ${host}: ${error instanceof Error ? error.message : String(error)}`);
}

/** The system's own, what Node brings along, and the file's. */
async function authorities(caFile: string | undefined): Promise<string[]> {
  const { getCACertificates } = await import("node:tls");
  const known = new Set([...getCACertificates("default"), ...getCACertificates("system")]);
  return caFile === undefined ? [...known] : [...known, readAuthority(caFile)];
}

function readAuthority(path: string): string {
  try {
    const text = readFileSync(path, "utf8");
    if (text.includes("-----BEGIN CERTIFICATE-----")) return text;
  } catch (error) {
    throw usageError(`--ca: cannot read ${path} (${systemCode(error) ?? String(error)})`);
  }
  throw usageError(`--ca: ${path} has no certificate (-----BEGIN CERTIFICATE-----)`);
}

function assertTrusted(socket: TLSSocket, { fingerprint }: Trust, host: string): void {
  const shown = socket.getPeerX509Certificate()?.fingerprint256.replaceAll(":", "").toLowerCase();
  const details = { host, ...(shown !== undefined && { fingerprint: shown }) };
  if (fingerprint !== undefined) {
    if (shown === fingerprint) return;
    const message = `the certificate of ${host} is another one: expected ${fingerprint}, got ${shown ?? "none"}`;
    throw new CommandError("not-permitted", `${message}; nothing was sent`, { ...details, expected: fingerprint });
  }
  if (socket.authorized) return;
  // Typed as an error, and a string where it is OpenSSL's code.
  const reason = String(socket.authorizationError);
  const remedy = `if it is the right one, give --fingerprint ${shown ?? "SHA256"}, or its authority with --ca FILE`;
  const message = `the certificate of ${host} is not trusted (${reasonInWords(reason)}); ${remedy}; nothing was sent`;
  throw new CommandError("not-permitted", message, { ...details, reason });
}

function reasonInWords(reason: string): string {
  switch (reason) {
    case "DEPTH_ZERO_SELF_SIGNED_CERT":
      return "it is self-signed";
    case "SELF_SIGNED_CERT_IN_CHAIN":
    case "UNABLE_TO_GET_ISSUER_CERT_LOCALLY":
    case "UNABLE_TO_VERIFY_LEAF_SIGNATURE":
      return "its authority is not known here";
    case "CERT_HAS_EXPIRED":
      return "it has expired";
    case "ERR_TLS_CERT_ALTNAME_INVALID":
      return "it is for another host's name";
    default:
      return reason;
  }
}
