/** What a principal may do, see and use. Whoever answers a request asks here first. */
import { type Role, roles, type VmRef } from "../../shared/api/schemas.ts";
import { CommandError } from "../../shared/cli/failure.ts";
import type { Principal } from "./principal.ts";

/** Prefixes named in a refusal: enough to see what to ask for. */
const MAX_NAMED_PREFIXES = 8;

/** Each role may do what those before it may. */
export function mayDo({ role }: Pick<Principal, "role">, needed: Role): boolean {
  return roles.indexOf(role) >= roles.indexOf(needed);
}

export function assertMayDo(who: Pick<Principal, "name" | "role">, needed: Role): void {
  if (mayDo(who, needed)) return;
  throw new CommandError("not-permitted", `${who.name} has the role '${who.role}', and this needs '${needed}'`);
}

export function maySeeVm({ vms }: Pick<Principal, "vms">, vm: VmRef): boolean {
  return vms.some((pattern) => matchesVm(pattern, vm));
}

/** Whether a name, a UUID or a pattern means that VM. */
export function matchesVm(pattern: string, { id, name }: VmRef): boolean {
  return pattern.toLowerCase() === id || matchesPattern(pattern, name);
}

/** `*` stands for any characters, `?` for one; nothing else is special. */
export function isPattern(text: string): boolean {
  return /[*?]/.test(text);
}

/**
 * Patterns come from clients, so no regular expression is made of them: one with many stars could run for hours. This
 * takes time proportional to the lengths' product at worst.
 */
function matchesPattern(pattern: string, text: string): boolean {
  let at = 0;
  let place = 0;
  /** After the last `*`, and where the text goes on if it stands for what was passed so far. */
  let afterStar: { at: number; place: number } | undefined;
  while (place < text.length) {
    if (pattern[at] === "*") {
      at += 1;
      afterStar = { at, place };
    } else if (pattern[at] === "?" || pattern[at] === text[place]) {
      at += 1;
      place += 1;
    } else {
      if (afterStar === undefined) return false;
      afterStar.place += 1;
      ({ at, place } = afterStar);
    }
  }
  return /^\**$/.test(pattern.slice(at));
}

/** @param key a key, or the beginning that all keys concerned have: the empty one is every key */
export function mayUseKey({ keys }: Pick<Principal, "keys">, key: string): boolean {
  return keys.some((prefix) => key.startsWith(prefix));
}

export function assertMayUseKey(who: Pick<Principal, "name" | "keys">, key: string): void {
  if (mayUseKey(who, key)) return;
  const asked = key === "" ? "this reaches every key" : `'${key}' is none of those`;
  throw new CommandError("not-permitted", `${who.name} may use ${keysInWords(who.keys)}; ${asked}`);
}

export function assertMayUseKeys(who: Pick<Principal, "name" | "keys">, keys: readonly string[]): void {
  for (const key of keys) assertMayUseKey(who, key);
}

function keysInWords(prefixes: readonly string[]): string {
  if (prefixes.length === 0) return "no keys";
  const named = prefixes.slice(0, MAX_NAMED_PREFIXES).map((prefix) => `'${prefix}'`);
  const left = prefixes.length - named.length;
  return `keys that begin with ${named.join(", ")}${left === 0 ? "" : ` and ${left} more`}`;
}
