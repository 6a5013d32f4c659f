/**
 * Users, and who may log in as them.
 *
 * A user that is missing is made, with a home and a password that fits nothing. Of one that is there, what the list names
 * is set, and nothing else. ~/.ssh/authorized_keys becomes exactly the keys that are given, so that a key which is left
 * out lets nobody in any more. A user that is in the list no more stays as it is: removing it is an administrator's
 * decision, as of what belongs to it.
 */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { type ConfigModule, ModuleError } from "../module.ts";
import { type Account, Accounts } from "./accounts.ts";
import { readAuthorizedKeys, replaceAuthorizedKeys } from "./authorized-keys.ts";
import { BuiltinModule, type Plan } from "./builtin-module.ts";
import { diffOf } from "./system-file.ts";
import { type BuiltinTools, runNeeded } from "./tools.ts";
import { parseWantedUsers, type WantedUser } from "./wanted-users.ts";

export function usersModule(tools: BuiltinTools): ConfigModule {
  return new BuiltinModule({
    name: "users",
    description: "makes users and sets their SSH keys",
    order: 20,
    parameter: {
      key: "org.vmmessage.users",
      aliases: [],
      description: "JSON list of users: name, sshAuthorizedKeys, groups, shell, comment, uid",
      required: false,
      hidden: false,
      password: false,
      keep: false,
    },
    plan: async (text, signal) => {
      const users = parseWantedUsers(text);
      return new UsersPlanner(tools, signal).plan(users);
    },
  });
}

/** A wanted user, and the account that it has by now. */
interface Known {
  wanted: WantedUser;
  account: Account | undefined;
}

class UsersPlanner {
  readonly #tools: BuiltinTools;
  readonly #signal: AbortSignal;
  readonly #accounts: Accounts;

  constructor(tools: BuiltinTools, signal: AbortSignal) {
    this.#tools = tools;
    this.#signal = signal;
    this.#accounts = new Accounts(tools, signal);
  }

  /** Throws ModuleError when the machine lacks what one of them needs: then none of them is changed. */
  async plan(users: readonly WantedUser[]): Promise<Plan> {
    const known: Known[] = [];
    for (const wanted of users) known.push({ wanted, account: await this.#accounts.find(wanted.name) });
    const problems = [...known.flatMap((user) => this.#problemsOf(user)), ...(await this.#missingGroups(users))];
    if (problems.length > 0) throw new ModuleError(problems.join("; "), problems);
    const plans: Plan[] = [];
    for (const user of known) plans.push(await this.#planUser(user));
    return { lines: plans.flatMap(({ lines }) => lines), carryOut: () => carryOutAll(plans) };
  }

  #problemsOf({ wanted: { name, shell, uid }, account }: Known): string[] {
    const problems: string[] = [];
    if (shell !== undefined && !existsSync(join(this.#tools.root, shell))) {
      problems.push(`the shell ${shell} of '${name}' does not exist`);
    }
    if (uid !== undefined && account !== undefined && account.uid !== uid) {
      problems.push(
        `'${name}' has the number ${account.uid} and cannot be given ${uid}: its files would not be its own`,
      );
    }
    return problems;
  }

  async #missingGroups(users: readonly WantedUser[]): Promise<string[]> {
    const problems: string[] = [];
    for (const group of new Set(users.flatMap(({ groups }) => groups ?? []))) {
      if (!(await this.#accounts.hasGroup(group))) problems.push(`there is no group '${group}'`);
    }
    return problems;
  }

  /** One that cannot be looked into fails by itself, when the others are done. */
  async #planUser({ wanted, account }: Known): Promise<Plan> {
    try {
      const plan = account === undefined ? this.#planNew(wanted) : await this.#planChange(wanted, account);
      const keys = await this.#planKeys(wanted, account);
      return inOrder([plan, keys]);
    } catch (error) {
      if (!(error instanceof ModuleError)) throw error;
      return { lines: [error.message], carryOut: () => Promise.reject(error) };
    }
  }

  #planNew({ name, shell, comment, uid, groups = [] }: WantedUser): Plan {
    const details = [
      ...option("-u", uid?.toString()),
      ...option("-s", shell),
      ...option("-c", comment),
      ...option("-G", groups.length === 0 ? undefined : groups.join(",")),
    ];
    const args = ["-m", ...details, name];
    return {
      lines: [`the user '${name}' is made: useradd ${args.join(" ")}`],
      carryOut: () => this.#change("useradd", args),
    };
  }

  async #planChange({ name, shell, comment, groups = [] }: WantedUser, account: Account): Promise<Plan> {
    const isIn = groups.length === 0 ? [] : await this.#accounts.groupsOf(name);
    const joined = groups.filter((group) => !isIn.includes(group));
    const details = [
      ...option("-s", shell === account.shell ? undefined : shell),
      ...option("-c", comment === account.comment ? undefined : comment),
      ...(joined.length === 0 ? [] : ["-a", "-G", joined.join(",")]),
    ];
    if (details.length === 0) return inOrder([]);
    const args = [...details, name];
    return {
      lines: [`the user '${name}' is changed: usermod ${args.join(" ")}`],
      carryOut: () => this.#change("usermod", args),
    };
  }

  async #planKeys({ name, sshAuthorizedKeys: keys }: WantedUser, account: Account | undefined): Promise<Plan> {
    if (keys === undefined) return inOrder([]);
    const file =
      account === undefined
        ? { text: undefined, isPrivate: false }
        : await readAuthorizedKeys(this.#tools, account, this.#signal);
    const after = keys.map((key) => `${key}\n`).join("");
    const isSame = (file.text ?? "") === after;
    if (isSame && (file.text === undefined || file.isPrivate)) return inOrder([]);
    const path = `~${name}/.ssh/authorized_keys`;
    return {
      lines: isSame ? [`${path} becomes private`] : diffOf({ name: path, before: file.text, after }),
      carryOut: async () => {
        const owner = account ?? (await this.#accounts.find(name));
        if (owner === undefined) throw new ModuleError(`useradd has made '${name}', which is not there`);
        await replaceAuthorizedKeys(this.#tools, owner, this.#signal, after);
      },
    };
  }

  async #change(file: "useradd" | "usermod", args: readonly string[]): Promise<void> {
    await runNeeded(this.#tools, { file, args, signal: this.#signal });
  }
}

function option(name: string, value: string | undefined): string[] {
  return value === undefined ? [] : [name, value];
}

/** Ends with the first that fails. */
function inOrder(plans: readonly Plan[]): Plan {
  return {
    lines: plans.flatMap(({ lines }) => lines),
    carryOut: async () => {
      for (const { carryOut } of plans) await carryOut();
    },
  };
}

/** One that fails does not keep the others out of their machine. */
async function carryOutAll(plans: readonly Plan[]): Promise<void> {
  const failures: ModuleError[] = [];
  for (const { carryOut } of plans) {
    try {
      await carryOut();
    } catch (error) {
      if (!(error instanceof ModuleError)) throw error;
      failures.push(error);
    }
  }
  const [first, ...others] = failures;
  if (first === undefined) return;
  if (others.length === 0) throw first;
  const messages = failures.map(({ message }) => message);
  throw new ModuleError(`${first.message}; and ${others.length} more`, messages);
}
