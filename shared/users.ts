/** Numbers of users and groups by their names, as /etc/passwd and /etc/group have them. */
import { readFileSync } from "node:fs";

/** Throws when the name is not there. */
function uidOf(user: string | number): number {
  return numberOf("/etc/passwd", "user", user);
}

/** Throws when the name is not there. */
function gidOf(group: string | number): number {
  return numberOf("/etc/group", "group", group);
}

/** The numbers of an owner and a group as the configuration names them; nothing for what it leaves out. */
export function numbersOf(names: { owner?: string | number | undefined; group?: string | number | undefined }): {
  uid: number | undefined;
  gid: number | undefined;
} {
  const { owner, group } = names;
  return {
    uid: owner === undefined ? undefined : uidOf(owner),
    gid: group === undefined ? undefined : gidOf(group),
  };
}

/** Both files have the name first and the number third (passwd(5), group(5)). */
function numberOf(file: string, what: string, name: string | number): number {
  if (typeof name === "number") return name;
  const line = readFileSync(file, "utf8")
    .split("\n")
    .find((candidate) => candidate.startsWith(`${name}:`));
  const id = line?.split(":")[2];
  if (id === undefined) throw new Error(`there is no ${what} '${name}' in ${file}`);
  return Number(id);
}
