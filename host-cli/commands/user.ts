import { readFile } from "node:fs/promises";
import type { User, UserChange } from "../../shared/api/schemas.ts";
import { CommandError, systemCode, usageError } from "../../shared/cli/failure.ts";
import { unreachable } from "../../shared/protocol/errors.ts";
import type { UserCommand, UserProperties } from "../command.ts";
import type { Context } from "../context.ts";
import type { Manager } from "../managed/manager.ts";
import { openNeededManager } from "../managed/open-manager.ts";
import { PasswordReader } from "../../shared/cli/password-reader.ts";
import { printListing } from "../rows.ts";
import { Transcript } from "../transcript.ts";

/** `user list|add|change|remove` */
export async function user(command: UserCommand, context: Context): Promise<void> {
  const { action } = command;
  const passwords = new PasswordReader(context);
  using manager = await openNeededManager(command, context, { passwords });
  switch (action.type) {
    case "list":
      printUsers(await manager.read("listUsers"), command, context);
      return;
    case "add":
    case "change": {
      await assertIsThere(manager, action.user, action.type === "change");
      const body = await changeOf(action.user, action.properties, passwords);
      const changed = await manager.change("changeUser", { params: { user: action.user }, body });
      const done = action.type === "add" ? "made" : "changed";
      told(command, context, `User '${changed.name}' ${done}: ${rightsInWords(changed)}.`, changed);
      return;
    }
    case "remove":
      await manager.change("removeUser", { params: { user: action.user } });
      told(command, context, `User '${action.user}' removed.`, { user: action.user, removed: true });
      return;
    default:
      unreachable(action);
  }
}

function told({ style }: UserCommand, { output }: Context, sentence: string, json: object): void {
  new Transcript(output, style).say(sentence);
  if (style === "json") output.json(json);
}

/** The API makes and changes in one; a slip of the pen shall not make a user, nor change another's rights. */
async function assertIsThere(manager: Manager, name: string, isWanted: boolean): Promise<void> {
  const { users } = await manager.read("listUsers");
  const isThere = users.some((known) => known.name === name);
  if (isThere === isWanted) return;
  if (isThere) throw new CommandError("conflict", `there is a user '${name}' already; change them with user change`);
  throw new CommandError("failed", `there is no user '${name}'; make them with user add`);
}

async function changeOf(name: string, properties: UserProperties, passwords: PasswordReader): Promise<UserChange> {
  const { role, vms, keys, publicKeyFiles, readsPassword } = properties;
  return {
    ...(role && { role }),
    ...(vms && { vms }),
    ...(keys && { keys }),
    ...(publicKeyFiles && { publicKeys: await Promise.all(publicKeyFiles.map(readPublicKey)) }),
    ...(readsPassword && { password: await passwords.readNew(`new password of ${name}`) }),
  };
}

/** The line of an OpenSSH public key file. A private key is never sent. */
async function readPublicKey(path: string): Promise<string> {
  const text = await readFile(path, "utf8").catch((error: unknown) => {
    throw usageError(`--public-key: cannot read ${path} (${systemCode(error) ?? String(error)})`);
  });
  const [line = "", ...more] = text.trim().split("\n");
  if (more.length === 0 && /^[a-z0-9@.-]+ [A-Za-z0-9+/]+=*( |$)/.test(line)) return line;
  throw usageError(`--public-key: ${path} is not one public key of OpenSSH's (TYPE BASE64 COMMENT)`);
}

function printUsers({ users }: { users: User[] }, { style }: UserCommand, { output }: Context): void {
  printListing(output, style, {
    items: users,
    header: ["NAME", "ROLE", "VMS", "KEYS", "LOGIN"],
    row: (known) => [known.name, known.role, known.vms.join(" "), keysInWords(known), loginInWords(known)],
    name: ({ name }) => name,
    json: { users },
    none: "the manager has no users",
  });
}

function rightsInWords(known: User): string {
  return `${known.role}, VMs ${known.vms.join(" ")}, keys ${keysInWords(known)}`;
}

function keysInWords({ keys }: User): string {
  return keys.map((prefix) => `${prefix}*`).join(" ");
}

function loginInWords({ hasPassword, publicKeys }: User): string {
  const count = publicKeys.length;
  const ways = [hasPassword ? "password" : "", count === 0 ? "" : `${count} public ${count === 1 ? "key" : "keys"}`];
  return ways.filter((way) => way !== "").join(", ");
}
