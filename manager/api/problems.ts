/** Failures as HTTP answers: RFC 9457 problems, whose `code` is that of the programs' exit codes. */
import { STATUS_CODES } from "node:http";
import { MAX_BODY_BYTES } from "../../shared/api/endpoints.ts";
import type { Problem } from "../../shared/api/schemas.ts";
import { CommandError } from "../../shared/cli/failure.ts";
import type { ErrorCode } from "../../shared/protocol/errors.ts";
import { AuthenticationError, TooManyAttemptsError } from "../access/authenticator.ts";
import { MAX_PATH_PARAMETER } from "./limits.ts";

export const PROBLEM_TYPE = "application/problem+json";

type Headers = Record<string, string | string[]>;

export interface Refusal {
  problem: Problem;
  headers: Headers;
  /** Nothing that a client can cause should end here; the log is to say what it was. */
  isBug: boolean;
}

/** What is refused for how it was asked over HTTP, with a status of its own. */
export class HttpError extends CommandError {
  readonly status: number;
  readonly headers: Headers;

  constructor(status: number, code: ErrorCode, message: string, headers: Headers = {}) {
    super(code, message);
    this.status = status;
    this.headers = headers;
  }
}

const statuses: Record<ErrorCode, number> = {
  "no-such-key": 404,
  failed: 422,
  usage: 400,
  "over-limit": 413,
  conflict: 409,
  "not-permitted": 403,
  partial: 422,
  unreachable: 503,
  unconfirmed: 504,
  held: 423,
};

/** RFC 7617 and RFC 6750: both ways to say who one is. */
const CHALLENGES = ['Basic realm="vmmessage", charset="UTF-8"', 'Bearer realm="vmmessage"'];

/** What Fastify refuses by itself, in our words. */
const frameworkRefusals: Record<string, () => HttpError> = {
  FST_ERR_CTP_INVALID_JSON_BODY: () => new HttpError(400, "usage", "the body is not JSON"),
  FST_ERR_CTP_EMPTY_JSON_BODY: () => new HttpError(400, "usage", "the body is empty; it must be JSON"),
  FST_ERR_CTP_INVALID_CONTENT_LENGTH: () =>
    new HttpError(400, "usage", "the body is not as long as Content-Length says"),
  FST_ERR_CTP_INVALID_MEDIA_TYPE: () =>
    new HttpError(415, "usage", "a body must be JSON and say so: Content-Type: application/json"),
  FST_ERR_CTP_BODY_TOO_LARGE: () =>
    new HttpError(413, "over-limit", `the body is over the limit of ${MAX_BODY_BYTES} bytes`),
  FST_ERR_BAD_URL: () => new HttpError(400, "usage", "the path is not percent-encoded UTF-8"),
  FST_ERR_MAX_PARAM_LENGTH: () =>
    new HttpError(414, "usage", `a part of the path is over ${MAX_PATH_PARAMETER} bytes, percent-encoded as it is`),
};

/** Any error as what is answered for it. */
export function refusalOf(error: unknown): Refusal {
  const failure = error instanceof CommandError ? error : frameworkRefusals[codeOf(error)]?.();
  if (failure === undefined) {
    const problem = problemWith(500, "failed", "this is a bug of the manager's; its log has the reason", {});
    return { problem, headers: {}, isBug: true };
  }
  const { status, headers } = statusOf(failure);
  return { problem: problemWith(status, failure.code, failure.message, failure.details), headers, isBug: false };
}

function codeOf(error: unknown): string {
  return error instanceof Error && "code" in error && typeof error.code === "string" ? error.code : "";
}

function statusOf(failure: CommandError): { status: number; headers: Headers } {
  if (failure instanceof HttpError) return failure;
  if (failure instanceof TooManyAttemptsError) {
    return { status: 429, headers: { "retry-after": String(Math.ceil(failure.retryAfterMs / 1000)) } };
  }
  if (failure instanceof AuthenticationError) return { status: 401, headers: { "www-authenticate": CHALLENGES } };
  const { unknownVm, unknown } = failure.details;
  return { status: unknownVm === true || unknown === true ? 404 : statuses[failure.code], headers: {} };
}

/** The type is `about:blank`: `code` tells problems apart, and the title is the status's own (RFC 9457, section 4.2.1). */
function problemWith(status: number, code: ErrorCode, detail: string, details: Record<string, unknown>): Problem {
  const problem: Problem = { type: "about:blank", title: STATUS_CODES[status] ?? "Error", status, detail, code };
  return Object.keys(details).length === 0 ? problem : { ...problem, details };
}
