/** What can stand where a definition has a placeholder, as commander does not know it: by its name between the brackets. */
import { targets } from "../../shared/config-targets.ts";
import { eventCategories, eventTypes } from "../../shared/event-types.ts";

/** How a word is completed. `any` is what nobody can list. The others are those of engine.bash. */
export type Kind = Listed | Words | "any" | "files" | "directories" | "pairs" | "assignments";

/** By the programs themselves, in *-values.bash. */
type Listed = "keys" | "modules" | "vms";
type Words = `words:${string}`;

/** A placeholder, or an option with its placeholder where that says too little. */
export type KindTable = Readonly<Record<string, Kind>>;

const places: KindTable = {
  file: "files",
  path: "files",
  dir: "directories",
  "key=path": "pairs",
};

export const agentKinds: KindTable = {
  ...places,
  key: "keys",
  prefix: "keys",
  "key=value": "assignments",
  target: words(targets),
  module: "modules",
  "--module <name>": "modules",
  "--script <name>": "modules",
  "--debug <level>": words(["0", "1", "2"]),
};

export const hostKinds: KindTable = {
  ...places,
  vm: "vms",
  pattern: "vms",
  uri: words(["qemu:///system", "qemu:///session"]),
  type: words(Object.keys(eventTypes)),
  category: words(eventCategories),
  "-": words(["-"]),
};

export const managerKinds: KindTable = {
  ...places,
  command: words(["run", "check"]),
};

export interface Placeholder {
  /** Between the brackets. */
  name: string;
  /** The option's long form, where it is of one. */
  option?: string | undefined;
  choices?: readonly string[] | undefined;
}

export function kindOf({ name, option, choices }: Placeholder, kinds: KindTable): Kind {
  if (choices !== undefined) return words(choices);
  if (/^[a-z]+(\|[a-z]+)+$/.test(name)) return words(name.split("|"));
  return kinds[`${option ?? ""} <${name}>`] ?? kinds[name] ?? "any";
}

function words(choices: readonly string[]): Words {
  return `words:${choices.join(" ")}`;
}
