/** The certificate of a TLS door, from files. */
import { readFile } from "node:fs/promises";
import { createSecureContext, type SecureContextOptions } from "node:tls";
import { CommandError } from "../../shared/cli/failure.ts";

export interface CertificateFiles {
  /** PEM: the server's own certificate first, then those that lead to the authority. */
  certificatePaths: readonly string[];
  /** PEM, without a passphrase. */
  keyPath: string;
}

/** Reads them and sees whether they fit. Rejects with CommandError that names the files. */
export async function readCertificate({ certificatePaths, keyPath }: CertificateFiles): Promise<SecureContextOptions> {
  const certificates = await Promise.all(certificatePaths.map(readPem));
  const options: SecureContextOptions = {
    cert: certificates.join("\n"),
    key: await readPem(keyPath),
    minVersion: "TLSv1.2",
  };
  try {
    createSecureContext(options);
  } catch (error) {
    const files = [...certificatePaths, keyPath].join(", ");
    const reason = (error as Error).message;
    throw new CommandError("failed", `not a PEM certificate and its key (${files}): ${reason}`, {}, { cause: error });
  }
  return options;
}

async function readPem(path: string): Promise<string> {
  try {
    return await readFile(path, "utf8");
  } catch (error) {
    throw new CommandError("failed", `cannot read ${path}: ${(error as Error).message}`, {}, { cause: error });
  }
}
