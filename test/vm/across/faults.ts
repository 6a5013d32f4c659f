/** What goes wrong between two hosts. */
import type { Random } from "../../fuzz/random.ts";
import type { Host, Lab } from "./lab.ts";

export interface BegunFault {
  lastsMs: number;
  end: () => Promise<void> | void;
}

/** Begins it. `number` counts from 0. */
export type Fault = (lab: Lab, number: number, random: Random) => Promise<BegunFault>;

/** Managers and the broker give up a connection that was cut after 10 to 15 s: two to three heartbeats of 5 s. */
const LONG_CUT_MS = 18_000;
/** Of the rounds, those with a long cut: one of each host's link. */
const LONG_CUTS = [7, 14];
/** Each host in turn. */
const hostOf = (lab: Lab, number: number): Host => lab.hosts[number % 2 === 0 ? 0 : 1];

/** Too short for anybody to notice but those who wait for an answer, or long enough to be given up by both sides. */
export const cutLink: Fault = async (lab, number, random) => {
  const { link } = hostOf(lab, number);
  await link.cut();
  return { lastsMs: LONG_CUTS.includes(number) ? LONG_CUT_MS : 50 + random.below(1_500), end: () => link.heal() };
};

export const killBroker: Fault = async (lab, _number, random) => {
  await lab.broker.kill9();
  return { lastsMs: random.below(500), end: () => lab.broker.restart() };
};

/** It stands still, or its connections are reset. */
export const disturbBroker: Fault = async (lab, _number, random) => {
  if (random.isOneIn(2)) {
    await lab.broker.pause();
    const end = (): void => {
      lab.broker.resume();
    };
    return { lastsMs: 50 + random.below(1_500), end };
  }
  await Promise.all(lab.hosts.map(({ link }) => link.resetConnections()));
  return { lastsMs: 0, end: () => undefined };
};

export const killManager: Fault = async (lab, number, random) => {
  const { manager } = hostOf(lab, number);
  await manager.kill("SIGKILL");
  return { lastsMs: random.below(300), end: () => manager.start() };
};
