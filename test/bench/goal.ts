import type { Figure } from "./figure.ts";

/** `ours <= peer`, `ours <= 1.5x peer`, `ours < 0.5`, `ours >= 0.6`; "ours" may be left out. */
const GOAL =
  /^(?:ours )?(?<relation><=|>=|<|>) (?:(?<factor>\d+(?:\.\d+)?)x )?(?:(?<peer>peer)|(?<bound>\d+(?:\.\d+)?))$/;

/** Undefined where nothing was aimed at. Throws when the goal cannot be read, or names a peer that was not measured. */
export function isGoalMet({ name, ours, peer, goal }: Figure): boolean | undefined {
  if (goal === undefined) return undefined;
  const { relation, factor = "1", bound } = GOAL.exec(goal)?.groups ?? {};
  const limit = bound === undefined ? Number(factor) * (peer ?? Number.NaN) : Number(bound);
  if (relation === undefined || Number.isNaN(limit)) throw new Error(`${name}: the goal "${goal}" cannot be checked`);
  switch (relation) {
    case "<=":
      return ours <= limit;
    case ">=":
      return ours >= limit;
    case "<":
      return ours < limit;
    default:
      return ours > limit;
  }
}
