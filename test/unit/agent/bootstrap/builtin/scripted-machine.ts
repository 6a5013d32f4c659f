/** A machine whose users and groups a test makes up, and whose programs are recorded instead of run. */
import type { BuiltinTools } from "../../../../../agent/bootstrap/builtin/tools.ts";
import type { Program, ProgramRun } from "../../../../../agent/bootstrap/run-program.ts";

export class ScriptedMachine implements BuiltinTools {
  root = "/";
  /** Lines of passwd(5) and group(5), by the name of each. */
  readonly passwd = new Map<string, string>();
  readonly groups = new Set<string>();
  /** What `id -nG` prints. */
  readonly memberships = new Map<string, string>();
  /** What is in a home: modes and text of ~/.ssh/authorized_keys, by the home's path. */
  readonly keys = new Map<string, string>();
  /** Programs that fail, and what they print. */
  readonly failing = new Map<string, string>();
  readonly #programs: Program[] = [];

  /** What changed something, as it was called. */
  get changes(): string[] {
    return this.#changing.map(({ file, args }) => [file, ...args].join(" "));
  }

  /** Of what wrote below homes: whose rights it had, and what it was given. */
  get written(): { user: Program["user"]; home: string | undefined; input: string }[] {
    return this.#changing
      .filter(({ file }) => file === "/bin/sh")
      .map(({ user, args, input }) => ({ user, home: args[3], input: String(input) }));
  }

  run = (program: Program): Promise<ProgramRun> => {
    this.#programs.push(program);
    return Promise.resolve(this.#answer(program));
  };

  get #changing(): Program[] {
    return this.#programs.filter(
      ({ file, input }) => !["getent", "id"].includes(file) && (file !== "/bin/sh" || input),
    );
  }

  #answer({ file, args, input }: Program): ProgramRun {
    const failure = this.failing.get([file, args.at(-1)].join(" "));
    if (failure !== undefined) return ended(1, "", [failure]);
    const [first = "", name = ""] = args;
    if (file === "getent" && first === "passwd") return found(this.passwd.get(name));
    if (file === "getent") return found(this.groups.has(name) ? `${name}:x:27:` : undefined);
    if (file === "id") return ended(0, `${this.memberships.get(name) ?? name}\n`);
    if (file === "/bin/sh" && input === undefined) return ended(0, this.keys.get(args[3] ?? "") ?? "");
    if (file === "useradd") {
      const made = args.at(-1) ?? "";
      this.passwd.set(made, `${made}:x:1001:1002::/home/${made}:/bin/sh`);
    }
    return ended(0);
  }
}

function found(line: string | undefined): ProgramRun {
  return line === undefined ? ended(2) : ended(0, `${line}\n`);
}

function ended(code: number, stdout = "", lines: string[] = []): ProgramRun {
  return { exit: { type: "code", code }, stdout: Buffer.from(stdout), lines };
}
