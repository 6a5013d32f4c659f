/** The users and groups that the machine has, wherever they come from (nsswitch.conf(5)). */
import { basename } from "node:path";
import { type BuiltinTools, runNeeded } from "./tools.ts";

/** getent(1): what was asked for is not there. */
const NOT_FOUND = 2;

/** A group can have thousands of members. Not measured. */
const MAX_ANSWER_BYTES = 1024 * 1024;

export interface Account {
  name: string;
  uid: number;
  gid: number;
  comment: string;
  home: string;
  shell: string;
}

export class Accounts {
  readonly #tools: BuiltinTools;
  readonly #signal: AbortSignal;

  constructor(tools: BuiltinTools, signal: AbortSignal) {
    this.#tools = tools;
    this.#signal = signal;
  }

  /** Throws ModuleError when that cannot be found out. */
  async find(name: string): Promise<Account | undefined> {
    const line = await this.#entry("passwd", name);
    if (line === undefined) return undefined;
    const [, , uid, gid, comment = "", home = "", shell = ""] = line.split(":");
    return { name, uid: Number(uid), gid: Number(gid), comment, home, shell };
  }

  async hasGroup(name: string): Promise<boolean> {
    return (await this.#entry("group", name)) !== undefined;
  }

  /** The names of all groups that the user is in. */
  async groupsOf(name: string): Promise<string[]> {
    return (await this.#ask("id", ["-nG", name])).trim().split(" ");
  }

  async #entry(database: "passwd" | "group", name: string): Promise<string | undefined> {
    const answer = await this.#ask("getent", [database, name], [0, NOT_FOUND]);
    return answer.split("\n").find((line) => line.startsWith(`${name}:`));
  }

  async #ask(file: string, args: readonly string[], goodCodes?: readonly number[]): Promise<string> {
    const program = { file, args, signal: this.#signal, maxStdoutBytes: MAX_ANSWER_BYTES };
    const { stdout } = await runNeeded(this.#tools, {
      ...program,
      purpose: [basename(file), ...args].join(" "),
      ...(goodCodes !== undefined && { goodCodes }),
    });
    return stdout;
  }
}
