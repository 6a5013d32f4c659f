/** Round trips of several kinds in turn, so that whatever else the machine does falls on all of them alike. */
import type { Figure } from "./figure.ts";
import type { Progress } from "./progress.ts";
import type { LineLink } from "./request-link.ts";
import { percentile } from "./statistics.ts";

const ROUNDS = 40;
const TRIPS_PER_ROUND = 25;
const WARM_UP_ROUNDS = 8;

/** Makes one round trip and says how long it took, in milliseconds. */
export type RoundTrip = () => Promise<number>;

/** 1,000 round trips of each kind. */
export async function interleaved<K extends string>(
  kinds: Record<K, RoundTrip>,
  progress: Progress,
): Promise<Record<K, number[]>> {
  const names = Object.keys(kinds) as K[];
  const measured = Object.fromEntries(names.map((name) => [name, [] as number[]])) as Record<K, number[]>;
  for (let round = -WARM_UP_ROUNDS; round < ROUNDS; round++) {
    progress(round < 0 ? "warming up" : `${round * TRIPS_PER_ROUND} of ${ROUNDS * TRIPS_PER_ROUND} round trips`);
    for (const name of names) {
      const roundTripsMs = await roundOf(kinds[name]);
      if (round >= 0) measured[name].push(...roundTripsMs);
    }
  }
  return measured;
}

async function roundOf(roundTrip: RoundTrip): Promise<number[]> {
  const roundTripsMs: number[] = [];
  for (let trip = 0; trip < TRIPS_PER_ROUND; trip++) roundTripsMs.push(await roundTrip());
  return roundTripsMs;
}

/** What one of our kinds is compared with. */
export interface Comparison {
  ours: number[];
  peer: number[];
  peerName: string;
  floor: number[];
  floorName: string;
  goals?: { p50?: string; p99?: string };
}

/** `NAME.p50_ms` and `NAME.p99_ms`, each with `suffix` behind. */
export function latencyFigures(name: string, comparison: Comparison, suffix = ""): Figure[] {
  const { ours, peer, peerName, floor, floorName, goals = {} } = comparison;
  const figure = (column: "p50" | "p99", percent: number): Figure => {
    const goal = goals[column];
    return {
      name: `${name}.${column}_ms${suffix}`,
      unit: "ms",
      ours: percentile(ours, percent),
      peer: percentile(peer, percent),
      peerName,
      floor: percentile(floor, percent),
      floorName,
      ...(goal !== undefined && { goal }),
    };
  };
  return [figure("p50", 50), figure("p99", 99)];
}

export function guestPing(link: LineLink): RoundTrip {
  return () => link.roundTripMs({ execute: "guest-ping" });
}

export function guestSync(link: LineLink): RoundTrip {
  let lastId = 0;
  return () => link.roundTripMs({ execute: "guest-sync", arguments: { id: ++lastId } });
}

/** A line as long as one of our own pings. */
export function echo(link: LineLink): RoundTrip {
  const padding = "x".repeat(75);
  return () => link.roundTripMs({ padding });
}
