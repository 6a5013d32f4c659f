/** Certificates as an administrator makes them, with openssl(1). */
import { execFile } from "node:child_process";
import { readFile } from "node:fs/promises";
import { X509Certificate } from "node:crypto";
import { join } from "node:path";
import { promisify } from "node:util";

const run = promisify(execFile);

export interface Certificate {
  key: string;
  cert: string;
  /** The file with the certificate, which is its own authority. */
  certPath: string;
  /** SHA-256, 64 lower-case digits. */
  fingerprint: string;
}

/** A certificate that signed itself, for these names (`DNS:localhost`, `IP:127.0.0.1`). */
export async function selfSigned(directory: string, name: string, altNames: string): Promise<Certificate> {
  const [keyPath, certPath] = [join(directory, `${name}.key`), join(directory, `${name}.pem`)];
  const newKey = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", keyPath];
  const names = ["-subj", `/CN=${name}`, "-addext", `subjectAltName=${altNames}`];
  await run("openssl", ["req", "-x509", ...newKey, "-out", certPath, "-days", "2", ...names]);
  const cert = await readFile(certPath, "utf8");
  const fingerprint = new X509Certificate(cert).fingerprint256.replaceAll(":", "").toLowerCase();
  return { key: await readFile(keyPath, "utf8"), cert, certPath, fingerprint };
}
