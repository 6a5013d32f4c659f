/** Signatures of Standard Webhooks 1.0.0 (standardwebhooks.com), by which a receiver knows that an event is ours. */
import { createHmac, createSecretKey, type KeyObject, randomBytes } from "node:crypto";
import { usageError } from "../../shared/cli/failure.ts";

const SECRET_PREFIX = "whsec_";

/** The specification's bounds of a key, bytes. */
const MIN_KEY_BYTES = 24;
const MAX_KEY_BYTES = 64;
const NEW_KEY_BYTES = 32;

export interface WebhookContent {
  /** The event's, the same at each attempt: a receiver that has seen it drops it. */
  id: string;
  /** When this attempt was made, milliseconds since 1970: a receiver refuses what is old. */
  time: number;
  body: Buffer;
}

/** `whsec_` and 32 random bytes in base64. */
export function newSecret(): string {
  return `${SECRET_PREFIX}${randomBytes(NEW_KEY_BYTES).toString("base64")}`;
}

/** The key that a secret is, made ready once: from its bytes it would be so at each event. Throws CommandError, which does not show it. */
export function keyOfSecret(secret: string): KeyObject {
  const encoded = secret.startsWith(SECRET_PREFIX) ? secret.slice(SECRET_PREFIX.length) : "";
  const key = Buffer.from(encoded, "base64");
  if (key.toString("base64") === encoded && key.length >= MIN_KEY_BYTES && key.length <= MAX_KEY_BYTES) {
    return createSecretKey(key);
  }
  throw usageError(
    `a webhook's secret must be ${SECRET_PREFIX} and ${MIN_KEY_BYTES} to ${MAX_KEY_BYTES} bytes in base64 with its padding`,
  );
}

/** With a signature by each key, so that while one replaces another a receiver may know either. */
export function webhookHeaders({ id, time, body }: WebhookContent, keys: readonly KeyObject[]): Record<string, string> {
  const timestamp = String(Math.floor(time / 1000));
  const signatures = keys.map((key) => {
    const hmac = createHmac("sha256", key).update(`${id}.${timestamp}.`).update(body);
    return `v1,${hmac.digest("base64")}`;
  });
  return {
    "webhook-id": id,
    "webhook-timestamp": timestamp,
    ...(signatures.length > 0 && { "webhook-signature": signatures.join(" ") }),
  };
}
