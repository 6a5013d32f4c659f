/**
 * ~/.ssh/authorized_keys of a user. Whatever is done below a home is done as its user: a link that the user put there
 * leads nowhere that the user could not go, and a file that never ends costs its time and no more.
 */
import type { Account } from "./accounts.ts";
import { type BuiltinTools, runNeeded } from "./tools.ts";

/** A home may lie on a server that is away, or be made to hang by its user. Not measured. */
const HOME_TIMEOUT_MS = 10_000;

/** More than all the keys that a value has room for. */
const MAX_FILE_BYTES = 64 * 1024;

/** Prints the modes of the directory and the file, a line each, and the file; nothing where there is none to be read. */
const READ = `
cd -- "$1" || exit
[ -f .ssh/authorized_keys ] && [ -r .ssh/authorized_keys ] || exit 0
stat -L -c %a .ssh .ssh/authorized_keys
head -c ${MAX_FILE_BYTES} .ssh/authorized_keys
`;

/** Puts its input there, once all of it has come: its length is said before. A link that bears the file's name is replaced. */
const REPLACE = `
set -eu
umask 077
cd -- "$1"
[ -d .ssh ] || mkdir .ssh
chmod 0700 .ssh
new=.ssh/.authorized_keys.new
trap 'rm -f "$new"' EXIT
rm -f "$new"
cat >"$new"
[ "$(wc -c <"$new")" -eq "$2" ]
sync "$new"
mv -fT "$new" .ssh/authorized_keys
`;

export interface KeysFile {
  /** Undefined where there is none that the user can read. */
  text: string | undefined;
  /** Nobody but the user can read the file, or anything beside it. */
  isPrivate: boolean;
}

/** Throws ModuleError, as when there is no home. */
export async function readAuthorizedKeys(tools: BuiltinTools, user: Account, signal: AbortSignal): Promise<KeysFile> {
  const answer = await asUser(tools, user, signal, { script: READ, purpose: "reading" });
  const [directoryMode, fileMode, ...lines] = answer.split("\n");
  if (directoryMode === undefined || fileMode === undefined) return { text: undefined, isPrivate: false };
  return { text: lines.join("\n"), isPrivate: directoryMode.endsWith("700") && fileMode.endsWith("600") };
}

/** Throws ModuleError, the old file in place. */
export async function replaceAuthorizedKeys(
  tools: BuiltinTools,
  user: Account,
  signal: AbortSignal,
  text: string,
): Promise<void> {
  const input = Buffer.from(text);
  await asUser(tools, user, signal, { script: REPLACE, args: [String(input.length)], input, purpose: "writing" });
}

interface HomeWork {
  script: string;
  args?: readonly string[];
  input?: Buffer;
  purpose: string;
}

async function asUser(tools: BuiltinTools, user: Account, signal: AbortSignal, work: HomeWork): Promise<string> {
  const { stdout } = await runNeeded(tools, {
    file: "/bin/sh",
    args: ["-c", work.script, "sh", user.home, ...(work.args ?? [])],
    ...(work.input !== undefined && { input: work.input }),
    user: { uid: user.uid, gid: user.gid },
    signal: AbortSignal.any([signal, AbortSignal.timeout(HOME_TIMEOUT_MS)]),
    maxStdoutBytes: 2 * MAX_FILE_BYTES,
    purpose: `${work.purpose} the keys in ${user.home} as '${user.name}'`,
  });
  return stdout;
}
