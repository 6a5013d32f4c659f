/** Files that the configuration names. */
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

/** PEM, of an authority other than the system's. Throws CommandError when it cannot be read. */
export function configuredAuthority({ ca }: { ca?: string | undefined }): string | undefined {
  return ca === undefined ? undefined : readConfiguredFile(ca);
}
