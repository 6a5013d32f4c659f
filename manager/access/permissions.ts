/** What a principal may do, see and use. Whoever answers a request asks here first. */
import { type Role, roles, type VmRef } from "../../shared/api/schemas.ts";
import { CommandError } from "../../shared/cli/failure.ts";
import { matchesVm } from "../../shared/vm-pattern.ts";
import type { Principal } from "./principal.ts";

/** Prefixes named in a refusal: enough to see what to ask for. */
const MAX_NAMED_PREFIXES = 8;

/** Its own list of VMs or keys, and all that limit it. */
type Limited<List extends "vms" | "keys"> = Pick<Principal, List | "limits">;

/** Each role may do what those before it may. */
export function mayDo({ role }: Pick<Principal, "role">, needed: Role): boolean {
  return roles.indexOf(role) >= roles.indexOf(needed);
}

export function assertMayDo(who: Pick<Principal, "name" | "role">, needed: Role): void {
  if (mayDo(who, needed)) return;
  throw new CommandError("not-permitted", `${who.name} has the role '${who.role}', and this needs '${needed}'`);
}

export function maySeeVm(who: Limited<"vms">, vm: VmRef): boolean {
  return listsOf(who, "vms").every((patterns) => patterns.some((pattern) => matchesVm(pattern, vm)));
}

export function maySeeAll(who: Limited<"vms">): boolean {
  return listsOf(who, "vms").every((patterns) => patterns.includes("*"));
}

/** Whether something is somebody's own, or they administer every VM. What has no owner is nobody's own. */
export function mayManage(
  who: Pick<Principal, "name" | "role"> & Limited<"vms">,
  owner: Pick<Principal, "name"> | undefined,
): boolean {
  return owner?.name === who.name || (mayDo(who, "admin") && maySeeAll(who));
}

/** For what names every VM. */
export function assertMaySeeAll(who: Pick<Principal, "name"> & Limited<"vms">): void {
  if (maySeeAll(who)) return;
  throw new CommandError("not-permitted", `this tells of every VM, and ${who.name} may see only some`);
}

/** @param key a key, or the beginning that all keys concerned have: the empty one is every key */
export function mayUseKey(who: Limited<"keys">, key: string): boolean {
  return refusingKeys(who, key) === undefined;
}

export function assertMayUseKey(who: Pick<Principal, "name"> & Limited<"keys">, key: string): void {
  const prefixes = refusingKeys(who, key);
  if (prefixes === undefined) return;
  const asked = key === "" ? "this reaches every key" : `'${key}' is none of those`;
  throw new CommandError("not-permitted", `${who.name} may use ${keysInWords(prefixes)}; ${asked}`, { key });
}

export function assertMayUseKeys(who: Pick<Principal, "name"> & Limited<"keys">, keys: readonly string[]): void {
  for (const key of keys) assertMayUseKey(who, key);
}

/** The first list that does not allow the key. */
function refusingKeys(who: Limited<"keys">, key: string): readonly string[] | undefined {
  return listsOf(who, "keys").find((prefixes) => !prefixes.some((prefix) => key.startsWith(prefix)));
}

function listsOf<List extends "vms" | "keys">(who: Limited<List>, list: List): (readonly string[])[] {
  const own: readonly string[] = who[list];
  return [own, ...(who.limits ?? []).map((limit) => limit[list])];
}

function keysInWords(prefixes: readonly string[]): string {
  if (prefixes.length === 0) return "no keys";
  const named = prefixes.slice(0, MAX_NAMED_PREFIXES).map((prefix) => `'${prefix}'`);
  const left = prefixes.length - named.length;
  return `keys that begin with ${named.join(", ")}${left === 0 ? "" : ` and ${left} more`}`;
}
