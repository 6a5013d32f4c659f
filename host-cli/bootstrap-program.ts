/** The command about a guest's configuration as commander knows it. What it means is bootstrap-arguments.ts. */
import type { Command as Program } from "commander";
import { adderTo, several } from "./adding-commands.ts";
import type { Words } from "./words.ts";

export function addBootstrapCommand(program: Program, words: Words): void {
  adderTo(program, words)(
    "bootstrap",
    "",
    "send a guest a whole set of keys, and follow how it configures itself by them",
  )
    .option("--file <path>", "the keys and secrets, as YAML; - is the standard input")
    .option("--set <key=value>", "a key more; may be repeated", several)
    .option("--secret <key>", "a secret more, which is asked for without showing it; may be repeated", several)
    .option("--secret-file <key=path>", "a secret more, out of a file; may be repeated", several)
    .option("--commit <text>", "what the set's commit says (default: a new random id)")
    .option("--no-wait", "do not follow it: print the commit");
}
