/** Errors sorted by who has to act: us (local), the peer (remote), or whoever asked (request). */

/** The stable names a peer or a program answers with. {@link exitCodes} gives the process's exit code for each. */
export type ErrorCode =
  | "no-such-key"
  | "failed"
  | "usage"
  | "over-limit"
  | "conflict"
  | "not-permitted"
  | "partial"
  | "unreachable"
  | "unconfirmed"
  | "held";

/** Exit codes of `agent` and `vmmessage`; "unreachable" and above 10 say that trying again can help. */
export const exitCodes = {
  "no-such-key": 1,
  failed: 2,
  usage: 3,
  "over-limit": 4,
  conflict: 5,
  "not-permitted": 6,
  partial: 7,
  unreachable: 10,
  unconfirmed: 11,
  held: 12,
} as const satisfies Record<ErrorCode, number>;

/** What each exit code means, in the words that `--help` and the manual print. */
export const exitCodeMeanings: Record<ErrorCode, string> = {
  "no-such-key": "no such key",
  failed: "failed; trying again will not help",
  usage: "wrong usage",
  "over-limit": "over a limit; nothing was changed",
  conflict: "--if-revision or --if-absent did not hold; nothing was changed",
  "not-permitted": "not permitted",
  partial: "done for some of the VMs only",
  unreachable: "the other side cannot be reached; try again",
  unconfirmed: "sent, but no answer came; it may or may not be done",
  held: "the channel is held by another client",
};

/**
 * The numbers of JSON-RPC 2.0 (section 5.1) for what the protocol itself refuses, and -32000 minus the exit code for
 * what a request was refused for.
 */
export const rpcCodes = {
  "parse-error": -32700,
  "invalid-request": -32600,
  "unknown-method": -32601,
  "invalid-params": -32602,
  internal: -32603,
  "no-such-key": -32001,
  failed: -32002,
  "over-limit": -32004,
  conflict: -32005,
  "not-permitted": -32006,
  "no-session": -32010,
  "no-common-version": -32011,
  busy: -32012,
} as const;

export type RpcErrorName = keyof typeof rpcCodes;

/** An error as it travels: `data.code` is the stable name, and whatever else explains it stands beside it. */
export interface RpcError {
  code: number;
  message: string;
  data: { code: string; [detail: string]: unknown };
}

/** A request that was refused. `code` is stable, `message` is for people, `details` for programs. */
export class RequestError extends Error {
  readonly code: RpcErrorName;
  readonly details: Record<string, unknown>;

  constructor(code: RpcErrorName, message: string, details: Record<string, unknown> = {}, options?: ErrorOptions) {
    super(message, options);
    this.name = "RequestError";
    this.code = code;
    this.details = details;
  }

  toRpc(): RpcError {
    return { code: rpcCodes[this.code], message: this.message, data: { ...this.details, code: this.code } };
  }

  static fromRpc(error: RpcError): RequestError {
    const { code, ...details } = error.data;
    const known = Object.hasOwn(rpcCodes, code) ? (code as RpcErrorName) : "failed";
    return new RequestError(known, error.message, details);
  }
}

/** We asked for something the protocol does not allow. Nothing was sent. */
export class LocalProtocolError extends Error {
  override readonly name = "LocalProtocolError";
}

/** The peer broke the protocol. What it sent was dropped; greeting it again may help. */
export class RemoteProtocolError extends Error {
  override readonly name = "RemoteProtocolError";
}

/** Ends an exhaustive switch. */
export function unreachable(value: never): never {
  throw new Error(`not handled: ${JSON.stringify(value)}`);
}
