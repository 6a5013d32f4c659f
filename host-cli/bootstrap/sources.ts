/** What a bootstrap sends, as it is written down: values as they are, and where secrets come from. */

export interface GivenKey {
  key: string;
  value: string;
}

export type SecretSource =
  /** The file's bytes, without one newline at their end. */
  | { from: "file"; key: string; path: string }
  /** Asked for with these words, without showing it. */
  | { from: "prompt"; key: string; prompt: string };

export interface Sources {
  keys: GivenKey[];
  secrets: SecretSource[];
}
