/** Who asks through another manager, and what they may do here. */
import { type Role, roles, type VmRef } from "../../shared/api/schemas.ts";
import { CommandError } from "../../shared/cli/failure.ts";
import { printable } from "../../shared/terminal-text.ts";
import { assertMayDo, assertMayUseKeys, maySeeVm } from "../access/permissions.ts";
import type { Principal } from "../access/principal.ts";
import type { PeersConfig } from "../config.ts";
import { keysOf } from "../delivery/keys-of.ts";
import type { Change } from "../store/store.ts";
import type { AskedEndpoint, Peer } from "./wire.ts";

/** A user's name has 64 characters, a socket's path 107 (unix(7)): what is cut off was never a name. */
const MAX_NAME = 128;
/** Together they fit in an audit record. A host's name has 63 characters, on Linux; a DNS name 253. */
const MAX_HOST = 127;

type Rights = Pick<Principal, "role" | "vms" | "keys">;

/**
 * The other manager's word for who asks, cut to what others may do here at most, and to what the user of that name may do
 * here if there is one: the least of the roles, and only what all the lists allow.
 *
 * @param rightsOf what a user of this manager may do; undefined when there is none of that name
 */
export function peerPrincipal(
  who: AskedEndpoint["who"],
  from: Peer,
  rights: PeersConfig["rights"],
  rightsOf: (user: string) => Rights | undefined,
): Principal {
  const host = bounded(from.host, MAX_HOST);
  // A socket of that name here is another one, for others.
  const ofUserHere = who.name.startsWith("socket:") ? undefined : rightsOf(who.name);
  const cuts = ofUserHere === undefined ? [rights] : [rights, ofUserHere];
  return {
    name: `${bounded(who.name, MAX_NAME)}@${host}`,
    via: viaOf(from),
    role: least([who, ...cuts]),
    vms: who.vms,
    keys: who.keys,
    limits: cuts.map(({ vms, keys }) => ({ vms, keys })),
  };
}

/** How whoever asks through another manager comes here, for the audit log. */
export function viaOf({ host }: Peer): string {
  return `amqp:${bounded(host, MAX_HOST)}`;
}

/** Who asked there, or at a manager before it, which then says so: as whoever asks now is named here. */
export function askerAt(by: string, { host }: Peer): string {
  const elsewhere = /^(?<name>.*)@(?<host>[^/@]+)$/s.exec(by)?.groups;
  return `${bounded(elsewhere?.["name"] ?? by, MAX_NAME)}@${bounded(elsewhere?.["host"] ?? host, MAX_HOST)}`;
}

/** What waited at another manager was asked for there: it is bounded as if it were asked for now. Throws CommandError. */
export function assertMayHandOver(from: Peer, rights: PeersConfig["rights"], vm: VmRef, change: Change): void {
  const who = { ...rights, name: `whoever asks through ${bounded(from.host, MAX_HOST)}` };
  assertMayDo(who, "write");
  if (!maySeeVm(who, vm)) throw new CommandError("not-permitted", `${who.name} may not reach the VM '${vm.name}' here`);
  // `clear` reaches every key.
  assertMayUseKeys(who, change.method === "clear" ? [""] : keysOf(change));
}

function least(rights: readonly Pick<Rights, "role">[]): Role {
  const ranks = rights.map(({ role }) => roles.indexOf(role));
  return roles[Math.min(...ranks)] ?? "read";
}

function bounded(text: string, length: number): string {
  return printable(text).slice(0, length);
}
