/** A certificate authority as an administrator makes one, with openssl(1). */
import { execFile } from "node:child_process";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";

const run = promisify(execFile);

const NEW_KEY = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];

export class Authority {
  /** PEM, its own certificate: what those who trust it have. */
  readonly path: string;
  readonly #directory: string;
  readonly #keyPath: string;

  private constructor(directory: string, name: string) {
    this.#directory = directory;
    this.path = join(directory, `${name}-authority.pem`);
    this.#keyPath = join(directory, `${name}-authority.key`);
  }

  /** Its files are in that directory. */
  static async make(directory: string, name: string): Promise<Authority> {
    const authority = new Authority(directory, name);
    const subject = ["-subj", `/CN=${name} authority`, "-days", "2"];
    await run("openssl", [
      "req",
      "-x509",
      ...NEW_KEY,
      ...subject,
      "-keyout",
      authority.#keyPath,
      "-out",
      authority.path,
    ]);
    return authority;
  }

  /** A server's certificate, for these names (`DNS:localhost`, `IP:127.0.0.1`). */
  async issue(name: string, altNames: string): Promise<{ certPath: string; keyPath: string }> {
    const pathOf = (suffix: string): string => join(this.#directory, `${name}.${suffix}`);
    const [certPath, keyPath, requestPath, namesPath] = [pathOf("pem"), pathOf("key"), pathOf("csr"), pathOf("names")];
    await run("openssl", ["req", "-new", ...NEW_KEY, "-subj", `/CN=${name}`, "-keyout", keyPath, "-out", requestPath]);
    await writeFile(namesPath, `subjectAltName=${altNames}\n`);
    const signed = ["-CA", this.path, "-CAkey", this.#keyPath, "-CAcreateserial", "-days", "2", "-extfile", namesPath];
    await run("openssl", ["x509", "-req", "-in", requestPath, "-out", certPath, ...signed]);
    return { certPath, keyPath };
  }
}
