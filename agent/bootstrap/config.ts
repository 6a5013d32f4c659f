/** How this machine is configured from keys: /etc/vmmessage/bootstrap.json, and what it means when it does not say. */
import * as z from "zod/mini";
import { COMMIT_KEY } from "../../shared/bootstrap.ts";
import { absolutePath, checkConfig, readConfigFile, timeoutMs } from "../../shared/config-file.ts";
import { key } from "../../shared/protocol/message.ts";

export const DEFAULT_BOOTSTRAP_FILE = "/etc/vmmessage/bootstrap.json";

/** Oracle VM's templates were complete when the root's password came, which therefore had to be sent last. */
const ORACLE_COMMIT_KEY = "com.oracle.linux.root-password";

const bootstrapFile = z.strictObject({
  /** Where modules and templates are; of two with one name the first counts. */
  directories: z._default(z.array(absolutePath), ["/etc/vmmessage/template.d", "/etc/template.d/scripts"]),
  /** Any of these keys, set anew, means that all the others are there. */
  commitKeys: z._default(z.array(key).check(z.minLength(1)), [COMMIT_KEY, ORACLE_COMMIT_KEY]),
  /** At a first boot: how long to wait for a commit. */
  wait: z._default(timeoutMs, 300_000),
  /** When none has come by then: configure with what is there and with defaults, or fail. */
  otherwise: z._default(z.enum(["defaults", "fail"]), "fail"),
  /** Afterwards: what has the modules of `reconfigure` run; `change` is any key that the host sets or deletes. */
  reconfigureOn: z._default(z.enum(["commit", "change"]), "commit"),
  /** How long the keys have to be quiet before that. */
  debounce: z._default(timeoutMs, 2_000),
});

export type BootstrapConfig = Readonly<z.infer<typeof bootstrapFile>>;

/** Throws ConfigError that names every problem. A default file that is not there means defaults. */
export function readBootstrapConfig(path: string | undefined): BootstrapConfig {
  const file = path ?? DEFAULT_BOOTSTRAP_FILE;
  return parseBootstrapConfig(readConfigFile(file, path === undefined) ?? {}, file);
}

export function parseBootstrapConfig(json: unknown, file: string): BootstrapConfig {
  return checkConfig(bootstrapFile, json, file);
}
