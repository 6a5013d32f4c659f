/** Numbers of users and groups by their names, as /etc/passwd and /etc/group have them. */
import { readFileSync } from "node:fs";

/** Throws when the name is not there. */
export function uidOf(user: string | number): number {
  return numberOf("/etc/passwd", "user", user);
}

/** Throws when the name is not there. */
export function gidOf(group: string | number): number {
  return numberOf("/etc/group", "group", group);
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
