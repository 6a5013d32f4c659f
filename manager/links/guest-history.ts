/** What a greeting tells about a guest's past: pure comparison of what it says with what it said before. */
import type { HelloResult } from "../../shared/protocol/message.ts";
import type { AgentFacts } from "../store/store.ts";

/**
 * `reverted`: the machine went back to a snapshot, memory and all, so that the same epoch now means another history.
 * `fresh-cache`: the agent started with fewer revisions than were seen (a lost disk, a restored one, a clone).
 */
export type Finding = "first-seen" | "rebooted" | "agent-restarted" | "reverted" | "fresh-cache" | "cloned";

/** A guest's uptime is read some time after it was true; a machine that went back by less than this is not told apart. */
const UPTIME_TOLERANCE_MS = 1_000;

/** A sign of life: from a greeting and the ping after it, or from a heartbeat. */
export interface Sign {
  epoch: string;
  revision: number;
  uptimeMs: number | undefined;
}

export function compareGreeting(known: AgentFacts | undefined, hello: HelloResult, uptimeMs?: number): Finding[] {
  if (known === undefined) return ["first-seen"];
  const findings: Finding[] = [];
  const isCloned = hello.clonedFrom !== undefined && hello.clonedFrom !== known.clonedFrom;
  if (isCloned || hello.uuid !== known.uuid) findings.push("cloned");
  if (hello.bootId !== known.bootId) findings.push("rebooted");
  else if (hello.nonce !== known.nonce) findings.push("agent-restarted");
  const { epoch, revision } = hello;
  if (hello.bootId === known.bootId && hasGoneBack(known, { epoch, revision, uptimeMs })) findings.push("reverted");
  else if (epoch !== known.epoch && revision < known.revision) findings.push("fresh-cache");
  return findings;
}

/** Within one boot neither the revisions of an epoch nor the uptime go down, unless the machine did. */
export function hasGoneBack(known: Sign, { epoch, revision, uptimeMs }: Sign): boolean {
  if (epoch === known.epoch && revision < known.revision) return true;
  if (uptimeMs === undefined || known.uptimeMs === undefined) return false;
  return uptimeMs + UPTIME_TOLERANCE_MS < known.uptimeMs;
}
