/** Files that the configuration names. */
import { X509Certificate } from "node:crypto";
import { readFileSync } from "node:fs";
import { CommandError } from "../shared/cli/failure.ts";

/** Its text without blanks around it: a secret, a certificate. Throws CommandError when it cannot be read. */
export function readConfiguredFile(file: string): string {
  try {
    return readFileSync(file, "utf8").trim();
  } catch (error) {
    throw new CommandError("failed", (error as Error).message, {}, { cause: error });
  }
}

/** PEM, of authorities in the place of the system's. Throws CommandError when it cannot be read, or has no certificate in it. */
export function configuredAuthority({ ca }: { ca?: string | undefined }): string | undefined {
  if (ca === undefined) return undefined;
  const pem = readConfiguredFile(ca);
  try {
    // The first one; of what follows it OpenSSL takes what it can.
    new X509Certificate(pem);
  } catch (error) {
    const message = `${ca} has no certificate in it: PEM begins with -----BEGIN CERTIFICATE-----`;
    throw new CommandError("failed", message, {}, { cause: error });
  }
  return pem;
}
