/** What a command line asks `vmmessaged` for, as data. */
import type { Places } from "./paths.ts";

/** Places that were named; the others are the defaults. */
export type NamedPlaces = { [P in keyof Places]: string | undefined };

export interface Command {
  name: "run" | "check";
  /** Of `check`: one object in the place of lines. */
  json: boolean;
  places: NamedPlaces;
}
