/** How a request to another manager fails when it is not that one which says so. */
import { CommandError } from "../../../shared/cli/failure.ts";
import { printable } from "../../../shared/terminal-text.ts";
import type { ForCaller, Peer } from "../wire.ts";

/** `the manager on kvm1` */
export function inWords({ host }: Peer): string {
  return `the manager on ${printable(host)}`;
}

/** Nothing was done. */
export function notAsked(peer: Peer, message: string): CommandError {
  return new CommandError("unreachable", message, { host: peer.host });
}

/** It was sent, and nobody knows what became of it: of a change that has to be said, and a question can be asked again. */
export function notAnswered(peer: Peer, saw: string, isChange: boolean): CommandError {
  const { host } = peer;
  if (!isChange) return new CommandError("unreachable", saw, { isLost: true, host });
  return new CommandError("unconfirmed", `${saw}; it may or may not be done`, { host });
}

/** A stream that may have been begun, and did not come to its end. */
export function lostStream(peer: Peer, saw: string): CommandError {
  return new CommandError("unreachable", saw, { isLost: true, host: peer.host });
}

/** The same code, and with it the same exit code, as if it had been asked at home. */
export function refusedBy({ problem }: Extract<ForCaller, { type: "problem" }>): CommandError {
  return new CommandError(problem.code, problem.detail, problem.details);
}
