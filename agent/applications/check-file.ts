/** The checks as they lie on disk. */
import * as z from "zod/mini";
import { RequestError } from "../../shared/protocol/errors.ts";
import { MAX_APPLICATIONS } from "../../shared/protocol/limits.ts";
import { requests } from "../../shared/protocol/message.ts";
import type { Check, Checks } from "./applications.ts";

/** Of all checks together: with their states, an answer that lists them fits a frame. */
const MAX_CHECKS_BYTES = 160 * 1024;

const checkFile = z.object({
  format: z.literal(1),
  checks: z.array(requests.addCheck.params).check(z.maxLength(MAX_APPLICATIONS)),
});

/** Throws RequestError (over-limit). */
export function formatCheckFile(checks: Checks): string {
  const file: z.infer<typeof checkFile> = {
    format: 1,
    checks: [...checks].map(([application, check]) => ({ application, ...check })),
  };
  const text = JSON.stringify(file);
  if (Buffer.byteLength(text) <= MAX_CHECKS_BYTES) return text;
  throw new RequestError("over-limit", `all checks together are over the limit of ${MAX_CHECKS_BYTES} bytes`, {
    limit: MAX_CHECKS_BYTES,
  });
}

/** Throws when the text is no file of checks. */
export function parseCheckFile(text: string): Checks {
  const { checks } = checkFile.parse(JSON.parse(text));
  return new Map(checks.map(({ application, ...check }): [string, Check] => [application, check]));
}
