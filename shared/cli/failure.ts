/** How a command fails: a stable code, which is also the exit code, and a sentence for people. */
import { type ErrorCode, LocalProtocolError, RequestError, type RpcErrorName } from "../protocol/errors.ts";

/** Enough of a guest's own words to understand it, and not enough to flood a terminal. */
const MAX_GUEST_MESSAGE = 500;

/** What a guest's refusal may tell programs; anything else it adds is dropped. */
const GUEST_DETAILS = ["key", "revision", "epoch", "needed", "free", "limit", "gone", "versions"];

export class CommandError extends Error {
  override readonly name = "CommandError";
  readonly code: ErrorCode;
  readonly details: Record<string, unknown>;

  constructor(code: ErrorCode, message: string, details: Record<string, unknown> = {}, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
    this.details = details;
  }
}

/** A signal asked the program to end. */
export class Interruption extends Error {
  override readonly name = "Interruption";
  readonly exitCode: number;

  constructor(signal: string, exitCode: number) {
    super(`ended by ${signal}`);
    this.exitCode = exitCode;
  }
}

export function usageError(message: string): CommandError {
  return new CommandError("usage", message);
}

/** What the protocol refused, as a failure of the program. Anything else is a bug and stays as it is. */
export function asFailure(error: unknown): unknown {
  if (error instanceof LocalProtocolError) return new CommandError("usage", error.message, {}, { cause: error });
  if (!(error instanceof RequestError)) return error;
  const details = Object.fromEntries(
    GUEST_DETAILS.filter((name) => Object.hasOwn(error.details, name)).map((name) => [name, error.details[name]]),
  );
  return new CommandError(codeOf(error.code), shortened(error.message), details, { cause: error });
}

function codeOf(code: RpcErrorName): ErrorCode {
  switch (code) {
    case "no-such-key":
    case "over-limit":
    case "conflict":
    case "not-permitted":
    case "failed":
      return code;
    case "busy":
    case "no-session":
      return "unreachable";
    case "parse-error":
    case "invalid-request":
    case "unknown-method":
    case "invalid-params":
    case "internal":
    case "no-common-version":
      return "failed";
  }
}

function shortened(message: string): string {
  return message.length <= MAX_GUEST_MESSAGE ? message : `${message.slice(0, MAX_GUEST_MESSAGE)}...`;
}

/** The system's name for what went wrong (ENOENT, EACCES), or undefined. */
export function systemCode(error: unknown): string | undefined {
  return error instanceof Error && "code" in error && typeof error.code === "string" ? error.code : undefined;
}
