/** What a command line about a guest's configuration asks for, as data. */
import type { SecretSource } from "./bootstrap/sources.ts";
import type { CommonOptions } from "./command.ts";

/** Sends a set of keys with its commit, and follows how the guest configures itself by them. */
export interface BootstrapCommand extends CommonOptions {
  name: "bootstrap";
  /** The file with keys and secrets; `-` is the standard input. */
  file: string | undefined;
  /** Beside those of the file. */
  values: { key: string; value: string }[];
  secrets: SecretSource[];
  /** The commit's value; a new random one when it is left out. */
  commit: string | undefined;
  follows: boolean;
}
