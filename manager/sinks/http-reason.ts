/** Why an HTTP server did not answer, in words. */
import { systemCode } from "../../shared/cli/failure.ts";
import { printable } from "../../shared/terminal-text.ts";

/** What is wrong with a certificate is told with names out of it. */
const MAX_REASON_LENGTH = 300;

const UNKNOWN_AUTHORITY = "its certificate is of no authority that the manager knows";

/** What the system and OpenSSL call it, in our words. */
const reasons: Partial<Record<string, string>> = {
  ENOTFOUND: "its name has no address",
  EAI_AGAIN: "its name cannot be looked up now",
  ECONNREFUSED: "nobody listens there",
  ECONNRESET: "it closed the connection without an answer",
  ETIMEDOUT: "it cannot be reached",
  EHOSTUNREACH: "it cannot be reached",
  ENETUNREACH: "it cannot be reached",
  DEPTH_ZERO_SELF_SIGNED_CERT: UNKNOWN_AUTHORITY,
  SELF_SIGNED_CERT_IN_CHAIN: UNKNOWN_AUTHORITY,
  UNABLE_TO_GET_ISSUER_CERT: UNKNOWN_AUTHORITY,
  UNABLE_TO_GET_ISSUER_CERT_LOCALLY: UNKNOWN_AUTHORITY,
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: UNKNOWN_AUTHORITY,
};

/** Of an HTTP server that gave no answer: `nobody listens there`. */
export function httpReason(error: unknown): string {
  const known = reasons[systemCode(error) ?? ""];
  return known ?? printable(error instanceof Error ? error.message : String(error)).slice(0, MAX_REASON_LENGTH);
}
