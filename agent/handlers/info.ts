import { hostname, release, type as systemName } from "node:os";
import { software } from "../../shared/version.ts";
import type { Handler } from "./context.ts";

/** Enough to see what is wrong; all of them might not fit a frame. */
const MAX_LISTED_PROBLEMS = 32;

/** All that the agent can say of itself, for people who look for what is wrong. */
export const info: Handler<"info"> = (_params, { access, machine, store, queue, keyFiles, applications, hostLink }) => {
  const { clonedFrom } = store.report;
  return {
    software,
    hostname: hostname(),
    kernel: `${systemName()} ${release()}`,
    channel: hostLink.channelName,
    isHostAttached: hostLink.isHostAttached,
    uptimeMs: machine.now().uptimeMs,
    agentUptimeMs: Math.round(process.uptime() * 1000),
    uuid: machine.uuid,
    bootId: machine.bootId,
    ...(clonedFrom !== undefined && { clonedFrom }),
    ...store.cache.cursor,
    answersSince: store.cache.answersSince(access.caller.setBy),
    keys: store.cache.size,
    usedBytes: store.cache.usedBytes,
    limitBytes: store.cache.limit,
    queuedMessages: queue.messages.length,
    damagedFrames: hostLink.damagedFrames,
    unprojectedKeys: [...keyFiles.problems.keys()].filter(access.mayTouch).slice(0, MAX_LISTED_PROBLEMS),
    notes: notesOf(store.report.setAside, queue.setAside, applications.checksSetAside, applications.heartbeatsSetAside),
  };
};

function notesOf(cache?: string, queue?: string, checks?: string, heartbeats?: string): string[] {
  return [
    ...(cache === undefined ? [] : [`an older cache was set aside: ${cache}`]),
    ...(queue === undefined ? [] : [`an unreadable queue was set aside: ${queue}`]),
    ...(checks === undefined ? [] : [`unreadable checks were set aside: ${checks}`]),
    ...(heartbeats === undefined ? [] : [`unreadable heartbeats were set aside: ${heartbeats}`]),
  ];
}
