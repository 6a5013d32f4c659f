/** The password of root, as it is or as a hash. */
import { type ConfigModule, ModuleError } from "../module.ts";
import { BuiltinModule, type Plan } from "./builtin-module.ts";
import { type BuiltinTools, runNeeded } from "./tools.ts";

/** CRYPT_MAX_PASSPHRASE_SIZE less its final zero, and PAM's limit (crypt(3), pam_conv(3)), in bytes. */
const MAX_PASSWORD_BYTES = 511;

/** How the hashes of crypt(5) begin; a plain password that does is refused unless it is one. */
const HASH_START = /^\$(?:1|2[abxy]|3|5|6|7|gy|md5|sha1|sm3|y)[$,]/;

/** The shortest hash that has such a beginning is MD5's, of 22 characters. */
const HASH = /^\$[./0-9A-Za-z$=,+-]*\$[./0-9A-Za-z]{22,}$/;

// C0 and C1 controls and DEL.
const CONTROL_CHARACTER = /[\u0000-\u001f\u007f-\u009f]/;

export function rootPasswordModule(tools: BuiltinTools): ConfigModule {
  return new BuiltinModule({
    name: "root-password",
    description: "sets the password of root",
    order: 90,
    parameter: {
      key: "org.vmmessage.root-password",
      aliases: ["com.oracle.linux.root-password"],
      description: "password of root, or its hash as in /etc/shadow",
      required: false,
      hidden: false,
      password: true,
      keep: false,
    },
    plan: (password, signal) => Promise.resolve(planPassword(tools, password, signal)),
  });
}

/** Why it cannot be root's password, or undefined when it can. Never a part of it. */
export function passwordProblem(password: string): string | undefined {
  if (password === "") return "the password is empty";
  if (CONTROL_CHARACTER.test(password)) return "the password holds a control character, such as a newline";
  if (Buffer.byteLength(password) > MAX_PASSWORD_BYTES) return `the password is over ${MAX_PASSWORD_BYTES} bytes`;
  if (HASH_START.test(password) && !HASH.test(password))
    return "the password begins like a hash of crypt(5) and is none";
  return undefined;
}

/** Always set: whether it is the present one cannot be seen without trying it. */
function planPassword(tools: BuiltinTools, password: string, signal: AbortSignal): Plan {
  const problem = passwordProblem(password);
  if (problem !== undefined) throw new ModuleError(problem);
  const isHash = HASH_START.test(password);
  return {
    lines: [`the password of root is set${isHash ? " by its hash" : ""}`],
    carryOut: async () => {
      const input = Buffer.from(`root:${password}\n`);
      await runNeeded(tools, { file: "chpasswd", args: isHash ? ["-e"] : [], input, signal });
    },
  };
}
