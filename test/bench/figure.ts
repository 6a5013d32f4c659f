/** One line of the benchmark: what we measured of ours, of a program that does the same, and of the least possible. */
export interface Figure {
  name: string;
  unit: string;
  ours: number;
  /** The least and the most of the repetitions that `ours` is the median of. */
  range?: readonly [number, number];
  peer?: number;
  peerName?: string;
  floor?: number;
  floorName?: string;
  /** "ours <= peer", "<= 1.5x peer", "< 0.5": see goal.ts. */
  goal?: string;
}
